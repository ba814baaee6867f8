/* Decompression of whatever comes: only documented results, never more than the room or the limit,
 * all memory given back, and the same messages and failure however the input is cut, how small
 * the rooms are, and whether memory is released between two messages. But for one thing: what
 * refers back farther than a window of less than 32 KiB may fail in pieces and pass at once.
 *
 * Input: options, limit, room, cuts, then messages: a length of two bytes and so many bytes. */
#include "deflate.h"
#include "input.h"
#include "memory.h"
#include "reference.h"

enum { NO_TAKEOVER = 8, RELEASE = 16, FEW_BLOCKS = 32 };

typedef struct {
    ws_decompressor_config config;
    size_t room;
    cuts pieces;
    bool release;
} plan;

static void
check_step(const ws_inflate *before, const ws_inflate *after, int result)
{
    REQUIRE(result >= 0 || result == WS_ERROR_TOO_BIG || result == WS_ERROR_DEFLATE ||
            result == WS_ERROR_DEFLATE_CUT || result == WS_ERROR_MEMORY);
    REQUIRE(after->input_size <= before->input_size && after->room <= before->room);
    REQUIRE((size_t)(after->output - before->output) == before->room - after->room);
    REQUIRE(result != WS_INFLATE_ROOM || after->room == 0);
    REQUIRE((result != WS_INFLATE_INPUT && result != WS_INFLATE_DONE) || after->input_size == 0);
    REQUIRE(result != WS_INFLATE_DONE || before->final);
}

/* Shows one piece till it is taken. Returns the last result. */
static int
feed_piece(ws_decompressor *decompressor, const plan *by, ws_inflate step, transcript *message)
{
    uint8_t *output = new_block(by->room);
    int result;
    do {
        step.output = output;
        step.room = by->room;
        const ws_inflate before = step;
        result = ws_decompressor_step(decompressor, &step);
        check_step(&before, &step, result);
        transcript_bytes(message, output, by->room - step.room);
        REQUIRE(message->size <= by->config.max_message);
    } while (result == WS_INFLATE_ROOM);
    free(output);
    return result;
}

static int
feed_message(ws_decompressor *decompressor, plan *by, fuzz_input payload, transcript *message)
{
    int result;
    do {
        const size_t n = next_piece(&by->pieces, payload.size);
        const fuzz_input shown = take_bytes(&payload, n);
        uint8_t *copy = copy_block(shown.data, shown.size);
        const ws_inflate step = {
            .input = copy, .input_size = shown.size, .final = payload.size == 0};
        result = feed_piece(decompressor, by, step, message);
        REQUIRE(step.final || result <= 0);
        free(copy);
    } while (result == WS_INFLATE_INPUT);
    return result;
}

/* A message's bytes go to the transcript when it is complete: before a failure, how many of them
 * came out is not promised. Returns the last result. */
static int
run(plan by, fuzz_input input, transcript *log)
{
    ws_decompressor decompressor;
    transcript message = {0};
    int result = WS_INFLATE_DONE;
    ws_decompressor_init(&decompressor, &by.config);
    while (result == WS_INFLATE_DONE && input.size > 0) {
        const fuzz_input payload = take_bytes(&input, take_two_bytes(&input));
        message.size = 0;
        result = feed_message(&decompressor, &by, payload, &message);
        if (result == WS_INFLATE_DONE) {
            transcript_message(log, 1, true, &message, true);
            REQUIRE(!by.release || ws_decompressor_release(&decompressor) ||
                    by.config.allocator->context != NULL);
        }
    }
    if (result < 0) {
        ws_inflate step = {.final = true};
        transcript_failure(log, result);
        REQUIRE(ws_decompressor_step(&decompressor, &step) == result);
    }
    ws_decompressor_clear(&decompressor);
    transcript_clear(&message);
    return result;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    const uint8_t options = take_byte(&input);
    memory given = {0, (options & FEW_BLOCKS) != 0 ? take_byte(&input) : BLOCKS_UNLIMITED};
    const ws_allocator allocator = memory_allocator(&given);
    plan by = {.config = {.allocator = &allocator,
                          .max_message = take_two_bytes(&input) + 1,
                          .window_bits = (uint8_t)(8 + (options & 7)),
                          .no_context_takeover = (options & NO_TAKEOVER) != 0},
               .release = (options & RELEASE) != 0};
    by.room = (size_t)take_byte(&input) + 1;
    by.pieces = take_cuts(&input);
    transcript in_pieces = {0};
    const int result = run(by, input, &in_pieces);
    const bool beyond_window = result == WS_ERROR_DEFLATE && by.config.window_bits < 15;
    REQUIRE(given.held == 0);

    transcript at_once = {0};
    given.blocks_left = BLOCKS_UNLIMITED;
    by.room = by.config.max_message;
    by.pieces.sizes.size = 0;
    by.release = false;
    run(by, input, &at_once);
    REQUIRE(given.held == 0);
    if ((options & FEW_BLOCKS) == 0 && !beyond_window) {
        REQUIRE(in_pieces.size == at_once.size);
        REQUIRE(bytes_equal(in_pieces.data, at_once.data, at_once.size));
    }
    transcript_clear(&in_pieces);
    transcript_clear(&at_once);
    return 0;
}
