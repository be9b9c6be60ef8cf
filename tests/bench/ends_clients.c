/* Clients: each asks again as soon as it was answered. What came of it is counted, from `go` on. */
#include "ends.h"

static int request_length, target, wanted, warm, asked, counting, ready, running, connections, spins;
static struct conn **clients;
static long long slow, until, begun_counting;
static char request[1 << 20];

static long long ended, failed_before, failed_after, refused, bad_status, event_count, merged_count, read_bytes, outliers;
static long long *latencies, *firsts, *lags;
static long latency_count, first_count, lag_count, sample_room = 1 << 22;
static char *told;
static size_t told_length;
static FILE *told_to;
static double cpu_before;


static void ask(struct conn *c) {
    c->length = c->in_body = c->stream = c->status = c->closing = 0;
    c->first = 0;
    c->asking = 1;
    c->begun = now();
    put(c, request, request_length); /* where that fails, reading tells */
}

int dial(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0) die("socket");
    if (connect(fd, (struct sockaddr *)&place, sizeof place)) return close(fd), -1;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return fd;
}

void again(struct conn *c) { /* connect anew and ask, if there is more to ask */
    if (!running) return;
    c->fd = dial(target);
    if (c->fd < 0) {
        refused++;
        return later(c, now() + 1000000);
    }
    watch(c);
    ask(c);
}

static void sample(long long *to, long *count, long long value) {
    if (counting && *count < sample_room) to[(*count)++] = value;
}

static void outlier(long long end, long long took, const char *what) {
    if (counting && outliers++ < 20000) fprintf(told_to, "%s[%lld,%.1f,\"%s\"]", outliers > 1 ? "," : "", end, (double)took / 1e3, what);
}

static int compare(const void *a, const void *b) {
    long long x = *(const long long *)a, y = *(const long long *)b;
    return (x > y) - (x < y);
}

static void figures(const char *name, long long *of, long count) {
    qsort(of, (size_t)count, sizeof *of, compare);
    printf(",\"%s\":[", name);
    static const double parts[] = {0.5, 0.9, 0.99, 1};
    for (int i = 0; i < 4; i++) {
        long at = (long)(parts[i] * (double)count);
        printf("%s%.2f", i ? "," : "", count ? (double)of[at >= count ? count - 1 : at] / 1e3 : 0.0);
    }
    printf("]");
}

static double cpu(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)used.ru_utime.tv_sec + (double)used.ru_stime.tv_sec + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

int spinning(void) {
    return running && spins;
}

static void stop(void) {
    running = 0;
    for (int i = 0; i < connections; i++) hang_up(clients[i]);
}

static void finish(void) {
    double seconds = (double)(now() - begun_counting) / 1e9, used = cpu() - cpu_before;
    stop();
    fflush(told_to);
    printf("{\"requests\":%lld,\"before\":%lld,\"after\":%lld,\"refused\":%lld,\"status\":%lld,\"seconds\":%.6f,\"cpu\":%.6f,"
           "\"events\":%lld,\"merged\":%lld,\"bytes\":%lld", ended, failed_before, failed_after, refused, bad_status, seconds, used,
           event_count, merged_count, read_bytes);
    figures("latency", latencies, latency_count);
    figures("first", firsts, first_count);
    figures("lag", lags, lag_count);
    printf(",\"outliers\":[%s]}\n", told_length ? told : "");
    fflush(stdout);
}

static void count(void) {
    if (!latencies) {
        latencies = malloc(sizeof *latencies * (size_t)sample_room);
        firsts = malloc(sizeof *firsts * (size_t)sample_room);
        lags = malloc(sizeof *lags * (size_t)sample_room);
        if (!latencies || !firsts || !lags) die("malloc");
    }
    if (told_to) fclose(told_to), free(told);
    told_to = open_memstream(&told, &told_length);
    ended = failed_before = failed_after = refused = bad_status = event_count = merged_count = read_bytes = outliers = 0;
    latency_count = first_count = lag_count = 0;
}

static void end_of(struct conn *c, const char *failure) { /* one request has ended, well or not */
    long long end = now(), took = end - c->begun;
    c->asking = 0;
    ended++;
    if (failure) outlier(end, took, failure);
    else {
        sample(latencies, &latency_count, took);
        if (c->status != 200) bad_status++, outlier(end, took, "status");
        else if (took > slow) outlier(end, took, "slow");
    }
    if (!counting && !ready && ended >= warm) {
        ready = 1;
        printf("ready\n");
        fflush(stdout);
    }
    if (counting && (until ? end >= until : ended >= wanted)) return finish();
    if (ready && !counting) { /* rests until it is counted */
        if (failure || c->closing) hang_up(c);
        return;
    }
    if (counting && !until && asked >= wanted) return;
    asked++;
    if (failure || c->closing) hang_up(c), again(c);
    else ask(c);
}

