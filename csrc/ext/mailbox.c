/* Mailbox: see mailbox.h. Depends on turn.h to resume readers. */
#include "mailbox.h"

#include <math.h>

#include "broadcast.h"
#include "callable.h"
#include "clock.h"
#include "message_copy.h"
#include "turn.h"

#define MAILBOX_ROOM_FIRST 4

/* ---- The ring ---- */

static int
mailbox_grow(Mailbox *self)
{
    size_t room = self->room == 0 ? MAILBOX_ROOM_FIRST : self->room * 2;
    mailbox_slot *slots = PyMem_Malloc(room * sizeof(*slots));
    if (slots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < self->count; i++) {
        slots[i] = self->slots[(self->head + i) & (self->room - 1)];
    }
    PyMem_Free(self->slots);
    self->slots = slots;
    self->room = room;
    self->head = 0;
    return 0;
}

/* The oldest message, with its reference; the mailbox must not be empty. */
static PyObject *
mailbox_pop(Mailbox *self)
{
    assert(self->count > 0 && self->count <= self->room && (self->room & (self->room - 1)) == 0);
    PyObject *message = self->slots[self->head].message;
    self->own_count -= self->slots[self->head].own_expiry ? 1 : 0;
    self->head = (self->head + 1) & (self->room - 1);
    self->count--;
    if (self->count == 0) {
        PyMem_Free(self->slots);
        self->slots = NULL;
        self->room = 0;
        self->head = 0;
    }
    return message;
}

/* Notes that a message expires unread. */
static void
mailbox_note_lapse(Mailbox *self, const mailbox_slot *slot)
{
    if (!slot->own_expiry) {
        self->lapsed = fmax(self->lapsed, slot->expires);
    }
}

/* Forgets messages that have expired behind others, which only happens where some have an expiry
 * of their own. Without memory they stay, and are found out when they are the oldest. */
static void
mailbox_expire_behind(Mailbox *self, double now)
{
    mailbox_slot *kept = PyMem_Malloc(self->room * sizeof(*kept));
    if (kept == NULL) {
        return;
    }
    mailbox_slot *slots = self->slots;
    size_t head = self->head, count = self->count, mask = self->room - 1, n = 0;
    self->earliest = Py_HUGE_VAL;
    self->own_count = 0;
    for (size_t i = 0; i < count; i++) {
        const mailbox_slot *slot = &slots[(head + i) & mask];
        if (slot->expires <= now) {
            mailbox_note_lapse(self, slot);
            continue;
        }
        self->earliest = fmin(self->earliest, slot->expires);
        self->own_count += slot->own_expiry ? 1 : 0;
        kept[n++] = *slot;
    }
    self->slots = kept;
    self->head = 0;
    self->count = n;
    /* Destructors may look at the mailbox, which is in order now. */
    for (size_t i = 0; i < count; i++) {
        const mailbox_slot *slot = &slots[(head + i) & mask];
        if (slot->expires <= now) {
            Py_DECREF(slot->message);
        }
    }
    PyMem_Free(slots);
}

void
mailbox_expire(Mailbox *self, double now)
{
    while (self->count > 0 && self->slots[self->head].expires <= now) {
        mailbox_note_lapse(self, &self->slots[self->head]);
        Py_DECREF(mailbox_pop(self));
    }
    if (self->own_count > 0 && self->earliest <= now) {
        mailbox_expire_behind(self, now);
    }
}

double
mailbox_parse_expiry(PyObject *expiry)
{
    if (expiry == NULL || expiry == Py_None) {
        return MAILBOX_EXPIRY;
    }
    double seconds = PyFloat_AsDouble(expiry);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return Py_NAN;
    }
    if (!(seconds > 0)) {
        PyErr_Format(PyExc_ValueError, "expiry: expected seconds above 0, got %R", expiry);
        return Py_NAN;
    }
    return seconds;
}

