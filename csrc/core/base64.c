/* Base64 by groups: three bytes are four characters, the first byte in the high bits.
 *
 * The decoder is strict in all but the unused bits of the last character (see base64.h). It works
 * in whole groups and writes nothing beyond what a group decodes to. */
#include "base64.h"

#define NOT_A_DIGIT 64U

static const uint8_t digits[64] = {
    'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', 'P',
    'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z', 'a', 'b', 'c', 'd', 'e', 'f',
    'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v',
    'w', 'x', 'y', 'z', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '+', '/',
};

/* The value of a character, or NOT_A_DIGIT. The ranges assume ASCII, as the wire is ASCII. */
static uint32_t
digit_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z') {
        return (uint32_t)c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return (uint32_t)c - 'a' + 26U;
    }
    if (c >= '0' && c <= '9') {
        return (uint32_t)c - '0' + 52U;
    }
    if (c == '+') {
        return 62;
    }
    return c == '/' ? 63 : NOT_A_DIGIT;
}

static void
encode_group(const uint8_t *data, size_t n, uint8_t *dst)
{
    const uint32_t group = (uint32_t)data[0] << 16 | (n > 1 ? (uint32_t)data[1] << 8 : 0U) |
                           (n > 2 ? (uint32_t)data[2] : 0U);
    dst[0] = digits[group >> 18];
    dst[1] = digits[group >> 12 & 63U];
    dst[2] = n > 1 ? digits[group >> 6 & 63U] : (uint8_t)'=';
    dst[3] = n > 2 ? digits[group & 63U] : (uint8_t)'=';
}

size_t
ws_base64_encode(const uint8_t *data, size_t n, uint8_t *dst)
{
    size_t written = 0;
    for (size_t at = 0; at < n; at += 3, written += 4) {
        const size_t left = n - at;
        encode_group(data + at, left < 3 ? left : 3, dst + written);
        if (left < 3) {
            return written + 4;
        }
    }
    return written;
}

/* Decodes `used` characters (2 to 4) to used - 1 bytes. */
static bool
decode_group(const uint8_t *text, size_t used, uint8_t *dst)
{
    uint32_t group = 0;
    for (size_t i = 0; i < 4; i++) {
        const uint32_t value = i < used ? digit_value(text[i]) : 0;
        if (value == NOT_A_DIGIT) {
            return false;
        }
        group = group << 6 | value;
    }
    dst[0] = (uint8_t)(group >> 16);
    if (used > 2) {
        dst[1] = (uint8_t)(group >> 8 & 255U);
    }
    if (used > 3) {
        dst[2] = (uint8_t)(group & 255U);
    }
    return true;
}

bool
ws_base64_decode(const uint8_t *text, size_t n, uint8_t *dst, size_t *size)
{
    if (n % 4 != 0) {
        return false;
    }
    size_t written = 0;
    for (size_t at = 0; at < n; at += 4) {
        size_t used = 4;
        if (n - at == 4 && text[at + 3] == '=') {
            used = text[at + 2] == '=' ? 2 : 3;
        }
        if (!decode_group(text + at, used, dst + written)) {
            return false;
        }
        written += used - 1;
    }
    *size = written;
    return true;
}
