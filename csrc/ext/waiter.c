/* Waiter: see waiter.h. Pending until woken or cancelled, then done for good. One callback, as
 * only the task that awaits sees the object. Depends on the loop's call_soon and on nothing of a
 * connection. */
#include "waiter.h"

typedef enum { WAITER_PENDING, WAITER_DONE, WAITER_CANCELLED } waiter_status;

struct waiter_object {
    PyObject_HEAD
    module_state *state;
    LoopState *per_loop;
    PyObject *loop;
    PyObject *callback; /* NULL until a task has added it, and after it was handed on */
    PyObject *context;
    PyObject *cancel_message;
    waiter_runner run; /* NULL for none */
    PyObject *runner;
    waiter_status status;
    bool running;          /* the runner is called: the task runs, as it were */
    bool cancelled_inside; /* the task was asked to end meanwhile */
    char blocking;         /* the Future protocol's _asyncio_future_blocking */
};

Waiter *
waiter_new(LoopState *per_loop, PyObject *loop)
{
    module_state *state = per_loop->state;
    Waiter *self = (Waiter *)free_list_new(&state->waiters, state->waiter_type);
    if (self == NULL) {
        return NULL;
    }
    self->state = state;
    self->per_loop = (LoopState *)Py_NewRef((PyObject *)per_loop);
    self->loop = Py_NewRef(loop);
    self->callback = NULL;
    self->context = NULL;
    self->cancel_message = NULL;
    self->run = NULL;
    self->runner = NULL;
    self->status = WAITER_PENDING;
    self->running = false;
    self->cancelled_inside = false;
    self->blocking = 1;
    PyObject_GC_Track(self);
    return self;
}

Waiter *
waiter_new_here(module_state *state)
{
    PyObject *loop = PyObject_CallNoArgs(state->get_running_loop);
    if (loop == NULL) {
        return NULL;
    }
    LoopState *per_loop = NULL;
    if (loop == Py_None) {
        PyErr_SetString(PyExc_RuntimeError, "no running event loop");
    }
    else {
        per_loop = loop_state_get(state, loop);
    }
    Waiter *self = per_loop == NULL ? NULL : waiter_new(per_loop, loop);
    Py_XDECREF(per_loop);
    Py_DECREF(loop);
    return self;
}

static int
waiter_clear(Waiter *self)
{
    self->status = WAITER_DONE; /* whoever still has it must not wake it */
    Py_CLEAR(self->per_loop);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->callback);
    Py_CLEAR(self->context);
    Py_CLEAR(self->cancel_message);
    Py_CLEAR(self->runner);
    return 0;
}

static int
waiter_traverse(Waiter *self, visitproc visit, void *arg)
{
    Py_VISIT(self->per_loop);
    Py_VISIT(self->loop);
    Py_VISIT(self->callback);
    Py_VISIT(self->context);
    Py_VISIT(self->cancel_message);
    Py_VISIT(self->runner);
    return visit((PyObject *)Py_TYPE(self), arg);
}

static void
waiter_dealloc(Waiter *self)
{
    PyObject_GC_UnTrack(self);
    waiter_clear(self);
    free_list_dealloc(&self->state->waiters, (PyObject *)self);
}

PyObject *
waiter_loop(const Waiter *self)
{
    return self->loop;
}

LoopState *
waiter_loop_state(const Waiter *self)
{
    return self->per_loop;
}

bool
waiter_is_pending(const Waiter *self)
{
    return self->status == WAITER_PENDING && !self->cancelled_inside;
}

