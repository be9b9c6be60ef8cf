/* Both ends of a proxy in one process: engines on these ports, and clients that ask through whatever is to be measured.
   ends PORT …; told on stdin, a line each: what an engine does (set), a load (run, then go), connections that only are
   there (idle, drop). It answers `ready` before a load is counted, and one line of JSON after it. As an engine alone:
   ends load=MS mark=FILE:NAME PORT, which writes down when it was executed and listens after so many milliseconds. */
#include "ends.h"

static int epoll;
static struct due { long long at; struct conn *of; unsigned generation; } *heap;
static int due_count, due_room;
static struct conn **idles;
static int idle_count;

long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

void die(const char *what) {
    perror(what);
    exit(3);
}

void watch(struct conn *c) {
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e)) die("epoll_ctl");
}

struct conn *make(enum kind kind, int fd) {
    struct conn *c = calloc(1, sizeof *c);
    if (!c) die("calloc");
    c->kind = kind;
    c->fd = fd;
    watch(c);
    return c;
}

void hang_up(struct conn *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    c->generation++;
    c->length = c->asking = c->in_body = 0;
}

void later(struct conn *c, long long at) {
    if (due_count == due_room && !(heap = realloc(heap, sizeof *heap * (size_t)(due_room = due_room * 2 + 64)))) die("realloc");
    int i = due_count++;
    for (; i && heap[(i - 1) / 2].at > at; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = (struct due){at, c, c->generation};
}

static struct due next_due(void) {
    struct due top = heap[0], last = heap[--due_count];
    int i = 0;
    for (;;) {
        int child = 2 * i + 1;
        if (child >= due_count) break;
        if (child + 1 < due_count && heap[child + 1].at < heap[child].at) child++;
        if (heap[child].at >= last.at) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

void grow(struct conn *c, int more) {
    if (c->length + more + 1 <= c->room) return;
    c->room = (c->length + more + 1) * 2;
    if (!(c->in = realloc(c->in, (size_t)c->room))) die("realloc");
}

int put(struct conn *c, const char *data, int length) {
    return send(c->fd, data, (size_t)length, MSG_NOSIGNAL) == length;
}

const char *field(const char *head, const char *name) {
    const char *found = strcasestr(head, name);
    return found ? found + strlen(name) : NULL;
}

long long number(const char *line, const char *name, long long otherwise) {
    const char *found = strstr(line, name);
    return found ? atoll(found + strlen(name)) : otherwise;
}

/* Both ends of a proxy in one process: engines on these ports, and clients that ask through whatever is to be measured.
   ends PORT …; told on stdin, a line each: what an engine does (set), a load (run, then go), connections that only are
   there (idle, drop). It answers `ready` before a load is counted, and one line of JSON after it. As an engine alone:
   ends load=MS mark=FILE:NAME PORT, which writes down when it was executed and listens after so many milliseconds. */
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

static void control(void) {
    static char line[8192];
    if (!fgets(line, sizeof line, stdin)) exit(0);
    if (!strncmp(line, "run ", 4)) load(line);
    else if (!strncmp(line, "go", 2)) go();
    else if (!strncmp(line, "idle ", 5)) {
        idle_count = (int)number(line, " connections=", 0);
        idles = calloc((size_t)idle_count, sizeof *idles);
        for (int i = 0; i < idle_count; i++) {
            int fd = dial((int)number(line, " target=", 0));
            if (fd < 0) die("connect");
            idles[i] = make(IDLE, fd);
        }
        printf("ready\n");
    } else if (!strncmp(line, "drop", 4)) {
        int there = 0;
        for (int i = 0; i < idle_count; i++) {
            there += idles[i]->fd >= 0;
            hang_up(idles[i]);
        }
        printf("%d\n", there);
    } else if (!strncmp(line, "set", 3)) {
        set(line);
        printf("ready\n");
    }
    fflush(stdout);
}

static void serve(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (fd < 0 || bind(fd, (struct sockaddr *)&place, sizeof place) || listen(fd, 4096)) die("listen");
    make(LISTENER, fd);
}

static void mark(char *path) { /* as stamp.c does */
    char *name = strrchr(path, ':');
    char line[256];
    if (!name) die("mark=FILE:NAME");
    *name++ = 0;
    int length = snprintf(line, sizeof line, "%s %d %lld\n", name, (int)getpid(), now());
    int file = open(path, O_WRONLY | O_APPEND | O_CREAT, 0644);
    if (file < 0 || write(file, line, (size_t)length) != length) die(path);
    close(file);
}

static void happen(struct conn *c) {
    if (c->kind == CONTROL) control();
    else if (c->fd < 0) return;
    else if (c->kind == LISTENER) {
        int fd = accept4(c->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), yes = 1;
        if (fd < 0) return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        make(ENGINE, fd);
    } else if (c->kind == ENGINE) engine(c);
    else if (c->kind == CLIENT) client(c);
    else {
        char byte;
        if (recv(c->fd, &byte, 1, 0) <= 0) hang_up(c);
    }
}

int main(int argc, char **argv) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_TIMERSLACK, 1);
    prctl(PR_SET_PDEATHSIG, 9);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    int alone = 0;
    for (int i = 1; i < argc; i++) {
        if (!strncmp(argv[i], "mark=", 5)) alone = 1, mark(argv[i] + 5);
        else if (!strncmp(argv[i], "load=", 5)) usleep((useconds_t)atoi(argv[i] + 5) * 1000);
        else serve(atoi(argv[i]));
    }
    setvbuf(stdin, NULL, _IONBF, 0);
    if (!alone) make(CONTROL, 0);
    for (;;) {
        struct epoll_event found[256];
        struct timespec wait;
        long long left = 0;
        if (due_count && ((left = heap[0].at - now()) < 0 || spinning())) left = 0;
        wait.tv_sec = left / 1000000000;
        wait.tv_nsec = left % 1000000000;
        int count = epoll_pwait2(epoll, found, 256, due_count || spinning() ? &wait : NULL, NULL);
        for (int i = 0; i < count; i++) happen(found[i].data.ptr);
        for (long long present = now(); due_count && heap[0].at <= present;) {
            struct due top = next_due();
            if (top.generation != top.of->generation) continue;
            if (top.of->kind == CLIENT) again(top.of);
            else answer(top.of);
        }
    }
}
