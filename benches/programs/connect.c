/* Times TCP connections, each from socket(2) to the moment at which it can be written to:
 *     connect direct ADDRESS PORT COUNT    by connect(2)
 *     connect proxy  ADDRESS PORT COUNT    by a CONNECT through 127.0.0.1:3128
 * Prints the nanoseconds of each on a line of its own. */

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int dial(const char *address, int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, address, &to.sin_addr) != 1)
        fail(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        fail("connect");
    return fd;
}

/* Reads the head of the answer, which must grant the tunnel. */
static void tunnel(int fd, const char *request)
{
    char answer[4096];
    size_t length = 0;
    if (write(fd, request, strlen(request)) < 0)
        fail("write");
    do {
        ssize_t got = read(fd, answer + length, sizeof answer - 1 - length);
        if (got <= 0)
            fail("the proxy's answer");
        length += got;
        answer[length] = 0;
    } while (!strstr(answer, "\r\n\r\n"));
    if (strncmp(answer, "HTTP/1.1 200 ", 13)) {
        fprintf(stderr, "refused: %s\n", answer);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    int proxied = !strcmp(argv[1], "proxy");
    const char *address = argv[2];
    int port = atoi(argv[3]);
    char request[256];
    snprintf(request, sizeof request, "CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\n\r\n", address, port,
             address, port);
    for (int left = atoi(argv[4]); left > 0; left--) {
        long long start = now();
        int fd = proxied ? dial("127.0.0.1", 3128) : dial(address, port);
        if (proxied)
            tunnel(fd, request);
        printf("%lld\n", now() - start);
        close(fd);
    }
    return 0;
}
