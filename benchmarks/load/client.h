/* The run: all connections on one epoll, the measured window, and what went wrong first. */
#ifndef LOAD_CLIENT_H
#define LOAD_CLIENT_H

#include "connection.h"
#include "options.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { RECEIVE_SIZE = 256 * 1024, INFLATE_SIZE = 64 * 1024 };

struct handler {
    /* The handshake is complete. May be NULL. */
    void (*opened)(struct client *client, struct connection *connection);
    /* A piece of a message; `last` ends it. Pieces before it: connection->message_offset bytes. */
    void (*data)(struct client *client, struct connection *connection, const uint8_t *data,
                 size_t size, bool last);
    /* The connection is gone; it may be connected again, but only from `turn`. */
    void (*ended)(struct client *client, struct connection *connection, enum ending ending,
                  const char *reason);
    /* After every round of events. May be NULL. */
    void (*turn)(struct client *client);
    /* Writes what is due next and on which connection, for the message of a run that stalls. */
    void (*awaited)(const struct client *client, char *out, size_t size);
};

struct client {
    const struct options *options;
    const struct handler *handler;
    void *state;               /* of the mode */
    struct messages *messages; /* what connection.queued counts; NULL in modes without */
    int epoll;
    struct sockaddr_storage address;
    socklen_t address_size;
    bool loopback; /* there are many source addresses to choose from */
    struct connection *connections;
    size_t count;
    size_t opening, open;
    uint8_t *received, *inflated;
    bool deflate_known;
    struct deflate_parameters deflate;
    uint64_t now;      /* renewed at every read from a socket */
    uint64_t progress; /* the last time that something was completed */
    uint64_t wake;     /* a turn is due by then; 0: no such time */
    bool measuring;
    bool draining;  /* the window is over: nothing new is to be sent */
    uint64_t began; /* the window */
    uint64_t elapsed;
    double cpu_seconds;
    uint64_t bytes_sent, bytes_received;
    uint64_t pongs;
    char fault[512]; /* why the run failed, or "" */
};

/* Resolves the address, raises the limit of open files, allocates the connections. */
void client_begin(struct client *client, const struct options *options,
                  const struct handler *handler, size_t count);

/* One epoll_wait, at most until `until`, and the handling of what it reports. */
void client_turn(struct client *client, uint64_t until);

/* Opens every connection, at most some at once. Ends early at a fault. */
void client_open(struct client *client);

/* Warm-up, "start", the window. Ends early at a fault; one before the window ends the program. */
void client_measure(struct client *client);

/* Turns until *outstanding is 0, at most --grace seconds; the time that took in seconds. */
double client_drain(struct client *client, const uint64_t *outstanding);

/* Closes what is open, a second at most, and returns the exit status; a fault goes to stderr. */
int client_end(struct client *client);

/* Records the first thing that went wrong and so ends the run. */
void client_fault(struct client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* `ended` for modes in which no connection may end. */
void client_ended_is_fault(struct client *client, struct connection *connection,
                           enum ending ending, const char *reason);

#endif
