/* Broadcast: one frame for many connections, written without their applications.
 *
 * A connection that opted in has a queue for frames that it cannot take at once, with a cap in bytes and a policy for
 * what is above it. Frames are shared, not copied; order with the connection's own sends is that of the calls. */
#ifndef ATALANTA_EXT_BROADCAST_H
#define ATALANTA_EXT_BROADCAST_H

#include "protocol.h"

typedef enum {
    BROADCAST_SKIP,        /* the new frame is dropped */
    BROADCAST_DROP_OLDEST, /* frames that wait are dropped, the oldest first, until the new one fits */
    BROADCAST_CLOSE        /* the connection is closed with 1013 */
} broadcast_policy;

struct broadcast_queue {
    size_t limit; /* bytes */
    broadcast_policy policy;
    PyObject *frames; /* list of bytes, the oldest first */
    size_t size;      /* bytes in frames */
};

/* Has the connection take part. A second call changes limit and policy. 0, or -1. */
int broadcast_join(Protocol *self, size_t limit, broadcast_policy policy);

/* The connection does not take part any more; frames that wait are dropped. */
void broadcast_leave(Protocol *self);

/* The frame of a message with "text" or "bytes", as bytes. New reference, or NULL. */
PyObject *broadcast_frame(const module_state *state, PyObject *message);

/* Writes or queues a frame; only in the thread of the connection's loop. 1; 0 when it was dropped; or -1. */
int broadcast_write(Protocol *self, PyObject *frame);

/* The transport takes bytes again: writes what was queued. 0, or -1. */
int broadcast_drain(Protocol *self);

#endif
