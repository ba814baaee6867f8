/* UTF-8 validation by script: a text at once, and in chunks that cut characters. */
#include "utf8.h"

#include <stdio.h>
#include <string.h>

#include "bench.h"

#define TEXT_SIZE ((size_t)64 << 10)
#define CHUNK 1021u /* prime, so that cuts fall everywhere */

typedef struct {
    const uint8_t *text;
    size_t size;
} sample;

static uint64_t
run_whole(const void *context, size_t calls)
{
    const sample text = *(const sample *)context;
    uint64_t sum = 0;
    for (size_t i = 0; i < calls; i++) {
        sum += ws_utf8_valid(text.text, text.size);
    }
    return sum;
}

static uint64_t
run_chunks(const void *context, size_t calls)
{
    const sample text = *(const sample *)context;
    uint64_t sum = 0;
    for (size_t i = 0; i < calls; i++) {
        ws_utf8 state = {0};
        bool valid = true;
        for (size_t at = 0; at < text.size && valid; at += CHUNK) {
            const size_t left = text.size - at;
            valid = ws_utf8_feed(&state, text.text + at, left < CHUNK ? left : CHUNK);
        }
        sum += valid && ws_utf8_complete(&state);
    }
    return sum;
}

/* Repeats the phrase as often as it fits whole. */
static size_t
fill(uint8_t *text, const char *phrase)
{
    const size_t n = strlen(phrase);
    size_t size = 0;
    while (n <= TEXT_SIZE - size) {
        memcpy(text + size, phrase, n);
        size += n;
    }
    return size;
}

void
bench_utf8(void)
{
    static const struct {
        const char *name;
        const char *phrase;
    } scripts[] = {
        {"ASCII", "The quick brown fox jumps over the lazy dog. "},
        {"Cyrillic", "Съешь же ещё этих мягких французских булок. "},
        {"CJK", "色は匂へど散りぬるを我が世誰ぞ常ならむ"},
        {"emoji", "😀🚀🎉🐍👍🔥"},
    };
    uint8_t *text = bench_allocate(TEXT_SIZE + BENCH_SOURCE_OFFSET) + BENCH_SOURCE_OFFSET;
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        const sample context = {text, fill(text, scripts[i].phrase)};
        bench_case measured = {
            .unit = "utf8", .context = &context, .yield = 1, .bytes = context.size};
        measured.run = run_whole;
        snprintf(measured.name, sizeof measured.name, "64 KiB, %s, whole", scripts[i].name);
        bench_measure(&measured);
        measured.run = run_chunks;
        snprintf(measured.name, sizeof measured.name, "64 KiB, %s, in chunks of %u B",
                 scripts[i].name, CHUNK);
        bench_measure(&measured);
    }
}
