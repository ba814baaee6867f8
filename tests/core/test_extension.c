/* Negotiation of permessage-deflate: offers valid, invalid, quoted, several, twice; the exact
 * bytes of the response and the parameters that hold.
 *
 * A row gives up to three header values. The values and the room for the response end at guard
 * pages. */
#define _DEFAULT_SOURCE

#include "extension.h"
#include "check.h"
#include "guard.h"

#define VALUES_MAX 3
#define DEFLATE "permessage-deflate"

static guarded areas[VALUES_MAX];
static guarded response_area;

/* What the response must be, or NULL, and the parameters as "server bits/client bits" with an
 * 's' and a 'c' for no context takeover. */
typedef struct {
    const char *response;
    const char *params;
    const char *values[VALUES_MAX];
} row;

static const ws_deflate_config plain = {true, 15, 15, false, false};
static const ws_deflate_config limited = {true, 12, 11, false, false};
static const ws_deflate_config without_takeover = {true, 15, 15, true, true};

static void
check_row(const ws_deflate_config *config, const row *expected)
{
    ws_slice values[VALUES_MAX];
    size_t count = 0;
    while (count < VALUES_MAX && expected->values[count] != NULL) {
        const size_t n = strlen(expected->values[count]);
        values[count] = (ws_slice){areas[count].end - n, n};
        memcpy(areas[count].end - n, expected->values[count], n);
        count++;
    }
    uint8_t *dst = response_area.end - WS_EXTENSION_RESPONSE_MAX;
    char response[WS_EXTENSION_RESPONSE_MAX + 1] = "";
    char params[16] = "";
    ws_deflate_params agreed;
    size_t size = 0;
    if (ws_extension_negotiate(config, values, count, &agreed, dst, &size) ==
        WS_EXTENSION_DEFLATE) {
        CHECK(size > 0 && size <= WS_EXTENSION_RESPONSE_MAX);
        memcpy(response, dst, size);
        response[size] = '\0';
        snprintf(params, sizeof params, "%d/%d%s%s", agreed.server_window_bits,
                 agreed.client_window_bits, agreed.server_no_context_takeover ? "s" : "",
                 agreed.client_no_context_takeover ? "c" : "");
    }
    const bool declined = expected->response == NULL;
    const bool same = strcmp(response, declined ? "" : expected->response) == 0 &&
                      strcmp(params, declined ? "" : expected->params) == 0;
    CHECK(same);
    if (!same) {
        fprintf(stderr, "  offer    %s\n  response %s (%s)\n",
                count > 0 ? expected->values[0] : "none", response, params);
    }
}

static void
check_rows(const ws_deflate_config *config, const row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        check_row(config, &rows[i]);
    }
}

#define CHECK_ROWS(config, rows) check_rows(config, rows, sizeof(rows) / sizeof *(rows))
#define DECLINED(offer) {NULL, NULL, {offer}}

static void
test_accepted(void)
{
    static const row rows[] = {
        {DEFLATE, "15/15", {DEFLATE}},
        {DEFLATE, "15/15", {"  permessage-deflate\t"}},
        {DEFLATE, "15/15", {"PerMessage-DEFLATE"}},
        {DEFLATE, "15/15", {DEFLATE "; client_max_window_bits"}},
        {DEFLATE, "15/15", {DEFLATE "; client_max_window_bits=15"}},
        {DEFLATE "; client_max_window_bits=10", "15/10", {DEFLATE "; client_max_window_bits=10"}},
        {DEFLATE "; client_max_window_bits=8", "15/8", {DEFLATE "; client_max_window_bits=8"}},
        {DEFLATE "; server_max_window_bits=15", "15/15", {DEFLATE "; server_max_window_bits=15"}},
        {DEFLATE "; server_max_window_bits=9", "9/15", {DEFLATE "; server_max_window_bits=9"}},
        {DEFLATE "; server_max_window_bits=10", "10/15",
         {DEFLATE ";server_max_window_bits=10;client_max_window_bits"}},
        {DEFLATE "; server_no_context_takeover", "15/15s",
         {DEFLATE "; server_no_context_takeover"}},
        {DEFLATE "; client_no_context_takeover", "15/15c",
         {DEFLATE "; client_no_context_takeover"}},
        {DEFLATE "; server_no_context_takeover; client_no_context_takeover"
                 "; server_max_window_bits=14; client_max_window_bits=13",
         "14/13sc",
         {DEFLATE "; client_max_window_bits=13; server_max_window_bits=14"
                  "; client_no_context_takeover; server_no_context_takeover"}},
        {DEFLATE "; server_max_window_bits=10", "10/15",
         {DEFLATE " ;\tSERVER_Max_Window_Bits \t=  10  "}},
    };
    CHECK_ROWS(&plain, rows);
}

