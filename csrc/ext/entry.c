/* Entry: see entry.h. Undecided entries are on a list of their loop, which one timer walks: a
 * connection costs no timer. An entry is listed exactly while its connection is undecided. */
#include "entry.h"

#include <math.h>

#include "../core/upgrade.h"
#include "byte_buffer.h"
#include "clock.h"
#include "counters.h"
#include "lent_buffer.h"
#include "loop_state.h"

/* Up to this many bytes are judged at each read; beyond, only when a line has ended: bytes that
 * come one by one must not cost quadratic time. */
#define JUDGED_ALWAYS 1024

/* Seconds between two looks for overdue entries, at most; a shorter limit is watched four times as
 * closely. */
#define WATCH_INTERVAL_MAX 1.0

typedef struct entry_object {
    PyObject_HEAD
    module_state *state; /* borrowed: the type keeps the module alive */
    PyObject *config;
    PyObject *server_state;
    PyObject *app_state;
    PyObject *loop;
    PyObject *connections; /* server_state.connections */
    LoopState *per_loop;
    PyObject *transport; /* NULL before connection_made and after the end */
    byte_buffer kept;    /* what has come and does not suffice */
    lent_buffer lent;    /* what get_buffer gave out */
    double deadline;     /* of clock_seconds() */
    struct entry_object *previous;
    struct entry_object *next;
    bool listed;
} Entry;

/* ---- The list of undecided entries ---- */

static void
entry_unlist(Entry *self)
{
    if (!self->listed) {
        return;
    }
    self->listed = false;
    if (self->previous != NULL) {
        self->previous->next = self->next;
    }
    else {
        self->per_loop->entries = self->next;
    }
    if (self->next != NULL) {
        self->next->previous = self->previous;
    }
    self->previous = NULL;
    self->next = NULL;
}

static void
entry_list(Entry *self)
{
    Entry *first = self->per_loop->entries;
    self->next = first;
    if (first != NULL) {
        first->previous = self;
    }
    self->per_loop->entries = self;
    self->listed = true;
}

static PyObject *entries_watch(PyObject *per_loop, PyObject *ignored);

static PyMethodDef watch_method = {"entries_watch", entries_watch, METH_NOARGS, NULL};

/* loop.call_later(seconds, entries_watch), whose self is the loop's state. 0, or -1. */
static int
watch_later(LoopState *per_loop, PyObject *loop, double seconds)
{
    PyObject *delay = PyFloat_FromDouble(seconds);
    PyObject *callback = PyCFunction_New(&watch_method, (PyObject *)per_loop);
    PyObject *handle = NULL;
    if (delay != NULL && callback != NULL) {
        handle = PyObject_CallMethodObjArgs(loop, per_loop->state->names.call_later, delay,
                                            callback, NULL);
    }
    Py_XDECREF(delay);
    Py_XDECREF(callback);
    Py_XDECREF(handle);
    per_loop->entries_watched = handle != NULL;
    return handle == NULL ? -1 : 0;
}

/* Has the overdue entry end its connection. Whatever goes wrong concerns this connection alone. */
static void
entry_expire(Entry *self)
{
    Py_INCREF(self);
    entry_unlist(self);
    PyObject *begun = self->kept.size > 0 ? Py_True : Py_False;
    self->state->counters->refused[REFUSED_REQUEST_TIMEOUT] += begun == Py_True ? 1 : 0;
    byte_buffer_drop(&self->kept);
    PyObject *transport = Py_NewRef(self->transport);
    PyObject *result = PyObject_CallMethodObjArgs((PyObject *)self, self->state->names.overdue,
                                                  transport, begun, NULL);
    if (result == NULL) {
        PyErr_WriteUnraisable((PyObject *)self);
    }
    Py_DECREF(transport);
    Py_XDECREF(result);
    Py_DECREF(self);
}

/* The entries whose time is up, in a list that owns them: what is done about one can end others.
 * NULL with MemoryError. */
static PyObject *
overdue_entries(const LoopState *per_loop, double now)
{
    PyObject *list = PyList_New(0);
    for (Entry *entry = per_loop->entries; list != NULL && entry != NULL; entry = entry->next) {
        /* One that another thread is destroying is still there, and must not be revived. */
        if (entry->deadline <= now && Py_REFCNT(entry) > 0 &&
            PyList_Append(list, (PyObject *)entry) < 0) {
            Py_DECREF(list);
            return NULL;
        }
    }
    return list;
}

