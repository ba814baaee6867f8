/* UTF-8: however a text is cut, it is refused in the piece in which reference.c finds its first
 * bad byte, and complete where that says so.
 *
 * Input: cuts, then the text. */
#include "input.h"
#include "reference.h"
#include "utf8.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    cuts pieces = take_cuts(&input);
    reference_utf8 expected = {{0}, 0};
    ws_utf8 state = {0};
    bool good = true;
    for (size_t at = 0; good && at < input.size;) {
        const size_t n = next_piece(&pieces, input.size - at);
        uint8_t *piece = copy_block(input.data + at, n);
        for (size_t i = 0; good && i < n; i++) {
            good = reference_utf8_byte(&expected, piece[i]);
        }
        REQUIRE(ws_utf8_feed(&state, piece, n) == good);
        REQUIRE(!good || ws_utf8_complete(&state) == (expected.size == 0));
        free(piece);
        at += n;
    }
    uint8_t *whole = copy_block(input.data, input.size);
    REQUIRE(ws_utf8_valid(whole, input.size) == (good && expected.size == 0));
    free(whole);
    return 0;
}
