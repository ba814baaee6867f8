/* Message compression: the RFC's own vectors, zlib as the other end, limits, broken data, memory.
 *
 * Payloads are fed whole, in small pieces and cut at every point, into rooms of several sizes;
 * input ends at a guard page and so does each room. All memory of the units under test comes
 * from an allocator that counts, and that fails when told. */
#define _DEFAULT_SOURCE

#include "deflate.h"
#include "check.h"
#include "guard.h"

#define ZLIB_CONST
#include <zlib.h>

#define PAYLOAD_MAX 300000
#define TEXT(literal) (const uint8_t *)(literal), sizeof(literal) - 1
#define ALL SIZE_MAX

static guarded input_area;
static guarded output_area;

/* --- The allocator --- */

static size_t blocks_held;
static size_t bytes_held;
static size_t bytes_peak;
static size_t requests_left = SIZE_MAX; /* after that many, there is no memory */

static void *
counting_allocate(void *context, size_t size)
{
    CHECK(context == &blocks_held);
    if (requests_left == 0) {
        return NULL;
    }
    requests_left--;
    size_t *block = malloc(size + 16);
    if (block == NULL) {
        abort();
    }
    *block = size;
    blocks_held++;
    bytes_held += size;
    bytes_peak = bytes_held > bytes_peak ? bytes_held : bytes_peak;
    return (uint8_t *)block + 16;
}

static void
counting_release(void *context, void *memory)
{
    CHECK(context == &blocks_held);
    void *block = (uint8_t *)memory - 16;
    size_t size;
    memcpy(&size, block, sizeof size);
    blocks_held--;
    bytes_held -= size;
    free(block);
}

static const ws_allocator counting = {counting_allocate, counting_release, &blocks_held};

/* --- Making messages --- */

static ws_compressor
new_compressor(uint8_t bits, uint8_t memory_level, uint8_t level, bool no_takeover)
{
    ws_compressor made;
    ws_compressor_init(&made, &(ws_compressor_config){&counting, bits, memory_level, level,
                                                      no_takeover});
    return made;
}

static ws_decompressor
new_decompressor(size_t max_message, uint8_t bits, bool no_takeover)
{
    ws_decompressor made;
    ws_decompressor_init(&made,
                         &(ws_decompressor_config){&counting, max_message, bits, no_takeover});
    return made;
}

/* JSON of about n bytes that differs with `seed`, or noise. */
static size_t
make_text(uint8_t *dst, size_t n, unsigned seed)
{
    size_t size = 0;
    while (size + 80 < n) {
        seed = seed * 1103515245u + 12345u;
        size += (size_t)snprintf((char *)dst + size, 80,
                                 "{\"type\": \"chat.message\", \"user\": %u, \"text\": \"%x\"}, ",
                                 seed >> 20, seed);
    }
    return size;
}

static void
make_noise(uint8_t *dst, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1103515245u + 12345u;
        dst[i] = (uint8_t)(seed >> 16);
    }
}

static uint8_t compressed[PAYLOAD_MAX];
static size_t compressed_size;

/* Compresses text[0..n) as one part, in a room that ends at the guard page. */
static int
compress_in(ws_compressor *compressor, const uint8_t *text, size_t n, size_t room)
{
    const ws_slice part = {text, n};
    uint8_t *dst = output_area.end - room;
    const int result = ws_compressor_message(compressor, &part, 1, dst, room, &compressed_size);
    if (result == 1) {
        CHECK(compressed_size <= room);
        memcpy(compressed, dst, compressed_size);
    }
    return result;
}

static bool
compress_text(ws_compressor *compressor, const uint8_t *text, size_t n)
{
    return compress_in(compressor, text, n, ws_deflate_bound(n)) == 1;
}

/* --- Reading messages --- */

static uint8_t inflated[PAYLOAD_MAX];
static size_t inflated_size;

/* Inflates one piece, with at most `room` bytes lent at a time. */
static int
inflate_one(ws_decompressor *decompressor, const uint8_t *piece, size_t n, bool final, size_t room)
{
    uint8_t *copy = input_area.end - n;
    ws_inflate step = {.input = copy, .input_size = n, .final = final};
    int result;
    memcpy(copy, piece, n);
    do {
        step.output = output_area.end - room;
        step.room = room;
        result = ws_decompressor_step(decompressor, &step);
        const size_t written = room - step.room;
        CHECK(step.output + step.room == output_area.end);
        CHECK(step.input + step.input_size == input_area.end);
        CHECK(result != WS_INFLATE_ROOM || step.room == 0);
        CHECK(result < 0 || result == WS_INFLATE_ROOM || step.input_size == 0);
        if (written > PAYLOAD_MAX - inflated_size) {
            abort();
        }
        memcpy(inflated + inflated_size, output_area.end - room, written);
        inflated_size += written;
    } while (result == WS_INFLATE_ROOM);
    CHECK(result == (final ? WS_INFLATE_DONE : WS_INFLATE_INPUT) || result < 0);
    return result;
}

