/* Assembly: see assembly.h. */
#include "assembly.h"

static PyObject *
whole_text(const ws_conn *conn, const ws_event *event)
{
    PyObject *text = PyUnicode_New((Py_ssize_t)event->length, 127);
    if (text == NULL || event->length == 0) {
        return text;
    }
    uint8_t *place = PyUnicode_DATA(text);
    if (ws_conn_take_whole(conn, event, place)) {
        return text;
    }
    PyObject *decoded = PyUnicode_DecodeUTF8((const char *)place, (Py_ssize_t)event->length, NULL);
    Py_DECREF(text);
    return decoded;
}

static PyObject *
whole_bytes(const ws_conn *conn, const ws_event *event)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)event->length);
    if (bytes != NULL && event->length > 0) {
        (void)ws_conn_take_whole(conn, event, (uint8_t *)PyBytes_AS_STRING(bytes));
    }
    return bytes;
}

static int
peer_failed(ws_conn *conn, int cause, int *error)
{
    ws_conn_fail(conn);
    *error = cause;
    return -2;
}

/* A message, or what kept it from being made: bad UTF-8 is the peer's failure, not an exception.
 */
static int
complete(ws_conn *conn, PyObject *message, int *error)
{
    if (message != NULL) {
        return 1;
    }
    if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        return -1;
    }
    PyErr_Clear();
    return peer_failed(conn, WS_ERROR_UTF8, error);
}

/* Room for `total` bytes. What a frame announces is reserved at once (it is within the limit, and
 * memory is not touched before its bytes come); fragments grow by half, so that many small ones
 * cost linear time. 0, or -1. */
static int
reserve(assembly *self, Py_ssize_t total)
{
    if (self->bytes == NULL) {
        self->bytes = PyBytes_FromStringAndSize(NULL, total);
        return self->bytes == NULL ? -1 : 0;
    }
    Py_ssize_t capacity = PyBytes_GET_SIZE(self->bytes);
    if (total <= capacity) {
        return 0;
    }
    if (capacity / 2 < PY_SSIZE_T_MAX - capacity && total < capacity + capacity / 2) {
        total = capacity + capacity / 2;
    }
    return _PyBytes_Resize(&self->bytes, total);
}

static PyObject *
finish(assembly *self, uint8_t opcode)
{
    PyObject *bytes = self->bytes;
    Py_ssize_t size = self->filled;
    self->bytes = NULL;
    self->filled = 0;
    if (opcode == WS_OPCODE_TEXT) {
        PyObject *text = PyUnicode_DecodeUTF8(PyBytes_AS_STRING(bytes), size, NULL);
        Py_DECREF(bytes);
        return text;
    }
    if (PyBytes_GET_SIZE(bytes) != size) {
        _PyBytes_Resize(&bytes, size);
    }
    return bytes;
}

static int
take_piece(assembly *self, ws_conn *conn, const ws_event *event, PyObject **message, int *error)
{
    if (event->begin) {
        assembly_drop(self);
    }
    uint64_t room = (uint64_t)(PY_SSIZE_T_MAX - 64 - self->filled);
    bool fits = event->frame_left <= room && event->length <= room - event->frame_left;
    if (!fits || reserve(self, self->filled + (Py_ssize_t)event->length +
                                   (Py_ssize_t)event->frame_left) < 0) {
        /* Where no limit is set, the machine's memory is the limit. */
        PyErr_Clear();
        assembly_drop(self);
        return peer_failed(conn, WS_ERROR_TOO_BIG, error);
    }
    int failed =
        ws_conn_take(conn, event, (uint8_t *)PyBytes_AS_STRING(self->bytes) + self->filled);
    if (failed < 0) {
        assembly_drop(self);
        return peer_failed(conn, failed, error);
    }
    self->filled += (Py_ssize_t)event->length;
    assert(self->filled <= PyBytes_GET_SIZE(self->bytes));
    if (!event->end) {
        return 0;
    }
    *message = finish(self, event->opcode);
    return complete(conn, *message, error);
}

int
assembly_take(assembly *self, ws_conn *conn, const ws_event *event, PyObject **message, int *error)
{
    if (!event->begin || !event->end) {
        return take_piece(self, conn, event, message, error);
    }
    *message =
        event->opcode == WS_OPCODE_TEXT ? whole_text(conn, event) : whole_bytes(conn, event);
    return complete(conn, *message, error);
}

uint8_t *
assembly_space(const assembly *self, const ws_conn *conn, size_t least, size_t *size)
{
    if (self->bytes == NULL) {
        return NULL;
    }
    uint64_t left = ws_conn_frame_left(conn);
    Py_ssize_t room = PyBytes_GET_SIZE(self->bytes) - self->filled;
    if (left < least || left > (uint64_t)room) {
        return NULL;
    }
    *size = (size_t)left;
    return (uint8_t *)PyBytes_AS_STRING(self->bytes) + self->filled;
}

void
assembly_drop(assembly *self)
{
    Py_CLEAR(self->bytes);
    self->filled = 0;
}
