/* The UTF-8 validator against an oracle made from an encoder: every code point is written out and
 * its prefixes are marked, so that a byte is right exactly when some character begins that way.
 *
 * Every sequence is fed whole, cut at every set of points, and among ASCII so that the decoder for
 * whole characters sees it too. Every text ends at a guard page. */
#define _DEFAULT_SOURCE

#include "check.h"
#include "guard.h"
#include "utf8.h"

#define SEQUENCE_MAX 4

static guarded area;

/* One bit per prefix of 1, 2 or 3 bytes: is it a character, does a longer character begin so? */
static uint8_t is_character[SEQUENCE_MAX][(1u << 24) / 8];
static uint8_t is_begin[SEQUENCE_MAX][(1u << 24) / 8];

static uint32_t
prefix_index(const uint8_t *text, size_t n)
{
    uint32_t index = 0;
    for (size_t i = 0; i < n; i++) {
        index = index << 8 | text[i];
    }
    return index;
}

static void
mark(uint8_t *set, uint32_t index)
{
    set[index / 8] = (uint8_t)(set[index / 8] | 1u << index % 8);
}

static bool
marked(const uint8_t *set, uint32_t index)
{
    return (set[index / 8] >> index % 8 & 1) != 0;
}

static size_t
encode(uint32_t point, uint8_t *dst)
{
    if (point < 0x80) {
        dst[0] = (uint8_t)point;
        return 1;
    }
    const size_t size = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = size - 1; i > 0; i--) {
        dst[i] = (uint8_t)(0x80 | (point & 0x3F));
        point >>= 6;
    }
    dst[0] = (uint8_t)((0xF00u >> size & 0xFF) | point);
    return size;
}

static void
build_oracle(void)
{
    for (uint32_t point = 0; point <= 0x10FFFF; point++) {
        if (point >= 0xD800 && point <= 0xDFFF) {
            continue;
        }
        uint8_t text[4];
        const size_t size = encode(point, text);
        for (size_t n = 1; n < size; n++) {
            mark(is_begin[n], prefix_index(text, n));
        }
        if (size < 4) {
            mark(is_character[size], prefix_index(text, size));
        }
    }
}

/* Size of the longest prefix of text that can begin a valid text; *complete: it may end there. */
static size_t
oracle(const uint8_t *text, size_t n, bool *complete)
{
    size_t start = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t size = i + 1 - start;
        bool character;
        bool begin = false;
        if (size == 4) {
            /* Planes are whole: a prefix of 3 bytes takes every last byte or none. */
            character = text[i] >= 0x80 && text[i] <= 0xBF;
        }
        else {
            const uint32_t index = prefix_index(text + start, size);
            character = marked(is_character[size], index);
            begin = marked(is_begin[size], index);
        }
        if (!character && !begin) {
            *complete = false;
            return i;
        }
        if (character) {
            start = i + 1;
        }
    }
    *complete = start == n;
    return n;
}

/* Feeds text cut after byte i wherever bit i of cuts is set; a piece fails exactly when it has the
 * oracle's first bad byte. */
static bool
cut_agrees(const uint8_t *text, size_t n, unsigned cuts, size_t good, bool complete)
{
    ws_utf8 state = {0};
    size_t begin = 0;
    for (size_t i = 0; i < n; i++) {
        if (i + 1 < n && !(cuts >> i & 1)) {
            continue;
        }
        if (ws_utf8_feed(&state, text + begin, i + 1 - begin) != (good > i)) {
            return false;
        }
        if (good <= i) {
            return true;
        }
        begin = i + 1;
    }
    return ws_utf8_complete(&state) == complete;
}

/* The sequence in front of, between and behind ASCII, at every place in a word. */
static bool
padded_agrees(const uint8_t *text, size_t n, size_t before, size_t after, bool valid)
{
    uint8_t *padded = area.end - (before + n + after);
    memset(padded, 'a', before + n + after);
    memcpy(padded + before, text, n);
    return ws_utf8_valid(padded, before + n + after) == valid;
}

static bool
agrees(const uint8_t *text, size_t n)
{
    bool complete;
    const size_t good = oracle(text, n, &complete);
    uint8_t *copy = area.end - n;
    memcpy(copy, text, n);
    for (unsigned cuts = 0; cuts < 1u << (n - 1); cuts++) {
        if (!cut_agrees(copy, n, cuts, good, complete)) {
            return false;
        }
    }
    const bool valid = good == n && complete;
    return ws_utf8_valid(copy, n) == valid && padded_agrees(text, n, 0, 4, valid) &&
           padded_agrees(text, n, 9, 0, valid);
}

