/* Base64 (RFC 4648, section 4), for the keys of the opening handshake.
 *
 * Depends on the standard headers alone; no allocation, no global state. Text is bytes with a
 * size, never terminated by NUL. */
#ifndef ATALANTA_CORE_BASE64_H
#define ATALANTA_CORE_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Room for the text of n bytes, for n up to SIZE_MAX / 4 * 3 - 2; and for the bytes of n
 * characters. */
#define WS_BASE64_ENCODED_SIZE(n) (((n) + 2) / 3 * 4)
#define WS_BASE64_DECODED_MAX(n) ((n) / 4 * 3)

/* Writes WS_BASE64_ENCODED_SIZE(n) characters, padding included, and returns their number. dst
 * and data must not overlap. */
size_t ws_base64_encode(const uint8_t *data, size_t n, uint8_t *dst);

/* Writes at most WS_BASE64_DECODED_MAX(n) bytes and sets *size. False, with dst and *size
 * undefined, unless the text is of the standard alphabet, a multiple of four characters long, and
 * padded at its end alone: white space, "-" and "_" are refused. Bits of the last character that
 * no byte takes may be other than 0 (RFC 4648, section 3.5 leaves that to the decoder): some
 * clients draw the 22 characters of their key at random. */
bool ws_base64_decode(const uint8_t *text, size_t n, uint8_t *dst, size_t *size);

#endif
