/* Denial: see denial.h. */
#include "denial.h"

#include "asgi.h"
#include "closing.h"
#include "response.h"
#include "session.h"
#include "writer.h"

static int
keep_header(void *context, PyObject *name, PyObject *value)
{
    PyObject *pair = PyTuple_Pack(2, name, value);
    int result = pair == NULL ? -1 : PyList_Append(context, pair);
    Py_XDECREF(pair);
    return result;
}

/* The headers as a list of pairs: the event is the application's and may change before the body
 * comes, and reading them again runs no Python. */
static PyObject *
copy_headers(PyObject *headers)
{
    PyObject *copy = PyList_New(0);
    if (copy == NULL) {
        return NULL;
    }
    Py_XINCREF(headers);
    int result = asgi_headers_walk(headers, "websocket.http.response.start", keep_header, copy);
    Py_XDECREF(headers);
    if (result < 0) {
        Py_DECREF(copy);
        return NULL;
    }
    return copy;
}

int
denial_start(Protocol *self, PyObject *event)
{
    bool failed;
    PyObject *number = asgi_event_get(event, self->state->names.status, &failed);
    if (failed) {
        return -1;
    }
    if (number == NULL || !PyLong_Check(number)) {
        PyErr_SetString(PyExc_TypeError, "websocket.http.response.start: 'status' must be int");
        return -1;
    }
    int overflow;
    long status = PyLong_AsLongAndOverflow(number, &overflow);
    if (overflow != 0 || status < 100 || status > 599) {
        PyErr_Format(PyExc_RuntimeError, "Invalid HTTP status code '%S' in response.", number);
        return -1;
    }
    PyObject *headers = asgi_event_get(event, self->state->names.headers, &failed);
    PyObject *copy = failed ? NULL : copy_headers(headers);
    if (copy == NULL) {
        return -1;
    }
    if (self->phase != PHASE_CONNECTING) {
        Py_DECREF(copy);
        return SESSION_OVERTAKEN;
    }
    self->denial_headers = copy;
    self->denial_status = status;
    self->phase = PHASE_DENYING;
    return session_handshake_answered(self, status);
}

/* The response's head, when this is the first part of the body. 0, -1, or SESSION_OVERTAKEN. */
static int
begin_response(Protocol *self, size_t size, bool last)
{
    if (self->denial_begun) {
        return 0;
    }
    PyObject *headers = Py_XNewRef(self->denial_headers); /* the end would clear them */
    int result = response_denial(self, self->denial_status, headers, last ? (Py_ssize_t)size : -1,
                                 &self->denial_chunked);
    Py_XDECREF(headers);
    if (result != 0) {
        return result;
    }
    self->denial_begun = true;
    Py_CLEAR(self->denial_headers);
    return 0;
}

int
denial_body(Protocol *self, PyObject *event)
{
    bool failed;
    PyObject *more_body = asgi_event_get(event, self->state->names.more_body, &failed);
    int more = more_body == NULL ? 0 : PyObject_IsTrue(more_body);
    PyObject *body =
        failed || more < 0 ? NULL : asgi_event_get(event, self->state->names.body, &failed);
    if (failed || more < 0) {
        return -1;
    }
    Py_buffer view = {.buf = NULL, .len = 0};
    Py_XINCREF(body);
    int result = body == NULL ? 0 : PyObject_GetBuffer(body, &view, PyBUF_SIMPLE);
    Py_XDECREF(body);
    if (result < 0) {
        return -1;
    }
    result = self->phase == PHASE_DENYING ? begin_response(self, (size_t)view.len, !more)
                                          : SESSION_OVERTAKEN;
    if (result == 0) {
        result =
            response_denial_body(self, view.buf, (size_t)view.len, self->denial_chunked, !more);
    }
    if (body != NULL) {
        PyBuffer_Release(&view);
    }
    if (result != 0) {
        return result;
    }
    return more ? writer_flush(self) : closing_response_complete(self);
}
