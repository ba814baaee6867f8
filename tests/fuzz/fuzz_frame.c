/* Frame headers: any prefix of a header gives 0 or what the whole gives, at the byte where the
 * reader of reference.c decides too; a header that was read is written back as the same bytes.
 *
 * Input: the bytes of one header. */
#include "frame.h"
#include "input.h"
#include "reference.h"

static void
check_fields(const ws_frame_header *header, const uint8_t *data, size_t size)
{
    uint8_t *built = new_block(WS_FRAME_HEADER_MAX);
    REQUIRE(header->size == size);
    REQUIRE(header->masked || header->key == 0);
    REQUIRE(header->length <= INT64_MAX);
    REQUIRE(header->opcode < WS_OPCODE_CLOSE ||
            (header->fin && !header->rsv1 && header->length <= WS_CONTROL_PAYLOAD_MAX));
    REQUIRE(ws_frame_build(built, header) == size);
    REQUIRE(bytes_equal(built, data, size));
    free(built);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    reference_header expected = {0};
    int error = 0;
    const size_t shown = size < WS_FRAME_HEADER_MAX + 2 ? size : WS_FRAME_HEADER_MAX + 2;
    for (size_t n = 0; n <= shown; n++) {
        if (n > 0 && error == 0 && !expected.done) {
            error = reference_header_byte(&expected, data[n - 1]);
        }
        ws_frame_header header;
        uint8_t *copy = copy_block(data, n);
        const int result = ws_frame_parse(copy, n, &header);
        if (error != 0 || !expected.done) {
            REQUIRE(result == error);
        }
        else {
            REQUIRE(result == (int)expected.size);
            REQUIRE(header.length == expected.length);
            check_fields(&header, data, expected.size);
        }
        free(copy);
    }
    return 0;
}
