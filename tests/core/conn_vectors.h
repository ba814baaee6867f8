/* Vectors for the connection: a list of frames and the log of what must come of them.
 *
 * A vector is fed whole, one byte at a time and cut at every point, in both roles, what was not
 * consumed being shown again; the log must be the same each time. Input ends at a guard page, and
 * so does the room a piece is unmasked to. The mask kernel is the plain loop of the RFC, so that
 * no other is needed. The including file defines _DEFAULT_SOURCE and allocates the two areas. */
#ifndef ATALANTA_TESTS_CONN_VECTORS_H
#define ATALANTA_TESTS_CONN_VECTORS_H

#include "check.h"
#include "conn.h"
#include "guard.h"

#define INPUT_MAX 150000
#define LOG_MAX 4096
#define FRAMES_MAX 6
#define UNMARKED SIZE_MAX

static guarded input_area;
static guarded output_area;

/* The kernel */

static void
plain_apply(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key, size_t phase)
{
    uint8_t bytes[4];
    memcpy(bytes, &key, 4);
    for (size_t i = 0; i < n; i++) {
        dst[i] = src[i] ^ bytes[(phase + i) % 4];
    }
}

static bool
plain_apply_ascii(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key, size_t phase)
{
    bool ascii = true;
    plain_apply(dst, src, n, key, phase);
    for (size_t i = 0; i < n; i++) {
        ascii = ascii && dst[i] < 0x80;
    }
    return ascii;
}

static const ws_mask_kernel plain = {"plain", plain_apply, plain_apply_ascii};

static uint32_t
key_of(const char *bytes)
{
    uint32_t key;
    memcpy(&key, bytes, 4);
    return key;
}

/* Input: frames to bytes */

typedef enum {
    SHORTEST,
    MASK_WRONG, /* masked when it must not be, or the other way round */
    HEADER,     /* no payload follows the header, although it announces one */
    LONG        /* header only, its length SIZE_MAX / 2: 2^63 - 1 where size_t has 64 bits */
} frame_form;

typedef struct {
    uint8_t first;
    frame_form form;
    const char *payload; /* NULL: size times 'a' */
    size_t size;
} test_frame;

#define FRAME(first, payload) {first, SHORTEST, payload, sizeof(payload) - 1}
#define FILLED(first, size) {first, SHORTEST, NULL, size}

typedef struct {
    const char *log;
    size_t max_message;
    test_frame frames[FRAMES_MAX]; /* those that are all zero do not count */
} test_vector;

static uint8_t input[INPUT_MAX];
static size_t input_size;

static void
put(uint64_t value, size_t bytes)
{
    for (size_t i = bytes; i > 0; i--) {
        input[input_size++] = (uint8_t)(value >> 8 * (i - 1));
    }
}

static void
put_frame(const test_frame *frame, bool client, uint8_t number)
{
    const bool masked = client == (frame->form == MASK_WRONG);
    const uint64_t bit = masked ? 0x80 : 0;
    const uint8_t key[4] = {(uint8_t)(0x37 + number), 0xFA, 0x21, 0x3D};
    put(frame->first, 1);
    if (frame->form == LONG) {
        put(bit | 127, 1);
        put(SIZE_MAX / 2, 8);
    }
    else if (frame->size > 65535) {
        put(bit | 127, 1);
        put(frame->size, 8);
    }
    else if (frame->size > 125) {
        put(bit | 126, 1);
        put(frame->size, 2);
    }
    else {
        put(bit | frame->size, 1);
    }
    for (size_t i = 0; masked && i < 4; i++) {
        put(key[i], 1);
    }
    if (frame->form == HEADER || frame->form == LONG) {
        return;
    }
    for (size_t i = 0; i < frame->size; i++) {
        const uint8_t byte = frame->payload == NULL ? 'a' : (uint8_t)frame->payload[i];
        put(masked ? byte ^ key[i % 4] : byte, 1);
    }
}

