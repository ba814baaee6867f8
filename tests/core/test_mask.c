/* Every masking kernel of this machine against a byte loop: every length, key phase and several
 * offsets, in place and not, in memory that begins and ends at guard pages.
 *
 * Bytes around the destination are compared too, so a kernel that writes where it may is caught
 * by the comparison and one that reads or writes where it may not by the guard page. */
#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE

#include "mask.h"

#include "check.h"
#include "guard.h"

#define LONGEST 300
#define PAGES 4
#define FILLER 0xa5
#define CANARY 128 /* bytes compared on each side of the destination */

static const size_t offsets[] = {0, 1, 2, 3, 5, 8, 16, 31, 63};
#define OFFSETS (sizeof offsets / sizeof offsets[0])

static const size_t long_lengths[] = {511, 512, 513, 1000, 1024, 1031, 4095, 4096, 4097, 9999};
#define LONG_LENGTHS (sizeof long_lengths / sizeof long_lengths[0])

static const uint8_t key_bytes[4] = {0x37, 0xfa, 0x21, 0x9d};

static const ws_mask_kernel *kernels[WS_MASK_KERNELS_MAX];
static size_t kernel_count;
static guarded sources;
static guarded destinations;
static uint8_t *original; /* what the source held, as long as a guarded area */
static uint8_t *expected;

static uint32_t
load_key(void)
{
    uint32_t key;
    memcpy(&key, key_bytes, sizeof key);
    return key;
}

static void
mask_naive(uint8_t *dst, const uint8_t *src, size_t n, size_t phase)
{
    for (size_t i = 0; i < n; i++) {
        dst[i] = (uint8_t)(src[i] ^ key_bytes[(phase + i) % 4]);
    }
}

static bool
is_ascii(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] > 0x7f) {
            return false;
        }
    }
    return true;
}

/* `offset` bytes after the first usable one, or so many before the last. */
static uint8_t *
place(guarded area, size_t n, size_t offset, bool at_end)
{
    return at_end ? area.end - n - offset : area.begin + offset;
}

static bool
all_filler(const uint8_t *begin, const uint8_t *end)
{
    for (const uint8_t *byte = begin; byte < end; byte++) {
        if (*byte != FILLER) {
            return false;
        }
    }
    return true;
}

/* True when the bytes on both sides of [dst, dst + n) are still the filler. */
static bool
surroundings_kept(guarded area, const uint8_t *dst, size_t n)
{
    const size_t before = (size_t)(dst - area.begin);
    const size_t after = (size_t)(area.end - dst) - n;
    return all_filler(dst - (before < CANARY ? before : CANARY), dst) &&
           all_filler(dst + n, dst + n + (after < CANARY ? after : CANARY));
}

static void
fill_original(void)
{
    uint32_t state = 1;
    for (size_t i = 0; i < (size_t)(sources.end - sources.begin); i++) {
        state = state * UINT32_C(1664525) + UINT32_C(1013904223);
        original[i] = (uint8_t)(state >> 24);
    }
}

/* One call of each function from src to dst, which may be equal. dst lies in `area`. */
static bool
call_agrees(const ws_mask_kernel *kernel, guarded area, uint8_t *dst, uint8_t *src, size_t n,
            size_t phase)
{
    bool agrees = true;
    mask_naive(expected, original, n, phase);
    for (int ascii = 0; ascii < 2; ascii++) {
        memset(dst, FILLER, n);
        memcpy(src, original, n);
        if (ascii) {
            const bool said = kernel->apply_ascii(dst, src, n, load_key(), phase);
            agrees = agrees && said == is_ascii(expected, n);
        }
        else {
            kernel->apply(dst, src, n, load_key(), phase);
        }
        agrees = agrees && memcmp(dst, expected, n) == 0 && surroundings_kept(area, dst, n);
        agrees = agrees && (src == dst || memcmp(src, original, n) == 0);
    }
    memset(dst, FILLER, n);
    return agrees;
}

static bool
every_offset_agrees(const ws_mask_kernel *kernel, size_t n, size_t phase)
{
    bool agrees = true;
    for (size_t i = 0; i < OFFSETS * 2; i++) {
        uint8_t *const src = place(sources, n, offsets[i / 2], i % 2 == 1);
        for (size_t j = 0; j < OFFSETS * 2; j++) {
            uint8_t *const dst = place(destinations, n, offsets[j / 2], j % 2 == 1);
            agrees = call_agrees(kernel, destinations, dst, src, n, phase) && agrees;
        }
        uint8_t *const both = place(destinations, n, offsets[i / 2], i % 2 == 1);
        agrees = call_agrees(kernel, destinations, both, both, n, phase) && agrees;
    }
    return agrees;
}

static void
check_length(size_t n)
{
    for (size_t i = 0; i < kernel_count; i++) {
        for (size_t phase = 0; phase < 4; phase++) {
            const bool agrees = every_offset_agrees(kernels[i], n, phase);
            CHECK(agrees);
            if (!agrees) {
                fprintf(stderr, "kernel %s, length %zu, phase %zu\n", kernels[i]->name, n, phase);
            }
        }
    }
}

static void
test_every_length_phase_and_offset(void)
{
    for (size_t n = 0; n <= LONGEST; n++) {
        check_length(n);
    }
}

static void
test_long_lengths(void)
{
    for (size_t i = 0; i < LONG_LENGTHS; i++) {
        check_length(long_lengths[i]);
    }
}