/* Hands the callback to the loop, if there is one yet. */
static int
waiter_schedule(Waiter *self)
{
    if (self->callback == NULL) {
        return 0;
    }
    PyObject *callback = self->callback;
    PyObject *context = self->context;
    self->callback = NULL;
    self->context = NULL;
    PyObject *args[] = {self->loop, callback, (PyObject *)self, context};
    PyObject *handle = PyObject_VectorcallMethod(self->state->names.call_soon, args,
                                                 3 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                                 self->state->context_keyword);
    Py_DECREF(callback);
    Py_DECREF(context);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

int
waiter_wake_soon(Waiter *self)
{
    if (self->status != WAITER_PENDING) {
        return 0;
    }
    self->status = WAITER_DONE;
    return waiter_schedule(self);
}

void
waiter_set_runner(Waiter *self, waiter_runner run, PyObject *object)
{
    self->run = run;
    Py_XSETREF(self->runner, Py_NewRef(object));
}

/* Calls the task's wake-up, which runs its next step. 0, or -1. */
static int
waiter_call_back(Waiter *self)
{
    PyObject *callback = self->callback;
    assert(self->status == WAITER_DONE);
    if (callback == NULL) {
        return 0; /* removed by what the runner ran */
    }
    self->callback = NULL;
    Py_CLEAR(self->context);
    PyObject *result = PyObject_CallOneArg(callback, (PyObject *)self);
    Py_DECREF(callback);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Runs the runner as the task that waits. As waiter_runner; errors are the task's to meet. */
static int
waiter_run(Waiter *self)
{
    PyObject *task = PyObject_GetAttr(self->callback, self->state->names.self);
    if (task == NULL || loop_enter_task(self->state, self->loop, task) < 0) {
        /* Not asyncio's own wake-up: let it do its work. */
        PyErr_Clear();
        Py_XDECREF(task);
        return 0;
    }
    PyObject *runner = Py_NewRef(self->runner);
    self->running = true;
    int waits = self->run(runner, self);
    self->running = false;
    Py_DECREF(runner);
    if (loop_leave_task(self->state, self->loop, task) < 0) {
        PyErr_WriteUnraisable(task);
    }
    Py_DECREF(task);
    return waits && !self->cancelled_inside;
}

int
waiter_wake_now(Waiter *self)
{
    if (self->status != WAITER_PENDING) {
        return 0;
    }
    if (self->callback == NULL) {
        self->status = WAITER_DONE;
        return 0;
    }
    PyObject *context = Py_NewRef(self->context);
    if (PyContext_Enter(context) < 0) {
        PyErr_Clear();
        Py_DECREF(context);
        return waiter_wake_soon(self);
    }
    int result = 0;
    bool waits = self->run != NULL && waiter_run(self) != 0;
    if (!waits && self->status == WAITER_PENDING) {
        self->status = WAITER_DONE;
        result = waiter_call_back(self);
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    int left = PyContext_Exit(context);
    if (result < 0) {
        PyErr_Restore(type, value, traceback);
    }
    Py_DECREF(context);
    return result < 0 || left < 0 ? -1 : 0;
}

PyDoc_STRVAR(add_done_callback_doc, "add_done_callback($self, callback, *, context=None)\n--\n\n"
                                    "Keep the task's wake-up callback; there can be only one.");

static PyObject *
waiter_add_done_callback(Waiter *self, PyObject *args, PyObject *kwargs)
{
    static const char *const keywords[] = {"", "context", NULL};
    PyObject *callback;
    PyObject *context = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$O:add_done_callback",
                                     KEYWORD_LIST(keywords), &callback, &context)) {
        return NULL;
    }
    if (self->callback != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "a Waiter takes one callback and has it already");
        return NULL;
    }
    if (context == NULL || context == Py_None) {
        self->context = PyContext_CopyCurrent();
        if (self->context == NULL) {
            return NULL;
        }
    }
    else {
        self->context = Py_NewRef(context);
    }
    self->callback = Py_NewRef(callback);
    if (self->status != WAITER_PENDING && waiter_schedule(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(remove_done_callback_doc, "remove_done_callback($self, callback, /)\n--\n\n"
                                       "Forget the callback; return how many were removed.");

static PyObject *
waiter_remove_done_callback(Waiter *self, PyObject *callback)
{
    if (self->callback == NULL) {
        return PyLong_FromLong(0);
    }
    PyObject *kept = Py_NewRef(self->callback);
    int same = PyObject_RichCompareBool(kept, callback, Py_EQ);
    Py_DECREF(kept);
    if (same < 0) {
        return NULL;
    }
    if (same) {
        Py_CLEAR(self->callback);
        Py_CLEAR(self->context);
    }
    return PyLong_FromLong(same);
}

PyDoc_STRVAR(cancel_doc, "cancel($self, msg=None)\n--\n\n"
                         "End the wait with CancelledError; False when it has ended already.");

static PyObject *
waiter_cancel(Waiter *self, PyObject *args, PyObject *kwargs)
{
    static const char *const keywords[] = {"msg", NULL};
    PyObject *message = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:cancel", KEYWORD_LIST(keywords),
                                     &message)) {
        return NULL;
    }
    if (self->status != WAITER_PENDING) {
        Py_RETURN_FALSE;
    }
    if (self->running) {
        /* As for a task that runs: it notes the request, and can take it back. */
        self->cancelled_inside = true;
        Py_RETURN_FALSE;
    }
    self->status = WAITER_CANCELLED;
    Py_XSETREF(self->cancel_message, Py_NewRef(message));
    if (waiter_schedule(self) < 0) {
        return NULL;
    }
    Py_RETURN_TRUE;
}

/* None when woken, CancelledError when cancelled, RuntimeError (as nobody should ask) when
 * pending. */
static PyObject *
waiter_result(Waiter *self, PyObject *Py_UNUSED(ignored))
{
    if (self->status == WAITER_DONE) {
        Py_RETURN_NONE;
    }
    if (self->status == WAITER_PENDING) {
        PyErr_SetString(PyExc_RuntimeError, "the wait has not ended");
        return NULL;
    }
    if (self->cancel_message == Py_None) {
        PyErr_SetNone(self->state->cancelled_error);
    }
    else {
        PyObject *error = PyObject_CallOneArg(self->state->cancelled_error, self->cancel_message);
        if (error != NULL) {
            PyErr_SetObject(self->state->cancelled_error, error);
            Py_DECREF(error);
        }
    }
    return NULL;
}

static PyObject *
waiter_done(Waiter *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(self->status != WAITER_PENDING);
}

static PyObject *
waiter_cancelled(Waiter *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(self->status == WAITER_CANCELLED);
}

static PyObject *
waiter_get_loop(Waiter *self, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(self->loop);
}

static PyObject *
waiter_get_blocking(Waiter *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->blocking);
}

