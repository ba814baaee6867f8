/* Writer: see writer.h. The only unit that touches the descriptor. */
#include "writer.h"

#include <errno.h>

#ifndef _WIN32
#include <sys/socket.h>
#include <sys/uio.h>
#endif

#include "../core/deflate.h"
#include "turn.h"

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

#ifndef MSG_MORE
#define MSG_MORE 0
#endif

/* Above this many gathered bytes a flush does not wait for the end of the turn. */
#define FLUSH_THRESHOLD (64 * 1024)

/* A payload of this size is written from where it lies, not copied. */
#define LARGE_PAYLOAD (16 * 1024)

/* Transports whose write() sends on the socket at once or keeps an own queue that it can tell us
 * about. */
static const struct {
    const char *module;
    const char *name;
} plain_transports[] = {
    {"asyncio.selector_events", "_SelectorSocketTransport"},
    {"uvloop.loop", "TCPTransport"},
    {"uvloop.loop", "UnixTransport"},
};

static int
transport_is_plain(PyObject *transport)
{
    PyTypeObject *type = Py_TYPE(transport);
    PyObject *module = PyObject_GetAttrString((PyObject *)type, "__module__");
    PyObject *name = PyObject_GetAttrString((PyObject *)type, "__name__");
    int plain = module == NULL || name == NULL ? -1 : 0;
    for (size_t i = 0; plain == 0 && i < Py_ARRAY_LENGTH(plain_transports); i++) {
        plain = PyUnicode_Check(module) && PyUnicode_Check(name) &&
                PyUnicode_CompareWithASCIIString(module, plain_transports[i].module) == 0 &&
                PyUnicode_CompareWithASCIIString(name, plain_transports[i].name) == 0;
    }
    Py_XDECREF(module);
    Py_XDECREF(name);
    return plain;
}

int
writer_attach(Protocol *self)
{
    self->output.descriptor = -1;
    self->output.may_hold = true;
#ifndef _WIN32
    int plain = transport_is_plain(self->transport);
    if (plain <= 0) {
        return plain;
    }
    PyObject *name = PyUnicode_FromString("socket");
    if (name == NULL) {
        return -1;
    }
    PyObject *socket = protocol_ask_transport(self, self->state->names.get_extra_info, name);
    Py_DECREF(name);
    if (socket == NULL) {
        return -1;
    }
    if (socket != Py_None && self->transport != NULL) {
        int descriptor = PyObject_AsFileDescriptor(socket);
        if (descriptor < 0) {
            /* The socket is closed already: the transport will tell us so. */
            PyErr_Clear();
        }
        self->output.descriptor = descriptor;
    }
    Py_DECREF(socket);
#endif
    return 0;
}

void
writer_detach(Protocol *self)
{
    self->output.descriptor = -1;
    byte_buffer_drop(&self->output.gathered);
}

int
writer_transport_held(const Protocol *self, size_t *held)
{
    PyObject *size = protocol_ask_transport(self, self->state->names.get_write_buffer_size, NULL);
    if (size == NULL) {
        return -1;
    }
    *held = PyLong_AsSize_t(size);
    Py_DECREF(size);
    return *held == (size_t)-1 && PyErr_Occurred() ? -1 : 0;
}

int
writer_append(Protocol *self, const void *data, size_t n)
{
    return byte_buffer_append(&self->output.gathered, data, n);
}

static int
transport_write(Protocol *self, const uint8_t *data, size_t n)
{
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)n);
    if (bytes == NULL) {
        return -1;
    }
    self->output.may_hold = true;
    PyObject *result = protocol_ask_transport(self, self->state->names.write, bytes);
    Py_DECREF(bytes);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

#ifndef _WIN32
/* Whether the socket may be written to past the transport now. 1, 0, or -1. */
static int
direct_write_allowed(Protocol *self)
{
    output_buffer *output = &self->output;
    if (output->descriptor < 0 || output->paused) {
        return 0;
    }
    PyObject *closing = protocol_ask_transport(self, self->state->names.is_closing, NULL);
    if (closing == NULL) {
        return -1;
    }
    bool is_closing = closing != Py_False;
    Py_DECREF(closing);
    if (is_closing || self->transport == NULL) {
        return 0;
    }
    if (output->may_hold) {
        size_t held;
        if (writer_transport_held(self, &held) < 0) {
            return -1;
        }
        output->may_hold = held != 0;
    }
    return !output->may_hold && self->transport != NULL && output->descriptor >= 0;
}

/* Bytes that the socket took; an error counts as none, as the transport will meet it again and
 * report it. */