/* Inflates one message: its first `cut` bytes, then the rest in pieces of `size` (or ALL). */
static int
inflate_cut(ws_decompressor *decompressor, const uint8_t *payload, size_t n, size_t cut,
            size_t size, size_t room)
{
    int result = WS_INFLATE_INPUT;
    inflated_size = 0;
    if (cut > 0) {
        result = inflate_one(decompressor, payload, cut, cut == n, room);
    }
    for (size_t at = cut; at < n && result >= 0;) {
        const size_t piece = n - at < size ? n - at : size;
        result = inflate_one(decompressor, payload + at, piece, at + piece == n, room);
        at += piece;
    }
    return n == 0 ? inflate_one(decompressor, payload, 0, true, room) : result;
}

static bool
inflates_to(ws_decompressor *decompressor, const uint8_t *payload, size_t n, const uint8_t *text,
            size_t text_size)
{
    return inflate_cut(decompressor, payload, n, 0, ALL, 4096) == WS_INFLATE_DONE &&
           inflated_size == text_size && memcmp(inflated, text, text_size) == 0;
}

static bool
last_inflates_to(ws_decompressor *decompressor, const uint8_t *text, size_t n)
{
    return inflates_to(decompressor, compressed, compressed_size, text, n);
}

/* --- Vectors --- */

typedef struct {
    const uint8_t *payload;
    size_t size;
    const char *text;
} vector;

#define VECTOR(payload, text) {(const uint8_t *)(payload), sizeof(payload) - 1, text}
#define HELLO "\xF2\x48\xCD\xC9\xC9\x07\x00"
#define HELLO_AGAIN "\xF2\x00\x11\x00\x00"
#define HELLO_FINAL "\xF3\x48\xCD\xC9\xC9\x07\x00"

/* All messages of one connection, all cut the same way. */
static void
feed_vectors(const vector *vectors, size_t n, size_t cut, size_t size, size_t room)
{
    ws_decompressor decompressor = new_decompressor(0, 15, false);
    for (size_t i = 0; i < n; i++) {
        const vector *this = &vectors[i];
        const int result = inflate_cut(&decompressor, this->payload, this->size,
                                       cut < this->size ? cut : 0, size, room);
        CHECK(result == WS_INFLATE_DONE);
        CHECK(inflated_size == strlen(this->text));
        CHECK(memcmp(inflated, this->text, inflated_size) == 0);
    }
    ws_decompressor_clear(&decompressor);
    CHECK(blocks_held == 0);
}

static void
check_vectors(const vector *vectors, size_t n)
{
    static const size_t rooms[] = {1, 2, 3, 5, 7, 300};
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
        for (size_t cut = 0; cut < 20; cut++) {
            feed_vectors(vectors, n, cut, ALL, rooms[i]);
        }
        for (size_t size = 1; size <= 3; size++) {
            feed_vectors(vectors, n, 0, size, rooms[i]);
        }
    }
}

#define CHECK_VECTORS(vectors) check_vectors(vectors, sizeof(vectors) / sizeof *(vectors))

/* Section 7.2.3, in the order of its parts. */
static void
test_vectors_of_the_rfc(void)
{
    static const vector vectors[] = {
        VECTOR(HELLO, "Hello"),
        VECTOR(HELLO_AGAIN, "Hello"),
        VECTOR("\x00\x05\x00\xFA\xFF\x48\x65\x6C\x6C\x6F\x00", "Hello"),
        VECTOR(HELLO_FINAL "\x00", "Hello"),
        VECTOR("\xF2\x48\x05\x00\x00\x00\xFF\xFF\xCA\xC9\xC9\x07\x00", "Hello"),
        VECTOR("\x00", ""),
        VECTOR(HELLO, "Hello"),
    };
    CHECK_VECTORS(vectors);
}

