/* permessage-deflate on zlib. */
#define _GNU_SOURCE
#include "deflate.h"

#include "common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LEVEL = 6, MEMORY_LEVEL = 8, BITS_MIN = 8, BITS_ZLIB_MIN = 9, BITS_MAX = 15 };

void
deflate_offer(char *out, size_t size, size_t window_bits)
{
    if (window_bits == 0) {
        snprintf(out, size, "permessage-deflate; client_max_window_bits");
    }
    else {
        snprintf(out, size,
                 "permessage-deflate; server_max_window_bits=%zu; client_max_window_bits=%zu",
                 window_bits, window_bits);
    }
}

static bool
parse_bits(const char *value, int *bits)
{
    char *end;
    if (value == NULL) {
        return false;
    }
    long number = strtol(value, &end, 10);
    *bits = (int)number;
    return end != value && *end == '\0' && number >= BITS_MIN && number <= BITS_MAX;
}

static bool
apply_parameter(struct deflate_parameters *parameters, const char *name, const char *value)
{
    if (strcasecmp(name, "server_no_context_takeover") == 0) {
        parameters->server_no_context_takeover = true;
        return value == NULL;
    }
    if (strcasecmp(name, "client_no_context_takeover") == 0) {
        parameters->client_no_context_takeover = true;
        return value == NULL;
    }
    if (strcasecmp(name, "server_max_window_bits") == 0) {
        return parse_bits(value, &parameters->server_bits);
    }
    if (strcasecmp(name, "client_max_window_bits") == 0) {
        return parse_bits(value, &parameters->client_bits);
    }
    return false;
}

/* "name", "name=value" or "name="value""; surrounding blanks do not count. */
static bool
parse_parameter(struct deflate_parameters *parameters, char *text)
{
    text += strspn(text, " \t");
    char *value = strchr(text, '=');
    if (value != NULL) {
        *value++ = '\0';
        value += strspn(value, " \t\"");
        value[strcspn(value, " \t\"")] = '\0';
    }
    text[strcspn(text, " \t")] = '\0';
    return apply_parameter(parameters, text, value);
}

const char *
deflate_answer(struct deflate_parameters *parameters, const char *value, size_t length)
{
    char text[256];
    char *rest;
    *parameters = (struct deflate_parameters){.server_bits = BITS_MAX, .client_bits = BITS_MAX};
    if (length >= sizeof text) {
        return "the answer is too long";
    }
    memcpy(text, value, length);
    text[length] = '\0';
    char *part = strtok_r(text, ";", &rest);
    if (part != NULL) {
        part += strspn(part, " \t");
        part[strcspn(part, " \t")] = '\0';
    }
    if (part == NULL || strcasecmp(part, "permessage-deflate") != 0) {
        return "the answer is not permessage-deflate";
    }
    while ((part = strtok_r(NULL, ";", &rest)) != NULL) {
        if (!parse_parameter(parameters, part)) {
            return "a parameter of the answer is unknown or out of range";
        }
    }
    parameters->negotiated = true;
    return NULL;
}

bool
deflate_same(const struct deflate_parameters *a, const struct deflate_parameters *b)
{
    return a->negotiated == b->negotiated
           && a->server_no_context_takeover == b->server_no_context_takeover
           && a->client_no_context_takeover == b->client_no_context_takeover
           && a->server_bits == b->server_bits && a->client_bits == b->client_bits;
}

z_stream *
deflate_compressor(const struct deflate_parameters *parameters)
{
    z_stream *stream = allocate(1, sizeof *stream);
    /* zlib writes no raw stream with a window of 256 bytes; without back references any window
     * will do. */
    bool tiny = parameters->client_bits < BITS_ZLIB_MIN;
    int bits = tiny ? BITS_ZLIB_MIN : parameters->client_bits;
    if (deflateInit2(stream, LEVEL, Z_DEFLATED, -bits, MEMORY_LEVEL,
                     tiny ? Z_HUFFMAN_ONLY : Z_DEFAULT_STRATEGY)
        != Z_OK) {
        die("zlib: deflateInit2 failed");
    }
    return stream;
}

size_t
deflate_bound(z_stream *compressor, size_t size)
{
    return deflateBound(compressor, (uLong)size) + 16;
}

size_t
deflate_message(z_stream *compressor, const uint8_t *data, size_t size, uint8_t *out,
                size_t capacity)
{
    if (size == 0) {
        out[0] = 0; /* 7.2.3.6: an empty message is one byte of an empty block */
        return 1;
    }
    compressor->next_in = (Bytef *)(uintptr_t)data;
    compressor->avail_in = (uInt)size;
    compressor->next_out = out;
    compressor->avail_out = (uInt)capacity;
    if (deflate(compressor, Z_SYNC_FLUSH) != Z_OK || compressor->avail_in != 0
        || compressor->avail_out == 0) {
        die("zlib: deflate failed");
    }
    return capacity - compressor->avail_out - 4;
}

void
deflate_forget(z_stream *compressor)
{
    if (deflateReset(compressor) != Z_OK) {
        die("zlib: deflateReset failed");
    }
}

z_stream *
inflate_decompressor(const struct deflate_parameters *parameters)
{
    z_stream *stream = allocate(1, sizeof *stream);
    if (inflateInit2(stream, -parameters->server_bits) != Z_OK) {
        die("zlib: inflateInit2 failed");
    }
    return stream;
}

void
inflate_free(z_stream *decompressor)
{
    if (decompressor != NULL) {
        inflateEnd(decompressor);
        free(decompressor);
    }
}
