/* Why an open connection has to fail: one value per cause, nearly all of them the peer's doing.
 *
 * Functions of the core that read input return > 0 for progress, 0 when they need more input, and
 * one of these, always negative, when the connection has to fail. */
#ifndef ATALANTA_CORE_ERROR_H
#define ATALANTA_CORE_ERROR_H

#include <stdint.h>

typedef enum {
    WS_ERROR_RSV = -1,    /* a reserved bit without an extension that gives it meaning */
    WS_ERROR_OPCODE = -2, /* reserved opcode */
    WS_ERROR_CONTROL_FRAGMENTED = -3, /* control frame without FIN */
    WS_ERROR_CONTROL_TOO_LONG = -4,   /* control frame above 125 bytes */
    WS_ERROR_LENGTH_FORM = -5,        /* length not in its shortest form */
    WS_ERROR_LENGTH_RANGE = -6,       /* length of 2^63 or more */
    WS_ERROR_NOT_MASKED = -7,         /* client frame without a mask */
    WS_ERROR_MASKED = -8,             /* server frame with a mask */
    WS_ERROR_CONTINUATION = -9,       /* continuation frame with no message under way */
    WS_ERROR_INTERLEAVED = -10,       /* new data frame inside a fragmented message */
    WS_ERROR_TOO_BIG = -11,           /* message above the limit */
    WS_ERROR_UTF8 = -12,              /* text message that is not UTF-8 */
    WS_ERROR_CLOSE_LENGTH = -13,      /* close frame with a payload of one byte */
    WS_ERROR_CLOSE_CODE = -14,        /* close code that must not be on the wire */
    WS_ERROR_CLOSE_REASON = -15,      /* close reason that is not UTF-8 */
    WS_ERROR_DEFLATE = -16,           /* compressed message that is not DEFLATE data */
    WS_ERROR_DEFLATE_CUT = -17,       /* compressed message that ends inside a DEFLATE block */
    WS_ERROR_MEMORY = -18             /* no memory for compression; not the peer's doing */
} ws_error;

/* Close codes (RFC 6455, section 7.4.1, and the registry that it founds). */
enum {
    WS_CLOSE_NORMAL = 1000,
    WS_CLOSE_PROTOCOL_ERROR = 1002,
    WS_CLOSE_NO_STATUS = 1005, /* never on the wire: the close frame had no code */
    WS_CLOSE_ABNORMAL = 1006,  /* never on the wire: there was no close frame */
    WS_CLOSE_INVALID_DATA = 1007,
    WS_CLOSE_TOO_BIG = 1009,
    WS_CLOSE_INTERNAL_ERROR = 1011,
    WS_CLOSE_TRY_AGAIN_LATER = 1013
};

/* A short text in English, fit for a close reason (at most 123 bytes) or a log line. */
const char *ws_error_text(int error);

/* The close code for it: PROTOCOL_ERROR, INVALID_DATA, TOO_BIG or INTERNAL_ERROR. */
uint16_t ws_error_close_code(int error);

#endif
