/* Which masking kernels this build has and this machine can run.
 *
 * On x86 a wide kernel needs two yeses: CPUID's, that the processor has the instructions, and
 * XCR0's, that the operating system saves the registers. Both are asked on every call and nothing
 * is remembered, so a caller selects once and keeps the pointer (CPUID is slow in a virtual
 * machine). */
#include "mask_kernels.h"

#if WS_MASK_X86

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#else
#include <cpuid.h>
#endif

/* Leaf 1. */
#define EDX1_SSE2 (UINT32_C(1) << 26)
#define ECX1_OSXSAVE (UINT32_C(1) << 27)
#define ECX1_AVX (UINT32_C(1) << 28)
/* Leaf 7, subleaf 0. */
#define EBX7_AVX2 (UINT32_C(1) << 5)
/* XCR0: SSE and AVX state. */
#define XCR0_AVX UINT64_C(0x06)

typedef struct {
    uint32_t eax, ebx, ecx, edx;
} cpuid_leaf;

typedef struct {
    bool sse2, avx2;
} cpu_features;

/* All zero when the processor does not know the leaf. */
static cpuid_leaf
read_cpuid(uint32_t leaf)
{
    cpuid_leaf found = {0, 0, 0, 0};
#if defined(_MSC_VER) && !defined(__clang__)
    int registers[4];
    __cpuid(registers, 0);
    if (leaf <= (uint32_t)registers[0]) {
        __cpuidex(registers, (int)leaf, 0);
        found = (cpuid_leaf){(uint32_t)registers[0], (uint32_t)registers[1],
                             (uint32_t)registers[2], (uint32_t)registers[3]};
    }
#else
    (void)__get_cpuid_count(leaf, 0, &found.eax, &found.ebx, &found.ecx, &found.edx);
#endif
    return found;
}

/* Only where CPUID reports OSXSAVE: elsewhere the instruction does not exist. */
static uint64_t
read_xcr0(void)
{
#if defined(_MSC_VER) && !defined(__clang__)
    return _xgetbv(0);
#else
    uint32_t low;
    uint32_t high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((uint64_t)high << 32) | low;
#endif
}

static cpu_features
read_features(void)
{
    const cpuid_leaf basic = read_cpuid(1);
    cpu_features found = {(basic.edx & EDX1_SSE2) != 0, false};
    if ((basic.ecx & ECX1_OSXSAVE) == 0 || (basic.ecx & ECX1_AVX) == 0) {
        return found;
    }
    const cpuid_leaf extended = read_cpuid(7);
    const uint64_t saved = read_xcr0();
    found.avx2 = (saved & XCR0_AVX) == XCR0_AVX && (extended.ebx & EBX7_AVX2) != 0;
    return found;
}

#endif

/* Fills `found` (room for WS_MASK_KERNELS_MAX), the fastest first. */
static size_t
list_kernels(const ws_mask_kernel *found[])
{
    size_t count = 0;
#if WS_MASK_X86
    const cpu_features features = read_features();
    if (features.avx2) {
        found[count++] = &ws_mask_kernel_avx2;
    }
    if (features.sse2) {
        found[count++] = &ws_mask_kernel_sse2;
    }
#endif
#if WS_MASK_NEON
    found[count++] = &ws_mask_kernel_neon;
#endif
    found[count++] = &ws_mask_kernel_portable;
    return count;
}

size_t
ws_mask_kernels(const ws_mask_kernel *kernels[], size_t capacity)
{
    const ws_mask_kernel *found[WS_MASK_KERNELS_MAX];
    const size_t count = list_kernels(found);
    const size_t written = count < capacity ? count : capacity;
    for (size_t i = 0; i < written; i++) {
        kernels[i] = found[i];
    }
    return written;
}

const ws_mask_kernel *
ws_mask_select(const char *name)
{
    const ws_mask_kernel *found[WS_MASK_KERNELS_MAX];
    const size_t count = list_kernels(found);
    if (name == NULL) {
        return found[0];
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(found[i]->name, name) == 0) {
            return found[i];
        }
    }
    return NULL;
}
