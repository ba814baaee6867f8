/* The event loop and the phases of a run. */
#define _GNU_SOURCE
#include "client.h"

#include "common.h"

#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

enum {
    EVENTS_MAX = 256,
    TURN_MS = 100,
    OPENING_MAX = 64, /* below the backlog of any server */
    SOURCE_FIRST = 1,
    SOURCE_CONNECTIONS = 20000, /* fewer than there are ephemeral ports */
    SPARE_FILES = 64
};

void
client_fault(struct client *client, const char *format, ...)
{
    if (client->fault[0] != '\0') {
        return;
    }
    va_list args;
    va_start(args, format);
    vsnprintf(client->fault, sizeof client->fault, format, args);
    va_end(args);
}

void
client_ended_is_fault(struct client *client, struct connection *connection, enum ending ending,
                      const char *reason)
{
    if (!(client->draining && ending == ENDED_CLOSED)) {
        client_fault(client, "connection %zu: %s", connection->index, reason);
    }
}

static void
resolve(struct client *client)
{
    const struct options *options = client->options;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int error = getaddrinfo(options->host, options->port, &hints, &found);
    if (error != 0) {
        die("%s:%s: %s", options->host, options->port, gai_strerror(error));
    }
    memcpy(&client->address, found->ai_addr, found->ai_addrlen);
    client->address_size = found->ai_addrlen;
    if (found->ai_family == AF_INET) {
        struct sockaddr_in address;
        memcpy(&address, found->ai_addr, sizeof address);
        client->loopback = ntohl(address.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    freeaddrinfo(found);
}

static void
raise_file_limit(size_t connections)
{
    struct rlimit limit;
    rlim_t need = connections + SPARE_FILES;
    checked(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
    if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < need) {
        limit.rlim_cur = need;
        limit.rlim_max = limit.rlim_max > need ? limit.rlim_max : need;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
            die("%zu connections need a limit of %ju open files: %s", connections, (uintmax_t)need,
                strerror(errno));
        }
    }
}

void
client_begin(struct client *client, const struct options *options, const struct handler *handler,
             size_t count)
{
    client->options = options;
    client->handler = handler;
    client->count = count;
    client->now = client->progress = now_ns();
    resolve(client);
    raise_file_limit(count);
    client->received = allocate(RECEIVE_SIZE, 1);
    client->inflated = allocate(INFLATE_SIZE, 1);
    client->connections = allocate(count, sizeof *client->connections);
    for (size_t i = 0; i < count; i++) {
        client->connections[i].index = i;
        client->connections[i].fd = -1;
        client->connections[i].head_need = 2;
    }
    client->epoll = (int)checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
}

void
client_turn(struct client *client, uint64_t until)
{
    struct epoll_event events[EVENTS_MAX];
    client->now = now_ns();
    if (client->wake != 0 && client->wake < until) {
        until = client->wake;
    }
    uint64_t wait = until > client->now ? until - client->now : 0;
    wait = wait > TURN_MS * (NS_PER_S / 1000) ? TURN_MS * (NS_PER_S / 1000) : wait;
    struct timespec timeout = {.tv_sec = 0, .tv_nsec = (long)wait};
    int count = epoll_pwait2(client->epoll, events, EVENTS_MAX, &timeout, NULL);
    if (count < 0 && errno != EINTR) {
        checked(count, "epoll_pwait2");
    }
    client->now = now_ns();
    for (int i = 0; i < count && client->fault[0] == '\0'; i++) {
        connection_ready(client, events[i].data.ptr, events[i].events);
    }
    if (client->handler->turn != NULL && client->fault[0] == '\0') {
        client->handler->turn(client);
    }
}

/* `awaited` NULL: the mode knows. */
static void
check_progress(struct client *client, const char *awaited)
{
    char text[256];
    double timeout = client->options->timeout;
    if (client->now <= client->progress
        || (double)(client->now - client->progress) <= timeout * 1e9) {
        return;
    }
    if (awaited == NULL) {
        client->handler->awaited(client, text, sizeof text);
        awaited = text;
    }
    client_fault(client, "expected %s, but nothing came for %g s", awaited, timeout);
}

static void
die_of_fault(const struct client *client)
{
    if (client->fault[0] != '\0') {
        die("%s", client->fault);
    }
}

void
client_open(struct client *client)
{
    size_t next = 0;
    client->now = client->progress = now_ns();
    while ((next < client->count || client->opening > 0) && client->fault[0] == '\0') {
        size_t open = client->open;
        while (next < client->count && client->opening < OPENING_MAX && client->fault[0] == '\0') {
            unsigned source = (unsigned)(next / SOURCE_CONNECTIONS);
            connection_connect(client, &client->connections[next++],
                               source == 0 ? 0 : SOURCE_FIRST + source);
        }
        client_turn(client, UINT64_MAX);
        if (client->open != open) {
            client->progress = client->now;
        }
        check_progress(client, "the answer to a handshake");
    }
    die_of_fault(client);
}

static double
cpu_seconds(void)
{
    struct rusage usage;
    checked(getrusage(RUSAGE_SELF, &usage), "getrusage");
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
           + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void
turn_until(struct client *client, uint64_t end)
{
    while (client->now < end && client->fault[0] == '\0') {
        client_turn(client, end);
        if (client->options->mode != MODE_IDLE) {
            check_progress(client, NULL);
        }
    }
}

void
client_measure(struct client *client)
{
    client->now = client->progress = now_ns();
    turn_until(client, client->now + (uint64_t)(client->options->warmup * 1e9));
    die_of_fault(client);
    puts("start");
    fflush(stdout);

    client->bytes_sent = client->bytes_received = client->pongs = 0;
    client->cpu_seconds = cpu_seconds();
    client->now = client->began = now_ns();
    client->measuring = true;
    turn_until(client, client->began + (uint64_t)(client->options->seconds * 1e9));
    client->measuring = false;
    client->draining = true;
    client->elapsed = client->now - client->began;
    client->cpu_seconds = cpu_seconds() - client->cpu_seconds;
}

double
client_drain(struct client *client, const uint64_t *outstanding)
{
    uint64_t begin = client->now = now_ns();
    uint64_t end = begin + (uint64_t)(client->options->grace * 1e9);
    client->wake = 0;
    while (*outstanding > 0 && client->now < end && client->fault[0] == '\0') {
        client_turn(client, end);
    }
    return (double)(client->now - begin) / 1e9;
}

static void
ignore_data(struct client *client, struct connection *connection, const uint8_t *data, size_t size,
            bool last)
{
    (void)client, (void)connection, (void)data, (void)size, (void)last;
}

static void
ignore_ended(struct client *client, struct connection *connection, enum ending ending,
             const char *reason)
{
    (void)client, (void)connection, (void)ending, (void)reason;
}

static void
ignore_opened(struct client *client, struct connection *connection)
{
    connection_reset(client, connection);
}

int
client_end(struct client *client)
{
    static const struct handler ignore = {ignore_opened, ignore_data, ignore_ended, NULL, NULL};
    if (client->fault[0] != '\0') {
        fprintf(stderr, "load: %s\n", client->fault);
        return 1;
    }
    client->handler = &ignore;
    client->wake = 0;
    for (size_t i = 0; i < client->count; i++) {
        if (client->connections[i].state == CONNECTION_OPEN) {
            connection_close(&client->connections[i]);
            connection_flush(client, &client->connections[i]);
        }
    }
    client->now = now_ns();
    uint64_t end = client->now + NS_PER_S;
    while (client->open > 0 && client->now < end) {
        client_turn(client, end);
    }
    return 0;
}
