/* Resolves each name on the command line by c-ares: one ares_getaddrinfo call, A and AAAA together, one channel for all.
 *
 *     ares_getaddrinfo [-n TIMES] [-i MILLISECONDS] NAME...
 *
 * Linked against the distribution's c-ares. Prints one line per lookup and exits as getaddrinfo.c does. */

#include <ares.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct lookup {
    const char *name;
    struct timespec start;
    int failed;
};

static double milliseconds_since(const struct timespec *start) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - start->tv_sec) * 1e3 + (now.tv_nsec - start->tv_nsec) / 1e6;
}

static void finished(void *argument, int status, int timeouts, struct ares_addrinfo *result) {
    struct lookup *lookup = argument;
    char address[INET6_ADDRSTRLEN];
    (void)timeouts;
    lookup->failed = status != ARES_SUCCESS;
    printf("%s  %.1f ms ", lookup->name, milliseconds_since(&lookup->start));
    if (status != ARES_SUCCESS)
        printf(" %s", ares_strerror(status));
    for (struct ares_addrinfo_node *node = result ? result->nodes : NULL; node; node = node->ai_next) {
        const void *raw = node->ai_family == AF_INET6 ? (void *)&((struct sockaddr_in6 *)node->ai_addr)->sin6_addr
                                                      : (void *)&((struct sockaddr_in *)node->ai_addr)->sin_addr;
        printf(" %s", inet_ntop(node->ai_family, raw, address, sizeof address));
    }
    printf("\n");
    if (result)
        ares_freeaddrinfo(result);
}

/* Serves the channel's sockets until nothing is under way. */
static void wait_for(ares_channel channel) {
    for (;;) {
        fd_set readers, writers;
        struct timeval limit;
        FD_ZERO(&readers);
        FD_ZERO(&writers);
        int count = ares_fds(channel, &readers, &writers);
        if (count == 0)
            return;
        select(count, &readers, &writers, NULL, ares_timeout(channel, NULL, &limit));
        ares_process(channel, &readers, &writers);
    }
}

static int resolve(ares_channel channel, const char *name) {
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct lookup lookup = {.name = name};
    clock_gettime(CLOCK_MONOTONIC, &lookup.start);
    ares_getaddrinfo(channel, name, "443", &hints, finished, &lookup);
    wait_for(channel);
    return lookup.failed;
}

int main(int argc, char **argv) {
    long times = 1, interval_ms = 0;
    int option;
    while ((option = getopt(argc, argv, "n:i:")) != -1) {
        if (option == 'n')
            times = atol(optarg);
        else if (option == 'i')
            interval_ms = atol(optarg);
        else
            times = 0;
    }
    if (optind >= argc || times < 1 || interval_ms < 0) {
        fprintf(stderr, "usage: %s [-n TIMES] [-i MILLISECONDS] NAME...\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    ares_channel channel;
    int status = ares_library_init(ARES_LIB_INIT_ALL);
    if (status == ARES_SUCCESS)
        status = ares_init(&channel);
    if (status != ARES_SUCCESS) {
        fprintf(stderr, "c-ares: %s\n", ares_strerror(status));
        return 2;
    }
    struct timespec pause = {interval_ms / 1000, interval_ms % 1000 * 1000000};
    int failed = 0;
    for (long round = 0; round < times; round++) {
        if (round > 0 && interval_ms > 0)
            nanosleep(&pause, NULL);
        for (char **name = argv + optind; *name; name++)
            failed |= resolve(channel, *name);
    }
    ares_destroy(channel);
    ares_library_cleanup();
    return failed;
}