static size_t
socket_write(int descriptor, struct iovec *parts, size_t count, int more)
{
    const int flags = MSG_NOSIGNAL | MSG_DONTWAIT | more;
    struct msghdr message = {.msg_iov = parts};
    message.msg_iovlen = (__typeof__(message.msg_iovlen))count;
    ssize_t written;
    do {
        /* The kernel has less to copy in for send() than for sendmsg(). */
        written = count == 1 ? send(descriptor, parts[0].iov_base, parts[0].iov_len, flags)
                             : sendmsg(descriptor, &message, flags);
    } while (written < 0 && errno == EINTR);
    return written < 0 ? 0 : (size_t)written;
}

/* Writes the parts in order: as much as possible to the socket, the rest through the transport. */
static int
write_parts(Protocol *self, struct iovec *parts, size_t count)
{
    int direct = direct_write_allowed(self);
    if (direct < 0) {
        return -1;
    }
    const int more = self->output.last ? MSG_MORE : 0;
    size_t written = direct ? socket_write(self->output.descriptor, parts, count, more) : 0;
    for (size_t i = 0; i < count; i++) {
        if (written >= parts[i].iov_len) {
            written -= parts[i].iov_len;
            continue;
        }
        if (self->transport == NULL) {
            return 0;
        }
        if (transport_write(self, (uint8_t *)parts[i].iov_base + written,
                            parts[i].iov_len - written) < 0) {
            return -1;
        }
        written = 0;
    }
    return 0;
}
#endif

/* Whether what is written goes anywhere: a transport that has been told to close drops it, and
 * warns of it in the log. */
static bool
leads_somewhere(const Protocol *self)
{
    return self->transport != NULL && !self->closing;
}

int
writer_flush(Protocol *self)
{
    if (self->output.gathered.size == 0) {
        return 0;
    }
    byte_buffer bytes = byte_buffer_move(&self->output.gathered);
    int result = 0;
    if (leads_somewhere(self)) {
        self->state->counters->bytes_sent += bytes.size;
#ifdef _WIN32
        result = transport_write(self, bytes.data, bytes.size);
#else
        struct iovec part = {bytes.data, bytes.size};
        result = write_parts(self, &part, 1);
#endif
    }
    byte_buffer_drop(&bytes);
    return result;
}

int
writer_flush_last(Protocol *self)
{
    self->output.last = true;
    return writer_flush(self);
}

int
writer_flush_later(Protocol *self)
{
    if (self->output.gathered.size == 0 || self->output.listed || self->in_read_callback) {
        return 0;
    }
    self->output.listed = true;
    if (turn_flush(self) < 0) {
        self->output.listed = false;
        return -1;
    }
    return 0;
}

int
writer_flush_if_full(Protocol *self)
{
    return self->output.gathered.size > FLUSH_THRESHOLD ? writer_flush(self) : 0;
}

static int
append_large_frame(Protocol *self, const uint8_t *header, size_t header_size,
                   const uint8_t *payload, size_t n)
{
    if (writer_append(self, header, header_size) < 0) {
        return -1;
    }
#ifdef _WIN32
    return writer_append(self, payload, n) < 0 ? -1 : writer_flush(self);
#else
    byte_buffer head = byte_buffer_move(&self->output.gathered);
    struct iovec parts[2] = {{head.data, head.size}, {(void *)(uintptr_t)payload, n}};
    int result = 0;
    if (leads_somewhere(self)) {
        self->state->counters->bytes_sent += head.size + n;
        result = write_parts(self, parts, 2);
    }
    byte_buffer_drop(&head);
    return result;
#endif
}

int
writer_append_frame(Protocol *self, uint8_t opcode, const uint8_t *payload, size_t n)
{
    uint8_t header[WS_FRAME_HEADER_MAX];
    size_t header_size =
        ws_frame_build(header, &(ws_frame_header){.length = n, .opcode = opcode, .fin = true});
    if (n >= LARGE_PAYLOAD) {
        return append_large_frame(self, header, header_size, payload, n);
    }
    byte_buffer *gathered = &self->output.gathered;
    uint8_t *place = byte_buffer_reserve(gathered, header_size + n);
    if (place == NULL) {
        return -1;
    }
    memcpy(place, header, header_size);
    memcpy(place + header_size, payload, n);
    gathered->size += header_size + n;
    return writer_flush_if_full(self);
}

bool
writer_gathers(const Protocol *self, size_t n)
{
    return n < LARGE_PAYLOAD &&
           self->output.gathered.size + WS_FRAME_HEADER_MAX + ws_deflate_bound(n) <=
               FLUSH_THRESHOLD;
}