/* The plain text is ASCII but for one byte; the masked source has high bits throughout. */
static bool
finds_byte(const ws_mask_kernel *kernel, uint8_t *src, size_t n, size_t at, size_t phase)
{
    static const uint8_t odd_bytes[] = {0x80, 0xff, 0xc3};
    uint8_t *const dst = destinations.begin;
    const uint8_t kept = src[at];
    const uint8_t odd = odd_bytes[(at + n + phase) % 3];
    src[at] = (uint8_t)(odd ^ key_bytes[(phase + at) % 4]);
    const bool ascii = kernel->apply_ascii(dst, src, n, load_key(), phase);
    const bool right = dst[at] == odd;
    src[at] = kept;
    return !ascii && right;
}

static bool
ascii_is_exact(const ws_mask_kernel *kernel, size_t n, size_t phase, bool at_end)
{
    uint8_t *const src = place(sources, n, 0, at_end);
    memset(sources.begin, FILLER, (size_t)(sources.end - sources.begin));
    memset(expected, 0x7f, n);
    mask_naive(src, expected, n, phase);
    bool exact = kernel->apply_ascii(destinations.begin, src, n, load_key(), phase);
    exact = exact && memcmp(destinations.begin, expected, n) == 0;
    for (size_t at = 0; at < n; at++) {
        exact = finds_byte(kernel, src, n, at, phase) && exact;
    }
    return exact;
}

static void
test_ascii_finds_one_byte_anywhere(void)
{
    for (size_t i = 0; i < kernel_count; i++) {
        for (size_t n = 0; n <= LONGEST; n++) {
            for (size_t phase = 0; phase < 4; phase++) {
                CHECK(ascii_is_exact(kernels[i], n, phase, false));
                CHECK(ascii_is_exact(kernels[i], n, phase, true));
            }
        }
    }
}

/* RFC 6455, section 5.7: a masked "Hello". */
static void
test_rfc_example(void)
{
    static const uint8_t wire_key[4] = {0x37, 0xfa, 0x21, 0x3d};
    static const uint8_t masked[5] = {0x7f, 0x9f, 0x4d, 0x51, 0x58};
    uint32_t key;
    memcpy(&key, wire_key, sizeof key);
    for (size_t i = 0; i < kernel_count; i++) {
        uint8_t plain[5] = {0};
        CHECK(kernels[i]->apply_ascii(plain, masked, sizeof plain, key, 0));
        CHECK(memcmp(plain, "Hello", sizeof plain) == 0);
        kernels[i]->apply(plain, masked + 3, 2, key, 3);
        CHECK(memcmp(plain, "lo", 2) == 0);
    }
}

static void
test_kernels_respects_capacity(void)
{
    for (size_t capacity = 0; capacity <= WS_MASK_KERNELS_MAX; capacity++) {
        const ws_mask_kernel *some[WS_MASK_KERNELS_MAX] = {NULL};
        const size_t written = ws_mask_kernels(some, capacity);
        CHECK(written == (capacity < kernel_count ? capacity : kernel_count));
        for (size_t i = 0; i < WS_MASK_KERNELS_MAX; i++) {
            CHECK(some[i] == (i < written ? kernels[i] : NULL));
        }
    }
    CHECK(strcmp(kernels[kernel_count - 1]->name, "portable") == 0);
}

static void
test_select(void)
{
    for (size_t i = 0; i < kernel_count; i++) {
        CHECK(ws_mask_select(kernels[i]->name) == kernels[i]);
    }
    CHECK(ws_mask_select(NULL) == kernels[0]);
    CHECK(ws_mask_select("") == NULL);
    CHECK(ws_mask_select("AVX2") == NULL);
    CHECK(ws_mask_select("avx") == NULL);
    CHECK(ws_mask_select("portable ") == NULL);
}

/* What every machine of the architecture has must not get lost. */
static void
test_baseline_is_there(void)
{
#if defined(__x86_64__)
    CHECK(ws_mask_select("sse2") != NULL);
    CHECK(ws_mask_select("neon") == NULL);
#elif defined(__aarch64__) && !defined(__AARCH64EB__)
    CHECK(ws_mask_select("neon") != NULL);
    CHECK(ws_mask_select("sse2") == NULL);
#endif
    CHECK(ws_mask_select("portable") != NULL);
}

int
main(void)
{
    kernel_count = ws_mask_kernels(kernels, WS_MASK_KERNELS_MAX);
    sources = guarded_allocate(PAGES);
    destinations = guarded_allocate(PAGES);
    const size_t size = (size_t)(sources.end - sources.begin);
    original = malloc(size);
    expected = malloc(size);
    if (original == NULL || expected == NULL) {
        perror("malloc");
        return EXIT_FAILURE;
    }
    fill_original();
    memset(destinations.begin, FILLER, size);
    printf("kernels:");
    for (size_t i = 0; i < kernel_count; i++) {
        printf(" %s", kernels[i]->name);
    }
    printf("\n");
    RUN(test_baseline_is_there);
    RUN(test_kernels_respects_capacity);
    RUN(test_select);
    RUN(test_rfc_example);
    RUN(test_every_length_phase_and_offset);
    RUN(test_long_lengths);
    RUN(test_ascii_finds_one_byte_anywhere);
    free(original);
    free(expected);
    return check_finish();
}
