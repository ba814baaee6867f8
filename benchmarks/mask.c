/* Speed of each masking kernel this machine can run, in GB/s of payload.
 *
 *     cc -std=c11 -O3 -Icsrc/core benchmarks/mask.c csrc/core/mask*.c -o mask && ./mask
 *
 * Source and destination are distinct and lie as in a server: the payload behind a frame header,
 * the destination behind an object header, so neither is aligned to a vector. CPU time, the best
 * of several rounds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mask.h"

#define LARGEST ((size_t)1 << 20)
#define SOURCE_OFFSET 8
#define DESTINATION_OFFSET 40
#define ROUND_BYTES ((size_t)1 << 29)
#define ROUND_CALLS ((size_t)1 << 24)
#define ROUNDS 5

static const size_t sizes[] = {32, 1024, 16384, 65536, LARGEST};
static const char *const size_names[] = {"32 B", "1 KiB", "16 KiB", "64 KiB", "1 MiB"};
#define SIZES (sizeof sizes / sizeof sizes[0])

/* Read after each round, so that no call can be left out. */
static volatile unsigned sink;

static double
time_round(const ws_mask_kernel *kernel, bool ascii, uint8_t *dst, const uint8_t *src, size_t n,
           size_t calls)
{
    const uint32_t key = 0x5a3c7e11;
    unsigned truths = 0;
    const clock_t start = clock();
    for (size_t i = 0; i < calls; i++) {
        if (ascii) {
            truths += kernel->apply_ascii(dst, src, n, key, 0);
        }
        else {
            kernel->apply(dst, src, n, key, 0);
        }
    }
    const clock_t end = clock();
    sink = truths + dst[n - 1];
    return (double)(end - start) / (double)CLOCKS_PER_SEC;
}

static double
measure(const ws_mask_kernel *kernel, bool ascii, uint8_t *dst, const uint8_t *src, size_t n)
{
    const size_t by_bytes = ROUND_BYTES / n;
    const size_t calls = by_bytes < ROUND_CALLS ? by_bytes : ROUND_CALLS;
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        const double seconds = time_round(kernel, ascii, dst, src, n, calls);
        const double rate = seconds > 0 ? (double)n * (double)calls / seconds / 1e9 : 0;
        best = rate > best ? rate : best;
    }
    return best;
}

static void
report(const ws_mask_kernel *kernel, bool ascii, uint8_t *dst, const uint8_t *src)
{
    printf("%-9s %-11s", kernel->name, ascii ? "apply_ascii" : "apply");
    for (size_t i = 0; i < SIZES; i++) {
        printf(" %8.1f", measure(kernel, ascii, dst, src, sizes[i]));
    }
    printf("\n");
}

int
main(void)
{
    const ws_mask_kernel *kernels[WS_MASK_KERNELS_MAX];
    const size_t count = ws_mask_kernels(kernels, WS_MASK_KERNELS_MAX);
    uint8_t *source = aligned_alloc(4096, LARGEST + 4096);
    uint8_t *destination = aligned_alloc(4096, LARGEST + 4096);
    if (source == NULL || destination == NULL) {
        perror("aligned_alloc");
        return EXIT_FAILURE;
    }
    memset(source, 'a', LARGEST + 4096);
    memset(destination, 0, LARGEST + 4096);
    printf("%-21s", "GB/s");
    for (size_t i = 0; i < SIZES; i++) {
        printf(" %8s", size_names[i]);
    }
    printf("\n");
    for (size_t i = 0; i < count; i++) {
        report(kernels[i], false, destination + DESTINATION_OFFSET, source + SOURCE_OFFSET);
        report(kernels[i], true, destination + DESTINATION_OFFSET, source + SOURCE_OFFSET);
    }
    free(source);
    free(destination);
    return EXIT_SUCCESS;
}
