/* SHA-1 (FIPS 180-4), which RFC 6455, section 4.2.2 asks for in Sec-WebSocket-Accept.
 *
 * Good for that echo and for nothing that needs a secure hash. Depends on the C library's memcpy
 * alone; no allocation, no global state, the same result on any byte order. */
#ifndef ATALANTA_CORE_SHA1_H
#define ATALANTA_CORE_SHA1_H

#include <stddef.h>
#include <stdint.h>

#define WS_SHA1_SIZE 20
#define WS_SHA1_BLOCK 64

typedef struct {
    uint32_t state[5];
    uint64_t size;                /* bytes taken in so far */
    uint8_t block[WS_SHA1_BLOCK]; /* the last size % 64 of them */
} ws_sha1_context;

void ws_sha1_start(ws_sha1_context *context);
void ws_sha1_update(ws_sha1_context *context, const uint8_t *data, size_t n);

/* Spends the context: start it again before any other use. */
void ws_sha1_finish(ws_sha1_context *context, uint8_t digest[WS_SHA1_SIZE]);

/* All of it at once. data may be NULL when n is 0. */
void ws_sha1(const uint8_t *data, size_t n, uint8_t digest[WS_SHA1_SIZE]);

#endif
