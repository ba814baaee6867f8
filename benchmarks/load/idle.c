/* Mode idle: open many connections, hold them, answer pings. */
#include "client.h"
#include "common.h"
#include "modes.h"
#include "report.h"

#include <inttypes.h>

struct idle {
    uint64_t lost;
};

static void
idle_data(struct client *client, struct connection *connection, const uint8_t *data, size_t size,
          bool last)
{
    (void)data, (void)last;
    client_fault(client, "connection %zu: expected no message, got one of %zu bytes or more",
                 connection->index, size);
}

static void
idle_ended(struct client *client, struct connection *connection, enum ending ending,
           const char *reason)
{
    struct idle *idle = client->state;
    if (!client->measuring) {
        client_ended_is_fault(client, connection, ending, reason);
        return;
    }
    idle->lost++;
}

int
run_idle(const struct options *options)
{
    static const struct handler handler = {NULL, idle_data, idle_ended, NULL, NULL};
    static struct idle idle;
    static struct client client = {.state = &idle};
    client_begin(&client, options, &handler, options->connections);
    uint64_t begin = now_ns();
    client_open(&client);
    double open_seconds = (double)(now_ns() - begin) / 1e9;
    client_measure(&client);
    report_begin(&client, options->connections);
    report_count("opened", options->connections);
    report_count("lost", idle.lost);
    report_count("pings_answered", client.pongs);
    report_number("open_seconds", open_seconds);
    report_end();
    if (idle.lost > 0) {
        client_fault(&client,
                     "expected %zu connections to stay open, but the server ended %" PRIu64,
                     options->connections, idle.lost);
    }
    return client_end(&client);
}
