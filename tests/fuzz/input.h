/* What every fuzz target needs: numbers taken off the front of an input, copies that end where a
 * sanitizer looks, and REQUIRE, which says what did not hold and aborts.
 *
 * An input that is used up goes on as zero bytes, so that every input means something. */
#ifndef ATALANTA_TESTS_FUZZ_INPUT_H
#define ATALANTA_TESTS_FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                        \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);        \
            abort();                                                                              \
        }                                                                                         \
    } while (0)

typedef struct {
    const uint8_t *data;
    size_t size;
} fuzz_input;

static inline uint8_t
take_byte(fuzz_input *input)
{
    if (input->size == 0) {
        return 0;
    }
    input->size--;
    return *input->data++;
}

static inline size_t
take_two_bytes(fuzz_input *input)
{
    const size_t high = take_byte(input);
    return high << 8 | take_byte(input);
}

/* At most n bytes, as many as there are. */
static inline fuzz_input
take_bytes(fuzz_input *input, size_t n)
{
    const fuzz_input taken = {input->data, n < input->size ? n : input->size};
    if (taken.size > 0) {
        input->data += taken.size;
        input->size -= taken.size;
    }
    return taken;
}

/* Never NULL, and of no byte more than asked for (malloc(0) may give either). */
static inline uint8_t *
new_block(size_t size)
{
    uint8_t *block = malloc(size > 0 ? size : 1);
    if (block == NULL) {
        abort();
    }
    return block;
}

/* A copy in a block of its own, so that a read or write beyond it is seen; to free. */
static inline uint8_t *
copy_block(const uint8_t *data, size_t size)
{
    uint8_t *block = new_block(size);
    if (size > 0) {
        memcpy(block, data, size);
    }
    return block;
}

static inline bool
bytes_equal(const uint8_t *a, const uint8_t *b, size_t n)
{
    return n == 0 || memcmp(a, b, n) == 0;
}

/* How an input is shown in pieces: sizes taken from the front of the input, in a circle. Without
 * any the whole is one piece. */
typedef struct {
    fuzz_input sizes;
    size_t next;
} cuts;

#define CUTS_MAX 15

static inline cuts
take_cuts(fuzz_input *input)
{
    return (cuts){take_bytes(input, take_byte(input) % (CUTS_MAX + 1)), 0};
}

/* The size of the next piece of `left` bytes, at least 1 if there are any; 0 stands for 256. */
static inline size_t
next_piece(cuts *from, size_t left)
{
    if (from->sizes.size == 0) {
        return left;
    }
    size_t piece = from->sizes.data[from->next++ % from->sizes.size];
    piece = piece == 0 ? 256 : piece;
    return piece < left ? piece : left;
}

#endif
