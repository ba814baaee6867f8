/* Broadcast: one frame for many connections, written without their applications.
 *
 * A connection that opted in has a queue for frames that it cannot take at once, with a cap in
 * bytes and a policy for what is above it. Frames are shared, not copied; order with the
 * connection's own sends is that of the calls. */
#ifndef ATALANTA_EXT_BROADCAST_H
#define ATALANTA_EXT_BROADCAST_H

#include "protocol.h"

#include "../core/extension.h"

typedef enum {
    BROADCAST_SKIP,        /* the new frame is dropped */
    BROADCAST_DROP_OLDEST, /* frames that wait are dropped, the oldest first, until the new one
                              fits */
    BROADCAST_CLOSE        /* the connection is closed with 1013 */
} broadcast_policy;

/* A frame that a connection cannot take yet. */
typedef struct {
    PyObject *frame; /* bytes */
    double expires;  /* clock_seconds */
} broadcast_waiting;

struct broadcast_queue {
    size_t limit; /* bytes */
    broadcast_policy policy;
    broadcast_waiting *frames; /* the oldest first */
    size_t count;
    size_t room;
    size_t size; /* bytes in frames */
};

/* Has the connection take part. A second call changes limit and policy. 0, or -1. */
int broadcast_join(Protocol *self, size_t limit, broadcast_policy policy);

/* The connection does not take part any more; frames that wait are dropped. */
void broadcast_leave(Protocol *self);

/* One message in the forms that connections need: as it is, and compressed for each size of
 * window. */
typedef struct {
    PyObject *payload; /* bytes, or str as UTF-8 */
    uint8_t opcode;
    /* By window bits, made when needed; [0] is not compressed. */
    PyObject *frames[WS_WINDOW_BITS_MAX + 1];
} broadcast_frames;

/* Prepares a message with "text" or "bytes". 1; 0 for one that has neither; or -1. */
int broadcast_frames_begin(broadcast_frames *self, const module_state *state, PyObject *message);

void broadcast_frames_end(broadcast_frames *self);

/* Writes or queues the message; only in the thread of the connection's loop. A frame that waits is
 * dropped when it `expires` (clock_seconds). 1; 0 when it was dropped; or -1. */
int broadcast_write(Protocol *self, broadcast_frames *frames, double expires);

/* The transport takes bytes again: writes what was queued. 0, or -1. */
int broadcast_drain(Protocol *self);

#endif
