/* Awaitable: see awaitable.h. A suspended one holds a Waiter; messages stay on the connection's
 * queue until the awaitable runs, so that nothing is lost however it ends. */
#include "awaitable.h"

#include "coroutine.h"
#include "session.h"
#include "writer.h"

typedef enum {
    AWAITABLE_CREATED,
    AWAITABLE_RUNNING,
    AWAITABLE_SUSPENDED,
    AWAITABLE_FINISHED
} awaitable_status;

typedef struct {
    PyObject_HEAD
    module_state *state;
    Protocol *protocol; /* NULL when finished */
    PyObject *event;    /* of send(); NULL for receive() */
    Waiter *waiter;     /* what was yielded last, while suspended; NULL after a bare yield */
    awaitable_status status;
    bool sends;
} Awaitable;

PyObject *
awaitable_new(Protocol *protocol, PyObject *event)
{
    module_state *state = protocol->state;
    Awaitable *self = (Awaitable *)free_list_new(&state->awaitables, state->awaitable_type);
    if (self == NULL) {
        return NULL;
    }
    self->state = state;
    self->protocol = (Protocol *)Py_NewRef((PyObject *)protocol);
    self->event = Py_XNewRef(event);
    self->waiter = NULL;
    self->status = AWAITABLE_CREATED;
    self->sends = event != NULL;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static int
awaitable_clear(Awaitable *self)
{
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->event);
    Py_CLEAR(self->waiter);
    return 0;
}

static int
awaitable_traverse(Awaitable *self, visitproc visit, void *arg)
{
    Py_VISIT(self->protocol);
    Py_VISIT(self->event);
    Py_VISIT(self->waiter);
    return visit((PyObject *)Py_TYPE(self), arg);
}

/* The connection must not wake a waiter that nobody waits for any more. */
static void
forget_waiter(Awaitable *self)
{
    Protocol *protocol = self->protocol;
    if (self->waiter == NULL) {
        return;
    }
    if (!self->sends && protocol != NULL) {
        protocol_remove_reader(protocol, self->waiter);
    }
    if (self->sends && protocol != NULL) {
        protocol_forget_sender(protocol, self->waiter);
    }
    Py_CLEAR(self->waiter);
}

static void
awaitable_finish(Awaitable *self)
{
    forget_waiter(self);
    self->status = AWAITABLE_FINISHED;
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->event);
}

static void
awaitable_dealloc(Awaitable *self)
{
    PyObject_GC_UnTrack(self);
    forget_waiter(self);
    awaitable_clear(self);
    free_list_dealloc(&self->state->awaitables, (PyObject *)self);
}

/* Suspends until the connection wakes the waiter. */
static PySendResult
suspend(Awaitable *self, Waiter *waiter, PyObject **result)
{
    self->waiter = waiter;
    self->status = AWAITABLE_SUSPENDED;
    *result = Py_NewRef((PyObject *)waiter);
    return PYGEN_NEXT;
}

/* Suspends for one turn of the loop. */
static PySendResult
suspend_briefly(Awaitable *self, PyObject **result)
{
    self->status = AWAITABLE_SUSPENDED;
    *result = Py_NewRef(Py_None);
    return PYGEN_NEXT;
}

/* A pending waiter. Making it can run Python, as it may collect garbage, and with that end the
 * connection: whether there is something to wait for is looked at again. New reference, or NULL.
 */
static Waiter *
new_waiter(const Awaitable *self)
{
    return waiter_new(self->protocol->per_loop, self->protocol->loop);
}

static PySendResult
receive_wait_steal(Awaitable *self, Waiter *waiter, PyObject **result)
{
    Protocol *protocol = self->protocol;
    if (protocol_add_reader(protocol, waiter) < 0) {
        Py_DECREF(waiter);
        return PYGEN_ERROR;
    }
    protocol->taken = 0;
    return suspend(self, waiter, result);
}

static PySendResult
receive_step(Awaitable *self, PyObject **result)
{
    Protocol *protocol = self->protocol;
    bool over_budget = protocol->taken >= COROUTINE_BUDGET;
    if (over_budget || !session_has_event(protocol)) {
        /* The application is about to wait: what it sent has to go. */
        if (writer_flush(protocol) < 0) {
            return PYGEN_ERROR;
        }
        if (over_budget) {
            protocol->taken = 0;
            return suspend_briefly(self, result);
        }
    }
    if (!session_has_event(protocol)) {
        Waiter *waiter = new_waiter(self);
        if (waiter == NULL) {
            return PYGEN_ERROR;
        }
        if (!session_has_event(protocol)) {
            return receive_wait_steal(self, waiter, result);
        }
        Py_DECREF(waiter);
    }
    *result = session_take_event(protocol);
    return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
}

static PySendResult
send_wait_steal(Awaitable *self, Waiter *waiter, PyObject **result)
{
    if (object_list_append(&self->protocol->send_waiters, (PyObject *)waiter) < 0) {
        Py_DECREF(waiter);
        return PYGEN_ERROR;
    }
    return suspend(self, waiter, result);
}

