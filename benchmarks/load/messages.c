/* Payloads of the four kinds, and their frames. */
#include "messages.h"

#include "common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STAMP_DIGITS = 8,
    SET_BYTES = 512 * 1024, /* of payloads: small enough for the client's cache */
    SET_COUNT_MAX = 1024,
    WINDOW = 32768, /* of DEFLATE: nothing refers further back */
    FIN = 0x80,
    RSV1 = 0x40
};

#define MESSAGES_BYTES_MAX (UINT64_C(4) << 30)

/* The key of the examples in RFC 6455, 5.7. */
static const uint8_t mask_key[4] = {0x37, 0xfa, 0x21, 0x3d};

static const char *const words[] = {"queue",  "north",  "amber",  "signal", "river",   "invoice",
                                    "delta",  "market", "paper",  "window", "lantern", "orbit",
                                    "copper", "garden", "winter", "harbour"};

/* Words of one script each, as people write them: characters of two to four bytes in UTF-8. */
static const char *const foreign_words[] = {
    "привет",     "сообщение", "вечером",    "Größe", "café", "καλημέρα", "你好",    "今天晚上",
    "こんにちは", "東京",      "안녕하세요", "שלום",  "दोस्त", "встреча",  "спасибо", "🚀"};

static void
fill_unicode(uint8_t *out, size_t size)
{
    bool blank = false;
    while (size > 0) {
        const char *word = blank ? " " : foreign_words[random_number() >> 7 & 15];
        size_t length = strlen(word);
        if (length > size) {
            word = ".";
            length = 1;
        }
        memcpy(out, word, length);
        out += length;
        size -= length;
        blank = !blank;
    }
}

static void
fill_text(uint8_t *out, size_t size)
{
    random_bytes(out, size);
    for (size_t i = 0; i < size; i++) {
        out[i] = (uint8_t)(' ' + out[i] % 95);
    }
}

static size_t
json_record(char *out, size_t size)
{
    uint64_t a = random_number() >> 16;
    uint64_t b = random_number() >> 16;
    int length =
        snprintf(out, size,
                 ", {\"symbol\": \"%s-%02u\", \"price\": %u.%02u, \"volume\": %u, \"open\": %s, "
                 "\"time\": \"2025-06-%02uT%02u:%02u:%02u.%03uZ\", \"note\": \"%s %s\"}",
                 words[a & 15], (unsigned)(a >> 4 & 63), (unsigned)(a >> 10 & 1023),
                 (unsigned)(a >> 20) % 100, (unsigned)(b & 0xffff),
                 (a >> 33 & 3) != 0 ? "true" : "false", 1 + (unsigned)(b >> 16 & 15),
                 (unsigned)(b >> 20 & 15), (unsigned)(b >> 24) % 60, (unsigned)(b >> 28) % 60,
                 (unsigned)(b >> 32) % 1000, words[a >> 36 & 15], words[b >> 40 & 15]);
    return (size_t)length;
}

/* {"id": "XXXXXXXX", "v": [0, record, record ...    ]}: blanks fill what is too short for a
 * record. */
static void
fill_json(uint8_t *out, size_t size)
{
    static const char head[] = "{\"id\": \"00000000\"";
    static const char list[] = ", \"v\": [0";
    char record[256];
    size_t filled = sizeof head - 1;
    memset(out, ' ', size);
    memcpy(out, head, filled);
    out[size - 1] = '}';
    if (size - filled < sizeof list + 1) {
        return;
    }
    memcpy(out + filled, list, sizeof list - 1);
    filled += sizeof list - 1;
    out[size - 2] = ']';
    for (size_t length; (length = json_record(record, sizeof record)) <= size - 2 - filled;
         filled += length) {
        memcpy(out + filled, record, length);
    }
}

static void
stamp(const struct messages *messages, uint8_t *payload, size_t number)
{
    char digits[STAMP_DIGITS + 1];
    snprintf(digits, sizeof digits, "%08x", (unsigned)number);
    memcpy(payload + messages->stamp_at, digits + STAMP_DIGITS - messages->stamp_size,
           messages->stamp_size);
}

uint64_t
messages_stamp(const struct messages *messages, const uint8_t *payload)
{
    char digits[STAMP_DIGITS + 1] = "";
    memcpy(digits, payload + messages->stamp_at, messages->stamp_size);
    size_t length = strspn(digits, "0123456789abcdef");
    return length == 0 || length != messages->stamp_size ? UINT64_MAX : strtoull(digits, NULL, 16);
}

static void
fill(const struct messages *messages, enum content content, uint8_t *payload)
{
    size_t size = messages->size;
    size_t after = messages->stamp_at + messages->stamp_size;
    switch (content) {
    case CONTENT_TEXT: fill_text(payload, size); break;
    case CONTENT_BINARY: random_bytes(payload, size); break;
    case CONTENT_UNICODE: fill_unicode(payload + after, size - after); break;
    case CONTENT_JSON: fill_json(payload, size); break;
    }
}

