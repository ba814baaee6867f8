/* Events: see events.h. Awaiting it gives the next event; the same object is awaited again and
 * again, by one task, so that an event costs no object. Events stay where they are queued until
 * the task runs: cancelling loses nothing.
 *
 * Each source keeps its order; when both have something they take turns. */
#include "events.h"

#include "callable.h"
#include "coroutine.h"
#include "session.h"
#include "writer.h"

/* ---- Waiting ---- */

void
events_begin_wake(Events *self)
{
    if (self->connection != NULL) {
        protocol_remove_reader(self->connection, self->waiter);
    }
    if (self->mailbox != NULL) {
        mailbox_remove_reader(self->mailbox, self->waiter);
    }
}

static void
forget_waiter(Events *self)
{
    if (self->waiter != NULL) {
        events_begin_wake(self);
        Py_CLEAR(self->waiter);
    }
}

/* What the task was woken for may be for another reader of the mailbox. */
void
events_abandon(Events *self)
{
    bool waited = self->waiter != NULL;
    forget_waiter(self);
    self->suspended = false;
    if (waited && self->mailbox != NULL && mailbox_wake_reader(self->mailbox) < 0) {
        PyErr_WriteUnraisable((PyObject *)self->mailbox);
    }
}

/* Has the waiter woken by either source. 0; or -1, and neither has it. */
static int
add_reader(Events *self, Waiter *waiter)
{
    if (self->connection != NULL && protocol_add_reader(self->connection, waiter) < 0) {
        return -1;
    }
    if (self->mailbox != NULL && mailbox_add_reader(self->mailbox, waiter) < 0) {
        if (self->connection != NULL) {
            protocol_remove_reader(self->connection, waiter);
        }
        return -1;
    }
    return 0;
}

/* A pending waiter for the task that awaits. Can run Python. New reference, or NULL. */
static Waiter *
new_waiter(const Events *self)
{
    const Protocol *connection = self->connection;
    return connection == NULL ? waiter_new_here(self->state)
                              : waiter_new(connection->per_loop, connection->loop);
}

static PySendResult
events_wait_steal(Events *self, Waiter *waiter, PyObject **result)
{
    if (add_reader(self, waiter) < 0) {
        Py_DECREF(waiter);
        return PYGEN_ERROR;
    }
    self->taken = 0;
    self->waiter = waiter;
    self->suspended = true;
    *result = Py_NewRef((PyObject *)waiter);
    return PYGEN_NEXT;
}

/* ---- Taking ---- */

static PyObject *
take_from_connection(Events *self)
{
    if (self->connection == NULL || !session_has_event(self->connection)) {
        return NULL;
    }
    self->mailbox_first = true;
    return session_take_event(self->connection);
}

static PyObject *
take_from_mailbox(Events *self)
{
    if (self->mailbox == NULL) {
        return NULL;
    }
    self->mailbox_first = false;
    return mailbox_take(self->mailbox);
}

/* The next event; NULL without an exception when there is none. */
static PyObject *
events_take(Events *self)
{
    PyObject *event = self->mailbox_first ? take_from_mailbox(self) : take_from_connection(self);
    if (event == NULL && !PyErr_Occurred()) {
        event = self->mailbox_first ? take_from_connection(self) : take_from_mailbox(self);
    }
    return event;
}

PySendResult
events_poll(Events *self, PyObject **result)
{
    *result = NULL;
    if (self->taken >= COROUTINE_BUDGET) {
        return PYGEN_NEXT;
    }
    *result = events_take(self);
    if (*result == NULL) {
        return PyErr_Occurred() ? PYGEN_ERROR : PYGEN_NEXT;
    }
    self->taken++;
    return PYGEN_RETURN;
}

static PySendResult
events_step(Events *self, PyObject **result)
{
    PySendResult outcome = events_poll(self, result);
    if (outcome != PYGEN_NEXT) {
        return outcome;
    }
    /* The consumer is about to wait: what it sent has to go. */
    if (self->connection != NULL && writer_flush(self->connection) < 0) {
        return PYGEN_ERROR;
    }
    if (self->taken >= COROUTINE_BUDGET) {
        self->taken = 0;
        self->suspended = true;
        *result = Py_NewRef(Py_None);
        return PYGEN_NEXT;
    }
    /* Writing can end the connection; what it and the making of a waiter run, in this thread or in
     * another, can put a message. Nothing runs between this look and the wait. */
    Waiter *waiter = new_waiter(self);
    if (waiter == NULL) {
        return PYGEN_ERROR;
    }
    outcome = events_poll(self, result);
    if (outcome == PYGEN_NEXT) {
        return events_wait_steal(self, waiter, result);
    }
    Py_DECREF(waiter);
    return outcome;
}

