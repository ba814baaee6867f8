/* Masking in plain C, eight bytes at a time: the kernel that runs everywhere and the reference
 * for the others.
 *
 * Loads and stores go through memcpy, so nothing need be aligned, and the key is used in memory
 * order, so the machine's byte order does not matter. The last eight bytes are read before the
 * loop writes anything; see mask_kernels.h. */
#include "mask_kernels.h"

/* ascii: a constant in each caller, so that the check costs nothing where nobody asks for it. */
WS_MASK_INLINE bool
mask_portable(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key, size_t phase, bool ascii)
{
    const uint32_t rotated = ws_mask_rotate(key, phase);
    if (n <= 16) {
        return ws_mask_tiny(dst, src, n, rotated);
    }
    const uint64_t key64 = ws_mask_widen(rotated);
    const uint64_t last = ws_mask_load64(src + n - 8) ^ ws_mask_widen(ws_mask_rotate(rotated, n));
    uint64_t seen = last;
    for (size_t i = 0; n - i > 8; i += 8) {
        const uint64_t word = ws_mask_load64(src + i) ^ key64;
        memcpy(dst + i, &word, sizeof word);
        if (ascii) {
            seen |= word;
        }
    }
    memcpy(dst + n - 8, &last, sizeof last);
    return (seen & UINT64_C(0x8080808080808080)) == 0;
}

static void
apply(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key, size_t phase)
{
    (void)mask_portable(dst, src, n, key, phase, false);
}

static bool
apply_ascii(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key, size_t phase)
{
    return mask_portable(dst, src, n, key, phase, true);
}

const ws_mask_kernel ws_mask_kernel_portable = {"portable", apply, apply_ascii};
