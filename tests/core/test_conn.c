/* The connection: every rule with input that keeps it and input that breaks it, in both roles.
 *
 * Most of it are vectors, which conn_vectors.h feeds whole, one byte at a time and cut at every
 * point. */
#define _DEFAULT_SOURCE

#include "conn_vectors.h"

/* Vectors */

static void
test_messages(void)
{
    static const test_vector vectors[] = {
        {"", 0, {{0}}},
        {"T{Hello} ", 0, {FRAME(0x81, "Hello")}},
        {"T{} ", 0, {FRAME(0x81, "")}},
        {"B{} ", 0, {FRAME(0x82, "")}},
        {"B{\\00\\FF\\80} ", 0, {FRAME(0x82, "\x00\xFF\x80")}},
        {"T{one} B{two} T{three} ", 0,
         {FRAME(0x81, "one"), FRAME(0x82, "two"), FRAME(0x81, "three")}},
        {"B{<125*a>} ", 0, {FILLED(0x82, 125)}},
        {"T{<126*a>} ", 0, {FILLED(0x81, 126)}},
        {"T{<65535*a>} ", 0, {FILLED(0x81, 65535)}},
        {"B{<65536*a>} T{next} ", 0, {FILLED(0x82, 65536), FRAME(0x81, "next")}},
    };
    CHECK_VECTORS(vectors);
}

static void
test_unfinished(void)
{
    static const test_vector vectors[] = {
        {"", 0, {{0x81, HEADER, NULL, 5}}},
        {"", 0, {{0x89, HEADER, NULL, 5}}},
        {"", 0, {{0x88, HEADER, NULL, 1}}},
        {"", 0, {{0x82, LONG, NULL, 1}}},
        {"T{Hel~ ", 0, {FRAME(0x01, "Hel")}},
        {"T{Hel~ ", 0, {FRAME(0x01, "Hel"), {0x80, HEADER, NULL, 2}}},
        {"T{~ ", 0, {FRAME(0x01, "")}},
        {"B{<9*a>~ ", 0, {FILLED(0x02, 9), {0x80, LONG, NULL, 1}}},
    };
    CHECK_VECTORS(vectors);
}

static void
test_fragments(void)
{
    static const test_vector vectors[] = {
        {"T{Hello} ", 0, {FRAME(0x01, "Hel"), FRAME(0x80, "lo")}},
        {"B{abcdef} ", 0,
         {FRAME(0x02, "abc"), FRAME(0x00, "d"), FRAME(0x00, "e"), FRAME(0x80, "f")}},
        {"T{} ", 0, {FRAME(0x01, ""), FRAME(0x00, ""), FRAME(0x80, "")}},
        {"T{x} ", 0, {FRAME(0x01, ""), FRAME(0x00, "x"), FRAME(0x80, "")}},
        {"B{x} T{y} ", 0, {FRAME(0x02, ""), FRAME(0x80, "x"), FRAME(0x81, "y")}},
        {"T{a} B{b} ", 0,
         {FRAME(0x01, "a"), FRAME(0x80, ""), FRAME(0x02, ""), FRAME(0x80, "b")}},
        {"!CONTINUATION ", 0, {FRAME(0x80, "x"), FRAME(0x81, "y")}},
        {"!CONTINUATION ", 0, {FRAME(0x00, "x")}},
        {"T{a} !CONTINUATION ", 0, {FRAME(0x81, "a"), FRAME(0x80, "x")}},
        {"T{ab} !CONTINUATION ", 0, {FRAME(0x01, "a"), FRAME(0x80, "b"), FRAME(0x00, "x")}},
        {"T{a~ !INTERLEAVED ", 0, {FRAME(0x01, "a"), FRAME(0x81, "x")}},
        {"T{a~ !INTERLEAVED ", 0, {FRAME(0x01, "a"), FRAME(0x01, "x")}},
        {"B{ab~ !INTERLEAVED ", 0, {FRAME(0x02, "a"), FRAME(0x00, "b"), FRAME(0x82, "x")}},
        {"T{~ !INTERLEAVED ", 0, {FRAME(0x01, ""), FRAME(0x82, "")}},
    };
    CHECK_VECTORS(vectors);
}

