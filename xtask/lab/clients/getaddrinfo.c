/* Resolves each name on the command line as an application does: one getaddrinfo call, A and AAAA together.
 *
 *     getaddrinfo [-4] [-n TIMES] [-i MILLISECONDS] [-t THREADS] NAME...
 *
 * Compiled against several C libraries, so that the lab has their real stub resolvers side by side. Goes over all names
 * TIMES times with a pause between two rounds, in each thread; -4 asks for A alone. Prints one line per lookup: the
 * name, how long the call took, and the addresses or the resolver's own words.
 * Exit status: 0 when every lookup succeeded, 1 when one did not, 2 when called wrongly. */

#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_THREADS = 256 };

struct plan {
    int family;
    long times, interval_ms;
    char **names;
};

static double milliseconds_since(const struct timespec *start) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - start->tv_sec) * 1e3 + (now.tv_nsec - start->tv_nsec) / 1e6;
}

/* The addresses as text, as many as fit. */
static void addresses(const struct addrinfo *first, char *text, size_t size) {
    char address[NI_MAXHOST];
    size_t used = 0;
    for (const struct addrinfo *info = first; info && used < size; info = info->ai_next)
        if (getnameinfo(info->ai_addr, info->ai_addrlen, address, sizeof address, NULL, 0, NI_NUMERICHOST) == 0)
            used += snprintf(text + used, size - used, " %s", address);
}

static int resolve(const char *name, int family) {
    struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM};
    struct addrinfo *first = NULL;
    struct timespec start;
    char text[8192] = "";
    clock_gettime(CLOCK_MONOTONIC, &start);
    int error = getaddrinfo(name, "443", &hints, &first);
    double took = milliseconds_since(&start);
    if (error) {
        snprintf(text, sizeof text, " %s", gai_strerror(error));
    } else {
        addresses(first, text, sizeof text);
        freeaddrinfo(first);
    }
    /* One call, so that lines of several threads do not mix. */
    printf("%s  %.1f ms %s\n", name, took, text);
    return error != 0;
}

static void *work(void *argument) {
    const struct plan *plan = argument;
    struct timespec pause = {plan->interval_ms / 1000, plan->interval_ms % 1000 * 1000000};
    long failed = 0;
    for (long round = 0; round < plan->times; round++) {
        if (round > 0 && plan->interval_ms > 0)
            nanosleep(&pause, NULL);
        for (char **name = plan->names; *name; name++)
            failed |= resolve(*name, plan->family);
    }
    return (void *)failed;
}

static int usage(const char *program) {
    fprintf(stderr, "usage: %s [-4] [-n TIMES] [-i MILLISECONDS] [-t THREADS] NAME...\n", program);
    return 2;
}

int main(int argc, char **argv) {
    struct plan plan = {.family = AF_UNSPEC, .times = 1};
    long threads = 1;
    int option;
    while ((option = getopt(argc, argv, "4n:i:t:")) != -1) {
        switch (option) {
        case '4': plan.family = AF_INET; break;
        case 'n': plan.times = atol(optarg); break;
        case 'i': plan.interval_ms = atol(optarg); break;
        case 't': threads = atol(optarg); break;
        default: return usage(argv[0]);
        }
    }
    plan.names = argv + optind;
    if (!*plan.names || plan.times < 1 || plan.interval_ms < 0 || threads < 1 || threads > MAX_THREADS)
        return usage(argv[0]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    pthread_t started[MAX_THREADS];
    for (long i = 1; i < threads; i++) {
        int error = pthread_create(&started[i], NULL, work, &plan);
        if (error) {
            fprintf(stderr, "thread %ld: %s\n", i, strerror(error));
            return 2;
        }
    }
    long failed = (long)work(&plan);
    for (long i = 1; i < threads; i++) {
        void *result;
        pthread_join(started[i], &result);
        failed |= (long)result;
    }
    return failed ? 1 : 0;
}
