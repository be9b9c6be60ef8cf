/* Engines: an answer for each request, or a stream whose events carry the time of their sending. */
#include "ends.h"

static long long delay, every = 10000000, events = 100, size = 400, spread; /* of all: ns, ns, a stream's, bytes, yes */

void set(const char *line) {
    delay = number(line, " delay=", delay / 1000) * 1000;
    every = number(line, " every=", every / 1000) * 1000;
    events = number(line, " events=", events);
    size = number(line, " size=", size);
    spread = number(line, " spread=", spread);
}

static int take(struct conn *c) { /* bytes read; 0 at the end, -1 where there is nothing */
    grow(c, 4096);
    ssize_t got = recv(c->fd, c->in + c->length, (size_t)(c->room - c->length - 1), 0);
    if (got < 0) return errno == EAGAIN ? -1 : 0;
    c->length += (int)got;
    c->in[c->length] = 0;
    return (int)got;
}

static int whole_request(struct conn *c) { /* its length, once it is there */
    char *end = memmem(c->in, (size_t)c->length, "\r\n\r\n", 4);
    if (!end) return 0;
    int head = (int)(end - c->in) + 4;
    *end = 0;
    const char *length = field(c->in, "\ncontent-length:"), *coded = field(c->in, "\ntransfer-encoding:");
    int body = length ? atoi(length) : 0;
    *end = '\r';
    if (coded) {
        char *last = memmem(c->in + head, (size_t)(c->length - head), "0\r\n\r\n", 5);
        return last ? (int)(last - c->in) + 5 : 0;
    }
    return c->length >= head + body ? head + body : 0;
}

static int chunk(char *to, const char *data, int length) {
    int at = sprintf(to, "%x\r\n", length);
    memcpy(to + at, data, (size_t)length);
    memcpy(to + at + length, "\r\n", 2);
    return at + length + 2;
}

static int token(char *to) {
    char text[512];
    int length = sprintf(text, "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
                         "\"model\":\"chat\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%019lld\"},\"logprobs\":null,"
                         "\"finish_reason\":null}]}\n\n", now());
    return chunk(to, text, length);
}

void answer(struct conn *c) {
    static char out[1 << 20];
    int at = 0;
    if (!c->streams) {
        static const char body[] = "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"chat\","
            "\"usage\":{\"prompt_tokens\":17,\"completion_tokens\":9,\"total_tokens\":26},\"choices\":[{\"index\":0,"
            "\"finish_reason\":\"stop\",\"message\":{\"role\":\"assistant\",\"content\":\"";
        static const char close[] = "\"}}]}";
        int shell = (int)(sizeof body + sizeof close) - 2, fill = size > shell ? (int)size - shell : 0;
        at = sprintf(out, "HTTP/1.1 200 OK\r\ndate: Mon, 01 Jan 2024 00:00:00 GMT\r\nserver: uvicorn\r\n"
                     "content-length: %d\r\ncontent-type: application/json\r\n\r\n%s", shell + fill, body);
        memset(out + at, 'w', (size_t)fill);
        memcpy(out + at + fill, close, sizeof close - 1);
        at += fill + (int)sizeof close - 1;
        if (!put(c, out, at)) hang_up(c);
        return;
    }
    if (!c->event)
        at = sprintf(out, "HTTP/1.1 200 OK\r\ndate: Mon, 01 Jan 2024 00:00:00 GMT\r\nserver: uvicorn\r\ncache-control: no-cache\r\n"
                     "content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n");
    if (c->event < events) {
        at += token(out + at);
        c->event++;
        if (!put(c, out, at)) return hang_up(c);
        return later(c, now() + every);
    }
    static const char last[] = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
        "\"model\":\"chat\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    at += chunk(out + at, last, (int)sizeof last - 1);
    if (c->usage) {
        char text[256];
        int length = sprintf(text, "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[],\"usage\":"
                             "{\"prompt_tokens\":17,\"completion_tokens\":%lld,\"total_tokens\":%lld}}\n\n", events, events + 17);
        at += chunk(out + at, text, length);
    }
    at += chunk(out + at, "data: [DONE]\n\n", 14);
    memcpy(out + at, "0\r\n\r\n", 5);
    c->streams = 0;
    if (!put(c, out, at + 5)) hang_up(c);
}

static long long apart(void) { /* streams that begin together do not go on in step: each a golden part of `every` later */
    static double part;
    part += 0.6180339887498949;
    part -= part >= 1;
    return (long long)((double)every * part);
}

void engine(struct conn *c) {
    int got = take(c);
    if (!got) hang_up(c), free(c->in), c->in = NULL, c->room = 0;
    if (got <= 0) return;
    for (int length; c->fd >= 0 && c->length && (length = whole_request(c));) {
        if (!strncmp(c->in, "GET ", 4)) {
            static const char fine[] = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 53\r\n\r\n"
                "{\"object\":\"list\",\"data\":[{\"id\":\"chat\",\"object\":\"m\"}]}";
            if (!put(c, fine, (int)sizeof fine - 1)) return hang_up(c);
        } else {
            char kept = c->in[length];
            c->in[length] = 0;
            c->streams = strstr(c->in, "\"stream\":true") || strstr(c->in, "\"stream\": true");
            c->usage = strstr(c->in, "\"include_usage\":true") || strstr(c->in, "\"include_usage\": true");
            c->in[length] = kept;
            c->event = 0;
            long long wait = c->streams && spread ? apart() : delay;
            if (wait) later(c, now() + wait);
            else answer(c);
            if (c->fd < 0) return;
        }
        memmove(c->in, c->in + length, (size_t)(c->length - length));
        c->length -= length;
        c->in[c->length] = 0;
    }
}

