/* Timers: see timers.h. One keepalive timer is at any time either the wait for the next ping or
 * the deadline of the one that is out. Only time makes a ping due; what counts as life is noted by
 * incoming.c. */
#include "timers.h"

#include "clock.h"
#include "closing.h"
#include "compression.h"
#include "writer.h"

/* Seconds between two looks at whether the codec is used, where no pings give the occasion. */
#define COMPRESSION_INTERVAL 20.0

static int keepalive_due(PyObject *self);
static int close_due(PyObject *self);

static int
start_keepalive_timer(Protocol *self, double delay)
{
    self->keepalive_timer.owner = (PyObject *)self;
    self->keepalive_timer.due = keepalive_due;
    return timer_start(&self->keepalive_timer, self->per_loop, self->loop, delay);
}

int
timers_start_keepalive(Protocol *self)
{
    self->ping_pending = false;
    self->ping_overdue = false;
    if (self->ping_interval > 0) {
        return start_keepalive_timer(self, self->ping_interval);
    }
    return self->compression == NULL ? 0 : start_keepalive_timer(self, COMPRESSION_INTERVAL);
}

int
timers_start_close(Protocol *self)
{
    timer_stop(&self->keepalive_timer);
    if (self->close_timer.queue != NULL) {
        return 0;
    }
    self->close_timer.owner = (PyObject *)self;
    self->close_timer.due = close_due;
    return timer_start(&self->close_timer, self->per_loop, self->loop, self->close_timeout);
}

void
timers_stop(Protocol *self)
{
    timer_stop(&self->keepalive_timer);
    timer_stop(&self->close_timer);
}

void
timers_forget(Protocol *self)
{
    timer_forget(&self->keepalive_timer);
    timer_forget(&self->close_timer);
}

int
timers_pong_arrived(Protocol *self)
{
    if (!self->ping_pending || self->ping_timeout <= 0) {
        return 0;
    }
    self->ping_pending = false;
    self->ping_overdue = false;
    return start_keepalive_timer(self,
                                 self->ping_interval - (clock_seconds() - self->ping_sent_at));
}

/* A payload that this peer cannot foresee: bits of the clock, mixed. No address is among them,
 * which would tell the peer where memory lies. */
static void
choose_payload(Protocol *self)
{
    uint64_t seed;
    memcpy(&seed, &self->ping_sent_at, sizeof(seed));
    seed *= UINT64_C(0x9E3779B97F4A7C15);
    seed ^= seed >> 29;
    memcpy(self->ping_payload, &seed, sizeof(self->ping_payload));
}

static int
send_ping(Protocol *self)
{
    uint8_t frame[WS_FRAME_HEADER_MAX + sizeof(self->ping_payload)];
    self->ping_sent_at = clock_seconds();
    choose_payload(self);
    size_t size = ws_frame_build(frame, &(ws_frame_header){.length = sizeof(self->ping_payload),
                                                           .opcode = WS_OPCODE_PING,
                                                           .fin = true});
    memcpy(frame + size, self->ping_payload, sizeof(self->ping_payload));
    self->ping_pending = true;
    self->frame_arrived = false;
    /* The timer first: writing may run what ends the connection. */
    double delay = self->ping_timeout > 0 ? self->ping_timeout : self->ping_interval;
    if (start_keepalive_timer(self, delay) < 0 ||
        writer_append(self, frame, size + sizeof(self->ping_payload)) < 0) {
        return -1;
    }
    return writer_flush(self);
}

/* The deadline of the ping that is out. */
static int
deadline_step(Protocol *self)
{
    /* While the application keeps us from reading, the answer may lie unread in the socket. A peer
     * that takes nothing of what we send is no such case: then reading is paused for its own
     * fault. */
    bool unread = self->reading_paused && !self->output.paused;
    if (self->frame_arrived || unread) {
        return timers_start_keepalive(self);
    }
    if (!self->ping_overdue) {
        /* The loop may have been busy for all that time, and the answer lie in the socket. */
        self->ping_overdue = true;
        return timer_start_after_reads(&self->keepalive_timer, self->per_loop, self->loop);
    }
    return closing_keepalive_failed(self);
}

static int
keepalive_step(Protocol *self)
{
    if (self->phase != PHASE_OPEN || self->transport == NULL) {
        return 0;
    }
    if (self->ping_pending && self->ping_timeout > 0) {
        return deadline_step(self);
    }
    compression_release_idle(self);
    return self->ping_interval > 0 ? send_ping(self) : timers_start_keepalive(self);
}

static int
keepalive_due(PyObject *self)
{
    return keepalive_step((Protocol *)self);
}

static int
close_due(PyObject *self)
{
    return protocol_abort_transport((Protocol *)self);
}
