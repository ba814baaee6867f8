/* The opening handshake: request parser, validation, accept key, responses.
 *
 * Depends on sha1.h, base64.h and the C library's string functions. No allocation, no I/O, no
 * clock, no state but constant tables; every slice points into the request's bytes. The parser is
 * one pass from left to right and reports the leftmost error, so a prefix of a request gives
 * either 0 or what the whole gives. Nothing looks at a byte more than a fixed number of times. */
#include "handshake.h"

#include <limits.h>
#include <string.h>

#include "base64.h"
#include "sha1.h"

/* Which bytes may stand where, as bits. A token is RFC 9110's; a target is anything but controls
 * and SP; a value is anything but NUL, CR and LF, so no other control ever ends a line. */
enum { TOKEN = 1, TARGET = 2, VALUE = 4 };

static const uint8_t byte_classes[256] = {
    0, 4, 4, 4, 4, 4, 4, 4, 4, 4, 0, 4, 4, 0, 4, 4, /* 0x00 */
    4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, /* 0x10 */
    4, 7, 6, 7, 7, 7, 7, 7, 6, 6, 7, 7, 6, 7, 7, 6, /* 0x20 */
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 6, 6, 6, 6, 6, 6, /* 0x30 */
    6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, /* 0x40 */
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 6, 6, 6, 7, 7, /* 0x50 */
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, /* 0x60 */
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 6, 7, 6, 7, 4, /* 0x70 */
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, /* 0x80 */
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, /* 0x90 */
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, /* 0xA0 */
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, /* 0xB0 */
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, /* 0xC0 */
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, /* 0xD0 */
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, /* 0xE0 */
    6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, /* 0xF0 */
};

/* --- Bytes and slices ------------------------------------------------------------------------ */

static inline bool
is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static inline uint8_t
to_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20U) : c;
}

static ws_slice
trim(const uint8_t *data, size_t n)
{
    while (n > 0 && is_blank(data[0])) {
        data++;
        n--;
    }
    while (n > 0 && is_blank(data[n - 1])) {
        n--;
    }
    return (ws_slice){data, n};
}

/* The number of bytes at the start of the data that are of the class. */
static size_t
span(const uint8_t *data, size_t n, uint8_t class)
{
    size_t at = 0;
    while (at < n && (byte_classes[data[at]] & class) != 0) {
        at++;
    }
    return at;
}

bool
ws_slice_equals(ws_slice slice, const char *text)
{
    if (slice.size != strlen(text)) {
        return false;
    }
    for (size_t i = 0; i < slice.size; i++) {
        if (to_lower(slice.data[i]) != to_lower((uint8_t)text[i])) {
            return false;
        }
    }
    return true;
}

bool
ws_header_value_valid(const uint8_t *text, size_t n)
{
    return span(text, n, VALUE) == n;
}

bool
ws_header_name_valid(const uint8_t *text, size_t n)
{
    return n > 0 && span(text, n, TOKEN) == n;
}

/* Where the list's first element ends: its comma, or the end of the list. */
static size_t
element_span(const uint8_t *data, size_t n)
{
    bool quoted = false;
    for (size_t at = 0; at < n; at++) {
        if (data[at] == '"') {
            quoted = !quoted;
        }
        else if (quoted && data[at] == '\\' && n - at > 1) {
            at++; /* a quoted pair: the next byte is text, be it a quote */
        }
        else if (!quoted && data[at] == ',') {
            return at;
        }
    }
    return n;
}

bool
ws_list_next(ws_slice *rest, ws_slice *element)
{
    while (rest->size > 0) {
        const size_t end = element_span(rest->data, rest->size);
        const size_t taken = end < rest->size ? end + 1 : end; /* its comma too */
        const ws_slice found = trim(rest->data, end);
        rest->data += taken;
        rest->size -= taken;
        if (found.size > 0) {
            *element = found;
            return true;
        }
    }
    return false;
}

bool
ws_list_has(ws_slice list, const char *text)
{
    ws_slice element;
    while (ws_list_next(&list, &element)) {
        if (ws_slice_equals(element, text)) {
            return true;
        }
    }
    return false;
}

/* --- Parsing --------------------------------------------------------------------------------- */

