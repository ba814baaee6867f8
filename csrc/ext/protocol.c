/* Protocol: asyncio's view of a connection (BufferedProtocol), and the hooks of the Python class
 * above it.
 *
 * A subclass defines start_application, handshake_answered and keepalive_expired; nothing of it is
 * on the path of a message. */
#include "protocol.h"

#include "broadcast.h"
#include "closing.h"
#include "compression.h"
#include "incoming.h"
#include "session.h"
#include "timers.h"
#include "writer.h"

/* Reading pauses when this many bytes of pongs wait behind what the peer does not take. */
#define REPLY_BYTES_MAX (16 * 1024)

/* ---- Life ---- */

/* Until __init__ has run the connection is closed for everybody. */
static PyObject *
protocol_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    Protocol *self = (Protocol *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->output.descriptor = -1;
    self->polled = -1;
    self->phase = PHASE_CLOSED;
    self->state = module_state_of((PyObject *)self);
    if (self->state == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static int
protocol_init(Protocol *self, PyObject *args, PyObject *kwargs)
{
    static const char *const keywords[] = {
        "loop",      "max_message_size", "ping_interval",   "ping_timeout", "close_timeout",
        "root_path", "app_state",        "default_headers", "compression",  "limits",
        NULL};
    PyObject *loop, *root_path, *app_state, *default_headers, *compression_options;
    PyObject *limits;
    Py_ssize_t max_message;
    double ping_interval, ping_timeout, close_timeout;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O$ndddUOOOO:Protocol", KEYWORD_LIST(keywords),
                                     &loop, &max_message, &ping_interval, &ping_timeout,
                                     &close_timeout, &root_path, &app_state, &default_headers,
                                     &compression_options, &limits)) {
        return -1;
    }
    if (self->loop != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "a Protocol is initialised once");
        return -1;
    }
    if (max_message < 0) {
        PyErr_SetString(PyExc_ValueError, "max_message_size must be 0 (no limit) or more");
        return -1;
    }
    if (compression_configure(&self->compression_settings, compression_options) < 0 ||
        limits_configure(&self->limits, limits) < 0) {
        return -1;
    }
    self->per_loop = loop_state_get(self->state, loop);
    if (self->per_loop == NULL) {
        return -1;
    }
    self->loop = Py_NewRef(loop);
    self->root_path = Py_NewRef(root_path);
    self->app_state = Py_NewRef(app_state);
    self->default_headers = Py_NewRef(default_headers);
    self->ping_interval = ping_interval;
    self->ping_timeout = ping_timeout;
    self->close_timeout = close_timeout;
    self->phase = PHASE_REQUEST;
    ws_conn_init(&self->conn,
                 &(ws_conn_config){.mask = self->state->mask, .max_message = (size_t)max_message});
    return 0;
}

static int
protocol_clear(Protocol *self)
{
    counters_leave(self);
    timers_forget(self);
    poller_leave(self);
    writer_detach(self);
    broadcast_leave(self);
    compression_drop(self);
    byte_buffer_drop(&self->kept);
    message_queue_clear(&self->queue);
    Py_CLEAR(self->transport);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->per_loop);
    Py_CLEAR(self->root_path);
    Py_CLEAR(self->app_state);
    Py_CLEAR(self->default_headers);
    lent_buffer_drop(&self->lent);
    assembly_drop(&self->message);
    Py_CLEAR(self->peer_reason);
    Py_CLEAR(self->accept_key);
    Py_CLEAR(self->scope);
    Py_CLEAR(self->denial_headers);
    Py_CLEAR(self->receive_waiter);
    object_list_drop(&self->send_waiters);
    Py_CLEAR(self->end_reason);
    return 0;
}

static int
protocol_traverse(Protocol *self, visitproc visit, void *arg)
{
    Py_VISIT(self->transport);
    Py_VISIT(self->loop);
    Py_VISIT(self->per_loop);
    Py_VISIT(self->root_path);
    Py_VISIT(self->app_state);
    Py_VISIT(self->default_headers);
    Py_VISIT(self->lent.private_view);
    Py_VISIT(self->peer_reason);
    Py_VISIT(self->accept_key);
    Py_VISIT(self->scope);
    Py_VISIT(self->denial_headers);
    Py_VISIT(self->receive_waiter);
    Py_VISIT(self->end_reason);
    int stopped = object_list_traverse(&self->send_waiters, visit, arg);
    return stopped != 0 ? stopped : visit((PyObject *)Py_TYPE(self), arg);
}

