/* Frames that come in (RFC 6455, 5.2 to 5.5), in pieces of any size. Nothing is copied but heads
 * and control frames; payloads go to the mode where they lie, through zlib if compressed. */
#include "client.h"
#include "common.h"
#include "connection.h"

#include <string.h>

enum { FIN = 0x80, RSV1 = 0x40, RSV23 = 0x30, MASKED = 0x80, OPCODE = 0x0f };

static bool
alive(const struct client *client, const struct connection *connection)
{
    return connection->state != CONNECTION_IDLE && client->fault[0] == '\0';
}

static void
deliver(struct client *client, struct connection *connection, const uint8_t *data, size_t size,
        bool last)
{
    client->handler->data(client, connection, data, size, last);
    connection->message_offset += size;
}

static void
inflate_failed(struct client *client, struct connection *connection, const char *text)
{
    connection_fail(client, connection, ENDED_FAILED,
                    "a compressed message cannot be decompressed: %s",
                    text != NULL ? text : "unknown error");
}

/* Decompresses until the input is used up; full output buffers are delivered, the rest stays for
 * the next call. */
static void
inflate_input(struct client *client, struct connection *connection, const uint8_t *data,
              size_t size)
{
    z_stream *stream = connection->decompressor;
    stream->next_in = (Bytef *)(uintptr_t)data;
    stream->avail_in = (uInt)size;
    for (;;) {
        int result = inflate(stream, Z_SYNC_FLUSH);
        if (result == Z_STREAM_END) {
            result = inflateReset(stream);
        }
        if (result != Z_OK && result != Z_BUF_ERROR) {
            inflate_failed(client, connection, stream->msg);
            return;
        }
        if (stream->avail_out != 0) {
            return;
        }
        deliver(client, connection, client->inflated, INFLATE_SIZE, false);
        if (!alive(client, connection)) {
            return;
        }
        stream->next_out = client->inflated;
        stream->avail_out = INFLATE_SIZE;
    }
}

static void
deliver_compressed(struct client *client, struct connection *connection, const uint8_t *data,
                   size_t size, bool last)
{
    static const uint8_t tail[4] = {0, 0, 0xff, 0xff};
    connection->decompressor->next_out = client->inflated;
    connection->decompressor->avail_out = INFLATE_SIZE;
    inflate_input(client, connection, data, size);
    if (last && alive(client, connection)) {
        inflate_input(client, connection, tail, sizeof tail);
    }
    if (alive(client, connection)) {
        deliver(client, connection, client->inflated,
                INFLATE_SIZE - connection->decompressor->avail_out, last);
    }
    if (last && alive(client, connection) && client->deflate.server_no_context_takeover) {
        inflateReset(connection->decompressor);
    }
}

static void
end_control(struct client *client, struct connection *connection)
{
    uint8_t opcode = connection->head[0] & OPCODE;
    unsigned code = CLOSE_NO_STATUS;
    if (opcode == OP_PING) {
        connection_queue(connection, OP_PONG, connection->control, connection->control_length);
        client->pongs++;
    }
    if (opcode != OP_CLOSE) {
        return;
    }
    if (connection->control_length >= 2) {
        code = (unsigned)connection->control[0] << 8 | connection->control[1];
    }
    if (connection->state != CONNECTION_CLOSING) {
        connection_fail(client, connection, ENDED_FAILED,
                        "the server sent a close frame (code %u)", code);
    }
    else if (code != CLOSE_NORMAL) {
        connection_fail(client, connection, ENDED_FAILED,
                        "expected a close frame with code %d, got %u", CLOSE_NORMAL, code);
    }
    connection->close_received = true;
}