/* The steps below return > 0 when done, 0 at the end of the data, < 0 for an error. */
typedef struct {
    const uint8_t *at;
    const uint8_t *end;
} reader;

static inline size_t
left(const reader *in)
{
    return (size_t)(in->end - in->at);
}

/* Takes the bytes of the class. Done when another byte follows: till then the run may go on. */
static int
take_run(reader *in, uint8_t class, ws_slice *run)
{
    const size_t size = span(in->at, left(in), class);
    *run = (ws_slice){in->at, size};
    in->at += size;
    return in->at != in->end;
}

static int
take_text(reader *in, const char *text)
{
    for (; *text != '\0'; text++) {
        if (in->at == in->end) {
            return 0;
        }
        if (*in->at != (uint8_t)*text) {
            return WS_HANDSHAKE_MALFORMED;
        }
        in->at++;
    }
    return 1;
}

/* A run of at least one byte, and the text behind it. */
static int
take_word(reader *in, uint8_t class, const char *text, ws_slice *word)
{
    if (take_run(in, class, word) == 0) {
        return 0;
    }
    return word->size > 0 ? take_text(in, text) : WS_HANDSHAKE_MALFORMED;
}

static int
take_digit(reader *in, uint8_t *digit)
{
    if (in->at == in->end) {
        return 0;
    }
    if (*in->at < '0' || *in->at > '9') {
        return WS_HANDSHAKE_MALFORMED;
    }
    *digit = (uint8_t)(*in->at++ - '0');
    return 1;
}

static int
take_request_line(reader *in, ws_request *request)
{
    int done = take_word(in, TOKEN, " ", &request->method);
    if (done > 0) {
        done = take_word(in, TARGET, " HTTP/1.", &request->target);
    }
    if (done > 0) {
        done = take_digit(in, &request->minor);
    }
    return done > 0 ? take_text(in, "\r\n") : done;
}

static int
take_header(reader *in, ws_header *header)
{
    int done = take_word(in, TOKEN, ":", &header->name);
    if (done > 0) {
        done = take_run(in, VALUE, &header->value);
    }
    if (done > 0) {
        header->value = trim(header->value.data, header->value.size);
        done = take_text(in, "\r\n");
    }
    return done;
}

static int
take_head(reader *in, ws_request *request)
{
    int done = take_request_line(in, request);
    while (done > 0 && in->at != in->end && *in->at != '\r') {
        if ((byte_classes[*in->at] & TOKEN) == 0) {
            return WS_HANDSHAKE_MALFORMED; /* obs-fold among others */
        }
        /* At the first byte of the line, so that what follows in it cannot change the answer. */
        if (request->header_count == request->header_capacity) {
            return WS_HANDSHAKE_TOO_MANY_HEADERS;
        }
        done = take_header(in, &request->headers[request->header_count]);
        if (done > 0) {
            request->header_count++;
        }
    }
    return done > 0 ? take_text(in, "\r\n") : done;
}

int
ws_request_parse(ws_request *request, const uint8_t *data, size_t n)
{
    request->header_count = 0;
    if (n == 0) {
        return 0; /* data may be NULL */
    }
    /* The size of the head has to fit the result. */
    const size_t size = n < INT_MAX ? n : INT_MAX;
    reader in = {data, data + size};
    const int done = take_head(&in, request);
    if (done == 0 && size < n) {
        return WS_HANDSHAKE_MALFORMED;
    }
    return done > 0 ? (int)(in.at - data) : done;
}

/* --- Validation ------------------------------------------------------------------------------ */

/* What the headers say about the upgrade, from one pass over them. */
typedef struct {
    size_t hosts;
    size_t keys;
    size_t versions;
    bool upgrade_websocket;
    bool connection_upgrade;
    bool body;
    ws_slice key;     /* the last one, if any */
    ws_slice version; /* the last one, if any */
} upgrade_facts;

