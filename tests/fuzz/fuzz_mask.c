/* Masking: every kernel of this machine gives the bytes that the RFC's loop gives, says rightly
 * whether they are ASCII, and leaves the bytes around them alone: in place and not, at any
 * alignment of source and destination.
 *
 * Input: alignments, phase, key, length of the run of one byte that follows (0: none), data. */
#include "input.h"
#include "mask.h"

#define ALIGNMENTS 64
#define MARGIN 32 /* bytes compared on each side of the destination */
#define RUN_UNIT 16

typedef struct {
    uint32_t key;
    uint8_t phase;
    size_t n;
    const uint8_t *source;
    const uint8_t *expected;
    bool ascii;
} masking;

static void
check_call(const ws_mask_kernel *kernel, const masking *with, size_t offset, bool in_place,
           bool check_ascii, const uint8_t *source)
{
    const size_t n = with->n;
    const size_t room = MARGIN + offset + n + MARGIN;
    uint8_t *area = new_block(room);
    uint8_t *dst = area + MARGIN + offset;
    memset(area, 0xA5, room);
    if (in_place && n > 0) {
        memcpy(dst, with->source, n);
    }
    const uint8_t *from = in_place ? dst : source;
    if (check_ascii) {
        REQUIRE(kernel->apply_ascii(dst, from, n, with->key, with->phase) == with->ascii);
    }
    else {
        kernel->apply(dst, from, n, with->key, with->phase);
    }
    REQUIRE(bytes_equal(dst, with->expected, n));
    for (size_t i = 0; i < MARGIN; i++) {
        REQUIRE(dst[-1 - (ptrdiff_t)i] == 0xA5 && dst[n + i] == 0xA5);
    }
    free(area);
}

static void
check_kernels(const masking *with, size_t from_offset, size_t to_offset)
{
    const ws_mask_kernel *kernels[WS_MASK_KERNELS_MAX];
    const size_t count = ws_mask_kernels(kernels, WS_MASK_KERNELS_MAX);
    /* Ends where the block ends, so that a byte read beyond it is seen. */
    uint8_t *block = new_block(from_offset + with->n);
    if (with->n > 0) {
        memcpy(block + from_offset, with->source, with->n);
    }
    for (size_t i = 0; i < count; i++) {
        REQUIRE(ws_mask_select(kernels[i]->name) == kernels[i]);
        for (unsigned form = 0; form < 4; form++) {
            check_call(kernels[i], with, to_offset, (form & 1) != 0, (form & 2) != 0,
                       block + from_offset);
        }
    }
    REQUIRE(bytes_equal(block + from_offset, with->source, with->n));
    free(block);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    const size_t from_offset = take_byte(&input) % ALIGNMENTS;
    const size_t to_offset = take_byte(&input) % ALIGNMENTS;
    masking with = {.phase = take_byte(&input) % 4};
    uint8_t key[4];
    for (size_t i = 0; i < 4; i++) {
        key[i] = take_byte(&input);
    }
    memcpy(&with.key, key, 4);
    const size_t run = RUN_UNIT * take_byte(&input);
    const size_t n = run + input.size;
    uint8_t *source = new_block(n);
    uint8_t *expected = new_block(n);
    memset(source, 'a', run);
    if (input.size > 0) {
        memcpy(source + run, input.data, input.size);
    }
    with.n = n;
    with.source = source;
    with.expected = expected;
    with.ascii = true;
    for (size_t i = 0; i < n; i++) {
        expected[i] = source[i] ^ key[(with.phase + i) % 4];
        with.ascii = with.ascii && expected[i] < 0x80;
    }
    check_kernels(&with, from_offset, to_offset);
    free(expected);
    free(source);
    return 0;
}
