/* LoopState: what the connections of one event loop share.
 *
 * The receive buffer (idle connections own none), the rule that one resume runs at a time, and the list
 * of connections whose output is flushed at the end of this turn of the loop. It must not refer to its
 * loop: it is the value of a dictionary with weak keys. */
#ifndef ATALANTA_EXT_LOOP_STATE_H
#define ATALANTA_EXT_LOOP_STATE_H

#include "module.h"

#define RECEIVE_BUFFER_SIZE (256 * 1024)

/* Bytes in front of the shared buffer, for what a connection kept of its last read. */
#define RECEIVE_BUFFER_HEADROOM 256

struct protocol_object;

typedef struct {
    PyObject_HEAD
    uint8_t *memory;      /* headroom, then the buffer */
    PyObject *view;       /* writable memoryview of the buffer */
    bool parsing;         /* a read callback is running: the buffer must not be lent */
    bool resuming;        /* a task is being run from a read callback */
    bool flush_scheduled; /* flush_outputs is on the loop's list */
    struct protocol_object **dirty; /* strong references */
    size_t dirty_count;
    size_t dirty_capacity;
} LoopState;

extern PyType_Spec loop_state_spec;

/* The state of that loop, made at its first use. New reference. */
LoopState *loop_state_get(module_state *state, PyObject *loop);

/* The shared buffer's first byte. */
uint8_t *loop_state_buffer(const LoopState *self);

/* Has the connection's output flushed at the end of this turn of its loop. 0, or -1. */
int loop_state_flush_later(LoopState *self, struct protocol_object *protocol);

#endif
