/* The connection: however its input is cut, it reports what the byte-at-a-time reader of
 * reference.c reports: the same messages, control frames and failure. Its invariants hold at every
 * event, and its replies and its close are frames that the other end reads as what they answer.
 *
 * Input: role and options, limit, cuts, then the bytes of the connection. */
#include "conn.h"
#include "input.h"
#include "reference.h"

enum {
    AS_CLIENT = 1,
    WITH_DEFLATE = 2,
    IN_PLACE = 4,  /* pieces are unmasked where they lie */
    AT_ONCE = 8,   /* messages of one piece are taken without the UTF-8 check */
    NO_LIMIT = 16, /* else the next two bytes */
    KERNEL = 5     /* shift: bits above choose the mask kernel */
};

typedef struct {
    ws_conn conn;
    uint8_t options;
    transcript message;
    transcript log;
    bool in_message;
    uint8_t opcode;
    bool compressed;
} session;

/* The other end reads what we send. */
static void
check_sent(const session *on, const uint8_t *frame, size_t n, uint8_t opcode, uint16_t code,
           const uint8_t *payload, size_t payload_size)
{
    transcript expected = {0};
    transcript read = {0};
    reference_reader peer = {.client = !on->conn.config.client, .log = &read};
    for (size_t i = 0; i < n; i++) {
        reference_byte(&peer, frame[i]);
    }
    reference_end(&peer);
    transcript_control(&expected, opcode, code, payload, payload_size);
    REQUIRE(read.size == expected.size && bytes_equal(read.data, expected.data, read.size));
    transcript_clear(&expected);
    transcript_clear(&read);
}

static void
check_reply(session *on, const ws_event *event)
{
    uint8_t *frame = new_block(WS_CONTROL_FRAME_MAX);
    const size_t n = ws_conn_reply(&on->conn, event, 0x12345678, frame);
    if (event->type == WS_EVENT_PING) {
        check_sent(on, frame, n, WS_OPCODE_PONG, 0, event->control, event->control_size);
    }
    else if (event->type == WS_EVENT_CLOSE) {
        check_sent(on, frame, n, WS_OPCODE_CLOSE, event->close_code, NULL, 0);
        REQUIRE(ws_conn_reply(&on->conn, event, 0, frame) == 0);
    }
    else {
        REQUIRE(n == 0);
    }
    free(frame);
}

static int
take(session *on, const ws_event *event, uint8_t *dst)
{
    if ((on->options & AT_ONCE) == 0 || !event->begin || !event->end) {
        return ws_conn_take(&on->conn, event, dst);
    }
    const bool ascii = ws_conn_take_whole(&on->conn, event, dst);
    const bool text = event->opcode == WS_OPCODE_TEXT && !event->compressed;
    if (ascii || !text || ws_utf8_valid(dst, event->length)) {
        return 0;
    }
    ws_conn_fail(&on->conn);
    return WS_ERROR_UTF8;
}

static void
check_piece(const session *on, const ws_event *event)
{
    REQUIRE(event->begin == !on->in_message);
    REQUIRE(event->end == (event->fin && event->frame_left == 0));
    REQUIRE(event->length > 0 || event->frame_left == 0);
    REQUIRE(event->frame_left == ws_conn_frame_left(&on->conn));
    REQUIRE(event->opcode == WS_OPCODE_TEXT || event->opcode == WS_OPCODE_BINARY);
    REQUIRE(event->begin || (event->opcode == on->opcode && event->compressed == on->compressed));
}

static void
take_data(session *on, const ws_event *event, uint8_t *shown)
{
    const bool in_place = (on->options & IN_PLACE) != 0;
    uint8_t *dst = in_place ? shown + (event->payload - shown) : new_block(event->length);
    check_piece(on, event);
    on->in_message = true;
    on->opcode = event->opcode;
    on->compressed = event->compressed;
    const int error = take(on, event, dst);
    if (error != 0) {
        REQUIRE(on->conn.failed);
        transcript_failure(&on->log, error);
    }
    else {
        transcript_bytes(&on->message, dst, event->length);
        if (event->end) {
            transcript_message(&on->log, on->opcode, on->compressed, &on->message, true);
            on->message.size = 0;
            on->in_message = false;
        }
    }
    if (!in_place) {
        free(dst);
    }
}

