/* WebSocket load client for the benchmarks: one thread, epoll, Linux only, no dependency but libc.
 *
 * Opens N connections, keeps D messages in flight on each and counts the echoes. Message n of a
 * connection lives in slot n % D of the connection's ring, a ready masked frame of which only a
 * sequence number is rewritten; its slot is free again once the echo of message n - D has come, so
 * nothing is copied and everything that is due leaves in one sendmsg. Every answer is checked for
 * framing, length, type and order, and on a sample byte for byte; any wrong answer ends the run
 * with status 1. Prints "start" when the measured window opens and one JSON line when it closes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    STAMP_SIZE = 8,                /* hex digits of the sequence number that open a payload */
    FULL_CHECK_SIZE = 4096,        /* payloads up to this size are always compared whole */
    FULL_CHECK_EVERY = 16,         /* longer ones: one in so many */
    CONTROL_MAX = 125,
    STALL_S = 10,                  /* give up after so long without an echo */
    RECV_SIZE = 256 * 1024,
    EVENTS_MAX = 256,
    BUCKETS = 1 << 15
};

#define NS_PER_S UINT64_C(1000000000)
#define RING_BYTES_MAX (UINT64_C(2) << 30)

/* The sample of RFC 6455, section 1.3: a fixed key has a known answer. */
#define HANDSHAKE_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define HANDSHAKE_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum { OP_CONTINUATION = 0, OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

struct options {
    const char *host, *port, *path;
    size_t connections, size, depth;
    double seconds, warmup;
    bool text;
};

struct conn {
    int fd;
    bool want_write;
    uint8_t *ring;                 /* a window on the endless stream in which the next two count */
    uint64_t queued, sent;
    uint64_t *sent_at;             /* per slot, nanoseconds */
    uint64_t next_send, next_echo; /* sequence numbers */
    uint8_t pong[6 + CONTROL_MAX];
    size_t pong_len, pong_off;
    uint8_t head[10];              /* of the frame that is coming in */
    size_t head_len, head_need;
    uint64_t frame_left;           /* payload bytes of the current frame still to come */
    bool in_payload;
    bool in_message;
    size_t message_off;            /* payload bytes of the current message seen */
    uint8_t control[CONTROL_MAX];
    size_t control_len;
};

struct load {
    struct options opt;
    int epoll;
    struct conn *conns;
    uint8_t *payload;              /* what every message carries behind its stamp */
    size_t stamp_size;
    size_t frame_head;
    size_t frame_len;
    uint8_t *recv_buf;
    uint64_t now;
    uint64_t last_echo;
    uint64_t in_flight;
    uint64_t operations;
    uint64_t histogram[BUCKETS];
    bool measuring;
    bool draining;
};

__attribute__((noreturn, format(printf, 1, 2))) static void
die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

/* What a system call returned, unless it failed. */
static ssize_t
checked(ssize_t result, const char *call)
{
    if (result < 0) {
        die("%s: %s", call, strerror(errno));
    }
    return result;
}

static uint64_t
now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void *
allocate(size_t count, size_t size)
{
    void *memory = calloc(count != 0 ? count : 1, size != 0 ? size : 1);
    if (memory == NULL) {
        die("out of memory (%zu x %zu bytes)", count, size);
    }
    return memory;
}

/* Keys and payloads: the same in every run, so that no run has an easier one. */
static void
random_bytes(uint8_t *out, size_t size)
{
    static uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < size; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out[i] = (uint8_t)(state >> 24);
    }
}

/* The upper half of a float: buckets of equal relative width, below 1 %. */
static size_t
bucket_of(uint64_t ns)
{
    float value = (float)ns;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits >> 16;
}

static double
percentile_us(const struct load *load, double share)
{
    uint64_t rank = (uint64_t)(share * (double)load->operations);
    uint64_t seen = load->histogram[0];
    uint32_t bucket = 0;
    while (seen <= rank && bucket < BUCKETS - 1) {
        seen += load->histogram[++bucket];
    }
    uint32_t middle = bucket << 16 | 0x8000;
    float value;
    memcpy(&value, &middle, sizeof value);
    return load->operations != 0 ? (double)value / 1e3 : 0.0;
}

static void
stamp_of(uint64_t sequence, uint8_t out[STAMP_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = STAMP_SIZE - 1; i >= 0; i--) {
        out[i] = (uint8_t)digits[sequence & 15];
        sequence >>= 4;
    }
}

