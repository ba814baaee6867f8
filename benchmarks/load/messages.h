/* What echo connections send and expect: a fixed set of distinct payloads and their ready masked
 * frames, shared by all connections and sent in turn, each connection from a place of its own.
 * Nothing is built or copied while measuring. */
#ifndef LOAD_MESSAGES_H
#define LOAD_MESSAGES_H

#include "deflate.h"
#include "options.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum { FRAME_HEAD_MAX = 14 };

enum { OP_CONTINUATION = 0, OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

/* Frames one behind the other; frame i lies from at[i] to at[i + 1]. */
struct frames {
    uint8_t *bytes;
    size_t *at;
};

struct messages {
    size_t count;
    size_t size;
    uint8_t opcode;
    uint8_t *plain;              /* count payloads */
    size_t stamp_at, stamp_size; /* where a payload carries its number, in hexadecimal digits */
    struct frames fresh;  /* a connection's first messages: they refer to none before them */
    struct frames steady; /* later ones, compressed with what the others left in the window */
    uint64_t fresh_count;
};

/* The payloads. Every one differs from the others if the size permits. */
void messages_build(struct messages *messages, const struct options *options);

/* The frames, once it is known how the server wants them. */
void messages_frame(struct messages *messages, const struct deflate_parameters *deflate);

static inline const uint8_t *
messages_plain(const struct messages *messages, uint64_t number)
{
    return messages->plain + (size_t)(number % messages->count) * messages->size;
}

/* The longest run of frames that lie together from message `first` on, before message `end`.
 * `number` counts from the connection's own place in the set, `sent` is how many of its messages
 * came before. Returns the number of frames. */
size_t messages_run(const struct messages *messages, uint64_t number, uint64_t sent, size_t most,
                    struct iovec *run);

/* The number that a payload carries, or UINT64_MAX. */
uint64_t messages_stamp(const struct messages *messages, const uint8_t *payload);

/* Head and masked payload of one frame; returns its length, at most FRAME_HEAD_MAX above size. */
size_t frame_build(uint8_t *out, uint8_t first_byte, const uint8_t *payload, size_t size);

#endif
