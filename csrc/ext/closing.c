/* Closing: see closing.h. Each end marks the session first, then calls out, then wakes who waits.
 */
#include "closing.h"

#include <stdio.h>

#include "../core/handshake.h"
#include "broadcast.h"
#include "incoming.h"
#include "response.h"
#include "timers.h"
#include "writer.h"

/* Marks the end and wakes send() calls that wait; receive() is woken by protocol_notify. 0, or -1.
 */
static int
end_session(Protocol *self, session_end_cause cause, uint16_t code, PyObject *reason)
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

/* ---- How handshakes are refused ---- */

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
closing_refuse_request(Protocol *self, int error)
{
    if (count_refused_request(self, error) < 0) {
        return -1;
    }
    uint8_t response[WS_RESPONSE_REFUSAL_MAX];
    size_t size = ws_response_refusal(error, response);
    if (writer_append(self, response, size) < 0 ||
        end_session(self, ENDED_BY_PEER, WS_CLOSE_ABNORMAL, NULL) < 0 || writer_flush(self) < 0) {
        return -1;
    }
    return protocol_close_transport(self);
}

int
closing_refuse(Protocol *self, refusal_reason why, int status, const char *headers,
               const char *body)
{
    if (self->phase == PHASE_CLOSED || self->opened) {
        return 0;
    }
    self->state->counters->refused[why]++;
    if (response_plain(self, status, headers, body) < 0 ||
        end_session(self, ENDED_BY_PEER, WS_CLOSE_ABNORMAL, NULL) < 0 || writer_flush(self) < 0 ||
        protocol_close_transport(self) < 0) {
        return -1;
    }
    return protocol_notify(self);
}

int
closing_refuse_for_number(Protocol *self)
{
    char text[96], header[48];
    snprintf(text, sizeof(text), "more connections than max_connections (%zu)",
             self->limits.connections);
    snprintf(header, sizeof(header), "retry-after: %u\r\n", self->limits.retry_after);
    if (tell_limit(self, "max_connections", text) < 0) {
        return -1;
    }
    return closing_refuse(self, REFUSED_CONNECTIONS, 503, header, "Service Unavailable");
}

int
closing_response_complete(Protocol *self)
{
    if (end_session(self, ENDED_BY_APPLICATION, WS_CLOSE_ABNORMAL, NULL) < 0 ||
        writer_flush(self) < 0 || protocol_close_transport(self) < 0) {
        return -1;
    }
    return protocol_notify(self);
}

/* ---- How open connections are closed ---- */

int
closing_start(Protocol *self, session_end_cause cause, uint16_t code, PyObject *reason)
{
    Py_ssize_t size = 0;
    const char *text = reason == NULL ? "" : PyUnicode_AsUTF8AndSize(reason, &size);
    if (text == NULL || broadcast_drain(self) < 0 ||
        append_close(self, code, text, (size_t)size) < 0 ||
        end_session(self, cause, code, reason) < 0 || writer_flush(self) < 0) {
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
    PyObject *able = protocol_ask_transport(self, self->state->names.can_write_eof, NULL);
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
    if (protocol_call_transport(self, self->state->names.write_eof) < 0) {
        return -1;
    }
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
        result = end_session(self, ENDED_BY_PEER, code, reason);
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
closing_frames_ended(Protocol *self)
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
    int result = end_session(self, ENDED_BY_PEER, self->peer_code, reason);
    Py_XDECREF(reason);
    return result < 0 ? -1 : close_within_time(self);
}

int
closing_keepalive_failed(Protocol *self)
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
closing_too_slow(Protocol *self)
{
    const char *text = "broadcast_limit exceeded";
    if (count_limit(self, LIMIT_BROADCAST, text) < 0 ||
        end_with_close(self, WS_CLOSE_TRY_AGAIN_LATER, text) < 0) {
        return -1;
    }
    return leave_to_peer(self);
}

int
closing_end_open(Protocol *self, limit_kind why, uint16_t code, PyObject *reason)
{
    if (self->phase != PHASE_OPEN) {
        return 0;
    }
    const char *text = PyUnicode_AsUTF8(reason);
    if (text == NULL || count_limit(self, why, text) < 0) {
        return -1;
    }
    return closing_start(self, ENDED_BY_PEER, code, reason);
}

/* ---- Ends that the peer, the server and the application bring about ---- */

int
closing_peer_left(Protocol *self)
{
    if (self->phase == PHASE_REQUEST || self->phase == PHASE_CLOSED) {
        return 0;
    }
    if (end_session(self, ENDED_BY_PEER, WS_CLOSE_ABNORMAL, NULL) < 0) {
        return -1;
    }
    return close_within_time(self);
}

int
closing_connection_lost(Protocol *self)
{
    timers_stop(self);
    if (end_session(self, ENDED_BY_PEER, WS_CLOSE_ABNORMAL, NULL) < 0) {
        return -1;
    }
    return protocol_notify(self);
}

int
closing_shutdown(Protocol *self)
{
    switch (self->phase) {
    case PHASE_OPEN:
        return closing_start(self, ENDED_BY_PEER, self->limits.shutdown_code, NULL);
    case PHASE_DENYING:
        if (self->denial_begun) {
            break;
        }
        return closing_refuse(self, REFUSED_SHUTDOWN, 500, "", "Internal Server Error");
    case PHASE_CONNECTING:
        return closing_refuse(self, REFUSED_SHUTDOWN, 500, "", "Internal Server Error");
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
closing_application_done(Protocol *self, bool failed)
{
    self->application_done = true;
    message_queue_clear(&self->queue);
    switch (self->phase) {
    case PHASE_OPEN:
        return closing_start(self, ENDED_BY_APPLICATION,
                             failed ? WS_CLOSE_INTERNAL_ERROR : WS_CLOSE_NORMAL, NULL);
    case PHASE_DENYING:
        if (self->denial_begun) {
            return closing_response_complete(self);
        }
        return closing_refuse(self, REFUSED_APPLICATION_ERROR, 500, "", "Internal Server Error");
    case PHASE_CONNECTING:
        return closing_refuse(self, REFUSED_APPLICATION_ERROR, 500, "", "Internal Server Error");
    case PHASE_REQUEST:
    case PHASE_CLOSED:
        break;
    }
    return 0;
}