/* Blocks that say they are the last, in any place; their history stays. */
static void
test_final_blocks(void)
{
    static const vector vectors[] = {
        VECTOR(HELLO_FINAL "\x00", "Hello"),
        VECTOR(HELLO_AGAIN, "Hello"),
        VECTOR(HELLO_FINAL HELLO_FINAL HELLO, "HelloHelloHello"),
        VECTOR(HELLO_FINAL, "Hello"),
        VECTOR(HELLO_AGAIN, "Hello"),
        VECTOR(HELLO_FINAL HELLO_FINAL, "HelloHello"),
        VECTOR(HELLO_FINAL "\x00", "Hello"),
        VECTOR("\x03\x00\x03\x00" HELLO_AGAIN, "Hello"),
        VECTOR("\x03\x00", ""),
        VECTOR("\x01\x02\x00\xFD\xFFhi" HELLO, "hiHello"),
    };
    CHECK_VECTORS(vectors);
}

static void
test_empty_messages(void)
{
    static const vector vectors[] = {
        VECTOR("\x00", ""),      VECTOR("", ""), VECTOR(HELLO, "Hello"),
        VECTOR("\x00", ""),      VECTOR("", ""), VECTOR(HELLO_AGAIN, "Hello"),
        VECTOR("\x02\x00", ""),
    };
    CHECK_VECTORS(vectors);
}

/* A piece's output comes with it, however small the room: nothing waits for the next piece. */
static void
test_pieces_are_written_out(void)
{
    static uint8_t text[3000];
    ws_compressor compressor = new_compressor(15, 8, 6, false);
    memset(text, 'x', sizeof text);
    memcpy(text, "abc", 3);
    CHECK(compress_text(&compressor, text, sizeof text));
    ws_compressor_release(&compressor);
    for (size_t cut = 1; cut < compressed_size; cut++) {
        size_t sizes[2];
        for (size_t i = 0; i < 2; i++) {
            ws_decompressor decompressor = new_decompressor(0, 15, false);
            inflated_size = 0;
            CHECK(inflate_one(&decompressor, compressed, cut, false, i == 0 ? 1 : 4096) ==
                  WS_INFLATE_INPUT);
            sizes[i] = inflated_size;
            ws_decompressor_clear(&decompressor);
        }
        CHECK(sizes[0] == sizes[1]);
    }
    CHECK(blocks_held == 0);
}

/* --- Compressor --- */

static void
test_takeover(void)
{
    for (int no_takeover = 0; no_takeover < 2; no_takeover++) {
        ws_compressor compressor = new_compressor(12, 5, 6, no_takeover);
        ws_decompressor decompressor = new_decompressor(0, 12, no_takeover);
        CHECK(compress_text(&compressor, TEXT("Hello, hello, hello")));
        const size_t first = compressed_size;
        CHECK(last_inflates_to(&decompressor, TEXT("Hello, hello, hello")));
        CHECK(compress_text(&compressor, TEXT("Hello, hello, hello")));
        CHECK(no_takeover ? compressed_size == first : compressed_size < first);
        CHECK(last_inflates_to(&decompressor, TEXT("Hello, hello, hello")));
        ws_compressor_release(&compressor);
        ws_decompressor_clear(&decompressor);
        CHECK(blocks_held == 0);
    }
}

static void
test_compresses_empty_messages(void)
{
    ws_compressor compressor = new_compressor(12, 5, 6, false);
    CHECK(compress_in(&compressor, NULL, 0, 0) == 0);
    CHECK(compress_in(&compressor, NULL, 0, 1) == 1);
    CHECK(compressed_size == 1 && compressed[0] == 0);
    CHECK(ws_compressor_message(&compressor, NULL, 0, output_area.end - 1, 1, &compressed_size) ==
          1);
    CHECK(blocks_held == 0);
    CHECK(compress_text(&compressor, TEXT("Hello")));
    CHECK(compress_in(&compressor, TEXT(""), 1) == 1 && compressed_size == 1);
    ws_compressor_release(&compressor);
}

static void
test_parts(void)
{
    static uint8_t text[6000];
    const size_t n = make_text(text, sizeof text, 3);
    ws_decompressor decompressor = new_decompressor(0, 15, false);
    ws_compressor compressor = new_compressor(15, 8, 6, false);
    for (size_t cut = 0; cut <= n; cut += cut < 20 || n - cut < 20 ? 1 : 331) {
        const ws_slice parts[] = {{text, 0},       {text, cut}, {NULL, 0}, {text + cut, n - cut},
                                  {text + n, 0}, {NULL, 0}};
        CHECK(ws_compressor_message(&compressor, parts, 6, compressed, sizeof compressed,
                                    &compressed_size) == 1);
        CHECK(last_inflates_to(&decompressor, text, n));
    }
    ws_compressor_release(&compressor);
    ws_decompressor_clear(&decompressor);
}