int
events_wait_on(Events *self)
{
    if (self->connection != NULL && writer_flush(self->connection) < 0) {
        return -1;
    }
    bool over_budget = self->taken >= COROUTINE_BUDGET;
    self->taken = 0;
    if (over_budget || (self->connection != NULL && session_has_event(self->connection)) ||
        (self->mailbox != NULL && self->mailbox->count > 0)) {
        return 0;
    }
    return add_reader(self, self->waiter) < 0 ? -1 : 1;
}

PySendResult
events_next(Events *self, PyObject **result)
{
    *result = NULL;
    if (self->waiter != NULL && waiter_is_pending(self->waiter)) {
        /* Resumed by somebody who did not wait for the waiter: wait on. */
        *result = Py_NewRef((PyObject *)self->waiter);
        return PYGEN_NEXT;
    }
    forget_waiter(self);
    self->suspended = false;
    return events_step(self, result);
}

static PySendResult
events_send_slot(Events *self, PyObject *Py_UNUSED(value), PyObject **result)
{
    return events_next(self, result);
}

/* ---- The type ---- */

static PyObject *
events_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static const char *const keywords[] = {"receive", "mailbox", NULL};
    PyObject *receive, *mailbox;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:Events", KEYWORD_LIST(keywords), &receive,
                                     &mailbox)) {
        return NULL;
    }
    const module_state *state = PyType_GetModuleState(type);
    Protocol *connection = NULL;
    if (receive != Py_None) {
        connection = callable_receives_from(state, receive);
        if (connection == NULL) {
            PyErr_Format(PyExc_TypeError,
                         "expected the receive of a connection of ours, got %.200s",
                         Py_TYPE(receive)->tp_name);
            return NULL;
        }
    }
    if (mailbox != Py_None && !Py_IS_TYPE(mailbox, state->mailbox_type)) {
        PyErr_Format(PyExc_TypeError, "expected a Mailbox or None, got %.200s",
                     Py_TYPE(mailbox)->tp_name);
        return NULL;
    }
    Events *self = (Events *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->state = module_state_of((PyObject *)self);
    self->connection = (Protocol *)Py_XNewRef((PyObject *)connection);
    self->mailbox = mailbox == Py_None ? NULL : (Mailbox *)Py_NewRef(mailbox);
    return (PyObject *)self;
}

static int
events_tp_clear(Events *self)
{
    Py_CLEAR(self->waiter);
    Py_CLEAR(self->connection);
    Py_CLEAR(self->mailbox);
    return 0;
}

static int
events_traverse(Events *self, visitproc visit, void *arg)
{
    Py_VISIT(self->waiter);
    Py_VISIT(self->connection);
    Py_VISIT(self->mailbox);
    return visit((PyObject *)Py_TYPE(self), arg);
}

static void
events_dealloc(Events *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    PyObject *error_type, *error, *traceback;
    PyErr_Fetch(&error_type, &error, &traceback);
    events_abandon(self);
    PyErr_Restore(error_type, error, traceback);
    events_tp_clear(self);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

/* await: the object is its own iterator, for one task at a time. */
static PyObject *
events_await(Events *self)
{
    if (self->suspended) {
        PyErr_SetString(PyExc_RuntimeError, "Events are awaited by another task already");
        return NULL;
    }
    return Py_NewRef((PyObject *)self);
}

static PyObject *
events_iternext(Events *self)
{
    PyObject *result;
    PySendResult outcome = events_send_slot(self, Py_None, &result);
    return coroutine_to_iteration(outcome, result);
}

static PyObject *
events_throw(Events *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (coroutine_check_throw(nargs) < 0) {
        return NULL;
    }
    events_abandon(self);
    coroutine_raise(args, nargs);
    return NULL;
}

static PyObject *
events_close(Events *self, PyObject *Py_UNUSED(ignored))
{
    events_abandon(self);
    Py_RETURN_NONE;
}

static PyMethodDef events_methods[] = {
    {"throw", (PyCFunction)(void (*)(void))events_throw, METH_FASTCALL, NULL},
    {"close", (PyCFunction)events_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef events_members[] = {
    {"connection", T_OBJECT, offsetof(Events, connection), READONLY,
     "The connection, or None; a ClientDisconnected of its own has it as `connection`."},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(events_doc,
             "Events(receive, mailbox)\n--\n\n"
             "The next event of a connection (its receive, or None) and of a mailbox (or\n"
             "None), whenever it is awaited. Each source keeps its order; when both have\n"
             "something they take turns. For one task.");

static PyType_Slot events_slots[] = {
    {Py_tp_doc, (void *)events_doc},   {Py_tp_new, events_new},
    {Py_tp_dealloc, events_dealloc},   {Py_tp_traverse, events_traverse},
    {Py_tp_clear, events_tp_clear},    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, events_iternext}, {Py_am_await, events_await},
    {Py_am_send, events_send_slot},    {Py_tp_methods, events_methods},
    {Py_tp_members, events_members},   {0, NULL},
};

PyType_Spec events_spec = {
    .name = "atalanta._core.Events",
    .basicsize = sizeof(Events),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = events_slots,
};