static void
test_control_frames(void)
{
    static const test_vector vectors[] = {
        {"ping() ", 0, {FRAME(0x89, "")}},
        {"pong() ", 0, {FRAME(0x8A, "")}},
        {"ping(Hello) pong(\\FF\\00) ", 0, {FRAME(0x89, "Hello"), FRAME(0x8A, "\xFF\x00")}},
        {"ping(<125*a>) pong(<125*a>) ", 0, {FILLED(0x89, 125), FILLED(0x8A, 125)}},
        {"T{ping(x) Hello} ", 0, {FRAME(0x01, "Hel"), FRAME(0x89, "x"), FRAME(0x80, "lo")}},
        {"T{ping(x) pong(y) Hello} ping(z) ", 0,
         {FRAME(0x01, ""), FRAME(0x89, "x"), FRAME(0x00, "Hel"), FRAME(0x8A, "y"),
          FRAME(0x80, "lo"), FRAME(0x89, "z")}},
        /* A ping between the halves of a character */
        {"T{ping(\\82) \\E2\\82\\AC} ", 0,
         {FRAME(0x01, "\xE2\x82"), FRAME(0x89, "\x82"), FRAME(0x80, "\xAC")}},
        /* Content is logged where its message ends or breaks off: here after the close. */
        {"T{close(1000,) Hel~ ", 0, {FRAME(0x01, "Hel"), FRAME(0x88, "\x03\xE8")}},
        {"T{Hel~ !OPCODE ", 0, {FRAME(0x01, "Hel"), FRAME(0x83, "x"), FRAME(0x80, "lo")}},
    };
    CHECK_VECTORS(vectors);
}

static void
test_headers(void)
{
    static const test_vector vectors[] = {
        {"!RSV ", 0, {FRAME(0xC1, "x"), FRAME(0x81, "y")}},
        {"!RSV ", 0, {FRAME(0xA1, "x")}},
        {"!RSV ", 0, {FRAME(0x91, "x")}},
        {"!RSV ", 0, {FRAME(0xC9, "")}},
        {"!RSV ", 0, {FRAME(0xC2, "")}},
        {"T{a~ !RSV ", 0, {FRAME(0x01, "a"), FRAME(0xC0, "x")}},
        {"!OPCODE ", 0, {FRAME(0x83, "")}},
        {"!OPCODE ", 0, {FRAME(0x87, "")}},
        {"!OPCODE ", 0, {FRAME(0x8B, "")}},
        {"T{a} !OPCODE ", 0, {FRAME(0x81, "a"), FRAME(0x8F, "")}},
        {"!FRAGMENTED ", 0, {FRAME(0x08, "\x03\xE8")}},
        {"!FRAGMENTED ", 0, {FRAME(0x09, "")}},
        {"!FRAGMENTED ", 0, {FRAME(0x0A, "x")}},
        {"!TOO_LONG ", 0, {FILLED(0x89, 126)}},
        {"!TOO_LONG ", 0, {FILLED(0x8A, 65536)}},
        {"!TOO_LONG ", 0, {FILLED(0x88, 126)}},
    };
    CHECK_VECTORS(vectors);
}

/* Headers that no frame of the vectors has: the bytes are given, for both roles. */
static void
check_raw(const char *bytes, size_t n, bool client, const char *expected)
{
    const test_vector vector = {expected, 0, {{0}}};
    const ws_conn_config config = {&plain, 0, client};
    memcpy(input, bytes, n);
    input_size = n;
    for (size_t cut = 0; cut <= n; cut++) {
        feed(&config, cut, 0, APART);
        check_log(&vector, client, "cut at", cut);
    }
    feed(&config, 0, 1, APART);
    check_log(&vector, client, "in steps of", 1);
}

#define CHECK_RAW(bytes, client, expected) check_raw(bytes, sizeof(bytes) - 1, client, expected)

static void
test_length_forms(void)
{
    CHECK_RAW("\x82\xFE\x00\x7D" "kkkk", false, "!FORM ");
    CHECK_RAW("\x82\x7E\x00\x7D", true, "!FORM ");
    CHECK_RAW("\x82\xFF\x00\x00\x00\x00\x00\x00\xFF\xFF" "kkkk", false, "!FORM ");
    CHECK_RAW("\x82\x7F\x00\x00\x00\x00\x00\x00\xFF\xFF", true, "!FORM ");
    CHECK_RAW("\x82\xFF\x80\x00\x00\x00\x00\x00\x00\x00" "kkkk", false, "!RANGE ");
    CHECK_RAW("\x82\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", true, "!RANGE ");
    /* Without a limit the largest message is one that size_t can count. */
    const char *largest = SIZE_MAX < INT64_MAX ? "!TOO_BIG " : "";
    CHECK_RAW("\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF" "kkkk", false, largest);
    CHECK_RAW("\x82\x7F\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF", true, largest);
}