static void payload(struct conn *c, const char *data, int length) { /* of the body; an event that is cut stays in `in` */
    if (!c->first && length) {
        c->first = now();
        sample(firsts, &first_count, c->first - c->begun);
    }
    if (!c->stream) return;
    grow(c, length);
    memcpy(c->in + c->length, data, (size_t)length);
    c->length += length;
    char *from = c->in, *end;
    while ((end = memmem(from, (size_t)(c->in + c->length - from), "\n\n", 2))) {
        char *at = memmem(from, (size_t)(end - from), "\"content\":\"", 11);
        if (at) {
            if (c->merged++) merged_count++;
            event_count++;
            sample(lags, &lag_count, now() - atoll(at + 11));
        }
        from = end + 2;
    }
    c->length -= (int)(from - c->in);
    memmove(c->in, from, (size_t)c->length);
}

static int body(struct conn *c, const char *data, int length) { /* 1 once it is whole */
    const char *end = data + length;
    if (c->framing == UNTIL_CLOSE) return payload(c, data, length), 0;
    if (c->framing == LENGTH) {
        payload(c, data, length);
        return (c->left -= length) <= 0;
    }
    while (data < end) {
        if (c->chunk_state == 0 || c->chunk_state == 3) { /* a size, or a line of the trailer */
            char byte = *data++;
            if (byte == '\n') {
                if (c->chunk_state == 3) {
                    if (!c->left) return 1;
                    c->left = 0;
                } else {
                    c->chunk_state = c->left ? 1 : 3;
                }
            } else if (byte != '\r') {
                if (c->chunk_state == 3) c->left = 1;
                else c->left = c->left * 16 + (byte <= '9' ? byte - '0' : (byte | 32) - 'a' + 10);
            }
        } else if (c->chunk_state == 1) {
            int part = (int)(end - data < c->left ? end - data : c->left);
            payload(c, data, part);
            data += part;
            if (!(c->left -= part)) c->chunk_state = 2;
        } else if (*data++ == '\n') {
            c->chunk_state = 0;
        }
    }
    return 0;
}

void client(struct conn *c) {
    static char data[1 << 18];
    ssize_t got = recv(c->fd, data, sizeof data - 1, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        if (!c->asking) return hang_up(c), ready && !counting ? (void)0 : again(c);
        if (c->in_body && c->framing == UNTIL_CLOSE) return c->closing = 1, end_of(c, NULL);
        if (c->status) failed_after++;
        else failed_before++;
        return end_of(c, c->status ? "after" : "before");
    }
    read_bytes += got;
    c->merged = 0;
    int at = 0;
    if (!c->in_body) {
        grow(c, (int)got);
        memcpy(c->in + c->length, data, (size_t)got);
        int before = c->length;
        c->length += (int)got;
        c->in[c->length] = 0;
        char *end = strstr(c->in, "\r\n\r\n");
        if (!end) return;
        at = (int)(end - c->in) + 4 - before;
        *end = 0;
        c->status = atoi(c->in + 9);
        const char *length = field(c->in, "\ncontent-length:"), *kind = field(c->in, "\ncontent-type:"), *keeps = field(c->in, "\nconnection:");
        c->framing = field(c->in, "\ntransfer-encoding:") ? CHUNKED : length ? LENGTH : UNTIL_CLOSE;
        c->left = c->framing == LENGTH ? atoll(length) : 0;
        c->stream = kind && !strncmp(kind + strspn(kind, " "), "text/event-stream", 17);
        c->closing = keeps && !strncasecmp(keeps + strspn(keeps, " "), "close", 5);
        c->chunk_state = c->length = 0;
        c->in_body = 1;
        if (c->framing == LENGTH && !c->left) return end_of(c, NULL);
    }
    if (body(c, data + at, (int)got - at)) end_of(c, NULL);
}

void load(const char *line) {
    char path[4096];
    const char *named = strstr(line, " request=");
    if (!named || sscanf(named, " request=%4095s", path) != 1) die("request=");
    int file = open(path, O_RDONLY);
    request_length = file < 0 ? -1 : (int)read(file, request, sizeof request);
    if (request_length <= 0) die(path);
    close(file);
    target = (int)number(line, " target=", 0);
    connections = (int)number(line, " connections=", 1);
    wanted = (int)number(line, " count=", 0);
    until = number(line, " seconds_ms=", 0) * 1000000;
    warm = (int)number(line, " warm=", connections);
    spins = (int)number(line, " spin=", 0);
    slow = number(line, " slow=", 1LL << 50) * 1000;
    counting = ready = 0;
    running = 1;
    count();
    clients = calloc((size_t)connections, sizeof *clients);
    if (!clients) die("calloc");
    for (int i = 0; i < connections; i++) {
        int fd = dial(target);
        if (fd < 0) die("connect");
        clients[i] = make(CLIENT, fd);
        ask(clients[i]);
    }
}

void go(void) {
    count();
    counting = 1;
    cpu_before = cpu();
    begun_counting = now();
    if (until) until += begun_counting;
    asked = connections;
    for (int i = 0; i < connections; i++) {
        if (clients[i]->fd < 0) again(clients[i]);
        else if (!clients[i]->asking) ask(clients[i]);
    }
}

