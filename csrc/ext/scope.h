/* The connection scope (ASGI specification, "WebSocket Connection Scope") of a parsed request. */
#ifndef ATALANTA_EXT_SCOPE_H
#define ATALANTA_EXT_SCOPE_H

#include "protocol.h"

#include "../core/handshake.h"

/* A fresh dict. Looks at the transport for scheme, client and server. New reference, or NULL. */
PyObject *scope_build(Protocol *self, const ws_request *request);

/* What scope_build copies: all keys in their order, with the values that are the same for all. New
 * reference, or NULL. */
PyObject *scope_template(const module_state *state);

#endif
