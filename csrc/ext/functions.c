/* The functions of the module atalanta._core: the pieces of the protocol that need no connection,
 * and what the Python package asks of the extension as a whole. */
#include "functions.h"

#include "../core/frame.h"
#include "../core/handshake.h"
#include "counters.h"
#include "module.h"
#include "turn.h"
#include "waiter.h"

PyDoc_STRVAR(accept_key_doc,
             "accept_key(key, /)\n--\n\n"
             "Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455, section 4.2.2).\n\n"
             "Takes str or bytes-like, whatever it says. Raises TypeError for anything else.");

static PyObject *
core_accept_key(PyObject *Py_UNUSED(module), PyObject *key)
{
    uint8_t accept[WS_ACCEPT_SIZE];
    Py_ssize_t size;
    const char *text;
    if (PyUnicode_Check(key)) {
        text = PyUnicode_AsUTF8AndSize(key, &size);
        if (text == NULL) {
            return NULL;
        }
        ws_accept_key((const uint8_t *)text, (size_t)size, accept);
    }
    else {
        Py_buffer view;
        if (PyObject_GetBuffer(key, &view, PyBUF_SIMPLE) < 0) {
            return NULL;
        }
        ws_accept_key(view.buf, (size_t)view.len, accept);
        PyBuffer_Release(&view);
    }
    return PyUnicode_DecodeASCII((const char *)accept, WS_ACCEPT_SIZE, NULL);
}

/* A masking key from an object with four bytes. 0, or -1. */
static int
read_mask_key(PyObject *object, uint32_t *key)
{
    Py_buffer view;
    if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    int result = 0;
    if (view.len != sizeof(*key)) {
        PyErr_Format(PyExc_ValueError, "a mask has 4 bytes, got %zd", view.len);
        result = -1;
    }
    else {
        memcpy(key, view.buf, sizeof(*key));
    }
    PyBuffer_Release(&view);
    return result;
}

PyDoc_STRVAR(apply_mask_doc,
             "apply_mask(data, mask, /)\n--\n\n"
             "Mask or unmask data with a key of 4 bytes (RFC 6455, section 5.3).\n\n"
             "Raises ValueError for a key of another length, TypeError unless both are\n"
             "bytes-like.");

static PyObject *
core_apply_mask(PyObject *module, PyObject *args)
{
    const module_state *state = PyModule_GetState(module);
    PyObject *mask;
    Py_buffer data;
    uint32_t key;
    if (!PyArg_ParseTuple(args, "y*O:apply_mask", &data, &mask)) {
        return NULL;
    }
    PyObject *result = NULL;
    if (read_mask_key(mask, &key) == 0) {
        result = PyBytes_FromStringAndSize(NULL, data.len);
    }
    if (result != NULL && data.len > 0) {
        state->mask->apply((uint8_t *)PyBytes_AS_STRING(result), data.buf, (size_t)data.len, key,
                           0);
    }
    PyBuffer_Release(&data);
    return result;
}

PyDoc_STRVAR(build_frame_doc,
             "build_frame(opcode, payload, *, fin=True, rsv1=False, mask=None)\n--\n\n"
             "One frame (RFC 6455, section 5.2) as bytes, its length in the shortest form.\n\n"
             "The payload is bytes-like; a mask, 4 bytes, makes it a client's frame. Raises\n"
             "ValueError for a mask of another length, for an opcode that is reserved, and for a\n"
             "control frame that is fragmented, compressed or longer than 125 bytes.");