static void
build_payload(struct load *load)
{
    size_t size = load->opt.size;
    load->stamp_size = size >= STAMP_SIZE ? STAMP_SIZE : 0;
    load->payload = allocate(size, 1);
    random_bytes(load->payload, size);
    for (size_t i = 0; load->opt.text && i < size; i++) {
        load->payload[i] = (uint8_t)(' ' + load->payload[i] % 95);
    }
    load->frame_head = size < 126 ? 6 : size < 65536 ? 8 : 14;
    load->frame_len = load->frame_head + size;
}

/* One masked frame with a key of its own. */
static void
build_frame(const struct load *load, uint8_t *frame)
{
    size_t size = load->opt.size;
    size_t length_bytes = load->frame_head - 6;
    uint8_t *key = frame + load->frame_head - 4;
    uint8_t *body = frame + load->frame_head;

    frame[0] = 0x80 | (load->opt.text ? OP_TEXT : OP_BINARY);
    frame[1] = (uint8_t)(0x80 | (length_bytes == 0 ? size : length_bytes == 2 ? 126 : 127));
    for (size_t i = 0; i < length_bytes; i++) {
        frame[2 + i] = (uint8_t)((uint64_t)size >> (8 * (length_bytes - 1 - i)));
    }
    random_bytes(key, 4);
    for (size_t i = 0; i < size; i++) {
        body[i] = load->payload[i] ^ key[i & 3];
    }
}

static void
queue_message(struct load *load, struct conn *conn)
{
    size_t slot = (size_t)(conn->next_send % load->opt.depth);
    uint8_t *body = conn->ring + slot * load->frame_len + load->frame_head;
    const uint8_t *key = body - 4;

    if (load->stamp_size != 0) {
        uint8_t stamp[STAMP_SIZE];
        stamp_of(conn->next_send, stamp);
        for (size_t i = 0; i < STAMP_SIZE; i++) {
            body[i] = stamp[i] ^ key[i & 3];
        }
    }
    conn->sent_at[slot] = load->now;
    conn->next_send++;
    conn->queued += load->frame_len;
    load->in_flight++;
}

static void
watch(const struct load *load, struct conn *conn, bool want_write)
{
    if (conn->want_write == want_write) {
        return;
    }
    struct epoll_event event = {.events = EPOLLIN | (want_write ? EPOLLOUT : 0),
                                .data.ptr = conn};
    checked(epoll_ctl(load->epoll, EPOLL_CTL_MOD, conn->fd, &event), "epoll_ctl");
    conn->want_write = want_write;
}

/* The bytes to send next: a due pong between two frames, otherwise what the ring holds. */
static int
next_output(const struct load *load, struct conn *conn, struct iovec iov[2])
{
    size_t ring_size = load->opt.depth * load->frame_len;
    size_t into_frame = (size_t)(conn->sent % load->frame_len);
    size_t at = (size_t)(conn->sent % ring_size);
    size_t left = (size_t)(conn->queued - conn->sent);

    if (conn->pong_len != 0) {
        if (into_frame == 0) {
            iov[0].iov_base = conn->pong + conn->pong_off;
            iov[0].iov_len = conn->pong_len - conn->pong_off;
            return 1;
        }
        left = load->frame_len - into_frame;
    }
    if (left == 0) {
        return 0;
    }
    size_t first = left < ring_size - at ? left : ring_size - at;
    iov[0].iov_base = conn->ring + at;
    iov[0].iov_len = first;
    iov[1].iov_base = conn->ring;
    iov[1].iov_len = left - first;
    return left > first ? 2 : 1;
}

static void
flush(const struct load *load, struct conn *conn)
{
    for (;;) {
        struct iovec iov[2];
        int count = next_output(load, conn, iov);
        if (count == 0) {
            watch(load, conn, false);
            return;
        }
        struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)count};
        ssize_t n = sendmsg(conn->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            watch(load, conn, true);
            return;
        }
        checked(n, "sendmsg");
        if (iov[0].iov_base == conn->pong + conn->pong_off) {
            conn->pong_off += (size_t)n;
            if (conn->pong_off == conn->pong_len) {
                conn->pong_len = conn->pong_off = 0;
            }
        }
        else {
            conn->sent += (uint64_t)n;
        }
    }
}

/* RFC 6455, 5.5.3: when several pings come before a pong has left, the latest answer is enough. */
static void
queue_pong(struct conn *conn)
{
    conn->pong[0] = 0x80 | OP_PONG;
    conn->pong[1] = (uint8_t)(0x80 | conn->control_len);
    random_bytes(conn->pong + 2, 4);
    for (size_t i = 0; i < conn->control_len; i++) {
        conn->pong[6 + i] = conn->control[i] ^ conn->pong[2 + (i & 3)];
    }
    conn->pong_len = 6 + conn->control_len;
}

