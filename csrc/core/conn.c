/* The connection's state machine: frames in, events out; and the control frames it answers with.
 *
 * Depends on frame, utf8 and the mask kernel it was given; on deflate.h for an upper bound alone.
 * Invariants between two calls: in_frame if and only if frame_left > 0; message_size is at most
 * payload_limit (SIZE_MAX stands for no limit, so that one comparison does for both); opcode is 0
 * between messages. The utf8 state belongs to ws_conn_take and ws_conn_check_text: ws_conn_next
 * only sets it to zero where a message begins. */
#include "conn.h"

#include <string.h>

#include "deflate.h"

#define OPCODE_CONTROL 0x08 /* set in the opcodes of control frames */

void
ws_conn_init(ws_conn *conn, const ws_conn_config *config)
{
    *conn = (ws_conn){.config = *config};
    if (config->max_message == 0) {
        conn->config.max_message = SIZE_MAX;
    }
}

void
ws_conn_allow_deflate(ws_conn *conn)
{
    conn->deflate = true;
}

void
ws_conn_fail(ws_conn *conn)
{
    conn->failed = true;
    conn->in_frame = false;
    conn->frame_left = 0;
}

/* How many bytes of payload the message under way may have. */
static inline size_t
payload_limit(const ws_conn *conn)
{
    const size_t max = conn->config.max_message;
    return conn->compressed ? ws_deflate_bound(max) : max;
}

/* Admits a data frame, or says why not (sections 5.2 and 5.4; RFC 7692, section 6.2 for RSV1). */
static inline int
begin_frame(ws_conn *conn, const ws_frame_header *header)
{
    if (header->rsv1 && (!conn->deflate || header->opcode == WS_OPCODE_CONTINUATION)) {
        return WS_ERROR_RSV;
    }
    if (header->opcode == WS_OPCODE_CONTINUATION) {
        if (conn->opcode == 0) {
            return WS_ERROR_CONTINUATION;
        }
    }
    else {
        if (conn->opcode != 0) {
            return WS_ERROR_INTERLEAVED;
        }
        conn->opcode = header->opcode;
        conn->compressed = header->rsv1;
        conn->message_size = 0;
        conn->utf8 = (ws_utf8){0};
        conn->piece_begins = true;
    }
    if (header->length > payload_limit(conn) - conn->message_size) {
        return WS_ERROR_TOO_BIG;
    }
    conn->message_size += (size_t)header->length;
    conn->frame_left = header->length;
    conn->key = header->key;
    conn->phase = 0;
    conn->in_frame = header->length > 0;
    conn->frame_fin = header->fin;
    return 0;
}

/* Hands out what data[0..n) has of the current frame. Returns the piece's length. */
static inline size_t
take_piece(ws_conn *conn, const uint8_t *data, size_t n, ws_event *event)
{
    const size_t length = n < conn->frame_left ? n : (size_t)conn->frame_left;
    const uint64_t left = conn->frame_left - length;
    const bool end = conn->frame_fin && left == 0;
    event->type = WS_EVENT_DATA;
    event->payload = data;
    event->length = length;
    event->frame_left = left;
    event->key = conn->key;
    event->phase = conn->phase;
    event->opcode = conn->opcode;
    event->compressed = conn->compressed;
    event->begin = conn->piece_begins;
    event->fin = conn->frame_fin;
    event->end = end;
    conn->piece_begins = false;
    conn->frame_left = left;
    conn->in_frame = left > 0;
    conn->phase = (uint8_t)((conn->phase + length) & 3);
    if (end) {
        conn->opcode = 0;
    }
    return length;
}

/* Reads a close frame's payload into the event: 0, or a ws_error (sections 5.5.1 and 7.4). */
static int
read_close(const ws_conn *conn, const ws_frame_header *header, const uint8_t *payload,
           ws_event *event)
{
    const ws_mask_kernel *mask = conn->config.mask;
    const size_t length = (size_t)header->length;
    event->type = WS_EVENT_CLOSE;
    event->control_size = 0;
    event->close_code = WS_CLOSE_NO_STATUS;
    if (length == 0) {
        return 0;
    }
    if (length == 1) {
        return WS_ERROR_CLOSE_LENGTH;
    }
    uint8_t code[2];
    mask->apply(code, payload, sizeof code, header->key, 0);
    event->close_code = (uint16_t)(code[0] << 8 | code[1]);
    if (!ws_close_code_valid(event->close_code)) {
        return WS_ERROR_CLOSE_CODE;
    }
    event->control_size = (uint8_t)(length - 2);
    mask->apply(event->control, payload + 2, length - 2, header->key, 2);
    return ws_utf8_valid(event->control, length - 2) ? 0 : WS_ERROR_CLOSE_REASON;
}

/* Hands out a control frame whose payload is all there: 0, or a ws_error. */
static int
take_control(ws_conn *conn, const ws_frame_header *header, const uint8_t *payload, ws_event *event)
{
    if (header->opcode == WS_OPCODE_CLOSE) {
        const int error = read_close(conn, header, payload, event);
        conn->close_received = error == 0;
        return error;
    }
    event->type = header->opcode == WS_OPCODE_PING ? WS_EVENT_PING : WS_EVENT_PONG;
    event->control_size = (uint8_t)header->length;
    conn->config.mask->apply(event->control, payload, (size_t)header->length, header->key, 0);
    return 0;
}