static PySendResult
send_step(Awaitable *self, PyObject **result)
{
    Protocol *protocol = self->protocol;
    if (session_must_wait(protocol, self->event)) {
        Waiter *waiter = new_waiter(self);
        if (waiter == NULL) {
            return PYGEN_ERROR;
        }
        if (session_must_wait(protocol, self->event)) {
            return send_wait_steal(self, waiter, result);
        }
        Py_DECREF(waiter);
    }
    if (session_send(protocol, self->event) < 0) {
        return PYGEN_ERROR;
    }
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static const char *
operation_name(const Awaitable *self)
{
    return self->sends ? "send" : "receive";
}

/* 0 when the awaitable may run now, or -1. */
static int
awaitable_check(Awaitable *self)
{
    if (self->status == AWAITABLE_FINISHED) {
        PyErr_Format(PyExc_RuntimeError, "cannot reuse already awaited %s()",
                     operation_name(self));
        return -1;
    }
    if (self->status == AWAITABLE_RUNNING) {
        PyErr_Format(PyExc_ValueError, "%s() already executing", operation_name(self));
        return -1;
    }
    return 0;
}

static PySendResult
awaitable_send_slot(Awaitable *self, PyObject *value, PyObject **result)
{
    *result = NULL;
    if (awaitable_check(self) < 0) {
        return PYGEN_ERROR;
    }
    if (self->status == AWAITABLE_CREATED && value != Py_None) {
        PyErr_Format(PyExc_TypeError, "can't send non-None value to a just-started %s()",
                     operation_name(self));
        return PYGEN_ERROR;
    }
    if (self->waiter != NULL && waiter_is_pending(self->waiter)) {
        /* Resumed by somebody who did not wait for the waiter: wait on. */
        *result = Py_NewRef((PyObject *)self->waiter);
        return PYGEN_NEXT;
    }
    forget_waiter(self);
    self->status = AWAITABLE_RUNNING;
    PySendResult outcome = self->sends ? send_step(self, result) : receive_step(self, result);
    assert((outcome == PYGEN_ERROR) == (PyErr_Occurred() != NULL));
    if (outcome != PYGEN_NEXT) {
        awaitable_finish(self);
    }
    return outcome;
}

static PyObject *
awaitable_iternext(Awaitable *self)
{
    PyObject *result;
    PySendResult outcome = awaitable_send_slot(self, Py_None, &result);
    return coroutine_to_iteration(outcome, result);
}

static PyObject *
awaitable_send(Awaitable *self, PyObject *value)
{
    PyObject *result;
    PySendResult outcome = awaitable_send_slot(self, value, &result);
    return coroutine_to_iteration(outcome, result);
}

static PyObject *
awaitable_throw(Awaitable *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (coroutine_check_throw(nargs) < 0 || awaitable_check(self) < 0) {
        return NULL;
    }
    awaitable_finish(self);
    coroutine_raise(args, nargs);
    return NULL;
}

static PyObject *
awaitable_close(Awaitable *self, PyObject *Py_UNUSED(ignored))
{
    if (self->status == AWAITABLE_RUNNING) {
        PyErr_Format(PyExc_ValueError, "%s() already executing", operation_name(self));
        return NULL;
    }
    awaitable_finish(self);
    Py_RETURN_NONE;
}

static PyObject *
awaitable_get_name(Awaitable *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(operation_name(self));
}

static PyObject *
awaitable_get_running(Awaitable *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->status == AWAITABLE_RUNNING);
}

static PyObject *
awaitable_get_suspended(Awaitable *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->status == AWAITABLE_SUSPENDED);
}

/* As inspect.getcoroutinestate() reads it from Python 3.15 on. */
static PyObject *
awaitable_get_state(Awaitable *self, void *Py_UNUSED(closure))
{
    static const char *const names[] = {
        [AWAITABLE_CREATED] = "CORO_CREATED",
        [AWAITABLE_RUNNING] = "CORO_RUNNING",
        [AWAITABLE_SUSPENDED] = "CORO_SUSPENDED",
        [AWAITABLE_FINISHED] = "CORO_CLOSED",
    };
    return PyUnicode_FromString(names[self->status]);
}

static PyObject *
awaitable_get_await(Awaitable *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->waiter == NULL ? Py_None : (PyObject *)self->waiter);
}

static PyObject *
awaitable_get_none(Awaitable *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_NONE;
}

static PyMethodDef awaitable_methods[] = {
    {"send", (PyCFunction)awaitable_send, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))awaitable_throw, METH_FASTCALL, NULL},
    {"close", (PyCFunction)awaitable_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* What inspect, anyio and debuggers read of a coroutine. There is no frame and no code object. */
static PyGetSetDef awaitable_getset[] = {
    {"__name__", (getter)awaitable_get_name, NULL, NULL, NULL},
    {"__qualname__", (getter)awaitable_get_name, NULL, NULL, NULL},
    {"cr_running", (getter)awaitable_get_running, NULL, NULL, NULL},
    {"cr_suspended", (getter)awaitable_get_suspended, NULL, NULL, NULL},
    {"cr_state", (getter)awaitable_get_state, NULL, NULL, NULL},
    {"cr_await", (getter)awaitable_get_await, NULL, NULL, NULL},
    {"cr_frame", (getter)awaitable_get_none, NULL, NULL, NULL},
    {"cr_code", (getter)awaitable_get_none, NULL, NULL, NULL},
    {"cr_origin", (getter)awaitable_get_none, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot awaitable_slots[] = {
    {Py_tp_doc, (void *)"One receive() or send() under way."},
    {Py_tp_dealloc, awaitable_dealloc},
    {Py_tp_traverse, awaitable_traverse},
    {Py_tp_clear, awaitable_clear},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, awaitable_iternext},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, awaitable_send_slot},
    {Py_tp_methods, awaitable_methods},
    {Py_tp_getset, awaitable_getset},
    {0, NULL},
};

PyType_Spec awaitable_spec = {
    .name = "atalanta._core.Awaitable",
    .basicsize = sizeof(Awaitable),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = awaitable_slots,
};
