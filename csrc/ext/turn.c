/* Turn: see turn.h. Running it can run Python that asks for more: lists are moved out or counted
 * first, and what has been added is left to the next call. */
#include "turn.h"

#include "clock.h"
#include "loop_state.h"
#include "object_list.h"
#include "protocol.h"
#include "writer.h"

struct turn_object {
    PyObject_HEAD
    LoopState *per_loop;
    PyObject *loop;
    object_list outputs; /* Protocols */
    object_list waiters;
    size_t resumed; /* of the waiters, from the first: their items are NULL */
    size_t flushed; /* likewise of the outputs */
    bool scheduled;
};

/* ---- Life ---- */

static int
turn_clear(Turn *self)
{
    if (self->per_loop != NULL && self->per_loop->turn == self) {
        self->per_loop->turn = NULL;
    }
    Py_CLEAR(self->per_loop);
    Py_CLEAR(self->loop);
    object_list_drop(&self->outputs);
    object_list_drop(&self->waiters);
    return 0;
}

static int
turn_traverse(Turn *self, visitproc visit, void *arg)
{
    Py_VISIT(self->per_loop);
    Py_VISIT(self->loop);
    int stopped = object_list_traverse(&self->outputs, visit, arg);
    if (stopped == 0) {
        stopped = object_list_traverse(&self->waiters, visit, arg);
    }
    return stopped != 0 ? stopped : visit((PyObject *)Py_TYPE(self), arg);
}

static void
turn_dealloc(Turn *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    turn_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* Has the loop call the turn. The loop may be running in another thread, or not at all. */
static int
turn_schedule(Turn *self)
{
    const module_state *state = self->per_loop->state;
    PyObject *running = PyObject_CallNoArgs(state->get_running_loop);
    if (running == NULL) {
        return -1;
    }
    PyObject *method =
        running == self->loop ? state->names.call_soon : state->names.call_soon_threadsafe;
    Py_DECREF(running);
    PyObject *handle = PyObject_CallMethodOneArg(self->loop, method, (PyObject *)self);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

/* The turn that the loop is going to call or is calling, made if there is none. New reference. */
static Turn *
turn_of(LoopState *per_loop, PyObject *loop)
{
    if (per_loop->turn != NULL) {
        return (Turn *)Py_NewRef((PyObject *)per_loop->turn);
    }
    Turn *self = PyObject_GC_New(Turn, per_loop->state->turn_type);
    if (self == NULL) {
        return NULL;
    }
    memset((char *)self + sizeof(PyObject), 0, sizeof(*self) - sizeof(PyObject));
    self->per_loop = (LoopState *)Py_NewRef((PyObject *)per_loop);
    self->loop = Py_NewRef(loop);
    per_loop->turn = self;
    PyObject_GC_Track(self);
    return self;
}

/* Puts the object on a list and sees to it that the loop calls. Scheduling comes last: in another
 * thread the loop may have called before this returns. Steals the turn. 0, or -1. */
static int
turn_add_steal(Turn *self, object_list *list, PyObject *object)
{
    int result = object_list_append(list, object);
    if (result == 0 && !self->scheduled) {
        self->scheduled = true;
        result = turn_schedule(self);
        if (result < 0 && self->per_loop->turn == self) {
            self->per_loop->turn = NULL;
        }
    }
    Py_DECREF(self);
    return result;
}

int
turn_flush(struct protocol_object *protocol)
{
    Turn *self = turn_of(protocol->per_loop, protocol->loop);
    return self == NULL ? -1 : turn_add_steal(self, &self->outputs, (PyObject *)protocol);
}

int
turn_resume(Waiter *waiter)
{
    Turn *self = turn_of(waiter_loop_state(waiter), waiter_loop(waiter));
    return self == NULL ? -1 : turn_add_steal(self, &self->waiters, (PyObject *)waiter);
}

/* ---- Running ---- */

/* Resumes tasks in turn until all are that were woken before, or the budget is used up. 0, or -1
 * (SystemExit, KeyboardInterrupt). */
static int
turn_resume_tasks(Turn *self)
{
    LoopState *per_loop = self->per_loop;
    double deadline = clock_seconds() + TURN_BUDGET;
    size_t end = self->waiters.count;
    int result = 0;
    while (result == 0 && self->resumed < end) {
        PyObject *waiter = self->waiters.items[self->resumed];
        self->waiters.items[self->resumed] = NULL;
        self->resumed++;
        per_loop->resuming = true;
        result = waiter_wake_now((Waiter *)waiter);
        per_loop->resuming = false;
        Py_DECREF(waiter);
        if (self->resumed % TURN_STEPS_PER_LOOK == 0 && clock_seconds() > deadline) {
            break;
        }
    }
    return result;
}

/* Flushes outputs in turn, as far as the budget goes. */
static void
turn_flush_outputs(Turn *self)
{
    double deadline = clock_seconds() + TURN_BUDGET;
    size_t end = self->outputs.count;
    while (self->flushed < end) {
        Protocol *protocol = (Protocol *)self->outputs.items[self->flushed];
        self->outputs.items[self->flushed] = NULL;
        self->flushed++;
        protocol->output.listed = false;
        if (writer_flush(protocol) < 0) {
            /* One connection's transport must not keep the others from being flushed. */
            PyErr_WriteUnraisable((PyObject *)protocol);
        }
        Py_DECREF(protocol);
        if (self->flushed % TURN_STEPS_PER_LOOK == 0 && clock_seconds() > deadline) {
            break;
        }
    }
}

/* Forgets the first `done` items of a list, which are NULL; how many are left. */
static size_t
list_forget(object_list *list, size_t *done)
{
    size_t left = list->count - *done;
    if (left == 0) {
        object_list_drop(list);
        *done = 0;
    }
    else if (*done > left) {
        memcpy(list->items, list->items + *done, left * sizeof(*list->items));
        list->count = left;
        *done = 0;
    }
    return left;
}

/* Has the loop call again if there is more to do. 0, or -1. */
static int
turn_finish(Turn *self)
{
    size_t left = list_forget(&self->waiters, &self->resumed);
    left += list_forget(&self->outputs, &self->flushed);
    if (left == 0) {
        self->per_loop->turn = NULL;
        return 0;
    }
    return turn_schedule(self);
}

static PyObject *
turn_call(Turn *self, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    if (self->per_loop == NULL) {
        Py_RETURN_NONE; /* cleared by the garbage collector */
    }
    int between = loop_is_between_tasks(self->per_loop->state, self->loop);
    int result = between > 0 ? turn_resume_tasks(self) : between;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    turn_flush_outputs(self);
    int finished = turn_finish(self);
    if (result < 0) {
        PyErr_Restore(type, value, traceback);
    }
    if (result < 0 || finished < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyType_Slot turn_slots[] = {
    {Py_tp_doc, (void *)"Tasks to resume and outputs to flush in one turn of a loop."},
    {Py_tp_dealloc, turn_dealloc},
    {Py_tp_traverse, turn_traverse},
    {Py_tp_clear, turn_clear},
    {Py_tp_call, turn_call},
    {0, NULL},
};

PyType_Spec turn_spec = {
    .name = "atalanta._core.Turn",
    .basicsize = sizeof(Turn),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = turn_slots,
};