/* What does not fit leaves nothing behind that a later message refers to: the peer never saw
 * it. */
static void
test_room(void)
{
    static uint8_t text[1000];
    const size_t n = make_text(text, sizeof text, 5);
    ws_decompressor decompressor = new_decompressor(0, 12, false);
    ws_compressor compressor = new_compressor(12, 5, 6, false);
    CHECK(compress_text(&compressor, TEXT("seen by both")));
    CHECK(last_inflates_to(&decompressor, TEXT("seen by both")));
    size_t room = 0;
    while (compress_in(&compressor, text, n, room) == 0) {
        room++;
        CHECK(compress_text(&compressor, text, 100));
        CHECK(last_inflates_to(&decompressor, text, 100));
    }
    CHECK(last_inflates_to(&decompressor, text, n));
    CHECK(room > compressed_size && room < n);
    ws_compressor_release(&compressor);
    ws_decompressor_clear(&decompressor);
}

static void
test_bound(void)
{
    static uint8_t noise[70000];
    static const size_t sizes[] = {1, 2, 10, 100, 1000, 16383, 16384, 65535, 65536, 70000};
    make_noise(noise, sizeof noise, 9);
    for (uint8_t level = 1; level <= 9; level++) {
        for (uint8_t memory_level = 1; memory_level <= 9; memory_level += 2) {
            const uint8_t bits = level % 2 ? 9 : 15;
            ws_compressor compressor = new_compressor(bits, memory_level, level, false);
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                CHECK(compress_text(&compressor, noise, sizes[i]));
            }
            ws_compressor_release(&compressor);
        }
    }
    CHECK(ws_deflate_bound(SIZE_MAX) == SIZE_MAX);
    CHECK(ws_deflate_bound(SIZE_MAX - 64) == SIZE_MAX);
    CHECK(ws_deflate_bound(0) == 64);
}

/* A message from elsewhere is in the peer's window, so ours must not be referred to. */
static void
test_forget(void)
{
    ws_compressor shared = new_compressor(12, 5, 6, true);
    ws_compressor own = new_compressor(12, 5, 6, false);
    ws_decompressor decompressor = new_decompressor(0, 12, false);
    static const char *const texts[] = {"one for many", "own, own and own", "one for many more"};
    for (size_t i = 0; i < 9; i++) {
        const uint8_t *text = (const uint8_t *)texts[i % 3];
        const size_t n = strlen(texts[i % 3]);
        if (i % 3 == 1) {
            CHECK(compress_text(&own, text, n));
        }
        else {
            CHECK(compress_text(&shared, text, n));
            ws_compressor_forget(&own);
        }
        CHECK(last_inflates_to(&decompressor, text, n));
    }
    ws_compressor_release(&shared);
    ws_compressor_release(&own);
    ws_decompressor_clear(&decompressor);
    CHECK(blocks_held == 0);
}

/* --- zlib itself as the other end --- */

/* Inflates the compressed message with zlib, and compares. */
static void
check_with_zlib(z_stream *z, const uint8_t *text, size_t n)
{
    static uint8_t payload[PAYLOAD_MAX];
    memcpy(payload, compressed, compressed_size);
    memcpy(payload + compressed_size, "\x00\x00\xFF\xFF", 4);
    z->next_in = payload;
    z->avail_in = (uInt)compressed_size + 4;
    z->next_out = inflated;
    z->avail_out = sizeof inflated;
    CHECK(inflate(z, Z_SYNC_FLUSH) == Z_OK);
    CHECK(z->avail_in == 0 && sizeof inflated - z->avail_out == n);
    CHECK(memcmp(inflated, text, n) == 0);
}

/* Compresses with zlib, for our decompressor. */
static void
compress_with_zlib(z_stream *z, const uint8_t *text, size_t n)
{
    z->next_in = text;
    z->avail_in = (uInt)n;
    z->next_out = compressed;
    z->avail_out = sizeof compressed;
    CHECK(deflate(z, Z_SYNC_FLUSH) == Z_OK && z->avail_out > 0);
    compressed_size = sizeof compressed - z->avail_out - 4;
}

