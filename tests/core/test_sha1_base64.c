/* SHA-1 against FIPS 180-4's examples and Python's hashlib, base64 against RFC 4648's.
 *
 * Inputs end at a guard page, outputs too, so that one byte too far is a crash. */
#define _DEFAULT_SOURCE

#include "base64.h"
#include "sha1.h"
#include "check.h"
#include "guard.h"

static guarded input;
static guarded output;

/* A copy of the data whose end is the guard page. */
static const uint8_t *
at_guard(const void *data, size_t n)
{
    if (n == 0) {
        return input.end;
    }
    return memcpy(input.end - n, data, n);
}

static void
to_hex(const uint8_t *digest, char hex[2 * WS_SHA1_SIZE + 1])
{
    for (size_t i = 0; i < WS_SHA1_SIZE; i++) {
        snprintf(hex + 2 * i, 3, "%02x", (unsigned)digest[i]);
    }
}

static bool
sha1_is(const void *data, size_t n, const char *expected)
{
    uint8_t *digest = output.end - WS_SHA1_SIZE;
    char hex[2 * WS_SHA1_SIZE + 1];
    ws_sha1(at_guard(data, n), n, digest);
    to_hex(digest, hex);
    return strcmp(hex, expected) == 0;
}

static void
test_sha1_examples(void)
{
    static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    CHECK(sha1_is("", 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709"));
    CHECK(sha1_is("abc", 3, "a9993e364706816aba3e25717850c26c9cd0d89d"));
    CHECK(sha1_is(two_blocks, 56, "84983e441c3bd26ebaae4aa1f95129e5e54670f1"));
}

static void
test_sha1_null(void)
{
    uint8_t digest[WS_SHA1_SIZE];
    char hex[2 * WS_SHA1_SIZE + 1];
    ws_sha1(NULL, 0, digest);
    to_hex(digest, hex);
    CHECK(strcmp(hex, "da39a3ee5e6b4b0d3255bfef95601890afd80709") == 0);
}

static void
test_sha1_million(void)
{
    uint8_t block[1000];
    uint8_t digest[WS_SHA1_SIZE];
    char hex[2 * WS_SHA1_SIZE + 1];
    ws_sha1_context context;
    memset(block, 'a', sizeof(block));
    ws_sha1_start(&context);
    for (int i = 0; i < 1000; i++) {
        ws_sha1_update(&context, block, sizeof(block));
    }
    ws_sha1_finish(&context, digest);
    to_hex(digest, hex);
    CHECK(strcmp(hex, "34aa973cd4c4daa4f61eeb2bdbad27316534016f") == 0);
}

/* sha1(b"".join(sha1(bytes(range(n))).digest() for n in range(257))), from Python: every length
 * around the block's and the padding's edges. */
static void
test_sha1_every_length(void)
{
    uint8_t bytes[256];
    uint8_t digests[257 * WS_SHA1_SIZE];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)i;
    }
    for (size_t n = 0; n <= sizeof(bytes); n++) {
        ws_sha1(at_guard(bytes, n), n, digests + n * WS_SHA1_SIZE);
    }
    uint8_t digest[WS_SHA1_SIZE];
    char hex[2 * WS_SHA1_SIZE + 1];
    ws_sha1(digests, sizeof(digests), digest);
    to_hex(digest, hex);
    CHECK(strcmp(hex, "17c6e3a851bf76148d18b52e0aae5ee7046586ca") == 0);
}

static void
test_sha1_every_split(void)
{
    uint8_t bytes[200];
    uint8_t whole[WS_SHA1_SIZE];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 7);
    }
    ws_sha1(bytes, sizeof(bytes), whole);
    for (size_t split = 0; split <= sizeof(bytes); split++) {
        uint8_t parts[WS_SHA1_SIZE];
        ws_sha1_context context;
        ws_sha1_start(&context);
        ws_sha1_update(&context, bytes, split);
        ws_sha1_update(&context, bytes + split, sizeof(bytes) - split);
        ws_sha1_finish(&context, parts);
        CHECK(memcmp(whole, parts, sizeof(whole)) == 0);
    }
}

