/* Responses: see response.h. Depends on asgi for walking headers and on core's handshake unit. */
#include "response.h"

#include <stdio.h>

#include "../core/handshake.h"
#include "asgi.h"
#include "compression.h"
#include "session.h"
#include "writer.h"

typedef struct {
    byte_buffer bytes;
    session_phase phase; /* in which it was begun */
    bool own_length;     /* the application's headers say how long the body is */
} response_builder;

static int
add_header(void *context, PyObject *name, PyObject *value)
{
    response_builder *response = context;
    ws_slice field = {(const uint8_t *)PyBytes_AS_STRING(name), (size_t)PyBytes_GET_SIZE(name)};
    if (ws_slice_equals(field, "content-length")) {
        response->own_length = true;
    }
    if (byte_buffer_append_bytes(&response->bytes, name) < 0 ||
        byte_buffer_append_text(&response->bytes, ": ") < 0 ||
        byte_buffer_append_bytes(&response->bytes, value) < 0 ||
        byte_buffer_append_text(&response->bytes, "\r\n") < 0) {
        return -1;
    }
    return 0;
}

/* As add_header; Transfer-Encoding is the server's affair and is ignored (ASGI specification,
 * "Response Start"). */
static int
add_denial_header(void *context, PyObject *name, PyObject *value)
{
    ws_slice field = {(const uint8_t *)PyBytes_AS_STRING(name), (size_t)PyBytes_GET_SIZE(name)};
    return ws_slice_equals(field, "transfer-encoding") ? 0 : add_header(context, name, value);
}

/* As add_header; the subprotocol has a key of its own and would be there twice. */
static int
add_accept_header(void *context, PyObject *name, PyObject *value)
{
    ws_slice field = {(const uint8_t *)PyBytes_AS_STRING(name), (size_t)PyBytes_GET_SIZE(name)};
    if (ws_slice_equals(field, "sec-websocket-protocol")) {
        PyErr_SetString(
            PyExc_ValueError,
            "websocket.accept: name the subprotocol with the 'subprotocol' key, not in "
            "a sec-websocket-protocol header");
        return -1;
    }
    return add_header(context, name, value);
}

static int
add_subprotocol(response_builder *response, PyObject *subprotocol)
{
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(subprotocol, &size);
    if (text == NULL) {
        return -1;
    }
    if (!ws_header_name_valid((const uint8_t *)text, (size_t)size)) {
        PyErr_Format(PyExc_ValueError, "websocket.accept: %R is not a subprotocol name",
                     subprotocol);
        return -1;
    }
    if (byte_buffer_append_text(&response->bytes, "Sec-WebSocket-Protocol: ") < 0 ||
        byte_buffer_append(&response->bytes, text, (size_t)size) < 0 ||
        byte_buffer_append_text(&response->bytes, "\r\n") < 0) {
        return -1;
    }
    return 0;
}

static int
add_extension(response_builder *response, PyObject *value)
{
    if (byte_buffer_append_text(&response->bytes, "Sec-WebSocket-Extensions: ") < 0 ||
        byte_buffer_append_bytes(&response->bytes, value) < 0 ||
        byte_buffer_append_text(&response->bytes, "\r\n") < 0) {
        return -1;
    }
    return 0;
}

/* Gathers what was built, when it was built well and is still the answer, and drops it. */
static int
finish(Protocol *self, response_builder *response, int result)
{
    if (result == 0 && self->phase != response->phase) {
        result = SESSION_OVERTAKEN;
    }
    if (result == 0) {
        result = writer_append(self, response->bytes.data, response->bytes.size);
    }
    byte_buffer_drop(&response->bytes);
    return result;
}

int
response_switching(Protocol *self, PyObject *subprotocol, PyObject *headers)
{
    response_builder response = {.phase = self->phase};
    int result = -1;
    uint8_t *place = byte_buffer_reserve(&response.bytes, WS_RESPONSE_101_SIZE);
    if (place != NULL) {
        response.bytes.size +=
            ws_response_switching((const uint8_t *)PyBytes_AS_STRING(self->accept_key), place);
        result = 0;
    }
    if (result == 0 && subprotocol != NULL) {
        result = add_subprotocol(&response, subprotocol);
    }
    if (result == 0 && self->compression != NULL) {
        result = add_extension(&response, self->compression->response);
    }
    if (result == 0) {
        result =
            asgi_headers_walk(self->default_headers, "default headers", add_header, &response);
    }
    if (result == 0) {
        result = asgi_headers_walk(headers, "websocket.accept", add_accept_header, &response);
    }
    if (result == 0) {
        result = byte_buffer_append_text(&response.bytes, "\r\n");
    }
    return finish(self, &response, result);
}

