/* Timers of one connection: the keepalive ping and its deadline, and the wait for the closing
 * handshake. */
#ifndef ATALANTA_EXT_TIMERS_H
#define ATALANTA_EXT_TIMERS_H

#include "protocol.h"

/* Starts pinging, if there is an interval; a connection with compression is looked after in any
 * case. 0, or -1. */
int timers_start_keepalive(Protocol *self);

/* The pong with the pending ping's payload has come: the next ping is due one interval after the
 * last. 0, or -1. */
int timers_pong_arrived(Protocol *self);

/* Starts the wait for the peer's part of the closing handshake and stops pinging. 0, or -1. */
int timers_start_close(Protocol *self);

/* Stops every timer. Never fails. */
void timers_stop(Protocol *self);

/* The same when the connection is cleared: runs no Python. */
void timers_forget(Protocol *self);

#endif
