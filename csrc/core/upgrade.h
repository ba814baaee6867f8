/* Tells a WebSocket upgrade from everything else that a new connection may begin with.
 *
 * For a server whose HTTP is somebody else's: only what is beyond doubt is taken, so that no two
 * parsers can read the same bytes differently. Whether the upgrade is one that can be served is
 * handshake.h's to say. */
#ifndef ATALANTA_CORE_UPGRADE_H
#define ATALANTA_CORE_UPGRADE_H

#include <stddef.h>
#include <stdint.h>

#define WS_UPGRADE_HEADERS_MAX 256

typedef enum {
    WS_UPGRADE_UNDECIDED, /* more bytes are needed */
    WS_UPGRADE_YES,
    WS_UPGRADE_NO /* for good: no byte that follows can change it */
} ws_upgrade_verdict;

/* YES for a whole head, strictly well-formed (ws_request_parse), that is a GET of HTTP/1.1 for a
 * path, has "websocket" in Upgrade and "upgrade" in Connection, and has no byte that an HTTP
 * parser could take offence at: the target is visible ASCII, no value has a control character but
 * HTAB, and the length of the body is said once at most.
 *
 * Starts afresh at data[0] and takes O(n) time; the caller bounds n. */
ws_upgrade_verdict ws_upgrade_judge(const uint8_t *data, size_t n);

#endif
