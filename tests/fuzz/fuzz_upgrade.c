/* First bytes of a connection: a prefix is undecided or has the verdict of the whole, no byte
 * behind the head changes a verdict, and what is taken is what handshake.h can read.
 *
 * Input: length of the prefix, then the bytes. */
#include "handshake.h"
#include "input.h"
#include "upgrade.h"

static ws_upgrade_verdict
judge(const uint8_t *data, size_t n)
{
    uint8_t *copy = copy_block(data, n);
    const ws_upgrade_verdict verdict = ws_upgrade_judge(copy, n);
    free(copy);
    return verdict;
}

/* Every byte of a head that is taken is one that HTTP parsers agree on. */
static void
check_head(const uint8_t *data, size_t n)
{
    ws_header headers[WS_UPGRADE_HEADERS_MAX];
    ws_request request = {.headers = headers, .header_capacity = WS_UPGRADE_HEADERS_MAX};
    const int size = ws_request_parse(&request, data, n);
    REQUIRE(size > 0 && request.minor == 1);
    REQUIRE(request.method.size == 3 && request.target.data[0] == '/');
    for (int i = 0; i < size; i++) {
        const bool line_end = data[i] == '\r' || data[i] == '\n' || data[i] == '\t';
        REQUIRE(line_end || (data[i] >= ' ' && data[i] != 0x7F));
    }
    bool upgrade = false;
    for (size_t i = 0; i < request.header_count; i++) {
        upgrade |= ws_slice_equals(headers[i].name, "upgrade");
    }
    REQUIRE(upgrade);
    REQUIRE(judge(data, (size_t)size) == WS_UPGRADE_YES);
    REQUIRE(judge(data, (size_t)size - 1) == WS_UPGRADE_UNDECIDED);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    const size_t wanted = take_two_bytes(&input);
    const size_t part = wanted < input.size ? wanted : input.size;
    const ws_upgrade_verdict whole = judge(input.data, input.size);
    const ws_upgrade_verdict early = judge(input.data, part);
    REQUIRE(early == WS_UPGRADE_UNDECIDED || early == whole);
    if (whole == WS_UPGRADE_YES) {
        check_head(input.data, input.size);
    }
    return 0;
}
