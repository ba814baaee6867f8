/* What each ws_error means to a reader and to the peer.
 *
 * Depends on nothing. Both functions accept any integer: a value that is not a ws_error counts
 * as an unnamed protocol error, so that a caller never has to check before it reports. */
#include "error.h"

const char *
ws_error_text(int error)
{
    switch (error) {
    case WS_ERROR_RSV:
        return "reserved bit set";
    case WS_ERROR_OPCODE:
        return "reserved opcode";
    case WS_ERROR_CONTROL_FRAGMENTED:
        return "fragmented control frame";
    case WS_ERROR_CONTROL_TOO_LONG:
        return "control frame longer than 125 bytes";
    case WS_ERROR_LENGTH_FORM:
        return "frame length not in its shortest form";
    case WS_ERROR_LENGTH_RANGE:
        return "frame length of 2^63 or more";
    case WS_ERROR_NOT_MASKED:
        return "client frame not masked";
    case WS_ERROR_MASKED:
        return "server frame masked";
    case WS_ERROR_CONTINUATION:
        return "continuation frame outside a message";
    case WS_ERROR_INTERLEAVED:
        return "new message inside a fragmented one";
    case WS_ERROR_TOO_BIG:
        return "message too big";
    case WS_ERROR_UTF8:
        return "text message not valid UTF-8";
    case WS_ERROR_CLOSE_LENGTH:
        return "close frame with a payload of one byte";
    case WS_ERROR_CLOSE_CODE:
        return "invalid close code";
    case WS_ERROR_CLOSE_REASON:
        return "close reason not valid UTF-8";
    case WS_ERROR_DEFLATE:
        return "invalid compressed data";
    case WS_ERROR_DEFLATE_CUT:
        return "compressed message cut short";
    case WS_ERROR_MEMORY:
        return "out of memory";
    default:
        return "protocol error";
    }
}

uint16_t
ws_error_close_code(int error)
{
    switch (error) {
    case WS_ERROR_UTF8:
    case WS_ERROR_CLOSE_REASON:
    case WS_ERROR_DEFLATE:
    case WS_ERROR_DEFLATE_CUT:
        return WS_CLOSE_INVALID_DATA;
    case WS_ERROR_TOO_BIG:
        return WS_CLOSE_TOO_BIG;
    case WS_ERROR_MEMORY:
        return WS_CLOSE_INTERNAL_ERROR;
    default:
        return WS_CLOSE_PROTOCOL_ERROR;
    }
}
