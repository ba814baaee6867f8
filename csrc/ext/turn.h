/* Turn: what is done once before a loop waits for input again: tasks to resume, outputs to flush.
 *
 * The first request makes a Turn and schedules it with one call_soon; later ones join its lists,
 * until there is nothing left to do. The scheduled call owns the lists, so that a loop that is
 * closed drops them. */
#ifndef ATALANTA_EXT_TURN_H
#define ATALANTA_EXT_TURN_H

#include "module.h"
#include "waiter.h"

/* Seconds of resuming tasks, flushing, delivering, or running timers, after which the loop gets to
 * run. */
#define TURN_BUDGET 0.001

/* Items between two looks at the clock. */
#define TURN_STEPS_PER_LOOK 8

struct protocol_object;
typedef struct turn_object Turn;

extern PyType_Spec turn_spec;

/* Has the connection's output flushed. Only from the loop's own thread. 0, or -1. */
int turn_flush(struct protocol_object *protocol);

/* Has the waiter's task resumed in its loop, from whichever thread this is called. First asked,
 * first resumed; what resumed tasks ask for waits for the loop's next turn, and the loop runs in
 * between when they take long. 0, or -1 with RuntimeError (the loop is closed). */
int turn_resume(Waiter *waiter);

#endif
