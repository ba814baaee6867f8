/* Mode burst: echoes at a fixed rate beside others that connect all at one time, again and again.
 */
#include "client.h"
#include "common.h"
#include "echo.h"
#include "histogram.h"
#include "modes.h"
#include "report.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    SOURCES = 200, /* addresses 127.0.0.1 and up, each with its own ephemeral ports */
    AT_ONCE =
        16 /* connects between two looks at the sockets: echoes must not wait for the client */
};

struct burst {
    struct echo echo; /* first: the functions of echo.c find it as the client's state */
    bool started;
    uint64_t next;     /* when the next burst begins */
    size_t unbegun;    /* of this burst: not connected yet */
    size_t under_way;  /* of this burst: not ended yet */
    uint64_t connects; /* ever */
    uint64_t bursts, late, served, refused, reset, failed;
    struct histogram handshake;
    char first_failure[256];
};

static bool
is_of_burst(const struct client *client, const struct connection *connection)
{
    return connection->index >= client->options->connections;
}

static void
burst_opened(struct client *client, struct connection *connection)
{
    struct burst *burst = client->state;
    if (!is_of_burst(client, connection)) {
        echo_opened(client, connection);
        return;
    }
    if (client->measuring) {
        histogram_add(&burst->handshake, client->now - connection->began);
    }
    connection_close(connection);
}

static void
burst_data(struct client *client, struct connection *connection, const uint8_t *data, size_t size,
           bool last)
{
    if (is_of_burst(client, connection)) {
        client_fault(client, "connection %zu: got a message that answers nothing",
                     connection->index);
        return;
    }
    echo_data(client, connection, data, size, last);
}

static void
burst_ended(struct client *client, struct connection *connection, enum ending ending,
            const char *reason)
{
    struct burst *burst = client->state;
    if (!is_of_burst(client, connection)) {
        client_ended_is_fault(client, connection, ending, reason);
        return;
    }
    burst->under_way--;
    if (ending != ENDED_CLOSED && ending != ENDED_REFUSED && burst->first_failure[0] == '\0') {
        snprintf(burst->first_failure, sizeof burst->first_failure, "%s", reason);
    }
    if (!client->measuring) {
        return;
    }
    switch (ending) {
    case ENDED_CLOSED:
        burst->served++;
        break;
    case ENDED_REFUSED:
        burst->refused++;
        break;
    case ENDED_RESET:
        burst->reset++;
        break;
    case ENDED_FAILED:
        burst->failed++;
        break;
    }
}

/* A burst whose turn has come while the one before goes on is left out. */
static void
begin_burst(struct client *client, struct burst *burst)
{
    burst->next += (uint64_t)(client->options->every * 1e9);
    if (burst->under_way > 0) {
        burst->late += client->measuring ? 1 : 0;
        return;
    }
    burst->bursts += client->measuring ? 1 : 0;
    burst->unbegun = burst->under_way = client->options->burst;
}

static void
burst_turn(struct client *client)
{
    struct burst *burst = client->state;
    echo_turn(client);
    if (client->draining || !burst->started) {
        return;
    }
    if (client->now >= burst->next) {
        begin_burst(client, burst);
    }
    for (size_t n = 0; n < AT_ONCE && burst->unbegun > 0; n++) {
        size_t index = client->count - burst->unbegun--;
        connection_connect(client, &client->connections[index],
                           1 + (unsigned)(burst->connects++ % SOURCES));
    }
    uint64_t wake = burst->unbegun > 0 ? client->now : burst->next;
    client->wake = wake < client->wake ? wake : client->wake;
}

static void
report(const struct client *client)
{
    const struct burst *burst = client->state;
    report_begin(client, burst->echo.operations);
    report_latency("latency_us", &burst->echo.latency);
    report_latency("handshake_us", &burst->handshake);
    report_count("bursts", burst->bursts);
    report_count("bursts_left_out", burst->late);
    report_count("served", burst->served);
    report_count("refused", burst->refused);
    report_count("reset", burst->reset);
    report_count("failed", burst->failed);
    report_end();
}

int
run_burst(const struct options *options)
{
    static const struct handler handler = {burst_opened, burst_data, burst_ended, burst_turn,
                                           echo_awaited};
    static struct burst burst;
    static struct client client = {.state = &burst};
    client_begin(&client, options, &handler, options->connections + options->burst);
    echo_begin(&client, &burst.echo);
    client.count = options->connections; /* the others are opened in bursts only */
    client_open(&client);
    client.count = options->connections + options->burst;
    echo_start(&client);
    burst.started = true;
    burst.next = client.now;
    client_measure(&client);
    report(&client);
    echo_drain(&client);
    if (burst.first_failure[0] != '\0') {
        client_fault(&client,
                     "expected bursts of whole cycles or 503, but in the window %" PRIu64
                     " were reset and %" PRIu64 " failed otherwise; the first failed: %s",
                     burst.reset, burst.failed, burst.first_failure);
    }
    return client_end(&client);
}
