/* Offers of permessage-deflate: the answer is one that a client can take (each parameter once and
 * in range, none that it did not offer, saying what we will do), lies within what the server is
 * ready for, does not depend on how the offers are spread over headers, and is there if a plain
 * reader, which knows no quoted strings, finds a good offer.
 *
 * Input: the server's configuration, then values of headers, each ended by LF. */
#include "extension.h"
#include "input.h"

#define VALUES_MAX 8

typedef struct {
    ws_extension result;
    ws_deflate_params params;
    char text[WS_EXTENSION_RESPONSE_MAX + 1];
} answer;

static answer
negotiate(const ws_deflate_config *config, const ws_slice *values, size_t count)
{
    answer made = {0};
    uint8_t *text = new_block(WS_EXTENSION_RESPONSE_MAX);
    size_t size = 0;
    made.result = ws_extension_negotiate(config, values, count, &made.params, text, &size);
    REQUIRE(size <= WS_EXTENSION_RESPONSE_MAX);
    memcpy(made.text, text, size);
    free(text);
    return made;
}

/* Whether the text has the word, without regard to case. */
static bool
mentions(ws_slice text, const char *word)
{
    const size_t n = strlen(word);
    for (size_t at = 0; at + n <= text.size; at++) {
        if (ws_slice_equals((ws_slice){text.data + at, n}, word)) {
            return true;
        }
    }
    return false;
}

/* A client's reading of the answer. */
static void
check_answer(const ws_deflate_config *config, const answer *made, ws_slice offers)
{
    ws_deflate_params told = {15, 15, false, false};
    char text[sizeof made->text];
    memcpy(text, made->text, sizeof text);
    char *rest = strchr(text, ';');
    REQUIRE(strncmp(text, "permessage-deflate", 18) == 0);
    while (rest != NULL) {
        char *name = rest + 2;
        rest = strchr(name, ';');
        if (rest != NULL) {
            *rest = '\0';
        }
        char *value = strchr(name, '=');
        if (value != NULL) {
            *value++ = '\0';
        }
        const int bits = value == NULL ? 0 : atoi(value);
        REQUIRE(value == NULL || (bits >= 8 && bits <= 15));
        if (strcmp(name, "client_no_context_takeover") == 0) {
            REQUIRE(value == NULL && !told.client_no_context_takeover);
            told.client_no_context_takeover = true;
            continue;
        }
        REQUIRE(mentions(offers, name));
        if (strcmp(name, "server_no_context_takeover") == 0) {
            REQUIRE(value == NULL && !told.server_no_context_takeover);
            told.server_no_context_takeover = true;
        }
        else if (strcmp(name, "server_max_window_bits") == 0) {
            REQUIRE(value != NULL);
            told.server_window_bits = (uint8_t)bits;
        }
        else {
            REQUIRE(strcmp(name, "client_max_window_bits") == 0 && value != NULL);
            told.client_window_bits = (uint8_t)bits;
        }
    }
    /* We may do better than we said, never worse; what the client must do it was told. */
    const ws_deflate_params *params = &made->params;
    REQUIRE(params->server_window_bits <= told.server_window_bits);
    REQUIRE(params->server_window_bits <= config->server_max_window_bits);
    REQUIRE(params->server_window_bits >= WS_WINDOW_BITS_MIN);
    REQUIRE(params->server_no_context_takeover || !told.server_no_context_takeover);
    REQUIRE(params->server_no_context_takeover || !config->server_no_context_takeover);
    REQUIRE(params->client_window_bits == told.client_window_bits);
    REQUIRE(params->client_no_context_takeover == told.client_no_context_takeover);
    REQUIRE(params->client_no_context_takeover || !config->client_no_context_takeover);
}

static bool
is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t';
}

/* The next part of *rest up to the byte (not included) without blanks around it; false at the
 * end. */
static bool
next_part(ws_slice *rest, uint8_t byte, ws_slice *part)
{
    if (rest->data == NULL) {
        return false;
    }
    const uint8_t *end = rest->size > 0 ? memchr(rest->data, byte, rest->size) : NULL;
    *part = (ws_slice){rest->data, end == NULL ? rest->size : (size_t)(end - rest->data)};
    *rest = end == NULL ? (ws_slice){NULL, 0} : (ws_slice){end + 1, rest->size - part->size - 1};
    while (part->size > 0 && is_blank(part->data[0])) {
        part->data++;
        part->size--;
    }
    while (part->size > 0 && is_blank(part->data[part->size - 1])) {
        part->size--;
    }
    return true;
}

