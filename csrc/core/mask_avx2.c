/* Masking with AVX2, thirty-two bytes at a time.
 *
 * Empty on other architectures. A message of up to 32 bytes uses two 16-byte vectors, one of up
 * to 64 two 32-byte ones, which may overlap; a longer one has its last vector read before the
 * loop writes anything (see mask_kernels.h). Loads and stores are unaligned ones. */
#include "mask_kernels.h"

#if WS_MASK_X86

#include <immintrin.h>

#define TARGET WS_MASK_TARGET("avx2")

TARGET WS_MASK_INLINE __m256i
load(const uint8_t *src, __m256i keys)
{
    return _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(const void *)src), keys);
}

TARGET WS_MASK_INLINE void
store(uint8_t *dst, __m256i block)
{
    _mm256_storeu_si256((__m256i *)(void *)dst, block);
}

TARGET WS_MASK_INLINE __m256i
spread(uint32_t key)
{
    return _mm256_set1_epi32((int)key);
}

/* 16 to 32 bytes. */
TARGET WS_MASK_INLINE bool
mask_small(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key)
{
    const __m128i front = _mm_set1_epi32((int)key);
    const __m128i back = _mm_set1_epi32((int)ws_mask_rotate(key, n));
    const __m128i first =
        _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)src), front);
    const __m128i last =
        _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)(src + n - 16)), back);
    _mm_storeu_si128((__m128i *)(void *)dst, first);
    _mm_storeu_si128((__m128i *)(void *)(dst + n - 16), last);
    return _mm_movemask_epi8(_mm_or_si128(first, last)) == 0;
}

/* Four vectors; their union is returned for the ASCII check. */
TARGET WS_MASK_INLINE __m256i
mask_128(uint8_t *dst, const uint8_t *src, __m256i keys)
{
    const __m256i a = load(src, keys);
    const __m256i b = load(src + 32, keys);
    const __m256i c = load(src + 64, keys);
    const __m256i d = load(src + 96, keys);
    store(dst, a);
    store(dst + 32, b);
    store(dst + 64, c);
    store(dst + 96, d);
    return _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d));
}

/* ascii: a constant in each caller, so that the check costs nothing where nobody asks for it. */
TARGET WS_MASK_INLINE bool
mask_avx2(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key, size_t phase, bool ascii)
{
    const uint32_t rotated = ws_mask_rotate(key, phase);
    if (n < 16) {
        return ws_mask_tiny(dst, src, n, rotated);
    }
    if (n <= 32) {
        return mask_small(dst, src, n, rotated);
    }
    const __m256i keys = spread(rotated);
    const __m256i last = load(src + n - 32, spread(ws_mask_rotate(rotated, n)));
    __m256i seen = last;
    size_t i = 0;
    for (; n - i > 128; i += 128) {
        const __m256i blocks = mask_128(dst + i, src + i, keys);
        seen = ascii ? _mm256_or_si256(seen, blocks) : seen;
    }
    for (; n - i > 32; i += 32) {
        const __m256i block = load(src + i, keys);
        store(dst + i, block);
        seen = ascii ? _mm256_or_si256(seen, block) : seen;
    }
    store(dst + n - 32, last);
    return _mm256_movemask_epi8(seen) == 0;
}

TARGET static void
apply(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key, size_t phase)
{
    (void)mask_avx2(dst, src, n, key, phase, false);
}

TARGET static bool
apply_ascii(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key, size_t phase)
{
    return mask_avx2(dst, src, n, key, phase, true);
}

const ws_mask_kernel ws_mask_kernel_avx2 = {"avx2", apply, apply_ascii};

#endif
