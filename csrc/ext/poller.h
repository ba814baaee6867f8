/* Poller: receives from the plain sockets of one event loop, past their transports.
 *
 * A loop makes a handle, a call by a callback and a chain of further calls of each socket that is
 * ready. A poller has all of them in one epoll descriptor, which the loop watches; its one
 * callback receives from every socket that is ready. The transport stays the owner: it has been
 * told to pause reading, and goes on writing, closing and reporting. All that is not bytes (the
 * end of input, an error, another protocol in our place) is given back to it: it resumes reading,
 * and meets that itself. Only what asyncio documents is used of loop and transport.
 *
 * The loop owns the poller, as what it is going to call, and the poller the connections that it
 * watches: they live and end as those whose sockets the loop watches itself. Linux only; elsewhere
 * and where the system refuses, reading stays with the transport. */
#ifndef ATALANTA_EXT_POLLER_H
#define ATALANTA_EXT_POLLER_H

#include "module.h"

struct protocol_object;
typedef struct poller_object Poller;

/* Who receives a connection's bytes. */
typedef enum {
    READ_UNDECIDED, /* the transport, so far */
    READ_BY_TRANSPORT,
    READ_BY_POLLER
} reading_side;

extern PyType_Spec poller_spec;

/* Takes over reading from the transport, whose read callback is running, when its socket is a
 * plain one; no-op after the first time. 0, or -1. */
int poller_take(struct protocol_object *connection);

/* Stops receiving until poller_resume. False when reading is not ours. */
bool poller_pause(struct protocol_object *connection);

/* Receives again. 1; 0 when reading is the transport's, if only from now on; or -1. */
int poller_resume(struct protocol_object *connection);

/* Forgets the connection, while its descriptor is still open. Runs no Python, but for what the
 * reference to the connection keeps alive. */
void poller_leave(struct protocol_object *connection);

#endif
