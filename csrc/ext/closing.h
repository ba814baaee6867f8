/* How connections end: the handshake refused, the closing handshake, the failure of a connection
 * (RFC 6455, 4.2.2, 7.1.2 and 7.1.7), and the ends that nobody announced.
 *
 * "End" means the end for the application: from then on receive() gives what is queued and then
 * websocket.disconnect. The first end wins; later ones change nothing. */
#ifndef ATALANTA_EXT_CLOSING_H
#define ATALANTA_EXT_CLOSING_H

#include "protocol.h"

/* Answers a request that is no upgrade we can serve (a ws_handshake_error) and closes. 0, or -1.
 */
int closing_refuse_request(Protocol *self, int error);

/* Answers the handshake with a response of the server's own and closes; `headers` are lines with
 * their CRLF. No-op for a connection that has opened or ended. 0, or -1. */
int closing_refuse(Protocol *self, refusal_reason why, int status, const char *headers,
                   const char *body);

/* There are as many connections as may be: 503 before anything is made for one more. 0, or -1. */
int closing_refuse_for_number(Protocol *self);

/* The application has refused or denied with a complete response. 0, or -1. */
int closing_response_complete(Protocol *self);

/* Sends our close frame, behind everything that was sent before, ends the session, and waits for
 * the peer's. `reason` is a str or NULL. 0, or -1. */
int closing_start(Protocol *self, session_end_cause cause, uint16_t code, PyObject *reason);

/* Closes an open connection for the server; no-op for any other. 0, or -1. */
int closing_end_open(Protocol *self, limit_kind why, uint16_t code, PyObject *reason);

/* Acts on a close frame or a failure that incoming.c found. 0, or -1. */
int closing_frames_ended(Protocol *self);

/* No sign of life within the time: close with 1011. 0, or -1. */
int closing_keepalive_failed(Protocol *self);

/* The peer does not take what is broadcast: close with 1013. 0, or -1. */
int closing_too_slow(Protocol *self);

/* The peer's side of TCP has ended, with or without a close frame before: it is over for the
 * application at once, while the peer has the close timeout to take what is written. 0, or -1. */
int closing_peer_left(Protocol *self);

/* The transport is gone. 0, or -1. */
int closing_connection_lost(Protocol *self);

/* The server goes down: a close frame for an open connection, 500 for a handshake not answered. 0,
 * or -1. */
int closing_shutdown(Protocol *self);

/* The application returned, or raised (`failed`). 0, or -1. */
int closing_application_done(Protocol *self, bool failed);

#endif
