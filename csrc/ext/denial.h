/* The application's denial of a handshake (ASGI's WebSocket Denial Response extension). */
#ifndef ATALANTA_EXT_DENIAL_H
#define ATALANTA_EXT_DENIAL_H

#include "protocol.h"

/* websocket.http.response.start: kept until the first body event tells how long the body is. 0,
 * -1, or SESSION_OVERTAKEN. */
int denial_start(Protocol *self, PyObject *event);

/* websocket.http.response.body: written as it comes; the last one completes the response. 0, -1,
 * or SESSION_OVERTAKEN. */
int denial_body(Protocol *self, PyObject *event);

#endif