static void
test_masking(void)
{
    static const test_frame frames[] = {
        {0x81, MASK_WRONG, "Hello", 5}, {0x82, MASK_WRONG, "", 0}, {0x89, MASK_WRONG, "x", 1},
        {0x88, MASK_WRONG, "", 0},      {0x82, MASK_WRONG, NULL, 70000}};
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
        test_vector vector = {"T{a} !NOT_MASKED ", 0, {FRAME(0x81, "a"), frames[i]}};
        check_vector_as(&vector, false);
        vector.log = "T{a} !MASKED ";
        check_vector_as(&vector, true);
    }
    /* Section 5.7, to the byte; a key of zero masks as well. */
    CHECK_RAW("\x81\x85\x37\xFA\x21\x3D\x7F\x9F\x4D\x51\x58", false, "T{Hello} ");
    CHECK_RAW("\x81\x05Hello", true, "T{Hello} ");
    CHECK_RAW("\x81\x85\x00\x00\x00\x00Hello", false, "T{Hello} ");
    CHECK_RAW("\x81\x85\x00\x00\x00\x00Hello", true, "!MASKED ");
}

static void
test_limit(void)
{
    static const test_vector vectors[] = {
        {"T{Hello} ", 5, {FRAME(0x81, "Hello")}},
        {"!TOO_BIG ", 5, {FRAME(0x81, "Hello!")}},
        {"!TOO_BIG ", 5, {{0x81, HEADER, NULL, 6}}},
        {"!TOO_BIG ", 5, {{0x82, LONG, NULL, 1}}},
        {"!TOO_BIG ", SIZE_MAX / 2 - 1, {{0x82, LONG, NULL, 1}}},
        {"", SIZE_MAX / 2, {{0x82, LONG, NULL, 1}}},
        {"B{abcde} ", 5, {FRAME(0x02, "abc"), FRAME(0x80, "de")}},
        {"B{abc~ !TOO_BIG ", 5, {FRAME(0x02, "abc"), FRAME(0x80, "def")}},
        {"B{abcde} ", 5, {FRAME(0x02, "abc"), FRAME(0x00, "de"), FRAME(0x80, "")}},
        {"B{abcde~ !TOO_BIG ", 5, {FRAME(0x02, "abc"), FRAME(0x00, "de"), FRAME(0x80, "f")}},
        {"B{abc~ !TOO_BIG ", SIZE_MAX / 2, {FRAME(0x02, "abc"), {0x80, LONG, NULL, 1}}},
        /* Each message counts for itself, and control frames not at all. */
        {"T{abcde} B{fghij} T{klmno} ", 5,
         {FRAME(0x81, "abcde"), FRAME(0x02, "fgh"), FRAME(0x80, "ij"), FRAME(0x81, "klmno")}},
        {"T{ping(123456) abcde} ", 5,
         {FRAME(0x01, "abc"), FRAME(0x89, "123456"), FRAME(0x80, "de")}},
        {"B{<65536*a>} ", 65536, {FILLED(0x82, 65536)}},
        {"!TOO_BIG ", 65535, {FILLED(0x82, 65536)}},
        {"T{} B{x} !TOO_BIG ", 1, {FRAME(0x81, ""), FRAME(0x82, "x"), FRAME(0x81, "yz")}},
    };
    CHECK_VECTORS(vectors);
}

static void
test_text(void)
{
    static const test_vector vectors[] = {
        {"T{\\CE\\BA\\F0\\9F\\98\\80 ok} ", 0, {FRAME(0x81, "\xCE\xBA\xF0\x9F\x98\x80 ok")}},
        {"T{\\F0\\9F\\98\\80} ", 0,
         {FRAME(0x01, "\xF0"), FRAME(0x00, "\x9F"), FRAME(0x00, ""), FRAME(0x00, "\x98"),
          FRAME(0x80, "\x80")}},
        {"T{~ !UTF8 ", 0, {FRAME(0x81, "\x80")}},
        {"T{~ !UTF8 ", 0, {FRAME(0x81, "ok \xED\xA0\x80 not"), FRAME(0x81, "x")}},
        {"T{~ !UTF8 ", 0, {FRAME(0x01, "ok"), FRAME(0x00, "\xFF"), FRAME(0x80, "ok")}},
        /* ASCII after a character that is not complete */
        {"T{~ !UTF8 ", 0, {FRAME(0x01, "\xE2\x82"), FRAME(0x80, "a")}},
        {"T{~ !UTF8 ", 0, {FRAME(0x01, "\xE2\x82"), FRAME(0x00, "a"), FRAME(0x80, "\xAC")}},
        /* The end inside a character */
        {"T{~ !UTF8 ", 0, {FRAME(0x81, "ok\xE2\x82")}},
        {"T{~ !UTF8 ", 0, {FRAME(0x01, "ok\xE2\x82"), FRAME(0x80, "")}},
        {"T{\\E2\\82~ ", 0, {FRAME(0x01, "\xE2\x82"), FRAME(0x00, "")}},
        /* The state does not reach into the next message, nor binary into the state. */
        {"T{\\C3\\A9} T{a} ", 0, {FRAME(0x81, "\xC3\xA9"), FRAME(0x81, "a")}},
        {"B{\\C3} T{a} ", 0, {FRAME(0x82, "\xC3"), FRAME(0x81, "a")}},
        {"B{\\C3(} ", 0, {FRAME(0x02, "\xC3"), FRAME(0x80, "(")}},
    };
    CHECK_VECTORS(vectors);
}

