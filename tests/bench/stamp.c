/* The cheapest engine there is: it writes when it was executed, by CLOCK_MONOTONIC, and waits.
   stamp FILE NAME [PORT [MS]]; with a port it listens there, after so many milliseconds, and hangs up on whoever comes. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (argc < 3) return 2;
    char line[256];
    int length = snprintf(line, sizeof line, "%s %d %lld\n", argv[2], (int)getpid(),
                          (long long)now.tv_sec * 1000000000LL + now.tv_nsec);
    int file = open(argv[1], O_WRONLY | O_APPEND | O_CREAT, 0644);
    if (file < 0 || write(file, line, (size_t)length) != length) return 3;
    close(file);
    if (argc < 4) for (;;) pause();
    if (argc > 4) {
        long load = atol(argv[4]);
        struct timespec rest = {.tv_sec = load / 1000, .tv_nsec = load % 1000 * 1000000L};
        nanosleep(&rest, NULL);
    }
    int server = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[3]))};
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(server, (struct sockaddr *)&place, sizeof place) || listen(server, 16)) return 4;
    for (;;) {
        int client = accept(server, NULL, NULL);
        if (client >= 0) close(client);
    }
}