void
messages_build(struct messages *messages, const struct options *options)
{
    size_t size = options->size;
    size_t count = SET_BYTES / (size + 1);
    count = count > SET_COUNT_MAX ? SET_COUNT_MAX : count;
    messages->count = count < 2 * options->depth ? 2 * options->depth : count;
    messages->size = size;
    messages->opcode = options->content == CONTENT_BINARY ? OP_BINARY : OP_TEXT;
    messages->stamp_size = options->content == CONTENT_UNICODE ? size / 2 : size;
    if (options->content == CONTENT_JSON) {
        messages->stamp_at = strlen("{\"id\": \"");
    }
    if (messages->stamp_size > STAMP_DIGITS) {
        messages->stamp_size = STAMP_DIGITS;
    }
    if (size > MESSAGES_BYTES_MAX / 2 / messages->count) {
        die("--size %zu with --depth %zu needs more than 4 GiB", size, options->depth);
    }
    messages->plain = allocate(messages->count, size);
    for (size_t i = 0; i < messages->count; i++) {
        fill(messages, options->content, messages->plain + i * size);
        stamp(messages, messages->plain + i * size, i);
    }
}

size_t
frame_build(uint8_t *out, uint8_t first_byte, const uint8_t *payload, size_t size)
{
    size_t length_bytes = size < 126 ? 0 : size < 65536 ? 2 : 8;
    uint8_t *body = out + 2 + length_bytes + sizeof mask_key;

    out[0] = first_byte;
    out[1] = (uint8_t)(0x80 | (length_bytes == 0 ? size : length_bytes == 2 ? 126 : 127));
    for (size_t i = 0; i < length_bytes; i++) {
        out[2 + i] = (uint8_t)((uint64_t)size >> (8 * (length_bytes - 1 - i)));
    }
    memcpy(body - sizeof mask_key, mask_key, sizeof mask_key);
    for (size_t i = 0; i < size; i++) {
        body[i] = payload[i] ^ mask_key[i & 3];
    }
    return (size_t)(body - out) + size;
}

static void
allocate_frames(struct frames *frames, size_t count, size_t longest)
{
    frames->at = allocate(count + 1, sizeof *frames->at);
    frames->bytes = allocate(count, longest + FRAME_HEAD_MAX);
}

static void
add_frame(struct frames *frames, size_t index, uint8_t first_byte, const uint8_t *payload,
          size_t size)
{
    size_t at = frames->at[index];
    frames->at[index + 1] = at + frame_build(frames->bytes + at, first_byte, payload, size);
}

static void
frame_plain(struct messages *messages)
{
    allocate_frames(&messages->fresh, messages->count, messages->size);
    for (size_t i = 0; i < messages->count; i++) {
        add_frame(&messages->fresh, i, FIN | messages->opcode, messages_plain(messages, i),
                  messages->size);
    }
    messages->fresh_count = UINT64_MAX;
}

static void
compress_set(const struct messages *messages, z_stream *compressor, bool forget,
             struct frames *frames, uint8_t *buffer, size_t capacity)
{
    for (size_t i = 0; i < messages->count; i++) {
        if (forget) {
            deflate_forget(compressor);
        }
        size_t size = deflate_message(compressor, messages_plain(messages, i), messages->size,
                                      buffer, capacity);
        if (frames != NULL) {
            add_frame(frames, i, FIN | RSV1 | messages->opcode, buffer, size);
        }
    }
}

/* What a window of 32 KiB holds repeats with the set, so the frames of one turn, taken when the
 * window was full of the set, fit every later turn. Frames that refer to nothing come before,
 * until the window is full. */
static void
frame_compressed(struct messages *messages, const struct deflate_parameters *deflate)
{
    z_stream *compressor = deflate_compressor(deflate);
    size_t capacity = deflate_bound(compressor, messages->size);
    uint8_t *buffer = allocate(capacity, 1);

    allocate_frames(&messages->fresh, messages->count, capacity);
    compress_set(messages, compressor, true, &messages->fresh, buffer, capacity);
    messages->fresh_count = UINT64_MAX;
    if (!deflate->client_no_context_takeover && messages->size > 0) {
        size_t turn = messages->count * messages->size;
        messages->fresh_count = WINDOW / messages->size + 1;
        deflate_forget(compressor);
        for (size_t done = 0; done < WINDOW; done += turn) {
            compress_set(messages, compressor, false, NULL, buffer, capacity);
        }
        allocate_frames(&messages->steady, messages->count, capacity);
        compress_set(messages, compressor, false, &messages->steady, buffer, capacity);
    }
    free(buffer);
    deflateEnd(compressor);
    free(compressor);
}

void
messages_frame(struct messages *messages, const struct deflate_parameters *deflate)
{
    if (deflate->negotiated) {
        frame_compressed(messages, deflate);
    }
    else {
        frame_plain(messages);
    }
}

size_t
messages_run(const struct messages *messages, uint64_t number, uint64_t sent, size_t most,
             struct iovec *run)
{
    bool fresh = sent < messages->fresh_count;
    const struct frames *frames = fresh ? &messages->fresh : &messages->steady;
    size_t slot = (size_t)(number % messages->count);
    size_t length = messages->count - slot;
    if (fresh && messages->fresh_count - sent < length) {
        length = (size_t)(messages->fresh_count - sent);
    }
    length = most < length ? most : length;
    run->iov_base = frames->bytes + frames->at[slot];
    run->iov_len = frames->at[slot + length] - frames->at[slot];
    return length;
}
