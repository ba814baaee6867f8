/* The opening handshake (RFC 6455, section 4): an HTTP/1.1 request head in, a response head out.
 *
 * Results point into the request's bytes; nothing is copied or allocated. Parsing (is this HTTP?)
 * and validation (is it a WebSocket upgrade we can answer?) are apart, as the refusals differ. */
#ifndef ATALANTA_CORE_HANDSHAKE_H
#define ATALANTA_CORE_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WS_ACCEPT_SIZE 28 /* base64 of a SHA-1 digest */
#define WS_KEY_SIZE 24    /* base64 of 16 bytes */

typedef struct {
    const uint8_t *data;
    size_t size;
} ws_slice;

typedef struct {
    ws_slice name;  /* as sent; compare without regard to case */
    ws_slice value; /* without the SP and HTAB around it; may be empty; any byte but CR, LF, NUL */
} ws_header;

typedef struct {
    ws_slice method;
    ws_slice target;    /* as sent; validation tells whether it is "/path?query" or absolute */
    uint8_t minor;      /* of HTTP/1.minor */
    ws_header *headers; /* the caller's array; set before parsing */
    size_t header_capacity;
    size_t header_count;
} ws_request;

typedef enum {
    WS_HANDSHAKE_MALFORMED = -101,        /* 400: not an HTTP/1.x request head */
    WS_HANDSHAKE_TOO_MANY_HEADERS = -102, /* 431: more headers than header_capacity */
    WS_HANDSHAKE_METHOD = -103,           /* 405: not GET */
    WS_HANDSHAKE_HTTP_VERSION = -104,     /* 400: not HTTP/1.1 */
    WS_HANDSHAKE_HOST = -105,             /* 400: no Host, or more than one */
    WS_HANDSHAKE_UPGRADE = -106,          /* 400: Upgrade lacks "websocket" */
    WS_HANDSHAKE_CONNECTION = -107,       /* 400: Connection lacks "Upgrade" */
    WS_HANDSHAKE_KEY = -108,              /* 400: no key, several, or not base64 of 16 bytes */
    WS_HANDSHAKE_VERSION = -109,          /* 426: Sec-WebSocket-Version is not 13, once */
    WS_HANDSHAKE_BODY = -110,             /* 400: Content-Length not "0", or Transfer-Encoding */
    WS_HANDSHAKE_TARGET = -111            /* 400: not a path, nor scheme://authority before one */
} ws_handshake_error;

/* > 0: size of the head, its empty line included; 0: more bytes are needed; < 0: MALFORMED or
 * TOO_MANY_HEADERS, as soon as it is certain. Lines end in CRLF and in nothing else; obs-fold, an
 * empty line first, bare CR or LF, NUL, a space before the colon and names that are not tokens
 * are malformed. Other bytes in values are kept. The request holds sense only after > 0.
 *
 * Each call starts afresh at data[0] and takes O(n) time; the caller bounds n. A head ends in LF:
 * a caller that waits for the next LF before it calls again keeps a head that comes byte by byte
 * from costing n^2 (there are at most header_capacity + 2 lines). */
int ws_request_parse(ws_request *request, const uint8_t *data, size_t n);

/* 0, or what keeps the request from being an upgrade we can answer: the first in the order METHOD,
 * HTTP_VERSION, TARGET, HOST, UPGRADE, CONNECTION, BODY, VERSION, KEY. *key is set on success
 * alone. A fragment in the target is refused (RFC 6455, section 3): it is where a proxy may think
 * that the path ends. */
int ws_request_validate(const ws_request *request, ws_slice *key);

/* HTTP status for an error: 400, 405, 426 or 431; a text that says what was wrong. */
int ws_handshake_status(int error);
const char *ws_handshake_text(int error);

/* Sec-WebSocket-Accept for a key of any length (section 4.2.2). */
void ws_accept_key(const uint8_t *key, size_t key_size, uint8_t accept[WS_ACCEPT_SIZE]);

/* Walks a comma-separated list (RFC 9110, section 5.6.1): takes the next element off *rest,
 * without the white space around it; commas inside quoted strings do not separate (one that is
 * never closed lasts to the end); empty elements are skipped. False at the end. Serves for
 * subprotocols and for extension offers as raw slices. */
bool ws_list_next(ws_slice *rest, ws_slice *element);

/* Whether an element of the list equals the text, without regard to case. */
bool ws_list_has(ws_slice list, const char *text);

/* Equality without regard to the case of ASCII letters. */
bool ws_slice_equals(ws_slice slice, const char *text);

/* Writes the fixed part of the 101 response: status line, Upgrade, Connection,
 * Sec-WebSocket-Accept, each line with its CRLF, no empty line at the end (the caller adds
 * headers). Returns its size, which is always WS_RESPONSE_101_SIZE. */
#define WS_RESPONSE_101_SIZE 127
size_t ws_response_switching(const uint8_t accept[WS_ACCEPT_SIZE], uint8_t *dst);

/* Writes a complete refusal (head and a text/plain body that says why; Connection: close; for 426
 * Sec-WebSocket-Version: 13 and the Upgrade that RFC 9110, section 15.5.22 asks for; for 405
 * Allow: GET). Returns its size. */
#define WS_RESPONSE_REFUSAL_MAX 512
size_t ws_response_refusal(int error, uint8_t *dst);

/* True when the text may stand in a header's value (no CR, LF, NUL), or as its name (a token). */
bool ws_header_value_valid(const uint8_t *text, size_t n);
bool ws_header_name_valid(const uint8_t *text, size_t n);

#endif
