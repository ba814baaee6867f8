/* One connection after its handshake: which frames may follow which (RFC 6455, sections 5.4 to 7).
 *
 * Pulled, never calling back: the caller shows the bytes it has, and gets one event at a time.
 * Nothing is buffered here and nothing allocated. A data frame is handed out in pieces as its
 * bytes come, so that the caller can unmask each straight into the object it is building; a
 * control frame is handed out whole, and left unconsumed until it is.
 *
 * After an error, and after the peer's close frame, the connection is inert: ws_conn_next consumes
 * everything it is shown and reports nothing. */
#ifndef ATALANTA_CORE_CONN_H
#define ATALANTA_CORE_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "frame.h"
#include "mask.h"
#include "utf8.h"

#define WS_CLOSE_REASON_MAX (WS_CONTROL_PAYLOAD_MAX - 2)

typedef struct {
    const ws_mask_kernel *mask; /* borrowed, outlives the connection */
    size_t max_message;         /* bytes of a whole message, inflated; 0: SIZE_MAX */
    bool client; /* true: we are the client, so the peer's frames must not be masked */
} ws_conn_config;

/* Fields are private to conn.c; the struct is here so that it can be embedded. */
typedef struct {
    ws_conn_config config;
    size_t message_size; /* bytes of the current message announced so far, all frames */
    uint64_t frame_left; /* payload bytes of the current data frame still to come */
    uint32_t key;
    ws_utf8 utf8;
    uint8_t phase;   /* key phase of the next payload byte */
    uint8_t opcode;  /* of the message under way; 0 when there is none */
    bool deflate;    /* permessage-deflate was negotiated */
    bool compressed; /* the message under way is */
    bool in_frame;   /* a data frame's header is read, its payload not all handed out */
    bool frame_fin;
    bool piece_begins; /* the next piece is the first of its message */
    bool failed;
    bool close_received;
    bool close_sent;
} ws_conn;

typedef enum { WS_EVENT_DATA = 1, WS_EVENT_PING, WS_EVENT_PONG, WS_EVENT_CLOSE } ws_event_type;

typedef struct {
    ws_event_type type;
    /* WS_EVENT_DATA: a piece of a message, still masked; points into the bytes shown. Take it with
     * ws_conn_take or ws_conn_take_whole before the next call of ws_conn_next. */
    const uint8_t *payload;
    size_t length;
    uint64_t frame_left; /* bytes of this frame that come in later pieces */
    uint32_t key;
    uint8_t phase;
    uint8_t opcode;  /* of the message: WS_OPCODE_TEXT or WS_OPCODE_BINARY */
    bool compressed; /* the message's payload is DEFLATE data; see ws_conn_check_text */
    bool begin;      /* first piece of the message */
    bool fin;        /* the frame is the last of the message */
    bool end;        /* last piece of the message: fin, and frame_left is 0 */
    /* WS_EVENT_PING, _PONG: the payload, unmasked. WS_EVENT_CLOSE: the reason, valid UTF-8. */
    uint8_t control[WS_CONTROL_PAYLOAD_MAX];
    uint8_t control_size;
    uint16_t close_code; /* WS_EVENT_CLOSE: as received, or WS_CLOSE_NO_STATUS */
} ws_event;

void ws_conn_init(ws_conn *conn, const ws_conn_config *config);

/* permessage-deflate has been negotiated: RSV1 on a message's first frame marks it as compressed
 * (RFC 7692, section 6). To call before the first frame is shown. */
void ws_conn_allow_deflate(ws_conn *conn);

/* Looks at data[0..n). > 0: *event is filled; 0: no event without more input; < 0: a ws_error, and
 * the connection has failed. *consumed is always set: bytes that need not be shown again. What is
 * not consumed (at most WS_CONTROL_FRAME_MAX - 1 bytes when the answer is 0) comes first in the
 * next call. A data frame with no payload gives an event with length 0. A compressed message's
 * payload may be above max_message by as much as DEFLATE adds to data that it cannot make smaller;
 * what it inflates to is the decompressor's to limit. */
int ws_conn_next(ws_conn *conn, const uint8_t *data, size_t n, size_t *consumed, ws_event *event);

/* Unmasks a piece to dst (room for event->length; dst may be event->payload). Text is checked as
 * UTF-8 across pieces, its end included, unless it is compressed. 0, or WS_ERROR_UTF8 and the
 * connection has failed. */
int ws_conn_take(ws_conn *conn, const ws_event *event, uint8_t *dst);

/* The same for a message that lies whole in one piece (begin and end), without the UTF-8 check:
 * true when all of it is ASCII. When it is not, a text's decoder is the check; report what it
 * finds with ws_conn_fail. */
bool ws_conn_take_whole(const ws_conn *conn, const ws_event *event, uint8_t *dst);

/* The UTF-8 check for text that comes compressed: text[0..n) is the next that the message inflated
 * to, `end` that there is no more. Answers as ws_conn_take does. A caller that decodes the message
 * when it is whole can do without: its decoder is the check; it reports with ws_conn_fail. */
int ws_conn_check_text(ws_conn *conn, const uint8_t *text, size_t n, bool end);

/* Marks the connection failed for a cause that the caller found. */
void ws_conn_fail(ws_conn *conn);

/* Payload bytes still to come of the data frame under way, 0 between frames: while it is large,
 * the caller may receive straight into the object it builds. */
uint64_t ws_conn_frame_left(const ws_conn *conn);

/* The frame that the protocol wants in answer to an event: a pong with the ping's payload, the
 * echo of a close (its code, or an empty close; nothing when our close is sent already). Writes to
 * dst (room for WS_CONTROL_FRAME_MAX) and returns the size, 0 for none. Unmasked when we are the
 * server; a client's is masked with `key`. An echoed close counts as our close sent. */
size_t ws_conn_reply(ws_conn *conn, const ws_event *event, uint32_t key, uint8_t *dst);

/* Builds our close frame: code 0 stands for an empty one. The reason is cut at a character
 * boundary to WS_CLOSE_REASON_MAX bytes. Returns its size, or 0 when a close was sent before. The
 * code must be one that ws_close_code_valid accepts. */
size_t ws_conn_close(ws_conn *conn, uint16_t code, const uint8_t *reason, size_t reason_size,
                     uint32_t key, uint8_t *dst);

/* True for codes that may be on the wire: 1000-1003, 1007-1014 and 3000-4999 (section 7.4). */
bool ws_close_code_valid(uint32_t code);

#endif
