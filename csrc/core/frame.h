/* Frame headers (RFC 6455, section 5.2): bytes to fields and back.
 *
 * Knows the layout and the rules that one header alone can break. What is legal in a sequence of
 * frames is conn's business. */
#ifndef ATALANTA_CORE_FRAME_H
#define ATALANTA_CORE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum {
    WS_OPCODE_CONTINUATION = 0x0,
    WS_OPCODE_TEXT = 0x1,
    WS_OPCODE_BINARY = 0x2,
    WS_OPCODE_CLOSE = 0x8,
    WS_OPCODE_PING = 0x9,
    WS_OPCODE_PONG = 0xA
};

#define WS_FRAME_HEADER_MAX 14     /* 2 + 8 bytes of length + 4 of mask */
#define WS_CONTROL_PAYLOAD_MAX 125 /* section 5.5 */
#define WS_CONTROL_FRAME_MAX (WS_CONTROL_PAYLOAD_MAX + 6)

typedef struct {
    uint64_t length; /* of the payload */
    uint32_t key;    /* masking key in memory order; 0 when not masked */
    uint8_t size;    /* of the header itself, 2 to 14 */
    uint8_t opcode;
    bool fin;
    bool rsv1;
    bool masked;
} ws_frame_header;

/* Reads one header. > 0: the header's size; 0: more bytes are needed; < 0: a ws_error.
 * Refuses RSV2 and RSV3, reserved opcodes, control frames that are fragmented, compressed (RSV1)
 * or longer than 125 bytes, lengths not in their shortest form and lengths of 2^63 and more: each
 * as soon as the byte that shows it is there. RSV1 on data frames is reported, not judged. */
int ws_frame_parse(const uint8_t *data, size_t n, ws_frame_header *header);

/* Writes a header in its shortest form to dst (room for WS_FRAME_HEADER_MAX) and returns its size.
 * Fields read: length (below 2^63), opcode, fin, rsv1, masked and, if masked, key. */
size_t ws_frame_build(uint8_t *dst, const ws_frame_header *header);

#endif
