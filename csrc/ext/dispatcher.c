/* Dispatcher: see dispatcher.h. Awaited by the consumer's task, it goes on until a handler raises.
 *
 * While the task waits for events, a wake is dealt with by running the handler right here, as the
 * task and in its context: the chain of middleware coroutines above is passed through only when a
 * handler has to wait for something else, or raises. What it yielded or raised is kept until the
 * task comes for it. */
#include "dispatcher.h"

#include "coroutine.h"
#include "events.h"
#include "turn.h"

/* Names of handlers that are remembered; event types are the application's, but may come from
 * anywhere. */
#define HANDLER_NAMES_MAX 1024

typedef struct {
    PyObject_HEAD
    module_state *state;  /* borrowed: the type keeps the module alive */
    Events *events;       /* NULL when finished */
    PyObject *dispatch;   /* dispatch(event): an awaitable */
    PyObject *consumer;   /* whose handlers are called without dispatch, or NULL */
    PyObject *is_due;     /* is_due(): whether dispatch has to be called all the same */
    PyObject *handler;    /* iterator of the handler that is running, or NULL */
    PyObject *event_type; /* of the event it was called with */
    PyObject *yielded;    /* by the handler, for the task to yield; or NULL */
    PyObject *error;      /* raised by the handler, for the task to raise; or NULL */
    bool running;         /* from any call to its end: what it runs must not end it */
    bool cancelled;       /* while the handler waited */
} Dispatcher;

/* ---- Handlers ---- */

/* The attribute that handles events of a type, as Channels' get_handler_name has it. New
 * reference, or NULL. */
static PyObject *
handler_name(module_state *state, PyObject *event_type)
{
    PyObject *name = PyDict_GetItemWithError(state->handler_names, event_type);
    if (name != NULL || PyErr_Occurred()) {
        return Py_XNewRef(name);
    }
    name = PyUnicode_Replace(event_type, state->names.dot, state->names.underscore, -1);
    if (name == NULL) {
        return NULL;
    }
    if (PyDict_GET_SIZE(state->handler_names) >= HANDLER_NAMES_MAX) {
        PyDict_Clear(state->handler_names);
    }
    if (PyDict_SetItem(state->handler_names, event_type, name) < 0) {
        Py_DECREF(name);
        return NULL;
    }
    return name;
}

/* The handler for an event, from the consumer itself; NULL without an exception when dispatch has
 * to find it, or to say what is wrong. */
static PyObject *
find_handler(Dispatcher *self)
{
    if (self->consumer == NULL || self->event_type == NULL ||
        !PyUnicode_CheckExact(self->event_type)) {
        return NULL;
    }
    PyObject *due = PyObject_CallNoArgs(self->is_due);
    int by_dispatch = due == NULL ? -1 : PyObject_IsTrue(due);
    Py_XDECREF(due);
    if (by_dispatch != 0) {
        return NULL;
    }
    PyObject *name = handler_name(self->state, self->event_type);
    if (name == NULL) {
        return NULL;
    }
    PyObject *handler = NULL;
    if (PyUnicode_GET_LENGTH(name) > 0 && PyUnicode_READ_CHAR(name, 0) != '_') {
        handler = PyObject_GetAttr(self->consumer, name);
    }
    Py_DECREF(name);
    if (handler == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
    }
    if (handler == Py_None) {
        Py_DECREF(handler);
        return NULL;
    }
    return handler;
}

/* Whether `await` takes a generator: types.coroutine has marked it. */
static bool
is_coroutine_generator(PyObject *object)
{
    if (!PyGen_CheckExact(object)) {
        return false;
    }
    PyObject *code = PyObject_GetAttrString(object, "gi_code");
    bool marked = code != NULL && (((PyCodeObject *)code)->co_flags & CO_ITERABLE_COROUTINE) != 0;
    if (code == NULL) {
        PyErr_Clear();
    }
    Py_XDECREF(code);
    return marked;
}

/* The iterator that `await object` would drive. Steals the object. New reference, or NULL. */
static PyObject *
await_iterator_steal(PyObject *object)
{
    if (object == NULL || PyCoro_CheckExact(object) || is_coroutine_generator(object)) {
        return object;
    }
    PyAsyncMethods *methods = Py_TYPE(object)->tp_as_async;
    PyObject *iterator = NULL;
    if (methods == NULL || methods->am_await == NULL) {
        PyErr_Format(PyExc_TypeError, "object %.100s can't be used in 'await' expression",
                     Py_TYPE(object)->tp_name);
    }
    else {
        iterator = methods->am_await(object);
    }
    Py_DECREF(object);
    return iterator;
}

