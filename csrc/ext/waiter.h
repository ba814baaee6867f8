/* Waiter: what a suspended receive() or send() yields to its task; as much of a Future as a task
 * looks at.
 *
 * asyncio.Task takes an object with `_asyncio_future_blocking` for a future and leaves its wake-up
 * callback with add_done_callback. A Waiter keeps that one callback and its context, so that the
 * protocol can resume the task at once from a read callback, without call_soon. It carries no
 * result: who is woken looks at the connection again. */
#ifndef ATALANTA_EXT_WAITER_H
#define ATALANTA_EXT_WAITER_H

#include "loop_state.h"

typedef struct waiter_object Waiter;

extern PyType_Spec waiter_spec;

/* A pending waiter for a task of that loop. New reference. */
Waiter *waiter_new(LoopState *per_loop, PyObject *loop);

/* A pending waiter for a task of the loop that runs in this thread. New reference, or NULL with
 * RuntimeError. */
Waiter *waiter_new_here(module_state *state);

/* The loop of the task that waits, and its state. Borrowed. */
PyObject *waiter_loop(const Waiter *waiter);
LoopState *waiter_loop_state(const Waiter *waiter);

/* True until woken or cancelled. */
bool waiter_is_pending(const Waiter *waiter);

/* Ends the wait; the task runs in a later turn of the loop. No-op unless pending. 0, or -1. */
int waiter_wake_soon(Waiter *waiter);

/* Called in place of the task's next step, in its context and as its loop's current task. 1 when
 * the task can wait on with the same waiter, which must be pending still; 0 when it has to run. */
typedef int (*waiter_runner)(PyObject *object, Waiter *waiter);

/* Has `run(object, waiter)` deal with the next wakes. Keeps a reference to the object. */
void waiter_set_runner(Waiter *waiter, waiter_runner run, PyObject *object);

/* Ends the wait and runs the task's next step before returning, in the task's context; falls back
 * to waiter_wake_soon when that context is entered already. 0, or -1 (SystemExit,
 * KeyboardInterrupt). */
int waiter_wake_now(Waiter *waiter);

#endif
