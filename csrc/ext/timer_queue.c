/* TimerQueue: see timer_queue.h. A hierarchical timing wheel: each level has LEVEL_SIZE buckets,
 * each 8 times as wide as those of the level below. A timer goes to the lowest level that reaches
 * as far as it is due, into the first bucket that does not expire before it, and stays there: it
 * may be late by the width of its bucket.
 *
 * Timers that have expired wait on the list `due`; a call from the loop runs them, as far as its
 * budget goes. */
#include "timer_queue.h"

#include <math.h>

#include "clock.h"
#include "loop_state.h"
#include "turn.h"

#define TICKS_PER_SECOND 1000

#define LEVELS 6
#define LEVEL_SHIFT 3
#define LEVEL_SIZE 128

/* Ticks that the wheel reaches; a timer beyond is looked at again then. */
#define REACH (((uint64_t)LEVEL_SIZE - 1) << ((LEVELS - 1) * LEVEL_SHIFT))

struct timer_queue_object {
    PyObject_HEAD
    struct loop_state_object *per_loop;
    PyObject *loop;
    PyObject *handle;     /* of the call_later, or NULL */
    uint64_t handle_tick; /* when that is due */
    double origin;        /* clock_seconds() at tick 0 */
    uint64_t now;         /* the first tick whose buckets have not been emptied */
    size_t count;         /* nodes that run */
    bool called_soon;
    bool running; /* what else is needed of the loop is asked for at the end */
    timer_link due;
    timer_link asked;   /* by timer_start_after_reads, since the last call made soon */
    timer_link reading; /* likewise, before that: the descriptors are read until the next */
    timer_link buckets[LEVELS][LEVEL_SIZE];
};

/* ---- Lists ---- */

static void
list_init(timer_link *list)
{
    list->next = list->previous = list;
}

static bool
list_is_empty(const timer_link *list)
{
    return list->next == list;
}

static void
list_append(timer_link *list, timer_link *link)
{
    assert(link->next == NULL && link->previous == NULL);
    link->previous = list->previous;
    link->next = list;
    list->previous->next = link;
    list->previous = link;
}

static void
list_remove(timer_link *link)
{
    link->previous->next = link->next;
    link->next->previous = link->previous;
    link->next = link->previous = NULL;
}

/* Moves all of `from` to the end of `to`. */
static void
list_move_all(timer_link *to, timer_link *from)
{
    if (list_is_empty(from)) {
        return;
    }
    from->next->previous = to->previous;
    to->previous->next = from->next;
    from->previous->next = to;
    to->previous = from->previous;
    list_init(from);
}

/* ---- The wheel ---- */

static uint64_t
current_tick(const TimerQueue *self)
{
    return (uint64_t)((clock_seconds() - self->origin) * TICKS_PER_SECOND);
}

static uint64_t
ceil_shift(uint64_t tick, unsigned int shift)
{
    return (tick + (UINT64_C(1) << shift) - 1) >> shift;
}

/* Puts a node that is in no list where its tick belongs. The tick at which that bucket expires. */
static uint64_t
wheel_insert(TimerQueue *self, timer_node *node)
{
    uint64_t tick = node->tick > self->now ? node->tick : self->now;
    if (tick - self->now >= REACH) {
        tick = self->now + REACH - 1;
    }
    unsigned int level = 0;
    while ((tick - self->now) >> (level * LEVEL_SHIFT) >= LEVEL_SIZE - 1) {
        level++;
    }
    assert(level < LEVELS);
    uint64_t place = ceil_shift(tick, level * LEVEL_SHIFT);
    list_append(&self->buckets[level][place % LEVEL_SIZE], &node->link);
    return place << (level * LEVEL_SHIFT);
}

