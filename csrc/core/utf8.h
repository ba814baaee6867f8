/* A resumable UTF-8 validator (RFC 3629): no overlong forms, no surrogates, nothing above
 * U+10FFFF.
 *
 * A text message may be cut anywhere, also inside a character; RFC 6455, section 8.1 wants the
 * connection failed for bad UTF-8, and this finds it at the first byte that cannot be right. */
#ifndef ATALANTA_CORE_UTF8_H
#define ATALANTA_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zero bytes is the state at the start of a text. */
typedef struct {
    uint8_t pending; /* continuation bytes still missing from the character under way */
    uint8_t lower;   /* range of the next continuation byte, valid while pending > 0 */
    uint8_t upper;
} ws_utf8;

/* True while text[0..n) can continue what came before; false at the first bad byte, after which
 * the state is of no use until it is set to zero. */
bool ws_utf8_feed(ws_utf8 *state, const uint8_t *text, size_t n);

/* True when the text fed so far may end here. */
bool ws_utf8_complete(const ws_utf8 *state);

/* The whole text at once. */
bool ws_utf8_valid(const uint8_t *text, size_t n);

#endif