/* Begins to handle an event. 0, or -1. */
static int
begin_handler(Dispatcher *self, PyObject *event)
{
    self->cancelled = false;
    PyObject *type = NULL;
    if (PyDict_CheckExact(event)) {
        type = PyDict_GetItemWithError(event, self->state->names.type);
        if (type == NULL && PyErr_Occurred()) {
            return -1;
        }
    }
    Py_XSETREF(self->event_type, Py_XNewRef(type));
    PyObject *handler = find_handler(self);
    if (handler == NULL && PyErr_Occurred()) {
        return -1;
    }
    PyObject *called = handler == NULL ? self->dispatch : handler;
    self->handler = await_iterator_steal(PyObject_CallOneArg(called, event));
    Py_XDECREF(handler);
    return self->handler == NULL ? -1 : 0;
}

/* Whether the exception that is set means no more than that the handler's own connection has
 * ended. Clears it then: websocket.disconnect is still to come. */
static bool
forgive_disconnect(Dispatcher *self)
{
    if (self->cancelled || !PyErr_ExceptionMatches(self->state->client_disconnected)) {
        return false;
    }
    if (self->event_type != NULL && PyUnicode_CheckExact(self->event_type) &&
        PyUnicode_Compare(self->event_type, self->state->names.disconnect_type) == 0) {
        return false;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *connection = PyObject_GetAttr(value, self->state->names.connection);
    if (connection == NULL) {
        PyErr_Clear();
    }
    bool own = connection != NULL && connection == (PyObject *)self->events->connection;
    Py_XDECREF(connection);
    if (!own) {
        PyErr_Restore(type, value, traceback);
        return false;
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return true;
}

/* The handler has returned or raised. PYGEN_RETURN to go on with the next event, or PYGEN_ERROR.
 */
static PySendResult
end_handler(Dispatcher *self, PySendResult outcome, PyObject *result)
{
    Py_XDECREF(result);
    if (outcome == PYGEN_ERROR && !forgive_disconnect(self)) {
        Py_CLEAR(self->handler);
        return PYGEN_ERROR;
    }
    Py_CLEAR(self->handler);
    return PYGEN_RETURN;
}

/* One step of the handler. PYGEN_NEXT with what it yields; else as end_handler. */
static PySendResult
step_handler(Dispatcher *self, PyObject *value, PyObject **result)
{
    *result = NULL;
    PyObject *handler = Py_NewRef(self->handler);
    PySendResult outcome = PyIter_Send(handler, value, result);
    Py_DECREF(handler);
    if (outcome == PYGEN_NEXT) {
        return outcome;
    }
    PyObject *returned = *result;
    *result = NULL;
    return end_handler(self, outcome, returned);
}

/* An event that was taken, as far as its handler gets. As step_handler. */
static PySendResult
handle_steal(Dispatcher *self, PyObject *event, PyObject **result)
{
    *result = NULL;
    int begun = begin_handler(self, event);
    Py_DECREF(event);
    return begun < 0 ? end_handler(self, PYGEN_ERROR, NULL) : step_handler(self, Py_None, result);
}

/* ---- Without the task ---- */

/* Keeps the exception that is set for the task. */
static void
keep_error(Dispatcher *self)
{
    Py_XSETREF(self->error, exception_take());
}

/* Handles the events that there are. Whether the task can wait on with the same waiter. */
static bool
handle_all(Dispatcher *self, Waiter *waiter)
{
    events_begin_wake(self->events);
    for (;;) {
        PyObject *event;
        PySendResult outcome = events_poll(self->events, &event);
        if (outcome == PYGEN_NEXT) {
            break;
        }
        if (outcome == PYGEN_RETURN) {
            outcome = handle_steal(self, event, &self->yielded);
        }
        if (outcome == PYGEN_ERROR) {
            keep_error(self);
        }
        if (outcome != PYGEN_RETURN || !waiter_is_pending(waiter)) {
            return false;
        }
    }
    int waits = events_wait_on(self->events);
    if (waits < 0 || (waits == 0 && turn_resume(waiter) < 0)) {
        keep_error(self);
        return false;
    }
    return true;
}

/* The waiter's runner: see waiter_runner. */
static int
dispatcher_run(PyObject *object, Waiter *waiter)
{
    Dispatcher *self = (Dispatcher *)object;
    if (self->events == NULL || self->events->waiter != waiter || self->handler != NULL) {
        return 0;
    }
    self->running = true;
    bool waits = handle_all(self, waiter);
    self->running = false;
    return waits;
}

/* ---- In the task ---- */

static void
dispatcher_finish(Dispatcher *self)
{
    if (self->events != NULL) {
        events_abandon(self->events);
    }
    Py_CLEAR(self->events);
    Py_CLEAR(self->consumer);
    Py_CLEAR(self->dispatch);
    Py_CLEAR(self->is_due);
    Py_CLEAR(self->handler);
    Py_CLEAR(self->yielded);
    Py_CLEAR(self->error);
}

static PySendResult
raise_kept(Dispatcher *self)
{
    PyObject *error = self->error;
    self->error = NULL;
    exception_raise_steal(error);
    return PYGEN_ERROR;
}

/* Waits for the next event, with the waiter that dispatcher_run serves. */
static PySendResult
next_event(Dispatcher *self, PyObject **result)
{
    PySendResult outcome = events_next(self->events, result);
    if (outcome == PYGEN_NEXT && self->events->waiter != NULL) {
        waiter_set_runner(self->events->waiter, dispatcher_run, (PyObject *)self);
    }
    return outcome;
}

/* Goes on after an outcome of a handler: until something has to be yielded, or an exception
 * leaves. */
static PySendResult
dispatcher_loop(Dispatcher *self, PySendResult outcome, PyObject **result)
{
    while (outcome == PYGEN_RETURN) {
        PyObject *event;
        outcome = next_event(self, &event);
        if (outcome == PYGEN_RETURN) {
            outcome = handle_steal(self, event, result);
        }
        else {
            *result = event;
        }
    }
    if (outcome == PYGEN_ERROR) {
        if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
            /* As coroutines do: it would pass for the end of the wait. */
            PyErr_SetString(PyExc_RuntimeError, "a handler raised StopIteration");
        }
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        dispatcher_finish(self);
        PyErr_Restore(type, value, traceback);
    }
    return outcome;
}

static int
dispatcher_check(Dispatcher *self)
{
    if (self->running) {
        PyErr_SetString(PyExc_ValueError, "the consumer is running already");
        return -1;
    }
    if (self->events == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the consumer has ended");
        return -1;
    }
    return 0;
}

static PySendResult
dispatcher_send_slot(Dispatcher *self, PyObject *value, PyObject **result)
{
    *result = NULL;
    assert(!PyErr_Occurred());
    if (dispatcher_check(self) < 0) {
        return PYGEN_ERROR;
    }
    if (self->yielded != NULL) {
        *result = self->yielded;
        self->yielded = NULL;
        return PYGEN_NEXT;
    }
    PySendResult outcome = PYGEN_RETURN;
    self->running = true;
    if (self->error != NULL) {
        outcome = raise_kept(self);
    }
    else if (self->handler != NULL) {
        outcome = step_handler(self, value, result);
    }
    outcome = dispatcher_loop(self, outcome, result);
    self->running = false;
    return outcome;
}

static PyObject *
dispatcher_iternext(Dispatcher *self)
{
    PyObject *result;
    PySendResult outcome = dispatcher_send_slot(self, Py_None, &result);
    return coroutine_to_iteration(outcome, result);
}

/* The task was cancelled by its own handler, which then began to wait: as a task does, cancels
 * what it waits for, and waits for that. PYGEN_NEXT with it; PYGEN_RETURN when it cannot be
 * cancelled. */
static PySendResult
cancel_yielded(Dispatcher *self, PyObject *error, PyObject **result)
{
    PyObject *yielded = self->yielded;
    self->yielded = NULL;
    PyObject *cancelled = NULL;
    if (yielded != NULL && yielded != Py_None &&
        PyErr_GivenExceptionMatches(error, self->state->cancelled_error)) {
        cancelled = PyObject_CallMethodNoArgs(yielded, self->state->names.cancel);
        if (cancelled == NULL) {
            PyErr_WriteUnraisable(yielded);
        }
    }
    bool waits = cancelled == Py_True;
    Py_XDECREF(cancelled);
    if (!waits) {
        Py_XDECREF(yielded);
        return PYGEN_RETURN;
    }
    *result = yielded;
    return PYGEN_NEXT;
}

/* throw() into the handler that waits. As step_handler. */
static PySendResult
throw_into_handler(Dispatcher *self, PyObject *const *args, Py_ssize_t nargs, PyObject **result)
{
    self->cancelled = PyErr_GivenExceptionMatches(args[0], self->state->cancelled_error);
    if (cancel_yielded(self, args[0], result) == PYGEN_NEXT) {
        return PYGEN_NEXT;
    }
    PyObject *handler = Py_NewRef(self->handler);
    PyObject *method = PyObject_GetAttr(handler, self->state->names.throw_);
    if (method == NULL) {
        /* A bare iterator cannot be told: it ends here. */
        PyErr_Clear();
        coroutine_raise(args, nargs);
    }
    *result = method == NULL ? NULL : PyObject_Vectorcall(method, args, (size_t)nargs, NULL);
    Py_XDECREF(method);
    Py_DECREF(handler);
    if (*result != NULL) {
        return PYGEN_NEXT;
    }
    PySendResult outcome = PYGEN_ERROR;
    if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
        PyErr_Clear();
        outcome = PYGEN_RETURN;
    }
    return end_handler(self, outcome, NULL);
}

