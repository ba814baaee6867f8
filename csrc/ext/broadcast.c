/* Broadcast: see broadcast.h. Depends on the writer for output and on closing for who is too slow.
 */
#include "broadcast.h"

#include "asgi.h"
#include "clock.h"
#include "closing.h"
#include "compression.h"
#include "writer.h"

#define QUEUE_ROOM_FIRST 4

int
broadcast_join(Protocol *self, size_t limit, broadcast_policy policy)
{
    if (self->broadcast == NULL) {
        broadcast_queue *queue = PyMem_Calloc(1, sizeof(*queue));
        if (queue == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        self->broadcast = queue;
    }
    self->broadcast->limit = limit;
    self->broadcast->policy = policy;
    return 0;
}

/* ---- Frames that wait; bytes, which run nothing when they go ---- */

/* Forgets the first frames. */
static void
queue_drop(broadcast_queue *queue, size_t count)
{
    if (count == 0) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        queue->size -= (size_t)PyBytes_GET_SIZE(queue->frames[i].frame);
        Py_DECREF(queue->frames[i].frame);
    }
    queue->count -= count;
    memmove(queue->frames, queue->frames + count, queue->count * sizeof(*queue->frames));
}

/* Forgets the frames that have expired; how many. */
static size_t
queue_expire(broadcast_queue *queue, double now)
{
    size_t kept = 0;
    for (size_t i = 0; i < queue->count; i++) {
        broadcast_waiting *waiting = &queue->frames[i];
        if (waiting->expires > now) {
            queue->frames[kept++] = *waiting;
            continue;
        }
        queue->size -= (size_t)PyBytes_GET_SIZE(waiting->frame);
        Py_DECREF(waiting->frame);
    }
    size_t expired = queue->count - kept;
    queue->count = kept;
    return expired;
}

/* 0, or -1 with MemoryError. */
static int
queue_append(broadcast_queue *queue, PyObject *frame, double expires)
{
    if (queue->count == queue->room) {
        size_t room = queue->room == 0 ? QUEUE_ROOM_FIRST : queue->room * 2;
        broadcast_waiting *frames = PyMem_Realloc(queue->frames, room * sizeof(*frames));
        if (frames == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        queue->frames = frames;
        queue->room = room;
    }
    queue->frames[queue->count++] =
        (broadcast_waiting){.frame = Py_NewRef(frame), .expires = expires};
    queue->size += (size_t)PyBytes_GET_SIZE(frame);
    return 0;
}

static bool
queue_has_room(const broadcast_queue *queue, size_t size)
{
    return queue->size <= queue->limit && size <= queue->limit - queue->size;
}

/* Forgets all frames, and their memory. */
static void
queue_empty(broadcast_queue *queue)
{
    queue_drop(queue, queue->count);
    PyMem_Free(queue->frames);
    queue->frames = NULL;
    queue->room = 0;
}

void
broadcast_leave(Protocol *self)
{
    broadcast_queue *queue = self->broadcast;
    self->broadcast = NULL;
    if (queue != NULL) {
        queue_empty(queue);
        PyMem_Free(queue);
    }
}

/* ---- The message ---- */

int
broadcast_frames_begin(broadcast_frames *self, const module_state *state, PyObject *message)
{
    *self = (broadcast_frames){.opcode = WS_OPCODE_BINARY};
    bool failed;
    PyObject *bytes = asgi_event_get(message, state->names.bytes, &failed);
    if (bytes != NULL) {
        self->payload = PyBytes_Check(bytes) ? Py_NewRef(bytes) : NULL;
        return self->payload != NULL;
    }
    PyObject *text = failed ? NULL : asgi_event_get(message, state->names.text, &failed);
    if (failed) {
        return -1;
    }
    if (text == NULL || !PyUnicode_Check(text)) {
        return 0;
    }
    self->opcode = WS_OPCODE_TEXT;
    self->payload = PyUnicode_AsUTF8String(text);
    return self->payload == NULL ? -1 : 1;
}

void
broadcast_frames_end(broadcast_frames *self)
{
    Py_CLEAR(self->payload);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(self->frames); i++) {
        Py_CLEAR(self->frames[i]);
    }
}