/* A message with a bad byte fails with the piece that has it, although its end is not there. */
static void
test_text_fails_early(void)
{
    static const char bytes[] = "\x81\x0Aok \xED\xA0";
    const ws_conn_config config = {&plain, 0, true};
    input_size = sizeof bytes - 1;
    memcpy(input, bytes, input_size);
    feed(&config, input_size, 0, APART);
    CHECK(strcmp(log_text, "T{~ !UTF8 ") == 0);
    input_size--;
    feed(&config, input_size, 0, APART);
    CHECK(strcmp(log_text, "T{ok \\ED~ ") == 0);
}

/* A message given up half-way by the caller leaves nothing behind for the next. */
static void
test_text_not_taken(void)
{
    static const uint8_t data[] = {0x01, 1, 0xC3, 0x80, 1, 0xA9, 0x81, 1, 'a'};
    ws_conn conn;
    ws_event event;
    size_t consumed;
    uint8_t dst;
    ws_conn_init(&conn, &(ws_conn_config){&plain, 0, true});
    CHECK(ws_conn_next(&conn, data, 9, &consumed, &event) > 0 && consumed == 3);
    CHECK(ws_conn_take(&conn, &event, &dst) == 0);
    CHECK(ws_conn_next(&conn, data + 3, 6, &consumed, &event) > 0 && event.end);
    CHECK(ws_conn_next(&conn, data + 6, 3, &consumed, &event) > 0 && event.begin);
    CHECK(ws_conn_take(&conn, &event, &dst) == 0 && dst == 'a');
}

static void
test_close(void)
{
    static const test_vector vectors[] = {
        {"close(1005,) ", 0, {FRAME(0x88, "")}},
        {"close(1000,) ", 0, {FRAME(0x88, "\x03\xE8")}},
        {"close(1001,bye) ", 0, {FRAME(0x88, "\x03\xE9" "bye")}},
        {"close(4999,\\C3\\A9) ", 0, {FRAME(0x88, "\x13\x87\xC3\xA9")}},
        /* Inert from here on: neither events nor errors */
        {"close(1000,) ", 0,
         {FRAME(0x88, "\x03\xE8"), FRAME(0x81, "x"), FRAME(0x89, ""), FRAME(0xFF, "")}},
        {"T{a} close(1000,) ", 0, {FRAME(0x81, "a"), FRAME(0x88, "\x03\xE8"), FRAME(0x88, "")}},
        {"!CLOSE_LENGTH ", 0, {FRAME(0x88, "\x03"), FRAME(0x81, "x")}},
        {"!CLOSE_CODE ", 0, {FRAME(0x88, "\x03\xED")}},
        {"!CLOSE_CODE ", 0, {FRAME(0x88, "\x00\x00 why")}},
        {"!CLOSE_REASON ", 0, {FRAME(0x88, "\x03\xE8\xFF")}},
        {"!CLOSE_REASON ", 0, {FRAME(0x88, "\x03\xE8" "cut \xE2\x82"), FRAME(0x81, "x")}},
    };
    CHECK_VECTORS(vectors);
}

static void
test_close_longest_reason(void)
{
    char payload[WS_CONTROL_PAYLOAD_MAX];
    memset(payload, 'r', sizeof payload);
    payload[0] = 0x03;
    payload[1] = (char)0xE8;
    const test_vector vector = {"close(1000,<123*r>) ", 0,
                           {{0x88, SHORTEST, payload, sizeof payload}}};
    check_vectors(&vector, 1);
}

