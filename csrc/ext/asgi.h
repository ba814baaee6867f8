/* ASGI's events: reading those that the application sends, building those that it receives.
 *
 * Knows the keys and their types, and which error says what was wrong with a value. Knows no
 * states. */
#ifndef ATALANTA_EXT_ASGI_H
#define ATALANTA_EXT_ASGI_H

#include "module.h"

/* The event's type as str. Borrowed, or NULL with TypeError or ValueError. */
PyObject *asgi_event_type(const module_state *state, PyObject *event);

/* The value of a key, or NULL when it is missing or None; *failed is set if an exception is.
 * Borrowed. */
PyObject *asgi_event_get(PyObject *event, PyObject *key, bool *failed);

/* Calls `add` for each pair of an iterable of (name, value) bytes pairs that may be missing or
 * None. Refuses what must not reach the wire. 0, or -1: the result of `add`, or an exception. */
typedef int asgi_header_fn(void *context, PyObject *name, PyObject *value);
int asgi_headers_walk(PyObject *headers, const char *event, asgi_header_fn *add, void *context);

/* {"type": "websocket.receive", "text" or "bytes": message}. Takes over the reference. */
PyObject *asgi_receive_event_steal(const module_state *state, PyObject *message);

/* {"type": "websocket.disconnect", "code": …, "reason": …}; no reason (which is optional) for
 * NULL. */
PyObject *asgi_disconnect_event(const module_state *state, uint16_t code, PyObject *reason);

/* {"type": "websocket.connect"} */
PyObject *asgi_connect_event(const module_state *state);

#endif