/* The tick at which the next bucket of that level expires, UINT64_MAX when all are empty. */
static uint64_t
level_next(const TimerQueue *self, unsigned int level)
{
    uint64_t first = ceil_shift(self->now, level * LEVEL_SHIFT);
    for (uint64_t i = 0; i < LEVEL_SIZE; i++) {
        if (!list_is_empty(&self->buckets[level][(first + i) % LEVEL_SIZE])) {
            return (first + i) << (level * LEVEL_SHIFT);
        }
    }
    return UINT64_MAX;
}

static uint64_t
wheel_next(const TimerQueue *self)
{
    uint64_t next = UINT64_MAX;
    for (unsigned int level = 0; level < LEVELS; level++) {
        uint64_t tick = level_next(self, level);
        next = tick < next ? tick : next;
    }
    return next;
}

/* Moves the buckets that expire at `tick` to the list of what is due; none may expire before. */
static void
wheel_expire(TimerQueue *self, uint64_t tick)
{
    for (unsigned int level = 0; level < LEVELS; level++) {
        unsigned int shift = level * LEVEL_SHIFT;
        if ((tick & ((UINT64_C(1) << shift) - 1)) != 0) {
            break;
        }
        list_move_all(&self->due, &self->buckets[level][(tick >> shift) % LEVEL_SIZE]);
    }
    self->now = tick + 1;
}

static void
wheel_advance(TimerQueue *self)
{
    uint64_t tick = current_tick(self);
    uint64_t next;
    while ((next = wheel_next(self)) <= tick) {
        wheel_expire(self, next);
    }
    self->now = tick > self->now ? tick : self->now;
}

/* ---- What the loop is asked for ---- */

