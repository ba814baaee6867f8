/* An allocator for the compression targets: every block it gives must come back, and when it is
 * told to, it has no memory left after some number of blocks. */
#ifndef ATALANTA_TESTS_FUZZ_MEMORY_H
#define ATALANTA_TESTS_FUZZ_MEMORY_H

#include "deflate.h"
#include "input.h"

#define BLOCKS_UNLIMITED SIZE_MAX

typedef struct {
    size_t held;
    size_t blocks_left;
} memory;

static inline void *
memory_allocate(void *context, size_t size)
{
    memory *from = context;
    if (from->blocks_left == 0) {
        return NULL;
    }
    if (from->blocks_left != BLOCKS_UNLIMITED) {
        from->blocks_left--;
    }
    from->held++;
    return new_block(size);
}

static inline void
memory_release(void *context, void *block)
{
    memory *from = context;
    REQUIRE(from->held > 0);
    from->held--;
    free(block);
}

static inline ws_allocator
memory_allocator(memory *from)
{
    return (ws_allocator){memory_allocate, memory_release, from};
}

#endif
