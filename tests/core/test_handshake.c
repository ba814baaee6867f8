/* The opening handshake: every rule of the parser and of the validation with a valid and an
 * invalid case, lists, accept keys and the exact bytes of the responses.
 *
 * Every request is also fed one byte more at a time, in a buffer that ends at a guard page: a
 * prefix gives 0 or the error that the whole gives, and no byte behind the prefix is read. */
#define _DEFAULT_SOURCE

#include "handshake.h"
#include "check.h"
#include "guard.h"

#define CAPACITY 8
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define LINE "GET /chat HTTP/1.1\r\n"
#define HOST "Host: example.com\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define CONNECTION "Connection: Upgrade\r\n"
#define KEY_LINE "Sec-WebSocket-Key: " KEY "\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define GOOD LINE HOST UPGRADE CONNECTION KEY_LINE VERSION "\r\n"

/* A request as a literal, which may hold NUL. */
#define TEXT(literal) (const uint8_t *)(literal), sizeof(literal) - 1
#define PARSES(literal) (parse_all(TEXT(literal)) == (int)sizeof(literal) - 1)
#define MALFORMED(literal) (parse_all(TEXT(literal)) == WS_HANDSHAKE_MALFORMED)
#define VALIDATES(literal) (validate(TEXT(literal)))

static guarded buffer;
static ws_header headers[CAPACITY];
static ws_request request;

static bool
is(ws_slice slice, const char *text)
{
    return slice.size == strlen(text) && memcmp(slice.data, text, slice.size) == 0;
}

static int
parse_at_guard(const uint8_t *data, size_t n, size_t capacity)
{
    uint8_t *copy = buffer.end - n;
    if (n > 0) {
        memcpy(copy, data, n);
    }
    request = (ws_request){.headers = headers, .header_capacity = capacity};
    return ws_request_parse(&request, copy, n);
}

/* The result for the whole; every prefix is checked against it. */
static int
parse_with(const uint8_t *data, size_t n, size_t capacity)
{
    const int whole = parse_at_guard(data, n, capacity);
    bool certain = false;
    for (size_t size = 0; size < n; size++) {
        const int part = parse_at_guard(data, size, capacity);
        CHECK(part == 0 || part == whole);
        CHECK(part <= 0 || (size_t)part <= size);
        CHECK(part != 0 || !certain);
        CHECK(whole <= 0 || size < (size_t)whole || part == whole);
        certain = part != 0;
    }
    CHECK(parse_at_guard(data, n, capacity) == whole);
    return whole;
}

static int
parse_all(const uint8_t *data, size_t n)
{
    return parse_with(data, n, CAPACITY);
}

/* The result of the validation, or 1 if the request does not even parse. */
static int
validate(const uint8_t *data, size_t n)
{
    if (parse_all(data, n) != (int)n) {
        return 1;
    }
    ws_slice key = {NULL, 0};
    const int result = ws_request_validate(&request, &key);
    CHECK((result == 0) == (key.size == WS_KEY_SIZE));
    return result;
}

static void
test_parse_good(void)
{
    CHECK(PARSES(GOOD));
    CHECK(is(request.method, "GET"));
    CHECK(is(request.target, "/chat"));
    CHECK(request.minor == 1);
    CHECK(request.header_count == 5);
    CHECK(is(headers[0].name, "Host") && is(headers[0].value, "example.com"));
    CHECK(is(headers[4].name, "Sec-WebSocket-Version") && is(headers[4].value, "13"));
    CHECK(request.method.data == buffer.end - (sizeof(GOOD) - 1));
}

static void
test_parse_stops_at_the_empty_line(void)
{
    CHECK(parse_all(TEXT(GOOD "\x81\x00")) == (int)sizeof(GOOD) - 1);
    CHECK(parse_all(TEXT(GOOD GOOD)) == (int)sizeof(GOOD) - 1);
    CHECK(request.header_count == 5);
}

static void
test_parse_incomplete(void)
{
    CHECK(parse_all(TEXT("")) == 0);
    CHECK(parse_all(TEXT("GET / HTTP/1.1\r\n")) == 0);
    CHECK(parse_all(TEXT("GET / HTTP/1.1\r\nA: b\r\n\r")) == 0);
    request = (ws_request){.headers = headers, .header_capacity = CAPACITY};
    CHECK(ws_request_parse(&request, NULL, 0) == 0);
}

