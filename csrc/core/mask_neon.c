/* Masking with NEON, sixteen bytes at a time: every arm64 machine has it.
 *
 * Empty on other architectures, and on big-endian arm64. A message of up to 32 bytes is two
 * vectors that may overlap; a longer one has its last vector read before the loop writes anything
 * (see mask_kernels.h). Loads and stores are unaligned ones. */
#include "mask_kernels.h"

#if WS_MASK_NEON

#include <arm_neon.h>

WS_MASK_INLINE uint8x16_t
load(const uint8_t *src, uint8x16_t keys)
{
    return veorq_u8(vld1q_u8(src), keys);
}

WS_MASK_INLINE uint8x16_t
spread(uint32_t key)
{
    return vreinterpretq_u8_u32(vdupq_n_u32(key));
}

/* Four vectors; their union is returned for the ASCII check. */
WS_MASK_INLINE uint8x16_t
mask_64(uint8_t *dst, const uint8_t *src, uint8x16_t keys)
{
    const uint8x16_t a = load(src, keys);
    const uint8x16_t b = load(src + 16, keys);
    const uint8x16_t c = load(src + 32, keys);
    const uint8x16_t d = load(src + 48, keys);
    vst1q_u8(dst, a);
    vst1q_u8(dst + 16, b);
    vst1q_u8(dst + 32, c);
    vst1q_u8(dst + 48, d);
    return vorrq_u8(vorrq_u8(a, b), vorrq_u8(c, d));
}

/* ascii: a constant in each caller, so that the check costs nothing where nobody asks for it. */
WS_MASK_INLINE bool
mask_neon(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key, size_t phase, bool ascii)
{
    const uint32_t rotated = ws_mask_rotate(key, phase);
    if (n < 16) {
        return ws_mask_tiny(dst, src, n, rotated);
    }
    const uint8x16_t keys = spread(rotated);
    const uint8x16_t last = load(src + n - 16, spread(ws_mask_rotate(rotated, n)));
    uint8x16_t seen = last;
    size_t i = 0;
    for (; n - i > 64; i += 64) {
        const uint8x16_t blocks = mask_64(dst + i, src + i, keys);
        seen = ascii ? vorrq_u8(seen, blocks) : seen;
    }
    for (; n - i > 16; i += 16) {
        const uint8x16_t block = load(src + i, keys);
        vst1q_u8(dst + i, block);
        seen = ascii ? vorrq_u8(seen, block) : seen;
    }
    vst1q_u8(dst + n - 16, last);
    return vmaxvq_u8(seen) < 0x80;
}

static void
apply(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key, size_t phase)
{
    (void)mask_neon(dst, src, n, key, phase, false);
}

static bool
apply_ascii(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key, size_t phase)
{
    return mask_neon(dst, src, n, key, phase, true);
}

const ws_mask_kernel ws_mask_kernel_neon = {"neon", apply, apply_ascii};

#endif
