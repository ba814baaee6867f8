/* Incoming bytes: the upgrade request, then frames, then messages as Python objects on the queue.
 *
 * Everything shown is consumed or copied before these return, so that no unparsed byte lies in a
 * shared buffer when Python runs. What frames demand beyond messages (an end, a pong noted) is
 * left in the connection's fields for the caller to act on. */
#ifndef ATALANTA_EXT_INCOMING_H
#define ATALANTA_EXT_INCOMING_H

#include "protocol.h"

/* A failure that is no ws_error (those are negative): more fragments than the limit. */
#define FAILURE_FRAGMENTS 1

#define REQUEST_HEADERS_MAX 256

/* `headroom`: the bytes before data[0] belong to the shared buffer and may be overwritten. 0, or
 * -1. */
int incoming_feed(Protocol *self, uint8_t *data, size_t n, bool headroom);

/* Reads what is kept as frames: those that came before the application accepted. 0, or -1. */
int incoming_feed_kept(Protocol *self);

/* Reads the frames that were held: a read of compressed messages can inflate to a thousand times
 * its size, so that what follows one that fills the queue waits, with reading paused, until the
 * queue is empty. Frames may be held again. 0, or -1. */
int incoming_feed_held(Protocol *self);

/* Where the rest of a large frame may be received: *size bytes at the address returned; NULL for
 * nowhere. */
uint8_t *incoming_message_space(Protocol *self, size_t *size);

#endif
