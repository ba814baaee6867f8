/* Frame headers: every first two bytes against the rules of RFC 6455, section 5.2 written down a
 * second time, long lengths around every edge, and what is built read back.
 *
 * Every header is also shown one byte at a time, each time ending at a guard page: before the byte
 * that decides, the answer must be 0; from there on it must not change. */
#define _DEFAULT_SOURCE

#include "check.h"
#include "frame.h"
#include "guard.h"

static guarded area;

static int
parse(const uint8_t *data, size_t n, ws_frame_header *header)
{
    uint8_t *copy = area.end - n;
    if (n > 0) {
        memcpy(copy, data, n);
    }
    return ws_frame_parse(copy, n, header);
}

/* The answer must be `expected` from `decided` bytes on, and 0 before. */
static void
check_parse(const uint8_t *data, size_t n, size_t decided, int expected)
{
    for (size_t shown = 0; shown <= n; shown++) {
        ws_frame_header header;
        const int result = parse(data, shown, &header);
        const bool as_expected = result == (shown < decided ? 0 : expected);
        CHECK(as_expected);
        if (!as_expected) {
            fprintf(stderr, "%02X %02X: %d of %d bytes: %d\n", data[0], data[1], (int)shown,
                    (int)n, result);
        }
    }
}

static void
test_nothing(void)
{
    ws_frame_header header;
    CHECK(ws_frame_parse(NULL, 0, &header) == 0);
}

/* What the first two bytes alone decide: an error, and how many bytes it takes; 0 for none. */
static int
refused_early(unsigned first, unsigned second, size_t *decided)
{
    const bool fin = first >= 0x80;
    const unsigned opcode = first % 16;
    *decided = 1;
    if ((first & 0x20) || (first & 0x10)) {
        return WS_ERROR_RSV;
    }
    switch (opcode) {
    case 0:
    case 1:
    case 2:
        return 0;
    case 8:
    case 9:
    case 10:
        break;
    default:
        return WS_ERROR_OPCODE;
    }
    if (first & 0x40) {
        return WS_ERROR_RSV;
    }
    if (!fin) {
        return WS_ERROR_CONTROL_FRAGMENTED;
    }
    *decided = 2;
    return second % 128 > 125 ? WS_ERROR_CONTROL_TOO_LONG : 0;
}

static void
check_fields(const uint8_t *data, size_t n, uint64_t length)
{
    ws_frame_header header;
    const bool masked = data[1] >= 0x80;
    CHECK(parse(data, n, &header) == (int)n);
    CHECK(header.size == n);
    CHECK(header.length == length);
    CHECK(header.opcode == data[0] % 16);
    CHECK(header.fin == (data[0] >= 0x80));
    CHECK(header.rsv1 == ((data[0] & 0x40) != 0));
    CHECK(header.masked == masked);
    uint32_t key = 0;
    if (masked) {
        memcpy(&key, data + n - 4, 4);
    }
    CHECK(header.key == key);
}

static void
test_every_first_two_bytes(void)
{
    for (unsigned value = 0; value <= 0xFFFF; value++) {
        const unsigned first = value >> 8;
        const unsigned second = value & 0xFF;
        const unsigned short_length = second % 128;
        uint8_t data[WS_FRAME_HEADER_MAX] = {(uint8_t)first, (uint8_t)second, 1, 2, 3, 4, 5, 6,
                                             7, 8, 9, 10, 11, 12};
        size_t decided;
        const int error = refused_early(first, second, &decided);
        if (error != 0) {
            check_parse(data, sizeof data, decided, error);
            continue;
        }
        const size_t extended = short_length == 126 ? 2 : short_length == 127 ? 8 : 0;
        const size_t size = 2 + extended + (second >= 128 ? 4 : 0);
        check_parse(data, sizeof data, size, (int)size);
        check_fields(data, size,
                     extended == 0   ? short_length
                     : extended == 2 ? 0x0102
                                     : UINT64_C(0x0102030405060708));
    }
}

/* A data frame's header with `length` in 2 or 8 bytes. Returns the size. */
static size_t
long_header(uint8_t *dst, uint64_t length, size_t bytes, bool masked)
{
    static const uint8_t key[4] = {0x37, 0xFA, 0x21, 0x3D};
    dst[0] = 0x82;
    dst[1] = (uint8_t)((bytes == 2 ? 126 : 127) + (masked ? 128 : 0));
    for (size_t i = 0; i < bytes; i++) {
        dst[2 + i] = (uint8_t)(length >> 8 * (bytes - 1 - i));
    }
    if (masked) {
        memcpy(dst + 2 + bytes, key, 4);
    }
    return 2 + bytes + (masked ? 4 : 0);
}

static void
check_long(uint64_t length, size_t bytes, size_t decided, int error)
{
    for (int masked = 0; masked <= 1; masked++) {
        uint8_t data[WS_FRAME_HEADER_MAX];
        const size_t size = long_header(data, length, bytes, masked != 0);
        if (error != 0) {
            check_parse(data, size, decided, error);
            continue;
        }
        check_parse(data, size, size, (int)size);
        check_fields(data, size, length);
    }
}