static void
end_message(struct load *load, struct conn *conn)
{
    if (conn->message_off != load->opt.size) {
        die("wrong echo: %zu bytes instead of %zu", conn->message_off, load->opt.size);
    }
    uint64_t sent_at = conn->sent_at[conn->next_echo % load->opt.depth];
    conn->in_message = false;
    conn->message_off = 0;
    conn->next_echo++;
    load->in_flight--;
    load->last_echo = load->now;
    if (load->measuring) {
        load->operations++;
        load->histogram[bucket_of(load->now - sent_at)]++;
    }
    if (!load->draining) {
        queue_message(load, conn);
    }
}

static void
end_frame(struct load *load, struct conn *conn)
{
    uint8_t opcode = conn->head[0] & 0x0f;
    conn->in_payload = false;
    conn->head_len = 0;
    conn->head_need = 2;
    if (opcode == OP_PING && conn->pong_off == 0) {
        queue_pong(conn);
    }
    else if (opcode == OP_CLOSE) {
        die("the server closed the connection (code %u)", conn->control_len < 2 ? 1005U
            : (unsigned)conn->control[0] << 8 | conn->control[1]);
    }
    else if (opcode < OP_CLOSE && (conn->head[0] & 0x80) != 0) {
        end_message(load, conn);
    }
}

static uint64_t
frame_length(const struct conn *conn)
{
    uint64_t length = 0;
    if (conn->head_need == 2) {
        return conn->head[1] & 0x7f;
    }
    for (size_t i = 2; i < conn->head_need; i++) {
        length = length << 8 | conn->head[i];
    }
    if (length < 126 || (conn->head_need == 10 && length < 65536)) {
        die("wrong frame: length %llu is not in its shortest form", (unsigned long long)length);
    }
    return length;
}

static void
begin_frame(const struct load *load, struct conn *conn)
{
    uint8_t first = conn->head[0];
    uint8_t opcode = first & 0x0f;
    uint64_t length = frame_length(conn);

    if ((first & 0x70) != 0 || (conn->head[1] & 0x80) != 0) {
        die("wrong frame: masked, or reserved bits set (first byte 0x%02x)", first);
    }
    if (opcode == OP_CLOSE || opcode == OP_PING || opcode == OP_PONG) {
        if (length > CONTROL_MAX || (first & 0x80) == 0) {
            die("wrong frame: control frame too long or fragmented");
        }
        conn->control_len = 0;
    }
    else {
        uint8_t expected = conn->in_message ? OP_CONTINUATION
                           : load->opt.text ? OP_TEXT : OP_BINARY;
        if (opcode != expected) {
            die("wrong frame: opcode %u instead of %u", opcode, expected);
        }
        if (length > load->opt.size - conn->message_off || conn->next_echo == conn->next_send) {
            die("wrong echo: more than was sent");
        }
        conn->in_message = true;
    }
    conn->frame_left = length;
    conn->in_payload = true;
}

/* The stamp of every message, and on a sample the rest. */
static void
check_payload(const struct load *load, const struct conn *conn, const uint8_t *data, size_t size)
{
    size_t at = conn->message_off;
    if (at < load->stamp_size) {
        uint8_t stamp[STAMP_SIZE];
        size_t part = load->stamp_size - at < size ? load->stamp_size - at : size;
        stamp_of(conn->next_echo, stamp);
        if (memcmp(data, stamp + at, part) != 0) {
            die("wrong echo: message %llu out of order or damaged",
                (unsigned long long)conn->next_echo);
        }
        at += part;
        data += part;
        size -= part;
    }
    bool whole = load->opt.size <= FULL_CHECK_SIZE || conn->next_echo % FULL_CHECK_EVERY == 0;
    if (whole && memcmp(data, load->payload + at, size) != 0) {
        die("wrong echo: content of message %llu differs", (unsigned long long)conn->next_echo);
    }
}

static size_t
take_head(const struct load *load, struct conn *conn, const uint8_t *data, size_t size)
{
    size_t taken = 0;
    while (taken < size && conn->head_len < conn->head_need) {
        conn->head[conn->head_len++] = data[taken++];
        if (conn->head_len == 2) {
            uint8_t length = conn->head[1] & 0x7f;
            conn->head_need = length < 126 ? 2 : length == 126 ? 4 : 10;
        }
    }
    if (conn->head_len == conn->head_need) {
        begin_frame(load, conn);
    }
    return taken;
}

