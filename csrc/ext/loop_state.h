/* LoopState: what the connections of one event loop share.
 *
 * The receive buffer (idle connections own none), the rule that one resume runs at a time, and the
 * Turn, the TimerQueue and the Poller that the loop is going to call. It must not refer to its
 * loop: it is the value of a dictionary with weak keys. */
#ifndef ATALANTA_EXT_LOOP_STATE_H
#define ATALANTA_EXT_LOOP_STATE_H

#include "module.h"

#define RECEIVE_BUFFER_SIZE (256 * 1024)

/* Bytes in front of the shared buffer, for what a connection kept of its last read. */
#define RECEIVE_BUFFER_HEADROOM 256

struct timer_queue_object;
struct turn_object;
struct entry_object;
struct poller_object;

typedef struct loop_state_object {
    PyObject_HEAD
    module_state *state;      /* borrowed: the type keeps the module alive */
    uint8_t *memory;          /* headroom, then the buffer */
    PyObject *view;           /* writable memoryview of the buffer */
    bool parsing;             /* a read callback is running: the buffer must not be lent */
    bool resuming;            /* a task is being run from a read callback */
    struct turn_object *turn; /* borrowed: the loop owns what it is going to call; NULL for none */
    struct timer_queue_object *timers; /* likewise */
    struct poller_object *poller;      /* likewise */
    struct entry_object *entries;      /* borrowed: connections whose first request is not known */
    bool entries_watched;              /* the loop is going to look for those that are overdue */
} LoopState;

extern PyType_Spec loop_state_spec;

/* The state of that loop, made at its first use. New reference. */
LoopState *loop_state_get(module_state *state, PyObject *loop);

/* The shared buffer's first byte. */
uint8_t *loop_state_buffer(const LoopState *self);

#endif