static void
note_header(upgrade_facts *facts, const ws_header *header)
{
    const ws_slice name = header->name;
    const ws_slice value = header->value;
    if (ws_slice_equals(name, "Host")) {
        facts->hosts++;
    }
    else if (ws_slice_equals(name, "Upgrade")) {
        facts->upgrade_websocket = facts->upgrade_websocket || ws_list_has(value, "websocket");
    }
    else if (ws_slice_equals(name, "Connection")) {
        facts->connection_upgrade = facts->connection_upgrade || ws_list_has(value, "upgrade");
    }
    else if (ws_slice_equals(name, "Content-Length")) {
        facts->body = facts->body || !ws_slice_equals(value, "0");
    }
    else if (ws_slice_equals(name, "Transfer-Encoding")) {
        facts->body = true;
    }
    else if (ws_slice_equals(name, "Sec-WebSocket-Version")) {
        facts->versions++;
        facts->version = value;
    }
    else if (ws_slice_equals(name, "Sec-WebSocket-Key")) {
        facts->keys++;
        facts->key = value;
    }
}

static bool
key_valid(ws_slice key)
{
    uint8_t bytes[WS_BASE64_DECODED_MAX(WS_KEY_SIZE)];
    size_t size;
    return key.size == WS_KEY_SIZE && ws_base64_decode(key.data, key.size, bytes, &size) &&
           size == 16;
}