static void
exchange_with_zlib(uint8_t bits, uint8_t memory_level, uint8_t level, bool no_takeover)
{
    static uint8_t text[50000];
    static const size_t sizes[] = {100, 1024, 200, 40000, 1, 1024, 5000, 49000, 1024};
    z_stream in = {0};
    z_stream out = {0};
    CHECK(inflateInit2(&in, -bits) == Z_OK);
    CHECK(deflateInit2(&out, level, Z_DEFLATED, -bits, memory_level, Z_DEFAULT_STRATEGY) == Z_OK);
    ws_compressor compressor = new_compressor(bits, memory_level, level, no_takeover);
    /* zlib uses 9 where 8 is agreed, but looks back 250 bytes at most. */
    ws_decompressor decompressor = new_decompressor(0, bits == 9 ? 8 : bits, no_takeover);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n = make_text(text, sizes[i] + 80, i / 2) + 1;
        if (i == 5) {
            make_noise(text, n, i);
        }
        CHECK(compress_text(&compressor, text, n));
        check_with_zlib(&in, text, n);
        compress_with_zlib(&out, text, n);
        CHECK(inflate_cut(&decompressor, compressed, compressed_size, i, 1 + i * 97, 1 + i * 61) ==
              WS_INFLATE_DONE);
        CHECK(inflated_size == n && memcmp(inflated, text, n) == 0);
        if (no_takeover) {
            CHECK(inflateReset(&in) == Z_OK && deflateReset(&out) == Z_OK);
        }
    }
    CHECK(inflateEnd(&in) == Z_OK);
    (void)deflateEnd(&out);
    ws_compressor_release(&compressor);
    ws_decompressor_clear(&decompressor);
    CHECK(blocks_held == 0);
}

static void
test_exchange_with_zlib(void)
{
    for (uint8_t bits = 9; bits <= 15; bits++) {
        for (uint8_t i = 0; i < 3; i++) {
            const uint8_t memory_level = (uint8_t)(1 + (bits + 3 * i) % 9);
            const uint8_t level = (uint8_t)(1 + (bits * 2 + 4 * i) % 9);
            exchange_with_zlib(bits, memory_level, level, i == 1);
        }
    }
}

/* --- Limits --- */

/* Zeros are the best there is to inflate: 1000 to 1. */
static void
test_bomb(void)
{
    static uint8_t zeros[PAYLOAD_MAX];
    ws_compressor compressor = new_compressor(15, 8, 9, false);
    memset(zeros, 0, sizeof zeros);
    CHECK(compress_text(&compressor, zeros, sizeof zeros) && compressed_size < 400);
    ws_compressor_release(&compressor);
    CHECK(blocks_held == 0);
    bytes_peak = 0;
    for (size_t limit = 1; limit < sizeof zeros; limit = limit * 3 + 1) {
        ws_decompressor decompressor = new_decompressor(limit, 15, false);
        CHECK(inflate_cut(&decompressor, compressed, compressed_size, 0, ALL, 1000) ==
              WS_ERROR_TOO_BIG);
        CHECK(inflated_size == limit);
        CHECK(blocks_held == 0);
    }
    CHECK(bytes_peak < 64 * 1024);
}

/* The limit itself is allowed, per message, however the room and the input are cut. */
static void
test_limit(void)
{
    for (size_t n = 1; n < 700; n += n < 10 ? 1 : 97) {
        static uint8_t text[1000];
        memset(text, 'x', sizeof text);
        for (size_t room = 1; room <= 1000; room += room < 10 ? 1 : 111) {
            ws_compressor compressor = new_compressor(15, 8, 6, false);
            ws_decompressor decompressor = new_decompressor(n, 15, false);
            for (int again = 0; again < 2; again++) {
                CHECK(compress_text(&compressor, text, n));
                CHECK(inflate_cut(&decompressor, compressed, compressed_size, 0, 1 + room % 3,
                                  room) == WS_INFLATE_DONE);
                CHECK(inflated_size == n);
            }
            CHECK(compress_text(&compressor, text, n + 1));
            CHECK(inflate_cut(&decompressor, compressed, compressed_size, 0, ALL, room) ==
                  WS_ERROR_TOO_BIG);
            CHECK(inflated_size == n);
            ws_compressor_release(&compressor);
        }
    }
    CHECK(blocks_held == 0);
}

/* --- Broken data --- */

