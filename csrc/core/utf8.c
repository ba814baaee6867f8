/* The UTF-8 validator: words of ASCII, then whole characters, then single bytes at the seams.
 *
 * Depends on nothing. Two decoders follow the same table (Unicode, table 3-7): character_size for
 * characters that lie whole in the piece, step for those that a piece's end may cut. Invariant:
 * step accepts a byte only if some valid character begins with the bytes it has seen. */
#include "utf8.h"

#include <string.h>

#define HIGH_BITS UINT64_C(0x8080808080808080)

static inline bool
continues(uint8_t byte)
{
    return (byte & 0xC0) == 0x80;
}

/* Index of the first byte at or after i that is not ASCII, or n. */
static inline size_t
skip_ascii(const uint8_t *text, size_t i, size_t n)
{
    while (n - i >= 8) {
        uint64_t word;
        memcpy(&word, text + i, sizeof word);
        if (word & HIGH_BITS) {
            break;
        }
        i += 8;
    }
    while (i < n && text[i] < 0x80) {
        i++;
    }
    return i;
}

/* Size of the character at text (its lead not ASCII, 4 bytes readable); 0 when ill-formed. */
static inline size_t
character_size(const uint8_t *text)
{
    const uint8_t lead = text[0];
    if (lead < 0xE0) {
        return lead >= 0xC2 && continues(text[1]) ? 2 : 0;
    }
    if (!continues(text[1]) || !continues(text[2])) {
        return 0;
    }
    if (lead < 0xF0) {
        /* The code point's upper 5 bits: 0 is overlong, 0x1B a surrogate. */
        const uint32_t upper = (lead & 0x0Fu) << 1 | (text[1] & 0x20u) >> 5;
        return upper != 0 && upper != 0x1B ? 3 : 0;
    }
    /* The code point without its low 12 bits: below 0x10 is overlong, above 0x10F out of range.
     * Leads above F4 come out above it as well. */
    const uint32_t upper = (lead - 0xF0u) << 6 | (text[1] & 0x3Fu);
    return upper >= 0x10 && upper <= 0x10F && continues(text[3]) ? 4 : 0;
}

static bool
step_lead(ws_utf8 *state, uint8_t lead)
{
    if (lead < 0xC2 || lead > 0xF4) {
        return false;
    }
    state->pending = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
    state->lower = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    state->upper = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    return true;
}

static bool
step(ws_utf8 *state, uint8_t byte)
{
    if (state->pending == 0) {
        return byte < 0x80 || step_lead(state, byte);
    }
    if (byte < state->lower || byte > state->upper) {
        return false;
    }
    state->pending--;
    state->lower = 0x80;
    state->upper = 0xBF;
    return true;
}

bool
ws_utf8_feed(ws_utf8 *state, const uint8_t *text, size_t n)
{
    size_t i = 0;
    while (state->pending > 0 && i < n) {
        if (!step(state, text[i++])) {
            return false;
        }
    }
    for (;;) {
        i = skip_ascii(text, i, n);
        while (n - i >= 4 && text[i] >= 0x80) {
            const size_t size = character_size(text + i);
            if (size == 0) {
                return false;
            }
            i += size;
        }
        if (n - i < 4) {
            break;
        }
    }
    while (i < n) {
        if (!step(state, text[i++])) {
            return false;
        }
    }
    return true;
}

bool
ws_utf8_complete(const ws_utf8 *state)
{
    return state->pending == 0;
}

bool
ws_utf8_valid(const uint8_t *text, size_t n)
{
    ws_utf8 state = {0};
    return ws_utf8_feed(&state, text, n) && ws_utf8_complete(&state);
}