static void
test_parse_method(void)
{
    CHECK(PARSES("!#$%&'*+-.^_`|~09azAZ / HTTP/1.1\r\n\r\n"));
    CHECK(is(request.method, "!#$%&'*+-.^_`|~09azAZ"));
    CHECK(request.header_count == 0);
    CHECK(MALFORMED(" / HTTP/1.1\r\n\r\n"));
    CHECK(MALFORMED("G(T / HTTP/1.1\r\n\r\n"));
    CHECK(MALFORMED("GET\t/ HTTP/1.1\r\n\r\n"));
    CHECK(MALFORMED("G\xc3\x89T / HTTP/1.1\r\n\r\n"));
    CHECK(MALFORMED("\r\nGET / HTTP/1.1\r\n\r\n"));
    CHECK(MALFORMED("\nGET / HTTP/1.1\r\n\r\n"));
    CHECK(MALFORMED("\x16\x03\x01\x02\x00")); /* TLS to a port without */
    CHECK(MALFORMED("GET\r\n\r\n"));
}

static void
test_parse_target(void)
{
    CHECK(PARSES("GET /a%20b?c=d&e#f HTTP/1.1\r\n\r\n"));
    CHECK(is(request.target, "/a%20b?c=d&e#f"));
    CHECK(PARSES("GET http://example.com/chat HTTP/1.1\r\n\r\n"));
    CHECK(is(request.target, "http://example.com/chat"));
    CHECK(PARSES("GET /\x80\xc3\xa9\xff HTTP/1.1\r\n\r\n"));
    CHECK(is(request.target, "/\x80\xc3\xa9\xff"));
    CHECK(MALFORMED("GET  / HTTP/1.1\r\n\r\n"));
    CHECK(MALFORMED("GET  HTTP/1.1\r\n\r\n"));
    CHECK(MALFORMED("GET /a b HTTP/1.1\r\n\r\n"));
    CHECK(MALFORMED("GET /  HTTP/1.1\r\n\r\n"));
    CHECK(MALFORMED("GET /\r\n\r\n"));
    for (int byte = 0; byte < 256; byte++) {
        char text[] = "GET /? HTTP/1.1\r\n\r\n";
        text[5] = (char)byte;
        const bool good = byte > ' ' && byte != 0x7f;
        CHECK((parse_all(TEXT(text)) == (int)sizeof(text) - 1) == good);
    }
}

