/* Compression of one connection's messages (permessage-deflate, RFC 7692): negotiated, then
 * between frames and objects.
 *
 * What was negotiated costs an idle connection nothing but this struct: the codec's state is made
 * at the first compressed message and given back when none has come or gone between two pings, or
 * for about 20 s without pings. */
#ifndef ATALANTA_EXT_COMPRESSION_H
#define ATALANTA_EXT_COMPRESSION_H

#include "protocol.h"

#include "../core/deflate.h"
#include "../core/extension.h"
#include "../core/handshake.h"

struct compression {
    ws_deflate_params params;
    ws_compressor compressor;
    ws_decompressor decompressor;
    byte_buffer inflated; /* of the message under way, when it does not come in one piece */
    PyObject *response;   /* bytes: Sec-WebSocket-Extensions, until the handshake is answered */
    size_t threshold;     /* messages of fewer bytes are sent as they are */
    bool used;            /* since the last ping */
};

/* Reads (server_max_window_bits, client_max_window_bits, server_no_context_takeover,
 * client_no_context_takeover, level, memory_level, threshold), or None for no compression. 0, or
 * -1 with ValueError that names the value. */
int compression_configure(compression_settings *settings, PyObject *options);

/* Accepts one of the request's offers, or none. 0, or -1. */
int compression_negotiate(Protocol *self, const ws_request *request);

/* The handshake has been answered: frames may be compressed from now on. */
void compression_begin(Protocol *self);

/* Takes a piece of a compressed message. As assembly_take. */
int compression_take(Protocol *self, const ws_event *event, PyObject **message);

/* Gathers a data frame, compressed unless it is small. As writer_append_frame. */
int compression_append_frame(Protocol *self, uint8_t opcode, const uint8_t *payload, size_t n);

/* A whole compressed frame that refers to no earlier message, as bytes: for any connection with
 * these window bits. New reference; NULL without an exception when there is no memory for the
 * codec. */
PyObject *compression_shared_frame(const Protocol *self, uint8_t opcode, const void *payload,
                                   size_t n);

/* Gives the codec's memory back if it was not used since the last call. */
void compression_release_idle(Protocol *self);

void compression_drop(Protocol *self);

#endif
