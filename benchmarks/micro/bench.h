/* Timing and reporting that the micro-benchmarks share.
 *
 * A case is a function that does one thing `calls` times and returns the sum of what each call
 * yielded. Every case says what one call has to yield: a sum that differs ends the program, so a
 * wrong result is never reported as a fast one and no call can be optimised away.
 *
 * CPU time, not wall-clock time. The number of calls in a repetition is found by doubling until
 * one takes bench_options.milliseconds. */
#ifndef ATALANTA_BENCH_H
#define ATALANTA_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_REPETITIONS_MAX 1000
#define BENCH_SIZE_NAME 24 /* room for the text of bench_size_name */

typedef struct {
    bool json;
    unsigned repetitions;  /* per case; 1 to BENCH_REPETITIONS_MAX */
    unsigned milliseconds; /* the least that a repetition takes */
} bench_options;

typedef uint64_t bench_run_fn(const void *context, size_t calls);

typedef struct {
    const char *unit;     /* of the core: "mask", "frame"; printed as it is, no escaping */
    char name[96];        /* what is done; the same */
    bench_run_fn *run;
    const void *context;
    uint64_t yield;       /* what one call adds to the sum that run returns */
    size_t bytes;         /* of payload that one call handles; 0: no rate is reported */
} bench_case;

/* Before the first case, and after the last. */
void bench_begin(const bench_options *options);
void bench_end(void);

/* Measures a case and reports it: a row of a Markdown table, or an element of a JSON array. */
void bench_measure(const bench_case *measured);

/* Ends the program with status 1 and the text on standard error unless the condition holds. */
void bench_require(bool condition, const char *text);

/* n bytes that start at a page, never NULL; lives until the program ends. */
uint8_t *bench_allocate(size_t n);

/* "32 B", "1 KiB", "64 KiB", "1 MiB": for n that is a whole number of its unit. */
void bench_size_name(size_t n, char name[BENCH_SIZE_NAME]);

/* Where a server's bytes lie: a payload behind a frame header, a copy behind an object header;
 * neither is aligned to a vector. */
#define BENCH_SOURCE_OFFSET 8
#define BENCH_DESTINATION_OFFSET 40

/* One per unit, each in the file of its name. */
void bench_mask(void);
void bench_frame(void);
void bench_conn(void);
void bench_handshake(void);
void bench_utf8(void);

#endif
