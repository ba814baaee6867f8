/* Negotiation of permessage-deflate (RFC 7692, section 7.1), the server's part: the client's
 * offers in, the value of the response's Sec-WebSocket-Extensions out.
 *
 * Nothing is allocated, and the time is linear in the offers' size. An offer that is malformed,
 * of another extension, or that cannot be accepted is passed over; it never fails the
 * handshake. */
#ifndef ATALANTA_CORE_EXTENSION_H
#define ATALANTA_CORE_EXTENSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handshake.h"

/* Of a client's window a server can bear any size; its own, with zlib, is 2^9 bytes or more. */
#define WS_WINDOW_BITS_MIN 9
#define WS_WINDOW_BITS_MAX 15

/* Offers that are looked at, over all headers; what follows is not. Browsers send one,
 * libraries two. */
#define WS_EXTENSION_OFFERS_MAX 32

/* What the server is ready for. */
typedef struct {
    bool enabled;
    /* Limits for the windows, WS_WINDOW_BITS_MIN to _MAX. The client's can be told to it only
     * if its offer has client_max_window_bits; one that cannot limit its window keeps 15. */
    uint8_t server_max_window_bits;
    uint8_t client_max_window_bits;
    bool server_no_context_takeover; /* we compress each message on its own */
    bool client_no_context_takeover; /* the client has to: it must obey, whatever it offered */
} ws_deflate_config;

/* What holds for the connection. */
typedef struct {
    uint8_t server_window_bits; /* our compressor's, at most: WS_WINDOW_BITS_MIN to _MAX */
    uint8_t client_window_bits; /* what the client's compressor may use: 8 to WS_WINDOW_BITS_MAX */
    bool server_no_context_takeover;
    bool client_no_context_takeover;
} ws_deflate_params;

typedef enum {
    WS_EXTENSION_NONE = 0,   /* nothing acceptable: answer without the header */
    WS_EXTENSION_DEFLATE = 1 /* permessage-deflate: params, and the header's value in dst */
} ws_extension;

/* Room for the longest value: the name with all four parameters, 128 bytes. */
#define WS_EXTENSION_RESPONSE_MAX 128

/* Takes the first acceptable offer out of the values of the request's Sec-WebSocket-Extensions
 * headers, in their order. Writes the response's value to dst (room for WS_EXTENSION_RESPONSE_MAX)
 * and its length to *size; *params and *size are set for WS_EXTENSION_DEFLATE alone.
 *
 * Declined are: a parameter that is unknown, twice there, without the value it must have or
 * with one it must not have; a window size other than the decimals 8 to 15 (quoted or not); and
 * server_max_window_bits=8, as zlib's raw deflate would use 9 in its place. The response names
 * a parameter only where the offer has it, save client_no_context_takeover (section 7.1.1.2). */
ws_extension ws_extension_negotiate(const ws_deflate_config *config, const ws_slice *values,
                                    size_t count, ws_deflate_params *params, uint8_t *dst,
                                    size_t *size);

#endif
