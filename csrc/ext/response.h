/* HTTP responses to the upgrade request: the 101, the application's denial, the server's own
 * refusals.
 *
 * Each is built whole before a byte of it is gathered, so that a bad header leaves nothing behind;
 * nor does one whose reading moves the session on: then the result is SESSION_OVERTAKEN. */
#ifndef ATALANTA_EXT_RESPONSE_H
#define ATALANTA_EXT_RESPONSE_H

#include "protocol.h"

/* 101 with the subprotocol (str or NULL), the server's default headers and the application's
 * (iterable or NULL). 0, -1, or SESSION_OVERTAKEN. */
int response_switching(Protocol *self, PyObject *subprotocol, PyObject *headers);

/* Head of a denial (ASGI's WebSocket Denial Response extension): with `content_length`, or chunked
 * when that is negative, unless the application's headers say how long the body is. *chunked tells
 * what was chosen. 0, -1, or SESSION_OVERTAKEN. */
int response_denial(Protocol *self, long status, PyObject *headers, Py_ssize_t content_length,
                    bool *chunked);

/* A part of a denial's body, with chunk framing when it is chunked; nothing for a status that has
 * no body. 0, or -1. */
int response_denial_body(Protocol *self, const char *body, size_t size, bool chunked, bool last);

/* A complete plain-text response. `headers` are lines with their CRLF. 0, -1, or
 * SESSION_OVERTAKEN. */
int response_plain(Protocol *self, int status, const char *headers, const char *body);

#endif
