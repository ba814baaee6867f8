/* Upgrade: what is an upgrade beyond doubt, what is not, and that a prefix never says anything else than the whole. */
#include "upgrade.h"

#include <stdbool.h>
#include <stdint.h>

#include "check.h"

#define LINE "GET /chat?x=1 HTTP/1.1\r\n"
#define REST "Host: example.com\r\nSec-WebSocket-Version: 13\r\n\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define CONNECTION "Connection: Upgrade\r\n"

struct vector {
    ws_upgrade_verdict verdict;
    const char *text;
};

static const struct vector vectors[] = {
    {WS_UPGRADE_YES, LINE UPGRADE CONNECTION REST},
    {WS_UPGRADE_YES, LINE CONNECTION UPGRADE REST},
    {WS_UPGRADE_YES, LINE "upgrade:WEBSOCKET\r\nCONNECTION:\tkeep-alive ,\tupgrade\r\n\r\n"},
    {WS_UPGRADE_YES, LINE "Upgrade: h2c, websocket\r\n" CONNECTION REST},
    {WS_UPGRADE_YES, LINE "Upgrade: h2c\r\n" UPGRADE CONNECTION REST},
    {WS_UPGRADE_YES, LINE "Connection: close\r\n" UPGRADE CONNECTION REST},
    {WS_UPGRADE_YES, LINE "Content-Length: 0\r\n" UPGRADE CONNECTION REST},
    {WS_UPGRADE_YES, LINE "X: \t caf\xe9\r\nY:\r\n" UPGRADE CONNECTION REST},
    {WS_UPGRADE_YES, "GET /~!#%\"<>|\\ HTTP/1.1\r\n" UPGRADE CONNECTION "\r\n"},
    /* Claims that handshake.h refuses are claims. */
    {WS_UPGRADE_YES, LINE UPGRADE CONNECTION "\r\n"},
    {WS_UPGRADE_YES, LINE "Transfer-Encoding: chunked\r\n" UPGRADE CONNECTION REST},

    {WS_UPGRADE_NO, LINE REST},
    {WS_UPGRADE_NO, LINE UPGRADE REST},
    {WS_UPGRADE_NO, LINE CONNECTION REST},
    {WS_UPGRADE_NO, LINE UPGRADE "Connection: close\r\n" REST},
    {WS_UPGRADE_NO, LINE UPGRADE "Connection: upgrades, xupgrade\r\n" REST},
    {WS_UPGRADE_NO, LINE UPGRADE "Connection: \"a, upgrade\"\r\n" REST},
    {WS_UPGRADE_NO, LINE "Upgrade: websocket/13\r\n" CONNECTION REST},
    {WS_UPGRADE_NO, LINE "Upgrades: websocket\r\n" CONNECTION REST},
    {WS_UPGRADE_NO, LINE "Upgradf: websocket\r\n" CONNECTION REST},
    {WS_UPGRADE_NO, LINE UPGRADE "Connectiom: upgrade\r\n" REST},
    {WS_UPGRADE_NO, LINE "Content-Length: 0\r\nContent-Length: 0\r\n" UPGRADE CONNECTION REST},
    {WS_UPGRADE_NO,
     LINE "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n" UPGRADE CONNECTION REST},
    {WS_UPGRADE_NO, LINE "X: a\x01z\r\n" UPGRADE CONNECTION REST},
    {WS_UPGRADE_NO, LINE "X: a\x7fz\r\n" UPGRADE CONNECTION REST},
    {WS_UPGRADE_NO, LINE UPGRADE CONNECTION "X: y\r\n z\r\n\r\n"},
    {WS_UPGRADE_NO, LINE "Upgrade : websocket\r\n" CONNECTION REST},
    {WS_UPGRADE_NO, LINE "Upgrade: websocket\n" CONNECTION REST},
    {WS_UPGRADE_NO, LINE "Upgrade: websocket\r" CONNECTION REST},
    {WS_UPGRADE_NO, "GET / HTTP/1.0\r\n" UPGRADE CONNECTION REST},
    {WS_UPGRADE_NO, "GET / HTTP/1.2\r\n" UPGRADE CONNECTION REST},
    {WS_UPGRADE_NO, "GET / HTTP/2.0\r\n" UPGRADE CONNECTION REST},
    {WS_UPGRADE_NO, "GET /caf\xe9 HTTP/1.1\r\n" UPGRADE CONNECTION REST},
    {WS_UPGRADE_NO, "GET /\x7f HTTP/1.1\r\n" UPGRADE CONNECTION REST},
    {WS_UPGRADE_NO, "GET  / HTTP/1.1\r\n" UPGRADE CONNECTION REST},
    {WS_UPGRADE_NO, "GET * HTTP/1.1\r\n" UPGRADE CONNECTION REST},
    {WS_UPGRADE_NO, "GET http://example.com/ HTTP/1.1\r\n" UPGRADE CONNECTION REST},
    {WS_UPGRADE_NO, "get / HTTP/1.1\r\n" UPGRADE CONNECTION REST},
    {WS_UPGRADE_NO, "POST / HTTP/1.1\r\n" UPGRADE CONNECTION REST},
    {WS_UPGRADE_NO, "\r\n" LINE UPGRADE CONNECTION REST},
    {WS_UPGRADE_NO, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
    {WS_UPGRADE_NO, "\x16\x03\x01\x02"},

    {WS_UPGRADE_UNDECIDED, ""},
    {WS_UPGRADE_UNDECIDED, "GET /"},
    {WS_UPGRADE_UNDECIDED, LINE UPGRADE CONNECTION},
};

enum { VECTORS = sizeof(vectors) / sizeof(vectors[0]) };

static ws_upgrade_verdict
judge(const char *text, size_t n)
{
    return ws_upgrade_judge((const uint8_t *)text, n);
}

static void
test_verdicts(void)
{
    for (size_t i = 0; i < VECTORS; i++) {
        if (judge(vectors[i].text, strlen(vectors[i].text)) != vectors[i].verdict) {
            fprintf(stderr, "vector %zu: %s\n", i, vectors[i].text);
        }
        CHECK(judge(vectors[i].text, strlen(vectors[i].text)) == vectors[i].verdict);
    }
}

/* A NO is for good, and a YES comes with the last byte of the head and stays whatever follows. */
static void
test_prefixes(void)
{
    for (size_t i = 0; i < VECTORS; i++) {
        const size_t size = strlen(vectors[i].text);
        ws_upgrade_verdict last = WS_UPGRADE_UNDECIDED;
        for (size_t n = 0; n <= size; n++) {
            const ws_upgrade_verdict verdict = judge(vectors[i].text, n);
            CHECK(last == WS_UPGRADE_UNDECIDED || verdict == last);
            CHECK(verdict != WS_UPGRADE_YES || n == size);
            last = verdict;
        }
        CHECK(last == vectors[i].verdict);
    }
}

static void
test_bytes_after_the_head(void)
{
    static const char frames[] = LINE UPGRADE CONNECTION REST "\x81\x80\x00\x00\x00\x00\r\n\r\n";
    CHECK(judge(frames, sizeof(frames) - 1) == WS_UPGRADE_YES);
}

static void
test_nul(void)
{
    static const char nul[] = LINE "X: a\0b\r\n" UPGRADE CONNECTION REST;
    CHECK(judge(nul, sizeof(nul) - 1) == WS_UPGRADE_NO);
}

static void
test_header_count(void)
{
    for (size_t extra = WS_UPGRADE_HEADERS_MAX - 2; extra <= WS_UPGRADE_HEADERS_MAX - 1; extra++) {
        char text[16 * 1024] = LINE UPGRADE CONNECTION;
        for (size_t i = 0; i < extra; i++) {
            strcat(text, "X: y\r\n");
        }
        strcat(text, "\r\n");
        const bool fits = extra + 2 <= WS_UPGRADE_HEADERS_MAX;
        CHECK(judge(text, strlen(text)) == (fits ? WS_UPGRADE_YES : WS_UPGRADE_NO));
    }
}

/* Nothing behind the last byte is read. */
static void
test_bounds(void)
{
    for (size_t i = 0; i < VECTORS; i++) {
        const size_t size = strlen(vectors[i].text);
        uint8_t *copy = malloc(size > 0 ? size : 1);
        CHECK(copy != NULL);
        if (copy != NULL) {
            memcpy(copy, vectors[i].text, size);
            CHECK(ws_upgrade_judge(copy, size) == vectors[i].verdict);
        }
        free(copy);
    }
}

int
main(void)
{
    RUN(test_verdicts);
    RUN(test_prefixes);
    RUN(test_bytes_after_the_head);
    RUN(test_nul);
    RUN(test_header_count);
    RUN(test_bounds);
    return check_finish();
}