/* A piece of the current frame's payload. */
static size_t
take_payload(struct client *client, struct connection *connection, const uint8_t *data,
             size_t size)
{
    size_t taken = connection->frame_left < size ? (size_t)connection->frame_left : size;
    connection->frame_left -= taken;
    bool frame_ends = connection->frame_left == 0;
    if (frame_ends) {
        connection->in_payload = false;
        connection->head_length = 0;
        connection->head_need = 2;
    }
    if ((connection->head[0] & OPCODE) >= OP_CLOSE) {
        memcpy(connection->control + connection->control_length, data, taken);
        connection->control_length += taken;
        if (frame_ends) {
            end_control(client, connection);
        }
        return taken;
    }
    bool last = frame_ends && (connection->head[0] & FIN) != 0;
    connection->in_message = !last;
    if (connection->compressed) {
        deliver_compressed(client, connection, data, taken, last);
    }
    else {
        deliver(client, connection, data, taken, last);
    }
    return taken;
}

static const char *
begin_control(struct connection *connection, uint64_t length)
{
    connection->control_length = 0;
    if ((connection->head[0] & OPCODE) > OP_PONG) {
        return "reserved opcode";
    }
    if ((connection->head[0] & RSV1) != 0) {
        return "a control frame with RSV1";
    }
    return length > CONTROL_MAX || (connection->head[0] & FIN) == 0
               ? "control frame too long or fragmented"
               : NULL;
}

static const char *
begin_data(const struct client *client, struct connection *connection)
{
    uint8_t first = connection->head[0];
    uint8_t opcode = first & OPCODE;
    if (connection->in_message) {
        return opcode != OP_CONTINUATION ? "a new message inside another"
               : (first & RSV1) != 0     ? "a continuation with RSV1"
                                         : NULL;
    }
    if (opcode != OP_TEXT && opcode != OP_BINARY) {
        return opcode == OP_CONTINUATION ? "a continuation of nothing" : "reserved opcode";
    }
    if ((first & RSV1) != 0 && !client->deflate.negotiated) {
        return "RSV1 without an extension";
    }
    connection->compressed = (first & RSV1) != 0;
    connection->opcode = opcode;
    connection->message_offset = 0;
    return NULL;
}

static const char *
begin_frame(const struct client *client, struct connection *connection)
{
    uint8_t first = connection->head[0];
    uint64_t length = connection->head[1] & 0x7f;
    if (connection->head_need > 2) {
        length = 0;
        for (size_t i = 2; i < connection->head_need; i++) {
            length = length << 8 | connection->head[i];
        }
        if (length < 126 || (connection->head_need == 10 && length < 65536) || length >> 63 != 0) {
            return "a length that is not in its shortest form";
        }
    }
    connection->frame_left = length;
    connection->in_payload = true;
    if ((connection->head[1] & MASKED) != 0) {
        return "masked";
    }
    if ((first & RSV23) != 0) {
        return "RSV2 or RSV3 is set";
    }
    return (first & OPCODE) >= OP_CLOSE ? begin_control(connection, length)
                                        : begin_data(client, connection);
}

static size_t
take_head(struct client *client, struct connection *connection, const uint8_t *data, size_t size)
{
    size_t taken = 0;
    while (taken < size && connection->head_length < connection->head_need) {
        connection->head[connection->head_length++] = data[taken++];
        if (connection->head_length == 2) {
            uint8_t length = connection->head[1] & 0x7f;
            connection->head_need = length < 126 ? 2 : length == 126 ? 4 : 10;
        }
    }
    if (connection->head_length < connection->head_need) {
        return taken;
    }
    const char *error = begin_frame(client, connection);
    if (error != NULL) {
        connection_fail(client, connection, ENDED_FAILED, "wrong frame (first byte 0x%02x): %s",
                        connection->head[0], error);
    }
    else if (connection->frame_left == 0) {
        take_payload(client, connection, data, 0);
    }
    return taken;
}

void
receive_bytes(struct client *client, struct connection *connection, const uint8_t *data,
              size_t size)
{
    while (size > 0 && alive(client, connection)) {
        if (connection->close_received) {
            connection_fail(client, connection, ENDED_FAILED,
                            "the server sent data behind its close frame");
            return;
        }
        size_t taken = connection->in_payload ? take_payload(client, connection, data, size)
                                              : take_head(client, connection, data, size);
        data += taken;
        size -= taken;
    }
}
