/* Resolves each name on the command line as an application does: one getaddrinfo call, A and AAAA together.
 *
 * Compiled once with musl-gcc and once with gcc, so that the lab has two real stub resolvers side by side.
 * Prints one line per name: the name, how long the call took, and the addresses or the resolver's own words.
 * Exit status: 0 when every name resolved, 1 when one did not, 2 when called without names. */

#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

static double milliseconds_since(const struct timespec *start) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - start->tv_sec) * 1e3 + (now.tv_nsec - start->tv_nsec) / 1e6;
}

static void print_addresses(const struct addrinfo *first) {
    char address[NI_MAXHOST];
    for (const struct addrinfo *info = first; info; info = info->ai_next) {
        if (getnameinfo(info->ai_addr, info->ai_addrlen, address, sizeof address, NULL, 0, NI_NUMERICHOST) == 0)
            printf(" %s", address);
    }
}

static int resolve(const char *name) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *first = NULL;
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    int error = getaddrinfo(name, "443", &hints, &first);
    printf("%s  %.1f ms ", name, milliseconds_since(&start));
    if (error) {
        printf(" %s\n", gai_strerror(error));
        return 1;
    }
    print_addresses(first);
    printf("\n");
    freeaddrinfo(first);
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s NAME...\n", argv[0]);
        return 2;
    }
    int failed = 0;
    for (int i = 1; i < argc; i++)
        failed |= resolve(argv[i]);
    return failed;
}