static void
protocol_dealloc(Protocol *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    protocol_clear(self);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

/* ---- For the other units ---- */

PyObject *
protocol_ask_transport(const Protocol *self, PyObject *method, PyObject *argument)
{
    if (self->transport == NULL) {
        Py_RETURN_NONE;
    }
    PyObject *args[] = {Py_NewRef(self->transport), argument};
    const size_t count = argument == NULL ? 1 : 2;
    PyObject *result =
        PyObject_VectorcallMethod(method, args, count | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(args[0]);
    return result;
}

int
protocol_call_transport(Protocol *self, PyObject *method)
{
    PyObject *result = protocol_ask_transport(self, method, NULL);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
protocol_close_transport(Protocol *self)
{
    if (self->transport == NULL || self->closing) {
        return 0;
    }
    self->closing = true;
    return protocol_call_transport(self, self->state->names.close);
}

int
protocol_abort_transport(Protocol *self)
{
    return protocol_call_transport(self, self->state->names.abort);
}

int
protocol_pause_reading(Protocol *self)
{
    if (self->reading_paused) {
        return 0;
    }
    self->reading_paused = true;
    self->state->counters->read_pauses++;
    return poller_pause(self) ? 0
                              : protocol_call_transport(self, self->state->names.pause_reading);
}

int
protocol_add_reader(Protocol *self, Waiter *waiter)
{
    if (self->receive_waiter != NULL && waiter_is_pending(self->receive_waiter)) {
        PyErr_SetString(
            PyExc_RuntimeError,
            "receive() is awaited by another task already; a connection has one reader");
        return -1;
    }
    Py_XSETREF(self->receive_waiter, (Waiter *)Py_NewRef((PyObject *)waiter));
    return 0;
}

void
protocol_remove_reader(Protocol *self, const Waiter *waiter)
{
    if (self->receive_waiter == waiter) {
        Py_CLEAR(self->receive_waiter);
    }
}

int
protocol_wake_senders(Protocol *self)
{
    object_list waiters = object_list_move(&self->send_waiters);
    int result = 0;
    for (size_t i = 0; result == 0 && i < waiters.count; i++) {
        result = waiter_wake_soon((Waiter *)waiters.items[i]);
    }
    object_list_drop(&waiters);
    return result;
}

void
protocol_forget_sender(Protocol *self, const Waiter *waiter)
{
    object_list_discard(&self->send_waiters, (PyObject *)waiter);
}

/* Whether the task in receive() may run inside this callback. Not while another does, nor within a
 * task, nor in a call by the HTTP protocol that is handing the connection over. 1, 0, or -1. */
static int
may_resume_now(Protocol *self)
{
    if (!self->in_read_callback || !self->handed_over || self->per_loop->resuming) {
        return 0;
    }
    return loop_is_between_tasks(self->state, self->loop);
}

int
protocol_notify(Protocol *self)
{
    if (self->receive_waiter == NULL || !session_has_event(self)) {
        return 0;
    }
    int now = may_resume_now(self);
    if (now < 0) {
        return -1;
    }
    Waiter *waiter = self->receive_waiter;
    self->receive_waiter = NULL;
    int result;
    if (now) {
        LoopState *per_loop = self->per_loop;
        per_loop->resuming = true;
        result = waiter_wake_now(waiter);
        per_loop->resuming = false;
    }
    else {
        result = waiter_wake_soon(waiter);
    }
    Py_DECREF(waiter);
    return result;
}

/* ---- asyncio's callbacks ---- */

/* 0, or -1 when __init__ was not called. */
static int
check_initialised(const Protocol *self)
{
    if (self->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Protocol.__init__ was not called");
        return -1;
    }
    return 0;
}

static PyObject *
protocol_connection_made(Protocol *self, PyObject *transport)
{
    if (check_initialised(self) < 0) {
        return NULL;
    }
    Py_XSETREF(self->transport, Py_NewRef(transport));
    if (writer_attach(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
protocol_connection_lost(Protocol *self, PyObject *Py_UNUSED(error))
{
    PyObject *transport = self->transport;
    self->transport = NULL;
    self->lent.place = NULL;
    counters_leave(self);
    poller_leave(self);
    writer_detach(self);
    byte_buffer_drop(&self->kept);
    self->frames_held = false;
    self->held_at = 0;
    assembly_drop(&self->message);
    compression_drop(self);
    int result = self->loop == NULL ? 0 : closing_connection_lost(self);
    Py_XDECREF(transport);
    if (result < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* The end of input; None lets the transport close. */
static PyObject *
protocol_eof_received(Protocol *self, PyObject *Py_UNUSED(ignored))
{
    if (closing_peer_left(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
protocol_pause_writing(Protocol *self, PyObject *Py_UNUSED(ignored))
{
    self->state->counters->write_pauses++;
    self->output.paused = true;
    Py_RETURN_NONE;
}

static PyObject *
protocol_resume_writing(Protocol *self, PyObject *Py_UNUSED(ignored))
{
    self->output.paused = false;
    self->output.replies = 0;
    if (broadcast_drain(self) < 0) {
        return NULL;
    }
    if (self->output.paused) {
        Py_RETURN_NONE; /* by what was drained */
    }
    if (protocol_wake_senders(self) < 0) {
        return NULL;
    }
    if (self->queue.count == 0 && self->opened && protocol_resume_reading(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Acts on what the bytes brought: an end, a pong, a message for the task that waits. */
static int
act_on_input(Protocol *self)
{
    if (self->pong_arrived) {
        self->pong_arrived = false;
        if (self->phase == PHASE_OPEN && timers_pong_arrived(self) < 0) {
            return -1;
        }
    }
    if (closing_frames_ended(self) < 0 || protocol_notify(self) < 0) {
        return -1;
    }
    return 0;
}

/* Reads what was held, if there is room for it now. 0, or -1. */
static int
release_held_frames(Protocol *self)
{
    if (self->phase == PHASE_OPEN && self->queue.count > 0) {
        return 0;
    }
    if (incoming_feed_held(self) < 0 || act_on_input(self) < 0) {
        return -1;
    }
    return writer_flush_later(self);
}

int
protocol_resume_reading(Protocol *self)
{
    bool stuck = self->output.replies > REPLY_BYTES_MAX && self->phase == PHASE_OPEN;
    if (stuck || (self->frames_held && release_held_frames(self) < 0)) {
        return stuck ? 0 : -1;
    }
    if (self->frames_held) {
        return protocol_pause_reading(self);
    }
    if (!self->reading_paused) {
        return 0;
    }
    self->reading_paused = false;
    const int resumed = poller_resume(self);
    if (resumed != 0) {
        return resumed < 0 ? -1 : 0;
    }
    return protocol_call_transport(self, self->state->names.resume_reading);
}

/* Too much that the application does not take: stop reading until it has. */
static int
limit_queue(Protocol *self)
{
    if (self->phase != PHASE_OPEN || self->transport == NULL) {
        return 0;
    }
    /* A peer that does not take its pongs must not make us hold more of them. While it only does
     * not take messages, reading goes on: its close frame, or its end, is what frees a send() that
     * waits. */
    if (self->output.replies > REPLY_BYTES_MAX || self->frames_held ||
        self->queue.bytes > self->limits.queued_bytes ||
        self->queue.count > self->limits.queued_messages) {
        return protocol_pause_reading(self);
    }
    return 0;
}

static int
handle_input(Protocol *self, uint8_t *data, size_t n, bool headroom)
{
    if (check_initialised(self) < 0) {
        return -1;
    }
    LoopState *per_loop = (LoopState *)Py_NewRef((PyObject *)self->per_loop);
    bool parsing = per_loop->parsing;
    bool nested = self->in_read_callback;
    per_loop->parsing = true;
    int result = incoming_feed(self, data, n, headroom);
    per_loop->parsing = parsing;
    Py_DECREF(per_loop);
    if (result < 0) {
        return -1;
    }
    self->in_read_callback = true;
    result = act_on_input(self);
    self->in_read_callback = nested;
    if (result < 0) {
        return -1;
    }
    return writer_flush(self) < 0 ? -1 : limit_queue(self);
}

uint8_t *
protocol_receive_space(Protocol *self, size_t *size)
{
    uint8_t *place = incoming_message_space(self, size);
    if (place != NULL) {
        return place;
    }
    *size = RECEIVE_BUFFER_SIZE;
    return lent_buffer_lend(&self->lent, self->per_loop);
}

int
protocol_received(Protocol *self, uint8_t *place, size_t n)
{
    self->lent.place = NULL;
    const bool headroom = lent_buffer_has_headroom(&self->lent, self->per_loop, place);
    return handle_input(self, place, n, headroom);
}

static PyObject *
protocol_get_buffer(Protocol *self, PyObject *Py_UNUSED(size_hint))
{
    if (check_initialised(self) < 0) {
        return NULL;
    }
    self->handed_over = true;
    size_t size;
    uint8_t *place = incoming_message_space(self, &size);
    return place != NULL ? lent_buffer_lend_place(&self->lent, place, size)
                         : lent_buffer_lend_view(&self->lent, self->per_loop);
}

static PyObject *
protocol_buffer_updated(Protocol *self, PyObject *size)
{
    size_t n;
    uint8_t *data = lent_buffer_take_back(&self->lent, size, &n);
    if (data == NULL) {
        return NULL;
    }
    if (protocol_received(self, data, n) < 0 || poller_take(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* For whoever has bytes: uvicorn's HTTP protocols hand the request over this way. */
static PyObject *
protocol_data_received(Protocol *self, PyObject *data)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    self->lent.place = NULL; /* it may be in a message that these bytes complete */
    int result = handle_input(self, view.buf, (size_t)view.len, false);
    PyBuffer_Release(&view);
    if (result < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
protocol_shutdown(Protocol *self, PyObject *Py_UNUSED(ignored))
{
    if (closing_shutdown(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- For the Python class ---- */

static PyObject *
protocol_application_done(Protocol *self, PyObject *failed)
{
    int raised = PyObject_IsTrue(failed);
    if (raised < 0 || closing_application_done(self, raised) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
protocol_refuse(Protocol *self, PyObject *args)
{
    int status;
    const char *headers, *body, *reason;
    if (!PyArg_ParseTuple(args, "isss:_refuse", &status, &headers, &body, &reason)) {
        return NULL;
    }
    int counted_as = refusal_from_name(reason);
    if (counted_as < 0 ||
        closing_refuse(self, (refusal_reason)counted_as, status, headers, body) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
protocol_end(Protocol *self, PyObject *args)
{
    int code;
    const char *limit;
    PyObject *reason;
    if (!PyArg_ParseTuple(args, "iUs:_end", &code, &reason, &limit)) {
        return NULL;
    }
    if (code < 0 || !ws_close_code_valid((uint32_t)code)) {
        return PyErr_Format(PyExc_ValueError, "_end: %d is no close code to send", code);
    }
    int counted_as = limit_from_name(limit);
    if (counted_as < 0 ||
        closing_end_open(self, (limit_kind)counted_as, (uint16_t)code, reason) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* What a subclass need not have. */
static PyObject *
protocol_ignore(Protocol *Py_UNUSED(self), PyObject *Py_UNUSED(args))
{
    Py_RETURN_NONE;
}

static PyObject *
protocol_get_accepted(Protocol *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->opened);
}

static PyObject *
protocol_get_close_code(Protocol *self, void *Py_UNUSED(closure))
{
    return self->phase == PHASE_CLOSED ? PyLong_FromLong(self->end_code) : Py_NewRef(Py_None);
}

static PyObject *
protocol_get_close_timer(Protocol *self, void *Py_UNUSED(closure))
{
    bool awaits_reply = self->close_timer.queue != NULL && !self->closing;
    return awaits_reply ? PyFloat_FromDouble(self->close_timeout) : Py_NewRef(Py_None);
}

static PyObject *
protocol_get_answered(Protocol *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->phase != PHASE_REQUEST && self->phase != PHASE_CONNECTING);
}

static PyMethodDef protocol_methods[] = {
    {"connection_made", (PyCFunction)protocol_connection_made, METH_O, NULL},
    {"connection_lost", (PyCFunction)protocol_connection_lost, METH_O, NULL},
    {"eof_received", (PyCFunction)protocol_eof_received, METH_NOARGS, NULL},
    {"pause_writing", (PyCFunction)protocol_pause_writing, METH_NOARGS, NULL},
    {"resume_writing", (PyCFunction)protocol_resume_writing, METH_NOARGS, NULL},
    {"get_buffer", (PyCFunction)protocol_get_buffer, METH_O, NULL},
    {"buffer_updated", (PyCFunction)protocol_buffer_updated, METH_O, NULL},
    {"data_received", (PyCFunction)protocol_data_received, METH_O, NULL},
    {"shutdown", (PyCFunction)protocol_shutdown, METH_NOARGS,
     PyDoc_STR(
         "shutdown($self, /)\n--\n\nThe server goes down: close with the code in the limits, or "
         "answer 500.")},
    {"_application_done", (PyCFunction)protocol_application_done, METH_O,
     PyDoc_STR("_application_done($self, failed, /)\n--\n\nThe application returned, or raised.")},
    {"_refuse", (PyCFunction)protocol_refuse, METH_VARARGS,
     PyDoc_STR("_refuse($self, status, headers, body, reason, /)\n--\n\n"
               "Answer the handshake with a plain-text response of the server's own, and count\n"
               "it under a reason of counters().")},
    {"_end", (PyCFunction)protocol_end, METH_VARARGS,
     PyDoc_STR("_end($self, code, reason, limit, /)\n--\n\n"
               "Close an open connection for the server, and count it under a limit of\n"
               "counters().")},
    {"limit_exceeded", (PyCFunction)protocol_ignore, METH_VARARGS,
     PyDoc_STR("limit_exceeded($self, limit, text, /)\n--\n\n"
               "Called when the connection is going to be refused or closed for a limit.")},
    {"request_incomplete", (PyCFunction)protocol_ignore, METH_NOARGS,
     PyDoc_STR("request_incomplete($self, /)\n--\n\n"
               "Called once when a part of the request has arrived, and its rest has not.")},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef protocol_members[] = {
    {"transport", T_OBJECT, offsetof(Protocol, transport), READONLY, NULL},
    {"loop", T_OBJECT, offsetof(Protocol, loop), READONLY, NULL},
    {"close_timeout", T_DOUBLE, offsetof(Protocol, close_timeout), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef protocol_getset[] = {
    {"close_code", (getter)protocol_get_close_code, NULL,
     PyDoc_STR("The code that the application's websocket.disconnect has; None before the end."),
     NULL},
    {"close_timer", (getter)protocol_get_close_timer, NULL,
     PyDoc_STR("While the peer has time for its part of the closing handshake: how many seconds. "
               "Else None."),
     NULL},
    {"accepted", (getter)protocol_get_accepted, NULL,
     PyDoc_STR("True once the application has accepted the connection."), NULL},
    {"answered", (getter)protocol_get_answered, NULL,
     PyDoc_STR("True once the handshake is answered, in whatever way."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot protocol_slots[] = {
    {Py_tp_doc, (void *)"The asyncio protocol of one WebSocket connection."},
    {Py_tp_new, protocol_new},
    {Py_tp_init, protocol_init},
    {Py_tp_dealloc, protocol_dealloc},
    {Py_tp_traverse, protocol_traverse},
    {Py_tp_clear, protocol_clear},
    {Py_tp_methods, protocol_methods},
    {Py_tp_members, protocol_members},
    {Py_tp_getset, protocol_getset},
    {0, NULL},
};

PyType_Spec protocol_spec = {
    .name = "atalanta._core.Protocol",
    .basicsize = sizeof(Protocol),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = protocol_slots,
};
