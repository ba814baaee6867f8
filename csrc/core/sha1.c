/* SHA-1 as FIPS 180-4, section 6.1 describes it, for messages below 2^61 bytes.
 *
 * A handshake hashes 60 bytes, two blocks, so this is written to be read, not to be fast. Words
 * are put together byte by byte: no alignment and no byte order is assumed. Invariant: block holds
 * the size % 64 bytes that have not been hashed yet. */
#include "sha1.h"

#include <string.h>

#define ROUNDS 80

/* bits is a constant from 1 to 31 at every call, so neither shift reaches the width. */
static inline uint32_t
rotate_left(uint32_t word, unsigned bits)
{
    return (word << bits) | (word >> (32U - bits));
}

static inline uint32_t
load_big_endian(const uint8_t *src)
{
    return (uint32_t)src[0] << 24 | (uint32_t)src[1] << 16 | (uint32_t)src[2] << 8 |
           (uint32_t)src[3];
}

static inline void
store_big_endian(uint8_t *dst, uint32_t word)
{
    dst[0] = (uint8_t)(word >> 24);
    dst[1] = (uint8_t)(word >> 16);
    dst[2] = (uint8_t)(word >> 8);
    dst[3] = (uint8_t)word;
}

static void
expand_block(const uint8_t *block, uint32_t words[ROUNDS])
{
    for (size_t t = 0; t < 16; t++) {
        words[t] = load_big_endian(block + 4 * t);
    }
    for (size_t t = 16; t < ROUNDS; t++) {
        words[t] = rotate_left(words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16], 1);
    }
}

/* What round t adds to the rotated a and e: its function of b, c and d, and its constant. */
static inline uint32_t
mix(size_t t, uint32_t b, uint32_t c, uint32_t d)
{
    if (t < 20) {
        return ((b & c) | (~b & d)) + 0x5A827999U;
    }
    if (t < 40) {
        return (b ^ c ^ d) + 0x6ED9EBA1U;
    }
    if (t < 60) {
        return ((b & c) | (b & d) | (c & d)) + 0x8F1BBCDCU;
    }
    return (b ^ c ^ d) + 0xCA62C1D6U;
}

static void
hash_block(uint32_t state[5], const uint8_t *block)
{
    uint32_t words[ROUNDS];
    expand_block(block, words);

    uint32_t a = state[0];
    uint32_t b = state[1];
    uint32_t c = state[2];
    uint32_t d = state[3];
    uint32_t e = state[4];
    for (size_t t = 0; t < ROUNDS; t++) {
        const uint32_t next = rotate_left(a, 5) + mix(t, b, c, d) + e + words[t];
        e = d;
        d = c;
        c = rotate_left(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

void
ws_sha1_start(ws_sha1_context *context)
{
    context->state[0] = 0x67452301U;
    context->state[1] = 0xEFCDAB89U;
    context->state[2] = 0x98BADCFEU;
    context->state[3] = 0x10325476U;
    context->state[4] = 0xC3D2E1F0U;
    context->size = 0;
}

void
ws_sha1_update(ws_sha1_context *context, const uint8_t *data, size_t n)
{
    size_t used = (size_t)(context->size % WS_SHA1_BLOCK);
    context->size += n;
    while (n > 0) {
        const size_t room = WS_SHA1_BLOCK - used;
        const size_t taken = n < room ? n : room;
        memcpy(context->block + used, data, taken);
        data += taken;
        n -= taken;
        used += taken;
        if (used == WS_SHA1_BLOCK) {
            hash_block(context->state, context->block);
            used = 0;
        }
    }
}

void
ws_sha1_finish(ws_sha1_context *context, uint8_t digest[WS_SHA1_SIZE])
{
    static const uint8_t padding[WS_SHA1_BLOCK] = {0x80}; /* the rest is zero */
    const uint64_t bits = context->size * 8;
    uint8_t length[8];
    store_big_endian(length, (uint32_t)(bits >> 32));
    store_big_endian(length + 4, (uint32_t)(bits & 0xFFFFFFFFU));

    /* One byte of padding at least, and the length ends a block. */
    const size_t used = (size_t)(context->size % WS_SHA1_BLOCK);
    const size_t length_at = WS_SHA1_BLOCK - sizeof(length);
    const size_t pad = used < length_at ? length_at - used : WS_SHA1_BLOCK - used + length_at;
    ws_sha1_update(context, padding, pad);
    ws_sha1_update(context, length, sizeof(length));
    for (size_t i = 0; i < 5; i++) {
        store_big_endian(digest + 4 * i, context->state[i]);
    }
}

void
ws_sha1(const uint8_t *data, size_t n, uint8_t digest[WS_SHA1_SIZE])
{
    ws_sha1_context context;
    ws_sha1_start(&context);
    ws_sha1_update(&context, data, n);
    ws_sha1_finish(&context, digest);
}
