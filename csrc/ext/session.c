/* Session: see session.h. */
#include "session.h"

#include "asgi.h"
#include "callable.h"
#include "closing.h"
#include "compression.h"
#include "denial.h"
#include "incoming.h"
#include "response.h"
#include "scope.h"
#include "timers.h"
#include "writer.h"

/* ---- The handshake ---- */

/* What an acceptance will say. 0, or -1. */
static int
prepare_answer(Protocol *self, const ws_request *request, const ws_slice *key)
{
    counters_join(self);
    self->accept_key = PyBytes_FromStringAndSize(NULL, WS_ACCEPT_SIZE);
    if (self->accept_key == NULL) {
        return -1;
    }
    ws_accept_key(key->data, key->size, (uint8_t *)PyBytes_AS_STRING(self->accept_key));
    return compression_negotiate(self, request);
}

static int
start_application(Protocol *self, PyObject *scope)
{
    PyObject *receive = callable_new(self, false);
    PyObject *send = callable_new(self, true);
    PyObject *result = NULL;
    if (receive != NULL && send != NULL) {
        self->phase = PHASE_CONNECTING;
        self->scope = Py_NewRef(scope);
        PyObject *args[] = {(PyObject *)self, scope, receive, send};
        result = PyObject_VectorcallMethod(self->state->names.start_application, args,
                                           4 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    Py_XDECREF(receive);
    Py_XDECREF(send);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
session_begin(Protocol *self, const ws_request *request)
{
    ws_slice key;
    int error = ws_request_validate(request, &key);
    if (error < 0) {
        return closing_refuse_request(self, error);
    }
    size_t limit = self->limits.connections;
    if (limit != 0 && self->state->counters->connection_count >= limit) {
        return closing_refuse_for_number(self);
    }
    PyObject *scope = scope_build(self, request);
    if (scope == NULL) {
        return -1;
    }
    int result = 0;
    if (self->phase == PHASE_REQUEST) { /* the transport was asked for its addresses */
        result = prepare_answer(self, request, &key) < 0 ? -1 : start_application(self, scope);
    }
    Py_DECREF(scope);
    return result;
}

/* Gathers the 101 and opens the session. 0, -1, or SESSION_OVERTAKEN. */
static int
open_session(Protocol *self, PyObject *event)
{
    bool failed;
    PyObject *subprotocol = asgi_event_get(event, self->state->names.subprotocol, &failed);
    if (failed) {
        return -1;
    }
    if (subprotocol != NULL && !PyUnicode_Check(subprotocol)) {
        PyErr_Format(PyExc_TypeError,
                     "websocket.accept: 'subprotocol' must be str or None, got %.100s",
                     Py_TYPE(subprotocol)->tp_name);
        return -1;
    }
    if (subprotocol != NULL && PyUnicode_GET_LENGTH(subprotocol) == 0) {
        subprotocol = NULL;
    }
    /* Looking for the headers may run Python, where an event has strange keys; so may reading
     * them. */
    Py_XINCREF(subprotocol);
    PyObject *headers = asgi_event_get(event, self->state->names.headers, &failed);
    Py_XINCREF(headers);
    int result = failed ? -1 : SESSION_OVERTAKEN;
    if (!failed && self->phase == PHASE_CONNECTING) {
        result = response_switching(self, subprotocol, headers);
    }
    if (result == 0) {
        self->phase = PHASE_OPEN;
        self->opened = true;
        self->state->counters->connections_opened++;
        Py_CLEAR(self->accept_key);
        compression_begin(self);
    }
    Py_XDECREF(headers);
    Py_XDECREF(subprotocol);
    return result;
}

/* 0, -1, or SESSION_OVERTAKEN. */
static int
send_accept(Protocol *self, PyObject *event)
{
    int result = open_session(self, event);
    if (result != 0) {
        return result;
    }
    if (session_handshake_answered(self, 0) < 0 ||
        (self->phase == PHASE_OPEN && timers_start_keepalive(self) < 0)) {
        return -1;
    }
    if (self->kept.size > 0 && (incoming_feed_kept(self) < 0 || closing_frames_ended(self) < 0 ||
                                protocol_resume_reading(self) < 0 || protocol_notify(self) < 0)) {
        return -1;
    }
    return writer_flush_later(self);
}

int
session_handshake_answered(Protocol *self, long status)
{
    PyObject *scope = self->scope;
    self->scope = NULL;
    self->state->counters->refused[REFUSED_APPLICATION] += status == 0 ? 0 : 1;
    if (scope == NULL) {
        return 0;
    }
    PyObject *number = status == 0 ? Py_NewRef(Py_None) : PyLong_FromLong(status);
    PyObject *result = NULL;
    if (number != NULL) {
        PyObject *args[] = {(PyObject *)self, scope, number};
        result = PyObject_VectorcallMethod(self->state->names.handshake_answered, args,
                                           3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    Py_DECREF(scope);
    Py_XDECREF(number);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* websocket.close before the handshake is answered (ASGI specification, "Close - send event"):
 * 403. 0, -1, or SESSION_OVERTAKEN. */
static int
reject(Protocol *self)
{
    if (session_handshake_answered(self, 403) < 0) {
        return -1;
    }
    int result =
        self->phase == PHASE_CONNECTING ? response_plain(self, 403, "", "") : SESSION_OVERTAKEN;
    return result != 0 ? result : closing_response_complete(self);
}

/* ---- An open connection ---- */

/* 0, -1, or SESSION_OVERTAKEN. */
static int
send_buffer(Protocol *self, PyObject *bytes)
{
    Py_buffer view;
    if (PyObject_GetBuffer(bytes, &view, PyBUF_SIMPLE) < 0) {
        PyErr_Clear();
        PyErr_Format(PyExc_TypeError,
                     "websocket.send: 'bytes' must be bytes, bytearray or memoryview, got %.100s",
                     Py_TYPE(bytes)->tp_name);
        return -1;
    }
    int result = SESSION_OVERTAKEN;
    if (self->phase == PHASE_OPEN) {
        result = compression_append_frame(self, WS_OPCODE_BINARY, view.buf, (size_t)view.len);
    }
    PyBuffer_Release(&view);
    return result;
}

static int
send_text(Protocol *self, PyObject *text)
{
    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "websocket.send: 'text' must be str, got %.100s",
                     Py_TYPE(text)->tp_name);
        return -1;
    }
    Py_ssize_t size;
    const char *utf8 = PyUnicode_AsUTF8AndSize(text, &size);
    if (utf8 == NULL) {
        return -1;
    }
    return compression_append_frame(self, WS_OPCODE_TEXT, (const uint8_t *)utf8, (size_t)size);
}

/* 0, -1, or SESSION_OVERTAKEN. */
static int
send_message(Protocol *self, PyObject *event)
{
    bool failed;
    PyObject *payload = asgi_event_get(event, self->state->names.bytes, &failed);
    if (failed) {
        return -1;
    }
    const bool binary = payload != NULL;
    if (!binary) {
        payload = asgi_event_get(event, self->state->names.text, &failed);
        if (failed) {
            return -1;
        }
        if (payload == NULL) {
            PyErr_SetString(PyExc_ValueError, "websocket.send needs 'bytes' or 'text'");
            return -1;
        }
    }
    if (self->phase != PHASE_OPEN) {
        return SESSION_OVERTAKEN;
    }
    /* A large message is written at once, and what the transport runs may change the event. */
    Py_INCREF(payload);
    int result = binary ? send_buffer(self, payload) : send_text(self, payload);
    Py_DECREF(payload);
    if (result != 0) {
        return result;
    }
    self->state->counters->messages_sent++;
    return writer_flush_later(self);
}

/* The close code of a websocket.close event, 1000 when it has none; 0 with an exception set. */
static uint16_t
event_close_code(Protocol *self, PyObject *event)
{
    bool failed;
    PyObject *code = asgi_event_get(event, self->state->names.code, &failed);
    if (failed) {
        return 0;
    }
    if (code == NULL) {
        return WS_CLOSE_NORMAL;
    }
    if (!PyLong_Check(code)) {
        PyErr_Format(PyExc_TypeError, "websocket.close: 'code' must be int or None, got %.100s",
                     Py_TYPE(code)->tp_name);
        return 0;
    }
    int overflow;
    long number = PyLong_AsLongAndOverflow(code, &overflow);
    if (number < 0 || overflow != 0 || number > UINT16_MAX ||
        !ws_close_code_valid((uint32_t)number)) {
        PyErr_Format(PyExc_ValueError,
                     "websocket.close: code %R must not be sent; use 1000-1003, 1007-1014 or "
                     "3000-4999",
                     code);
        return 0;
    }
    return (uint16_t)number;
}

static int
send_close(Protocol *self, PyObject *event)
{
    uint16_t code = event_close_code(self, event);
    if (code == 0) {
        return -1;
    }
    bool failed;
    PyObject *reason = asgi_event_get(event, self->state->names.reason, &failed);
    if (failed) {
        return -1;
    }
    if (reason != NULL && !PyUnicode_Check(reason)) {
        PyErr_Format(PyExc_TypeError, "websocket.close: 'reason' must be str or None, got %.100s",
                     Py_TYPE(reason)->tp_name);
        return -1;
    }
    reason = Py_NewRef(reason == NULL ? self->state->names.empty : reason);
    int result = closing_start(self, ENDED_BY_APPLICATION, code, reason);
    Py_DECREF(reason);
    return result;
}

/* ---- What the application sends, by state ---- */

static bool
is_type(PyObject *type, PyObject *name)
{
    return type == name || PyUnicode_Compare(type, name) == 0;
}

static int
send_when_connecting(Protocol *self, PyObject *type, PyObject *event)
{
    module_state *state = self->state;
    if (is_type(type, state->names.accept_type)) {
        return send_accept(self, event);
    }
    if (is_type(type, state->names.close_type)) {
        return reject(self);
    }
    if (is_type(type, state->names.start_type)) {
        return denial_start(self, event);
    }
    PyErr_Format(PyExc_RuntimeError,
                 "Expected ASGI message 'websocket.accept', 'websocket.close' or "
                 "'websocket.http.response.start' but got '%U'.",
                 type);
    return -1;
}

static int
send_when_denying(Protocol *self, PyObject *type, PyObject *event)
{
    if (is_type(type, self->state->names.body_type)) {
        return denial_body(self, event);
    }
    PyErr_Format(PyExc_RuntimeError,
                 "Expected ASGI message 'websocket.http.response.body' but got '%U'.", type);
    return -1;
}

static int
send_when_open(Protocol *self, PyObject *type, PyObject *event)
{
    if (is_type(type, self->state->names.send_type)) {
        return send_message(self, event);
    }
    if (is_type(type, self->state->names.close_type)) {
        return send_close(self, event);
    }
    PyErr_Format(PyExc_RuntimeError,
                 "Expected ASGI message 'websocket.send' or 'websocket.close', but got '%U'.",
                 type);
    return -1;
}

/* Raises ClientDisconnected; its `connection` tells this end from that of another connection. -1.
 */
static int
raise_disconnected(Protocol *self, PyObject *type)
{
    PyObject *text = PyUnicode_FromFormat("cannot send '%U': the connection is closed (code %d)",
                                          type, (int)self->end_code);
    PyObject *error =
        text == NULL ? NULL : PyObject_CallOneArg(self->state->client_disconnected, text);
    Py_XDECREF(text);
    if (error == NULL ||
        PyObject_SetAttr(error, self->state->names.connection, (PyObject *)self) < 0) {
        Py_XDECREF(error);
        return -1;
    }
    PyErr_SetObject(self->state->client_disconnected, error);
    Py_DECREF(error);
    return -1;
}

static int
send_when_closed(Protocol *self, PyObject *type)
{
    if (self->ended_by == ENDED_BY_PEER) {
        if (is_type(type, self->state->names.close_type)) {
            return 0;
        }
        return raise_disconnected(self, type);
    }
    PyErr_Format(PyExc_RuntimeError, "Unexpected ASGI message '%U', after sending '%s'.", type,
                 self->denial_begun ? "websocket.http.response.body" : "websocket.close");
    return -1;
}

/* 0, -1, or SESSION_OVERTAKEN. */
static int
send_by_phase(Protocol *self, PyObject *type, PyObject *event)
{
    switch (self->phase) {
    case PHASE_OPEN:
        return send_when_open(self, type, event);
    case PHASE_CONNECTING:
        return send_when_connecting(self, type, event);
    case PHASE_DENYING:
        return send_when_denying(self, type, event);
    case PHASE_REQUEST: /* there is no application yet */
    case PHASE_CLOSED:
        break;
    }
    return send_when_closed(self, type);
}

int
session_send(Protocol *self, PyObject *event)
{
    PyObject *type = asgi_event_type(self->state, event);
    if (type == NULL) {
        return -1;
    }
    /* The event may change under a call into Python. */
    Py_INCREF(type);
    int result;
    do {
        result = send_by_phase(self, type, event); /* phases only go on */
    } while (result == SESSION_OVERTAKEN);
    Py_DECREF(type);
    return result;
}

/* The type of an event that is an ordinary one; NULL, without an exception, for others. Borrowed.
 */
static PyObject *
plain_type(const module_state *state, PyObject *event)
{
    PyObject *type = PyDict_CheckExact(event) ? PyDict_GetItem(event, state->names.type) : NULL;
    return type != NULL && PyUnicode_Check(type) ? type : NULL;
}

static bool
lacks_room(const Protocol *self)
{
    return self->output.paused && (self->phase == PHASE_OPEN || self->phase == PHASE_DENYING);
}

bool
session_must_wait(const Protocol *self, PyObject *event)
{
    if (!lacks_room(self)) {
        return false;
    }
    PyObject *type = plain_type(self->state, event);
    /* Looking for the type may run Python: nobody wakes what waits after the end. */
    return (type == NULL || !is_type(type, self->state->names.close_type)) && lacks_room(self);
}

/* The bytes that a message takes at most, if it is a plain one; 0 otherwise. */
static size_t
plain_message_size(const module_state *state, PyObject *event)
{
    PyObject *type = plain_type(state, event);
    if (type == NULL || !is_type(type, state->names.send_type)) {
        return 0;
    }
    PyObject *bytes = PyDict_GetItem(event, state->names.bytes);
    if (bytes != NULL && bytes != Py_None) {
        return PyBytes_CheckExact(bytes) ? (size_t)PyBytes_GET_SIZE(bytes) : 0;
    }
    PyObject *text = PyDict_GetItem(event, state->names.text);
    return text != NULL && PyUnicode_CheckExact(text) ? 4 * (size_t)PyUnicode_GET_LENGTH(text) : 0;
}

int
session_send_nowait(Protocol *self, PyObject *event)
{
    bool waits = session_must_wait(self, event) || self->send_waiters.count > 0;
    if (self->phase != PHASE_OPEN || waits) {
        return 0;
    }
    size_t size = plain_message_size(self->state, event);
    if (size == 0 || !writer_gathers(self, size)) {
        return 0;
    }
    int result = send_message(self, event);
    return result == SESSION_OVERTAKEN ? 0 : result < 0 ? -1 : 1;
}

/* ---- What the application receives ---- */

bool
session_has_event(const Protocol *self)
{
    return !self->connect_delivered || self->queue.count > 0 || self->phase == PHASE_CLOSED;
}

PyObject *
session_take_event(Protocol *self)
{
    if (!self->connect_delivered) {
        self->connect_delivered = true;
        return asgi_connect_event(self->state);
    }
    /* The end counts as well: an application that goes on receiving after it must not hold up the
     * loop. */
    self->taken++;
    PyObject *message = message_queue_pop(&self->queue);
    if (message == NULL) {
        return asgi_disconnect_event(self->state, self->end_code, self->end_reason);
    }
    if (self->queue.count == 0 && protocol_resume_reading(self) < 0) {
        Py_DECREF(message);
        return NULL;
    }
    return asgi_receive_event_steal(self->state, message);
}
