/* Each masking kernel that this machine can run, by size of payload. */
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "mask.h"

#define LARGEST ((size_t)1 << 20)
#define KEY UINT32_C(0x5a3c7e11)
#define CHARACTER 'a'

typedef struct {
    const ws_mask_kernel *kernel;
    const uint8_t *source;
    uint8_t *destination;
    size_t size;
} operation;

static const size_t sizes[] = {32, 1024, 16384, 65536, LARGEST};

static uint64_t
run_apply(const void *context, size_t calls)
{
    const operation op = *(const operation *)context;
    uint64_t sum = 0;
    for (size_t i = 0; i < calls; i++) {
        op.kernel->apply(op.destination, op.source, op.size, KEY, 0);
        sum += op.destination[op.size - 1];
    }
    return sum;
}

static uint64_t
run_apply_ascii(const void *context, size_t calls)
{
    const operation op = *(const operation *)context;
    uint64_t sum = 0;
    for (size_t i = 0; i < calls; i++) {
        sum += op.kernel->apply_ascii(op.destination, op.source, op.size, KEY, 0);
        sum += op.destination[op.size - 1];
    }
    return sum;
}

static void
check_whole(const operation *op)
{
    memset(op->destination, 0, op->size);
    op->kernel->apply(op->destination, op->source, op->size, KEY, 0);
    for (size_t i = 0; i < op->size; i++) {
        bench_require(op->destination[i] == CHARACTER, "mask: a kernel unmasked wrongly");
    }
}

static void
measure(const operation *op, bool ascii)
{
    bench_case measured = {.unit = "mask", .context = op, .bytes = op->size};
    char size[BENCH_SIZE_NAME];
    bench_size_name(op->size, size);
    snprintf(measured.name, sizeof measured.name, "%s %s, %s", op->kernel->name,
             ascii ? "apply_ascii" : "apply", size);
    measured.run = ascii ? run_apply_ascii : run_apply;
    measured.yield = ascii ? CHARACTER + 1 : CHARACTER;
    bench_measure(&measured);
}

void
bench_mask(void)
{
    const ws_mask_kernel *kernels[WS_MASK_KERNELS_MAX];
    const size_t count = ws_mask_kernels(kernels, WS_MASK_KERNELS_MAX);
    uint8_t *source = bench_allocate(LARGEST + BENCH_SOURCE_OFFSET) + BENCH_SOURCE_OFFSET;
    uint8_t *destination =
        bench_allocate(LARGEST + BENCH_DESTINATION_OFFSET) + BENCH_DESTINATION_OFFSET;
    uint8_t key[4];
    memcpy(key, &(uint32_t){KEY}, sizeof key);
    for (size_t i = 0; i < LARGEST; i++) {
        source[i] = (uint8_t)(CHARACTER ^ key[i % sizeof key]);
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < sizeof sizes / sizeof sizes[0]; j++) {
            const operation op = {kernels[i], source, destination, sizes[j]};
            check_whole(&op);
            measure(&op, false);
            measure(&op, true);
        }
    }
}
