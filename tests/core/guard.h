/* Memory that ends (or begins) at a page nobody may touch, so that one byte too far is a crash. */
#ifndef ATALANTA_TESTS_GUARD_H
#define ATALANTA_TESTS_GUARD_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
    uint8_t *begin; /* first usable byte; the byte before it is guarded */
    uint8_t *end;   /* one past the last usable byte; guarded */
} guarded;

static inline guarded
guarded_allocate(size_t pages)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *memory = mmap(NULL, (pages + 2) * page, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) != 0 ||
        mprotect(memory + (pages + 1) * page, page, PROT_NONE) != 0) {
        perror("guarded_allocate");
        abort();
    }
    return (guarded){memory + page, memory + (pages + 1) * page};
}

#endif
