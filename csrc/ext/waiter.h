/* Waiter: what a suspended receive() or send() yields to its task; as much of a Future as a task looks at.
 *
 * asyncio.Task takes an object with `_asyncio_future_blocking` for a future and leaves its wake-up callback
 * with add_done_callback. A Waiter keeps that one callback and its context, so that the protocol can
 * resume the task at once from a read callback, without call_soon. It carries no result: who is woken
 * looks at the connection again. */
#ifndef ATALANTA_EXT_WAITER_H
#define ATALANTA_EXT_WAITER_H

#include "module.h"

typedef struct waiter_object Waiter;

extern PyType_Spec waiter_spec;

/* A pending waiter for a task of that loop. New reference. */
Waiter *waiter_new(module_state *state, PyObject *loop);

/* True until woken or cancelled. */
bool waiter_is_pending(const Waiter *waiter);

/* Ends the wait; the task runs in a later turn of the loop. No-op unless pending. 0, or -1. */
int waiter_wake_soon(Waiter *waiter);

/* Ends the wait and runs the task's next step before returning, in the task's context; falls back to
 * waiter_wake_soon when that context is entered already. 0, or -1 (SystemExit, KeyboardInterrupt). */
int waiter_wake_now(Waiter *waiter);

#endif