static PyObject *
dispatcher_throw(Dispatcher *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (coroutine_check_throw(nargs) < 0 || dispatcher_check(self) < 0) {
        return NULL;
    }
    PyObject *result = NULL;
    PySendResult outcome = PYGEN_ERROR;
    self->running = true;
    if (self->error != NULL) {
        outcome = raise_kept(self);
    }
    else if (self->handler != NULL) {
        outcome = throw_into_handler(self, args, nargs, &result);
    }
    else {
        coroutine_raise(args, nargs);
    }
    outcome = dispatcher_loop(self, outcome, &result);
    self->running = false;
    return coroutine_to_iteration(outcome, result);
}

/* handler.close(), for handlers that have it. 0, or -1. */
static int
close_handler(Dispatcher *self)
{
    PyObject *handler = self->handler;
    self->handler = NULL;
    PyObject *method = PyObject_GetAttr(handler, self->state->names.close);
    Py_DECREF(handler);
    if (method == NULL) {
        PyErr_Clear();
        return 0;
    }
    PyObject *result = PyObject_CallNoArgs(method);
    Py_DECREF(method);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static PyObject *
dispatcher_close(Dispatcher *self, PyObject *Py_UNUSED(ignored))
{
    if (self->running) {
        PyErr_SetString(PyExc_ValueError, "the consumer is already executing");
        return NULL;
    }
    self->running = true;
    int closed = self->handler == NULL ? 0 : close_handler(self);
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    dispatcher_finish(self);
    PyErr_Restore(type, value, traceback);
    self->running = false;
    if (closed < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- The type ---- */

static PyObject *
dispatcher_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static const char *const keywords[] = {"events", "dispatch", "consumer", "is_due", NULL};
    const module_state *state = PyType_GetModuleState(type);
    PyObject *events, *dispatch, *consumer, *is_due;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!OOO:Dispatcher", KEYWORD_LIST(keywords),
                                     state->events_type, &events, &dispatch, &consumer, &is_due)) {
        return NULL;
    }
    Dispatcher *self = (Dispatcher *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->state = module_state_of((PyObject *)self);
    self->events = (Events *)Py_NewRef(events);
    self->dispatch = Py_NewRef(dispatch);
    self->consumer = consumer == Py_None ? NULL : Py_NewRef(consumer);
    self->is_due = Py_NewRef(is_due);
    return (PyObject *)self;
}

static int
dispatcher_tp_clear(Dispatcher *self)
{
    Py_CLEAR(self->events);
    Py_CLEAR(self->dispatch);
    Py_CLEAR(self->consumer);
    Py_CLEAR(self->is_due);
    Py_CLEAR(self->handler);
    Py_CLEAR(self->event_type);
    Py_CLEAR(self->yielded);
    Py_CLEAR(self->error);
    return 0;
}

static int
dispatcher_traverse(Dispatcher *self, visitproc visit, void *arg)
{
    Py_VISIT(self->events);
    Py_VISIT(self->dispatch);
    Py_VISIT(self->consumer);
    Py_VISIT(self->is_due);
    Py_VISIT(self->handler);
    Py_VISIT(self->event_type);
    Py_VISIT(self->yielded);
    Py_VISIT(self->error);
    return visit((PyObject *)Py_TYPE(self), arg);
}

static void
dispatcher_dealloc(Dispatcher *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    dispatcher_tp_clear(self);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyMethodDef dispatcher_methods[] = {
    {"throw", (PyCFunction)(void (*)(void))dispatcher_throw, METH_FASTCALL, NULL},
    {"close", (PyCFunction)dispatcher_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(
    dispatcher_doc,
    "Dispatcher(events, dispatch, consumer, is_due)\n--\n\n"
    "Awaited once, it awaits dispatch(event) for one event after the other until that raises.\n"
    "With a consumer (not None) its handler is called instead of dispatch, unless there is\n"
    "none or is_due() says that dispatch has work to do. A ClientDisconnected of the\n"
    "consumer's own connection does not end it, except from the handler of\n"
    "websocket.disconnect.");

static PyType_Slot dispatcher_slots[] = {
    {Py_tp_doc, (void *)dispatcher_doc},
    {Py_tp_new, dispatcher_new},
    {Py_tp_dealloc, dispatcher_dealloc},
    {Py_tp_traverse, dispatcher_traverse},
    {Py_tp_clear, dispatcher_tp_clear},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, dispatcher_iternext},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, dispatcher_send_slot},
    {Py_tp_methods, dispatcher_methods},
    {0, NULL},
};

PyType_Spec dispatcher_spec = {
    .name = "atalanta._core.Dispatcher",
    .basicsize = sizeof(Dispatcher),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = dispatcher_slots,
};
