/* The client's side of permessage-deflate (RFC 7692): the offer, what the server made of it, and
 * one message at a time through zlib. */
#ifndef LOAD_DEFLATE_H
#define LOAD_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

struct deflate_parameters {
    bool negotiated;
    bool server_no_context_takeover, client_no_context_takeover;
    int server_bits, client_bits;
};

/* The value of Sec-WebSocket-Extensions. window_bits 0: what browsers offer. */
void deflate_offer(char *out, size_t size, size_t window_bits);

/* The server's answer. Returns NULL, or what is wrong with it. */
const char *deflate_answer(struct deflate_parameters *parameters, const char *value,
                           size_t length);

bool deflate_same(const struct deflate_parameters *a, const struct deflate_parameters *b);

/* A compressor as the parameters allow it. */
z_stream *deflate_compressor(const struct deflate_parameters *parameters);

/* At most this many bytes come of a message of that size. */
size_t deflate_bound(z_stream *compressor, size_t size);

/* Compresses one message (7.2.1: the last four bytes of the flush are cut off) and returns its
 * length. */
size_t deflate_message(z_stream *compressor, const uint8_t *data, size_t size, uint8_t *out,
                       size_t capacity);

/* Forgets the window: the next message refers to nothing before it. */
void deflate_forget(z_stream *compressor);

z_stream *inflate_decompressor(const struct deflate_parameters *parameters);
void inflate_free(z_stream *decompressor);

#endif