static void
check_sequence(const uint8_t *text, size_t n)
{
    const bool agreed = agrees(text, n);
    CHECK(agreed);
    if (!agreed) {
        for (size_t i = 0; i < n; i++) {
            fprintf(stderr, " %02X", text[i]);
        }
        fputc('\n', stderr);
    }
}

static void
test_every_sequence_of_up_to_3(void)
{
    for (size_t n = 1; n <= 3; n++) {
        for (uint32_t value = 0; value < 1u << 8 * n && checks_failed < 10; value++) {
            uint8_t text[3];
            for (size_t i = 0; i < n; i++) {
                text[i] = (uint8_t)(value >> 8 * (n - 1 - i));
            }
            check_sequence(text, n);
        }
    }
}

static const uint8_t edges[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0,
                                0xC2, 0xDF, 0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF};
#define EDGES (sizeof edges)

static void
test_sequences_of_4_at_the_edges(void)
{
    for (unsigned lead = 0; lead <= 0xFF; lead++) {
        for (size_t rest = 0; rest < EDGES * EDGES * EDGES && checks_failed < 10; rest++) {
            const uint8_t text[4] = {(uint8_t)lead, edges[rest / EDGES / EDGES],
                                     edges[rest / EDGES % EDGES], edges[rest % EDGES]};
            check_sequence(text, 4);
        }
    }
}

static void
test_every_code_point(void)
{
    for (uint32_t point = 0; point <= 0x1FFFFF; point++) {
        uint8_t text[4];
        const size_t size = encode(point, text);
        const bool valid = point <= 0x10FFFF && (point < 0xD800 || point > 0xDFFF);
        uint8_t *copy = area.end - size;
        memcpy(copy, text, size);
        CHECK(ws_utf8_valid(copy, size) == valid);
    }
}

/* Cuts a text once, at every point, the ends included. */
static void
check_text(const char *text, size_t n, bool valid)
{
    for (size_t cut = 0; cut <= n; cut++) {
        ws_utf8 state = {0};
        uint8_t *first = area.end - cut;
        memcpy(first, text, cut);
        bool good = ws_utf8_feed(&state, first, cut);
        uint8_t *second = area.end - (n - cut);
        memcpy(second, text + cut, n - cut);
        good = good && ws_utf8_feed(&state, second, n - cut) && ws_utf8_complete(&state);
        CHECK(good == valid);
    }
}

#define CHECK_TEXT(text, valid) check_text(text, sizeof(text) - 1, valid)

static void
test_texts(void)
{
    CHECK_TEXT("", true);
    CHECK_TEXT("plain ASCII, longer than a word", true);
    CHECK_TEXT("\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5", true);
    CHECK_TEXT("\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0\x80 edited", false);
    CHECK_TEXT("\xE6\xBC\xA2\xE5\xAD\x97 and \xF0\x9F\x98\x80\xF4\x8F\xBF\xBF, then ASCII", true);
    CHECK_TEXT("\xF4\x90\x80\x80 and more", false);
    CHECK_TEXT("a character begun and dropped \xE6\xBC", false);
    CHECK_TEXT("\xE6\xBC, the same in the middle", false);
    CHECK_TEXT("\xC0\x80 overlong", false);
    CHECK_TEXT("\xE0\x9F\xBF overlong", false);
    CHECK_TEXT("\xF0\x8F\xBF\xBF overlong", false);
}

/* ASCII of every length, with one character or one bad byte at every place in it. */
static void
test_ascii_runs(void)
{
    static const char character[] = "\xF0\x9F\x98\x80";
    for (size_t n = 0; n <= 70; n++) {
        uint8_t *text = area.end - n;
        memset(text, 0x7F, n);
        CHECK(ws_utf8_valid(text, n));
        for (size_t at = 0; at < n; at++) {
            text[at] = 0x80;
            CHECK(!ws_utf8_valid(text, n));
            text[at] = 0x7F;
            if (at + 4 <= n) {
                memcpy(text + at, character, 4);
                CHECK(ws_utf8_valid(text, n));
                text[at + 3] = 0x7F;
                CHECK(!ws_utf8_valid(text, n));
                memset(text + at, 0x7F, 4);
            }
        }
    }
}

static void
test_nothing(void)
{
    ws_utf8 state = {0};
    CHECK(ws_utf8_feed(&state, NULL, 0));
    CHECK(ws_utf8_complete(&state));
    CHECK(ws_utf8_valid(NULL, 0));
}

int
main(void)
{
    area = guarded_allocate(1);
    build_oracle();
    RUN(test_nothing);
    RUN(test_texts);
    RUN(test_ascii_runs);
    RUN(test_every_code_point);
    RUN(test_every_sequence_of_up_to_3);
    RUN(test_sequences_of_4_at_the_edges);
    return check_finish();
}
