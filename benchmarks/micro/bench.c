/* Timing and reporting; see bench.h. */
#define _POSIX_C_SOURCE 200809L
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGE 4096

static bench_options options;
static bool first_row;

void
bench_require(bool condition, const char *text)
{
    if (!condition) {
        fprintf(stderr, "bench-micro: %s\n", text);
        exit(EXIT_FAILURE);
    }
}

uint8_t *
bench_allocate(size_t n)
{
    uint8_t *memory = aligned_alloc(PAGE, (n / PAGE + 1) * PAGE);
    bench_require(memory != NULL, "out of memory");
    memset(memory, 0, n); /* so that no page fault falls into a measurement */
    return memory;
}

void
bench_size_name(size_t n, char name[BENCH_SIZE_NAME])
{
    if (n >= 1u << 20) {
        snprintf(name, BENCH_SIZE_NAME, "%zu MiB", n >> 20);
    }
    else if (n >= 1u << 10) {
        snprintf(name, BENCH_SIZE_NAME, "%zu KiB", n >> 10);
    }
    else {
        snprintf(name, BENCH_SIZE_NAME, "%zu B", n);
    }
}

void
bench_begin(const bench_options *chosen)
{
    options = *chosen;
    first_row = true;
    if (options.json) {
        printf("{\"compiler\": \"%s\", \"repetitions\": %u, \"milliseconds\": %u, \"results\": [",
               __VERSION__, options.repetitions, options.milliseconds);
        return;
    }
    printf("| Unit | Operation | ns, minimum | ns, median | GB/s, median |\n");
    printf("| --- | --- | ---: | ---: | ---: |\n");
}

void
bench_end(void)
{
    if (options.json) {
        printf("\n]}\n");
    }
    bench_require(fflush(stdout) == 0, "the results could not be written");
}

static double
cpu_nanoseconds(void)
{
    struct timespec now;
    bench_require(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) == 0, "no clock of CPU time");
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double
time_calls(const bench_case *measured, size_t calls)
{
    const double start = cpu_nanoseconds();
    const uint64_t sum = measured->run(measured->context, calls);
    const double end = cpu_nanoseconds();
    if (sum != measured->yield * calls) {
        fprintf(stderr, "bench-micro: %s, %s: wrong result\n", measured->unit, measured->name);
        exit(EXIT_FAILURE);
    }
    return end - start;
}

/* Doubling also warms the caches and the branch predictor. */
static size_t
find_calls(const bench_case *measured)
{
    size_t calls = 1;
    while (calls < SIZE_MAX / 2 && time_calls(measured, calls) < options.milliseconds * 1e6) {
        calls *= 2;
    }
    return calls;
}

static int
compare(const void *left, const void *right)
{
    const double a = *(const double *)left;
    const double b = *(const double *)right;
    return (a > b) - (a < b);
}

static void
report(const bench_case *measured, size_t calls, double minimum, double median)
{
    const double rate = (double)measured->bytes / median; /* bytes per ns are GB/s */
    if (options.json) {
        printf("%s\n  {\"unit\": \"%s\", \"operation\": \"%s\", \"calls\": %zu, "
               "\"ns_minimum\": %.3f, \"ns_median\": %.3f, ",
               first_row ? "" : ",", measured->unit, measured->name, calls, minimum, median);
        if (measured->bytes > 0) {
            printf("\"bytes\": %zu, \"gb_per_second_median\": %.3f}", measured->bytes, rate);
        }
        else {
            printf("\"bytes\": null, \"gb_per_second_median\": null}");
        }
        first_row = false;
        return;
    }
    printf("| %s | %s | %.1f | %.1f | ", measured->unit, measured->name, minimum, median);
    if (measured->bytes > 0) {
        printf("%.1f |\n", rate);
    }
    else {
        printf("|\n");
    }
    fflush(stdout);
}

void
bench_measure(const bench_case *measured)
{
    static double times[BENCH_REPETITIONS_MAX];
    const size_t calls = find_calls(measured);
    const size_t n = options.repetitions;
    for (size_t i = 0; i < n; i++) {
        times[i] = time_calls(measured, calls) / (double)calls;
    }
    qsort(times, n, sizeof times[0], compare);
    const double median = (times[(n - 1) / 2] + times[n / 2]) / 2;
    report(measured, calls, times[0], median);
}