static int
result_of(const uint8_t *payload, size_t n, size_t cut)
{
    ws_decompressor decompressor = new_decompressor(100000, 15, false);
    const int result = inflate_cut(&decompressor, payload, n, cut, ALL, 100);
    if (result < 0) {
        CHECK(blocks_held == 0);
        /* Inert: whatever comes gets the same answer. */
        CHECK(inflate_cut(&decompressor, TEXT(HELLO), 0, ALL, 100) == result);
        CHECK(inflate_cut(&decompressor, TEXT(""), 0, ALL, 100) == result);
        CHECK(inflated_size == 0 && blocks_held == 0);
    }
    ws_decompressor_clear(&decompressor);
    return result;
}

#define RESULT_IS(literal, expected)                                                              \
    do {                                                                                          \
        for (size_t cut = 0; cut + 1 < sizeof(literal); cut++) {                                  \
            CHECK(result_of(TEXT(literal), cut) == (expected));                                   \
        }                                                                                         \
    } while (0)

static void
test_garbage(void)
{
    RESULT_IS("\xFF", WS_ERROR_DEFLATE);                         /* reserved block type */
    RESULT_IS("Hello, this is no DEFLATE", WS_ERROR_DEFLATE);
    RESULT_IS("\x00\x05\x00\xFA\xFEHello\x00", WS_ERROR_DEFLATE); /* length and complement */
    RESULT_IS("\x04\xFF\xFF\xFF\xFF\xFF", WS_ERROR_DEFLATE);     /* dynamic codes */
    RESULT_IS(HELLO_AGAIN, WS_ERROR_DEFLATE);                    /* history that is not there */
    RESULT_IS(HELLO "\x00\x00\xFF\xFF\x06", WS_ERROR_DEFLATE);
    RESULT_IS(HELLO "\x00\x00\xFF\xFE", WS_ERROR_DEFLATE);
    CHECK(ws_error_close_code(WS_ERROR_DEFLATE) == 1007);
}

static void
test_cut_short(void)
{
    RESULT_IS("\xF2", WS_ERROR_DEFLATE_CUT);
    RESULT_IS("\xF2\x48\xCD", WS_ERROR_DEFLATE_CUT);
    RESULT_IS("\xF3\x48\xCD\xC9", WS_ERROR_DEFLATE_CUT);
    RESULT_IS("\x00\x05\x00\xFA\xFFHe", WS_ERROR_DEFLATE_CUT);
    RESULT_IS("\x00\x00\x02\xFF\xFD", WS_ERROR_DEFLATE_CUT); /* a stored block of 512 bytes */
    RESULT_IS(HELLO "\x00\x00", WS_ERROR_DEFLATE_CUT);
    /* The tail must not serve as the content that is missing, or as a part of a last block. */
    RESULT_IS("\x00\x04\x00\xFB\xFF", WS_ERROR_DEFLATE_CUT);
    RESULT_IS("\x00\x01\x00\xFE\xFF", WS_ERROR_DEFLATE_CUT);
    RESULT_IS("\x03", WS_ERROR_DEFLATE_CUT);
    RESULT_IS("\x01", WS_ERROR_DEFLATE_CUT);
    /* The four bytes that a sender has to leave out do no harm if it did not. */
    RESULT_IS(HELLO "\x00\x00\xFF\xFF\x00", WS_INFLATE_DONE);
    CHECK(ws_error_close_code(WS_ERROR_DEFLATE_CUT) == 1007);
}

/* Every beginning of a message and every flipped bit: an answer, no crash, nothing left behind. */
static void
test_damaged(void)
{
    static uint8_t text[2000];
    static uint8_t damaged[2000];
    const size_t n = make_text(text, sizeof text, 11);
    ws_compressor compressor = new_compressor(15, 8, 6, false);
    CHECK(compress_text(&compressor, text, n));
    ws_compressor_release(&compressor);
    const size_t size = compressed_size;
    size_t cut_short = 0;
    for (size_t part = 1; part < size; part++) {
        cut_short += result_of(compressed, part, part / 2) == WS_ERROR_DEFLATE_CUT;
    }
    CHECK(cut_short + 2 >= size);
    size_t refused = 0;
    for (size_t bit = 0; bit < size * 8; bit++) {
        memcpy(damaged, compressed, size);
        damaged[bit / 8] ^= (uint8_t)(1u << bit % 8);
        refused += result_of(damaged, size, 0) < 0;
    }
    CHECK(refused > 0);
}

