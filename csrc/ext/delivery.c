/* Delivery: see delivery.h. Delivering calls into Python (the loop's call_soon, transports,
 * destructors), which may change the group or begin other deliveries, but does not go on with the
 * one that is running.
 *
 * A delivery that does not finish at once waits in its group's line. Whoever delivers to the group
 * then goes on with those that came before, so that order does not depend on whose task runs. */
#include "delivery.h"

#include <math.h>

#include "broadcast.h"
#include "clock.h"
#include "coroutine.h"
#include "message_copy.h"
#include "turn.h"

/* What became of the message at one member; the first two as mailbox_put and broadcast_write
 * answer. */
enum { DELIVERY_FULL, DELIVERY_DONE, DELIVERY_VOID, DELIVERY_OUTCOMES };

struct delivery_object {
    PyObject_HEAD
    module_state *state; /* borrowed: the type keeps the module alive */
    Group *group;
    PyObject *message;       /* NULL when there is nothing left to do */
    unsigned long thread;    /* that it was sent in */
    unsigned long running;   /* the thread that delivers a slice right now, or 0 */
    uint64_t seen;           /* of the group's slices, when its task ran last */
    broadcast_frames frames; /* of a broadcast */
    PyObject *loop;          /* that ran where it was sent, for a broadcast; else NULL */
    bool direct;             /* that loop runs here: its connections may be written to */
    double now;
    double expiry;        /* seconds, or MAILBOX_EXPIRY */
    member_list *members; /* shared; NULL for none */
    size_t next;
    uint64_t departures; /* of the group, when the members were noted */
    Py_ssize_t counts[DELIVERY_OUTCOMES];
    PyObject *error;  /* the first there was, for its own task to raise; or NULL */
    Delivery *behind; /* the next in the group's line, with its reference; or NULL */
};

/* ---- To one member ---- */

/* Whether the message is a broadcast and the member's connection may be written to here. */
static bool
goes_to_connection(const Delivery *self, const Mailbox *mailbox)
{
    const Protocol *connection = mailbox->connection;
    return self->direct && connection != NULL && connection->broadcast != NULL &&
           connection->loop == self->loop && connection->phase == PHASE_OPEN;
}

/* Whether a member of the beginning has not left since. 1, 0, or -1. */
static int
is_still_member(const Delivery *self, const membership *member)
{
    if (self->departures == self->group->departures) {
        return 1;
    }
    Py_ssize_t place = group_find(self->group, member->channel);
    if (place == -2) {
        return -1;
    }
    return place >= 0 && self->group->members->items[place].mailbox == member->mailbox;
}

/* Delivers to one who was a member when the message was sent: one of the outcomes, or -1. */
static int
deliver(Delivery *self, const membership *member)
{
    Mailbox *mailbox = member->mailbox;
    mailbox_expire(mailbox, self->now);
    if (group_member_is_void(self->group, member, self->now)) {
        return DELIVERY_VOID;
    }
    if (!goes_to_connection(self, mailbox)) {
        return mailbox_put(mailbox, self->message, self->now, self->expiry);
    }
    /* What waits for a slow connection has its limit; only the sender says how long it is good. */
    double expires = self->expiry == MAILBOX_EXPIRY ? Py_HUGE_VAL : self->now + self->expiry;
    Protocol *connection = (Protocol *)Py_NewRef((PyObject *)mailbox->connection);
    int result = broadcast_write(connection, &self->frames, expires);
    Py_DECREF(connection);
    return result;
}

/* Keeps the exception that is set for the delivery's own task, which may be another. */
static void
keep_error(Delivery *self)
{
    if (self->error != NULL) {
        PyErr_WriteUnraisable((PyObject *)self);
        return;
    }
    self->error = exception_take();
}

/* To the next member; what goes wrong with one keeps it from no other. */
static void
deliver_next(Delivery *self)
{
    const membership *member = &self->members->items[self->next++];
    int result = is_still_member(self, member);
    if (result > 0) {
        result = deliver(self, member);
        if (result >= 0) {
            self->counts[result]++;
        }
    }
    if (result < 0) {
        keep_error(self);
    }
}

/* ---- To all ---- */

static void
forget_all(Delivery *self)
{
    member_list *members = self->members;
    self->members = NULL;
    self->next = 0;
    members_release(members);
    broadcast_frames_end(&self->frames);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->message);
}

/* ---- In line ---- */

static bool
is_in_line(const Delivery *self)
{
    const Delivery *other = self->group->line;
    while (other != NULL && other != self) {
        other = other->behind;
    }
    return other == self;
}

static void
line_up(Delivery *self)
{
    Delivery **place = &self->group->line;
    while (*place != NULL) {
        place = &(*place)->behind;
    }
    *place = (Delivery *)Py_NewRef((PyObject *)self);
}

