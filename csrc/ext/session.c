/* Session: see session.h. The application's side is session_send and session_take_event; the rest
 * are the ways a connection ends. Each end marks the session first, then calls out, then wakes who
 * waits. */
#include "session.h"

#include <stdio.h>

#include "asgi.h"
#include "broadcast.h"
#include "callable.h"
#include "compression.h"
#include "denial.h"
#include "incoming.h"
#include "response.h"
#include "scope.h"
#include "timers.h"
#include "writer.h"

/* Marks the end and wakes send() calls that wait; receive() is woken by protocol_notify. 0, or -1.
 */
static int
session_end(Protocol *self, session_end_cause cause, uint16_t code, PyObject *reason)
{
    if (self->phase == PHASE_CLOSED) {
        return 0;
    }
    self->phase = PHASE_CLOSED;
    self->ended_by = cause;
    self->end_code = code;
    Py_XSETREF(self->end_reason, Py_XNewRef(reason));
    Py_CLEAR(self->scope);
    Py_CLEAR(self->denial_headers);
    broadcast_leave(self); /* nothing may follow our close frame */
    return protocol_wake_senders(self);
}

/* Gathers our close frame, unless one was sent. 0, or -1. */
static int
append_close(Protocol *self, uint16_t code, const char *reason, size_t size)
{
    uint8_t frame[WS_CONTROL_FRAME_MAX];
    size_t n = ws_conn_close(&self->conn, code, (const uint8_t *)reason, size, 0, frame);
    return n == 0 ? 0 : writer_append(self, frame, n);
}

/* Sends our close frame, behind everything that was sent before, ends the session, and waits for
 * the peer's. */
static int
close_open(Protocol *self, session_end_cause cause, uint16_t code, PyObject *reason)
{
    Py_ssize_t size = 0;
    const char *text = reason == NULL ? "" : PyUnicode_AsUTF8AndSize(reason, &size);
    if (text == NULL || broadcast_drain(self) < 0 ||
        append_close(self, code, text, (size_t)size) < 0 ||
        session_end(self, cause, code, reason) < 0 || writer_flush(self) < 0) {
        return -1;
    }
    if (self->transport == NULL) {
        return protocol_notify(self);
    }
    if (timers_start_close(self) < 0 || protocol_resume_reading(self) < 0) {
        return -1;
    }
    return protocol_notify(self);
}

/* Tells the Python class of a limit that the connection is going to be refused or closed for. 0,
 * or -1. */