int
mailbox_put(Mailbox *self, PyObject *message, double now, double expiry)
{
    mailbox_expire(self, now);
    if (self->count >= self->capacity) {
        return 0;
    }
    if (self->count == self->room && mailbox_grow(self) < 0) {
        return -1;
    }
    mailbox_slot *slot = &self->slots[(self->head + self->count) & (self->room - 1)];
    slot->message = Py_NewRef(message);
    slot->own_expiry = expiry != MAILBOX_EXPIRY;
    slot->expires = now + (slot->own_expiry ? expiry : self->expiry);
    if (self->own_count == 0) {
        self->earliest = Py_HUGE_VAL; /* what is there already expires in its order */
    }
    self->earliest = fmin(self->earliest, slot->expires);
    self->own_count += slot->own_expiry ? 1 : 0;
    self->count++;
    return mailbox_wake_reader(self) < 0 ? -1 : 1;
}

PyObject *
mailbox_take(Mailbox *self)
{
    if (self->count == 0) {
        return NULL;
    }
    mailbox_expire(self, clock_seconds());
    if (self->count == 0) {
        return NULL;
    }
    PyObject *message = mailbox_pop(self);
    if (Py_REFCNT(message) == 1) {
        return message;
    }
    PyObject *copy = message_copy(self->state, message);
    Py_DECREF(message);
    return copy;
}

/* ---- Readers ---- */

int
mailbox_add_reader(Mailbox *self, Waiter *waiter)
{
    if (self->reader == NULL) {
        self->reader = (Waiter *)Py_NewRef((PyObject *)waiter);
        return 0;
    }
    return object_list_append(&self->more_readers, (PyObject *)waiter);
}

/* Takes the first reader off; new reference, or NULL. */
static Waiter *
mailbox_pop_reader(Mailbox *self)
{
    Waiter *first = self->reader;
    self->reader =
        self->more_readers.count == 0 ? NULL : (Waiter *)object_list_take(&self->more_readers, 0);
    return first;
}

void
mailbox_remove_reader(Mailbox *self, Waiter *waiter)
{
    if (self->reader == waiter) {
        Py_XDECREF(mailbox_pop_reader(self));
        return;
    }
    object_list_discard(&self->more_readers, (PyObject *)waiter);
}

/* Resumes a reader that was taken off. 1; 0 for one that does not wait any more; or -1, and it
 * waits on. */
static int
resume_reader_steal(Mailbox *self, Waiter *waiter)
{
    int result = 0;
    if (waiter_is_pending(waiter)) {
        result = turn_resume(waiter) < 0 ? -1 : 1;
    }
    /* Loops say by RuntimeError itself that they are closed: nobody can read there any more. Of
     * its subclasses RecursionError says nothing of the reader. */
    if (result < 0 && PyErr_Occurred() == PyExc_RuntimeError) {
        PyErr_Clear();
        result = 0;
    }
    if (result < 0) {
        /* Behind the others; the only one needs no memory for that. */
        (void)mailbox_add_reader(self, waiter);
    }
    Py_DECREF(waiter);
    return result;
}

int
mailbox_wake_reader(Mailbox *self)
{
    int result = 0;
    while (result == 0 && self->count > 0 && self->reader != NULL) {
        result = resume_reader_steal(self, mailbox_pop_reader(self));
    }
    return result < 0 ? -1 : 0;
}

/* ---- The type ---- */

static int
mailbox_init(Mailbox *self, PyObject *args, PyObject *kwargs)
{
    static const char *const keywords[] = {"capacity", "expiry", NULL};
    Py_ssize_t capacity;
    double expiry;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "nd:Mailbox", KEYWORD_LIST(keywords), &capacity,
                                     &expiry)) {
        return -1;
    }
    if (capacity < 1) {
        PyErr_Format(PyExc_ValueError, "a mailbox has a capacity of 1 or more, got %zd", capacity);
        return -1;
    }
    self->state = module_state_of((PyObject *)self);
    if (self->state == NULL) {
        return -1;
    }
    self->capacity = (size_t)capacity;
    self->expiry = expiry;
    return 0;
}