/* No-op for one that does not wait there. */
static void
leave_line(Delivery *self)
{
    Delivery **place = &self->group->line;
    while (*place != NULL && *place != self) {
        place = &(*place)->behind;
    }
    if (*place == self) {
        *place = self->behind;
        self->behind = NULL;
        Py_DECREF(self);
    }
}

/* Whether connections that a broadcast may be written to are of this thread. 1, 0, or -1. */
static int
runs_on_its_loop(const Delivery *self)
{
    if (self->loop == NULL) {
        return 0;
    }
    PyObject *running = PyObject_CallNoArgs(self->state->get_running_loop);
    Py_XDECREF(running);
    return running == NULL ? -1 : running == self->loop;
}

/* Delivers until all have it, or until the deadline. 1 when that was the end of it, 0, or -1. */
static int
deliver_until(Delivery *self, double deadline)
{
    int direct = runs_on_its_loop(self);
    if (direct < 0) {
        return -1;
    }
    self->direct = direct;
    self->now = clock_seconds();
    const size_t count = self->members == NULL ? 0 : self->members->count;
    while (self->next < count) {
        deliver_next(self);
        if (self->next % TURN_STEPS_PER_LOOK == 0 && clock_seconds() > deadline) {
            break;
        }
    }
    if (self->next < count) {
        return 0;
    }
    bool any_void = self->counts[DELIVERY_VOID] > 0;
    return any_void && group_remove_void(self->group, self->now) < 0 ? -1 : 1;
}

/* One slice. True when nothing is left to do; the caller holds a reference. */
static bool
run(Delivery *self, double deadline)
{
    self->running = PyThread_get_thread_ident();
    int result = deliver_until(self, deadline);
    self->running = 0;
    self->group->slices++;
    if (result == 0) {
        return false;
    }
    if (result < 0) {
        keep_error(self);
    }
    leave_line(self);
    forget_all(self);
    return true;
}

/* The first that came before and that can be gone on with here: behind one that cannot, only what
 * this delivery's own thread has sent, as the order is that of each thread. New reference; NULL if
 * there is none. With `blocked`, also when one of the own thread is being gone on with in another,
 * which must not be overtaken: *blocked is true then. */
static Delivery *
first_before(const Delivery *self, bool *blocked)
{
    bool all = true;
    Delivery *other = self->group->line;
    for (; other != NULL && other != self; other = other->behind) {
        const bool own = other->thread == self->thread;
        if (!own && !all) {
            continue;
        }
        int here = other->loop == NULL ? 1 : runs_on_its_loop(other);
        if (here < 0) {
            PyErr_WriteUnraisable((PyObject *)other);
        }
        if (here > 0 && other->running == 0) {
            return (Delivery *)Py_NewRef((PyObject *)other);
        }
        const bool elsewhere =
            other->running != 0 && other->running != PyThread_get_thread_ident();
        if (own && elsewhere && blocked != NULL) {
            *blocked = true;
            return NULL;
        }
        all = false;
    }
    return NULL;
}

/* Those that came before, then this one; `waits` for those that are gone on with in another
 * thread. True when nothing is left to do for it. */
static bool
run_in_order(Delivery *self, double deadline, bool waits)
{
    if (self->running != 0) {
        return false; /* a call below, or another thread, asks while this goes on */
    }
    bool blocked = false;
    Delivery *earlier;
    while (self->message != NULL &&
           (earlier = first_before(self, waits ? &blocked : NULL)) != NULL) {
        bool finished = run(earlier, deadline);
        Py_DECREF(earlier);
        if (!finished) {
            return false;
        }
    }
    return self->message == NULL || (!blocked && self->running == 0 && run(self, deadline));
}

/* Whether there are deliveries before this one that somebody gets on with: a slice for each of
 * many senders would be a long turn of the loop. */
static bool
others_get_on(const Delivery *self)
{
    const Group *group = self->group;
    return self->message != NULL && group->line != NULL && group->line != self &&
           self->seen != group->slices;
}

void
delivery_drop(Delivery *self)
{
    while (self != NULL) {
        Delivery *behind = self->behind;
        self->behind = NULL;
        Py_DECREF(self);
        self = behind;
    }
}

/* ---- The awaitable ---- */

/* StopIteration with how many got the message and how many did not; or the error. */
static PyObject *
delivery_result(Delivery *self)
{
    if (self->error != NULL) {
        PyObject *error = self->error;
        self->error = NULL;
        exception_raise_steal(error);
        return NULL;
    }
    PyObject *counts =
        Py_BuildValue("nn", self->counts[DELIVERY_DONE], self->counts[DELIVERY_FULL]);
    /* By instance: a bare tuple would be unpacked into arguments. */
    PyObject *stop = counts == NULL ? NULL : PyObject_CallOneArg(PyExc_StopIteration, counts);
    Py_XDECREF(counts);
    if (stop != NULL) {
        PyErr_SetObject(PyExc_StopIteration, stop);
        Py_DECREF(stop);
    }
    return NULL;
}