static int
waiter_set_blocking(Waiter *self, PyObject *value, void *Py_UNUSED(closure))
{
    int blocking = value == NULL ? 0 : PyObject_IsTrue(value);
    if (blocking < 0) {
        return -1;
    }
    self->blocking = (char)blocking;
    return 0;
}

static PyMethodDef waiter_methods[] = {
    {"add_done_callback", (PyCFunction)(void (*)(void))waiter_add_done_callback,
     METH_VARARGS | METH_KEYWORDS, add_done_callback_doc},
    {"remove_done_callback", (PyCFunction)waiter_remove_done_callback, METH_O,
     remove_done_callback_doc},
    {"cancel", (PyCFunction)(void (*)(void))waiter_cancel, METH_VARARGS | METH_KEYWORDS,
     cancel_doc},
    {"result", (PyCFunction)waiter_result, METH_NOARGS, NULL},
    /* The same answer: no result and no exception but CancelledError. */
    {"exception", (PyCFunction)waiter_result, METH_NOARGS, NULL},
    {"done", (PyCFunction)waiter_done, METH_NOARGS, NULL},
    {"cancelled", (PyCFunction)waiter_cancelled, METH_NOARGS, NULL},
    {"get_loop", (PyCFunction)waiter_get_loop, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef waiter_getset[] = {
    {"_asyncio_future_blocking", (getter)waiter_get_blocking, (setter)waiter_set_blocking, NULL,
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot waiter_slots[] = {
    {Py_tp_doc, (void *)"The end of one wait inside receive() or send(); asyncio tasks await it."},
    {Py_tp_dealloc, waiter_dealloc},
    {Py_tp_traverse, waiter_traverse},
    {Py_tp_clear, waiter_clear},
    {Py_tp_methods, waiter_methods},
    {Py_tp_getset, waiter_getset},
    {0, NULL},
};

PyType_Spec waiter_spec = {
    .name = "atalanta._core.Waiter",
    .basicsize = sizeof(Waiter),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = waiter_slots,
};
