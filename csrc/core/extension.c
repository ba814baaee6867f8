/* Offers of permessage-deflate: read, judged, answered.
 *
 * Depends on handshake.h for slices and lists. The grammar is RFC 6455's, section 9.1: a token,
 * then parameters, each after a semicolon, with a token or a quoted string as value; white
 * space may stand between any two of them. An offer is read to its end before it is judged. */
#include "extension.h"

#include <string.h>

/* Bits of what an offer has; a bit that is set already shows a parameter that comes twice. */
enum {
    SERVER_NO_CONTEXT_TAKEOVER = 1,
    CLIENT_NO_CONTEXT_TAKEOVER = 2,
    SERVER_MAX_WINDOW_BITS = 4,
    CLIENT_MAX_WINDOW_BITS = 8
};

static const struct {
    const char *name;
    uint8_t bit;
    bool may_have_value;
    bool must_have_value;
} parameters[] = {
    {"server_no_context_takeover", SERVER_NO_CONTEXT_TAKEOVER, false, false},
    {"client_no_context_takeover", CLIENT_NO_CONTEXT_TAKEOVER, false, false},
    {"server_max_window_bits", SERVER_MAX_WINDOW_BITS, true, true},
    {"client_max_window_bits", CLIENT_MAX_WINDOW_BITS, true, false},
};

typedef struct {
    uint8_t has;
    uint8_t server_bits; /* valid if it has the parameter */
    uint8_t client_bits; /* 15 where the parameter has no value */
} deflate_offer;

/* --- Reading --------------------------------------------------------------------------------- */

/* Longer values are wrong ones for every parameter there is, so that their text need not be
 * kept. */
#define VALUE_MAX 2

typedef struct {
    ws_slice name;
    bool has_value;
    size_t value_size; /* may be above VALUE_MAX */
    uint8_t value[VALUE_MAX];
} parameter;

static void
skip_blanks(ws_slice *in)
{
    while (in->size > 0 && (in->data[0] == ' ' || in->data[0] == '\t')) {
        in->data++;
        in->size--;
    }
}

static bool
take_byte(ws_slice *in, uint8_t byte)
{
    skip_blanks(in);
    if (in->size == 0 || in->data[0] != byte) {
        return false;
    }
    in->data++;
    in->size--;
    return true;
}

static bool
take_token(ws_slice *in, ws_slice *token)
{
    skip_blanks(in);
    size_t size = 0;
    while (size < in->size && ws_header_name_valid(in->data + size, 1)) {
        size++;
    }
    *token = (ws_slice){in->data, size};
    in->data += size;
    in->size -= size;
    return size > 0;
}

static void
add_to_value(parameter *found, uint8_t byte)
{
    if (found->value_size < VALUE_MAX) {
        found->value[found->value_size] = byte;
    }
    found->value_size++;
}

/* The rest of a quoted string, its opening quote being taken. False if it is never closed. */
static bool
take_quoted(ws_slice *in, parameter *found)
{
    for (size_t at = 0; at < in->size; at++) {
        if (in->data[at] == '"') {
            in->data += at + 1;
            in->size -= at + 1;
            return true;
        }
        if (in->data[at] == '\\' && ++at == in->size) {
            return false;
        }
        add_to_value(found, in->data[at]);
    }
    return false;
}

static bool
take_value(ws_slice *in, parameter *found)
{
    found->has_value = true;
    if (take_byte(in, '"')) {
        return take_quoted(in, found);
    }
    ws_slice token;
    if (!take_token(in, &token)) {
        return false;
    }
    for (size_t i = 0; i < token.size; i++) {
        add_to_value(found, token.data[i]);
    }
    return true;
}

/* A window size: 8 to 15, without a leading zero. 0 if it is anything else. */
static uint8_t
window_bits(const parameter *found)
{
    const uint8_t *value = found->value;
    if (found->value_size == 1 && (value[0] == '8' || value[0] == '9')) {
        return (uint8_t)(value[0] - '0');
    }
    if (found->value_size == 2 && value[0] == '1' && value[1] >= '0' && value[1] <= '5') {
        return (uint8_t)(10 + value[1] - '0');
    }
    return 0;
}

