/* Sockets and what leaves through them. */
#define _GNU_SOURCE
#include "connection.h"

#include "client.h"
#include "common.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    RUNS_MAX = 8,
    SENDS_MAX = 4, /* of one connection before it is the turn of the next */
    BUFFER_MIN = 512,
    SLOW_RECEIVE_BUFFER = 4096,
    FIN = 0x80
};

void
buffer_reserve(struct buffer *buffer, size_t size)
{
    if (buffer->capacity - buffer->end >= size) {
        return;
    }
    size_t capacity = buffer->capacity < BUFFER_MIN ? BUFFER_MIN : buffer->capacity;
    while (capacity - buffer->end < size) {
        capacity *= 2;
    }
    buffer->data = realloc(buffer->data, capacity);
    if (buffer->data == NULL) {
        die("out of memory (a buffer of %zu bytes)", capacity);
    }
    buffer->capacity = capacity;
}

void
buffer_append(struct buffer *buffer, const void *data, size_t size)
{
    buffer_reserve(buffer, size);
    if (size > 0) {
        memcpy(buffer->data + buffer->end, data, size);
        buffer->end += size;
    }
}

void
buffer_free(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}

void
connection_watch(struct client *client, struct connection *connection, uint32_t events)
{
    if (connection->events != events) {
        struct epoll_event event = {.events = events, .data.ptr = connection};
        checked(epoll_ctl(client->epoll, EPOLL_CTL_MOD, connection->fd, &event), "epoll_ctl");
        connection->events = events;
    }
}

void
connection_reset(struct client *client, struct connection *connection)
{
    if (connection->state == CONNECTION_CONNECTING || connection->state == CONNECTION_HANDSHAKE) {
        client->opening--;
    }
    else if (connection->state != CONNECTION_IDLE) {
        client->open--;
    }
    if (connection->fd >= 0) {
        close(connection->fd);
    }
    buffer_free(&connection->out);
    buffer_free(&connection->in);
    inflate_free(connection->decompressor);
    *connection = (struct connection){.fd = -1,
                                      .state = CONNECTION_IDLE,
                                      .index = connection->index,
                                      .began = connection->began,
                                      .bytes_out = connection->bytes_out,
                                      .head_need = 2};
}

void
connection_fail(struct client *client, struct connection *connection, enum ending ending,
                const char *format, ...)
{
    char reason[256];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    connection_reset(client, connection);
    client->handler->ended(client, connection, ending, reason);
}

static void
fail_errno(struct client *client, struct connection *connection, const char *call)
{
    enum ending ending = errno == ECONNRESET || errno == EPIPE ? ENDED_RESET : ENDED_FAILED;
    connection_fail(client, connection, ending, "%s: %s", call, strerror(errno));
}

/* The port is chosen at connect, so that every source address has all of them. */
static void
bind_source(int fd, unsigned source)
{
    int yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + source)};
    checked(setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes),
            "IP_BIND_ADDRESS_NO_PORT");
    checked(bind(fd, (struct sockaddr *)&address, sizeof address), "bind");
}

void
connection_connect(struct client *client, struct connection *connection, unsigned source)
{
    int yes = 1;
    int fd = (int)checked(
        socket(client->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
        "socket");
    connection->fd = fd;
    connection->began = client->now;
    connection->state = CONNECTION_CONNECTING;
    client->opening++;
    checked(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes), "TCP_NODELAY");
    if (client->options->mode == MODE_SLOW && connection->index >= client->options->connections) {
        int size = SLOW_RECEIVE_BUFFER;
        checked(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), "SO_RCVBUF");
    }
    if (client->loopback && source != 0) {
        bind_source(fd, source);
    }
    int result = connect(fd, (struct sockaddr *)&client->address, client->address_size);
    if (result < 0 && errno != EINPROGRESS) {
        fail_errno(client, connection, "connect");
        return;
    }
    connection->events = result < 0 ? EPOLLOUT : EPOLLIN;
    struct epoll_event event = {.events = connection->events, .data.ptr = connection};
    checked(epoll_ctl(client->epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
    if (result == 0) {
        handshake_send(client, connection);
    }
}

static void
finish_connect(struct client *client, struct connection *connection)
{
    int error = 0;
    socklen_t size = sizeof error;
    checked(getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size), "SO_ERROR");
    if (error != 0) {
        errno = error;
        fail_errno(client, connection, "connect");
        return;
    }
    connection_watch(client, connection, EPOLLIN);
    handshake_send(client, connection);
}

void
connection_queue(struct connection *connection, uint8_t opcode, const void *payload, size_t size)
{
    struct buffer *out = &connection->out;
    if (out->start == out->end) {
        out->start = out->end = 0;
    }
    buffer_reserve(out, size + FRAME_HEAD_MAX);
    out->end += frame_build(out->data + out->end, FIN | opcode, payload, size);
}