/* Whatever exception was set stays so. */
static void
handle_cancel(TimerQueue *self)
{
    PyObject *handle = self->handle;
    self->handle = NULL;
    if (handle == NULL) {
        return;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *result = PyObject_CallMethodNoArgs(handle, self->per_loop->state->names.cancel);
    if (result == NULL) {
        PyErr_WriteUnraisable(handle);
    }
    Py_XDECREF(result);
    Py_DECREF(handle);
    PyErr_Restore(type, value, traceback);
}

/* Has the loop call at that tick, at the latest. 0, or -1. */
static int
call_at(TimerQueue *self, uint64_t tick)
{
    if (self->handle != NULL && self->handle_tick <= tick) {
        return 0;
    }
    handle_cancel(self);
    uint64_t now = current_tick(self);
    /* One tick more, for what is left of the current one: a call that is early would be for
     * nothing. */
    double delay = (double)(tick > now ? tick - now + 1 : 1) / TICKS_PER_SECOND;
    PyObject *seconds = PyFloat_FromDouble(delay);
    PyObject *handle = NULL;
    if (seconds != NULL) {
        PyObject *args[] = {self->loop, seconds, (PyObject *)self};
        handle = PyObject_VectorcallMethod(self->per_loop->state->names.call_later, args,
                                           3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        Py_DECREF(seconds);
    }
    if (handle == NULL) {
        return -1;
    }
    self->handle_tick = tick;
    Py_XSETREF(self->handle, handle);
    return 0;
}

/* Has the loop call in its next turn; the argument tells that call from the other. 0, or -1. */
static int
call_soon(TimerQueue *self)
{
    if (self->called_soon) {
        return 0;
    }
    PyObject *args[] = {self->loop, (PyObject *)self, Py_True};
    PyObject *handle = PyObject_VectorcallMethod(self->per_loop->state->names.call_soon, args,
                                                 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_XDECREF(handle);
    self->called_soon = handle != NULL;
    return handle == NULL ? -1 : 0;
}

/* Asks for whatever calls the queue needs. 0, or -1. */
static int
schedule(TimerQueue *self)
{
    if (self->count == 0) {
        handle_cancel(self);
        return 0;
    }
    if ((!list_is_empty(&self->due) || !list_is_empty(&self->asked) ||
         !list_is_empty(&self->reading)) &&
        call_soon(self) < 0) {
        return -1;
    }
    uint64_t next = wheel_next(self);
    return next == UINT64_MAX ? 0 : call_at(self, next);
}

/* ---- Life ---- */

static TimerQueue *
queue_new(LoopState *per_loop, PyObject *loop)
{
    TimerQueue *self = PyObject_GC_New(TimerQueue, per_loop->state->timer_queue_type);
    if (self == NULL) {
        return NULL;
    }
    memset((char *)self + sizeof(PyObject), 0, sizeof(*self) - sizeof(PyObject));
    list_init(&self->due);
    list_init(&self->asked);
    list_init(&self->reading);
    for (unsigned int level = 0; level < LEVELS; level++) {
        for (unsigned int i = 0; i < LEVEL_SIZE; i++) {
            list_init(&self->buckets[level][i]);
        }
    }
    self->origin = clock_seconds();
    self->per_loop = (LoopState *)Py_NewRef((PyObject *)per_loop);
    self->loop = Py_NewRef(loop);
    per_loop->timers = self;
    PyObject_GC_Track(self);
    return self;
}

/* The loop's queue, made if there is none. New reference. */
static TimerQueue *
queue_of(LoopState *per_loop, PyObject *loop)
{
    return per_loop->timers != NULL ? (TimerQueue *)Py_NewRef((PyObject *)per_loop->timers)
                                    : queue_new(per_loop, loop);
}

static void
list_forget(timer_link *list)
{
    while (!list_is_empty(list)) {
        timer_node *node = (timer_node *)list->next;
        list_remove(&node->link);
        node->queue = NULL;
    }
}

static int
timer_queue_clear(TimerQueue *self)
{
    list_forget(&self->due);
    list_forget(&self->asked);
    list_forget(&self->reading);
    for (unsigned int level = 0; level < LEVELS; level++) {
        for (unsigned int i = 0; i < LEVEL_SIZE; i++) {
            list_forget(&self->buckets[level][i]);
        }
    }
    self->count = 0;
    if (self->per_loop != NULL && self->per_loop->timers == self) {
        self->per_loop->timers = NULL;
    }
    Py_CLEAR(self->handle);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->per_loop);
    return 0;
}

static int
timer_queue_traverse(TimerQueue *self, visitproc visit, void *arg)
{
    Py_VISIT(self->per_loop);
    Py_VISIT(self->loop);
    Py_VISIT(self->handle);
    return visit((PyObject *)Py_TYPE(self), arg);
}

static void
timer_queue_dealloc(TimerQueue *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    timer_queue_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* ---- For those who have timers ---- */

static void
node_remove(timer_node *node)
{
    list_remove(&node->link);
    node->queue->count--;
    node->queue = NULL;
}

/* The queue with the node noted as its own and in no list. New reference. */
static TimerQueue *
queue_for(timer_node *node, LoopState *per_loop, PyObject *loop)
{
    TimerQueue *self = queue_of(per_loop, loop);
    if (self == NULL) {
        return NULL;
    }
    if (node->queue != NULL) {
        node_remove(node);
    }
    node->queue = self;
    self->count++;
    return self;
}

/* A timer that the loop is not going to call, as `asked` says, does not run. Steals the queue. */
static int
finish_start_steal(TimerQueue *self, timer_node *node, int asked)
{
    if (asked < 0 && node->queue != NULL) {
        node_remove(node);
    }
    Py_DECREF(self);
    return asked;
}

int
timer_start(timer_node *node, LoopState *per_loop, PyObject *loop, double delay)
{
    TimerQueue *self = queue_for(node, per_loop, loop);
    if (self == NULL) {
        return -1;
    }
    if (self->handle != NULL) {
        /* Nothing expires before the call that was asked for. */
        uint64_t now = current_tick(self);
        now = now < self->handle_tick ? now : self->handle_tick;
        self->now = now > self->now ? now : self->now;
    }
    double tick = ceil((clock_seconds() - self->origin + delay) * TICKS_PER_SECOND);
    /* Seconds come from settings: infinity, say, is as good as never. */
    node->tick = tick < 1e18 ? (uint64_t)(tick > 0 ? tick : 0) : UINT64_MAX;
    uint64_t expires = wheel_insert(self, node);
    return finish_start_steal(self, node, self->running ? 0 : call_at(self, expires));
}

int
timer_start_after_reads(timer_node *node, LoopState *per_loop, PyObject *loop)
{
    TimerQueue *self = queue_for(node, per_loop, loop);
    if (self == NULL) {
        return -1;
    }
    node->tick = 0;
    list_append(&self->asked, &node->link);
    return finish_start_steal(self, node, self->running ? 0 : call_soon(self));
}

void
timer_stop(timer_node *node)
{
    TimerQueue *self = node->queue;
    if (self == NULL) {
        return;
    }
    node_remove(node);
    if (self->count == 0 && !self->running) {
        Py_INCREF(self);
        handle_cancel(self);
        Py_DECREF(self);
    }
}

void
timer_forget(timer_node *node)
{
    if (node->queue != NULL) {
        node_remove(node);
    }
}

/* ---- Running ---- */

/* The errors of one timer do not keep the others from running; what ends the program does. 0, or
 * -1. */
static int
run_timer(timer_node *node)
{
    if (Py_REFCNT(node->owner) == 0) {
        node_remove(node); /* another thread is destroying it: it must not be revived */
        return 0;
    }
    PyObject *owner = Py_NewRef(node->owner);
    node_remove(node);
    int result = node->due(owner);
    if (result < 0 && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_WriteUnraisable(owner);
        result = 0;
    }
    Py_DECREF(owner);
    return result;
}

/* Runs what is due, as far as the budget goes. 0, or -1. */
static int
run_due(TimerQueue *self)
{
    double deadline = clock_seconds() + TURN_BUDGET;
    int result = 0;
    for (int steps = 1; result == 0 && !list_is_empty(&self->due); steps++) {
        timer_node *node = (timer_node *)self->due.next;
        assert(node->queue == self && self->count > 0);
        if (node->tick > self->now) { /* it was beyond the wheel's reach */
            list_remove(&node->link);
            wheel_insert(self, node);
        }
        else {
            result = run_timer(node);
        }
        if (steps % TURN_STEPS_PER_LOOK == 0 && clock_seconds() > deadline) {
            break;
        }
    }
    return result;
}

/* asyncio and uvloop make a call asked for with call_soon before what they read in the same turn.
 * So the second such call comes when what had arrived by the first has been read. */
static void
next_turn(TimerQueue *self)
{
    list_move_all(&self->due, &self->reading);
    list_move_all(&self->reading, &self->asked);
}

static PyObject *
timer_queue_call(TimerQueue *self, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    if (self->loop == NULL) {
        Py_RETURN_NONE; /* cleared by the garbage collector */
    }
    if (PyTuple_GET_SIZE(args) != 0) {
        self->called_soon = false;
        next_turn(self);
    }
    else {
        Py_CLEAR(self->handle);
    }
    self->running = true;
    wheel_advance(self);
    int result = run_due(self);
    self->running = false;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    int scheduled = self->loop == NULL ? 0 : schedule(self);
    if (result < 0) {
        PyErr_Restore(type, value, traceback);
    }
    if (result < 0 || scheduled < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyType_Slot timer_queue_slots[] = {
    {Py_tp_doc, (void *)"All timers of one event loop."},
    {Py_tp_dealloc, timer_queue_dealloc},
    {Py_tp_traverse, timer_queue_traverse},
    {Py_tp_clear, timer_queue_clear},
    {Py_tp_call, timer_queue_call},
    {0, NULL},
};

PyType_Spec timer_queue_spec = {
    .name = "atalanta._core.TimerQueue",
    .basicsize = sizeof(TimerQueue),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = timer_queue_slots,
};
