/* Private to the mask*.c files: the kernels, and what every kernel needs.
 *
 * Each kernel's file compiles on every architecture and is empty where it does not belong; a
 * kernel's instructions come from a target attribute, never from compiler flags, so the same
 * object files run on old machines. mask.c alone decides what a machine may run.
 *
 * The shared technique: all loads that a later store of the same call could overlap are done
 * before it, so that overlapping vectors cover the ends and dst == src still works. */
#ifndef ATALANTA_CORE_MASK_KERNELS_H
#define ATALANTA_CORE_MASK_KERNELS_H

#include <string.h>

#include "mask.h"

#if defined(__x86_64__) || defined(__i386__) || defined(_M_IX86) ||                               \
    (defined(_M_X64) && !defined(_M_ARM64EC))
#define WS_MASK_X86 1
#else
#define WS_MASK_X86 0
#endif

/* Big-endian arm64 has its vector lanes in another order and stays with the portable kernel. */
#if (defined(__aarch64__) && !defined(__AARCH64EB__)) || defined(_M_ARM64)
#define WS_MASK_NEON 1
#else
#define WS_MASK_NEON 0
#endif

#if defined(__BYTE_ORDER__) && defined(__ORDER_BIG_ENDIAN__)
#define WS_MASK_BIG_ENDIAN (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
#else
#define WS_MASK_BIG_ENDIAN 0
#endif

#if defined(__GNUC__) || defined(__clang__)
#define WS_MASK_INLINE static inline __attribute__((always_inline))
#define WS_MASK_TARGET(features) __attribute__((target(features)))
#elif defined(_MSC_VER)
#define WS_MASK_INLINE static __forceinline
#define WS_MASK_TARGET(features)
#else
#define WS_MASK_INLINE static inline
#define WS_MASK_TARGET(features)
#endif

extern const ws_mask_kernel ws_mask_kernel_portable;
#if WS_MASK_X86
extern const ws_mask_kernel ws_mask_kernel_sse2;
extern const ws_mask_kernel ws_mask_kernel_avx2;
#endif
#if WS_MASK_NEON
extern const ws_mask_kernel ws_mask_kernel_neon;
#endif

/* The key as memory would show it `offset` bytes further on. */
WS_MASK_INLINE uint32_t
ws_mask_rotate(uint32_t key, size_t offset)
{
    const uint32_t forward = 8 * (uint32_t)(offset & 3);
    const uint32_t backward = (32 - forward) & 31; /* both shifts lie in 0 to 24 */
#if WS_MASK_BIG_ENDIAN
    return (key << forward) | (key >> backward);
#else
    return (key >> forward) | (key << backward);
#endif
}

WS_MASK_INLINE uint64_t
ws_mask_load64(const uint8_t *src)
{
    uint64_t word;
    memcpy(&word, src, sizeof word);
    return word;
}

WS_MASK_INLINE uint32_t
ws_mask_load32(const uint8_t *src)
{
    uint32_t word;
    memcpy(&word, src, sizeof word);
    return word;
}

/* Two equal halves, so the same in memory order on any machine. */
WS_MASK_INLINE uint64_t
ws_mask_widen(uint32_t key)
{
    return ((uint64_t)key << 32) | key;
}

/* 1 to 3 bytes: first, middle and last, which coincide when there are fewer than three. */
WS_MASK_INLINE bool
ws_mask_bytes(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key)
{
    uint8_t keys[4];
    memcpy(keys, &key, sizeof keys);
    const uint8_t first = (uint8_t)(src[0] ^ keys[0]);
    const uint8_t middle = (uint8_t)(src[n / 2] ^ keys[n / 2]);
    const uint8_t last = (uint8_t)(src[n - 1] ^ keys[n - 1]);
    dst[0] = first;
    dst[n / 2] = middle;
    dst[n - 1] = last;
    return ((first | middle | last) & 0x80) == 0;
}

/* 0 to 16 bytes without a loop; true when the result is ASCII. key: of src[0], rotated already. */
WS_MASK_INLINE bool
ws_mask_tiny(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key)
{
    if (n >= 8) {
        const uint64_t first = ws_mask_load64(src) ^ ws_mask_widen(key);
        const uint64_t last = ws_mask_load64(src + n - 8) ^ ws_mask_widen(ws_mask_rotate(key, n));
        memcpy(dst, &first, sizeof first);
        memcpy(dst + n - 8, &last, sizeof last);
        return ((first | last) & UINT64_C(0x8080808080808080)) == 0;
    }
    if (n >= 4) {
        const uint32_t first = ws_mask_load32(src) ^ key;
        const uint32_t last = ws_mask_load32(src + n - 4) ^ ws_mask_rotate(key, n);
        memcpy(dst, &first, sizeof first);
        memcpy(dst + n - 4, &last, sizeof last);
        return ((first | last) & UINT32_C(0x80808080)) == 0;
    }
    return n == 0 || ws_mask_bytes(dst, src, n, key);
}

#endif
