/* Timers: see timers.h. One ping_timer is at any time either the wait for the next ping or the deadline of the
 * one that is out. Only time makes a ping due; what counts as life is noted by incoming.c. */
#include "timers.h"

#include "compression.h"
#include "session.h"
#include "writer.h"

static int
timer_start(Protocol *self, PyObject **timer, double delay, const char *method)
{
    PyObject *callback = PyObject_GetAttrString((PyObject *)self, method);
    PyObject *seconds = PyFloat_FromDouble(delay);
    PyObject *handle = NULL;
    if (callback != NULL && seconds != NULL) {
        PyObject *args[] = {self->loop, seconds, callback};
        handle = PyObject_VectorcallMethod(self->state->names.call_later, args,
                                           3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    Py_XDECREF(callback);
    Py_XDECREF(seconds);
    if (handle == NULL) {
        return -1;
    }
    Py_XSETREF(*timer, handle);
    return 0;
}

static void
timer_stop(Protocol *self, PyObject **timer)
{
    PyObject *handle = *timer;
    *timer = NULL;
    if (handle == NULL) {
        return;
    }
    PyObject *result = PyObject_CallMethodNoArgs(handle, self->state->names.cancel);
    if (result == NULL) {
        PyErr_WriteUnraisable(handle);
    }
    Py_XDECREF(result);
    Py_DECREF(handle);
}

int
timers_start_keepalive(Protocol *self)
{
    self->ping_pending = false;
    if (self->ping_interval <= 0) {
        return 0;
    }
    return timer_start(self, &self->ping_timer, self->ping_interval, "_keepalive_due");
}

int
timers_start_close(Protocol *self)
{
    timer_stop(self, &self->ping_timer);
    if (self->close_timer != NULL) {
        return 0;
    }
    return timer_start(self, &self->close_timer, self->close_timeout, "_close_due");
}

void
timers_stop(Protocol *self)
{
    timer_stop(self, &self->ping_timer);
    timer_stop(self, &self->close_timer);
}

static int
read_clock(Protocol *self, double *now)
{
    PyObject *time = PyObject_CallMethodNoArgs(self->loop, self->state->names.time);
    if (time == NULL) {
        return -1;
    }
    *now = PyFloat_AsDouble(time);
    Py_DECREF(time);
    return *now == -1.0 && PyErr_Occurred() ? -1 : 0;
}

int
timers_pong_arrived(Protocol *self)
{
    if (!self->ping_pending || self->ping_timeout <= 0) {
        return 0;
    }
    double now;
    if (read_clock(self, &now) < 0) {
        return -1;
    }
    self->ping_pending = false;
    double delay = self->ping_interval - (now - self->ping_sent_at);
    timer_stop(self, &self->ping_timer);
    return timer_start(self, &self->ping_timer, delay > 0 ? delay : 0, "_keepalive_due");
}

/* A payload that this peer cannot foresee: bits of the clock, mixed with an address. */
static void
choose_payload(Protocol *self)
{
    uint64_t seed;
    memcpy(&seed, &self->ping_sent_at, sizeof(seed));
    seed ^= (uint64_t)(uintptr_t)self;
    seed *= UINT64_C(0x9E3779B97F4A7C15);
    seed ^= seed >> 29;
    memcpy(self->ping_payload, &seed, sizeof(self->ping_payload));
}

static int
send_ping(Protocol *self)
{
    uint8_t frame[WS_FRAME_HEADER_MAX + sizeof(self->ping_payload)];
    if (read_clock(self, &self->ping_sent_at) < 0) {
        return -1;
    }
    choose_payload(self);
    size_t size = ws_frame_build(frame, &(ws_frame_header){.length = sizeof(self->ping_payload),
                                                           .opcode = WS_OPCODE_PING,
                                                           .fin = true});
    memcpy(frame + size, self->ping_payload, sizeof(self->ping_payload));
    self->ping_pending = true;
    self->frame_arrived = false;
    if (writer_append(self, frame, size + sizeof(self->ping_payload)) < 0 ||
        writer_flush(self) < 0) {
        return -1;
    }
    double delay = self->ping_timeout > 0 ? self->ping_timeout : self->ping_interval;
    return timer_start(self, &self->ping_timer, delay, "_keepalive_due");
}

static int
keepalive_step(Protocol *self)
{
    if (self->phase != PHASE_OPEN || self->transport == NULL) {
        return 0;
    }
    compression_release_idle(self);
    if (!self->ping_pending) {
        return send_ping(self);
    }
    if (self->ping_timeout <= 0) {
        self->ping_pending = false;
        return send_ping(self);
    }
    /* While the application keeps us from reading, the answer may lie unread in the socket. A peer that takes nothing
     * of what we send is no such case: then reading is paused for its own fault. */
    bool unread = self->reading_paused && !self->output.paused;
    if (self->frame_arrived || unread) {
        return timers_start_keepalive(self);
    }
    return session_keepalive_failed(self);
}

PyObject *
timers_keepalive_due(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Protocol *protocol = (Protocol *)self;
    Py_CLEAR(protocol->ping_timer);
    if (keepalive_step(protocol) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
timers_close_due(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Protocol *protocol = (Protocol *)self;
    Py_CLEAR(protocol->close_timer);
    if (protocol_abort_transport(protocol) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}
