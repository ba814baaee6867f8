/* Message compression (RFC 7692, section 7.2): one compressor and one decompressor per connection.
 *
 * The only unit that knows zlib; any library with zlib's interface will do. No memory is held
 * before the first message that is compressed, and both can give it back between two messages
 * (the *_release functions). What a message is, which frames carry it and what its text must be
 * is conn's business. */
#ifndef ATALANTA_CORE_DEFLATE_H
#define ATALANTA_CORE_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "handshake.h"

/* Where memory comes from. */
typedef struct {
    void *(*allocate)(void *context, size_t size); /* NULL when there is none */
    void (*release)(void *context, void *memory);
    void *context;
} ws_allocator;

typedef struct ws_zlib_stream ws_zlib_stream;

/* --- Compressor ------------------------------------------------------------------------------ */

/* The ranges are the caller's to check; out of them every message is a WS_ERROR_MEMORY. */
typedef struct {
    const ws_allocator *allocator; /* borrowed, outlives the compressor; NULL: malloc and free */
    uint8_t window_bits;           /* 9 to 15, at most what was negotiated for our direction */
    uint8_t memory_level;          /* 1 to 9, zlib's memLevel */
    uint8_t level;                 /* 1 to 9 */
    bool no_context_takeover;      /* each message is compressed on its own */
} ws_compressor_config;

/* Fields are private to deflate.c; the struct is here so that it can be embedded. */
typedef struct {
    ws_compressor_config config;
    ws_zlib_stream *stream; /* NULL until it is needed */
    bool forget;            /* the history is not what the peer has seen: start without it */
} ws_compressor;

void ws_compressor_init(ws_compressor *self, const ws_compressor_config *config);

/* Compresses one message, whose parts stand in order, to dst as the payload of one frame with
 * RSV1: the four bytes 00 00 FF FF that end a flush are left out (section 7.2.1). The order of
 * calls is the order in which the messages must be sent.
 *
 * 1: the payload is in dst, its length in *size. 0: it does not fit the room, of which the four
 * bytes use a part while it is made. WS_ERROR_MEMORY: there is no memory for the compressor's
 * state. After 0 and WS_ERROR_MEMORY the message can be sent uncompressed, which is always
 * legal, and the next one is compressed without history. Nothing is lost either way; a room of
 * ws_deflate_bound(n) always fits. */
int ws_compressor_message(ws_compressor *self, const ws_slice *parts, size_t count, uint8_t *dst,
                          size_t room, size_t *size);

/* To call when a compressed message that this compressor did not make was sent on the
 * connection (one made once for many connections, say): the peer's window holds it, ours does
 * not, so the next message starts without history. Uncompressed messages are in neither window. */
void ws_compressor_forget(ws_compressor *self);

/* Gives all memory back; the compressor can still be used. A message that refers to no history
 * is legal at any time, so this costs nothing but some size of the next messages. */
void ws_compressor_release(ws_compressor *self);

/* The largest payload that ws_compressor_message makes of n bytes, with the room it works in;
 * SIZE_MAX where that is beyond size_t. Symbols of 9 bits instead of 8, and a few bytes for
 * each block. */
static inline size_t
ws_deflate_bound(size_t n)
{
    const size_t more = n / 8 + n / 64 + 64;
    return more > SIZE_MAX - n ? SIZE_MAX : n + more;
}

/* --- Decompressor ---------------------------------------------------------------------------- */

typedef struct {
    const ws_allocator *allocator; /* borrowed, outlives the decompressor; NULL: malloc and free */
    size_t max_message;            /* bytes of an inflated message; 0: no limit */
    uint8_t window_bits;           /* 8 to 15, at least what the peer may use */
    bool no_context_takeover;      /* the peer compresses each message on its own */
} ws_decompressor_config;

/* Fields are private to deflate.c; the struct is here so that it can be embedded. */
typedef struct {
    ws_decompressor_config config;
    ws_zlib_stream *stream; /* NULL until it is needed */
    uint8_t *window;        /* history kept while there is no stream, or NULL */
    size_t message_size;    /* bytes inflated of the message under way */
    uint16_t window_size;
    bool in_message; /* at least one byte of it was fed */
    bool blocked;    /* zlib may hold output that had no room */
    bool ended;      /* a block with BFINAL was the last; what follows is a new stream */
    int error;
} ws_decompressor;

/* One step: what is shown and where it goes. Each pointer moves past what was taken or written,
 * its size with it. */
typedef struct {
    const uint8_t *input; /* payload, unmasked, of the message's frames in their order */
    size_t input_size;
    uint8_t *output; /* not the input's memory */
    size_t room;
    bool final; /* the message ends where this input ends */
} ws_inflate;

typedef enum {
    WS_INFLATE_INPUT = 0, /* all input is taken, and its output written: show the next piece */
    WS_INFLATE_ROOM = 1,  /* the room is used up: call again with more, and what input is left */
    WS_INFLATE_DONE = 2   /* the message is complete; the next input begins another */
} ws_inflate_result;

void ws_decompressor_init(ws_decompressor *self, const ws_decompressor_config *config);

/* A ws_inflate_result, or < 0: WS_ERROR_TOO_BIG (the message is above the limit; at most the limit
 * was written), WS_ERROR_DEFLATE (not DEFLATE data), WS_ERROR_DEFLATE_CUT (the message ends inside
 * a block), WS_ERROR_MEMORY. After an error its memory is given back, and every later call gives
 * the same answer.
 *
 * Output is written as far as there is room, so memory is bounded by what the caller lends,
 * whatever the input inflates to. ROOM may turn out to have been the last byte: the next call
 * then gives DONE or INPUT with nothing written. A message without any payload counts as empty,
 * and a block with BFINAL set may end one even without the byte 00 that section 7.2.3.4 puts
 * behind it: there are senders of both. Data that refers back farther than the window is
 * WS_ERROR_DEFLATE only where zlib has to look into the window: what lies in the room that was
 * lent for the same step is found there. */
int ws_decompressor_step(ws_decompressor *self, ws_inflate *step);

/* Gives back what is not needed between two messages: everything if the peer must not refer to
 * earlier ones, else all but a copy of the last bytes inflated, at most 2^window_bits. True
 * when that is done, or there was nothing; false inside a message, and when there is no memory
 * for the copy: nothing has changed then. */
bool ws_decompressor_release(ws_decompressor *self);

/* Gives all memory back. The decompressor must not be used again before ws_decompressor_init. */
void ws_decompressor_clear(ws_decompressor *self);

#endif