static bool
is_window(ws_slice value, int smallest)
{
    static const char *const sizes[] = {"8", "9", "10", "11", "12", "13", "14", "15"};
    for (int i = smallest - 8; i < 8; i++) {
        if (ws_slice_equals(value, sizes[i])) {
            return true;
        }
    }
    return false;
}

static bool
is_good_offer(ws_slice offer)
{
    ws_slice part;
    int seen[4] = {0};
    (void)next_part(&offer, ';', &part);
    bool good = ws_slice_equals(part, "permessage-deflate");
    while (next_part(&offer, ';', &part)) {
        ws_slice name;
        ws_slice value;
        (void)next_part(&part, '=', &name);
        const bool has_value = next_part(&part, '\0', &value);
        if (ws_slice_equals(name, "server_no_context_takeover")) {
            good = good && !has_value && seen[0]++ == 0;
        }
        else if (ws_slice_equals(name, "client_no_context_takeover")) {
            good = good && !has_value && seen[1]++ == 0;
        }
        else if (ws_slice_equals(name, "server_max_window_bits")) {
            good = good && has_value && is_window(value, 9) && seen[2]++ == 0;
        }
        else if (ws_slice_equals(name, "client_max_window_bits")) {
            good = good && (!has_value || is_window(value, 8)) && seen[3]++ == 0;
        }
        else {
            good = false;
        }
    }
    return good;
}

static void
check_found(const answer *made, ws_slice joined)
{
    ws_slice offer;
    bool found = false;
    for (size_t offers = 0; !found && offers < WS_EXTENSION_OFFERS_MAX;) {
        if (!next_part(&joined, ',', &offer)) {
            break;
        }
        offers += offer.size > 0;
        found = is_good_offer(offer);
    }
    REQUIRE((made->result == WS_EXTENSION_DEFLATE) == found);
}

/* The same offers in one header, unless a quoted string could join two of them. */
static void
check_joined(const ws_deflate_config *config, const answer *apart, ws_slice offers)
{
    if (offers.size == 0 || memchr(offers.data, '"', offers.size) != NULL ||
        memchr(offers.data, '\0', offers.size) != NULL) {
        return; /* NUL is what the plain reader looks for where nothing may follow */
    }
    uint8_t *joined = copy_block(offers.data, offers.size);
    for (size_t i = 0; i < offers.size; i++) {
        joined[i] = joined[i] == '\n' ? ',' : joined[i];
    }
    const answer together = negotiate(config, &(ws_slice){joined, offers.size}, 1);
    REQUIRE(memcmp(&together, apart, sizeof together) == 0);
    if (config->enabled) {
        check_found(&together, (ws_slice){joined, offers.size});
    }
    free(joined);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    const uint8_t options = take_byte(&input);
    const uint8_t bits = take_byte(&input);
    const ws_deflate_config config = {
        .enabled = (options & 4) == 0,
        .server_max_window_bits = (uint8_t)(WS_WINDOW_BITS_MIN + (bits & 15) % 7),
        .client_max_window_bits = (uint8_t)(WS_WINDOW_BITS_MIN + (bits >> 4) % 7),
        .server_no_context_takeover = (options & 1) != 0,
        .client_no_context_takeover = (options & 2) != 0,
    };
    uint8_t *copy = copy_block(input.data, input.size);
    ws_slice values[VALUES_MAX];
    size_t count = 0;
    size_t begin = 0;
    for (size_t at = 0; at < input.size && count < VALUES_MAX; at++) {
        if (copy[at] == '\n') {
            values[count++] = (ws_slice){copy + begin, at - begin};
            begin = at + 1;
        }
    }
    const ws_slice offers = {copy, begin};
    const answer made = negotiate(&config, values, count);
    REQUIRE(config.enabled || made.result == WS_EXTENSION_NONE);
    if (made.result == WS_EXTENSION_DEFLATE) {
        check_answer(&config, &made, offers);
    }
    check_joined(&config, &made, offers);
    free(copy);
    return 0;
}
