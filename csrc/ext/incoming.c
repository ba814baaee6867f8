/* Incoming: see incoming.h. Depends on core's conn for what frames mean; knows bytes and objects,
 * no ASGI. */
#include "incoming.h"

#include "../core/handshake.h"
#include "closing.h"
#include "compression.h"
#include "session.h"
#include "writer.h"

/* From this many bytes on, the rest of a frame is received into its message and not into the
 * shared buffer. */
#define DIRECT_RECEIVE_MIN (32 * 1024)

static int
take_data(Protocol *self, const ws_event *event)
{
    if (self->phase != PHASE_OPEN || self->application_done) {
        assembly_drop(&self->message);
        return 0;
    }
    PyObject *message;
    int taken = event->compressed
                    ? compression_take(self, event, &message)
                    : assembly_take(&self->message, &self->conn, event, &message, &self->failure);
    if (taken == 1) {
        self->state->counters->messages_received++;
        return message_queue_push_steal(&self->queue, message);
    }
    return taken == -1 ? -1 : 0;
}

static void
note_pong(Protocol *self, const ws_event *event)
{
    if (self->ping_pending && event->control_size == sizeof(self->ping_payload) &&
        memcmp(event->control, self->ping_payload, sizeof(self->ping_payload)) == 0) {
        self->pong_arrived = true;
    }
}

static int
take_close(Protocol *self, const ws_event *event)
{
    PyObject *reason =
        PyUnicode_DecodeUTF8((const char *)event->control, event->control_size, NULL);
    if (reason == NULL) {
        return -1;
    }
    Py_XSETREF(self->peer_reason, reason);
    self->peer_code = event->close_code;
    self->close_arrived = true;
    return 0;
}

/* Whether a fragment that does not end its message is within their number; the connection fails if
 * not. */
static bool
fragment_allowed(Protocol *self, const ws_event *event)
{
    if (event->begin) {
        self->fragments = 0;
    }
    self->fragments += event->frame_left == 0 ? 1 : 0;
    if (self->limits.fragments == 0 || self->fragments < self->limits.fragments) {
        return true;
    }
    ws_conn_fail(&self->conn);
    assembly_drop(&self->message);
    self->failure = FAILURE_FRAGMENTS;
    return false;
}

static int
take_event(Protocol *self, const ws_event *event)
{
    if (event->type == WS_EVENT_DATA) {
        /* Any piece counts: a large frame on a slow line is a sign of life all the time. */
        self->frame_arrived = true;
        if (!event->fin && !fragment_allowed(self, event)) {
            return 0;
        }
        return take_data(self, event);
    }
    if (event->type == WS_EVENT_PONG) {
        note_pong(self, event);
        return 0;
    }
    self->frame_arrived = true;
    uint8_t reply[WS_CONTROL_FRAME_MAX];
    size_t size = ws_conn_reply(&self->conn, event, 0, reply);
    if (size > 0 && writer_append(self, reply, size) < 0) {
        return -1;
    }
    self->output.replies += self->output.paused ? size : 0;
    return event->type == WS_EVENT_CLOSE ? take_close(self, event) : 0;
}

/* Whether what follows the frame has to wait: it inflated to more than may be queued. */
static bool
must_hold(const Protocol *self, const ws_event *event)
{
    return event->type == WS_EVENT_DATA && event->compressed && self->phase == PHASE_OPEN &&
           self->failure == 0 && self->queue.bytes > self->limits.queued_bytes;
}

/* Reads frames until the bytes or the connection end, or the rest must be held; what a later call
 * needs is kept, and *held is the number of bytes at the end that the caller has to keep: none
 * after a failure. 0, or -1. */
static int
read_frames(Protocol *self, const uint8_t *data, size_t n, size_t *held)
{
    *held = 0;
    while (n > 0 && self->failure == 0) {
        ws_event event;
        size_t consumed;
        int found = ws_conn_next(&self->conn, data, n, &consumed, &event);
        data += consumed;
        n -= consumed;
        if (found == 0) {
            return n == 0 ? 0 : byte_buffer_append(&self->kept, data, n);
        }
        if (found < 0) {
            self->failure = found;
        }
        else if (take_event(self, &event) < 0) {
            return -1;
        }
        else if (n > 0 && must_hold(self, &event)) {
            self->frames_held = true;
            *held = n;
            return 0;
        }
    }
    return 0;
}