static size_t
take_payload(const struct load *load, struct conn *conn, const uint8_t *data, size_t size)
{
    size_t taken = conn->frame_left < size ? (size_t)conn->frame_left : size;
    if ((conn->head[0] & 0x0f) >= OP_CLOSE) {
        memcpy(conn->control + conn->control_len, data, taken);
        conn->control_len += taken;
    }
    else {
        check_payload(load, conn, data, taken);
        conn->message_off += taken;
    }
    conn->frame_left -= taken;
    return taken;
}

static void
consume(struct load *load, struct conn *conn, const uint8_t *data, size_t size)
{
    while (size > 0) {
        size_t taken = conn->in_payload ? take_payload(load, conn, data, size)
                                        : take_head(load, conn, data, size);
        data += taken;
        size -= taken;
        if (conn->in_payload && conn->frame_left == 0) {
            end_frame(load, conn);
        }
    }
}

static void
receive(struct load *load, struct conn *conn)
{
    ssize_t n = recv(conn->fd, load->recv_buf, RECV_SIZE, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (checked(n, "recv") == 0) {
        die("the server dropped the connection");
    }
    load->now = now_ns();
    consume(load, conn, load->recv_buf, (size_t)n);
}

static int
connect_to(const struct addrinfo *address)
{
    int one = 1;
    int fd = (int)checked(socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    checked(connect(fd, address->ai_addr, address->ai_addrlen), "connect");
    struct timeval limit = {.tv_sec = STALL_S};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}

static void
check_response(const char *response)
{
    if (strncmp(response, "HTTP/1.1 101 ", 13) != 0) {
        die("handshake refused: %.*s", (int)strcspn(response, "\r\n"), response);
    }
    if (strcasestr(response, "\r\nSec-WebSocket-Accept: " HANDSHAKE_ACCEPT "\r\n") == NULL) {
        die("handshake without the right Sec-WebSocket-Accept");
    }
    if (strcasestr(response, "\r\nSec-WebSocket-Extensions:") != NULL) {
        die("handshake with an extension nobody offered");
    }
}

static void
handshake(const struct options *opt, int fd)
{
    char buffer[4096];
    size_t filled = 0;
    const char *end = NULL;
    int length = snprintf(buffer, sizeof buffer,
                          "GET %s HTTP/1.1\r\nHost: %s:%s\r\nUpgrade: websocket\r\n"
                          "Connection: Upgrade\r\nSec-WebSocket-Key: " HANDSHAKE_KEY "\r\n"
                          "Sec-WebSocket-Version: 13\r\n\r\n",
                          opt->path, opt->host, opt->port);
    if (length < 0 || (size_t)length >= sizeof buffer) {
        die("the path is too long");
    }
    checked(send(fd, buffer, (size_t)length, MSG_NOSIGNAL), "handshake: send");
    while (end == NULL) {
        ssize_t n = recv(fd, buffer + filled, sizeof buffer - 1 - filled, 0);
        if (checked(n, "handshake: recv") == 0) {
            die("handshake: no complete answer");
        }
        filled += (size_t)n;
        buffer[filled] = '\0';
        end = strstr(buffer, "\r\n\r\n");
    }
    check_response(buffer);
    if (end + 4 != buffer + filled) {
        die("data after the handshake that answers nothing");
    }
}

static void
open_connections(struct load *load)
{
    const struct options *opt = &load->opt;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *address = NULL;
    int error = getaddrinfo(opt->host, opt->port, &hints, &address);
    if (error != 0) {
        die("%s:%s: %s", opt->host, opt->port, gai_strerror(error));
    }
    load->conns = allocate(opt->connections, sizeof *load->conns);
    for (size_t i = 0; i < opt->connections; i++) {
        struct conn *conn = &load->conns[i];
        conn->fd = connect_to(address);
        handshake(opt, conn->fd);
        conn->head_need = 2;
        conn->sent_at = allocate(opt->depth, sizeof *conn->sent_at);
        conn->ring = allocate(opt->depth, load->frame_len);
        for (size_t slot = 0; slot < opt->depth; slot++) {
            build_frame(load, conn->ring + slot * load->frame_len);
        }
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
        checked(epoll_ctl(load->epoll, EPOLL_CTL_ADD, conn->fd, &event), "epoll_ctl");
    }
    freeaddrinfo(address);
}

/* A close frame (1000) on each, then a moment for the server to answer it. */
static void
close_connections(const struct load *load)
{
    static const uint8_t goodbye[8] = {0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe8 ^ 2};
    for (size_t i = 0; i < load->opt.connections; i++) {
        checked(send(load->conns[i].fd, goodbye, sizeof goodbye, MSG_NOSIGNAL), "send close");
    }
    usleep(100 * 1000);
}

static void
turn(struct load *load)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(load->epoll, events, EVENTS_MAX, 100);
    if (count >= 0 || errno != EINTR) {
        checked(count, "epoll_wait");
    }
    load->now = now_ns();
    for (int i = 0; i < count; i++) {
        struct conn *conn = events[i].data.ptr;
        if ((events[i].events & ~(uint32_t)EPOLLOUT) != 0) {
            receive(load, conn);
        }
        flush(load, conn);
    }
    if (load->now - load->last_echo > STALL_S * NS_PER_S) {
        die("no echo for %d s", STALL_S);
    }
}

static void
measure(struct load *load)
{
    uint64_t begin = now_ns();
    load->now = load->last_echo = begin;
    for (size_t i = 0; i < load->opt.connections; i++) {
        for (size_t d = 0; d < load->opt.depth; d++) {
            queue_message(load, &load->conns[i]);
        }
        flush(load, &load->conns[i]);
    }
    while (load->now < begin + (uint64_t)(load->opt.warmup * 1e9)) {
        turn(load);
    }
    puts("start");
    fflush(stdout);
    begin = load->now;
    load->measuring = true;
    while (load->now < begin + (uint64_t)(load->opt.seconds * 1e9)) {
        turn(load);
    }
    load->measuring = false;
    load->draining = true;
    printf("{\"operations\": %llu, \"seconds\": %.6f, "
           "\"latency_us\": {\"p50\": %.2f, \"p99\": %.2f}}\n",
           (unsigned long long)load->operations, (double)(load->now - begin) / 1e9,
           percentile_us(load, 0.50), percentile_us(load, 0.99));
    fflush(stdout);

    while (load->in_flight > 0) {
        turn(load);
    }
}

static double
parse_number(const char *name, double low, double high, bool whole)
{
    char *end;
    double value = strtod(optarg, &end);
    if (end == optarg || *end != '\0' || !(value >= low && value <= high)
        || (whole && value != (double)(size_t)value)) {
        die("--%s: expected a %snumber from %.0f to %.0f, got '%s'", name, whole ? "whole " : "",
            low, high, optarg);
    }
    return value;
}

static void
parse_options(struct options *opt, int argc, char **argv)
{
    static const struct option known[] = {
        {"host", 1, NULL, 'h'},    {"port", 1, NULL, 'p'},   {"path", 1, NULL, 'P'},
        {"size", 1, NULL, 's'},    {"depth", 1, NULL, 'd'},  {"connections", 1, NULL, 'c'},
        {"seconds", 1, NULL, 'S'}, {"warmup", 1, NULL, 'w'}, {"binary", 0, NULL, 'b'},
        {"text", 0, NULL, 't'},    {NULL, 0, NULL, 0}};
    int code;
    while ((code = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (code) {
        case 'h': opt->host = optarg; break;
        case 'p': opt->port = optarg; break;
        case 'P': opt->path = optarg; break;
        case 'c': opt->connections = (size_t)parse_number("connections", 1, 1e6, true); break;
        case 's': opt->size = (size_t)parse_number("size", 0, 1e9, true); break;
        case 'd': opt->depth = (size_t)parse_number("depth", 1, 65536, true); break;
        case 'S': opt->seconds = parse_number("seconds", 0, 86400, false); break;
        case 'w': opt->warmup = parse_number("warmup", 0, 86400, false); break;
        case 'b': opt->text = false; break;
        case 't': opt->text = true; break;
        default: die("usage: load [--host H] [--port N] [--path P] [--connections N] "
                     "[--size BYTES] [--depth D] [--seconds S] [--warmup S] [--binary|--text]");
        }
    }
    if (optind != argc) {
        die("unexpected argument '%s'", argv[optind]);
    }
}

int
main(int argc, char **argv)
{
    static struct load load = {
        .opt = {.host = "127.0.0.1", .port = "8000", .path = "/", .connections = 1, .size = 32,
                .depth = 1, .seconds = 5.0, .warmup = 1.0}};
    parse_options(&load.opt, argc, argv);
    build_payload(&load);
    if (load.frame_len > RING_BYTES_MAX / load.opt.depth / load.opt.connections) {
        die("size x depth x connections is more than 2 GiB");
    }
    load.recv_buf = allocate(RECV_SIZE, 1);
    load.epoll = (int)checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    open_connections(&load);
    measure(&load);
    close_connections(&load);
    return 0;
}