static void
test_parse_version(void)
{
    CHECK(PARSES("GET / HTTP/1.0\r\n\r\n"));
    CHECK(request.minor == 0);
    CHECK(PARSES("GET / HTTP/1.9\r\n\r\n"));
    CHECK(request.minor == 9);
    CHECK(MALFORMED("GET / HTTP/2.0\r\n\r\n"));
    CHECK(MALFORMED("GET / http/1.1\r\n\r\n"));
    CHECK(MALFORMED("GET / HTTP/1.10\r\n\r\n"));
    CHECK(MALFORMED("GET / HTTP/1.\r\n\r\n"));
    CHECK(MALFORMED("GET / HTTP/1.x\r\n\r\n"));
    CHECK(MALFORMED("GET / HTTP/1.1 \r\n\r\n"));
    CHECK(MALFORMED("GET / HTTPS/1.1\r\n\r\n"));
    CHECK(MALFORMED("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
}

static void
test_parse_line_ends(void)
{
    CHECK(MALFORMED("GET / HTTP/1.1\n\n"));
    CHECK(MALFORMED("GET / HTTP/1.1\r\r\n\r\n"));
    CHECK(MALFORMED("GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n"));
    CHECK(MALFORMED("GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n"));
    CHECK(MALFORMED("GET / HTTP/1.1\r\nA: b\r\r\n\r\n"));
    CHECK(MALFORMED("GET / HTTP/1.1\r\nA: b\r\n\n"));
    CHECK(MALFORMED("GET / HTTP/1.1\r\nA: b\r\n\rX"));
    CHECK(MALFORMED("GET / HTTP/1.1\r\nA: b\n\r\n"));
}

static void
test_parse_names(void)
{
    CHECK(PARSES(LINE "!#$%&'*+-.^_`|~09azAZ: x\r\n\r\n"));
    CHECK(is(headers[0].name, "!#$%&'*+-.^_`|~09azAZ"));
    CHECK(MALFORMED(LINE "A : b\r\n\r\n"));
    CHECK(MALFORMED(LINE "A\t: b\r\n\r\n"));
    CHECK(MALFORMED(LINE ": b\r\n\r\n"));
    CHECK(MALFORMED(LINE "A\r\n\r\n"));
    CHECK(MALFORMED(LINE "A b: c\r\n\r\n"));
    for (int byte = 0; byte < 256; byte++) {
        static const char separators[] = "\"(),/;<=>?@[\\]{}"; /* and ":", which ends the name */
        char text[] = LINE "A?B: c\r\n\r\n";
        text[sizeof(LINE)] = (char)byte;
        const bool good = byte > ' ' && byte < 0x7f && strchr(separators, byte) == NULL;
        CHECK((parse_all(TEXT(text)) == (int)sizeof(text) - 1) == good);
        CHECK(ws_header_name_valid(TEXT(((char[]){'A', (char)byte, '\0'}))) ==
              (good && byte != ':'));
    }
}

static void
test_parse_values(void)
{
    CHECK(PARSES(LINE "A:b\r\nB:\r\nC: \t \r\nD: \t e \tf\t \r\nE: :\r\n\r\n"));
    CHECK(is(headers[0].value, "b"));
    CHECK(is(headers[1].value, ""));
    CHECK(is(headers[2].value, ""));
    CHECK(is(headers[3].value, "e \tf"));
    CHECK(is(headers[4].value, ":"));
    /* White space and line ends of other alphabets are neither here. */
    CHECK(PARSES(LINE "A: \x0b" "b\x0c" "c\x1c" "d\x85" "e\xa0\r\n\r\n"));
    CHECK(is(headers[0].value, "\x0b" "b\x0c" "c\x1c" "d\x85" "e\xa0"));
    CHECK(request.header_count == 1);
    for (int byte = 0; byte < 256; byte++) {
        char text[] = LINE "A: b?c\r\n\r\n";
        text[sizeof(LINE) - 1 + 4] = (char)byte;
        const bool good = byte != '\0' && byte != '\r' && byte != '\n';
        CHECK((parse_all(TEXT(text)) == (int)sizeof(text) - 1) == good);
        CHECK(!good || headers[0].value.size == 3);
        CHECK(ws_header_value_valid(TEXT(((char[]){'b', (char)byte, '\0'}))) == good);
    }
}

static void
test_parse_folding(void)
{
    CHECK(MALFORMED(LINE "A: b\r\n c\r\n\r\n"));
    CHECK(MALFORMED(LINE "A: b\r\n\tc\r\n\r\n"));
    CHECK(MALFORMED(LINE " A: b\r\n\r\n"));
    CHECK(MALFORMED(LINE "A: b\r\n \r\n\r\n"));
}

static void
test_parse_capacity(void)
{
    static const char two[] = LINE "A: 1\r\nB: 2\r\n\r\n";
    CHECK(parse_with(TEXT(two), 2) == (int)sizeof(two) - 1);
    CHECK(parse_with(TEXT(two), 1) == WS_HANDSHAKE_TOO_MANY_HEADERS);
    CHECK(parse_with(TEXT(two), 0) == WS_HANDSHAKE_TOO_MANY_HEADERS);
    CHECK(parse_with(TEXT(LINE "\r\n"), 0) == (int)sizeof(LINE "\r\n") - 1);
    /* Which of two errors it is does not depend on how much has come. */
    CHECK(parse_with(TEXT(LINE "A: 1\r\nB : 2\r\n\r\n"), 1) == WS_HANDSHAKE_TOO_MANY_HEADERS);
    CHECK(parse_with(TEXT(LINE "A: 1\r\n B: 2\r\n\r\n"), 1) == WS_HANDSHAKE_MALFORMED);
    CHECK(parse_with(TEXT(LINE "A : 1\r\nB: 2\r\n\r\n"), 1) == WS_HANDSHAKE_MALFORMED);
}

/* Good requests with a few bytes changed, cut out or doubled: prefixes never contradict. */
static void
test_parse_mutations(void)
{
    static const char spice[] = "\r\n\0 \t:,\"\\/\x0b\x85" "A1";
    uint32_t random = 1;
    for (int round = 0; round < 3000; round++) {
        uint8_t text[sizeof(GOOD)];
        size_t n = sizeof(GOOD) - 1;
        memcpy(text, GOOD, sizeof(GOOD));
        for (int change = 0; change <= round % 3; change++) {
            random = random * 1664525U + 1013904223U;
            const size_t at = (random >> 8) % n;
            if ((random >> 28) < 4) {
                memmove(text + at, text + at + 1, n - at - 1);
                n--;
            }
            else {
                text[at] = (uint8_t)spice[(random >> 24) % (sizeof(spice) - 1)];
            }
        }
        const int size = parse_all(text, n);
        ws_slice key;
        CHECK(size <= (int)n);
        CHECK(size <= 0 || ws_request_validate(&request, &key) <= 0);
    }
}

static void
test_validate_good(void)
{
    ws_slice key = {NULL, 0};
    CHECK(PARSES(GOOD));
    CHECK(ws_request_validate(&request, &key) == 0);
    CHECK(is(key, KEY));
    CHECK(key.data > buffer.begin && key.data < buffer.end);
    CHECK(VALIDATES("GET / HTTP/1.1\r\nHOST:x\r\nupgrade:WebSocket\r\nCONNECTION:upgrade\r\n"
                    "sec-websocket-key:" KEY "\r\nSEC-WEBSOCKET-VERSION: 13\t\r\n\r\n") == 0);
}

static void
test_validate_method(void)
{
    CHECK(VALIDATES("POST / HTTP/1.1\r\n" HOST UPGRADE CONNECTION KEY_LINE VERSION "\r\n") ==
          WS_HANDSHAKE_METHOD);
    CHECK(VALIDATES("get / HTTP/1.1\r\n" HOST UPGRADE CONNECTION KEY_LINE VERSION "\r\n") ==
          WS_HANDSHAKE_METHOD);
    CHECK(VALIDATES("PUT / HTTP/1.1\r\n" HOST UPGRADE CONNECTION KEY_LINE VERSION "\r\n") ==
          WS_HANDSHAKE_METHOD);
}

static void
test_validate_http_version(void)
{
    CHECK(VALIDATES("GET / HTTP/1.0\r\n" HOST UPGRADE CONNECTION KEY_LINE VERSION "\r\n") ==
          WS_HANDSHAKE_HTTP_VERSION);
    CHECK(VALIDATES("GET / HTTP/1.2\r\n" HOST UPGRADE CONNECTION KEY_LINE VERSION "\r\n") ==
          WS_HANDSHAKE_HTTP_VERSION);
}

#define TARGET(target) "GET " target " HTTP/1.1\r\n" HOST UPGRADE CONNECTION KEY_LINE VERSION "\r\n"

static void
test_validate_target(void)
{
    CHECK(VALIDATES(TARGET("/")) == 0);
    CHECK(VALIDATES(TARGET("//example.com/?a=b:c://d")) == 0);
    CHECK(VALIDATES(TARGET("ws://example.com")) == 0);
    CHECK(VALIDATES(TARGET("HTTP://example.com:80/chat?x")) == 0);
    CHECK(VALIDATES(TARGET("a+b-c.1://[::1]?x=/y")) == 0);
    CHECK(VALIDATES(TARGET("*")) == WS_HANDSHAKE_TARGET);
    CHECK(VALIDATES(TARGET("example.com:80")) == WS_HANDSHAKE_TARGET);
    CHECK(VALIDATES(TARGET("chat")) == WS_HANDSHAKE_TARGET);
    CHECK(VALIDATES(TARGET("\\chat")) == WS_HANDSHAKE_TARGET);
    CHECK(VALIDATES(TARGET("?x=http://example.com/chat")) == WS_HANDSHAKE_TARGET);
    CHECK(VALIDATES(TARGET("chat?x=http://example.com/chat")) == WS_HANDSHAKE_TARGET);
    CHECK(VALIDATES(TARGET("://example.com/")) == WS_HANDSHAKE_TARGET);
    CHECK(VALIDATES(TARGET("1a://example.com/")) == WS_HANDSHAKE_TARGET);
    CHECK(VALIDATES(TARGET("a~://example.com/")) == WS_HANDSHAKE_TARGET);
    CHECK(VALIDATES(TARGET("http:/example.com/")) == WS_HANDSHAKE_TARGET);
    CHECK(VALIDATES(TARGET("http://")) == WS_HANDSHAKE_TARGET);
    CHECK(VALIDATES(TARGET("http:///chat")) == WS_HANDSHAKE_TARGET);
    CHECK(VALIDATES(TARGET("http://?x")) == WS_HANDSHAKE_TARGET);
    CHECK(VALIDATES(TARGET("http:")) == WS_HANDSHAKE_TARGET);
    CHECK(VALIDATES(TARGET("/chat#")) == WS_HANDSHAKE_TARGET);
    CHECK(VALIDATES(TARGET("/chat?x#y")) == WS_HANDSHAKE_TARGET);
    CHECK(VALIDATES(TARGET("http://example.com/#y")) == WS_HANDSHAKE_TARGET);
    /* Not from the parser, which knows no empty target */
    ws_slice key = {NULL, 0};
    CHECK(PARSES(GOOD));
    request.target.size = 0;
    CHECK(ws_request_validate(&request, &key) == WS_HANDSHAKE_TARGET);
}

static void
test_validate_host(void)
{
    CHECK(VALIDATES(LINE "Host:\r\n" UPGRADE CONNECTION KEY_LINE VERSION "\r\n") == 0);
    CHECK(VALIDATES(LINE UPGRADE CONNECTION KEY_LINE VERSION "\r\n") == WS_HANDSHAKE_HOST);
    CHECK(VALIDATES(LINE HOST HOST UPGRADE CONNECTION KEY_LINE VERSION "\r\n") ==
          WS_HANDSHAKE_HOST);
    CHECK(VALIDATES(LINE HOST "host:\r\n" UPGRADE CONNECTION KEY_LINE VERSION "\r\n") ==
          WS_HANDSHAKE_HOST);
}

#define WITH_UPGRADE(lines) LINE HOST lines CONNECTION KEY_LINE VERSION "\r\n"

static void
test_validate_upgrade(void)
{
    CHECK(VALIDATES(WITH_UPGRADE("Upgrade: h2c, WEBSOCKET ,foo/1\r\n")) == 0);
    CHECK(VALIDATES(WITH_UPGRADE("Upgrade: h2c\r\nUpgrade: websocket\r\n")) == 0);
    CHECK(VALIDATES(WITH_UPGRADE("Upgrade: websocket\r\nUpgrade: h2c\r\n")) == 0);
    CHECK(VALIDATES(WITH_UPGRADE("Upgrade: ,, websocket,\r\n")) == 0);
    CHECK(VALIDATES(WITH_UPGRADE("")) == WS_HANDSHAKE_UPGRADE);
    CHECK(VALIDATES(WITH_UPGRADE("Upgrade:\r\n")) == WS_HANDSHAKE_UPGRADE);
    CHECK(VALIDATES(WITH_UPGRADE("Upgrade: h2c\r\n")) == WS_HANDSHAKE_UPGRADE);
    CHECK(VALIDATES(WITH_UPGRADE("Upgrade: websockets\r\n")) == WS_HANDSHAKE_UPGRADE);
    CHECK(VALIDATES(WITH_UPGRADE("Upgrade: web\r\nUpgrade: socket\r\n")) ==
          WS_HANDSHAKE_UPGRADE);
    CHECK(VALIDATES(WITH_UPGRADE("Upgrade: \"a, websocket\"\r\n")) == WS_HANDSHAKE_UPGRADE);
    CHECK(VALIDATES(WITH_UPGRADE("Upgrade: websocket\x0b\r\n")) == WS_HANDSHAKE_UPGRADE);
    CHECK(VALIDATES(WITH_UPGRADE("Upgrade: websoc\xe2\x84\xaa" "et\r\n")) ==
          WS_HANDSHAKE_UPGRADE); /* the Kelvin sign, which Unicode lowers to k */
}

#define WITH_CONNECTION(lines) LINE HOST UPGRADE lines KEY_LINE VERSION "\r\n"

static void
test_validate_connection(void)
{
    CHECK(VALIDATES(WITH_CONNECTION("Connection: keep-alive, Upgrade\r\n")) == 0);
    CHECK(VALIDATES(WITH_CONNECTION("Connection: UPGRADE\t,close\r\n")) == 0);
    CHECK(VALIDATES(WITH_CONNECTION("Connection: keep-alive\r\nConnection: upgrade\r\n")) == 0);
    CHECK(VALIDATES(WITH_CONNECTION("Connection: upgrade\r\nConnection: close\r\n")) == 0);
    CHECK(VALIDATES(WITH_CONNECTION("")) == WS_HANDSHAKE_CONNECTION);
    CHECK(VALIDATES(WITH_CONNECTION("Connection: keep-alive\r\n")) == WS_HANDSHAKE_CONNECTION);
    CHECK(VALIDATES(WITH_CONNECTION("Connection: keep-alive Upgrade\r\n")) ==
          WS_HANDSHAKE_CONNECTION);
    CHECK(VALIDATES(WITH_CONNECTION("X-Connection: Upgrade\r\n")) == WS_HANDSHAKE_CONNECTION);
}

#define WITH_BODY(lines) LINE HOST UPGRADE CONNECTION KEY_LINE VERSION lines "\r\n"

static void
test_validate_body(void)
{
    CHECK(VALIDATES(WITH_BODY("Content-Length: 0\r\n")) == 0);
    CHECK(VALIDATES(WITH_BODY("Content-Length: 1\r\n")) == WS_HANDSHAKE_BODY);
    CHECK(VALIDATES(WITH_BODY("Content-Length:\r\n")) == WS_HANDSHAKE_BODY);
    CHECK(VALIDATES(WITH_BODY("Content-Length: -0\r\n")) == WS_HANDSHAKE_BODY);
    CHECK(VALIDATES(WITH_BODY("content-length: 0\r\nContent-Length: 5\r\n")) ==
          WS_HANDSHAKE_BODY);
    CHECK(VALIDATES(WITH_BODY("content-length: 5\r\nContent-Length: 0\r\n")) ==
          WS_HANDSHAKE_BODY);
    CHECK(VALIDATES(WITH_BODY("Transfer-Encoding: chunked\r\n")) == WS_HANDSHAKE_BODY);
    CHECK(VALIDATES(WITH_BODY("transfer-encoding:\r\n")) == WS_HANDSHAKE_BODY);
}

#define WITH_VERSION(lines) LINE HOST UPGRADE CONNECTION KEY_LINE lines "\r\n"

static void
test_validate_version(void)
{
    CHECK(VALIDATES(WITH_VERSION("sec-websocket-version:  13 \r\n")) == 0);
    CHECK(VALIDATES(WITH_VERSION("")) == WS_HANDSHAKE_VERSION);
    CHECK(VALIDATES(WITH_VERSION("Sec-WebSocket-Version: 8\r\n")) == WS_HANDSHAKE_VERSION);
    CHECK(VALIDATES(WITH_VERSION("Sec-WebSocket-Version: 013\r\n")) == WS_HANDSHAKE_VERSION);
    CHECK(VALIDATES(WITH_VERSION("Sec-WebSocket-Version: 130\r\n")) == WS_HANDSHAKE_VERSION);
    CHECK(VALIDATES(WITH_VERSION("Sec-WebSocket-Version: 13, 8\r\n")) == WS_HANDSHAKE_VERSION);
    CHECK(VALIDATES(WITH_VERSION(VERSION VERSION)) == WS_HANDSHAKE_VERSION);
    CHECK(VALIDATES(WITH_VERSION("Sec-WebSocket-Version: 8\r\n" VERSION)) ==
          WS_HANDSHAKE_VERSION);
}

#define WITH_KEY(lines) LINE HOST UPGRADE CONNECTION VERSION lines "\r\n"
#define KEY_OF(text) WITH_KEY("Sec-WebSocket-Key: " text "\r\n")

static void
test_validate_key(void)
{
    CHECK(VALIDATES(KEY_OF("AAAAAAAAAAAAAAAAAAAAAA==")) == 0);
    CHECK(VALIDATES(KEY_OF("//////////////////////==")) == 0); /* unused bits */
    CHECK(VALIDATES(WITH_KEY("")) == WS_HANDSHAKE_KEY);
    CHECK(VALIDATES(KEY_OF("")) == WS_HANDSHAKE_KEY);
    CHECK(VALIDATES(WITH_KEY(KEY_LINE KEY_LINE)) == WS_HANDSHAKE_KEY);
    CHECK(VALIDATES(KEY_OF("AAAAAAAAAAAAAAAAAAAAAA")) == WS_HANDSHAKE_KEY);   /* unpadded */
    CHECK(VALIDATES(KEY_OF("AAAAAAAAAAAAAAAAAAAAAAA=")) == WS_HANDSHAKE_KEY); /* 17 bytes */
    CHECK(VALIDATES(KEY_OF("AAAAAAAAAAAAAAAAAAAAAAAA")) == WS_HANDSHAKE_KEY); /* 18 bytes */
    CHECK(VALIDATES(KEY_OF("AAAAAAAAAAAAAAAAAAAA")) == WS_HANDSHAKE_KEY);     /* 15 bytes */
    CHECK(VALIDATES(KEY_OF("AAAAAAAAAAAAAAAAAAAAAAAAAA==")) == WS_HANDSHAKE_KEY);
    CHECK(VALIDATES(KEY_OF("AAAAAAAAAA AAAAAAAAAAA==")) == WS_HANDSHAKE_KEY);
    CHECK(VALIDATES(KEY_OF("-_AAAAAAAAAAAAAAAAAAAA==")) == WS_HANDSHAKE_KEY);
    CHECK(VALIDATES(KEY_OF("AA==AAAAAAAAAAAAAAAAAA==")) == WS_HANDSHAKE_KEY);
    CHECK(VALIDATES(KEY_OF("\"" KEY "\"")) == WS_HANDSHAKE_KEY);
}

/* Everything wrong at once, then mended one by one. */
static void
test_validate_order(void)
{
    CHECK(VALIDATES("PUT / HTTP/1.0\r\nContent-Length: 1\r\n\r\n") == WS_HANDSHAKE_METHOD);
    CHECK(VALIDATES("GET * HTTP/1.0\r\nContent-Length: 1\r\n\r\n") == WS_HANDSHAKE_HTTP_VERSION);
    CHECK(VALIDATES("GET * HTTP/1.1\r\nContent-Length: 1\r\n\r\n") == WS_HANDSHAKE_TARGET);
    CHECK(VALIDATES(LINE "Content-Length: 1\r\n\r\n") == WS_HANDSHAKE_HOST);
    CHECK(VALIDATES(LINE "Content-Length: 1\r\n" HOST "\r\n") == WS_HANDSHAKE_UPGRADE);
    CHECK(VALIDATES(LINE "Content-Length: 1\r\n" HOST UPGRADE "\r\n") ==
          WS_HANDSHAKE_CONNECTION);
    CHECK(VALIDATES(LINE "Content-Length: 1\r\n" HOST UPGRADE CONNECTION "\r\n") ==
          WS_HANDSHAKE_BODY);
    CHECK(VALIDATES(LINE HOST UPGRADE CONNECTION "\r\n") == WS_HANDSHAKE_VERSION);
    CHECK(VALIDATES(LINE HOST UPGRADE CONNECTION VERSION "\r\n") == WS_HANDSHAKE_KEY);
    CHECK(VALIDATES(LINE HOST UPGRADE CONNECTION VERSION KEY_LINE "\r\n") == 0);
}

/* The elements of the list, each in brackets, in a buffer that ends at a guard page. */
static const char *
elements(const char *text)
{
    static char joined[256];
    const size_t n = strlen(text);
    ws_slice rest = {buffer.end - n, n};
    ws_slice element;
    size_t at = 0;
    if (n > 0) {
        memcpy(buffer.end - n, text, n);
    }
    while (ws_list_next(&rest, &element)) {
        joined[at++] = '[';
        memcpy(joined + at, element.data, element.size);
        at += element.size;
        joined[at++] = ']';
    }
    CHECK(rest.size == 0 && !ws_list_next(&rest, &element));
    joined[at] = '\0';
    return joined;
}

static void
test_list(void)
{
    CHECK(strcmp(elements(""), "") == 0);
    CHECK(strcmp(elements(" \t"), "") == 0);
    CHECK(strcmp(elements(",, ,\t,"), "") == 0);
    CHECK(strcmp(elements("a"), "[a]") == 0);
    CHECK(strcmp(elements("a,b"), "[a][b]") == 0);
    CHECK(strcmp(elements(" chat ,\tsuper chat\t, ,v2,"), "[chat][super chat][v2]") == 0);
    CHECK(strcmp(elements("\x0b" "a\x0c,\xa0"), "[\x0b" "a\x0c][\xa0]") == 0);
    CHECK(strcmp(elements("permessage-deflate; client_max_window_bits, x; y=1"),
                 "[permessage-deflate; client_max_window_bits][x; y=1]") == 0);
    ws_slice nothing = {NULL, 0};
    ws_slice element;
    CHECK(!ws_list_next(&nothing, &element));
}

static void
test_list_quotes(void)
{
    CHECK(strcmp(elements("a; b=\"c, d\" , e"), "[a; b=\"c, d\"][e]") == 0);
    CHECK(strcmp(elements("\"\",\",\""), "[\"\"][\",\"]") == 0);
    CHECK(strcmp(elements("\"a\\\",b\",c"), "[\"a\\\",b\"][c]") == 0);
    CHECK(strcmp(elements("\"a\\\\\",b"), "[\"a\\\\\"][b]") == 0);
    CHECK(strcmp(elements("a\\,b"), "[a\\][b]") == 0); /* a pair only inside quotes */
    CHECK(strcmp(elements("a, \"b, c"), "[a][\"b, c]") == 0);
    CHECK(strcmp(elements("\"a\\"), "[\"a\\]") == 0);
    CHECK(strcmp(elements("\""), "[\"]") == 0);
}

static bool
equals(const char *slice, const char *text)
{
    const size_t n = strlen(slice);
    if (n > 0) {
        memcpy(buffer.end - n, slice, n);
    }
    return ws_slice_equals((ws_slice){buffer.end - n, n}, text);
}

static void
test_slice_equals(void)
{
    CHECK(equals("", ""));
    CHECK(equals("Upgrade", "uPGRADE"));
    CHECK(equals("AZaz", "azAZ"));
    CHECK(!equals("upgrade", "upgrad"));
    CHECK(!equals("upgrad", "upgrade"));
    CHECK(!equals("", "a"));
    CHECK(!equals("@", "`")); /* neighbours of the letters */
    CHECK(!equals("[", "{"));
    CHECK(!equals("\xc1", "\xe1"));
    CHECK(ws_slice_equals((ws_slice){NULL, 0}, ""));
    CHECK(!ws_slice_equals((ws_slice){TEXT("a\0")}, "a"));
}

static void
test_header_text(void)
{
    CHECK(ws_header_name_valid(TEXT("Sec-WebSocket-Protocol")));
    CHECK(!ws_header_name_valid(TEXT("")));
    CHECK(!ws_header_name_valid(NULL, 0));
    CHECK(!ws_header_name_valid(TEXT("A:")));
    CHECK(!ws_header_name_valid(TEXT(" A")));
    CHECK(ws_header_value_valid(TEXT("")));
    CHECK(ws_header_value_valid(NULL, 0));
    CHECK(ws_header_value_valid(TEXT("a\tb \x0b\x85\xff")));
    CHECK(!ws_header_value_valid(TEXT("a\r\nSet-Cookie: b")));
    CHECK(!ws_header_value_valid(TEXT("a\n")));
    CHECK(!ws_header_value_valid(TEXT("\0")));
}

static bool
accepts(const char *key, const char *expected)
{
    const size_t n = strlen(key);
    uint8_t accept[WS_ACCEPT_SIZE];
    if (n > 0) {
        memcpy(buffer.end - n, key, n);
    }
    ws_accept_key(buffer.end - n, n, accept);
    return memcmp(accept, expected, WS_ACCEPT_SIZE) == 0;
}

static void
test_accept_key(void)
{
    CHECK(accepts(KEY, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    CHECK(accepts("x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk="));
    CHECK(accepts("", "Kfh9QIsMVZcl6xEPYxPHzW8SZ8w="));
    CHECK(accepts(KEY KEY KEY KEY KEY KEY, "v6mKhZAplEi9jOrVlAsE6utkQw0="));
}

static void
test_response_switching(void)
{
    static const char expected[] = "HTTP/1.1 101 Switching Protocols\r\n"
                                   "Upgrade: websocket\r\n"
                                   "Connection: Upgrade\r\n"
                                   "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    uint8_t accept[WS_ACCEPT_SIZE];
    uint8_t *dst = buffer.end - WS_RESPONSE_101_SIZE;
    ws_accept_key(TEXT(KEY), accept);
    CHECK(sizeof(expected) - 1 == WS_RESPONSE_101_SIZE);
    CHECK(ws_response_switching(accept, dst) == WS_RESPONSE_101_SIZE);
    CHECK(memcmp(dst, expected, WS_RESPONSE_101_SIZE) == 0);
}

/* The response is the head, then what the text needs. */
static bool
refuses(int error, int status, const char *head)
{
    char expected[2 * WS_RESPONSE_REFUSAL_MAX];
    const char *text = ws_handshake_text(error);
    const int size = snprintf(expected, sizeof(expected),
                              "HTTP/1.1 %d %sContent-Type: text/plain; charset=utf-8\r\n"
                              "Content-Length: %zu\r\n\r\n%s\n",
                              status, head, strlen(text) + 1, text);
    uint8_t *dst = buffer.end - WS_RESPONSE_REFUSAL_MAX;
    const size_t written = ws_response_refusal(error, dst);
    return ws_handshake_status(error) == status && (size_t)size == written &&
           written <= WS_RESPONSE_REFUSAL_MAX && memcmp(dst, expected, written) == 0;
}

static void
test_response_refusal(void)
{
    static const char bad[] = "Bad Request\r\nConnection: close\r\n";
    CHECK(refuses(WS_HANDSHAKE_MALFORMED, 400, bad));
    CHECK(refuses(WS_HANDSHAKE_HTTP_VERSION, 400, bad));
    CHECK(refuses(WS_HANDSHAKE_TARGET, 400, bad));
    CHECK(refuses(WS_HANDSHAKE_HOST, 400, bad));
    CHECK(refuses(WS_HANDSHAKE_UPGRADE, 400, bad));
    CHECK(refuses(WS_HANDSHAKE_CONNECTION, 400, bad));
    CHECK(refuses(WS_HANDSHAKE_KEY, 400, bad));
    CHECK(refuses(WS_HANDSHAKE_BODY, 400, bad));
    CHECK(refuses(0, 400, bad)); /* no error of ours: still a response */
    CHECK(refuses(WS_HANDSHAKE_METHOD, 405,
                  "Method Not Allowed\r\nAllow: GET\r\nConnection: close\r\n"));
    CHECK(refuses(WS_HANDSHAKE_VERSION, 426,
                  "Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                  "Connection: close, Upgrade\r\n"));
    CHECK(refuses(WS_HANDSHAKE_TOO_MANY_HEADERS, 431,
                  "Request Header Fields Too Large\r\nConnection: close\r\n"));
}

static void
test_texts_differ(void)
{
    for (int error = WS_HANDSHAKE_TARGET - 1; error < WS_HANDSHAKE_MALFORMED; error++) {
        for (int other = error + 1; other <= WS_HANDSHAKE_MALFORMED; other++) {
            CHECK(strcmp(ws_handshake_text(error), ws_handshake_text(other)) != 0);
        }
    }
}

int
main(void)
{
    buffer = guarded_allocate(1);
    RUN(test_parse_good);
    RUN(test_parse_stops_at_the_empty_line);
    RUN(test_parse_incomplete);
    RUN(test_parse_method);
    RUN(test_parse_target);
    RUN(test_parse_version);
    RUN(test_parse_line_ends);
    RUN(test_parse_names);
    RUN(test_parse_values);
    RUN(test_parse_folding);
    RUN(test_parse_capacity);
    RUN(test_parse_mutations);
    RUN(test_validate_good);
    RUN(test_validate_method);
    RUN(test_validate_http_version);
    RUN(test_validate_target);
    RUN(test_validate_host);
    RUN(test_validate_upgrade);
    RUN(test_validate_connection);
    RUN(test_validate_body);
    RUN(test_validate_version);
    RUN(test_validate_key);
    RUN(test_validate_order);
    RUN(test_list);
    RUN(test_list_quotes);
    RUN(test_slice_equals);
    RUN(test_header_text);
    RUN(test_accept_key);
    RUN(test_response_switching);
    RUN(test_response_refusal);
    RUN(test_texts_differ);
    return check_finish();
}