static int
feed_frames(Protocol *self, const uint8_t *data, size_t n)
{
    size_t held;
    if (read_frames(self, data, n, &held) < 0) {
        return -1;
    }
    return byte_buffer_append(&self->kept, data + (n - held), held);
}

/* Frames whose beginning was kept from the last read. */
static int
feed_after_kept(Protocol *self, uint8_t *data, size_t n, bool headroom)
{
    if (headroom && self->kept.size <= RECEIVE_BUFFER_HEADROOM) {
        size_t kept = self->kept.size;
        memcpy(data - kept, self->kept.data, kept);
        byte_buffer_drop(&self->kept);
        return feed_frames(self, data - kept, n + kept);
    }
    if (byte_buffer_append(&self->kept, data, n) < 0) {
        return -1;
    }
    return incoming_feed_kept(self);
}

int
incoming_feed_kept(Protocol *self)
{
    byte_buffer bytes = byte_buffer_move(&self->kept);
    int result = feed_frames(self, bytes.data, bytes.size);
    byte_buffer_drop(&bytes);
    return result;
}

int
incoming_feed_held(Protocol *self)
{
    byte_buffer bytes = byte_buffer_move(&self->kept);
    const size_t at = self->held_at;
    size_t held;
    self->frames_held = false;
    self->held_at = 0;
    const int result = read_frames(self, bytes.data + at, bytes.size - at, &held);
    if (held > 0) {
        /* In their place: copying the rest at every step would cost quadratic time. */
        self->held_at = bytes.size - held;
        self->kept = bytes;
        return 0;
    }
    byte_buffer_drop(&bytes);
    return result;
}

/* Keeps a request whose rest has not come. 0, or -1. */
static int
wait_for_request(Protocol *self)
{
    if (self->request_begun) {
        return 0;
    }
    self->request_begun = true;
    PyObject *result =
        PyObject_CallMethodNoArgs((PyObject *)self, self->state->names.request_incomplete);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* The upgrade request, over as many reads as it takes. 0, or -1. */
static int
feed_request(Protocol *self, const uint8_t *data, size_t n)
{
    ws_header headers[REQUEST_HEADERS_MAX];
    ws_request request = {.headers = headers, .header_capacity = REQUEST_HEADERS_MAX};
    if (byte_buffer_append(&self->kept, data, n) < 0) {
        return -1;
    }
    if (self->kept.size <= self->limits.request_size && memchr(data, '\n', n) == NULL) {
        /* No line has ended, so nothing new can be said: a request sent byte by byte costs linear
         * time. */
        return wait_for_request(self);
    }
    byte_buffer bytes = byte_buffer_move(&self->kept);
    int size = ws_request_parse(&request, bytes.data, bytes.size);
    int result;
    bool too_long = (size > 0 ? (size_t)size : bytes.size) > self->limits.request_size;
    if (size == 0 && !too_long) {
        self->kept = bytes;
        return wait_for_request(self);
    }
    if (size < 0 || too_long) {
        result = closing_refuse_request(self, too_long ? WS_HANDSHAKE_TOO_MANY_HEADERS : size);
    }
    else {
        result = byte_buffer_append(&self->kept, bytes.data + size, bytes.size - (size_t)size);
        if (result == 0) {
            result = session_begin(self, &request);
        }
    }
    byte_buffer_drop(&bytes);
    return result;
}

int
incoming_feed(Protocol *self, uint8_t *data, size_t n, bool headroom)
{
    self->state->counters->bytes_received += n;
    if (self->frames_held) {
        return byte_buffer_append(&self->kept, data, n);
    }
    if (self->opened) {
        return self->kept.size == 0 ? feed_frames(self, data, n)
                                    : feed_after_kept(self, data, n, headroom);
    }
    if (self->phase == PHASE_REQUEST) {
        return feed_request(self, data, n);
    }
    if (self->phase == PHASE_CLOSED) {
        return 0;
    }
    if (byte_buffer_append(&self->kept, data, n) < 0) {
        return -1;
    }
    return self->kept.size > self->limits.early_bytes ? protocol_pause_reading(self) : 0;
}

uint8_t *
incoming_message_space(Protocol *self, size_t *size)
{
    if (self->kept.size != 0) {
        return NULL;
    }
    return assembly_space(&self->message, &self->conn, DIRECT_RECEIVE_MIN, size);
}
