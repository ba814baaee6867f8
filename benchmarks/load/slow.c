/* Mode slow: healthy echo connections beside others that send as fast as the server takes it and
 * never read. */
#include "client.h"
#include "common.h"
#include "echo.h"
#include "modes.h"
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

struct slow {
    struct echo echo; /* first: the functions of echo.c find it as the client's state */
    bool started;
    uint64_t ended; /* slow connections that the server ended */
};

static bool
is_slow(const struct client *client, const struct connection *connection)
{
    return connection->index >= client->options->connections;
}

static void
slow_data(struct client *client, struct connection *connection, const uint8_t *data, size_t size,
          bool last)
{
    /* Of a slow one only what lay in the socket when the server reset it. */
    if (!is_slow(client, connection)) {
        echo_data(client, connection, data, size, last);
    }
}

static void
slow_ended(struct client *client, struct connection *connection, enum ending ending,
           const char *reason)
{
    struct slow *slow = client->state;
    if (is_slow(client, connection) && slow->started) {
        slow->ended++;
        return;
    }
    client_ended_is_fault(client, connection, ending, reason);
}

/* From now on they are watched for room to send in, and never read. */
static void
start_slow(struct client *client)
{
    struct slow *slow = client->state;
    slow->started = true;
    for (size_t i = client->options->connections; i < client->count; i++) {
        struct connection *connection = &client->connections[i];
        connection->bytes_out = 0;
        connection->queued = UINT64_MAX;
        connection_watch(client, connection, EPOLLOUT);
    }
}

static int
compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void
report(const struct client *client)
{
    const struct slow *slow = client->state;
    size_t count = client->options->slow;
    uint64_t *pushed = allocate(count, sizeof *pushed);
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        pushed[i] = client->connections[client->options->connections + i].bytes_out;
        total += pushed[i];
    }
    qsort(pushed, count, sizeof *pushed, compare);
    report_begin(client, slow->echo.operations);
    report_latency("latency_us", &slow->echo.latency);
    report_count("slow_bytes_total", total);
    report_count("slow_bytes_min", pushed[0]);
    report_count("slow_bytes_median", pushed[count / 2]);
    report_count("slow_bytes_max", pushed[count - 1]);
    report_count("slow_ended_by_server", slow->ended);
    report_end();
    free(pushed);
}

int
run_slow(const struct options *options)
{
    static const struct handler handler = {echo_opened, slow_data, slow_ended, echo_turn,
                                           echo_awaited};
    static struct slow slow;
    static struct client client = {.state = &slow};
    client_begin(&client, options, &handler, options->connections + options->slow);
    echo_begin(&client, &slow.echo);
    client_open(&client);
    start_slow(&client);
    echo_start(&client);
    client_measure(&client);
    report(&client);
    echo_drain(&client);
    for (size_t i = options->connections; i < client.count; i++) {
        connection_reset(&client, &client.connections[i]);
    }
    return client_end(&client);
}
