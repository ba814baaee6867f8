/* One connection: what waits to be sent, and the state of the parser of what comes in. */
#ifndef LOAD_CONNECTION_H
#define LOAD_CONNECTION_H

#include "messages.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CONTROL_MAX = 125, CLOSE_NORMAL = 1000, CLOSE_NO_STATUS = 1005 };

struct client;

enum connection_state {
    CONNECTION_IDLE, /* no socket */
    CONNECTION_CONNECTING,
    CONNECTION_HANDSHAKE, /* the request is on its way, the answer not complete */
    CONNECTION_OPEN,
    CONNECTION_CLOSING /* our close frame is queued */
};

enum ending {
    ENDED_CLOSED,  /* we began the closing handshake, and the server answered and ended TCP */
    ENDED_REFUSED, /* 503 instead of 101 */
    ENDED_RESET,
    ENDED_FAILED /* anything else */
};

struct buffer {
    uint8_t *data;
    size_t start, end, capacity;
};

struct connection {
    int fd;
    enum connection_state state;
    uint32_t events; /* what epoll watches for */
    size_t index;
    uint64_t began; /* connect, nanoseconds */

    struct buffer out;     /* whole frames; they leave between two messages of the set */
    uint64_t place;        /* the connection's own beginning in the set of messages */
    uint64_t queued, sent; /* messages of the set */
    size_t sent_part;      /* bytes of message number `sent` that have left */
    uint64_t bytes_out;    /* everything sent */

    struct buffer in; /* an incomplete answer to the handshake, later an incomplete message */
    uint8_t head[10];
    size_t head_length, head_need;
    uint64_t frame_left;
    bool in_payload, in_message;
    bool compressed; /* the message that is coming in */
    bool close_received;
    uint8_t opcode;          /* of the message that is coming in */
    uint64_t message_offset; /* bytes of it that the mode has seen, decompressed */
    uint8_t control[CONTROL_MAX];
    size_t control_length;
    z_stream *decompressor;
};

void buffer_reserve(struct buffer *buffer, size_t size);
void buffer_append(struct buffer *buffer, const void *data, size_t size);
void buffer_free(struct buffer *buffer);

/* Begins a TCP connection from 127.0.0.`source` (0: wherever); a failure is reported to the mode's
 * handler. */
void connection_connect(struct client *client, struct connection *connection, unsigned source);

/* Frees the socket and all buffers, tells nobody. */
void connection_reset(struct client *client, struct connection *connection);

/* connection_reset, then the mode's `ended`, with the reason as text. */
void connection_fail(struct client *client, struct connection *connection, enum ending ending,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Queues one message or control frame; connection_flush sends it. */
void connection_queue(struct connection *connection, uint8_t opcode, const void *payload,
                      size_t size);

/* Queues a close frame with code 1000. */
void connection_close(struct connection *connection);

/* Sends what is queued as far as the socket takes it. */
void connection_flush(struct client *client, struct connection *connection);

/* What epoll reported. */
void connection_ready(struct client *client, struct connection *connection, uint32_t events);

/* Chooses what epoll watches for. */
void connection_watch(struct client *client, struct connection *connection, uint32_t events);

/* Parses received bytes behind the handshake (receive.c). */
void receive_bytes(struct client *client, struct connection *connection, const uint8_t *data,
                   size_t size);

/* The request, and the answer as far as it has come; returns how many bytes of it were used
 * (handshake.c). */
void handshake_send(struct client *client, struct connection *connection);
size_t handshake_receive(struct client *client, struct connection *connection, const uint8_t *data,
                         size_t size);

#endif
