/* Mode echo: every message comes back on its own connection, in order, byte for byte. */
#include "echo.h"

#include "common.h"
#include "modes.h"
#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PLACE_STEP = 389 }; /* neighbours begin far apart in the set of messages */

void
echo_begin(struct client *client, struct echo *echo)
{
    const struct options *options = client->options;
    messages_build(&echo->messages, options);
    client->messages = &echo->messages;
    echo->peer_count = options->connections;
    echo->peers = allocate(echo->peer_count, sizeof *echo->peers);
    echo->limit = options->rate > 0 ? echo->messages.count / 2 : options->depth;
    for (size_t i = 0; i < echo->peer_count; i++) {
        echo->peers[i].sent_at = allocate(options->depth, sizeof *echo->peers[i].sent_at);
    }
}

void
echo_opened(struct client *client, struct connection *connection)
{
    connection->place = connection->index * PLACE_STEP % client->messages->count;
}

static void
queue_message(struct client *client, struct echo *echo, struct connection *connection)
{
    struct echo_peer *peer = &echo->peers[connection->index];
    peer->sent_at[peer->next_send++ % client->options->depth] = client->now;
    connection->queued++;
    echo->in_flight++;
}

/* With a schedule: everything of this connection that is due, as far as the limit lets it. */
static void
queue_due(struct client *client, struct echo *echo, struct connection *connection)
{
    struct echo_peer *peer = &echo->peers[connection->index];
    while (peer->next_send - peer->next_echo < echo->limit
           && schedule_due(&echo->schedule, connection->index, peer->next_send) <= client->now) {
        queue_message(client, echo, connection);
    }
}

void
echo_start(struct client *client)
{
    struct echo *echo = client->state;
    client->now = now_ns();
    if (client->options->rate > 0) {
        schedule_begin(&echo->schedule, client->options->rate, echo->peer_count, client->now);
        client->wake = client->now;
        return;
    }
    for (size_t i = 0; i < echo->peer_count && client->fault[0] == '\0'; i++) {
        for (uint64_t n = 0; n < echo->limit; n++) {
            queue_message(client, echo, &client->connections[i]);
        }
        connection_flush(client, &client->connections[i]);
    }
}

void
echo_turn(struct client *client)
{
    struct echo *echo = client->state;
    size_t stream;
    if (client->options->rate <= 0 || client->draining || client->wake == 0) {
        return;
    }
    if (echo->in_flight == 0) {
        client->progress = client->now;
    }
    while ((stream = schedule_take(&echo->schedule, client->now)) != SIZE_MAX
           && client->fault[0] == '\0') {
        queue_due(client, echo, &client->connections[stream]);
        connection_flush(client, &client->connections[stream]);
    }
    client->wake = schedule_next(&echo->schedule);
}

static void
end_message(struct client *client, struct echo *echo, struct connection *connection)
{
    struct echo_peer *peer = &echo->peers[connection->index];
    uint64_t number = peer->next_echo++;
    bool scheduled = client->options->rate > 0;
    echo->in_flight--;
    client->progress = client->now;
    if (client->measuring) {
        uint64_t since = scheduled ? schedule_due(&echo->schedule, connection->index, number)
                                   : peer->sent_at[number % client->options->depth];
        echo->operations++;
        histogram_add(&echo->latency, client->now - since);
    }
    if (client->draining) {
        return;
    }
    if (scheduled) {
        queue_due(client, echo, connection);
    }
    else {
        queue_message(client, echo, connection);
    }
}

