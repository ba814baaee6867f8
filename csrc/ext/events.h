/* Events: one wait over the two sources of a consumer: its connection and its channel's mailbox.
 */
#ifndef ATALANTA_EXT_EVENTS_H
#define ATALANTA_EXT_EVENTS_H

#include "mailbox.h"
#include "protocol.h"

typedef struct {
    PyObject_HEAD
    module_state *state;  /* borrowed: the type keeps the module alive */
    Protocol *connection; /* or NULL */
    Mailbox *mailbox;     /* or NULL */
    Waiter *waiter;       /* what was yielded last, while suspended; NULL after a bare yield */
    bool suspended;
    bool mailbox_first; /* the connection had its turn */
    unsigned int taken; /* events since the task last waited */
} Events;

extern PyType_Spec events_spec;

/* As am_send: PYGEN_RETURN with the next event, or PYGEN_NEXT with what the task has to yield. */
PySendResult events_next(Events *self, PyObject **result);

/* The next event without waiting. PYGEN_RETURN with it; PYGEN_NEXT without a value when there is
 * none, or when the loop should get a turn first. */
PySendResult events_poll(Events *self, PyObject **result);

/* A wake that was meant for the task is dealt with before the task runs: takes the waiter off both
 * sources. */
void events_begin_wake(Events *self);

/* The task waits on with the waiter it has. Writes what the connection has gathered. 1; 0 when an
 * event came meanwhile or the loop should get a turn first; or -1. */
int events_wait_on(Events *self);

/* Nobody waits any more. */
void events_abandon(Events *self);

#endif
