/* The module atalanta._core: its state and its types. */
#include "module.h"

#include "awaitable.h"
#include "callable.h"
#include "delivery.h"
#include "dispatcher.h"
#include "entry.h"
#include "events.h"
#include "functions.h"
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
    /* A look into asyncio's own dictionary is worth a call per read. Python 3.14 has none in C;
     * the one that it leaves in asyncio.tasks knows nothing of tasks in C. */
    state->current_tasks = import_name("_asyncio", "_current_tasks");
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
#define ATALANTA_VISIT(name) Py_VISIT(state->name);
    ATALANTA_OBJECTS(ATALANTA_VISIT)
#undef ATALANTA_VISIT
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
#define ATALANTA_CLEAR(name) Py_CLEAR(state->name);
    ATALANTA_OBJECTS(ATALANTA_CLEAR)
#undef ATALANTA_CLEAR
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
    .m_methods = module_functions,
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
