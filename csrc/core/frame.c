/* The frame header's layout, read and written.
 *
 * Depends on error.h alone. The checks stand in the order of the bytes that decide them, so a
 * header that comes in parts is refused for the same cause as one that comes whole. */
#include "frame.h"

#include <string.h>

enum {
    FIRST_FIN = 0x80,
    FIRST_RSV1 = 0x40,
    FIRST_RSV23 = 0x30,
    FIRST_OPCODE = 0x0F,
    OPCODE_CONTROL = 0x08,
    SECOND_MASKED = 0x80,
    SECOND_LENGTH = 0x7F,
    LENGTH_16 = 126, /* the length is in the next 2 bytes */
    LENGTH_64 = 127  /* ... in the next 8 */
};

/* One bit per opcode that RFC 6455 defines. */
#define OPCODES_DEFINED 0x0707u

static inline int
check_first(uint8_t first)
{
    const unsigned opcode = first & FIRST_OPCODE;
    if (first & FIRST_RSV23) {
        return WS_ERROR_RSV;
    }
    if (!(OPCODES_DEFINED >> opcode & 1u)) {
        return WS_ERROR_OPCODE;
    }
    if (opcode & OPCODE_CONTROL) {
        if (first & FIRST_RSV1) {
            return WS_ERROR_RSV;
        }
        if (!(first & FIRST_FIN)) {
            return WS_ERROR_CONTROL_FRAGMENTED;
        }
    }
    return 0;
}

static inline uint64_t
load_big_endian(const uint8_t *data, size_t n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++) {
        value = value << 8 | data[i];
    }
    return value;
}

static inline void
store_big_endian(uint8_t *dst, uint64_t value, size_t n)
{
    for (size_t i = n; i > 0; i--) {
        dst[i - 1] = (uint8_t)(value & 0xFF);
        value >>= 8;
    }
}

/* Reads a length that does not fit the second byte. Returns as ws_frame_parse does, the size being
 * that of the header up to here. */
static int
parse_long_length(const uint8_t *data, size_t n, uint64_t *length)
{
    if ((data[1] & SECOND_LENGTH) == LENGTH_16) {
        if (n < 4) {
            return 0;
        }
        *length = load_big_endian(data + 2, 2);
        return *length < LENGTH_16 ? WS_ERROR_LENGTH_FORM : 4;
    }
    if (n > 2 && data[2] >= 0x80) {
        return WS_ERROR_LENGTH_RANGE;
    }
    /* Six zero bytes leave 16 bits: that is already too few, whatever follows. */
    if (n >= 8 && load_big_endian(data + 2, 6) == 0) {
        return WS_ERROR_LENGTH_FORM;
    }
    if (n < 10) {
        return 0;
    }
    *length = load_big_endian(data + 2, 8);
    return 10;
}

int
ws_frame_parse(const uint8_t *data, size_t n, ws_frame_header *header)
{
    if (n == 0) {
        return 0;
    }
    const uint8_t first = data[0];
    const int error = check_first(first);
    if (error < 0) {
        return error;
    }
    if (n < 2) {
        return 0;
    }
    const bool masked = (data[1] & SECOND_MASKED) != 0;
    uint64_t length = data[1] & SECOND_LENGTH;
    int size = 2;
    if (length > WS_CONTROL_PAYLOAD_MAX) {
        if (first & OPCODE_CONTROL) {
            return WS_ERROR_CONTROL_TOO_LONG;
        }
        size = parse_long_length(data, n, &length);
        if (size <= 0) {
            return size;
        }
    }
    uint32_t key = 0;
    if (masked) {
        if (n - (size_t)size < sizeof key) {
            return 0;
        }
        memcpy(&key, data + size, sizeof key);
        size += (int)sizeof key;
    }
    header->length = length;
    header->key = key;
    header->size = (uint8_t)size;
    header->opcode = first & FIRST_OPCODE;
    header->fin = (first & FIRST_FIN) != 0;
    header->rsv1 = (first & FIRST_RSV1) != 0;
    header->masked = masked;
    return size;
}

size_t
ws_frame_build(uint8_t *dst, const ws_frame_header *header)
{
    const unsigned mask_bit = header->masked ? SECOND_MASKED : 0;
    const unsigned fin_bit = header->fin ? FIRST_FIN : 0;
    const unsigned rsv1_bit = header->rsv1 ? FIRST_RSV1 : 0;
    size_t size = 2;
    dst[0] = (uint8_t)(fin_bit | rsv1_bit | header->opcode);
    if (header->length < LENGTH_16) {
        dst[1] = (uint8_t)(mask_bit | (unsigned)header->length);
    }
    else if (header->length <= UINT16_MAX) {
        dst[1] = (uint8_t)(mask_bit | LENGTH_16);
        store_big_endian(dst + 2, header->length, 2);
        size = 4;
    }
    else {
        dst[1] = (uint8_t)(mask_bit | LENGTH_64);
        store_big_endian(dst + 2, header->length, 8);
        size = 10;
    }
    if (header->masked) {
        memcpy(dst + size, &header->key, sizeof header->key);
        size += sizeof header->key;
    }
    return size;
}