static bool
expected_code(uint32_t code)
{
    switch (code) {
    case 1000:
    case 1001:
    case 1002:
    case 1003:
    case 1007:
    case 1008:
    case 1009:
    case 1010:
    case 1011:
    case 1012:
    case 1013:
    case 1014:
        return true;
    default:
        return code / 1000 == 3 || code / 1000 == 4;
    }
}

static void
test_close_codes(void)
{
    const ws_conn_config config = {&plain, 0, true};
    for (uint32_t code = 0; code <= 0x10000; code++) {
        CHECK(ws_close_code_valid(code) == expected_code(code));
    }
    CHECK(!ws_close_code_valid(UINT32_MAX) && !ws_close_code_valid(0x10000 + 1000));
    for (uint32_t code = 0; code <= 0xFFFF; code++) {
        const uint8_t data[4] = {0x88, 2, (uint8_t)(code >> 8), (uint8_t)code};
        ws_conn conn;
        ws_event event;
        size_t consumed;
        ws_conn_init(&conn, &config);
        const int result = ws_conn_next(&conn, data, 4, &consumed, &event);
        CHECK(consumed == 4);
        CHECK(expected_code(code) ? result > 0 && event.close_code == code
                                  : result == WS_ERROR_CLOSE_CODE);
    }
}

/* Replies and our close: to the byte */

static ws_conn
new_conn(bool client)
{
    ws_conn conn;
    ws_conn_init(&conn, &(ws_conn_config){&plain, 0, client});
    return conn;
}

/* The first event of a vector's frames, which has to be there. */
static ws_event
first_event(ws_conn *conn, const test_frame *frame, bool client)
{
    ws_event event;
    size_t consumed = 0;
    input_size = 0;
    put_frame(frame, client, 0);
    CHECK(ws_conn_next(conn, input, input_size, &consumed, &event) > 0);
    CHECK(consumed == input_size);
    return event;
}

/* Room for exactly one control frame, so that a byte more would fault. */
static uint8_t *
reply_room(void)
{
    return output_area.end - WS_CONTROL_FRAME_MAX;
}

static void
check_reply(const test_frame *frame, bool client, const char *expected, size_t n)
{
    ws_conn conn = new_conn(client);
    const ws_event event = first_event(&conn, frame, client);
    uint8_t *dst = reply_room();
    CHECK(ws_conn_reply(&conn, &event, key_of("\x37\xFA\x21\x3D"), dst) == n);
    CHECK(memcmp(dst, expected, n) == 0);
}

#define CHECK_REPLY(first, payload, client, expected)                                             \
    check_reply(&(const test_frame)FRAME(first, payload), client, expected, sizeof(expected) - 1)

static void
test_replies(void)
{
    CHECK_REPLY(0x89, "Hello", false, "\x8A\x05Hello");
    CHECK_REPLY(0x89, "", false, "\x8A\x00");
    CHECK_REPLY(0x89, "Hello", true, "\x8A\x85\x37\xFA\x21\x3D\x7F\x9F\x4D\x51\x58");
    CHECK_REPLY(0x89, "", true, "\x8A\x80\x37\xFA\x21\x3D");
    CHECK_REPLY(0x8A, "Hello", false, "");
    CHECK_REPLY(0x81, "Hello", false, "");
    CHECK_REPLY(0x88, "", false, "\x88\x00");
    CHECK_REPLY(0x88, "\x03\xE9" "bye", false, "\x88\x02\x03\xE9");
    CHECK_REPLY(0x88, "", true, "\x88\x80\x37\xFA\x21\x3D");
    CHECK_REPLY(0x88, "\x03\xE9" "bye", true, "\x88\x82\x37\xFA\x21\x3D\x34\x13");
    char longest[WS_CONTROL_PAYLOAD_MAX + 2] = "\x8A\x7D";
    memset(longest + 2, 'a', WS_CONTROL_PAYLOAD_MAX);
    check_reply(&(const test_frame)FILLED(0x89, 125), false, longest, sizeof longest);
}

