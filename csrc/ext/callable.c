/* Callable: see callable.h. Calling it does nothing but make an Awaitable, so that it is safe from
 * any thread. */
#include "callable.h"

#include "awaitable.h"
#include "session.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    Protocol *protocol;
} Callable;

static PyObject *
callable_receive(PyObject *self, PyObject *const *Py_UNUSED(args), size_t nargsf,
                 PyObject *kwnames)
{
    if (PyVectorcall_NARGS(nargsf) != 0 || kwnames != NULL) {
        PyErr_SetString(PyExc_TypeError, "receive() takes no arguments");
        return NULL;
    }
    return awaitable_new(((Callable *)self)->protocol, NULL);
}

static PyObject *
callable_send(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Py_ssize_t positional = PyVectorcall_NARGS(nargsf);
    Py_ssize_t named = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    bool accepted = positional + named == 1;
    if (accepted && named == 1) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, 0);
        accepted = PyUnicode_CompareWithASCIIString(name, "message") == 0 ||
                   PyUnicode_CompareWithASCIIString(name, "event") == 0;
    }
    if (!accepted) {
        PyErr_SetString(PyExc_TypeError, "send() takes one argument, the ASGI event");
        return NULL;
    }
    return awaitable_new(((Callable *)self)->protocol, args[0]);
}

PyObject *
callable_new(Protocol *protocol, bool sends)
{
    PyTypeObject *type = protocol->state->callable_type;
    Callable *self = PyObject_GC_New(Callable, type);
    if (self == NULL) {
        return NULL;
    }
    self->vectorcall = sends ? callable_send : callable_receive;
    self->protocol = (Protocol *)Py_NewRef((PyObject *)protocol);
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

Protocol *
callable_receives_from(const module_state *state, PyObject *object)
{
    if (!Py_IS_TYPE(object, state->callable_type)) {
        return NULL;
    }
    Callable *self = (Callable *)object;
    return self->vectorcall == callable_receive ? self->protocol : NULL;
}

static int
callable_clear(Callable *self)
{
    Py_CLEAR(self->protocol);
    return 0;
}

static int
callable_traverse(Callable *self, visitproc visit, void *arg)
{
    Py_VISIT(self->protocol);
    return visit((PyObject *)Py_TYPE(self), arg);
}

static void
callable_dealloc(Callable *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    callable_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyObject *
callable_get_name(Callable *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(self->vectorcall == callable_send ? "send" : "receive");
}

static PyObject *
callable_repr(Callable *self)
{
    return PyUnicode_FromFormat("<atalanta %s of %R>",
                                self->vectorcall == callable_send ? "send" : "receive",
                                (PyObject *)self->protocol);
}

/* type.name = getattr(import module, name), renamed. A missing attribute is not an error: not
 * every Python version has every marker. */
static int
copy_marker(PyTypeObject *type, const char *module_name, const char *source, const char *target)
{
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL) {
        return -1;
    }
    PyObject *marker = PyObject_GetAttrString(module, source);
    Py_DECREF(module);
    if (marker == NULL) {
        PyErr_Clear();
        return 0;
    }
    int result = PyDict_SetItemString(type->tp_dict, target, marker);
    Py_DECREF(marker);
    return result;
}

int
callable_type_prepare(PyTypeObject *type)
{
    /* inspect's own mark was renamed in the course of 3.12. */
    if (copy_marker(type, "inspect", "_is_coroutine_marker", "_is_coroutine_marker") < 0 ||
        copy_marker(type, "inspect", "_is_coroutine_mark", "_is_coroutine_marker") < 0 ||
        copy_marker(type, "asyncio.coroutines", "_is_coroutine", "_is_coroutine") < 0) {
        return -1;
    }
    PyType_Modified(type);
    return 0;
}

PyDoc_STRVAR(
    nowait_doc,
    "nowait($self, event, /)\n--\n\n"
    "Send a message from whatever thread this is, if that needs no waiting: True. False when\n"
    "nothing was done and send() has to be awaited.");

static PyObject *
callable_nowait(Callable *self, PyObject *event)
{
    if (self->vectorcall != callable_send || self->protocol == NULL) {
        Py_RETURN_FALSE;
    }
    int sent = session_send_nowait(self->protocol, event);
    return sent < 0 ? NULL : PyBool_FromLong(sent);
}

static PyMethodDef callable_methods[] = {
    {"nowait", (PyCFunction)callable_nowait, METH_O, nowait_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef callable_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Callable, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef callable_getset[] = {
    {"__name__", (getter)callable_get_name, NULL, NULL, NULL},
    {"__qualname__", (getter)callable_get_name, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot callable_slots[] = {
    {Py_tp_doc, (void *)"The receive or send of one connection: a coroutine function."},
    {Py_tp_dealloc, callable_dealloc},
    {Py_tp_traverse, callable_traverse},
    {Py_tp_clear, callable_clear},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_repr, callable_repr},
    {Py_tp_methods, callable_methods},
    {Py_tp_members, callable_members},
    {Py_tp_getset, callable_getset},
    {0, NULL},
};

PyType_Spec callable_spec = {
    .name = "atalanta._core.Callable",
    .basicsize = sizeof(Callable),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = callable_slots,
};