/* Where each message stands on its own, an earlier one cannot be referred to. */
static void
test_no_history_without_takeover(void)
{
    for (int released = 0; released < 2; released++) {
        ws_decompressor decompressor = new_decompressor(0, 15, true);
        CHECK(inflates_to(&decompressor, TEXT(HELLO), TEXT("Hello")));
        CHECK(inflates_to(&decompressor, TEXT(HELLO_FINAL), TEXT("Hello")));
        CHECK(inflates_to(&decompressor, TEXT(HELLO), TEXT("Hello")));
        if (released) {
            CHECK(ws_decompressor_release(&decompressor) && blocks_held == 0);
        }
        CHECK(inflate_cut(&decompressor, TEXT(HELLO_AGAIN), 0, ALL, 100) == WS_ERROR_DEFLATE);
        CHECK(blocks_held == 0);
    }
}

/* --- Memory --- */

static void
test_no_memory_before_use(void)
{
    ws_compressor compressor = new_compressor(15, 8, 6, false);
    ws_decompressor decompressor = new_decompressor(0, 15, false);
    CHECK(ws_decompressor_release(&decompressor));
    ws_compressor_release(&compressor);
    CHECK(blocks_held == 0 && bytes_held == 0);
    ws_decompressor_clear(&decompressor);
}

static void
test_compressor_release(void)
{
    ws_compressor compressor = new_compressor(12, 5, 6, false);
    ws_decompressor decompressor = new_decompressor(0, 12, false);
    for (int i = 0; i < 5; i++) {
        CHECK(compress_text(&compressor, TEXT("Hello, hello")));
        CHECK(last_inflates_to(&decompressor, TEXT("Hello, hello")));
        if (i % 2 == 1) {
            const size_t before = blocks_held;
            ws_compressor_release(&compressor);
            CHECK(blocks_held < before);
        }
    }
    ws_compressor_release(&compressor);
    ws_decompressor_clear(&decompressor);
    CHECK(blocks_held == 0);
}

/* History survives, of less than a window and of more. */
static void
test_decompressor_release(void)
{
    static uint8_t text[20000];
    for (uint8_t bits = 9; bits <= 15; bits += 3) {
        ws_compressor compressor = new_compressor(bits, 8, 6, false);
        ws_decompressor decompressor = new_decompressor(0, bits, false);
        for (unsigned i = 0; i < 12; i++) {
            const size_t n = make_text(text, 200 + i % 4 * 6000, 1 + i / 4);
            CHECK(compress_text(&compressor, text, n));
            CHECK(last_inflates_to(&decompressor, text, n));
            if (i % 3 != 2) {
                const size_t before = bytes_held;
                CHECK(ws_decompressor_release(&decompressor) && bytes_held < before);
                CHECK(decompressor.stream == NULL && decompressor.window_size <= 1 << bits);
                CHECK(ws_decompressor_release(&decompressor));
            }
        }
        ws_compressor_release(&compressor);
        CHECK(blocks_held > 0);
        ws_decompressor_clear(&decompressor);
        CHECK(blocks_held == 0);
    }
}

static void
test_decompressor_release_refused(void)
{
    ws_decompressor decompressor = new_decompressor(0, 15, false);
    CHECK(inflate_one(&decompressor, TEXT("\xF2\x48"), false, 100) == WS_INFLATE_INPUT);
    CHECK(!ws_decompressor_release(&decompressor));
    inflated_size = 0;
    CHECK(inflate_one(&decompressor, TEXT("\xCD\xC9\xC9\x07\x00"), true, 100) == WS_INFLATE_DONE);
    requests_left = 0;
    CHECK(!ws_decompressor_release(&decompressor));
    CHECK(inflates_to(&decompressor, TEXT(HELLO_AGAIN), TEXT("Hello")));
    requests_left = SIZE_MAX;
    CHECK(ws_decompressor_release(&decompressor));
    CHECK(inflates_to(&decompressor, TEXT(HELLO_AGAIN), TEXT("Hello")));
    /* A last block, its history alone being left of it. */
    CHECK(inflates_to(&decompressor, TEXT(HELLO_FINAL), TEXT("Hello")));
    CHECK(ws_decompressor_release(&decompressor));
    CHECK(inflates_to(&decompressor, TEXT(HELLO_AGAIN), TEXT("Hello")));
    ws_decompressor_clear(&decompressor);
    CHECK(blocks_held == 0);
}

