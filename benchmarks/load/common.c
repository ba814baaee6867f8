/* Errors, the clock, memory and reproducible random bytes. */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void
die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

ssize_t
checked(ssize_t result, const char *call)
{
    if (result < 0) {
        die("%s: %s", call, strerror(errno));
    }
    return result;
}

uint64_t
now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

void *
allocate(size_t count, size_t size)
{
    void *memory = calloc(count != 0 ? count : 1, size != 0 ? size : 1);
    if (memory == NULL) {
        die("out of memory (%zu x %zu bytes)", count, size);
    }
    return memory;
}

uint64_t
random_number(void)
{
    static uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

void
random_bytes(uint8_t *out, size_t size)
{
    while (size > 0) {
        uint64_t number = random_number();
        size_t part = size < sizeof number ? size : sizeof number;
        memcpy(out, &number, part);
        out += part;
        size -= part;
    }
}