static void
test_close_is_sent_once(void)
{
    uint8_t *dst = reply_room();
    ws_conn conn = new_conn(false);
    ws_event event = first_event(&conn, &(const test_frame)FRAME(0x88, "\x03\xE8"), false);
    CHECK(ws_conn_reply(&conn, &event, 0, dst) == 4);
    CHECK(ws_conn_reply(&conn, &event, 0, dst) == 0);
    CHECK(ws_conn_close(&conn, 1000, NULL, 0, 0, dst) == 0);

    conn = new_conn(false);
    CHECK(ws_conn_close(&conn, 1001, NULL, 0, 0, dst) == 4);
    CHECK(memcmp(dst, "\x88\x02\x03\xE9", 4) == 0);
    CHECK(ws_conn_close(&conn, 1001, NULL, 0, 0, dst) == 0);
    /* Events still come: data, pings that want their pong, and the close, which wants no echo. */
    event = first_event(&conn, &(const test_frame)FRAME(0x81, "x"), false);
    CHECK(event.type == WS_EVENT_DATA && event.length == 1);
    event = first_event(&conn, &(const test_frame)FRAME(0x89, "x"), false);
    CHECK(ws_conn_reply(&conn, &event, 0, dst) == 3 && memcmp(dst, "\x8A\x01x", 3) == 0);
    event = first_event(&conn, &(const test_frame)FRAME(0x88, "\x03\xE9"), false);
    CHECK(event.type == WS_EVENT_CLOSE && event.close_code == 1001);
    CHECK(ws_conn_reply(&conn, &event, 0, dst) == 0);
}

static void
check_close(bool client, uint16_t code, const char *reason, size_t reason_size,
            const char *expected, size_t n)
{
    ws_conn conn = new_conn(client);
    uint8_t *dst = reply_room();
    uint8_t *copy = input_area.end - reason_size;
    memcpy(copy, reason, reason_size);
    CHECK(ws_conn_close(&conn, code, copy, reason_size, key_of("\x37\xFA\x21\x3D"), dst) == n);
    CHECK(memcmp(dst, expected, n) == 0);
}

static void
test_close_frames(void)
{
    check_close(false, 0, "", 0, "\x88\x00", 2);
    check_close(false, 0, "unused", 6, "\x88\x00", 2);
    check_close(false, 1000, "", 0, "\x88\x02\x03\xE8", 4);
    check_close(false, 4999, "bye", 3, "\x88\x05\x13\x87" "bye", 7);
    check_close(true, 0, "", 0, "\x88\x80\x37\xFA\x21\x3D", 6);
    check_close(true, 1000, "ab", 2, "\x88\x84\x37\xFA\x21\x3D\x34\x12\x40\x5F", 10);
}

/* A reason of `before` letters and one character; `kept` bytes of it must be sent. */
static void
check_cut(size_t before, const char *character, size_t after, size_t kept)
{
    char reason[200];
    char expected[4 + WS_CLOSE_REASON_MAX] = "\x88";
    const size_t size = before + strlen(character) + after;
    memset(reason, 'r', sizeof reason);
    memcpy(reason + before, character, strlen(character));
    expected[1] = (char)(2 + kept);
    expected[2] = 0x03;
    expected[3] = (char)0xF3;
    memcpy(expected + 4, reason, kept);
    check_close(false, 1011, reason, size, expected, 4 + kept);
}

static void
test_reason_is_cut(void)
{
    check_cut(122, "r", 0, 123);
    check_cut(123, "r", 0, 123);
    check_cut(100, "r", 99, 123);
    check_cut(121, "\xC3\xA9", 0, 123);
    check_cut(121, "\xC3\xA9", 9, 123);
    check_cut(122, "\xC3\xA9", 0, 122);
    check_cut(123, "\xC3\xA9", 0, 123);
    check_cut(120, "\xE2\x82\xAC", 5, 123);
    check_cut(121, "\xE2\x82\xAC", 0, 121);
    check_cut(122, "\xE2\x82\xAC", 5, 122);
    check_cut(119, "\xF0\x9F\x98\x80", 1, 123);
    check_cut(120, "\xF0\x9F\x98\x80", 0, 120);
    check_cut(121, "\xF0\x9F\x98\x80", 0, 121);
    check_cut(122, "\xF0\x9F\x98\x80", 1, 122);
    check_cut(123, "\xF0\x9F\x98\x80", 1, 123);
    /* Not UTF-8, so no boundary at all */
    char continuations[131] = "";
    memset(continuations, 0x80, 130);
    check_cut(0, continuations, 0, 0);
}

