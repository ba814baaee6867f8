/* Masking of payloads (RFC 6455, section 5.3): one signature, one kernel per instruction set.
 *
 * Every kernel gives the same bytes; they differ in speed alone. A kernel reads exactly n bytes
 * of src and writes exactly n bytes of dst: nothing before, nothing behind. dst may be src; any
 * other overlap is not allowed. Nothing need be aligned. The core keeps no global state: whoever
 * selects a kernel holds the pointer. */
#ifndef ATALANTA_CORE_MASK_H
#define ATALANTA_CORE_MASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* key: the four masking bytes as they stood on the wire, loaded with memcpy (so in memory order on
 * any machine). phase: index (0 to 3) of the key byte that belongs to src[0]. */
typedef void ws_mask_apply_fn(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key,
                              size_t phase);

/* The same, and true when every byte of the result is ASCII (true for n == 0). */
typedef bool ws_mask_apply_ascii_fn(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key,
                                    size_t phase);

typedef struct {
    const char *name; /* "portable", "sse2", "avx2" or "neon" */
    ws_mask_apply_fn *apply;
    ws_mask_apply_ascii_fn *apply_ascii;
} ws_mask_kernel;

/* The kernels that this build has and this machine can run, the fastest first, the portable one
 * always last. Writes at most `capacity` pointers and returns how many it wrote. */
#define WS_MASK_KERNELS_MAX 5
size_t ws_mask_kernels(const ws_mask_kernel *kernels[], size_t capacity);

/* The kernel of that name, or the fastest for NULL. NULL when this build or machine lacks it. */
const ws_mask_kernel *ws_mask_select(const char *name);

#endif
