/* Masking with SSE2, sixteen bytes at a time: every x86-64 machine has it.
 *
 * Empty on other architectures. A message of up to 32 bytes is two vectors that may overlap; a
 * longer one has its last vector read before the loop writes anything (see mask_kernels.h).
 * Loads and stores are unaligned ones. */
#include "mask_kernels.h"

#if WS_MASK_X86

#include <emmintrin.h>

#define TARGET WS_MASK_TARGET("sse2")

TARGET WS_MASK_INLINE __m128i
load(const uint8_t *src, __m128i keys)
{
    return _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)src), keys);
}

TARGET WS_MASK_INLINE void
store(uint8_t *dst, __m128i block)
{
    _mm_storeu_si128((__m128i *)(void *)dst, block);
}

TARGET WS_MASK_INLINE __m128i
spread(uint32_t key)
{
    return _mm_set1_epi32((int)key);
}

/* Four vectors; their union is returned for the ASCII check. */
TARGET WS_MASK_INLINE __m128i
mask_64(uint8_t *dst, const uint8_t *src, __m128i keys)
{
    const __m128i a = load(src, keys);
    const __m128i b = load(src + 16, keys);
    const __m128i c = load(src + 32, keys);
    const __m128i d = load(src + 48, keys);
    store(dst, a);
    store(dst + 16, b);
    store(dst + 32, c);
    store(dst + 48, d);
    return _mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d));
}

/* ascii: a constant in each caller, so that the check costs nothing where nobody asks for it. */
TARGET WS_MASK_INLINE bool
mask_sse2(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key, size_t phase, bool ascii)
{
    const uint32_t rotated = ws_mask_rotate(key, phase);
    if (n < 16) {
        return ws_mask_tiny(dst, src, n, rotated);
    }
    const __m128i keys = spread(rotated);
    const __m128i last = load(src + n - 16, spread(ws_mask_rotate(rotated, n)));
    __m128i seen = last;
    size_t i = 0;
    for (; n - i > 64; i += 64) {
        const __m128i blocks = mask_64(dst + i, src + i, keys);
        seen = ascii ? _mm_or_si128(seen, blocks) : seen;
    }
    for (; n - i > 16; i += 16) {
        const __m128i block = load(src + i, keys);
        store(dst + i, block);
        seen = ascii ? _mm_or_si128(seen, block) : seen;
    }
    store(dst + n - 16, last);
    return _mm_movemask_epi8(seen) == 0;
}

TARGET static void
apply(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key, size_t phase)
{
    (void)mask_sse2(dst, src, n, key, phase, false);
}

TARGET static bool
apply_ascii(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key, size_t phase)
{
    return mask_sse2(dst, src, n, key, phase, true);
}

const ws_mask_kernel ws_mask_kernel_sse2 = {"sse2", apply, apply_ascii};

#endif