static int
fail_with(ws_conn *conn, int error, size_t n, size_t *consumed)
{
    ws_conn_fail(conn);
    *consumed = n;
    return error;
}

int
ws_conn_next(ws_conn *conn, const uint8_t *data, size_t n, size_t *consumed, ws_event *event)
{
    const bool inert = conn->failed || conn->close_received;
    *consumed = inert ? n : 0;
    if (inert || n == 0) {
        return 0;
    }
    if (conn->in_frame) {
        *consumed = take_piece(conn, data, n, event);
        return 1;
    }
    ws_frame_header header;
    const int parsed = ws_frame_parse(data, n, &header);
    if (parsed <= 0) {
        return parsed == 0 ? 0 : fail_with(conn, parsed, n, consumed);
    }
    if (header.masked == conn->config.client) {
        const int error = header.masked ? WS_ERROR_MASKED : WS_ERROR_NOT_MASKED;
        return fail_with(conn, error, n, consumed);
    }
    const size_t size = header.size;
    if (header.opcode & OPCODE_CONTROL) {
        if (n - size < header.length) {
            return 0;
        }
        const int error = take_control(conn, &header, data + size, event);
        *consumed = size + (size_t)header.length;
        return error == 0 ? 1 : fail_with(conn, error, n, consumed);
    }
    const int error = begin_frame(conn, &header);
    if (error < 0) {
        return fail_with(conn, error, n, consumed);
    }
    *consumed = size;
    if (conn->in_frame && n == size) {
        return 0;
    }
    *consumed += take_piece(conn, data + size, n - size, event);
    return 1;
}

int
ws_conn_check_text(ws_conn *conn, const uint8_t *text, size_t n, bool end)
{
    if (ws_utf8_feed(&conn->utf8, text, n) && (!end || ws_utf8_complete(&conn->utf8))) {
        return 0;
    }
    ws_conn_fail(conn);
    return WS_ERROR_UTF8;
}

int
ws_conn_take(ws_conn *conn, const ws_event *event, uint8_t *dst)
{
    const ws_mask_kernel *mask = conn->config.mask;
    if (event->opcode != WS_OPCODE_TEXT || event->compressed) {
        mask->apply(dst, event->payload, event->length, event->key, event->phase);
        return 0;
    }
    const bool ascii =
        mask->apply_ascii(dst, event->payload, event->length, event->key, event->phase);
    /* ASCII needs no second look, unless it follows on a character that is not complete. */
    const bool checked = ascii && ws_utf8_complete(&conn->utf8);
    return ws_conn_check_text(conn, dst, checked ? 0 : event->length, event->end);
}

bool
ws_conn_take_whole(const ws_conn *conn, const ws_event *event, uint8_t *dst)
{
    return conn->config.mask->apply_ascii(dst, event->payload, event->length, event->key,
                                          event->phase);
}

uint64_t
ws_conn_frame_left(const ws_conn *conn)
{
    return conn->frame_left;
}

/* Writes a whole control frame to dst, masked if we are the client, and returns its size. */
static size_t
write_control(const ws_conn *conn, uint8_t opcode, const uint8_t *payload, size_t length,
              uint32_t key, uint8_t *dst)
{
    const ws_frame_header header = {
        .length = length,
        .key = conn->config.client ? key : 0,
        .opcode = opcode,
        .fin = true,
        .masked = conn->config.client,
    };
    const size_t size = ws_frame_build(dst, &header);
    /* A key of 0 changes nothing, so this is a copy for the server. */
    conn->config.mask->apply(dst + size, payload, length, header.key, 0);
    return size + length;
}

/* The longest part of a reason that fits and does not cut a character. */
static size_t
cut_reason(const uint8_t *reason, size_t size)
{
    if (size <= WS_CLOSE_REASON_MAX) {
        return size;
    }
    size = WS_CLOSE_REASON_MAX;
    while (size > 0 && (reason[size] & 0xC0) == 0x80) {
        size--;
    }
    return size;
}

size_t
ws_conn_close(ws_conn *conn, uint16_t code, const uint8_t *reason, size_t reason_size,
              uint32_t key, uint8_t *dst)
{
    if (conn->close_sent) {
        return 0;
    }
    conn->close_sent = true;
    uint8_t payload[WS_CONTROL_PAYLOAD_MAX];
    size_t length = 0;
    if (code != 0) {
        payload[0] = (uint8_t)(code >> 8);
        payload[1] = (uint8_t)(code & 0xFF);
        length = 2;
        if (reason_size > 0) {
            const size_t cut = cut_reason(reason, reason_size);
            memcpy(payload + 2, reason, cut);
            length += cut;
        }
    }
    return write_control(conn, WS_OPCODE_CLOSE, payload, length, key, dst);
}

size_t
ws_conn_reply(ws_conn *conn, const ws_event *event, uint32_t key, uint8_t *dst)
{
    if (event->type == WS_EVENT_PING) {
        return write_control(conn, WS_OPCODE_PONG, event->control, event->control_size, key, dst);
    }
    if (event->type == WS_EVENT_CLOSE) {
        const bool bare = event->close_code == WS_CLOSE_NO_STATUS;
        return ws_conn_close(conn, bare ? 0 : event->close_code, NULL, 0, key, dst);
    }
    return 0;
}

bool
ws_close_code_valid(uint32_t code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}