static void
test_quoted(void)
{
    static const row rows[] = {
        {DEFLATE "; server_max_window_bits=10", "10/15",
         {DEFLATE "; server_max_window_bits=\"10\""}},
        {DEFLATE "; server_max_window_bits=10", "10/15",
         {DEFLATE "; server_max_window_bits=\"1\\0\" "}},
        {DEFLATE "; client_max_window_bits=9", "15/9",
         {DEFLATE "; client_max_window_bits= \"\\9\";"
                  "client_max_window_bits, " DEFLATE "; client_max_window_bits=\"9\""}},
        DECLINED(DEFLATE "; server_max_window_bits=\"\""),
        DECLINED(DEFLATE "; server_max_window_bits=\"10"),
        DECLINED(DEFLATE "; server_max_window_bits=\"10\\"),
        DECLINED(DEFLATE "; server_max_window_bits=\"10\\\""),
        DECLINED(DEFLATE "; server_max_window_bits=\"10 \""),
        DECLINED(DEFLATE "; server_max_window_bits=\" 10\""),
        DECLINED(DEFLATE "; server_max_window_bits=\"10\"x"),
        DECLINED(DEFLATE "; server_max_window_bits=1\"0\""),
        DECLINED(DEFLATE "; \"server_max_window_bits\"=10"),
        DECLINED("\"permessage-deflate\""),
        /* What is quoted separates nothing. */
        {DEFLATE, "15/15", {"x; y=\"a, permessage-deflate; z, \", " DEFLATE}},
        DECLINED(DEFLATE "; x=\", permessage-deflate\""),
        DECLINED("x; y=\"\\\", permessage-deflate\""),
    };
    CHECK_ROWS(&plain, rows);
}

static void
test_declined(void)
{
    static const row rows[] = {
        {NULL, NULL, {NULL}},
        DECLINED(""),
        DECLINED(" , ,"),
        DECLINED("permessage-deflat"),
        DECLINED("permessage-deflate2"),
        DECLINED("permessage-bzip2"),
        DECLINED("x-webkit-deflate-frame"),
        DECLINED(DEFLATE ";"),
        DECLINED(DEFLATE "; ;client_max_window_bits"),
        DECLINED(DEFLATE " client_max_window_bits"),
        DECLINED(DEFLATE "=1"),
        DECLINED(DEFLATE "; =10"),
        DECLINED(DEFLATE "; unknown"),
        DECLINED(DEFLATE "; unknown=10"),
        DECLINED(DEFLATE "; server_max_window_bits"),
        DECLINED(DEFLATE "; server_max_window_bits="),
        DECLINED(DEFLATE "; server_max_window_bits=;"),
        DECLINED(DEFLATE "; client_max_window_bits="),
        DECLINED(DEFLATE "; server_no_context_takeover=1"),
        DECLINED(DEFLATE "; client_no_context_takeover=\"\""),
        DECLINED(DEFLATE "; server_no_context_takeover="),
        /* zlib cannot keep to 8. */
        DECLINED(DEFLATE "; server_max_window_bits=8"),
    };
    CHECK_ROWS(&plain, rows);
}

static void
test_window_sizes(void)
{
    static const char *const wrong[] = {"7",  "16", "0",  "08",  "010", "+9", "-9", "9.", "1",
                                        "1:", "1/", "20", "100", "115", "x",  "1x", "0x9"};
    static const char *const names[] = {"server_max_window_bits", "client_max_window_bits"};
    char offer[100];
    for (size_t name = 0; name < 2; name++) {
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
            snprintf(offer, sizeof offer, DEFLATE "; %s=%s", names[name], wrong[i]);
            check_row(&plain, &(const row)DECLINED(offer));
            snprintf(offer, sizeof offer, DEFLATE "; %s=\"%s\"", names[name], wrong[i]);
            check_row(&plain, &(const row)DECLINED(offer));
        }
        for (int bits = 9; bits <= 14; bits++) {
            char params[16];
            snprintf(offer, sizeof offer, DEFLATE "; %s=%d", names[name], bits);
            snprintf(params, sizeof params, name == 0 ? "%d/15" : "15/%d", bits);
            check_row(&plain, &(const row){offer, params, {offer}});
        }
    }
}

static void
test_twice(void)
{
    static const row rows[] = {
        DECLINED(DEFLATE "; server_no_context_takeover; server_no_context_takeover"),
        DECLINED(DEFLATE "; client_no_context_takeover; client_no_context_takeover"),
        DECLINED(DEFLATE "; client_max_window_bits; client_max_window_bits"),
        DECLINED(DEFLATE "; client_max_window_bits; Client_Max_Window_Bits=10"),
        DECLINED(DEFLATE "; server_max_window_bits=10; server_max_window_bits=10"),
        DECLINED(DEFLATE "; server_max_window_bits=10; server_max_window_bits=12"),
    };
    CHECK_ROWS(&plain, rows);
}

