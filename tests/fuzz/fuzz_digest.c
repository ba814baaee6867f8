/* SHA-1 and base64: a digest does not depend on the cuts; what is encoded decodes to the same
 * bytes; text that decodes is, but for the unused bits of its last character, what encodes to it.
 *
 * Input: cuts, then the bytes, which are hashed, encoded, and decoded as text. */
#include "base64.h"
#include "input.h"
#include "sha1.h"

static void
check_digest(const fuzz_input *input, cuts *pieces)
{
    ws_sha1_context context;
    uint8_t whole[WS_SHA1_SIZE];
    uint8_t digest[WS_SHA1_SIZE];
    ws_sha1_start(&context);
    for (size_t at = 0; at < input->size;) {
        const size_t n = next_piece(pieces, input->size - at);
        uint8_t *piece = copy_block(input->data + at, n);
        ws_sha1_update(&context, piece, n);
        free(piece);
        at += n;
    }
    ws_sha1_finish(&context, digest);
    ws_sha1(input->data, input->size, whole);
    REQUIRE(memcmp(digest, whole, WS_SHA1_SIZE) == 0);
}

static void
check_encoding(const fuzz_input *input)
{
    const size_t size = WS_BASE64_ENCODED_SIZE(input->size);
    uint8_t *data = copy_block(input->data, input->size);
    uint8_t *text = new_block(size);
    uint8_t *decoded = new_block(WS_BASE64_DECODED_MAX(size));
    size_t decoded_size;
    REQUIRE(ws_base64_encode(data, input->size, text) == size);
    REQUIRE(ws_base64_decode(text, size, decoded, &decoded_size));
    REQUIRE(decoded_size == input->size && bytes_equal(decoded, data, decoded_size));
    free(decoded);
    free(text);
    free(data);
}

/* The character before the padding may differ: some of its bits are no byte's. */
static void
check_decoding(const fuzz_input *input)
{
    uint8_t *text = copy_block(input->data, input->size);
    uint8_t *decoded = new_block(WS_BASE64_DECODED_MAX(input->size));
    size_t decoded_size;
    if (ws_base64_decode(text, input->size, decoded, &decoded_size)) {
        uint8_t *again = new_block(input->size);
        REQUIRE(ws_base64_encode(decoded, decoded_size, again) == input->size);
        const size_t padding = (3 - decoded_size % 3) % 3;
        for (size_t i = 0; i < input->size; i++) {
            REQUIRE(text[i] == again[i] || (padding > 0 && i == input->size - padding - 1));
        }
        free(again);
    }
    free(decoded);
    free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    cuts pieces = take_cuts(&input);
    check_digest(&input, &pieces);
    check_encoding(&input);
    check_decoding(&input);
    return 0;
}
