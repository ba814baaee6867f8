/* Compression and back: with any parameters, any rooms, parts and cuts, with memory released or
 * the history forgotten between messages, what was compressed inflates to the same bytes; a room
 * of ws_deflate_bound always fits; what did not fit spoils nothing that follows.
 *
 * Input: parameters, cuts, then messages: an action byte, a length of two bytes, so many bytes. */
#include "deflate.h"
#include "input.h"
#include "memory.h"

enum {
    NO_TAKEOVER = 1,
    FEW_BLOCKS = 2,
    /* actions on a message */
    SMALL_ROOM = 1,    /* room for half of it; sent uncompressed if that does not do */
    FORGET = 2,        /* a message from elsewhere was sent before */
    RELEASE = 4,       /* the compressor's memory, before the message */
    RELEASE_OTHER = 8, /* the decompressor's, before the message */
    REPEATED = 16      /* the message is its bytes eight times over */
};

#define PARTS_MAX 8
#define REPEATS 8
#define MESSAGES_MAX 64

typedef struct {
    ws_compressor compressor;
    ws_decompressor decompressor;
    cuts pieces;
} pair;

static size_t
split(const uint8_t *text, size_t n, cuts *pieces, ws_slice *parts)
{
    size_t count = 0;
    size_t at = 0;
    while (at < n && count + 1 < PARTS_MAX) {
        const size_t size = next_piece(pieces, n - at);
        parts[count++] = (ws_slice){text + at, size};
        at += size;
    }
    parts[count++] = (ws_slice){text + at, n - at};
    return count;
}

static void
inflate_and_compare(pair *on, const uint8_t *payload, size_t size, const uint8_t *text, size_t n)
{
    uint8_t *output = new_block(n + 1);
    ws_inflate step = {.output = output, .room = n + 1};
    size_t at = 0;
    int result;
    do {
        const size_t piece = next_piece(&on->pieces, size - at);
        uint8_t *copy = copy_block(payload + at, piece);
        step.input = copy;
        step.input_size = piece;
        at += piece;
        step.final = at == size;
        result = ws_decompressor_step(&on->decompressor, &step);
        free(copy);
    } while (result == WS_INFLATE_INPUT);
    REQUIRE(result == WS_INFLATE_DONE);
    REQUIRE(step.room == 1 && bytes_equal(output, text, n));
    free(output);
}

static void
exchange(pair *on, uint8_t action, const uint8_t *text, size_t n, bool few_blocks)
{
    ws_slice parts[PARTS_MAX];
    const size_t count = split(text, n, &on->pieces, parts);
    const size_t room = (action & SMALL_ROOM) != 0 ? n / 2 : ws_deflate_bound(n);
    uint8_t *payload = new_block(room);
    size_t size = 0;
    if ((action & FORGET) != 0) {
        ws_compressor_forget(&on->compressor);
    }
    if ((action & RELEASE) != 0) {
        ws_compressor_release(&on->compressor);
    }
    if ((action & RELEASE_OTHER) != 0) {
        REQUIRE(ws_decompressor_release(&on->decompressor));
    }
    const int result = ws_compressor_message(&on->compressor, parts, count, payload, room, &size);
    if (result == 1) {
        REQUIRE(size > 0 && size <= room);
        inflate_and_compare(on, payload, size, text, n);
    }
    else if (result == 0) {
        REQUIRE((action & SMALL_ROOM) != 0);
    }
    else {
        REQUIRE(result == WS_ERROR_MEMORY && few_blocks);
    }
    free(payload);
}

static void
exchange_next(pair *on, fuzz_input *input, bool few_blocks)
{
    const uint8_t action = take_byte(input);
    const fuzz_input taken = take_bytes(input, take_two_bytes(input));
    const size_t times = (action & REPEATED) != 0 ? REPEATS : 1;
    uint8_t *text = new_block(times * taken.size);
    for (size_t i = 0; i < times && taken.size > 0; i++) {
        memcpy(text + i * taken.size, taken.data, taken.size);
    }
    exchange(on, action, text, times * taken.size, few_blocks);
    free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    const uint8_t options = take_byte(&input);
    const uint8_t levels = take_byte(&input);
    const bool no_takeover = (options & NO_TAKEOVER) != 0;
    const bool few_blocks = (options & FEW_BLOCKS) != 0;
    const uint8_t bits = (uint8_t)(9 + (options >> 2) % 7);
    memory given = {0, few_blocks ? take_byte(&input) : BLOCKS_UNLIMITED};
    memory other = {0, BLOCKS_UNLIMITED};
    const ws_allocator allocator = memory_allocator(&given);
    const ws_allocator other_allocator = memory_allocator(&other);
    pair on;
    ws_compressor_init(&on.compressor,
                       &(ws_compressor_config){.allocator = &allocator,
                                               .window_bits = bits,
                                               .memory_level = 1 + levels % 9,
                                               .level = 1 + (levels / 9) % 9,
                                               .no_context_takeover = no_takeover});
    ws_decompressor_init(&on.decompressor,
                         &(ws_decompressor_config){.allocator = &other_allocator,
                                                   .window_bits = bits,
                                                   .no_context_takeover = no_takeover});
    on.pieces = take_cuts(&input);
    for (size_t i = 0; i < MESSAGES_MAX && input.size > 0; i++) {
        exchange_next(&on, &input, few_blocks);
    }
    ws_compressor_release(&on.compressor);
    ws_decompressor_clear(&on.decompressor);
    REQUIRE(given.held == 0 && other.held == 0);
    return 0;
}
