/* The opening handshake (RFC 6455, 4.1 and 4.2.2). */
#define _GNU_SOURCE
#include "client.h"
#include "common.h"
#include "connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { REQUEST_MAX = 8192, ANSWER_MAX = 65536, STATUS_BUSY = 503 };

/* The sample of RFC 6455, 1.3: a fixed key has a known answer. */
#define HANDSHAKE_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define HANDSHAKE_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

/* The path, with the number of the connection's room in place of {room}. */
static int
write_target(const struct options *options, size_t index, char *out, size_t size)
{
    const char *room = strstr(options->path, "{room}");
    if (room == NULL) {
        return snprintf(out, size, "%s", options->path);
    }
    return snprintf(out, size, "%.*s%zu%s", (int)(room - options->path), options->path,
                    index % options->rooms, room + strlen("{room}"));
}

static size_t
write_request(const struct options *options, size_t index, char *out, size_t size)
{
    char target[2048];
    char extensions[256] = "";
    if (write_target(options, index, target, sizeof target) >= (int)sizeof target) {
        die("--path is too long");
    }
    if (options->deflate) {
        char offer[160];
        deflate_offer(offer, sizeof offer, options->window_bits);
        snprintf(extensions, sizeof extensions, "Sec-WebSocket-Extensions: %s\r\n", offer);
    }
    int length =
        snprintf(out, size,
                 "GET %s HTTP/1.1\r\nHost: %s:%s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Key: " HANDSHAKE_KEY "\r\nSec-WebSocket-Version: 13\r\n%s",
                 target, options->host, options->port, extensions);
    for (size_t i = 0; i < options->header_count && (size_t)length < size; i++) {
        length += snprintf(out + length, size - (size_t)length, "%s\r\n", options->headers[i]);
    }
    if ((size_t)length + 2 >= size) {
        die("the handshake is longer than %d bytes", REQUEST_MAX);
    }
    memcpy(out + length, "\r\n", 2);
    return (size_t)length + 2;
}

void
handshake_send(struct client *client, struct connection *connection)
{
    char request[REQUEST_MAX];
    size_t length = write_request(client->options, connection->index, request, sizeof request);
    connection->state = CONNECTION_HANDSHAKE;
    buffer_append(&connection->out, request, length);
    connection_flush(client, connection);
}

/* The value of a header, or NULL. `answer` ends with an empty line and a NUL. */
static const char *
find_header(const char *answer, const char *name, size_t *length)
{
    size_t name_length = strlen(name);
    for (const char *line = strstr(answer, "\r\n"); line != NULL;
         line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, name_length) == 0 && line[2 + name_length] == ':') {
            const char *value = line + 3 + name_length;
            value += strspn(value, " \t");
            *length = strcspn(value, "\r\n");
            return value;
        }
    }
    return NULL;
}

/* All connections share the ready frames, so all must have been answered alike. */
static const char *
check_deflate(struct client *client, const char *answer)
{
    size_t length = 0;
    const char *value = find_header(answer, "Sec-WebSocket-Extensions", &length);
    struct deflate_parameters parameters = {0};
    if (value == NULL && client->options->deflate) {
        return "the server did not accept permessage-deflate";
    }
    if (value != NULL && !client->options->deflate) {
        return "the server negotiated an extension that was not offered";
    }
    const char *error = value != NULL ? deflate_answer(&parameters, value, length) : NULL;
    if (error != NULL) {
        return error;
    }
    if (!client->deflate_known) {
        client->deflate = parameters;
        client->deflate_known = true;
        if (client->messages != NULL) {
            messages_frame(client->messages, &parameters);
        }
    }
    else if (!deflate_same(&parameters, &client->deflate)) {
        return "the server negotiated other parameters of permessage-deflate than before";
    }
    return NULL;
}

static void
check_answer(struct client *client, struct connection *connection, const char *answer)
{
    size_t length = 0;
    int status = 0;
    if (sscanf(answer, "HTTP/1.1 %3d", &status) != 1 || status != 101) {
        connection_fail(client, connection, status == STATUS_BUSY ? ENDED_REFUSED : ENDED_FAILED,
                        "handshake: expected status 101, got '%.*s'", (int)strcspn(answer, "\r\n"),
                        answer);
        return;
    }
    const char *accept = find_header(answer, "Sec-WebSocket-Accept", &length);
    if (accept == NULL || length != strlen(HANDSHAKE_ACCEPT)
        || memcmp(accept, HANDSHAKE_ACCEPT, length) != 0) {
        connection_fail(client, connection, ENDED_FAILED,
                        "handshake: wrong Sec-WebSocket-Accept '%.*s'", (int)length,
                        accept != NULL ? accept : "");
        return;
    }
    const char *error = check_deflate(client, answer);
    if (error != NULL) {
        connection_fail(client, connection, ENDED_FAILED, "handshake: %s", error);
        return;
    }
    if (client->deflate.negotiated) {
        connection->decompressor = inflate_decompressor(&client->deflate);
    }
    connection->state = CONNECTION_OPEN;
    client->opening--;
    client->open++;
    if (client->handler->opened != NULL) {
        client->handler->opened(client, connection);
    }
}

size_t
handshake_receive(struct client *client, struct connection *connection, const uint8_t *data,
                  size_t size)
{
    struct buffer *in = &connection->in;
    size_t before = in->end;
    buffer_append(in, data, size);
    buffer_append(in, "", 1);
    in->end--;
    const char *end = memmem(in->data, in->end, "\r\n\r\n", 4);
    if (end == NULL) {
        if (in->end > ANSWER_MAX) {
            connection_fail(client, connection, ENDED_FAILED,
                            "handshake: the answer does not end");
        }
        return size;
    }
    size_t used = (size_t)(end + 4 - (const char *)in->data);
    in->data[used] = '\0';
    char *answer = (char *)in->data;
    *in = (struct buffer){0};
    check_answer(client, connection, answer);
    free(answer);
    return used - before;
}