/* Says what came instead: another message of the set, if one can be recognised, or damage. */
static void
mismatch(struct client *client, const struct connection *connection, const uint8_t *data,
         size_t size)
{
    const struct echo *echo = client->state;
    const struct messages *messages = &echo->messages;
    const struct echo_peer *peer = &echo->peers[connection->index];
    uint64_t expected = (connection->place + peer->next_echo) % messages->count;
    const uint8_t *plain = messages_plain(messages, expected) + connection->message_offset;
    size_t at = 0;
    while (at < size && data[at] == plain[at]) {
        at++;
    }
    uint64_t got = UINT64_MAX;
    if (connection->message_offset == 0 && size >= messages->stamp_at + messages->stamp_size) {
        got = messages_stamp(messages, data);
    }
    if (got < messages->count && memcmp(data, messages_plain(messages, got), size) == 0) {
        bool earlier = (expected - got + messages->count) % messages->count <= messages->count / 2;
        client_fault(client,
                     "connection %zu: expected message %" PRIu64 " (%" PRIu64
                     " of the set), got %" PRIu64 " of the set: %s",
                     connection->index, peer->next_echo, expected, got,
                     earlier ? "duplicated or reordered" : "lost or reordered");
        return;
    }
    client_fault(client,
                 "connection %zu: message %" PRIu64 " is corrupted: byte %" PRIu64
                 ": expected 0x%02x, got 0x%02x",
                 connection->index, peer->next_echo, connection->message_offset + at, plain[at],
                 data[at]);
}

void
echo_data(struct client *client, struct connection *connection, const uint8_t *data, size_t size,
          bool last)
{
    struct echo *echo = client->state;
    const struct messages *messages = &echo->messages;
    const struct echo_peer *peer = &echo->peers[connection->index];
    size_t offset = (size_t)connection->message_offset;

    if (peer->next_echo == peer->next_send) {
        client_fault(client,
                     "connection %zu: got a message, but all %" PRIu64
                     " were already echoed: duplicated",
                     connection->index, peer->next_send);
    }
    else if (connection->opcode != messages->opcode) {
        client_fault(client, "connection %zu: message %" PRIu64 ": expected opcode %u, got %u",
                     connection->index, peer->next_echo, messages->opcode, connection->opcode);
    }
    else if (size > messages->size - offset || (last && size != messages->size - offset)) {
        client_fault(client,
                     "connection %zu: message %" PRIu64
                     " is corrupted: expected %zu bytes, got %s%zu",
                     connection->index, peer->next_echo, messages->size, last ? "" : "at least ",
                     offset + size);
    }
    else if (memcmp(data, messages_plain(messages, connection->place + peer->next_echo) + offset,
                    size)
             != 0) {
        mismatch(client, connection, data, size);
    }
    else if (last) {
        end_message(client, echo, connection);
    }
    else {
        client->progress = client->now;
    }
}

void
echo_awaited(const struct client *client, char *out, size_t size)
{
    const struct echo *echo = client->state;
    size_t index = 0;
    while (index + 1 < echo->peer_count
           && echo->peers[index].next_echo == echo->peers[index].next_send) {
        index++;
    }
    snprintf(out, size,
             "the echo of message %" PRIu64 " on connection %zu (%" PRIu64 " bytes of it came)",
             echo->peers[index].next_echo, index,
             client->connections[index].in_message ? client->connections[index].message_offset
                                                   : 0);
}

void
echo_drain(struct client *client)
{
    const struct echo *echo = client->state;
    client_drain(client, &echo->in_flight);
    if (echo->in_flight > 0) {
        char awaited[128];
        echo_awaited(client, awaited, sizeof awaited);
        client_fault(client,
                     "lost %" PRIu64
                     " messages; the first: expected %s within %g s after the window",
                     echo->in_flight, awaited, client->options->grace);
    }
}

int
run_echo(const struct options *options)
{
    static const struct handler handler = {echo_opened, echo_data, client_ended_is_fault,
                                           echo_turn, echo_awaited};
    static struct echo echo;
    static struct client client = {.state = &echo};
    client_begin(&client, options, &handler, options->connections);
    echo_begin(&client, &echo);
    client_open(&client);
    echo_start(&client);
    client_measure(&client);
    report_begin(&client, echo.operations);
    report_latency("latency_us", &echo.latency);
    report_end();
    echo_drain(&client);
    return client_end(&client);
}
