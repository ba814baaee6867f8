/* Output of one connection: gathered, then written in one piece.
 *
 * Order is kept always. A flush writes to the socket itself where that is sound, and hands the
 * transport what the socket did not take; any other transport gets everything. */
#ifndef ATALANTA_EXT_WRITER_H
#define ATALANTA_EXT_WRITER_H

#include "protocol.h"

/* Looks at the transport and remembers its descriptor when it is of a type that is known to keep
 * no state between our writes and its socket. 0, or -1. */
int writer_attach(Protocol *self);

/* Forgets the descriptor and what was gathered: bytes must never reach a stranger's socket. */
void writer_detach(Protocol *self);

/* The bytes that the transport, which must be there, holds and has not sent. 0, or -1. */
int writer_transport_held(const Protocol *self, size_t *held);

/* Gathers bytes. 0, or -1 with MemoryError. */
int writer_append(Protocol *self, const void *data, size_t n);

/* Gathers a data frame, or writes it at once when it is large. 0, or -1. */
int writer_append_frame(Protocol *self, uint8_t opcode, const uint8_t *payload, size_t n);

/* Flushes when much was gathered. 0, or -1. */
int writer_flush_if_full(Protocol *self);

/* Whether a data frame with a payload of n bytes, compressed or not, would be gathered and nothing
 * written. */
bool writer_gathers(const Protocol *self, size_t n);

/* Writes what was gathered, or drops it when the transport is gone or has been told to close. May
 * run Python. 0, or -1. */
int writer_flush(Protocol *self);

/* As writer_flush, before the caller closes the transport: the end of the stream may go in the
 * same segment. Only where nothing that the peer could still send would be answered. 0, or -1. */
int writer_flush_last(Protocol *self);

/* Flushes at the end of this turn of the loop, unless the read callback that is running will. 0,
 * or -1. */
int writer_flush_later(Protocol *self);

#endif