static PyObject *
delivery_iternext(Delivery *self)
{
    if (!others_get_on(self) && run_in_order(self, clock_seconds() + TURN_BUDGET, true)) {
        return delivery_result(self);
    }
    if (self->message != NULL && !is_in_line(self)) {
        line_up(self);
    }
    self->seen = self->group->slices;
    Py_RETURN_NONE;
}

/* The task ends half-way: who has not got the message gets it now, as others have it. */
static void
delivery_finish(Delivery *self)
{
    if (self->message == NULL || !is_in_line(self)) {
        return; /* finished, or nobody has got it */
    }
    Delivery *held = (Delivery *)Py_NewRef((PyObject *)self);
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    (void)run_in_order(self, Py_HUGE_VAL, false);
    if (self->error != NULL) {
        (void)delivery_result(self);
        PyErr_WriteUnraisable((PyObject *)self);
    }
    PyErr_Restore(type, value, traceback);
    Py_DECREF(held);
}

static PyObject *
delivery_throw(Delivery *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (coroutine_check_throw(nargs) < 0) {
        return NULL;
    }
    delivery_finish(self);
    coroutine_raise(args, nargs);
    return NULL;
}

static PyObject *
delivery_close(Delivery *self, PyObject *Py_UNUSED(ignored))
{
    delivery_finish(self);
    Py_RETURN_NONE;
}

/* ---- The type ---- */

/* Takes the message. 0, or -1. */
static int
note_message(Delivery *self, PyObject *event, PyObject *expiry)
{
    const module_state *state = self->state;
    self->expiry = mailbox_parse_expiry(expiry);
    if (isnan(self->expiry)) {
        return -1;
    }
    PyObject *type = PyDict_Check(event) ? PyDict_GetItem(event, state->names.type) : NULL;
    Py_XINCREF(type); /* comparing it may run what takes it away from the event */
    const int broadcast =
        type == NULL ? 0 : PyObject_RichCompareBool(type, state->names.broadcast_type, Py_EQ);
    Py_XDECREF(type);
    if (broadcast < 0) {
        return -1;
    }
    self->message = message_copy(state, event);
    if (self->message == NULL) {
        return -1;
    }
    if (broadcast && broadcast_frames_begin(&self->frames, state, event) > 0) {
        self->loop = PyObject_CallNoArgs(state->get_running_loop);
    }
    return PyErr_Occurred() ? -1 : 0;
}

PyObject *
delivery_new(Group *group, PyObject *event, PyObject *expiry)
{
    module_state *state = group->state;
    Delivery *self = PyObject_GC_New(Delivery, state->delivery_type);
    if (self == NULL) {
        return NULL;
    }
    memset((char *)self + sizeof(PyObject), 0, sizeof(*self) - sizeof(PyObject));
    self->state = state;
    self->group = (Group *)Py_NewRef((PyObject *)group);
    if (note_message(self, event, expiry) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->members = group_share_members(group);
    self->departures = group->departures;
    self->thread = PyThread_get_thread_ident();
    self->seen = group->slices - 1; /* as good as long ago */
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static int
delivery_clear(Delivery *self)
{
    forget_all(self);
    Py_CLEAR(self->error);
    Delivery *behind = self->behind;
    self->behind = NULL;
    delivery_drop(behind);
    return 0;
}

static int
delivery_traverse(Delivery *self, visitproc visit, void *arg)
{
    Py_VISIT(self->group);
    Py_VISIT(self->message);
    Py_VISIT(self->loop);
    Py_VISIT(self->error);
    Py_VISIT(self->behind);
    /* The references of a list that has several owners are counted once, by the group if it is
     * one of them. */
    bool alone = self->members != NULL && self->members->owners == 1;
    int stopped = alone ? members_traverse(self->members, visit, arg) : 0;
    return stopped != 0 ? stopped : visit((PyObject *)Py_TYPE(self), arg);
}

static void
delivery_dealloc(Delivery *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    delivery_clear(self);
    Py_DECREF(self->group);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef delivery_methods[] = {
    {"throw", (PyCFunction)(void (*)(void))delivery_throw, METH_FASTCALL, NULL},
    {"close", (PyCFunction)delivery_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot delivery_slots[] = {
    {Py_tp_doc, (void *)"One message on its way to the members of a group; await it."},
    {Py_tp_dealloc, delivery_dealloc},
    {Py_tp_traverse, delivery_traverse},
    {Py_tp_clear, delivery_clear},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, delivery_iternext},
    {Py_am_await, PyObject_SelfIter},
    {Py_tp_methods, delivery_methods},
    {0, NULL},
};

PyType_Spec delivery_spec = {
    .name = "atalanta._core.Delivery",
    .basicsize = sizeof(Delivery),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = delivery_slots,
};