/* Nothing was inflated yet, so there is no history to keep. */
static void
test_decompressor_release_without_history(void)
{
    ws_decompressor decompressor = new_decompressor(0, 15, false);
    CHECK(inflate_one(&decompressor, TEXT(""), false, 1) == WS_INFLATE_INPUT);
    CHECK(ws_decompressor_release(&decompressor) && blocks_held == 0);
    CHECK(inflates_to(&decompressor, TEXT("\x00"), TEXT("")));
    CHECK(blocks_held > 0);
    CHECK(ws_decompressor_release(&decompressor) && blocks_held == 0);
    CHECK(inflates_to(&decompressor, TEXT(HELLO), TEXT("Hello")));
    ws_decompressor_clear(&decompressor);
    CHECK(blocks_held == 0);
}

static void
test_compressor_without_memory(void)
{
    ws_compressor compressor = new_compressor(12, 5, 6, false);
    int result = WS_ERROR_MEMORY;
    size_t failures = 0;
    for (size_t granted = 0; result != 1 && granted < 20; granted++) {
        requests_left = granted;
        result = compress_in(&compressor, TEXT("Hello"), 100);
        CHECK(result == 1 || (result == WS_ERROR_MEMORY && blocks_held == 0));
        failures += result == WS_ERROR_MEMORY;
    }
    requests_left = SIZE_MAX;
    CHECK(result == 1 && failures > 0);
    ws_decompressor decompressor = new_decompressor(0, 12, false);
    CHECK(last_inflates_to(&decompressor, TEXT("Hello")));
    ws_decompressor_clear(&decompressor);
    ws_compressor_release(&compressor);
    CHECK(blocks_held == 0);
}

static void
check_decompressor_without_memory(bool restored)
{
    int result = WS_ERROR_MEMORY;
    size_t failures = 0;
    for (size_t granted = 0; result != WS_INFLATE_DONE && granted < 20; granted++) {
        ws_decompressor decompressor = new_decompressor(0, 15, false);
        if (restored) {
            CHECK(inflates_to(&decompressor, TEXT(HELLO), TEXT("Hello")));
            CHECK(ws_decompressor_release(&decompressor));
        }
        requests_left = granted;
        result = inflate_cut(&decompressor, TEXT(HELLO), 0, 3, 2);
        requests_left = SIZE_MAX;
        CHECK(result == WS_INFLATE_DONE || (result == WS_ERROR_MEMORY && blocks_held == 0));
        failures += result == WS_ERROR_MEMORY;
        ws_decompressor_clear(&decompressor);
    }
    CHECK(result == WS_INFLATE_DONE && failures > 0 && blocks_held == 0);
    CHECK(ws_error_close_code(WS_ERROR_MEMORY) == 1011);
}

static void
test_decompressor_without_memory(void)
{
    check_decompressor_without_memory(false);
    check_decompressor_without_memory(true);
}

static void
test_system_allocator(void)
{
    ws_compressor compressor;
    ws_decompressor decompressor;
    ws_compressor_init(&compressor, &(ws_compressor_config){NULL, 12, 5, 6, false});
    ws_decompressor_init(&decompressor, &(ws_decompressor_config){NULL, 0, 12, false});
    CHECK(compress_text(&compressor, TEXT("Hello")));
    CHECK(last_inflates_to(&decompressor, TEXT("Hello")));
    CHECK(blocks_held == 0);
    ws_compressor_release(&compressor);
    ws_decompressor_clear(&decompressor);
}

int
main(void)
{
    input_area = guarded_allocate(PAYLOAD_MAX / 4096 + 1);
    output_area = guarded_allocate(PAYLOAD_MAX * 2 / 4096);
    RUN(test_vectors_of_the_rfc);
    RUN(test_final_blocks);
    RUN(test_empty_messages);
    RUN(test_pieces_are_written_out);
    RUN(test_takeover);
    RUN(test_compresses_empty_messages);
    RUN(test_parts);
    RUN(test_room);
    RUN(test_bound);
    RUN(test_forget);
    RUN(test_exchange_with_zlib);
    RUN(test_bomb);
    RUN(test_limit);
    RUN(test_garbage);
    RUN(test_cut_short);
    RUN(test_damaged);
    RUN(test_no_history_without_takeover);
    RUN(test_no_memory_before_use);
    RUN(test_compressor_release);
    RUN(test_decompressor_release);
    RUN(test_decompressor_release_refused);
    RUN(test_decompressor_release_without_history);
    RUN(test_compressor_without_memory);
    RUN(test_decompressor_without_memory);
    RUN(test_system_allocator);
    return check_finish();
}