static void
test_fail_makes_inert(void)
{
    ws_conn conn = new_conn(true);
    ws_event event;
    size_t consumed = UNMARKED;
    const uint8_t data[] = {0x82, 0x05, 'a', 'b'};
    CHECK(ws_conn_next(&conn, data, sizeof data, &consumed, &event) > 0);
    CHECK(ws_conn_frame_left(&conn) == 3 && event.frame_left == 3 && event.length == 2);
    ws_conn_fail(&conn);
    CHECK(ws_conn_frame_left(&conn) == 0);
    CHECK(ws_conn_next(&conn, data, sizeof data, &consumed, &event) == 0);
    CHECK(consumed == sizeof data);
    /* The reason can still be told. */
    CHECK(ws_conn_close(&conn, 1002, NULL, 0, 0, reply_room()) == 8);
}

/* Headers are consumed at once and empty input is harmless, inside a frame as well. */
static void
test_header_without_payload(void)
{
    ws_conn conn = new_conn(true);
    ws_event event;
    size_t consumed = UNMARKED;
    CHECK(ws_conn_next(&conn, NULL, 0, &consumed, &event) == 0 && consumed == 0);
    CHECK(ws_conn_next(&conn, (const uint8_t *)"\x01\x03", 2, &consumed, &event) == 0);
    CHECK(consumed == 2 && ws_conn_frame_left(&conn) == 3);
    consumed = UNMARKED;
    CHECK(ws_conn_next(&conn, NULL, 0, &consumed, &event) == 0 && consumed == 0);
    CHECK(ws_conn_next(&conn, (const uint8_t *)"abc\x80", 4, &consumed, &event) > 0);
    CHECK(consumed == 3 && event.begin && !event.end && !event.fin && event.length == 3);
    CHECK(ws_conn_frame_left(&conn) == 0);
    CHECK(ws_conn_next(&conn, (const uint8_t *)"\x80", 1, &consumed, &event) == 0);
    CHECK(consumed == 0);
    CHECK(ws_conn_next(&conn, (const uint8_t *)"\x80\x00", 2, &consumed, &event) > 0);
    CHECK(consumed == 2 && !event.begin && event.end && event.fin && event.length == 0);
    /* A control frame stays unconsumed until it is whole. */
    CHECK(ws_conn_next(&conn, (const uint8_t *)"\x89\x02x", 3, &consumed, &event) == 0);
    CHECK(consumed == 0);
}

static void
test_compressed(void)
{
    static const test_vector vectors[] = {
        {"TZ{\\F2H\\CD\\C9\\C9\\07\\00} T{plain} BZ{\\00} ", 0,
         {FRAME(0xC1, "\xF2\x48\xCD\xC9\xC9\x07\x00"), FRAME(0x81, "plain"), FRAME(0xC2, "\x00")}},
        {"TZ{abc} ", 0, {FRAME(0x41, "a"), FRAME(0x00, "b"), FRAME(0x80, "c")}},
        {"TZ{ping(p) pong() ab} ", 0,
         {FRAME(0x41, "a"), FRAME(0x89, "p"), FRAME(0x8A, ""), FRAME(0x80, "b")}},
        {"BZ{} B{x} ", 0, {FRAME(0x42, ""), FRAME(0x80, ""), FRAME(0x82, "x")}},
        /* RSV1 means nothing where no message begins. */
        {"TZ{a~ !RSV ", 0, {FRAME(0x41, "a"), FRAME(0xC0, "b")}},
        {"T{a~ !RSV ", 0, {FRAME(0x01, "a"), FRAME(0xC0, "b")}},
        {"!RSV ", 0, {FRAME(0xC0, "a")}},
        {"!RSV ", 0, {FRAME(0xC9, "")}},
        {"!RSV ", 0, {FRAME(0xC8, "")}},
        {"!RSV ", 0, {FRAME(0xE1, "")}},
        {"!RSV ", 0, {FRAME(0xD2, "")}},
        {"TZ{a~ !INTERLEAVED ", 0, {FRAME(0x41, "a"), FRAME(0xC1, "b")}},
        {"TZ{a~ !INTERLEAVED ", 0, {FRAME(0x41, "a"), FRAME(0x82, "b")}},
        /* Its bytes are not text; the next message's are again. */
        {"TZ{\\FF\\80} T{~ !UTF8 ", 0, {FRAME(0xC1, "\xFF\x80"), FRAME(0x81, "\xFF")}},
        {"TZ{\\E2\\82} T{\\C3\\A9} ", 0,
         {FRAME(0x41, "\xE2"), FRAME(0x80, "\x82"), FRAME(0x81, "\xC3\xA9")}},
    };
    allow_deflate = true;
    CHECK_VECTORS(vectors);
    allow_deflate = false;
}

