/* Limits: what one client may take of us, as the settings say. */
#ifndef ATALANTA_EXT_CONNECTION_LIMITS_H
#define ATALANTA_EXT_CONNECTION_LIMITS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>

/* The message size and the times are with the core's connection and the timers. */
typedef struct {
    size_t connections;     /* of the process; 0: no limit */
    size_t fragments;       /* of one message; 0: no limit */
    size_t queued_messages; /* that the application has not taken: above, reading pauses */
    size_t queued_bytes;    /* the same, in bytes */
    size_t request_size;    /* bytes of the request's head */
    size_t early_bytes;     /* of frames before the handshake is answered: above, reading pauses */
    unsigned int retry_after; /* seconds, in the answer to a connection too many */
    uint16_t shutdown_code;
} connection_limits;

/* Reads a tuple with the fields in their order. 0, or -1 with TypeError or ValueError. */
int limits_configure(connection_limits *limits, PyObject *options);

#endif