static PyObject *
core_build_frame(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static const char *const keywords[] = {"", "", "fin", "rsv1", "mask", NULL};
    const module_state *state = PyModule_GetState(module);
    int opcode;
    int fin = 1;
    int rsv1 = 0;
    PyObject *mask = Py_None;
    Py_buffer payload;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "iy*|$ppO:build_frame", KEYWORD_LIST(keywords),
                                     &opcode, &payload, &fin, &rsv1, &mask)) {
        return NULL;
    }
    ws_frame_header header = {.length = (uint64_t)payload.len,
                              .opcode = (uint8_t)opcode,
                              .fin = fin != 0,
                              .rsv1 = rsv1 != 0,
                              .masked = mask != Py_None};
    PyObject *frame = NULL;
    bool control = opcode >= WS_OPCODE_CLOSE && opcode <= WS_OPCODE_PONG;
    if (!control && (opcode < WS_OPCODE_CONTINUATION || opcode > WS_OPCODE_BINARY)) {
        PyErr_Format(PyExc_ValueError, "opcode %d is reserved", opcode);
    }
    else if (control && (!fin || rsv1 || payload.len > WS_CONTROL_PAYLOAD_MAX)) {
        PyErr_SetString(PyExc_ValueError,
                        "a control frame has fin, no rsv1 and at most 125 bytes of payload");
    }
    else if (!header.masked || read_mask_key(mask, &header.key) == 0) {
        uint8_t head[WS_FRAME_HEADER_MAX];
        size_t size = ws_frame_build(head, &header);
        frame = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size + payload.len);
        if (frame != NULL) {
            uint8_t *place = (uint8_t *)PyBytes_AS_STRING(frame);
            memcpy(place, head, size);
            state->mask->apply(place + size, payload.buf, (size_t)payload.len,
                               header.masked ? header.key : 0, 0);
        }
    }
    PyBuffer_Release(&payload);
    return frame;
}

PyDoc_STRVAR(mask_kernels_doc,
             "mask_kernels()\n--\n\n"
             "Names of the masking kernels that this machine can run, the fastest first.");

static PyObject *
core_mask_kernels(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    const ws_mask_kernel *kernels[WS_MASK_KERNELS_MAX];
    size_t count = ws_mask_kernels(kernels, WS_MASK_KERNELS_MAX);
    PyObject *names = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; names != NULL && i < count; i++) {
        PyObject *name = PyUnicode_FromString(kernels[i]->name);
        if (name == NULL) {
            Py_DECREF(names);
            return NULL;
        }
        PyTuple_SET_ITEM(names, (Py_ssize_t)i, name);
    }
    return names;
}

PyDoc_STRVAR(mask_kernel_doc,
             "mask_kernel(name=None, /)\n--\n\n"
             "Name of the masking kernel in use; with a name, use that one from now on for\n"
             "functions, parsers and connections made later.");

static PyObject *
core_mask_kernel(PyObject *module, PyObject *args)
{
    module_state *state = PyModule_GetState(module);
    const char *name = NULL;
    if (!PyArg_ParseTuple(args, "|z:mask_kernel", &name)) {
        return NULL;
    }
    if (name != NULL) {
        const ws_mask_kernel *kernel = ws_mask_select(name);
        if (kernel == NULL) {
            PyErr_Format(PyExc_ValueError, "this machine has no masking kernel %s", name);
            return NULL;
        }
        state->mask = kernel;
    }
    return PyUnicode_FromString(state->mask->name);
}

PyDoc_STRVAR(after_resumes_doc,
             "after_resumes()\n--\n\n"
             "A future of the running loop that is done when every task that was woken\n"
             "through a mailbox before has been resumed. To be yielded by a generator-based\n"
             "coroutine.");

static PyObject *
core_after_resumes(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    module_state *state = PyModule_GetState(module);
    Waiter *waiter = waiter_new_here(state);
    if (waiter != NULL && turn_resume(waiter) < 0) {
        Py_DECREF(waiter);
        return NULL;
    }
    return (PyObject *)waiter;
}

PyDoc_STRVAR(
    counters_doc,
    "counters()\n--\n\n"
    "What the connections of this process did so far, and what they have queued now, as a\n"
    "new dict of numbers.");

PyMethodDef module_functions[] = {
    {"accept_key", core_accept_key, METH_O, accept_key_doc},
    {"after_resumes", core_after_resumes, METH_NOARGS, after_resumes_doc},
    {"apply_mask", core_apply_mask, METH_VARARGS, apply_mask_doc},
    {"build_frame", (PyCFunction)(void (*)(void))core_build_frame, METH_VARARGS | METH_KEYWORDS,
     build_frame_doc},
    {"counters", core_counters, METH_NOARGS, counters_doc},
    {"mask_kernels", core_mask_kernels, METH_NOARGS, mask_kernels_doc},
    {"mask_kernel", core_mask_kernel, METH_VARARGS, mask_kernel_doc},
    {NULL, NULL, 0, NULL},
};
