/* What engines (ends_engines.c) and clients (ends_clients.c) share: connections, the time, and what is due later. */
#ifndef ENDS_H
#define ENDS_H
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum kind { CONTROL, LISTENER, ENGINE, CLIENT, IDLE };
enum framing { LENGTH, CHUNKED, UNTIL_CLOSE };
struct conn {
    enum kind kind;
    int fd;
    unsigned generation; /* grows when it is closed: what was due for it before is not any more */
    char *in;            /* of an engine its request, of a client the head, then an event's beginning */
    int length, room;
    /* an engine's */
    int event, streams, usage;
    /* a client's */
    int asking, in_body, stream, status, closing, merged;
    long long begun, first, left; /* left: bytes of the body, or of the chunk */
    enum framing framing;
    int chunk_state; /* 0 size, 1 data, 2 line end after data, 3 trailer */
};

long long now(void);
void die(const char *what);
void later(struct conn *c, long long at);
void grow(struct conn *c, int more);
int put(struct conn *c, const char *data, int length);
void hang_up(struct conn *c);
struct conn *make(enum kind kind, int fd);
void watch(struct conn *c);
const char *field(const char *head, const char *name);
long long number(const char *line, const char *name, long long otherwise);

void set(const char *line);
void engine(struct conn *c);
void answer(struct conn *c);

int dial(int port);
void load(const char *line);
void go(void);
void client(struct conn *c);
void again(struct conn *c);
int spinning(void); /* whether it waits awake: then nobody pays for waking it */
#endif