static void
take_control(session *on, const ws_event *event)
{
    const uint8_t opcode = event->type == WS_EVENT_CLOSE  ? WS_OPCODE_CLOSE
                           : event->type == WS_EVENT_PING ? WS_OPCODE_PING
                                                          : WS_OPCODE_PONG;
    const uint16_t code = event->type == WS_EVENT_CLOSE ? event->close_code : 0;
    transcript_control(&on->log, opcode, code, event->control, event->control_size);
    check_reply(on, event);
}

/* Shows a copy of data[0..n) until no event is left. Returns how much was consumed. */
static size_t
show(session *on, const uint8_t *data, size_t n)
{
    uint8_t *shown = copy_block(data, n);
    size_t at = 0;
    for (;;) {
        ws_event event;
        const bool inert = on->conn.failed || on->conn.close_received;
        size_t consumed = SIZE_MAX;
        const int result = ws_conn_next(&on->conn, shown + at, n - at, &consumed, &event);
        REQUIRE(consumed <= n - at);
        REQUIRE(!inert || (result == 0 && consumed == n - at));
        at += consumed;
        if (result <= 0) {
            REQUIRE(result < 0 || n - at < WS_CONTROL_FRAME_MAX);
            if (result < 0) {
                REQUIRE(on->conn.failed && at == n && ws_conn_frame_left(&on->conn) == 0);
                transcript_failure(&on->log, result);
            }
            free(shown);
            return at;
        }
        if (event.type == WS_EVENT_DATA) {
            take_data(on, &event, shown);
        }
        else {
            take_control(on, &event);
        }
    }
}

static void
run(session *on, const fuzz_input *input, cuts *pieces)
{
    size_t consumed = 0;
    size_t end = 0;
    while (end < input->size) {
        end += next_piece(pieces, input->size - end);
        consumed += show(on, input->data + consumed, end - consumed);
    }
    if (on->message.size > 0 && !on->conn.failed) {
        transcript_message(&on->log, on->opcode, on->compressed, &on->message, false);
    }
    transcript_clear(&on->message);
}

/* A close of ours, its reason being the input's bytes: sent once, and read as it was cut. */
static void
check_close(session *on, const fuzz_input *input)
{
    uint8_t *frame = new_block(WS_CONTROL_FRAME_MAX);
    uint8_t *reason = copy_block(input->data, input->size);
    const bool sent = on->conn.close_sent;
    const size_t valid = ws_utf8_valid(reason, input->size) ? input->size : 0;
    const size_t n = ws_conn_close(&on->conn, WS_CLOSE_NORMAL, reason, valid, 0x01020304, frame);
    REQUIRE((n == 0) == sent);
    if (!sent) {
        const size_t header = on->conn.config.client ? 6 : 2;
        const size_t cut = n - header - 2;
        REQUIRE(cut == valid || (cut < valid && cut + 4 > WS_CLOSE_REASON_MAX));
        check_sent(on, frame, n, WS_OPCODE_CLOSE, WS_CLOSE_NORMAL, reason, cut);
    }
    free(reason);
    free(frame);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    const ws_mask_kernel *kernels[WS_MASK_KERNELS_MAX];
    const size_t kernel_count = ws_mask_kernels(kernels, WS_MASK_KERNELS_MAX);
    session on = {.options = take_byte(&input)};
    const bool client = (on.options & AS_CLIENT) != 0;
    const bool deflate = (on.options & WITH_DEFLATE) != 0;
    const size_t max = (on.options & NO_LIMIT) != 0 ? 0 : take_two_bytes(&input);
    cuts pieces = take_cuts(&input);

    transcript expected = {0};
    reference_reader reader = {
        .client = client, .deflate = deflate, .max_message = max, .log = &expected};
    for (size_t i = 0; i < input.size; i++) {
        reference_byte(&reader, input.data[i]);
    }
    reference_end(&reader);

    ws_conn_init(&on.conn,
                 &(ws_conn_config){.mask = kernels[(on.options >> KERNEL) % kernel_count],
                                   .max_message = max,
                                   .client = client});
    if (deflate) {
        ws_conn_allow_deflate(&on.conn);
    }
    run(&on, &input, &pieces);
    REQUIRE(on.log.size == expected.size &&
            bytes_equal(on.log.data, expected.data, expected.size));
    REQUIRE(on.conn.failed == reader.failed);
    check_close(&on, &input);
    transcript_clear(&on.log);
    transcript_clear(&expected);
    return 0;
}
