/* What every unit of the load client needs: errors, the clock, memory, and bytes that are the same
 * in every run. */
#ifndef LOAD_COMMON_H
#define LOAD_COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define NS_PER_S UINT64_C(1000000000)

/* One line on stderr, exit status 1. */
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);

/* What a system call returned, unless it failed. */
ssize_t checked(ssize_t result, const char *call);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t now_ns(void);

/* Zeroed memory; the program ends when there is none. */
void *allocate(size_t count, size_t size);

/* A fixed sequence: no run has easier content than another. */
uint64_t random_number(void);
void random_bytes(uint8_t *out, size_t size);

#endif
