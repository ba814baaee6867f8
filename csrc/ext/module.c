/* The module atalanta._core: its state, its types, and the functions that need no connection. */
#include "module.h"

#include "../core/frame.h"
#include "../core/handshake.h"
#include "awaitable.h"
#include "callable.h"
#include "delivery.h"
#include "dispatcher.h"
#include "entry.h"
#include "events.h"
#include "group.h"
#include "loop_state.h"
#include "mailbox.h"
#include "parser.h"
#include "poller.h"
#include "protocol.h"
#include "scope.h"
#include "timer_queue.h"
#include "turn.h"
#include "waiter.h"

/* ---- Shared helpers: see module.h ---- */

module_state *
module_state_of(PyObject *object)
{
    PyObject *module = PyType_GetModuleByDef(Py_TYPE(object), &atalanta_module);
    return module == NULL ? NULL : PyModule_GetState(module);
}

PyObject *
free_list_new(free_list *list, PyTypeObject *type)
{
    if (list->count == 0) {
        return (PyObject *)PyObject_GC_New(PyObject, type);
    }
    PyObject *object = PyObject_Init(list->items[--list->count], type);
    /* Parked memory has kept its reference to the type. */
    Py_DECREF(type);
    return object;
}

void
free_list_dealloc(free_list *list, PyObject *object)
{
    assert(!PyObject_GC_IsTracked(object) && Py_REFCNT(object) == 0);
    PyTypeObject *type = Py_TYPE(object);
    /* The collector may have taken the module from its type, and the list with it. */
    bool alive = ((PyHeapTypeObject *)type)->ht_module != NULL;
    if (alive && list->count < FREE_LIST_SIZE) {
        list->items[list->count++] = object;
        return;
    }
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static void
free_list_empty(free_list *list)
{
    while (list->count > 0) {
        PyObject *object = list->items[--list->count];
        PyTypeObject *type = Py_TYPE(object);
        PyObject_GC_Del(object);
        Py_DECREF(type);
    }
}

static int
free_list_traverse(const free_list *list, visitproc visit, void *arg)
{
    for (int i = 0; i < list->count; i++) {
        Py_VISIT(Py_TYPE(list->items[i]));
    }
    return 0;
}

PyObject *
exception_take(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(value, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

void
exception_raise_steal(PyObject *exception)
{
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_DECREF(exception);
}

int
loop_is_between_tasks(const module_state *state, PyObject *loop)
{
    if (state->current_tasks != NULL) {
        PyObject *task = PyDict_GetItemWithError(state->current_tasks, loop);
        return task == NULL || task == Py_None ? (PyErr_Occurred() ? -1 : 1) : 0;
    }
    PyObject *task = PyObject_CallOneArg(state->current_task, loop);
    if (task == NULL) {
        return -1;
    }
    bool between = task == Py_None;
    Py_DECREF(task);
    return between;
}

static int
call_for_task(PyObject *function, PyObject *loop, PyObject *task)
{
    PyObject *result = PyObject_CallFunctionObjArgs(function, loop, task, NULL);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
loop_enter_task(const module_state *state, PyObject *loop, PyObject *task)
{
    return state->current_tasks != NULL ? PyDict_SetItem(state->current_tasks, loop, task)
                                        : call_for_task(state->enter_task, loop, task);
}

int
loop_leave_task(const module_state *state, PyObject *loop, PyObject *task)
{
    return state->current_tasks != NULL ? PyDict_DelItem(state->current_tasks, loop)
                                        : call_for_task(state->leave_task, loop, task);
}

/* ---- Functions ---- */

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
            Py_CLEAR(names);
            break;
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
        Py_CLEAR(waiter);
    }
    return (PyObject *)waiter;
}

PyDoc_STRVAR(
    counters_doc,
    "counters()\n--\n\n"
    "What the connections of this process did so far, and what they have queued now, as a\n"
    "new dict of numbers.");

static PyMethodDef module_methods[] = {
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

/* ---- Set-up ---- */

static int
state_intern_names(module_state *state)
{
#define ATALANTA_INTERN(field, text)                                                              \
    state->names.field = PyUnicode_InternFromString(text);                                        \
    if (state->names.field == NULL) {                                                             \
        return -1;                                                                                \
    }
    ATALANTA_NAMES(ATALANTA_INTERN)
#undef ATALANTA_INTERN
    return 0;
}

static int
state_make_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type)
{
    *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    if (*type == NULL && !PyErr_Occurred()) {
        PyErr_NoMemory(); /* CPython 3.11 forgets to say so */
    }
    return *type == NULL ? -1 : 0;
}

static int
state_make_types(PyObject *module, module_state *state)
{
#define ATALANTA_MAKE(name)                                                                       \
    if (state_make_type(module, &name##_spec, &state->name##_type) < 0) {                         \
        return -1;                                                                                \
    }
    ATALANTA_TYPES(ATALANTA_MAKE)
#undef ATALANTA_MAKE
    return 0;
}

/* getattr(import module, name). New reference, or NULL. */
static PyObject *
import_name(const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL) {
        return NULL;
    }
    PyObject *value = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    return value;
}

/* Nothing is called once something has failed. 0, or -1. */
static int
state_import(module_state *state)
{
    PyObject *dictionary = NULL;
    const struct {
        PyObject **place;
        const char *module_name;
        const char *name;
    } imports[] = {
        {&state->cancelled_error, "asyncio", "CancelledError"},
        {&state->current_task, "asyncio", "current_task"},
        {&state->enter_task, "asyncio.tasks", "_enter_task"},
        {&state->leave_task, "asyncio.tasks", "_leave_task"},
        {&state->get_running_loop, "asyncio", "_get_running_loop"},
        {&state->deepcopy, "copy", "deepcopy"},
        {&state->status_phrases, "http.client", "responses"},
        {&dictionary, "weakref", "WeakKeyDictionary"},
    };
    for (size_t i = 0; i < Py_ARRAY_LENGTH(imports); i++) {
        *imports[i].place = import_name(imports[i].module_name, imports[i].name);
        if (*imports[i].place == NULL) {
            return -1; /* the dictionary comes last */
        }
    }
    state->loop_states = PyObject_CallNoArgs(dictionary);
    Py_DECREF(dictionary);
    if (state->loop_states == NULL) {
        return -1;
    }
    /* A look into asyncio's own dictionary is worth a call per read; Python 3.14 has none. */
    state->current_tasks = import_name("asyncio.tasks", "_current_tasks");
    if (state->current_tasks == NULL || !PyDict_CheckExact(state->current_tasks)) {
        PyErr_Clear();
        Py_CLEAR(state->current_tasks);
    }
    return 0;
}

static int
state_make_templates(module_state *state)
{
    if ((state->context_keyword = PyTuple_Pack(1, state->names.context)) == NULL ||
        (state->receive_event = PyDict_New()) == NULL ||
        (state->handler_names = PyDict_New()) == NULL ||
        (state->asgi_versions =
             Py_BuildValue("{s:s,s:s}", "version", "3.0", "spec_version", "2.5")) == NULL ||
        (state->scope_template = scope_template(state)) == NULL) {
        return -1;
    }
    return PyDict_SetItem(state->receive_event, state->names.type, state->names.receive_type);
}

static int
state_select_kernel(module_state *state)
{
    const char *name = getenv("ATALANTA_MASK_KERNEL");
    if (name != NULL && *name == '\0') {
        name = NULL;
    }
    state->mask = ws_mask_select(name);
    if (state->mask == NULL) {
        PyErr_Format(PyExc_ImportError,
                     "ATALANTA_MASK_KERNEL: this machine has no masking kernel %s", name);
        return -1;
    }
    return 0;
}

static int
state_make_exceptions(PyObject *module, module_state *state)
{
    state->client_disconnected =
        PyErr_NewExceptionWithDoc("atalanta.ClientDisconnected",
                                  "send() after the connection's end: the peer closed it, it was "
                                  "lost, or the server closed it.",
                                  PyExc_OSError, NULL);
    if (state->client_disconnected == NULL) {
        return -1;
    }
    state->parse_error =
        PyErr_NewExceptionWithDoc("atalanta.ParseError",
                                  "The peer broke the WebSocket protocol; close_code, an int, is "
                                  "what RFC 6455 has the connection closed with.",
                                  PyExc_ValueError, NULL);
    if (state->parse_error == NULL ||
        PyModule_AddObjectRef(module, "ClientDisconnected", state->client_disconnected) < 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "ParseError", state->parse_error);
}

static int
module_exec(PyObject *module)
{
    module_state *state = PyModule_GetState(module);
    state->counters = counters_new();
    if (state->counters == NULL || state_select_kernel(state) < 0 ||
        state_intern_names(state) < 0 || state_import(state) < 0 ||
        state_make_templates(state) < 0 || state_make_exceptions(module, state) < 0 ||
        state_make_types(module, state) < 0 || callable_type_prepare(state->callable_type) < 0 ||
        PyModule_AddType(module, state->dispatcher_type) < 0 ||
        PyModule_AddType(module, state->entry_type) < 0 ||
        PyModule_AddType(module, state->events_type) < 0 ||
        PyModule_AddType(module, state->group_type) < 0 ||
        PyModule_AddType(module, state->mailbox_type) < 0 ||
        PyModule_AddType(module, state->parser_type) < 0 ||
        PyModule_AddType(module, state->protocol_type) < 0) {
        return -1;
    }
    return 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    module_state *state = PyModule_GetState(module);
    int stopped = free_list_traverse(&state->awaitables, visit, arg);
    if (stopped == 0) {
        stopped = free_list_traverse(&state->waiters, visit, arg);
    }
    if (stopped != 0) {
        return stopped;
    }
#define ATALANTA_VISIT(name) Py_VISIT(state->name##_type);
    ATALANTA_TYPES(ATALANTA_VISIT)
#undef ATALANTA_VISIT
    Py_VISIT(state->client_disconnected);
    Py_VISIT(state->parse_error);
    Py_VISIT(state->cancelled_error);
    Py_VISIT(state->current_tasks);
    Py_VISIT(state->current_task);
    Py_VISIT(state->enter_task);
    Py_VISIT(state->leave_task);
    Py_VISIT(state->get_running_loop);
    Py_VISIT(state->deepcopy);
    Py_VISIT(state->loop_states);
    Py_VISIT(state->last_loop);
    Py_VISIT(state->last_loop_state);
    Py_VISIT(state->status_phrases);
    Py_VISIT(state->receive_event);
    Py_VISIT(state->handler_names);
    Py_VISIT(state->asgi_versions);
    Py_VISIT(state->scope_template);
    return 0;
}

static int
module_clear(PyObject *module)
{
    module_state *state = PyModule_GetState(module);
    free_list_empty(&state->awaitables);
    free_list_empty(&state->waiters);
#define ATALANTA_CLEAR(name) Py_CLEAR(state->name##_type);
    ATALANTA_TYPES(ATALANTA_CLEAR)
#undef ATALANTA_CLEAR
    Py_CLEAR(state->client_disconnected);
    Py_CLEAR(state->parse_error);
    Py_CLEAR(state->cancelled_error);
    Py_CLEAR(state->current_tasks);
    Py_CLEAR(state->current_task);
    Py_CLEAR(state->enter_task);
    Py_CLEAR(state->leave_task);
    Py_CLEAR(state->get_running_loop);
    Py_CLEAR(state->deepcopy);
    Py_CLEAR(state->loop_states);
    Py_CLEAR(state->last_loop);
    Py_CLEAR(state->last_loop_state);
    Py_CLEAR(state->status_phrases);
    Py_CLEAR(state->context_keyword);
    Py_CLEAR(state->receive_event);
    Py_CLEAR(state->handler_names);
    Py_CLEAR(state->asgi_versions);
    Py_CLEAR(state->scope_template);
#define ATALANTA_CLEAR(field, text) Py_CLEAR(state->names.field);
    ATALANTA_NAMES(ATALANTA_CLEAR)
#undef ATALANTA_CLEAR
    return 0;
}

static void
module_free(void *module)
{
    module_state *state = PyModule_GetState(module);
    module_clear(module);
    counters_release(state->counters);
    state->counters = NULL;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_mod_gil
    /* The types have no locks of their own: free-threaded builds turn the lock on. */
    {Py_mod_gil, Py_MOD_GIL_USED},
#endif
    {0, NULL},
};

struct PyModuleDef atalanta_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "atalanta._core",
    .m_doc = "The C core of Atalanta: the WebSocket protocol and its sans-I/O pieces.",
    .m_size = sizeof(module_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__core(void);

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&atalanta_module);
}