static void
put_vector(const test_vector *vector, bool client)
{
    input_size = 0;
    for (uint8_t i = 0; i < FRAMES_MAX; i++) {
        const test_frame *frame = &vector->frames[i];
        if (frame->first != 0 || frame->payload != NULL || frame->size != 0) {
            put_frame(frame, client, i);
        }
    }
}

/* The log: "T{" or "B{" where a message begins ("TZ{" or "BZ{" a compressed one), its content and
 * "} " where it ends, "~ " in place of the brace where it breaks off; "ping(...) ", "pong(...) ",
 * "close(code,reason) ", "!error ". */

static char log_text[LOG_MAX];
static size_t log_size;
static uint8_t message[INPUT_MAX];
static size_t message_size;
static bool in_message;
static bool message_compressed;
static bool allow_deflate; /* for the connections that feed makes */

static void
log_string(const char *text)
{
    const size_t n = strlen(text);
    if (log_size + n < LOG_MAX) {
        memcpy(log_text + log_size, text, n + 1);
        log_size += n;
    }
}

static void
log_bytes(const uint8_t *bytes, size_t n)
{
    char text[32];
    for (size_t i = 0; i < n;) {
        size_t run = 1;
        while (i + run < n && bytes[i + run] == bytes[i]) {
            run++;
        }
        if (run > 8) {
            snprintf(text, sizeof text, "<%zu*%c>", run, bytes[i]);
        }
        else {
            run = 1;
            const bool printable = bytes[i] >= 0x20 && bytes[i] < 0x7F;
            snprintf(text, sizeof text, printable ? "%c" : "\\%02X", bytes[i]);
        }
        log_string(text);
        i += run;
    }
}

static const char *
error_name(int error)
{
    static const char *const names[] = {
        "",           "RSV",          "OPCODE",       "FRAGMENTED",  "TOO_LONG", "FORM",
        "RANGE",      "NOT_MASKED",   "MASKED",       "CONTINUATION", "INTERLEAVED", "TOO_BIG",
        "UTF8",       "CLOSE_LENGTH", "CLOSE_CODE",   "CLOSE_REASON"};
    return error < 0 && error >= -15 ? names[-error] : "UNKNOWN";
}

/* The content before an error, unless the error is its own: how much of it was handed out before a
 * bad byte was found depends on the cuts. */
static void
log_break(int error)
{
    if (in_message) {
        if (error != WS_ERROR_UTF8) {
            log_bytes(message, message_size);
        }
        log_string("~ ");
        in_message = false;
    }
    if (error != 0) {
        log_string("!");
        log_string(error_name(error));
        log_string(" ");
    }
}

static void
log_control(const ws_event *event)
{
    char text[32];
    if (event->type == WS_EVENT_CLOSE) {
        snprintf(text, sizeof text, "close(%u,", (unsigned)event->close_code);
    }
    else {
        snprintf(text, sizeof text, event->type == WS_EVENT_PING ? "ping(" : "pong(");
    }
    log_string(text);
    log_bytes(event->control, event->control_size);
    log_string(") ");
}

/* How pieces are taken */
typedef enum { APART, IN_PLACE, WHOLE, MODES } take_mode;

static int
take(ws_conn *conn, const ws_event *event, take_mode mode, uint8_t *dst)
{
    if (mode != WHOLE || !event->begin || !event->end) {
        return ws_conn_take(conn, event, dst);
    }
    const bool ascii = ws_conn_take_whole(conn, event, dst);
    CHECK(ascii || event->length > 0);
    if (ascii || event->compressed || event->opcode != WS_OPCODE_TEXT ||
        ws_utf8_valid(dst, event->length)) {
        return 0;
    }
    ws_conn_fail(conn);
    return WS_ERROR_UTF8;
}