static void
test_every_16_bit_length(void)
{
    for (uint64_t length = 0; length <= UINT16_MAX; length++) {
        check_long(length, 2, 4, length < 126 ? WS_ERROR_LENGTH_FORM : 0);
    }
}

static void
test_64_bit_lengths(void)
{
    static const uint64_t too_short[] = {0, 125, 126, 127, 128, 255, 256, 65534, 65535};
    static const uint64_t good[] = {65536, 65537, UINT32_MAX, UINT64_C(1) << 32,
                                    UINT64_C(1) << 62, INT64_MAX};
    static const uint64_t too_long[] = {UINT64_C(1) << 63, (UINT64_C(1) << 63) + 1,
                                        (UINT64_C(1) << 63) + 65535, UINT64_MAX};
    for (size_t i = 0; i < sizeof too_short / sizeof *too_short; i++) {
        check_long(too_short[i], 8, 8, WS_ERROR_LENGTH_FORM);
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        check_long(good[i], 8, 0, 0);
    }
    for (size_t i = 0; i < sizeof too_long / sizeof *too_long; i++) {
        check_long(too_long[i], 8, 3, WS_ERROR_LENGTH_RANGE);
    }
}

static void
check_build(uint64_t length, uint8_t opcode, unsigned flags, size_t expected_size)
{
    uint32_t key;
    memcpy(&key, "\x37\xFA\x21\x3D", 4);
    const ws_frame_header header = {
        .length = length,
        .key = key,
        .opcode = opcode,
        .fin = (flags & 1) != 0,
        .rsv1 = (flags & 2) != 0,
        .masked = (flags & 4) != 0,
    };
    /* The contract's room: one byte more would fault. */
    uint8_t *dst = area.end - WS_FRAME_HEADER_MAX;
    memset(dst, 0xAA, WS_FRAME_HEADER_MAX);
    const size_t size = ws_frame_build(dst, &header);
    CHECK(size == expected_size + (header.masked ? 4 : 0));
    for (size_t i = size; i < WS_FRAME_HEADER_MAX; i++) {
        CHECK(dst[i] == 0xAA);
    }
    uint8_t copy[WS_FRAME_HEADER_MAX];
    memcpy(copy, dst, sizeof copy);
    ws_frame_header back;
    CHECK(parse(copy, size, &back) == (int)size);
    CHECK(back.length == length && back.opcode == opcode && back.size == size);
    CHECK(back.fin == header.fin && back.rsv1 == header.rsv1 && back.masked == header.masked);
    CHECK(back.key == (header.masked ? key : 0));
}

static void
test_build(void)
{
    static const struct {
        uint64_t length;
        size_t size;
    } cases[] = {{0, 2}, {1, 2}, {125, 2}, {126, 4}, {127, 4}, {255, 4}, {256, 4}, {65535, 4},
                 {65536, 10}, {UINT64_C(1) << 32, 10}, {INT64_MAX, 10}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (unsigned flags = 0; flags < 8; flags++) {
            check_build(cases[i].length, WS_OPCODE_CONTINUATION, flags, cases[i].size);
            check_build(cases[i].length, WS_OPCODE_TEXT, flags, cases[i].size);
            check_build(cases[i].length, WS_OPCODE_BINARY, flags, cases[i].size);
        }
        if (cases[i].length <= WS_CONTROL_PAYLOAD_MAX) {
            check_build(cases[i].length, WS_OPCODE_CLOSE, 1, 2);
            check_build(cases[i].length, WS_OPCODE_PING, 5, 2);
            check_build(cases[i].length, WS_OPCODE_PONG, 1, 2);
        }
    }
}

static void
check_built_bytes(const ws_frame_header *header, const char *expected, size_t n)
{
    uint8_t dst[WS_FRAME_HEADER_MAX];
    CHECK(ws_frame_build(dst, header) == n);
    CHECK(memcmp(dst, expected, n) == 0);
}

/* The headers of the examples in section 5.7, to the byte. */
static void
test_built_bytes(void)
{
    uint32_t key;
    memcpy(&key, "\x37\xFA\x21\x3D", 4);
    check_built_bytes(&(ws_frame_header){.length = 5, .opcode = 1, .fin = true}, "\x81\x05", 2);
    check_built_bytes(
        &(ws_frame_header){.length = 5, .opcode = 1, .fin = true, .masked = true, .key = key},
        "\x81\x85\x37\xFA\x21\x3D", 6);
    check_built_bytes(&(ws_frame_header){.length = 3, .opcode = 1}, "\x01\x03", 2);
    check_built_bytes(&(ws_frame_header){.length = 7, .opcode = 1, .fin = true, .rsv1 = true},
                      "\xC1\x07", 2);
    check_built_bytes(&(ws_frame_header){.length = 256, .opcode = 2, .fin = true},
                      "\x82\x7E\x01\x00", 4);
    check_built_bytes(&(ws_frame_header){.length = 65536, .opcode = 2, .fin = true},
                      "\x82\x7F\x00\x00\x00\x00\x00\x01\x00\x00", 10);
}

int
main(void)
{
    area = guarded_allocate(1);
    RUN(test_nothing);
    RUN(test_every_first_two_bytes);
    RUN(test_every_16_bit_length);
    RUN(test_64_bit_lengths);
    RUN(test_build);
    RUN(test_built_bytes);
    return check_finish();
}
