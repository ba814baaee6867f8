/* Frame headers: read and written, by the form of their length. */
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "frame.h"

#define HEADERS 64u /* a power of two; read in turn */

typedef struct {
    uint8_t bytes[HEADERS][WS_FRAME_HEADER_MAX];
    ws_frame_header headers[HEADERS];
} header_set;

static uint64_t
run_parse(const void *context, size_t calls)
{
    const header_set *set = context;
    uint64_t sum = 0;
    for (size_t i = 0; i < calls; i++) {
        ws_frame_header header;
        const int size = ws_frame_parse(set->bytes[i % HEADERS], WS_FRAME_HEADER_MAX, &header);
        const ws_frame_header *expected = &set->headers[i % HEADERS];
        sum += size == expected->size && header.length == expected->length &&
               header.key == expected->key && header.opcode == expected->opcode;
    }
    return sum;
}

static uint64_t
run_build(const void *context, size_t calls)
{
    const header_set *set = context;
    uint64_t sum = 0;
    for (size_t i = 0; i < calls; i++) {
        uint8_t bytes[WS_FRAME_HEADER_MAX];
        const ws_frame_header *header = &set->headers[i % HEADERS];
        const size_t size = ws_frame_build(bytes, header);
        sum += size == header->size && bytes[1] == set->bytes[i % HEADERS][1];
    }
    return sum;
}

/* One length for all headers, or 0 for the three forms in an order without a pattern. */
static void
fill(header_set *set, uint64_t length, bool masked)
{
    static const uint64_t mixed[] = {32, 1024, 65536};
    uint32_t random = 1;
    for (size_t i = 0; i < HEADERS; i++) {
        random = random * 1664525u + 1013904223u; /* Numerical Recipes' generator */
        ws_frame_header *header = &set->headers[i];
        memset(header, 0, sizeof *header);
        header->length = length > 0 ? length : mixed[(random >> 16) % 3];
        header->opcode = WS_OPCODE_TEXT;
        header->fin = true;
        header->masked = masked;
        header->key = masked ? random : 0;
        header->size = (uint8_t)ws_frame_build(set->bytes[i], header);
    }
}

void
bench_frame(void)
{
    static const struct {
        uint64_t length;
        const char *name;
    } forms[] = {{32, "length in 7 bits"},
                 {1024, "length in 16 bits"},
                 {65536, "length in 64 bits"},
                 {0, "lengths mixed"}};
    static header_set set;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        bench_case parse = {.unit = "frame", .run = run_parse, .context = &set, .yield = 1};
        snprintf(parse.name, sizeof parse.name, "parse masked header, %s", forms[i].name);
        fill(&set, forms[i].length, true);
        bench_measure(&parse);
        bench_case build = {.unit = "frame", .run = run_build, .context = &set, .yield = 1};
        snprintf(build.name, sizeof build.name, "build server header, %s", forms[i].name);
        fill(&set, forms[i].length, false);
        bench_measure(&build);
    }
}
