/* A whole connection's input: headers, sequence rules, unmasking and the check of text.
 *
 * A buffer full of masked messages stands for what a busy connection reads. It is shown whole, as
 * when many messages are in flight, or in pieces as a socket would deliver a large message. */
#include "conn.h"

#include <stdio.h>
#include <string.h>

#include "bench.h"

#define BUFFER ((size_t)256 << 10) /* what the extension receives into */
#define KEY UINT32_C(0x5a3c7e11)

typedef struct {
    ws_conn_config config;
    const uint8_t *stream; /* whole messages, one after the other */
    size_t stream_size;
    size_t shown; /* bytes shown to the connection at a time, when in pieces */
    uint8_t *destination;
} input;

/* Messages that lie whole in the buffer: each yields its length. */
static uint64_t
run_whole(const void *context, size_t calls)
{
    const input in = *(const input *)context;
    ws_conn conn;
    ws_event event;
    uint64_t sum = 0;
    size_t at = 0;
    ws_conn_init(&conn, &in.config);
    for (size_t i = 0; i < calls; i++) {
        size_t consumed;
        if (at == in.stream_size) {
            at = 0;
        }
        if (ws_conn_next(&conn, in.stream + at, in.stream_size - at, &consumed, &event) <= 0) {
            return 0;
        }
        at += consumed;
        if (!event.begin || !event.end || !ws_conn_take_whole(&conn, &event, in.destination)) {
            return 0;
        }
        sum += event.length;
    }
    return sum;
}

/* One message that comes in pieces, its text checked across them: yields its length. */
static uint64_t
run_pieces(const void *context, size_t calls)
{
    const input in = *(const input *)context;
    ws_conn conn;
    ws_event event;
    uint64_t sum = 0;
    size_t at = 0;
    ws_conn_init(&conn, &in.config);
    for (size_t i = 0; i < calls; i++) {
        size_t done = 0;
        do {
            size_t consumed;
            const size_t left = in.stream_size - at;
            const size_t n = left < in.shown ? left : in.shown;
            if (ws_conn_next(&conn, in.stream + at, n, &consumed, &event) <= 0 ||
                ws_conn_take(&conn, &event, in.destination + done) != 0) {
                return 0;
            }
            at += consumed;
            done += event.length;
        } while (!event.end);
        sum += done;
        at = at == in.stream_size ? 0 : at;
    }
    return sum;
}

/* Pings, each answered: yields the size of the pong. */
static uint64_t
run_ping(const void *context, size_t calls)
{
    const input in = *(const input *)context;
    ws_conn conn;
    ws_event event;
    uint64_t sum = 0;
    ws_conn_init(&conn, &in.config);
    for (size_t i = 0; i < calls; i++) {
        size_t consumed;
        if (ws_conn_next(&conn, in.stream, in.stream_size, &consumed, &event) <= 0) {
            return 0;
        }
        sum += ws_conn_reply(&conn, &event, 0, in.destination);
    }
    return sum;
}

/* Fills the stream with `count` frames of `size` bytes of ASCII; returns its size. */
static size_t
fill(uint8_t *stream, uint8_t opcode, size_t size, size_t count)
{
    const ws_frame_header header = {
        .length = size, .key = KEY, .opcode = opcode, .fin = true, .masked = true};
    uint8_t key[4];
    memcpy(key, &(uint32_t){KEY}, sizeof key);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        at += ws_frame_build(stream + at, &header);
        for (size_t j = 0; j < size; j++) {
            stream[at++] = (uint8_t)('a' ^ key[j % sizeof key]);
        }
    }
    return at;
}

static void
check_text(const input *in, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        bench_require(in->destination[i] == 'a', "conn: a message was unmasked wrongly");
    }
    memset(in->destination, 0, size);
}

static void
measure_whole(input *in, uint8_t *stream, size_t size)
{
    in->stream_size = fill(stream, WS_OPCODE_TEXT, size, BUFFER / (size + WS_FRAME_HEADER_MAX));
    bench_case measured = {
        .unit = "conn", .run = run_whole, .context = in, .yield = size, .bytes = size};
    char name[BENCH_SIZE_NAME];
    bench_size_name(size, name);
    snprintf(measured.name, sizeof measured.name, "text message of %s, ASCII, whole", name);
    bench_measure(&measured);
    check_text(in, size);
}

static void
measure_pieces(input *in, uint8_t *stream, size_t size, size_t shown)
{
    in->stream_size = fill(stream, WS_OPCODE_TEXT, size, 1);
    in->shown = shown;
    bench_case measured = {
        .unit = "conn", .run = run_pieces, .context = in, .yield = size, .bytes = size};
    char names[2][BENCH_SIZE_NAME];
    bench_size_name(size, names[0]);
    bench_size_name(shown, names[1]);
    snprintf(measured.name, sizeof measured.name, "text message of %s, ASCII, in reads of %s",
             names[0], names[1]);
    bench_measure(&measured);
    check_text(in, size);
}

void
bench_conn(void)
{
    uint8_t *stream = bench_allocate(BUFFER + BENCH_SOURCE_OFFSET) + BENCH_SOURCE_OFFSET;
    uint8_t *destination =
        bench_allocate(BUFFER + BENCH_DESTINATION_OFFSET) + BENCH_DESTINATION_OFFSET;
    input in = {.config = {.mask = ws_mask_select(NULL), .max_message = 16u << 20},
                .stream = stream,
                .destination = destination};
    measure_whole(&in, stream, 32);
    measure_whole(&in, stream, 1024);
    measure_whole(&in, stream, 65536);
    measure_pieces(&in, stream, 65536, 4096);
    in.stream_size = fill(stream, WS_OPCODE_PING, 4, 1);
    const bench_case ping = {.unit = "conn",
                             .name = "ping of 4 B, with its pong",
                             .run = run_ping,
                             .context = &in,
                             .yield = 6};
    bench_measure(&ping);
}