static int
mailbox_clear_messages(Mailbox *self)
{
    while (self->count > 0) {
        Py_DECREF(mailbox_pop(self));
    }
    return 0;
}

static int
mailbox_tp_clear(Mailbox *self)
{
    mailbox_clear_messages(self);
    Py_CLEAR(self->reader);
    object_list_drop(&self->more_readers);
    Py_CLEAR(self->connection);
    return 0;
}

static int
mailbox_traverse(Mailbox *self, visitproc visit, void *arg)
{
    for (size_t i = 0; i < self->count; i++) {
        Py_VISIT(self->slots[(self->head + i) & (self->room - 1)].message);
    }
    Py_VISIT(self->reader);
    Py_VISIT(self->connection);
    int stopped = object_list_traverse(&self->more_readers, visit, arg);
    return stopped != 0 ? stopped : visit((PyObject *)Py_TYPE(self), arg);
}

static void
mailbox_dealloc(Mailbox *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    mailbox_tp_clear(self);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

PyDoc_STRVAR(put_doc, "put($self, message, expiry=None, /)\n--\n\n"
                      "Append a copy of the message and wake a reader. False when the mailbox is\n"
                      "full. An `expiry` in seconds takes the place of the mailbox's.");

static PyObject *
mailbox_put_method(Mailbox *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 2) {
        PyErr_Format(PyExc_TypeError, "put() takes 1 or 2 arguments, got %zd", nargs);
        return NULL;
    }
    double expiry = mailbox_parse_expiry(nargs > 1 ? args[1] : NULL);
    if (isnan(expiry)) {
        return NULL;
    }
    double now = clock_seconds();
    mailbox_expire(self, now);
    if (self->count >= self->capacity) {
        Py_RETURN_FALSE;
    }
    PyObject *copy = message_copy(self->state, args[0]);
    if (copy == NULL) {
        return NULL;
    }
    int result = mailbox_put(self, copy, now, expiry);
    Py_DECREF(copy);
    return result < 0 ? NULL : PyBool_FromLong(result);
}

PyDoc_STRVAR(clear_doc, "clear($self, /)\n--\n\n"
                        "Forget the messages; readers wait on.");

