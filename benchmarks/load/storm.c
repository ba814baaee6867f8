/* Mode storm: connect, upgrade, perhaps one echo, closing handshake, end of TCP; and again,
 * --connections at a time. */
#include "client.h"
#include "common.h"
#include "histogram.h"
#include "messages.h"
#include "modes.h"
#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { SOURCES = 200 }; /* addresses 127.0.0.1 and up, each with its own ephemeral ports */

struct storm {
    struct messages messages;
    size_t *again; /* connections to connect at the end of the turn */
    size_t again_count;
    uint64_t cycles; /* begun, ever */
    uint64_t operations, refused, reset, failed;
    struct histogram latency;
    char first_failure[256];
};

static void
begin_cycle(struct client *client, struct connection *connection)
{
    struct storm *storm = client->state;
    connection_connect(client, connection, 1 + (unsigned)(storm->cycles++ % SOURCES));
}

static void
storm_opened(struct client *client, struct connection *connection)
{
    if (client->options->echo) {
        const struct storm *storm = client->state;
        const struct messages *messages = &storm->messages;
        connection->place = storm->cycles % messages->count;
        connection_queue(connection, messages->opcode, messages_plain(messages, connection->place),
                         messages->size);
    }
    else {
        connection_close(connection);
    }
}

static void
storm_data(struct client *client, struct connection *connection, const uint8_t *data, size_t size,
           bool last)
{
    const struct storm *storm = client->state;
    const struct messages *messages = &storm->messages;
    size_t offset = (size_t)connection->message_offset;
    if (!client->options->echo || connection->state == CONNECTION_CLOSING) {
        client_fault(client, "connection %zu: got a message that answers nothing",
                     connection->index);
    }
    else if (connection->opcode != messages->opcode || size > messages->size - offset
             || (last && size != messages->size - offset)
             || memcmp(data, messages_plain(messages, connection->place) + offset, size) != 0) {
        client_fault(
            client,
            "connection %zu: the echo is corrupted: expected %zu bytes, opcode %u; got opcode %u",
            connection->index, messages->size, messages->opcode, connection->opcode);
    }
    else if (last) {
        connection_close(connection);
    }
}

static void
storm_ended(struct client *client, struct connection *connection, enum ending ending,
            const char *reason)
{
    struct storm *storm = client->state;
    storm->again[storm->again_count++] = connection->index;
    if (ending == ENDED_CLOSED) {
        client->progress = client->now;
    }
    else if (storm->first_failure[0] == '\0') {
        snprintf(storm->first_failure, sizeof storm->first_failure, "%s", reason);
    }
    if (!client->measuring) {
        return;
    }
    switch (ending) {
    case ENDED_CLOSED:
        storm->operations++;
        histogram_add(&storm->latency, client->now - connection->began);
        break;
    case ENDED_REFUSED: storm->refused++; break;
    case ENDED_RESET: storm->reset++; break;
    case ENDED_FAILED: storm->failed++; break;
    }
}

/* A connection is opened again here only, so that a failure on the spot does not recurse. Such a
 * failure is entered in a place of the list that was already read. */
static void
storm_turn(struct client *client)
{
    struct storm *storm = client->state;
    size_t count = storm->again_count;
    if (client->draining) {
        return;
    }
    storm->again_count = 0;
    for (size_t i = 0; i < count; i++) {
        begin_cycle(client, &client->connections[storm->again[i]]);
    }
}

/* The cycle that has lasted longest. */
static void
storm_awaited(const struct client *client, char *out, size_t size)
{
    static const char *const steps[] = {[CONNECTION_IDLE] = "a connection",
                                        [CONNECTION_CONNECTING] = "a TCP connection",
                                        [CONNECTION_HANDSHAKE] = "the answer to the handshake",
                                        [CONNECTION_OPEN] = "an echo",
                                        [CONNECTION_CLOSING] = "a close frame and the end of TCP"};
    const struct connection *oldest = &client->connections[0];
    for (size_t i = 1; i < client->count; i++) {
        oldest = client->connections[i].began < oldest->began ? &client->connections[i] : oldest;
    }
    snprintf(out, size, "%s on connection %zu", steps[oldest->state], oldest->index);
}

static void
report(const struct client *client)
{
    const struct storm *storm = client->state;
    report_begin(client, storm->operations);
    report_latency("latency_us", &storm->latency);
    report_count("refused", storm->refused);
    report_count("reset", storm->reset);
    report_count("failed", storm->failed);
    report_end();
}

int
run_storm(const struct options *options)
{
    static const struct handler handler = {storm_opened, storm_data, storm_ended, storm_turn,
                                           storm_awaited};
    static struct storm storm;
    static struct client client = {.state = &storm};
    client_begin(&client, options, &handler, options->connections);
    messages_build(&storm.messages, options);
    storm.again = allocate(options->connections, sizeof *storm.again);
    storm.again_count = options->connections;
    for (size_t i = 0; i < options->connections; i++) {
        storm.again[i] = i;
    }
    storm_turn(&client);
    client_measure(&client);
    report(&client);
    if (storm.operations == 0) {
        client_fault(&client, "expected whole cycles, but none was completed%s%s",
                     storm.first_failure[0] != '\0' ? "; the first failed: " : "",
                     storm.first_failure);
    }
    else if (storm.first_failure[0] != '\0') {
        client_fault(&client,
                     "expected whole cycles only, but in the window %" PRIu64 " were refused, %" PRIu64
                     " reset and %" PRIu64 " failed otherwise; the first failed: %s",
                     storm.refused, storm.reset, storm.failed, storm.first_failure);
    }
    return client_end(&client);
}
