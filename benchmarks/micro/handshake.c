/* The opening handshake: a browser's request head, the accept key, the response. */
#include "handshake.h"

#include <string.h>

#include "bench.h"

#define HEADERS_MAX 64
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="              /* RFC 6455, section 1.3 */
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

/* The fewest headers a client may send, and what a browser sends with a session of Django's. */
#define START "GET /ws/chat/lobby/ HTTP/1.1\r\nHost: example.com\r\n"
#define UPGRADE                                                                                   \
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"                                               \
    "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n"
static const char short_head[] = START UPGRADE "\r\n";
static const char browser_head[] =
    START
    "Pragma: no-cache\r\n"
    "Cache-Control: no-cache\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/130.0.0.0 Safari/537.36\r\n"
    "Origin: https://example.com\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Accept-Language: en-US,en;q=0.9\r\n"
    "Cookie: csrftoken=Qm9Xk2vNfT7sLw4RzYb1JcHpUe8AdGi3; "
    "sessionid=m3x8q0v7t1b6n5k2j9h4g3f8d7s6a1z0\r\n"
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" UPGRADE "\r\n";

typedef struct {
    const char *text;
    size_t size;
} head;

static uint64_t
run_parse(const void *context, size_t calls)
{
    const head given = *(const head *)context;
    uint64_t sum = 0;
    for (size_t i = 0; i < calls; i++) {
        ws_header headers[HEADERS_MAX];
        ws_request request = {.headers = headers, .header_capacity = HEADERS_MAX};
        const int size = ws_request_parse(&request, (const uint8_t *)given.text, given.size);
        ws_slice key;
        if (size <= 0 || ws_request_validate(&request, &key) != 0) {
            return 0;
        }
        sum += (size_t)size + key.size;
    }
    return sum;
}

static uint64_t
run_accept(const void *context, size_t calls)
{
    const uint8_t *key = context;
    uint64_t sum = 0;
    for (size_t i = 0; i < calls; i++) {
        uint8_t accept[WS_ACCEPT_SIZE];
        ws_accept_key(key, WS_KEY_SIZE, accept);
        sum += memcmp(accept, ACCEPT, WS_ACCEPT_SIZE) == 0;
    }
    return sum;
}

static uint64_t
run_response(const void *context, size_t calls)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < calls; i++) {
        uint8_t response[WS_RESPONSE_101_SIZE];
        sum += ws_response_switching(context, response);
        sum += response[0];
    }
    return sum;
}

static void
measure_parse(const char *name, const char *text, size_t size)
{
    const head given = {text, size};
    bench_case measured = {
        .unit = "handshake", .run = run_parse, .context = &given, .yield = size + WS_KEY_SIZE};
    strncpy(measured.name, name, sizeof measured.name - 1);
    bench_measure(&measured);
}

void
bench_handshake(void)
{
    measure_parse("parse and validate a request of 6 headers", short_head, sizeof short_head - 1);
    measure_parse("parse and validate a browser's request", browser_head, sizeof browser_head - 1);
    const bench_case accept = {.unit = "handshake",
                               .name = "accept key",
                               .run = run_accept,
                               .context = KEY,
                               .yield = 1};
    bench_measure(&accept);
    const bench_case response = {.unit = "handshake",
                                 .name = "fixed part of the 101 response",
                                 .run = run_response,
                                 .context = ACCEPT,
                                 .yield = WS_RESPONSE_101_SIZE + 'H'};
    bench_measure(&response);
}
