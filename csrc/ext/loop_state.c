/* LoopState: see loop_state.h. */
#include "loop_state.h"

static LoopState *
loop_state_new(module_state *state)
{
    LoopState *self = PyObject_GC_New(LoopState, state->loop_state_type);
    if (self == NULL) {
        return NULL;
    }
    memset((char *)self + sizeof(PyObject), 0, sizeof(*self) - sizeof(PyObject));
    self->state = state;
    self->memory = PyMem_Malloc(RECEIVE_BUFFER_HEADROOM + RECEIVE_BUFFER_SIZE);
    if (self->memory == NULL) {
        Py_DECREF(self);
        PyErr_NoMemory();
        return NULL;
    }
    self->view =
        PyMemoryView_FromMemory((char *)loop_state_buffer(self), RECEIVE_BUFFER_SIZE, PyBUF_WRITE);
    if (self->view == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    PyObject_GC_Track(self);
    return self;
}

/* The state that the dictionary has, or a new one that it gets. New reference, or NULL. */
static LoopState *
loop_state_look_up(module_state *state, PyObject *loop)
{
    PyObject *known = PyObject_GetItem(state->loop_states, loop);
    if (known != NULL || !PyErr_ExceptionMatches(PyExc_KeyError)) {
        return (LoopState *)known;
    }
    PyErr_Clear();
    LoopState *self = loop_state_new(state);
    if (self != NULL && PyObject_SetItem(state->loop_states, loop, (PyObject *)self) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return self;
}

/* Whether a weak reference is to that object, which is alive. */
static bool
refers_to(PyObject *reference, const PyObject *object)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *found = NULL;
    bool same = PyWeakref_GetRef(reference, &found) == 1 && found == object;
    Py_XDECREF(found);
    return same;
#else
    return PyWeakref_GET_OBJECT(reference) == object;
#endif
}

LoopState *
loop_state_get(module_state *state, PyObject *loop)
{
    if (state->last_loop != NULL && refers_to(state->last_loop, loop)) {
        return (LoopState *)Py_NewRef(state->last_loop_state);
    }
    LoopState *self = loop_state_look_up(state, loop);
    if (self == NULL) {
        return NULL;
    }
    PyObject *reference = PyWeakref_NewRef(loop, NULL);
    if (reference == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    Py_XSETREF(state->last_loop, reference);
    Py_XSETREF(state->last_loop_state, Py_NewRef((PyObject *)self));
    return self;
}

uint8_t *
loop_state_buffer(const LoopState *self)
{
    return self->memory + RECEIVE_BUFFER_HEADROOM;
}

static int
loop_state_traverse(LoopState *self, visitproc visit, void *arg)
{
    return visit((PyObject *)Py_TYPE(self), arg);
}

static void
loop_state_dealloc(LoopState *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->view);
    PyMem_Free(self->memory);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyType_Slot loop_state_slots[] = {
    {Py_tp_doc, (void *)"What the connections of one event loop share."},
    {Py_tp_dealloc, loop_state_dealloc},
    {Py_tp_traverse, loop_state_traverse},
    {0, NULL},
};

PyType_Spec loop_state_spec = {
    .name = "atalanta._core.LoopState",
    .basicsize = sizeof(LoopState),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = loop_state_slots,
};