/* Adds a parameter to the offer; false if it makes the offer an invalid one. */
static bool
add_parameter(deflate_offer *offer, const parameter *found)
{
    size_t i = 0;
    while (!ws_slice_equals(found->name, parameters[i].name)) {
        if (++i == sizeof parameters / sizeof *parameters) {
            return false;
        }
    }
    const uint8_t bit = parameters[i].bit;
    if ((offer->has & bit) != 0 || (found->has_value && !parameters[i].may_have_value) ||
        (!found->has_value && parameters[i].must_have_value)) {
        return false;
    }
    offer->has |= bit;
    const uint8_t bits = found->has_value ? window_bits(found) : WS_WINDOW_BITS_MAX;
    if (bit == SERVER_MAX_WINDOW_BITS) {
        offer->server_bits = bits;
    }
    if (bit == CLIENT_MAX_WINDOW_BITS) {
        offer->client_bits = bits;
    }
    return !parameters[i].may_have_value || bits != 0;
}

/* True when the element is a valid offer of permessage-deflate. */
static bool
read_offer(ws_slice in, deflate_offer *offer)
{
    ws_slice name;
    *offer = (deflate_offer){0};
    if (!take_token(&in, &name) || !ws_slice_equals(name, "permessage-deflate")) {
        return false;
    }
    for (;;) {
        skip_blanks(&in);
        if (in.size == 0) {
            return true;
        }
        parameter found = {0};
        if (!take_byte(&in, ';') || !take_token(&in, &found.name) ||
            (take_byte(&in, '=') && !take_value(&in, &found)) || !add_parameter(offer, &found)) {
            return false;
        }
    }
}

/* --- Answering ------------------------------------------------------------------------------- */

static uint8_t
smaller(uint8_t a, uint8_t b)
{
    return a < b ? a : b;
}

/* What a valid offer comes to; false where it asks for what cannot be given. */
static bool
agree(const ws_deflate_config *config, const deflate_offer *offer, ws_deflate_params *params)
{
    const bool server_limited = (offer->has & SERVER_MAX_WINDOW_BITS) != 0;
    const bool client_limited = (offer->has & CLIENT_MAX_WINDOW_BITS) != 0;
    if (server_limited && offer->server_bits < WS_WINDOW_BITS_MIN) {
        return false;
    }
    params->server_window_bits = server_limited
                                     ? smaller(config->server_max_window_bits, offer->server_bits)
                                     : config->server_max_window_bits;
    params->client_window_bits = client_limited
                                     ? smaller(config->client_max_window_bits, offer->client_bits)
                                     : WS_WINDOW_BITS_MAX;
    params->server_no_context_takeover =
        config->server_no_context_takeover || (offer->has & SERVER_NO_CONTEXT_TAKEOVER) != 0;
    params->client_no_context_takeover =
        config->client_no_context_takeover || (offer->has & CLIENT_NO_CONTEXT_TAKEOVER) != 0;
    return true;
}

static size_t
put_text(uint8_t *dst, size_t at, const char *text)
{
    const size_t size = strlen(text);
    memcpy(dst + at, text, size);
    return at + size;
}

static size_t
put_window_bits(uint8_t *dst, size_t at, const char *name, uint8_t bits)
{
    at = put_text(dst, at, name);
    if (bits >= 10) {
        dst[at++] = '1';
    }
    dst[at++] = (uint8_t)('0' + bits % 10);
    return at;
}

static size_t
write_response(const deflate_offer *offer, const ws_deflate_params *params, uint8_t *dst)
{
    size_t at = put_text(dst, 0, "permessage-deflate");
    if ((offer->has & SERVER_NO_CONTEXT_TAKEOVER) != 0) {
        at = put_text(dst, at, "; server_no_context_takeover");
    }
    if (params->client_no_context_takeover) {
        at = put_text(dst, at, "; client_no_context_takeover");
    }
    if ((offer->has & SERVER_MAX_WINDOW_BITS) != 0) {
        at = put_window_bits(dst, at, "; server_max_window_bits=", params->server_window_bits);
    }
    /* 15 is what holds without being said. */
    if ((offer->has & CLIENT_MAX_WINDOW_BITS) != 0 &&
        params->client_window_bits < WS_WINDOW_BITS_MAX) {
        at = put_window_bits(dst, at, "; client_max_window_bits=", params->client_window_bits);
    }
    return at;
}

ws_extension
ws_extension_negotiate(const ws_deflate_config *config, const ws_slice *values, size_t count,
                       ws_deflate_params *params, uint8_t *dst, size_t *size)
{
    size_t offers = 0;
    for (size_t i = 0; config->enabled && i < count; i++) {
        ws_slice rest = values[i];
        ws_slice element;
        while (offers < WS_EXTENSION_OFFERS_MAX && ws_list_next(&rest, &element)) {
            deflate_offer offer;
            offers++;
            if (read_offer(element, &offer) && agree(config, &offer, params)) {
                *size = write_response(&offer, params, dst);
                return WS_EXTENSION_DEFLATE;
            }
        }
    }
    return WS_EXTENSION_NONE;
}