static PyObject *
plain_frame(uint8_t opcode, const void *payload, size_t n)
{
    uint8_t header[WS_FRAME_HEADER_MAX];
    size_t size =
        ws_frame_build(header, &(ws_frame_header){.length = n, .opcode = opcode, .fin = true});
    PyObject *frame = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(size + n));
    if (frame != NULL) {
        memcpy(PyBytes_AS_STRING(frame), header, size);
        memcpy(PyBytes_AS_STRING(frame) + size, payload, n);
    }
    return frame;
}

/* The frame for a connection, made if nobody has needed it yet. Borrowed, or NULL. */
static PyObject *
frame_for(Protocol *self, broadcast_frames *frames)
{
    const void *payload = PyBytes_AS_STRING(frames->payload);
    size_t n = (size_t)PyBytes_GET_SIZE(frames->payload);
    if (self->compression != NULL && n >= self->compression->threshold) {
        PyObject **compressed = &frames->frames[self->compression->params.server_window_bits];
        if (*compressed == NULL) {
            *compressed = compression_shared_frame(self, frames->opcode, payload, n);
        }
        if (*compressed != NULL) {
            ws_compressor_forget(&self->compression->compressor);
            return *compressed;
        }
        if (PyErr_Occurred()) {
            return NULL;
        }
    }
    if (frames->frames[0] == NULL) {
        frames->frames[0] = plain_frame(frames->opcode, payload, n);
    }
    return frames->frames[0];
}

/* Gathers a frame, to be flushed with everybody's at the end of this turn unless it is much. 0, or
 * -1. */
static int
append_frame(Protocol *self, PyObject *frame)
{
    self->state->counters->messages_sent++;
    if (writer_append(self, PyBytes_AS_STRING(frame), (size_t)PyBytes_GET_SIZE(frame)) < 0) {
        return -1;
    }
    /* A sender that does not wait would pile up output that no transport has seen, and nobody
     * would be slow. */
    return writer_flush_if_full(self) < 0 ? -1 : writer_flush_later(self);
}

/* ---- Slow connections ---- */

/* Makes room for `size` bytes by dropping frames that wait. False, with none dropped, if they
 * never fit. */
static bool
drop_oldest(Protocol *self, size_t size)
{
    broadcast_queue *queue = self->broadcast;
    if (size > queue->limit) {
        return false;
    }
    size_t count = 0, left = queue->size;
    while (count < queue->count && (left > queue->limit || size > queue->limit - left)) {
        left -= (size_t)PyBytes_GET_SIZE(queue->frames[count].frame);
        count++;
    }
    queue_drop(queue, count);
    self->state->counters->broadcasts_dropped += (uint64_t)count;
    return true;
}

int
broadcast_write(Protocol *self, broadcast_frames *frames, double expires)
{
    broadcast_queue *queue = self->broadcast;
    PyObject *frame = frame_for(self, frames);
    if (frame == NULL) {
        return -1;
    }
    size_t size = (size_t)PyBytes_GET_SIZE(frame);
    if (!self->output.paused) {
        assert(queue->count == 0); /* it was drained when writing went on */
        return append_frame(self, frame) < 0 ? -1 : 1;
    }
    if (!queue_has_room(queue, size)) {
        self->state->counters->broadcasts_dropped += queue_expire(queue, clock_seconds());
    }
    bool fits = queue_has_room(queue, size);
    if (!fits && queue->policy == BROADCAST_CLOSE) {
        return closing_too_slow(self) < 0 ? -1 : 0;
    }
    if (!fits && (queue->policy == BROADCAST_SKIP || !drop_oldest(self, size))) {
        self->state->counters->broadcasts_dropped++;
        return 0;
    }
    if (queue_append(queue, frame, expires) < 0) {
        return -1;
    }
    return fits ? 1 : 0;
}

int
broadcast_drain(Protocol *self)
{
    broadcast_queue *queue = self->broadcast;
    if (queue == NULL || queue->count == 0) {
        return 0;
    }
    self->state->counters->broadcasts_dropped += queue_expire(queue, clock_seconds());
    /* Nothing may follow our close frame. */
    size_t count = self->phase == PHASE_OPEN ? queue->count : 0;
    self->state->counters->messages_sent += (uint64_t)count;
    int result = 0;
    for (size_t i = 0; result == 0 && i < count; i++) {
        PyObject *frame = queue->frames[i].frame;
        result = writer_append(self, PyBytes_AS_STRING(frame), (size_t)PyBytes_GET_SIZE(frame));
    }
    queue_empty(queue);
    return result < 0 ? -1 : writer_flush(self);
}
