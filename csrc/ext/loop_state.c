/* LoopState: see loop_state.h. Depends on protocol.h for the connections in its list and on writer.h to
 * flush them. */
#include "loop_state.h"

#include "protocol.h"
#include "writer.h"

static LoopState *
loop_state_new(module_state *state)
{
    LoopState *self = PyObject_GC_New(LoopState, state->loop_state_type);
    if (self == NULL) {
        return NULL;
    }
    memset((char *)self + sizeof(PyObject), 0, sizeof(*self) - sizeof(PyObject));
    self->memory = PyMem_Malloc(RECEIVE_BUFFER_HEADROOM + RECEIVE_BUFFER_SIZE);
    if (self->memory == NULL) {
        Py_DECREF(self);
        PyErr_NoMemory();
        return NULL;
    }
    self->view = PyMemoryView_FromMemory((char *)loop_state_buffer(self), RECEIVE_BUFFER_SIZE,
                                         PyBUF_WRITE);
    if (self->view == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    PyObject_GC_Track(self);
    return self;
}

LoopState *
loop_state_get(module_state *state, PyObject *loop)
{
    PyObject *known = PyObject_GetItem(state->loop_states, loop);
    if (known != NULL || !PyErr_ExceptionMatches(PyExc_KeyError)) {
        return (LoopState *)known;
    }
    PyErr_Clear();
    LoopState *self = loop_state_new(state);
    if (self != NULL && PyObject_SetItem(state->loop_states, loop, (PyObject *)self) < 0) {
        Py_CLEAR(self);
    }
    return self;
}

uint8_t *
loop_state_buffer(const LoopState *self)
{
    return self->memory + RECEIVE_BUFFER_HEADROOM;
}

static int
loop_state_clear(LoopState *self)
{
    struct protocol_object **dirty = self->dirty;
    size_t count = self->dirty_count;
    self->dirty = NULL;
    self->dirty_count = 0;
    self->dirty_capacity = 0;
    for (size_t i = 0; i < count; i++) {
        Py_DECREF(dirty[i]);
    }
    PyMem_Free(dirty);
    return 0;
}

static int
loop_state_traverse(LoopState *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    for (size_t i = 0; i < self->dirty_count; i++) {
        Py_VISIT(self->dirty[i]);
    }
    return 0;
}

static void
loop_state_dealloc(LoopState *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    loop_state_clear(self);
    Py_CLEAR(self->view);
    PyMem_Free(self->memory);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static int
loop_state_grow(LoopState *self)
{
    size_t capacity = self->dirty_capacity == 0 ? 64 : self->dirty_capacity * 2;
    struct protocol_object **dirty = PyMem_Realloc(self->dirty, capacity * sizeof(*dirty));
    if (dirty == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->dirty = dirty;
    self->dirty_capacity = capacity;
    return 0;
}

int
loop_state_flush_later(LoopState *self, struct protocol_object *protocol)
{
    if (self->dirty_count == self->dirty_capacity && loop_state_grow(self) < 0) {
        return -1;
    }
    self->dirty[self->dirty_count++] = (struct protocol_object *)Py_NewRef((PyObject *)protocol);
    if (self->flush_scheduled) {
        return 0;
    }
    PyObject *callback = PyObject_GetAttrString((PyObject *)self, "flush_outputs");
    if (callback == NULL) {
        return -1;
    }
    PyObject *handle =
        PyObject_CallMethodOneArg(protocol->loop, protocol->state->names.call_soon, callback);
    Py_DECREF(callback);
    if (handle == NULL) {
        return -1;
    }
    Py_DECREF(handle);
    self->flush_scheduled = true;
    return 0;
}

PyDoc_STRVAR(flush_outputs_doc,
             "flush_outputs()\n--\n\nFlush every connection that was written to in this turn of the loop.");

static PyObject *
loop_state_flush_outputs(LoopState *self, PyObject *Py_UNUSED(ignored))
{
    /* Flushing can run Python, which can write again: that goes to a new list and a new call. */
    struct protocol_object **dirty = self->dirty;
    size_t count = self->dirty_count;
    self->dirty = NULL;
    self->dirty_count = 0;
    self->dirty_capacity = 0;
    self->flush_scheduled = false;
    for (size_t i = 0; i < count; i++) {
        dirty[i]->output.listed = false;
        if (writer_flush(dirty[i]) < 0) {
            /* One connection's transport must not keep the others from being flushed. */
            PyErr_WriteUnraisable((PyObject *)dirty[i]);
        }
        Py_DECREF(dirty[i]);
    }
    PyMem_Free(dirty);
    Py_RETURN_NONE;
}

static PyMethodDef loop_state_methods[] = {
    {"flush_outputs", (PyCFunction)loop_state_flush_outputs, METH_NOARGS, flush_outputs_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot loop_state_slots[] = {
    {Py_tp_doc, (void *)"What the connections of one event loop share."},
    {Py_tp_dealloc, loop_state_dealloc},
    {Py_tp_traverse, loop_state_traverse},
    {Py_tp_clear, loop_state_clear},
    {Py_tp_methods, loop_state_methods},
    {0, NULL},
};

PyType_Spec loop_state_spec = {
    .name = "atalanta._core.LoopState",
    .basicsize = sizeof(LoopState),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = loop_state_slots,
};
