/* Lent buffer: where a connection's next bytes are received.
 *
 * As a rule that is the loop's shared buffer. While a read callback of that loop is parsing, what
 * lies there is not consumed, so a read inside that one gets memory of the connection's own. All
 * zero bytes is a buffer that nothing was lent of, and that owns no memory. */
#ifndef ATALANTA_EXT_LENT_BUFFER_H
#define ATALANTA_EXT_LENT_BUFFER_H

#include "loop_state.h"

typedef struct {
    PyObject *private_view; /* of the private memory, made at its first use */
    uint8_t *private_memory;
    uint8_t *place; /* first byte of what was lent last, until it is taken back; or NULL */
    size_t size;
} lent_buffer;

/* Lends the shared buffer or the private one: its first byte, and its size in `lent`. NULL with
 * MemoryError. */
uint8_t *lent_buffer_lend(lent_buffer *lent, const LoopState *per_loop);

/* The same for get_buffer(): a writable memoryview. New reference, or NULL. */
PyObject *lent_buffer_lend_view(lent_buffer *lent, const LoopState *per_loop);

/* Lends `size` bytes that the connection has elsewhere. A writable memoryview as a new reference,
 * or NULL. */
PyObject *lent_buffer_lend_place(lent_buffer *lent, uint8_t *place, size_t size);

/* Takes back what was lent, for buffer_updated(size): the bytes that came are the first *n at the
 * result. NULL with RuntimeError if nothing was lent, or ValueError if the size cannot be. */
uint8_t *lent_buffer_take_back(lent_buffer *lent, PyObject *size, size_t *n);

/* Whether RECEIVE_BUFFER_HEADROOM bytes in front of `place`, which was lent, may be written to. */
bool lent_buffer_has_headroom(const lent_buffer *lent, const LoopState *per_loop,
                              const uint8_t *place);

/* Forgets what was lent, with the private memory. */
void lent_buffer_drop(lent_buffer *lent);

#endif
