/* Opening handshakes: any prefix of a request gives 0 or what the whole gives; what was parsed can
 * be written down and parsed again to the same; the verdict and its response keep their promises.
 *
 * Input: capacity for headers, length of the prefix, then the request. */
#include "base64.h"
#include "handshake.h"
#include "input.h"

#define CAPACITY_MAX 16

typedef struct {
    ws_header headers[CAPACITY_MAX];
    ws_request request;
    int result;
} parsed;

static void
parse(parsed *to, const uint8_t *data, size_t n, size_t capacity)
{
    to->request = (ws_request){.headers = to->headers, .header_capacity = capacity};
    to->result = ws_request_parse(&to->request, data, n);
    REQUIRE(to->result <= 0 || (size_t)to->result <= n);
    REQUIRE(to->result >= 0 || to->result == WS_HANDSHAKE_MALFORMED ||
            to->result == WS_HANDSHAKE_TOO_MANY_HEADERS);
    REQUIRE(to->request.header_count <= capacity);
}

static bool
slices_equal(ws_slice a, ws_slice b)
{
    return a.size == b.size && bytes_equal(a.data, b.data, a.size);
}

static void
check_lists(ws_slice value)
{
    ws_slice rest = value;
    ws_slice element;
    const uint8_t *end = value.data;
    while (ws_list_next(&rest, &element)) {
        REQUIRE(element.size > 0 && element.data >= end);
        REQUIRE(strchr(" \t", element.data[0]) == NULL || element.data[0] == '\0');
        end = element.data + element.size;
        REQUIRE(end <= value.data + value.size && rest.data >= end);
        REQUIRE(rest.data + rest.size == value.data + value.size);
    }
    REQUIRE(rest.size == 0);
}

static size_t
put(uint8_t *dst, size_t at, ws_slice slice, const char *text)
{
    memcpy(dst + at, slice.data, slice.size);
    memcpy(dst + at + slice.size, text, strlen(text));
    return at + slice.size + strlen(text);
}

/* The request written down plainly is at most a few bytes longer, and means the same. */
static void
check_written(const parsed *from, size_t n)
{
    const ws_request *request = &from->request;
    uint8_t *text = new_block(n + 4 * CAPACITY_MAX);
    static const char versions[] = "01234567890";
    const ws_slice minor = {(const uint8_t *)&versions[request->minor], 1};
    size_t size = put(text, 0, request->method, " ");
    size = put(text, size, request->target, " HTTP/1.");
    size = put(text, size, minor, "\r\n");
    for (size_t i = 0; i < request->header_count; i++) {
        size = put(text, size, request->headers[i].name, ": ");
        size = put(text, size, request->headers[i].value, "\r\n");
    }
    memcpy(text + size, "\r\n", 2);
    parsed again;
    parse(&again, text, size + 2, request->header_capacity);
    REQUIRE(again.result == (int)size + 2);
    REQUIRE(slices_equal(again.request.method, request->method));
    REQUIRE(slices_equal(again.request.target, request->target));
    REQUIRE(again.request.header_count == request->header_count);
    for (size_t i = 0; i < request->header_count; i++) {
        REQUIRE(slices_equal(again.headers[i].name, from->headers[i].name));
        REQUIRE(slices_equal(again.headers[i].value, from->headers[i].value));
    }
    free(text);
}

static void
check_refusal(int error)
{
    uint8_t *response = new_block(WS_RESPONSE_REFUSAL_MAX + 1);
    const size_t n = ws_response_refusal(error, response);
    REQUIRE(n <= WS_RESPONSE_REFUSAL_MAX);
    response[n] = '\0';
    REQUIRE(strncmp((const char *)response, "HTTP/1.1 4", 10) == 0);
    REQUIRE(strstr((const char *)response, ws_handshake_text(error)) != NULL);
    free(response);
}

static void
check_accepted(ws_slice key)
{
    uint8_t accept[WS_ACCEPT_SIZE];
    uint8_t bytes[WS_BASE64_DECODED_MAX(WS_ACCEPT_SIZE)];
    uint8_t *response = new_block(WS_RESPONSE_101_SIZE);
    size_t size;
    REQUIRE(key.size == WS_KEY_SIZE);
    ws_accept_key(key.data, key.size, accept);
    REQUIRE(ws_base64_decode(accept, sizeof accept, bytes, &size) && size == 20);
    REQUIRE(ws_response_switching(accept, response) == WS_RESPONSE_101_SIZE);
    free(response);
}

static void
check_request(const parsed *whole, size_t n)
{
    const ws_request *request = &whole->request;
    REQUIRE(ws_header_name_valid(request->method.data, request->method.size));
    REQUIRE(request->target.size > 0 && request->minor <= 9);
    for (size_t i = 0; i < request->header_count; i++) {
        const ws_header *header = &whole->headers[i];
        REQUIRE(ws_header_name_valid(header->name.data, header->name.size));
        REQUIRE(ws_header_value_valid(header->value.data, header->value.size));
        check_lists(header->value);
    }
    check_written(whole, n);
    ws_slice key = {NULL, 0};
    const int verdict = ws_request_validate(request, &key);
    if (verdict == 0) {
        check_accepted(key);
    }
    else {
        REQUIRE(verdict <= WS_HANDSHAKE_METHOD && verdict >= WS_HANDSHAKE_TARGET);
        REQUIRE(key.data == NULL);
        check_refusal(verdict);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    const size_t capacity = take_byte(&input) % (CAPACITY_MAX + 1);
    const size_t wanted = take_two_bytes(&input);
    const size_t n = input.size;
    const size_t part_size = wanted < n ? wanted : n;
    uint8_t *text = copy_block(input.data, n);
    uint8_t *part_text = copy_block(input.data, part_size);
    parsed whole;
    parsed part;
    parse(&whole, text, n, capacity);
    parse(&part, part_text, part_size, capacity);
    REQUIRE(part.result == 0 || part.result == whole.result);
    REQUIRE(whole.result <= 0 || part_size < (size_t)whole.result || part.result > 0);
    if (whole.result > 0) {
        check_request(&whole, n);
    }
    else if (whole.result < 0) {
        check_refusal(whole.result);
    }
    free(part_text);
    free(text);
    return 0;
}
