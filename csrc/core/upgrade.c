/* Upgrade: see upgrade.h. Depends on handshake.h. No allocation, no state. */
#include "upgrade.h"

#include <stdbool.h>
#include <string.h>

#include "handshake.h"

/* What a request for a path begins with. */
static const uint8_t beginning[] = {'G', 'E', 'T', ' ', '/'};

static bool
is_visible(ws_slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] <= ' ' || text.data[i] >= 0x7F) {
            return false;
        }
    }
    return true;
}

/* RFC 9110, section 5.5: no control character but HTAB belongs into a value. */
static bool
has_control(ws_slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        const uint8_t c = text.data[i];
        if ((c < ' ' && c != '\t') || c == 0x7F) {
            return true;
        }
    }
    return false;
}

static bool
asks_for_websocket(const ws_request *request)
{
    unsigned int lengths = 0;
    bool upgrade = false;
    bool connection = false;
    for (size_t i = 0; i < request->header_count; i++) {
        const ws_slice name = request->headers[i].name;
        const ws_slice value = request->headers[i].value;
        if (has_control(value)) {
            return false;
        }
        switch (name.size) { /* comparisons that cannot succeed would be most of the work */
        case sizeof("Upgrade") - 1:
            upgrade |= ws_slice_equals(name, "Upgrade") && ws_list_has(value, "websocket");
            break;
        case sizeof("Connection") - 1:
            connection |= ws_slice_equals(name, "Connection") && ws_list_has(value, "upgrade");
            break;
        case sizeof("Content-Length") - 1:
            lengths += ws_slice_equals(name, "Content-Length");
            break;
        case sizeof("Transfer-Encoding") - 1:
            lengths += ws_slice_equals(name, "Transfer-Encoding");
            break;
        default:
            break;
        }
    }
    return upgrade && connection && lengths <= 1;
}

ws_upgrade_verdict
ws_upgrade_judge(const uint8_t *data, size_t n)
{
    const size_t compared = n < sizeof(beginning) ? n : sizeof(beginning);
    if (compared > 0 && memcmp(data, beginning, compared) != 0) {
        return WS_UPGRADE_NO;
    }
    ws_header headers[WS_UPGRADE_HEADERS_MAX];
    ws_request request = {.headers = headers, .header_capacity = WS_UPGRADE_HEADERS_MAX};
    const int size = ws_request_parse(&request, data, n);
    if (size == 0) {
        return WS_UPGRADE_UNDECIDED;
    }
    if (size < 0 || request.minor != 1 || !is_visible(request.target)) {
        return WS_UPGRADE_NO;
    }
    return asks_for_websocket(&request) ? WS_UPGRADE_YES : WS_UPGRADE_NO;
}
