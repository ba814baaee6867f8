/* TimerQueue: all timers of one event loop, behind one call_later.
 *
 * A timer is a node inside the object that it belongs to: starting, moving and stopping one costs
 * constant time and no memory. It is never early, and may be late by a sixteenth of its delay (0.5
 * s at most for delays up to a minute), so that timers due at about the same time cost the loop
 * one wake-up.
 *
 * The queue exists while a timer runs. The loop's handle owns it and it owns no node, so it keeps
 * neither connections nor a loop alive; a loop that is closed drops it, its timers with it. For
 * the loop's own thread. */
#ifndef ATALANTA_EXT_TIMER_QUEUE_H
#define ATALANTA_EXT_TIMER_QUEUE_H

#include "module.h"

struct loop_state_object;
typedef struct timer_queue_object TimerQueue;

/* A circular list; a node that is in none has no neighbours. */
typedef struct timer_link {
    struct timer_link *next;
    struct timer_link *previous;
} timer_link;

/* All zero bytes is a timer that does not run. Its owner stops it before its memory goes. */
typedef struct timer_node {
    timer_link link;             /* first: a node is found by its link */
    TimerQueue *queue;           /* borrowed; NULL when it does not run */
    PyObject *owner;             /* borrowed */
    int (*due)(PyObject *owner); /* 0, or -1; the timer does not run any more */
    uint64_t tick;               /* when it is due, in the queue's ticks */
} timer_node;

extern PyType_Spec timer_queue_spec;

/* Has node->due(node->owner) called `delay` seconds from now, and at no other time. 0, or -1. */
int timer_start(timer_node *node, struct loop_state_object *per_loop, PyObject *loop,
                double delay);

/* Has it called when the loop has read, from every descriptor, what had arrived before now. 0, or
 * -1. */
int timer_start_after_reads(timer_node *node, struct loop_state_object *per_loop, PyObject *loop);

/* No-op when it does not run. Never fails: what cancel() raises is reported as unraisable. */
void timer_stop(timer_node *node);

/* The same for an owner that is being cleared, when its loop may be too: runs no Python, and at
 * worst the loop calls once for nothing. */
void timer_forget(timer_node *node);

#endif
