/* Echo connections: what the modes echo and slow share. */
#ifndef LOAD_ECHO_H
#define LOAD_ECHO_H

#include "client.h"
#include "histogram.h"
#include "messages.h"
#include "schedule.h"

struct echo_peer {
    uint64_t next_send, next_echo; /* how many messages were queued, how many echoed */
    uint64_t *sent_at;             /* closed loop: when, message n at n % depth */
};

struct echo {
    struct messages messages;
    struct schedule schedule;
    struct echo_peer *peers;
    size_t peer_count;
    uint64_t limit; /* messages that one connection may have in flight */
    uint64_t in_flight;
    uint64_t operations;
    struct histogram latency;
};

/* client->state must be the struct echo; the first --connections connections are its peers. */
void echo_begin(struct client *client, struct echo *echo);

/* Sends the first messages: the peers are open. */
void echo_start(struct client *client);

/* Parts of a handler. */
void echo_opened(struct client *client, struct connection *connection);
void echo_data(struct client *client, struct connection *connection, const uint8_t *data,
               size_t size, bool last);
void echo_turn(struct client *client);
void echo_awaited(const struct client *client, char *out, size_t size);

/* Waits for the echoes that are due; a fault if there are fewer. */
void echo_drain(struct client *client);

#endif