static int
tell_limit(Protocol *self, const char *limit, const char *text)
{
    PyObject *result = PyObject_CallMethod((PyObject *)self, "limit_exceeded", "ss", limit, text);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Counts a limit that ends the connection, and tells the Python class. 0, or -1. */
static int
count_limit(Protocol *self, limit_kind why, const char *text)
{
    self->state->counters->limited[why]++;
    return tell_limit(self, limit_name(why), text);
}

/* ---- The handshake ---- */

/* 0, or -1. */
static int
count_refused_request(Protocol *self, int error)
{
    counters *all = self->state->counters;
    if (error == WS_HANDSHAKE_TOO_MANY_HEADERS) {
        all->refused[REFUSED_REQUEST_SIZE]++;
        char text[96];
        snprintf(text, sizeof(text),
                 "request head exceeds max_request_size (%zu bytes) or %d headers",
                 self->limits.request_size, REQUEST_HEADERS_MAX);
        return tell_limit(self, "max_request_size", text);
    }
    all->refused[error == WS_HANDSHAKE_VERSION ? REFUSED_VERSION : REFUSED_MALFORMED]++;
    return 0;
}

int
session_refuse_request(Protocol *self, int error)
{
    if (count_refused_request(self, error) < 0) {
        return -1;
    }
    uint8_t response[WS_RESPONSE_REFUSAL_MAX];
    size_t size = ws_response_refusal(error, response);
    if (writer_append(self, response, size) < 0 ||
        session_end(self, ENDED_BY_PEER, WS_CLOSE_ABNORMAL, NULL) < 0 || writer_flush(self) < 0) {
        return -1;
    }
    return protocol_close_transport(self);
}

int
session_refuse(Protocol *self, refusal_reason why, int status, const char *headers,
               const char *body)
{
    if (self->phase == PHASE_CLOSED || self->opened) {
        return 0;
    }
    self->state->counters->refused[why]++;
    if (response_plain(self, status, headers, body) < 0 ||
        session_end(self, ENDED_BY_PEER, WS_CLOSE_ABNORMAL, NULL) < 0 || writer_flush(self) < 0 ||
        protocol_close_transport(self) < 0) {
        return -1;
    }
    return protocol_notify(self);
}

/* There are as many connections as may be: 503 before anything is made for one more. */
static int
refuse_for_number(Protocol *self)
{
    char text[96], header[48];
    snprintf(text, sizeof(text), "more connections than max_connections (%zu)",
             self->limits.connections);
    snprintf(header, sizeof(header), "retry-after: %u\r\n", self->limits.retry_after);
    if (tell_limit(self, "max_connections", text) < 0) {
        return -1;
    }
    return session_refuse(self, REFUSED_CONNECTIONS, 503, header, "Service Unavailable");
}

int
session_begin(Protocol *self, const ws_request *request)
{
    ws_slice key;
    int error = ws_request_validate(request, &key);
    if (error < 0) {
        return session_refuse_request(self, error);
    }
    size_t limit = self->limits.connections;
    if (limit != 0 && self->state->counters->connection_count >= limit) {
        return refuse_for_number(self);
    }
    counters_join(self);
    self->accept_key = PyBytes_FromStringAndSize(NULL, WS_ACCEPT_SIZE);
    if (self->accept_key == NULL) {
        return -1;
    }
    ws_accept_key(key.data, key.size, (uint8_t *)PyBytes_AS_STRING(self->accept_key));
    if (compression_negotiate(self, request) < 0) {
        return -1;
    }
    PyObject *scope = scope_build(self, request);
    PyObject *receive = callable_new(self, false);
    PyObject *send = callable_new(self, true);
    PyObject *result = NULL;
    if (scope != NULL && receive != NULL && send != NULL) {
        self->phase = PHASE_CONNECTING;
        self->scope = Py_NewRef(scope);
        PyObject *args[] = {(PyObject *)self, scope, receive, send};
        result = PyObject_VectorcallMethod(self->state->names.start_application, args,
                                           4 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    Py_XDECREF(scope);
    Py_XDECREF(receive);
    Py_XDECREF(send);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int
send_accept(Protocol *self, PyObject *event)
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
    /* Looking for the headers may run Python, where an event has strange keys. */
    Py_XINCREF(subprotocol);
    PyObject *headers = asgi_event_get(event, self->state->names.headers, &failed);
    int result = failed ? -1 : response_switching(self, subprotocol, headers);
    Py_XDECREF(subprotocol);
    if (result < 0) {
        return -1;
    }
    self->phase = PHASE_OPEN;
    self->opened = true;
    self->state->counters->connections_opened++;
    Py_CLEAR(self->accept_key);
    compression_begin(self);
    if (session_handshake_answered(self, 0) < 0 || timers_start_keepalive(self) < 0) {
        return -1;
    }
    if (self->kept.size > 0 && (incoming_feed_kept(self) < 0 || session_frames_ended(self) < 0 ||
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
 * 403. */
static int
reject(Protocol *self)
{
    if (session_handshake_answered(self, 403) < 0 || response_plain(self, 403, "", "") < 0) {
        return -1;
    }
    return session_response_complete(self);
}

int
session_response_complete(Protocol *self)
{
    if (session_end(self, ENDED_BY_APPLICATION, WS_CLOSE_ABNORMAL, NULL) < 0 ||
        writer_flush(self) < 0 || protocol_close_transport(self) < 0) {
        return -1;
    }
    return protocol_notify(self);
}

/* ---- An open connection ---- */

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
    int result = compression_append_frame(self, WS_OPCODE_BINARY, view.buf, (size_t)view.len);
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
    /* A large message is written at once, and what the transport runs may change the event. */
    Py_INCREF(payload);
    int result = binary ? send_buffer(self, payload) : send_text(self, payload);
    Py_DECREF(payload);
    if (result < 0) {
        return -1;
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
    int result = close_open(self, ENDED_BY_APPLICATION, code, reason);
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

int
session_send(Protocol *self, PyObject *event)
{
    PyObject *type = asgi_event_type(self->state, event);
    if (type == NULL) {
        return -1;
    }
    /* The event may change under a call into Python. */
    Py_INCREF(type);
    int result = -1;
    switch (self->phase) {
    case PHASE_OPEN:
        result = send_when_open(self, type, event);
        break;
    case PHASE_CONNECTING:
        result = send_when_connecting(self, type, event);
        break;
    case PHASE_DENYING:
        result = send_when_denying(self, type, event);
        break;
    case PHASE_REQUEST: /* there is no application yet */
    case PHASE_CLOSED:
        result = send_when_closed(self, type);
        break;
    }
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

bool
session_must_wait(const Protocol *self, PyObject *event)
{
    if (!self->output.paused || (self->phase != PHASE_OPEN && self->phase != PHASE_DENYING)) {
        return false;
    }
    PyObject *type = plain_type(self->state, event);
    return type == NULL || !is_type(type, self->state->names.close_type);
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
    bool waits = session_must_wait(self, event) || self->send_waiters != NULL;
    if (self->phase != PHASE_OPEN || waits) {
        return 0;
    }
    size_t size = plain_message_size(self->state, event);
    if (size == 0 || !writer_gathers(self, size)) {
        return 0;
    }
    return send_message(self, event) < 0 ? -1 : 1;
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

/* ---- How connections end ---- */

/* After a failure the peer may still be sending: closing now would reset the connection and could
 * take our close frame with it. So only our side is shut, and the rest is read and dropped until
 * the peer has closed. */
static int
linger(Protocol *self)
{
    if (self->transport == NULL) {
        return 0;
    }
    if (timers_start_close(self) < 0) {
        return -1;
    }
    PyObject *able = PyObject_CallMethodNoArgs(self->transport, self->state->names.can_write_eof);
    if (able == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        return protocol_close_transport(self);
    }
    bool half = able == Py_True;
    Py_DECREF(able);
    if (!half || self->transport == NULL) {
        return protocol_close_transport(self);
    }
    PyObject *result = PyObject_CallMethodNoArgs(self->transport, self->state->names.write_eof);
    if (result == NULL) {
        return -1;
    }
    Py_DECREF(result);
    return protocol_resume_reading(self);
}

/* Closes the transport; what the peer has not taken by the close timeout is dropped, or a peer
 * that reads nothing would be kept for ever. */
static int
close_within_time(Protocol *self)
{
    if (writer_flush_last(self) < 0) {
        return -1;
    }
    if (self->transport != NULL && timers_start_close(self) < 0) {
        return -1;
    }
    if (protocol_close_transport(self) < 0) {
        return -1;
    }
    return protocol_notify(self);
}

/* Ends the session for a fault of the peer; the close frame that is gathered says which. 0, or -1.
 */
static int
end_with_close(Protocol *self, uint16_t code, const char *text)
{
    PyObject *reason = PyUnicode_FromString(text);
    if (reason == NULL) {
        return -1;
    }
    int result = append_close(self, code, text, strlen(text));
    if (result == 0) {
        result = session_end(self, ENDED_BY_PEER, code, reason);
    }
    Py_DECREF(reason);
    return result;
}

/* Ends the session for a failure that incoming.c found; a limit is named in the close reason. 0,
 * or -1. */
static int
end_for_failure(Protocol *self, int error)
{
    char text[WS_CLOSE_REASON_MAX + 1];
    size_t max_message = self->conn.config.max_message;
    if (error == FAILURE_FRAGMENTS) {
        snprintf(text, sizeof(text), "message exceeds max_fragments (%zu)",
                 self->limits.fragments);
        if (count_limit(self, LIMIT_FRAGMENTS, text) < 0) {
            return -1;
        }
        return end_with_close(self, WS_CLOSE_TOO_BIG, text);
    }
    if (error == WS_ERROR_TOO_BIG && max_message != SIZE_MAX) {
        snprintf(text, sizeof(text), "message exceeds max_message_size (%zu bytes)", max_message);
        if (count_limit(self, LIMIT_MESSAGE_SIZE, text) < 0) {
            return -1;
        }
        return end_with_close(self, WS_CLOSE_TOO_BIG, text);
    }
    return end_with_close(self, ws_error_close_code(error), ws_error_text(error));
}

/* The session has ended by our close frame, which must not be lost to a reset. 0, or -1. */
static int
leave_to_peer(Protocol *self)
{
    if (writer_flush(self) < 0 || linger(self) < 0) {
        return -1;
    }
    return protocol_notify(self);
}

int
session_frames_ended(Protocol *self)
{
    if (self->failure != 0) {
        int error = self->failure;
        self->failure = 0;
        return end_for_failure(self, error) < 0 ? -1 : leave_to_peer(self);
    }
    if (!self->close_arrived) {
        return 0;
    }
    self->close_arrived = false;
    PyObject *reason = self->peer_reason;
    self->peer_reason = NULL;
    int result = session_end(self, ENDED_BY_PEER, self->peer_code, reason);
    Py_XDECREF(reason);
    return result < 0 ? -1 : close_within_time(self);
}

int
session_keepalive_failed(Protocol *self)
{
    self->state->counters->pings_lost++;
    PyObject *result =
        PyObject_CallMethodNoArgs((PyObject *)self, self->state->names.keepalive_expired);
    if (result == NULL) {
        return -1;
    }
    Py_DECREF(result);
    if (end_with_close(self, WS_CLOSE_INTERNAL_ERROR, "keepalive ping timeout") < 0) {
        return -1;
    }
    return leave_to_peer(self);
}

int
session_too_slow(Protocol *self)
{
    const char *text = "broadcast_limit exceeded";
    if (count_limit(self, LIMIT_BROADCAST, text) < 0 ||
        end_with_close(self, WS_CLOSE_TRY_AGAIN_LATER, text) < 0) {
        return -1;
    }
    return leave_to_peer(self);
}

int
session_end_open(Protocol *self, limit_kind why, uint16_t code, PyObject *reason)
{
    if (self->phase != PHASE_OPEN) {
        return 0;
    }
    const char *text = PyUnicode_AsUTF8(reason);
    if (text == NULL || count_limit(self, why, text) < 0) {
        return -1;
    }
    return close_open(self, ENDED_BY_PEER, code, reason);
}

int
session_peer_left(Protocol *self)
{
    if (self->phase == PHASE_REQUEST || self->phase == PHASE_CLOSED) {
        return 0;
    }
    if (session_end(self, ENDED_BY_PEER, WS_CLOSE_ABNORMAL, NULL) < 0) {
        return -1;
    }
    return close_within_time(self);
}

int
session_connection_lost(Protocol *self)
{
    timers_stop(self);
    if (session_end(self, ENDED_BY_PEER, WS_CLOSE_ABNORMAL, NULL) < 0) {
        return -1;
    }
    return protocol_notify(self);
}

int
session_shutdown(Protocol *self)
{
    switch (self->phase) {
    case PHASE_OPEN:
        return close_open(self, ENDED_BY_PEER, self->limits.shutdown_code, NULL);
    case PHASE_CONNECTING:
        return session_refuse(self, REFUSED_SHUTDOWN, 500, "", "Internal Server Error");
    case PHASE_DENYING:
    case PHASE_REQUEST:
    case PHASE_CLOSED:
        break;
    }
    /* A peer that takes nothing must not hold up the server's end. */
    if (self->transport != NULL && timers_start_close(self) < 0) {
        return -1;
    }
    return protocol_close_transport(self);
}

int
session_application_done(Protocol *self, bool failed)
{
    self->application_done = true;
    message_queue_clear(&self->queue);
    switch (self->phase) {
    case PHASE_OPEN:
        return close_open(self, ENDED_BY_APPLICATION,
                          failed ? WS_CLOSE_INTERNAL_ERROR : WS_CLOSE_NORMAL, NULL);
    case PHASE_DENYING:
        if (self->denial_begun) {
            return session_response_complete(self);
        }
        return session_refuse(self, REFUSED_APPLICATION_ERROR, 500, "", "Internal Server Error");
    case PHASE_CONNECTING:
        return session_refuse(self, REFUSED_APPLICATION_ERROR, 500, "", "Internal Server Error");
    case PHASE_REQUEST:
    case PHASE_CLOSED:
        break;
    }
    return 0;
}