static void
test_several(void)
{
    static const row rows[] = {
        {DEFLATE "; server_max_window_bits=10", "10/15",
         {DEFLATE "; server_max_window_bits=10, " DEFLATE}},
        {DEFLATE, "15/15", {DEFLATE "; server_max_window_bits=8, " DEFLATE}},
        {DEFLATE, "15/15", {DEFLATE "; server_max_window_bits=16," DEFLATE "; u," DEFLATE}},
        {DEFLATE, "15/15", {"x-one, x-two; a=b; c, " DEFLATE}},
        {DEFLATE, "15/15", {"x-one", "x-two; a=\"b\"", DEFLATE}},
        {DEFLATE "; server_no_context_takeover", "15/15s",
         {"", DEFLATE "; server_no_context_takeover", DEFLATE}},
        {DEFLATE, "15/15", {DEFLATE "; client_max_window_bits=\"9", DEFLATE}},
        {DEFLATE, "15/15", {"=;\"\\, , ,", ",;,", ",, " DEFLATE " ,,"}},
    };
    CHECK_ROWS(&plain, rows);
}

static void
test_limits(void)
{
    static const row rows[] = {
        /* Only what is offered is answered. */
        {DEFLATE, "12/15", {DEFLATE}},
        {DEFLATE "; client_max_window_bits=11", "12/11", {DEFLATE "; client_max_window_bits"}},
        {DEFLATE "; client_max_window_bits=11", "12/11", {DEFLATE "; client_max_window_bits=13"}},
        {DEFLATE "; client_max_window_bits=10", "12/10", {DEFLATE "; client_max_window_bits=10"}},
        {DEFLATE "; server_max_window_bits=12", "12/15", {DEFLATE "; server_max_window_bits=15"}},
        {DEFLATE "; server_max_window_bits=12", "12/15", {DEFLATE "; server_max_window_bits=12"}},
        {DEFLATE "; server_max_window_bits=9", "9/15", {DEFLATE "; server_max_window_bits=9"}},
    };
    CHECK_ROWS(&limited, rows);
}

static void
test_without_takeover(void)
{
    static const row rows[] = {
        {DEFLATE "; client_no_context_takeover", "15/15sc", {DEFLATE}},
        {DEFLATE "; server_no_context_takeover; client_no_context_takeover", "15/15sc",
         {DEFLATE "; server_no_context_takeover"}},
    };
    CHECK_ROWS(&without_takeover, rows);
}

static void
test_disabled(void)
{
    const ws_deflate_config off = {false, 15, 15, false, false};
    check_row(&off, &(const row)DECLINED(DEFLATE));
}

/* The offers are counted over all headers, those of other extensions too. */
static void
test_offers_are_bounded(void)
{
    char many[WS_EXTENSION_OFFERS_MAX * 2 + 1] = "";
    for (size_t i = 0; i + 1 < WS_EXTENSION_OFFERS_MAX; i++) {
        strcat(many, "x,");
    }
    check_row(&plain, &(const row){DEFLATE, "15/15", {many, DEFLATE}});
    strcat(many, "x,");
    check_row(&plain, &(const row){NULL, NULL, {many, DEFLATE}});
}

/* Every prefix of an offer with everything in it: none reads too far, and none is accepted
 * that is not a valid offer itself. */
static void
test_prefixes(void)
{
    const char whole[] =
        DEFLATE " ; server_max_window_bits = \"1\\2\" ; client_max_window_bits=10";
    char cut[sizeof whole];
    size_t accepted = 0;
    for (size_t n = 0; n < sizeof whole; n++) {
        memcpy(cut, whole, n);
        const ws_slice value = {areas[0].end - n, n};
        ws_deflate_params params;
        size_t size;
        memcpy(areas[0].end - n, cut, n);
        accepted += ws_extension_negotiate(&plain, &value, 1, &params,
                                           response_area.end - WS_EXTENSION_RESPONSE_MAX,
                                           &size) == WS_EXTENSION_DEFLATE;
    }
    /* The name with and without a blank, the quoted value with and without one, the second
     * parameter without its value, and the whole; "=1" is no window size. */
    CHECK(accepted == 6);
}

int
main(void)
{
    for (size_t i = 0; i < VALUES_MAX; i++) {
        areas[i] = guarded_allocate(1);
    }
    response_area = guarded_allocate(1);
    RUN(test_accepted);
    RUN(test_quoted);
    RUN(test_declined);
    RUN(test_window_sizes);
    RUN(test_twice);
    RUN(test_several);
    RUN(test_limits);
    RUN(test_without_takeover);
    RUN(test_disabled);
    RUN(test_offers_are_bounded);
    RUN(test_prefixes);
    return check_finish();
}
