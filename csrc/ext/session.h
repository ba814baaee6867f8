/* The session: ASGI's WebSocket states, what the application may send in each, and how a
 * connection ends.
 *
 * "End" means the end for the application: from then on receive() gives what is queued and then
 * websocket.disconnect. The first end wins; later ones change nothing. */
#ifndef ATALANTA_EXT_SESSION_H
#define ATALANTA_EXT_SESSION_H

#include "protocol.h"

#include "../core/handshake.h"

/* Validates the request and starts the application, or refuses. 0, or -1. */
int session_begin(Protocol *self, const ws_request *request);

/* Answers a request that is no upgrade we can serve (a ws_handshake_error) and closes. 0, or -1.
 */
int session_refuse_request(Protocol *self, int error);

/* Answers the handshake with a response of the server's own and closes; `headers` are lines with
 * their CRLF. 0, or -1. */
int session_refuse(Protocol *self, refusal_reason why, int status, const char *headers,
                   const char *body);

/* Closes an open connection for the server; no-op for any other. 0, or -1. */
int session_end_open(Protocol *self, limit_kind why, uint16_t code, PyObject *reason);

/* Does what one event of the application asks for. 0, or -1 with the exception that the
 * application gets. */
int session_send(Protocol *self, PyObject *event);

/* Sends a message that can be gathered at once, in whatever thread this runs (which holds the
 * GIL). 1; 0 when nothing was done, as the event is of another kind, or send() would have to wait,
 * or to write; or -1 as session_send. */
int session_send_nowait(Protocol *self, PyObject *event);

/* Logs how the handshake was answered: an HTTP status, or 0 for accepted. 0, or -1. */
int session_handshake_answered(Protocol *self, long status);

/* The application has refused or denied with a complete response. 0, or -1. */
int session_response_complete(Protocol *self);

/* Whether send() has to wait for room before it may do anything for that event. A close never
 * waits: it is how an application gets rid of a peer that takes nothing. */
bool session_must_wait(const Protocol *self, PyObject *event);

/* True when receive() would not have to wait. */
bool session_has_event(const Protocol *self);

/* The next event. Call only if session_has_event. New reference, or NULL. */
PyObject *session_take_event(Protocol *self);

/* Acts on a close frame or a failure that incoming.c found. 0, or -1. */
int session_frames_ended(Protocol *self);

/* No sign of life within the time: close with 1011. 0, or -1. */
int session_keepalive_failed(Protocol *self);

/* The peer does not take what is broadcast: close with 1013. 0, or -1. */
int session_too_slow(Protocol *self);

/* The peer's side of TCP has ended, with or without a close frame before: it is over for the
 * application at once, while the peer has the close timeout to take what is written. 0, or -1. */
int session_peer_left(Protocol *self);

/* The transport is gone. 0, or -1. */
int session_connection_lost(Protocol *self);

/* The server goes down: a close frame for an open connection, 500 for a handshake not answered. 0,
 * or -1. */
int session_shutdown(Protocol *self);

/* The application returned, or raised (`failed`). 0, or -1. */
int session_application_done(Protocol *self, bool failed);

#endif