void
connection_close(struct connection *connection)
{
    static const uint8_t code[2] = {CLOSE_NORMAL >> 8, CLOSE_NORMAL & 0xff};
    connection_queue(connection, OP_CLOSE, code, sizeof code);
    connection->queued = connection->sent + (connection->sent_part != 0);
    connection->state = CONNECTION_CLOSING;
}

/* The frames that wait, in the order in which they leave; the buffer's go first, but not into the
 * middle of a frame. */
static int
gather(const struct client *client, const struct connection *connection, struct iovec *runs)
{
    const struct buffer *out = &connection->out;
    bool buffered = out->start != out->end;
    if (buffered && connection->sent_part == 0) {
        runs[0] = (struct iovec){out->data + out->start, out->end - out->start};
        return 1;
    }
    uint64_t number = connection->sent;
    uint64_t end = buffered ? number + 1 : connection->queued;
    int count = 0;
    while (number < end && count < RUNS_MAX) {
        size_t most = end - number < client->messages->count ? (size_t)(end - number)
                                                             : client->messages->count;
        number += messages_run(client->messages, connection->place + number, number, most,
                               &runs[count++]);
    }
    if (count > 0) {
        runs[0].iov_base = (uint8_t *)runs[0].iov_base + connection->sent_part;
        runs[0].iov_len -= connection->sent_part;
    }
    return count;
}

/* Moves on by what a send took. */
static void
advance(const struct client *client, struct connection *connection, bool buffered, size_t size)
{
    if (buffered) {
        connection->out.start += size;
        return;
    }
    size += connection->sent_part;
    while (connection->sent < connection->queued) {
        struct iovec frame;
        messages_run(client->messages, connection->place + connection->sent, connection->sent, 1,
                     &frame);
        if (size < frame.iov_len) {
            break;
        }
        size -= frame.iov_len;
        connection->sent++;
    }
    connection->sent_part = size;
}

static ssize_t
send_runs(int fd, struct iovec *runs, size_t count)
{
    if (count == 1) {
        return send(fd, runs->iov_base, runs->iov_len, MSG_NOSIGNAL);
    }
    struct msghdr message = {.msg_iov = runs, .msg_iovlen = count};
    return sendmsg(fd, &message, MSG_NOSIGNAL);
}

void
connection_flush(struct client *client, struct connection *connection)
{
    struct iovec runs[RUNS_MAX];
    int count;
    for (int sends = 0; (count = gather(client, connection, runs)) > 0; sends++) {
        bool buffered = connection->out.start != connection->out.end && connection->sent_part == 0;
        if (sends == SENDS_MAX) {
            connection_watch(client, connection, connection->events | EPOLLOUT);
            return;
        }
        ssize_t n = send_runs(connection->fd, runs, (size_t)count);
        if (n < 0 && errno == EAGAIN) {
            connection_watch(client, connection, connection->events | EPOLLOUT);
            return;
        }
        if (n < 0) {
            fail_errno(client, connection, "send");
            return;
        }
        connection->bytes_out += (size_t)n;
        client->bytes_sent += (size_t)n;
        advance(client, connection, buffered, (size_t)n);
    }
    connection_watch(client, connection, connection->events & ~(uint32_t)EPOLLOUT);
}

static void
end_of_stream(struct client *client, struct connection *connection)
{
    if (connection->close_received) {
        connection_fail(client, connection, ENDED_CLOSED, "closed");
    }
    else {
        connection_fail(client, connection, ENDED_FAILED, "the server ended the TCP connection %s",
                        connection->state == CONNECTION_HANDSHAKE ? "during the handshake"
                                                                  : "without a close frame");
    }
}

static void
receive(struct client *client, struct connection *connection)
{
    ssize_t n = recv(connection->fd, client->received, RECEIVE_SIZE, 0);
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    client->now = now_ns();
    if (n < 0) {
        fail_errno(client, connection, "recv");
        return;
    }
    if (n == 0) {
        end_of_stream(client, connection);
        return;
    }
    client->bytes_received += (size_t)n;
    size_t used = 0;
    if (connection->state == CONNECTION_HANDSHAKE) {
        used = handshake_receive(client, connection, client->received, (size_t)n);
    }
    if (connection->state >= CONNECTION_OPEN) {
        receive_bytes(client, connection, client->received + used, (size_t)n - used);
    }
}

void
connection_ready(struct client *client, struct connection *connection, uint32_t events)
{
    if (connection->state == CONNECTION_CONNECTING) {
        finish_connect(client, connection);
        return;
    }
    if ((events & ~(uint32_t)EPOLLOUT) != 0) {
        receive(client, connection);
    }
    if (connection->state != CONNECTION_IDLE) {
        connection_flush(client, connection);
    }
}