/* What the timer calls. It passes over the list a fixed number of times: entries are as many as
 * strangers like. */
static PyObject *
entries_watch(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    LoopState *per_loop = (LoopState *)object;
    const double now = clock_seconds();
    per_loop->entries_watched = false;
    PyObject *overdue = overdue_entries(per_loop, now);
    if (overdue == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(overdue); i++) {
        Entry *entry = (Entry *)PyList_GET_ITEM(overdue, i);
        if (entry->listed) {
            entry_expire(entry);
        }
    }
    Py_DECREF(overdue);
    /* A connection that was made meanwhile has seen to it. */
    if (per_loop->entries != NULL && !per_loop->entries_watched) {
        double soonest = WATCH_INTERVAL_MAX;
        for (const Entry *entry = per_loop->entries; entry != NULL; entry = entry->next) {
            const double left = entry->deadline - now;
            soonest = left < soonest ? left : soonest;
        }
        PyObject *loop = Py_NewRef(per_loop->entries->loop);
        const int failed = watch_later(per_loop, loop, soonest);
        Py_DECREF(loop);
        if (failed < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

/* Lists the entry and has it watched, unless its class has no limit. 0, or -1. */
static int
entry_start_limit(Entry *self)
{
    PyObject *value = PyObject_GetAttr((PyObject *)self, self->state->names.first_request_timeout);
    const double limit = value == NULL ? -1.0 : PyFloat_AsDouble(value);
    Py_XDECREF(value);
    if (limit == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    self->deadline = limit > 0 ? clock_seconds() + limit : HUGE_VAL;
    entry_list(self);
    if (limit <= 0 || self->per_loop->entries_watched) {
        return 0;
    }
    const double interval = limit / 4 < WATCH_INTERVAL_MAX ? limit / 4 : WATCH_INTERVAL_MAX;
    return watch_later(self->per_loop, self->loop, interval);
}

/* ---- Life ---- */

/* A new reference to `loop`, or to the running one for None; NULL with RuntimeError when there is
 * none. */
static PyObject *
loop_or_running(const module_state *state, PyObject *loop)
{
    if (loop != Py_None) {
        return Py_NewRef(loop);
    }
    PyObject *running = PyObject_CallNoArgs(state->get_running_loop);
    if (running == Py_None) {
        Py_DECREF(running);
        PyErr_SetString(PyExc_RuntimeError, "an HttpProtocol is made in a running event loop");
        return NULL;
    }
    return running;
}

/* config.load(), unless it is loaded. 0, or -1. */
static int
load_config(const module_state *state, PyObject *config)
{
    PyObject *loaded = PyObject_GetAttr(config, state->names.loaded);
    const int is_loaded = loaded == NULL ? -1 : PyObject_IsTrue(loaded);
    Py_XDECREF(loaded);
    if (is_loaded != 0) {
        return is_loaded < 0 ? -1 : 0;
    }
    PyObject *result = PyObject_CallMethodNoArgs(config, state->names.load);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int
entry_init(Entry *self, PyObject *args, PyObject *kwargs)
{
    static const char *const keywords[] = {"config", "server_state", "app_state", "_loop", NULL};
    PyObject *config, *server_state, *app_state;
    PyObject *loop = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|O:HttpProtocol", KEYWORD_LIST(keywords),
                                     &config, &server_state, &app_state, &loop)) {
        return -1;
    }
    if (self->per_loop != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "an HttpProtocol is initialised once");
        return -1;
    }
    self->state = module_state_of((PyObject *)self);
    if (self->state == NULL) {
        return -1;
    }
    if (load_config(self->state, config) < 0) {
        return -1;
    }
    Py_XSETREF(self->loop, loop_or_running(self->state, loop));
    if (self->loop == NULL) {
        return -1;
    }
    Py_XSETREF(self->connections, PyObject_GetAttr(server_state, self->state->names.connections));
    if (self->connections == NULL) {
        return -1;
    }
    if (!PySet_Check(self->connections)) {
        PyErr_Format(PyExc_TypeError, "server_state.connections must be a set, got %.100s",
                     Py_TYPE(self->connections)->tp_name);
        return -1;
    }
    Py_XSETREF(self->config, Py_NewRef(config));
    Py_XSETREF(self->server_state, Py_NewRef(server_state));
    Py_XSETREF(self->app_state, Py_NewRef(app_state));
    self->per_loop = loop_state_get(self->state, self->loop);
    return self->per_loop == NULL ? -1 : 0;
}

static int
entry_clear(Entry *self)
{
    entry_unlist(self);
    byte_buffer_drop(&self->kept);
    lent_buffer_drop(&self->lent);
    Py_CLEAR(self->transport);
    Py_CLEAR(self->config);
    Py_CLEAR(self->server_state);
    Py_CLEAR(self->app_state);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->connections);
    Py_CLEAR(self->per_loop);
    return 0;
}

static int
entry_traverse(Entry *self, visitproc visit, void *arg)
{
    Py_VISIT(self->transport);
    Py_VISIT(self->lent.private_view);
    Py_VISIT(self->config);
    Py_VISIT(self->server_state);
    Py_VISIT(self->app_state);
    Py_VISIT(self->loop);
    Py_VISIT(self->connections);
    Py_VISIT(self->per_loop);
    return visit((PyObject *)Py_TYPE(self), arg);
}

static void
entry_dealloc(Entry *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    entry_clear(self);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

/* 0, or -1 when __init__ was not called. */
static int
check_initialised(const Entry *self)
{
    if (self->per_loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "HttpProtocol.__init__ was not called");
        return -1;
    }
    return 0;
}

/* ---- The decision ---- */

/* Ends our part: the connection, with all its bytes, is the next protocol's. 0, or -1. */
static int
entry_decide(Entry *self, PyObject *method, const uint8_t *data, size_t n)
{
    if (!self->listed) {
        return 0; /* what was asked has ended the connection */
    }
    PyObject *transport = Py_NewRef(self->transport);
    byte_buffer kept = byte_buffer_move(&self->kept);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(kept.size + n));
    PyObject *result = NULL;
    if (bytes != NULL) {
        uint8_t *place = (uint8_t *)PyBytes_AS_STRING(bytes);
        if (kept.size > 0) {
            memcpy(place, kept.data, kept.size);
        }
        memcpy(place + kept.size, data, n);
    }
    byte_buffer_drop(&kept);
    entry_unlist(self);
    if (bytes != NULL && PySet_Discard(self->connections, (PyObject *)self) >= 0) {
        PyObject *args[] = {(PyObject *)self, transport, bytes};
        result = PyObject_VectorcallMethod(method, args, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    Py_DECREF(transport);
    Py_XDECREF(bytes);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Whether a WebSocket is ours to serve: config.ws_protocol_class is a class of ours. 1, 0, or -1.
 */
static int
serves_websockets(const Entry *self)
{
    PyObject *type = PyObject_GetAttr(self->config, self->state->names.ws_protocol_class);
    if (type == NULL) {
        return -1;
    }
    const int ours =
        PyType_Check(type) && PyType_IsSubtype((PyTypeObject *)type, self->state->protocol_type);
    Py_DECREF(type);
    return ours;
}

/* Keeps what leaves the request undecided. 1; 0 for more than an upgrade request may have, which
 * is not for us to judge; or -1. */
static int
entry_keep(Entry *self, const uint8_t *data, size_t n)
{
    PyObject *value = PyObject_GetAttr((PyObject *)self, self->state->names.max_undecided_size);
    const size_t limit = value == NULL ? (size_t)-1 : PyLong_AsSize_t(value);
    Py_XDECREF(value);
    if (limit == (size_t)-1 && PyErr_Occurred()) {
        return -1;
    }
    if (self->kept.size > limit || n > limit - self->kept.size) {
        return 0;
    }
    return byte_buffer_append(&self->kept, data, n) < 0 ? -1 : 1;
}

/* Judges what has come. These bytes are kept for that when others were before them: *n is 0 then.
 * 0, or -1. */
static int
entry_judge(Entry *self, const uint8_t *data, size_t *n, ws_upgrade_verdict *verdict)
{
    if (self->kept.size == 0) {
        *verdict = ws_upgrade_judge(data, *n);
        return 0;
    }
    if (byte_buffer_append(&self->kept, data, *n) < 0) {
        return -1;
    }
    const bool look = self->kept.size <= JUDGED_ALWAYS || memchr(data, '\n', *n) != NULL;
    *verdict = look ? ws_upgrade_judge(self->kept.data, self->kept.size) : WS_UPGRADE_UNDECIDED;
    *n = 0;
    return 0;
}

static int
entry_feed(Entry *self, const uint8_t *data, size_t n)
{
    if (!self->listed || n == 0) {
        return 0; /* the connection is being closed */
    }
    const int ours = serves_websockets(self);
    ws_upgrade_verdict verdict = WS_UPGRADE_NO;
    if (ours < 0 || (ours > 0 && entry_judge(self, data, &n, &verdict) < 0)) {
        return -1;
    }
    if (verdict == WS_UPGRADE_UNDECIDED) {
        const int kept = entry_keep(self, data, n);
        if (kept != 0) {
            return kept < 0 ? -1 : 0;
        }
    }
    const module_state *state = self->state;
    PyObject *method = verdict == WS_UPGRADE_YES ? state->names.upgrade : state->names.hand_over;
    return entry_decide(self, method, data, n);
}

/* ---- asyncio's callbacks ---- */

static PyObject *
entry_connection_made(Entry *self, PyObject *transport)
{
    if (check_initialised(self) < 0) {
        return NULL;
    }
    if (self->transport != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "connection_made() was called before");
        return NULL;
    }
    self->transport = Py_NewRef(transport);
    if (PySet_Add(self->connections, (PyObject *)self) < 0 || entry_start_limit(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
entry_connection_lost(Entry *self, PyObject *Py_UNUSED(error))
{
    entry_unlist(self);
    byte_buffer_drop(&self->kept);
    self->lent.place = NULL;
    if (self->connections != NULL && PySet_Discard(self->connections, (PyObject *)self) < 0) {
        return NULL;
    }
    Py_CLEAR(self->transport);
    Py_RETURN_NONE;
}

/* The end of input: None lets the transport close. A head that is not complete gets no answer from
 * uvicorn either. */
static PyObject *
entry_eof_received(Entry *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_NONE;
}

static PyObject *
entry_get_buffer(Entry *self, PyObject *Py_UNUSED(size_hint))
{
    if (check_initialised(self) < 0) {
        return NULL;
    }
    return lent_buffer_lend_view(&self->lent, self->per_loop);
}

static PyObject *
entry_buffer_updated(Entry *self, PyObject *size)
{
    size_t n;
    const uint8_t *data = lent_buffer_take_back(&self->lent, size, &n);
    if (data == NULL || entry_feed(self, data, n) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
entry_data_received(Entry *self, PyObject *data)
{
    Py_buffer view;
    if (check_initialised(self) < 0 || PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    const int result = entry_feed(self, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    if (result < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
entry_shutdown(Entry *self, PyObject *Py_UNUSED(ignored))
{
    entry_unlist(self);
    if (self->transport == NULL) {
        Py_RETURN_NONE;
    }
    PyObject *transport = Py_NewRef(self->transport);
    PyObject *result = PyObject_CallMethodNoArgs(transport, self->state->names.close);
    Py_DECREF(transport);
    return result;
}

static PyMethodDef entry_methods[] = {
    {"connection_made", (PyCFunction)entry_connection_made, METH_O, NULL},
    {"connection_lost", (PyCFunction)entry_connection_lost, METH_O, NULL},
    {"eof_received", (PyCFunction)entry_eof_received, METH_NOARGS, NULL},
    {"get_buffer", (PyCFunction)entry_get_buffer, METH_O, NULL},
    {"buffer_updated", (PyCFunction)entry_buffer_updated, METH_O, NULL},
    {"data_received", (PyCFunction)entry_data_received, METH_O, NULL},
    {"shutdown", (PyCFunction)entry_shutdown, METH_NOARGS,
     PyDoc_STR("shutdown($self, /)\n--\n\nThe server goes down: close, as no request has come.")},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef entry_members[] = {
    {"config", T_OBJECT_EX, offsetof(Entry, config), READONLY, NULL},
    {"server_state", T_OBJECT_EX, offsetof(Entry, server_state), READONLY, NULL},
    {"app_state", T_OBJECT_EX, offsetof(Entry, app_state), READONLY, NULL},
    {"loop", T_OBJECT_EX, offsetof(Entry, loop), READONLY, NULL},
    {"transport", T_OBJECT, offsetof(Entry, transport), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot entry_slots[] = {
    {Py_tp_doc,
     (void *)"The asyncio protocol of a connection whose first request is not known yet."},
    {Py_tp_init, entry_init},
    {Py_tp_dealloc, entry_dealloc},
    {Py_tp_traverse, entry_traverse},
    {Py_tp_clear, entry_clear},
    {Py_tp_methods, entry_methods},
    {Py_tp_members, entry_members},
    {0, NULL},
};

PyType_Spec entry_spec = {
    .name = "atalanta._core.Entry",
    .basicsize = sizeof(Entry),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = entry_slots,
};