/* The size of "scheme://" at the start of the target (RFC 3986, section 3.1), 0 without one. */
static size_t
scheme_size(ws_slice target)
{
    size_t at = 0;
    while (at < target.size && target.data[at] != ':') {
        const uint8_t c = to_lower(target.data[at]);
        const bool letter = c >= 'a' && c <= 'z';
        const bool other = (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
        if (!letter && (at == 0 || !other)) {
            return 0;
        }
        at++;
    }
    const bool found = at > 0 && target.size - at >= 3 && memcmp(target.data + at, "://", 3) == 0;
    return found ? at + 3 : 0;
}

/* RFC 9112, section 3.2: origin form or absolute form; the others are for CONNECT and OPTIONS. */
static bool
target_valid(ws_slice target)
{
    if (target.size == 0 || memchr(target.data, '#', target.size) != NULL) {
        return false;
    }
    if (target.data[0] == '/') {
        return true;
    }
    const size_t scheme = scheme_size(target);
    return scheme > 0 && scheme < target.size && target.data[scheme] != '/' &&
           target.data[scheme] != '?';
}

int
ws_request_validate(const ws_request *request, ws_slice *key)
{
    /* Methods are told apart by case (RFC 9110, section 9.1). */
    if (request->method.size != 3 || memcmp(request->method.data, "GET", 3) != 0) {
        return WS_HANDSHAKE_METHOD;
    }
    if (request->minor != 1) {
        return WS_HANDSHAKE_HTTP_VERSION;
    }
    if (!target_valid(request->target)) {
        return WS_HANDSHAKE_TARGET;
    }
    upgrade_facts facts = {0};
    for (size_t i = 0; i < request->header_count; i++) {
        note_header(&facts, &request->headers[i]);
    }
    if (facts.hosts != 1) {
        return WS_HANDSHAKE_HOST;
    }
    if (!facts.upgrade_websocket) {
        return WS_HANDSHAKE_UPGRADE;
    }
    if (!facts.connection_upgrade) {
        return WS_HANDSHAKE_CONNECTION;
    }
    if (facts.body) {
        return WS_HANDSHAKE_BODY;
    }
    if (facts.versions != 1 || !ws_slice_equals(facts.version, "13")) {
        return WS_HANDSHAKE_VERSION;
    }
    if (facts.keys != 1 || !key_valid(facts.key)) {
        return WS_HANDSHAKE_KEY;
    }
    *key = facts.key;
    return 0;
}

/* --- Responses ------------------------------------------------------------------------------- */

int
ws_handshake_status(int error)
{
    switch (error) {
    case WS_HANDSHAKE_METHOD:
        return 405;
    case WS_HANDSHAKE_VERSION:
        return 426;
    case WS_HANDSHAKE_TOO_MANY_HEADERS:
        return 431;
    default:
        return 400;
    }
}

const char *
ws_handshake_text(int error)
{
    switch (error) {
    case WS_HANDSHAKE_MALFORMED:
        return "malformed HTTP/1.1 request";
    case WS_HANDSHAKE_TOO_MANY_HEADERS:
        return "too many or too large request headers";
    case WS_HANDSHAKE_METHOD:
        return "the method of a WebSocket handshake must be GET";
    case WS_HANDSHAKE_HTTP_VERSION:
        return "a WebSocket handshake must use HTTP/1.1";
    case WS_HANDSHAKE_HOST:
        return "exactly one Host header is required";
    case WS_HANDSHAKE_UPGRADE:
        return "the Upgrade header must contain \"websocket\"";
    case WS_HANDSHAKE_CONNECTION:
        return "the Connection header must contain \"Upgrade\"";
    case WS_HANDSHAKE_KEY:
        return "exactly one Sec-WebSocket-Key header, base64 of 16 bytes, is required";
    case WS_HANDSHAKE_VERSION:
        return "exactly one Sec-WebSocket-Version header, with the value 13, is required";
    case WS_HANDSHAKE_BODY:
        return "a WebSocket handshake must not have a body";
    case WS_HANDSHAKE_TARGET:
        return "the target must be a path or a URL, without a fragment";
    default:
        return "bad WebSocket handshake";
    }
}

void
ws_accept_key(const uint8_t *key, size_t key_size, uint8_t accept[WS_ACCEPT_SIZE])
{
    static const uint8_t guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    ws_sha1_context context;
    uint8_t digest[WS_SHA1_SIZE];
    ws_sha1_start(&context);
    ws_sha1_update(&context, key, key_size);
    ws_sha1_update(&context, guid, sizeof(guid) - 1);
    ws_sha1_finish(&context, digest);
    (void)ws_base64_encode(digest, sizeof(digest), accept);
}

_Static_assert(WS_BASE64_ENCODED_SIZE(WS_SHA1_SIZE) == WS_ACCEPT_SIZE, "size of the accept key");

size_t
ws_response_switching(const uint8_t accept[WS_ACCEPT_SIZE], uint8_t *dst)
{
    static const uint8_t head[] = "HTTP/1.1 101 Switching Protocols\r\n"
                                  "Upgrade: websocket\r\n"
                                  "Connection: Upgrade\r\n"
                                  "Sec-WebSocket-Accept: ";
    _Static_assert(sizeof(head) - 1 + WS_ACCEPT_SIZE + 2 == WS_RESPONSE_101_SIZE,
                   "size of the response");
    memcpy(dst, head, sizeof(head) - 1);
    memcpy(dst + sizeof(head) - 1, accept, WS_ACCEPT_SIZE);
    memcpy(dst + sizeof(head) - 1 + WS_ACCEPT_SIZE, "\r\n", 2);
    return WS_RESPONSE_101_SIZE;
}

/* Status line and the headers that belong to the status. */
static const char *
refusal_head(int status)
{
    switch (status) {
    case 405:
        return "HTTP/1.1 405 Method Not Allowed\r\n"
               "Allow: GET\r\n"
               "Connection: close\r\n";
    case 426:
        return "HTTP/1.1 426 Upgrade Required\r\n"
               "Upgrade: websocket\r\n"
               "Sec-WebSocket-Version: 13\r\n"
               "Connection: close, Upgrade\r\n";
    case 431:
        return "HTTP/1.1 431 Request Header Fields Too Large\r\n"
               "Connection: close\r\n";
    default:
        return "HTTP/1.1 400 Bad Request\r\n"
               "Connection: close\r\n";
    }
}

static uint8_t *
append(uint8_t *dst, const char *text)
{
    const size_t size = strlen(text);
    memcpy(dst, text, size);
    return dst + size;
}

static uint8_t *
append_decimal(uint8_t *dst, size_t number)
{
    char reversed[3 * sizeof(number)]; /* a byte is fewer than three decimal digits */
    size_t count = 0;
    do {
        reversed[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (count > 0) {
        *dst++ = (uint8_t)reversed[--count];
    }
    return dst;
}

/* Fits WS_RESPONSE_REFUSAL_MAX as all its parts are constants of this file; the tests measure. */
size_t
ws_response_refusal(int error, uint8_t *dst)
{
    const char *text = ws_handshake_text(error);
    uint8_t *at = append(dst, refusal_head(ws_handshake_status(error)));
    at = append(at, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: ");
    at = append_decimal(at, strlen(text) + 1);
    at = append(at, "\r\n\r\n");
    at = append(at, text);
    at = append(at, "\n");
    return (size_t)(at - dst);
}
