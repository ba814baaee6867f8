/* Timers of one connection: the keepalive ping and its deadline, and the wait for the closing handshake. */
#ifndef ATALANTA_EXT_TIMERS_H
#define ATALANTA_EXT_TIMERS_H

#include "protocol.h"

/* Starts pinging, if there is an interval. 0, or -1. */
int timers_start_keepalive(Protocol *self);

/* The pong with the pending ping's payload has come: the next ping is due one interval after the last. 0, or -1. */
int timers_pong_arrived(Protocol *self);

/* Starts the wait for the peer's part of the closing handshake and stops pinging. 0, or -1. */
int timers_start_close(Protocol *self);

/* Cancels every timer. Never fails: what cancel() raises is reported as unraisable. */
void timers_stop(Protocol *self);

/* Methods that the loop calls when a timer is due. */
PyObject *timers_keepalive_due(PyObject *self, PyObject *ignored);
PyObject *timers_close_due(PyObject *self, PyObject *ignored);

#endif
