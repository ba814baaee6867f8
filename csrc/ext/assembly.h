/* Assembly of one message from the pieces that core's conn hands out, with as little copying as
 * there can be.
 *
 * A message that lies whole in the bytes shown is unmasked straight into its final object; any
 * other is collected in a bytes object of the size that its frames announce. */
#ifndef ATALANTA_EXT_ASSEMBLY_H
#define ATALANTA_EXT_ASSEMBLY_H

#include "module.h"

#include "../core/conn.h"

/* All zero bytes is an assembly with nothing under way. */
typedef struct {
    PyObject *bytes; /* or NULL */
    Py_ssize_t filled;
} assembly;

/* Takes a WS_EVENT_DATA. 1: *message is complete (str or bytes; new reference); 0: pieces are
 * missing; -1: an exception is set; -2: the peer failed, *error is the ws_error, and the
 * connection is marked so. */
int assembly_take(assembly *self, ws_conn *conn, const ws_event *event, PyObject **message,
                  int *error);

/* Where the rest of a frame of at least `least` more bytes may be received: *size bytes at the
 * address returned, or NULL. The next piece must then be shown from there. */
uint8_t *assembly_space(const assembly *self, const ws_conn *conn, size_t least, size_t *size);

void assembly_drop(assembly *self);

#endif