static void
log_piece(ws_conn *conn, const ws_event *event, take_mode mode)
{
    uint8_t *dst = output_area.end - event->length;
    if (mode == IN_PLACE) {
        dst = input_area.begin + (event->payload - input_area.begin);
    }
    CHECK(event->begin == !in_message);
    CHECK(event->begin || event->compressed == message_compressed);
    CHECK(event->end == (event->fin && event->frame_left == 0));
    CHECK(event->length > 0 || event->frame_left == 0);
    CHECK(event->frame_left == ws_conn_frame_left(conn));
    if (event->begin) {
        log_string(event->opcode == WS_OPCODE_TEXT ? "T" : "B");
        log_string(event->compressed ? "Z{" : "{");
        message_compressed = event->compressed;
        in_message = true;
        message_size = 0;
    }
    const int error = take(conn, event, mode, dst);
    if (error != 0) {
        log_break(error);
        return;
    }
    memcpy(message + message_size, dst, event->length);
    message_size += event->length;
    if (event->end) {
        log_bytes(message, message_size);
        log_string("} ");
        in_message = false;
    }
}

/* Shows input[begin..end), which ends at the guard page, until the answer is not an event. Returns
 * how much was consumed. */
static size_t
show(ws_conn *conn, size_t begin, size_t end, take_mode mode)
{
    uint8_t *const shown = input_area.end - (end - begin);
    size_t at = 0;
    memcpy(shown, input + begin, end - begin);
    for (;;) {
        ws_event event;
        const bool inert = conn->failed || conn->close_received;
        const size_t left = end - begin - at;
        size_t consumed = UNMARKED;
        const int result = ws_conn_next(conn, shown + at, left, &consumed, &event);
        CHECK(consumed <= left);
        CHECK(!inert || (result == 0 && consumed == left));
        if (consumed > left) {
            return end - begin;
        }
        at += consumed;
        if (result <= 0) {
            CHECK(result < 0 || left - consumed < WS_CONTROL_FRAME_MAX);
            if (result < 0) {
                CHECK(conn->failed && consumed == left && ws_conn_frame_left(conn) == 0);
                log_break(result);
            }
            return at;
        }
        if (event.type == WS_EVENT_DATA) {
            log_piece(conn, &event, mode);
        }
        else {
            log_control(&event);
        }
    }
}

/* Feeds the input with one cut, or (step > 0) in steps of that many bytes, and leaves the log. */
static void
feed(const ws_conn_config *config, size_t cut, size_t step, take_mode mode)
{
    ws_conn conn;
    size_t consumed = 0;
    size_t end = step > 0 ? 0 : cut;
    ws_conn_init(&conn, config);
    if (allow_deflate) {
        ws_conn_allow_deflate(&conn);
    }
    log_size = 0;
    log_text[0] = '\0';
    in_message = false;
    for (;;) {
        consumed += show(&conn, consumed, end, mode);
        if (end == input_size) {
            break;
        }
        end = step > 0 && input_size - end > step ? end + step : input_size;
    }
    log_break(0);
    /* Inert connections take whatever comes. */
    if (conn.failed || conn.close_received) {
        CHECK(consumed == input_size);
    }
}

static void
check_log(const test_vector *vector, bool client, const char *how, size_t cut)
{
    const char *expected = vector->log;
    const bool same = strcmp(log_text, expected) == 0;
    CHECK(same);
    if (!same) {
        fprintf(stderr, "  %s, %s %zu\n  expected %s\n  logged   %s\n",
                client ? "client" : "server", how, cut, expected, log_text);
    }
}

static void
check_vector_as(const test_vector *vector, bool client)
{
    const ws_conn_config config = {&plain, vector->max_message, client};
    put_vector(vector, client);
    const size_t edge = input_size > 2000 ? 40 : input_size;
    for (take_mode mode = APART; mode < MODES; mode++) {
        for (size_t step = 1; step <= 7; step++) {
            feed(&config, 0, step, mode);
            check_log(vector, client, "in steps of", step);
        }
        for (size_t cut = 0; cut <= input_size; cut++) {
            if (cut > edge && cut < input_size - edge) {
                continue;
            }
            feed(&config, cut, 0, mode);
            check_log(vector, client, "cut at", cut);
        }
    }
}

static void
check_vectors(const test_vector *vectors, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        check_vector_as(&vectors[i], false);
        check_vector_as(&vectors[i], true);
    }
}

#define CHECK_VECTORS(vectors) check_vectors(vectors, sizeof(vectors) / sizeof *(vectors))

#endif
