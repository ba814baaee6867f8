/* The session: ASGI's WebSocket states, what the application may send in each, and what it
 * receives. How a connection ends is closing.h's. */
#ifndef ATALANTA_EXT_SESSION_H
#define ATALANTA_EXT_SESSION_H

#include "protocol.h"

#include "../core/handshake.h"

/* Validates the request and starts the application, or refuses. 0, or -1. */
int session_begin(Protocol *self, const ws_request *request);

/* Does what one event of the application asks for. 0, or -1 with the exception that the
 * application gets. */
int session_send(Protocol *self, PyObject *event);

/* What a step of sending gives, with nothing done, when Python that it called (a header's or an
 * event's) has moved the session on: the event is looked at again, in the phase that is now. */
#define SESSION_OVERTAKEN 1

/* Sends a message that can be gathered at once, in whatever thread this runs (which holds the
 * GIL). 1; 0 when nothing was done, as the event is of another kind, or send() would have to wait,
 * or to write; or -1 as session_send. */
int session_send_nowait(Protocol *self, PyObject *event);

/* Logs how the handshake was answered: an HTTP status, or 0 for accepted. 0, or -1. */
int session_handshake_answered(Protocol *self, long status);

/* Whether send() has to wait for room before it may do anything for that event. A close never
 * waits: it is how an application gets rid of a peer that takes nothing. */
bool session_must_wait(const Protocol *self, PyObject *event);

/* True when receive() would not have to wait. */
bool session_has_event(const Protocol *self);

/* The next event. Call only if session_has_event. New reference, or NULL. */
PyObject *session_take_event(Protocol *self);

#endif
