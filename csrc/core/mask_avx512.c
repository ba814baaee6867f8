/* Masking with AVX-512 (F and BW), sixty-four bytes at a time.
 *
 * Empty on other architectures. The end of a message, and the whole of one up to 64 bytes, is one
 * masked load and one masked store: lanes beyond n are neither read nor written, even where the
 * page behind them is missing. Loads and stores are unaligned ones. */
#include "mask_kernels.h"

#if WS_MASK_X86

#include <immintrin.h>

#define TARGET WS_MASK_TARGET("avx512f,avx512bw")

TARGET WS_MASK_INLINE __m512i
load(const uint8_t *src, __m512i keys)
{
    return _mm512_xor_si512(_mm512_loadu_si512(src), keys);
}

/* 1 to 64 bytes. True when the result is ASCII; `seen` is what came before it. */
TARGET WS_MASK_INLINE bool
mask_tail(uint8_t *dst, const uint8_t *src, size_t n, __m512i keys, __m512i seen)
{
    const __mmask64 lanes = _cvtu64_mask64(UINT64_MAX >> (64 - n));
    const __m512i block = _mm512_xor_si512(_mm512_maskz_loadu_epi8(lanes, src), keys);
    _mm512_mask_storeu_epi8(dst, lanes, block);
    /* The lanes beyond n hold bare key bytes, which the check must not see. */
    const __m512i all = _mm512_or_si512(seen, _mm512_maskz_mov_epi8(lanes, block));
    return _cvtmask64_u64(_mm512_movepi8_mask(all)) == 0;
}

/* Four vectors; their union is returned for the ASCII check. */
TARGET WS_MASK_INLINE __m512i
mask_256(uint8_t *dst, const uint8_t *src, __m512i keys)
{
    const __m512i a = load(src, keys);
    const __m512i b = load(src + 64, keys);
    const __m512i c = load(src + 128, keys);
    const __m512i d = load(src + 192, keys);
    _mm512_storeu_si512(dst, a);
    _mm512_storeu_si512(dst + 64, b);
    _mm512_storeu_si512(dst + 128, c);
    _mm512_storeu_si512(dst + 192, d);
    return _mm512_or_si512(_mm512_or_si512(a, b), _mm512_or_si512(c, d));
}

/* ascii: a constant in each caller, so that the check costs nothing where nobody asks for it. */
TARGET WS_MASK_INLINE bool
mask_avx512(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key, size_t phase, bool ascii)
{
    if (n == 0) {
        return true;
    }
    const __m512i keys = _mm512_set1_epi32((int)ws_mask_rotate(key, phase));
    __m512i seen = _mm512_setzero_si512();
    size_t i = 0;
    for (; n - i > 256; i += 256) {
        const __m512i blocks = mask_256(dst + i, src + i, keys);
        seen = ascii ? _mm512_or_si512(seen, blocks) : seen;
    }
    for (; n - i > 64; i += 64) {
        const __m512i block = load(src + i, keys);
        _mm512_storeu_si512(dst + i, block);
        seen = ascii ? _mm512_or_si512(seen, block) : seen;
    }
    return mask_tail(dst + i, src + i, n - i, keys, seen);
}

TARGET static void
apply(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key, size_t phase)
{
    (void)mask_avx512(dst, src, n, key, phase, false);
}

TARGET static bool
apply_ascii(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key, size_t phase)
{
    return mask_avx512(dst, src, n, key, phase, true);
}

const ws_mask_kernel ws_mask_kernel_avx512 = {"avx512", apply, apply_ascii};

#endif