/* A limit of 100 bytes lets in what 100 bytes may be compressed to, and no more: 177. */
static void
test_compressed_limit(void)
{
    static const test_vector vectors[] = {
        {"BZ{<177*a>} B{<100*a>} !TOO_BIG ", 100,
         {FILLED(0xC2, 177), FILLED(0x82, 100), FILLED(0x82, 101)}},
        {"!TOO_BIG ", 100, {FILLED(0xC2, 178)}},
        {"BZ{<177*a>} !TOO_BIG ", 100,
         {FILLED(0x42, 100), FILLED(0x80, 77), {0xC2, LONG, NULL, 1}}},
        {"TZ{<100*a>~ !TOO_BIG ", 100, {FILLED(0x41, 100), FILLED(0x80, 78)}},
        {"", 0, {{0xC2, LONG, NULL, 1}}},
    };
    allow_deflate = true;
    CHECK_VECTORS(vectors);
    allow_deflate = false;
}

/* Begins a compressed text message, and checks `text` as what it inflates to, with a cut. */
static int
check_inflated(const char *text, size_t cut)
{
    const size_t n = strlen(text);
    uint8_t *copy = output_area.end - n;
    size_t consumed;
    ws_event event;
    ws_conn conn = new_conn(true);
    ws_conn_allow_deflate(&conn);
    CHECK(ws_conn_next(&conn, (const uint8_t *)"\xC1\x01x", 3, &consumed, &event) > 0);
    CHECK(event.compressed && ws_conn_take(&conn, &event, output_area.begin) == 0);
    memcpy(copy, text, n);
    int error = ws_conn_check_text(&conn, copy, cut, false);
    if (error == 0) {
        error = ws_conn_check_text(&conn, copy + cut, n - cut, true);
    }
    CHECK(conn.failed == (error != 0));
    return error;
}

static void
test_inflated_text(void)
{
    static const char *const good[] = {"", "Hello", "\xC3\xA9",
                                       "\xE2\x82\xAC\xF0\x9F\x98\x80 after"};
    static const char *const bad[] = {"\xFF", "a\x80", "\xC3", "abc\xE2\x82",
                                      "\xED\xA0\x80 after"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        for (size_t cut = 0; cut <= strlen(good[i]); cut++) {
            CHECK(check_inflated(good[i], cut) == 0);
        }
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        for (size_t cut = 0; cut <= strlen(bad[i]); cut++) {
            CHECK(check_inflated(bad[i], cut) == WS_ERROR_UTF8);
        }
    }
}

static void
test_errors(void)
{
    const char *unknown = ws_error_text(0);
    for (int error = -1; error >= WS_ERROR_MEMORY; error--) {
        const char *text = ws_error_text(error);
        CHECK(strlen(text) > 0 && strlen(text) <= WS_CLOSE_REASON_MAX);
        CHECK(strcmp(text, unknown) != 0);
        for (int other = -1; other > error; other--) {
            CHECK(strcmp(text, ws_error_text(other)) != 0);
        }
        const bool data = error == WS_ERROR_UTF8 || error == WS_ERROR_CLOSE_REASON ||
                          error == WS_ERROR_DEFLATE || error == WS_ERROR_DEFLATE_CUT;
        const uint16_t code = error == WS_ERROR_TOO_BIG ? 1009
                              : error == WS_ERROR_MEMORY ? 1011
                              : data                    ? 1007
                                                        : 1002;
        CHECK(ws_error_close_code(error) == code);
    }
    CHECK(ws_error_close_code(1) == 1002);
    CHECK(strcmp(ws_error_text(WS_ERROR_MEMORY - 1), unknown) == 0);
}

int
main(void)
{
    input_area = guarded_allocate(INPUT_MAX / 4096 + 1);
    output_area = guarded_allocate(INPUT_MAX / 4096 + 1);
    RUN(test_messages);
    RUN(test_unfinished);
    RUN(test_fragments);
    RUN(test_control_frames);
    RUN(test_headers);
    RUN(test_length_forms);
    RUN(test_masking);
    RUN(test_limit);
    RUN(test_text);
    RUN(test_text_fails_early);
    RUN(test_text_not_taken);
    RUN(test_close);
    RUN(test_close_longest_reason);
    RUN(test_close_codes);
    RUN(test_replies);
    RUN(test_close_is_sent_once);
    RUN(test_close_frames);
    RUN(test_reason_is_cut);
    RUN(test_fail_makes_inert);
    RUN(test_header_without_payload);
    RUN(test_compressed);
    RUN(test_compressed_limit);
    RUN(test_inflated_text);
    RUN(test_errors);
    return check_finish();
}