/* "HTTP/1.1 <status> <phrase>", with the phrase that Python's http package knows. */
static int
add_status_line(Protocol *self, response_builder *response, long status)
{
    PyObject *number = PyLong_FromLong(status);
    if (number == NULL) {
        return -1;
    }
    PyObject *phrase = PyDict_GetItemWithError(self->state->status_phrases, number);
    Py_DECREF(number);
    const char *text = phrase == NULL ? "" : PyUnicode_AsUTF8(phrase);
    if (text == NULL || PyErr_Occurred()) {
        return -1;
    }
    char line[96];
    snprintf(line, sizeof(line), "HTTP/1.1 %ld %s\r\n", status, text);
    return byte_buffer_append_text(&response->bytes, line);
}

/* RFC 9110, sections 6.4.1 and 8.6: these have no body and must not announce one. */
static bool
status_has_no_body(long status)
{
    return status < 200 || status == 204 || status == 304;
}

static int
add_denial_framing(response_builder *response, long status, Py_ssize_t content_length,
                   bool *chunked)
{
    char line[64];
    *chunked = false;
    if (response->own_length || status_has_no_body(status)) {
        return 0;
    }
    if (content_length < 0) {
        *chunked = true;
        return byte_buffer_append_text(&response->bytes, "transfer-encoding: chunked\r\n");
    }
    snprintf(line, sizeof(line), "content-length: %zd\r\n", content_length);
    return byte_buffer_append_text(&response->bytes, line);
}

int
response_denial(Protocol *self, long status, PyObject *headers, Py_ssize_t content_length,
                bool *chunked)
{
    response_builder response = {.phase = self->phase};
    int result = add_status_line(self, &response, status);
    if (result == 0) {
        result =
            asgi_headers_walk(self->default_headers, "default headers", add_header, &response);
    }
    if (result == 0) {
        result = asgi_headers_walk(headers, "websocket.http.response.start", add_denial_header,
                                   &response);
    }
    if (result == 0) {
        result = add_denial_framing(&response, status, content_length, chunked);
    }
    if (result == 0) {
        result = byte_buffer_append_text(&response.bytes, "connection: close\r\n\r\n");
    }
    return finish(self, &response, result);
}

int
response_denial_body(Protocol *self, const char *body, size_t size, bool chunked, bool last)
{
    char head[32];
    if (status_has_no_body(self->denial_status)) {
        return 0; /* the client would take it for the next response */
    }
    if (!chunked) {
        return size == 0 ? 0 : writer_append(self, body, size);
    }
    if (size > 0) {
        int length = snprintf(head, sizeof(head), "%zx\r\n", size);
        if (writer_append(self, head, (size_t)length) < 0 || writer_append(self, body, size) < 0 ||
            writer_append(self, "\r\n", 2) < 0) {
            return -1;
        }
    }
    return last ? writer_append(self, "0\r\n\r\n", 5) : 0;
}

int
response_plain(Protocol *self, int status, const char *headers, const char *body)
{
    response_builder response = {.phase = self->phase};
    char line[96];
    snprintf(line, sizeof(line),
             "content-type: text/plain; charset=utf-8\r\ncontent-length: %zu\r\n", strlen(body));
    int result = add_status_line(self, &response, status);
    if (result == 0) {
        result =
            asgi_headers_walk(self->default_headers, "default headers", add_header, &response);
    }
    if (result == 0 &&
        (byte_buffer_append_text(&response.bytes, headers) < 0 ||
         byte_buffer_append_text(&response.bytes, line) < 0 ||
         byte_buffer_append_text(&response.bytes, "connection: close\r\n\r\n") < 0 ||
         byte_buffer_append_text(&response.bytes, body) < 0)) {
        result = -1;
    }
    return finish(self, &response, result);
}