static bool
encodes(const char *data, const char *expected)
{
    const size_t n = strlen(data);
    const size_t size = strlen(expected);
    uint8_t *dst = output.end - size;
    return WS_BASE64_ENCODED_SIZE(n) == size &&
           ws_base64_encode(at_guard(data, n), n, dst) == size && memcmp(dst, expected, size) == 0;
}

static bool
decodes(const char *text, const char *expected)
{
    const size_t n = strlen(text);
    const size_t expected_size = strlen(expected);
    uint8_t *dst = output.end - expected_size; /* what it decodes to and not a byte more */
    size_t size = SIZE_MAX;
    return ws_base64_decode(at_guard(text, n), n, dst, &size) && size == expected_size &&
           memcmp(dst, expected, size) == 0;
}

static bool
refused(const char *text)
{
    const size_t n = strlen(text);
    uint8_t *dst = output.end - WS_BASE64_DECODED_MAX(n);
    size_t size;
    return !ws_base64_decode(at_guard(text, n), n, dst, &size);
}

static void
test_base64_examples(void)
{
    static const char *const pairs[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
        {"the sample nonce", "dGhlIHNhbXBsZSBub25jZQ=="},
        {"\xfb\xff\xbf\xfe", "+/+//g=="},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        CHECK(encodes(pairs[i][0], pairs[i][1]));
        CHECK(decodes(pairs[i][1], pairs[i][0]));
    }
}

static void
test_base64_round_trip(void)
{
    uint8_t bytes[256];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 167 + 13);
    }
    for (size_t n = 0; n <= sizeof(bytes); n++) {
        uint8_t text[WS_BASE64_ENCODED_SIZE(sizeof(bytes))];
        size_t size = SIZE_MAX;
        const size_t written = ws_base64_encode(at_guard(bytes, n), n, text);
        CHECK(written == WS_BASE64_ENCODED_SIZE(n));
        uint8_t *dst = output.end - n;
        CHECK(ws_base64_decode(at_guard(text, written), written, dst, &size));
        CHECK(size == n && memcmp(dst, bytes, n) == 0);
    }
}

static void
test_base64_padding(void)
{
    CHECK(refused("Z"));
    CHECK(refused("Zg"));
    CHECK(refused("Zg="));
    CHECK(refused("Zg==="));
    CHECK(refused("===="));
    CHECK(refused("Z==="));
    CHECK(refused("Zg=v"));
    CHECK(refused("Zg==Zm9v")); /* inside */
    CHECK(refused("Zm8=Zm9v"));
    CHECK(refused("Zm9v===="));
    CHECK(refused("Zm9v="));
}

/* Every byte in every place: only the alphabet's decode. */
static void
test_base64_alphabet(void)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int byte = 0; byte < 256; byte++) {
        for (size_t place = 0; place < 4; place++) {
            char text[8] = {'A', 'A', 'A', 'A', 'A', 'A', 'A', 'A'};
            uint8_t dst[6];
            size_t size;
            text[place] = (char)byte;
            const bool good = memchr(alphabet, byte, 64) != NULL;
            CHECK(ws_base64_decode(at_guard(text, 8), 8, dst, &size) == good);
        }
    }
    for (uint8_t value = 0; value < 64; value++) {
        const char text[4] = {'A', 'A', 'A', alphabet[value]};
        uint8_t dst[3];
        size_t size;
        CHECK(ws_base64_decode(at_guard(text, 4), 4, dst, &size) && dst[2] == value);
    }
}

static void
test_base64_unused_bits(void)
{
    CHECK(decodes("Zh==", "f"));
    CHECK(decodes("Zv==", "f"));
    CHECK(decodes("Zm9=", "fo"));
}

int
main(void)
{
    input = guarded_allocate(2);
    output = guarded_allocate(1);
    RUN(test_sha1_examples);
    RUN(test_sha1_null);
    RUN(test_sha1_million);
    RUN(test_sha1_every_length);
    RUN(test_sha1_every_split);
    RUN(test_base64_examples);
    RUN(test_base64_round_trip);
    RUN(test_base64_padding);
    RUN(test_base64_alphabet);
    RUN(test_base64_unused_bits);
    return check_finish();
}