static PyObject *
mailbox_clear_method(Mailbox *self, PyObject *Py_UNUSED(ignored))
{
    mailbox_clear_messages(self);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(leave_groups_doc,
             "leave_groups($self, /)\n--\n\n"
             "End the memberships that it has now; the groups notice when they are next sent to.");

static PyObject *
mailbox_leave_groups(Mailbox *self, PyObject *Py_UNUSED(ignored))
{
    self->left = clock_seconds();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(attach_doc,
             "attach($self, receive, limit, policy, /)\n--\n\n"
             "Have broadcasts written to the connection whose receive this is, past its\n"
             "consumer. At most `limit` bytes of them wait for a connection that is slow;\n"
             "policy says what happens to more: \"skip\", \"drop_oldest\" or \"close\".");

static int
parse_policy(const char *name)
{
    static const char *const names[] = {
        [BROADCAST_SKIP] = "skip",
        [BROADCAST_DROP_OLDEST] = "drop_oldest",
        [BROADCAST_CLOSE] = "close",
    };
    for (size_t i = 0; i < Py_ARRAY_LENGTH(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            return (int)i;
        }
    }
    PyErr_Format(PyExc_ValueError, "policy: expected 'skip', 'drop_oldest' or 'close', got '%s'",
                 name);
    return -1;
}

static PyObject *
mailbox_attach(Mailbox *self, PyObject *args)
{
    PyObject *receive;
    Py_ssize_t limit;
    const char *name;
    if (!PyArg_ParseTuple(args, "Ons:attach", &receive, &limit, &name)) {
        return NULL;
    }
    if (self->state == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Mailbox.__init__ was not called");
        return NULL;
    }
    Protocol *connection = callable_receives_from(self->state, receive);
    int policy = parse_policy(name);
    if (policy >= 0 && connection == NULL) {
        PyErr_SetString(PyExc_TypeError, "expected the receive of a connection of ours");
    }
    else if (policy >= 0 && limit < 0) {
        PyErr_Format(PyExc_ValueError, "limit: expected 0 or more bytes, got %zd", limit);
    }
    if (PyErr_Occurred() ||
        broadcast_join(connection, (size_t)limit, (broadcast_policy)policy) < 0) {
        return NULL;
    }
    Py_XSETREF(self->connection, (Protocol *)Py_NewRef((PyObject *)connection));
    Py_RETURN_NONE;
}

PyDoc_STRVAR(detach_doc, "detach($self, /)\n--\n\n"
                         "End what attach() began; broadcasts go to the mailbox again.");

static PyObject *
mailbox_detach(Mailbox *self, PyObject *Py_UNUSED(ignored))
{
    if (self->connection != NULL) {
        broadcast_leave(self->connection);
        Py_CLEAR(self->connection);
    }
    Py_RETURN_NONE;
}

static Py_ssize_t
mailbox_length(Mailbox *self)
{
    mailbox_expire(self, clock_seconds());
    return (Py_ssize_t)self->count;
}

static PyObject *
mailbox_get_idle(Mailbox *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(mailbox_length(self) == 0 && self->reader == NULL &&
                           self->groups == 0 && self->holds == 0);
}

static PyObject *
mailbox_get_waiting(Mailbox *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->reader != NULL);
}

PyDoc_STRVAR(unread_at_doc,
             "unread_at($self, seconds, /)\n--\n\n"
             "How many of the messages had not expired at a time of time.monotonic(). Unlike "
             "len(), it forgets none that have.");

static PyObject *
mailbox_unread_at(Mailbox *self, PyObject *time)
{
    double seconds = PyFloat_AsDouble(time);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    Py_ssize_t unread = 0;
    for (size_t i = 0; i < self->count; i++) {
        unread += self->slots[(self->head + i) & (self->room - 1)].expires > seconds ? 1 : 0;
    }
    return PyLong_FromSsize_t(unread);
}

static PyMethodDef mailbox_methods[] = {
    {"attach", (PyCFunction)mailbox_attach, METH_VARARGS, attach_doc},
    {"detach", (PyCFunction)mailbox_detach, METH_NOARGS, detach_doc},
    {"put", (PyCFunction)(void (*)(void))mailbox_put_method, METH_FASTCALL, put_doc},
    {"clear", (PyCFunction)mailbox_clear_method, METH_NOARGS, clear_doc},
    {"leave_groups", (PyCFunction)mailbox_leave_groups, METH_NOARGS, leave_groups_doc},
    {"unread_at", (PyCFunction)mailbox_unread_at, METH_O, unread_at_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef mailbox_getset[] = {
    {"idle", (getter)mailbox_get_idle, NULL,
     "No messages, no reader that waits, member of no group, and not held.", NULL},
    {"waiting", (getter)mailbox_get_waiting, NULL, "Whether a reader waits for a message.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef mailbox_members[] = {
    {"holds", T_PYSSIZET, offsetof(Mailbox, holds), 0,
     "How many read from it, who may be doing something else at times."},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(
    mailbox_doc,
    "Mailbox(capacity, expiry)\n--\n\n"
    "The messages of one channel that were not received yet: at most `capacity` of them, each\n"
    "for `expiry` seconds. Its length counts those that have not expired.");

static PyType_Slot mailbox_slots[] = {
    {Py_tp_doc, (void *)mailbox_doc},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, mailbox_init},
    {Py_tp_dealloc, mailbox_dealloc},
    {Py_tp_traverse, mailbox_traverse},
    {Py_tp_clear, mailbox_tp_clear},
    {Py_tp_methods, mailbox_methods},
    {Py_tp_members, mailbox_members},
    {Py_tp_getset, mailbox_getset},
    {Py_sq_length, mailbox_length},
    {0, NULL},
};

PyType_Spec mailbox_spec = {
    .name = "atalanta._core.Mailbox",
    .basicsize = sizeof(Mailbox),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = mailbox_slots,
};
