/* One table of options: what it sets, in which modes it is allowed, and its line in --help. */
#include "options.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { KIND_STRING, KIND_HEADER, KIND_COUNT, KIND_NUMBER, KIND_CONTENT, KIND_FLAG };

enum {
    ECHO = 1 << MODE_ECHO,
    GROUP = 1 << MODE_GROUP,
    STORM = 1 << MODE_STORM,
    IDLE = 1 << MODE_IDLE,
    SLOW = 1 << MODE_SLOW,
    BURST = 1 << MODE_BURST,
    ALL = ECHO | GROUP | STORM | IDLE | SLOW | BURST
};

struct known {
    const char *name, *argument, *help;
    enum kind kind;
    int modes;
    size_t offset;
    double low, high;
};

#define FIELD(name) offsetof(struct options, name)

static const struct known known[] = {
    {"port", "P", "port of the server (required)", KIND_STRING, ALL, FIELD(port), 0, 0},
    {"host", "A", "address of the server [127.0.0.1]", KIND_STRING, ALL, FIELD(host), 0, 0},
    {"path", "X", "request target [/]; {room} in it becomes the number of the room", KIND_STRING,
     ALL, FIELD(path), 0, 0},
    {"header", "LINE", "one more header of the handshake; may be repeated", KIND_HEADER, ALL, 0, 0,
     0},
    {"seconds", "S", "length of the measured window [5]", KIND_NUMBER, ALL, FIELD(seconds), 0,
     86400},
    {"warmup", "S", "load before the window [1; idle: 0]", KIND_NUMBER, ALL, FIELD(warmup), 0,
     86400},
    {"timeout", "S", "so long without progress is a failure [10]", KIND_NUMBER, ALL,
     FIELD(timeout), 0.01, 86400},
    {"grace", "S", "wait after the window for what is outstanding [5]", KIND_NUMBER,
     ECHO | GROUP | SLOW | BURST, FIELD(grace), 0, 86400},
    {"connections", "N", "connections open at once [1]", KIND_COUNT,
     ECHO | STORM | IDLE | SLOW | BURST, FIELD(connections), 1, 1e6},
    {"size", "BYTES", "payload of a message [32; group: 64]", KIND_COUNT,
     ECHO | GROUP | STORM | SLOW | BURST, FIELD(size), 0, 1 << 30},
    {"depth", "D", "messages in flight on a connection, of a sender in a group [1]", KIND_COUNT,
     ECHO | GROUP | SLOW, FIELD(depth), 1, 65536},
    {"rate", "R", "messages per second in total on a fixed schedule [closed loop; burst: 1000]",
     KIND_NUMBER, ECHO | GROUP | SLOW | BURST, FIELD(rate), 0.001, 1e8},
    {"text", NULL, "ASCII text (the default)", KIND_CONTENT, ECHO | STORM | SLOW | BURST,
     CONTENT_TEXT, 0, 0},
    {"unicode", NULL, "text that is mostly not ASCII", KIND_CONTENT, ECHO | STORM | SLOW | BURST,
     CONTENT_UNICODE, 0, 0},
    {"binary", NULL, "random bytes", KIND_CONTENT, ECHO | STORM | SLOW | BURST, CONTENT_BINARY, 0,
     0},
    {"json", NULL, "JSON documents that compress as real ones do", KIND_CONTENT,
     ECHO | STORM | SLOW | BURST, CONTENT_JSON, 0, 0},
    {"deflate", NULL, "permessage-deflate, which the server must accept", KIND_FLAG,
     ECHO | GROUP | SLOW, FIELD(deflate), 0, 0},
    {"window-bits", "B", "LZ77 window to offer for both directions [15]", KIND_COUNT,
     ECHO | GROUP | SLOW, FIELD(window_bits), 8, 15},
    {"members", "N", "connections, spread evenly over the rooms [10]", KIND_COUNT, GROUP,
     FIELD(connections), 1, 1e6},
    {"senders", "K", "members of each room that send [1]", KIND_COUNT, GROUP, FIELD(senders), 1,
     1e5},
    {"rooms", "M", "number of groups [1]", KIND_COUNT, GROUP, FIELD(rooms), 1, 1e5},
    {"settle", "S", "pause between the last handshake and the first message [0.2]", KIND_NUMBER,
     GROUP, FIELD(settle), 0, 3600},
    {"echo", NULL, "one echo in every cycle", KIND_FLAG, STORM, FIELD(echo), 0, 0},
    {"burst", "K", "connections that are opened at one time, and closed [100]", KIND_COUNT, BURST,
     FIELD(burst), 1, 1e5},
    {"every", "S", "time from one burst to the next [1]", KIND_NUMBER, BURST, FIELD(every), 0.01,
     3600},
    {"slow", "K", "connections that send and never read [1]", KIND_COUNT, SLOW, FIELD(slow), 1,
     1e5},
};

enum { KNOWN_COUNT = sizeof known / sizeof known[0] };

static const struct {
    const char *name, *help;
} modes[MODE_COUNT] = {
    [MODE_ECHO] = {"echo", "messages that the server sends back, every byte checked"},
    [MODE_GROUP] = {"group", "messages of a few members that reach all members of their room"},
    [MODE_STORM] = {"storm", "connect, upgrade, close, again"},
    [MODE_IDLE] = {"idle", "open many connections and hold them"},
    [MODE_SLOW] = {"slow", "echo beside connections that send and never read"},
    [MODE_BURST] = {"burst", "echo beside bursts of connections"},
};

const char *
mode_name(enum mode mode)
{
    return modes[mode].name;
}

__attribute__((noreturn, format(printf, 1, 2))) static void
wrong(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, args);
    fputs(" (see load --help)\n", stderr);
    va_end(args);
    exit(2);
}

__attribute__((noreturn)) static void
help(void)
{
    printf("usage: load MODE --port P [options]\n\nmodes:\n");
    for (int mode = 0; mode < MODE_COUNT; mode++) {
        printf("  %-8s %s\n", modes[mode].name, modes[mode].help);
    }
    printf("\noptions:\n");
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        char name[40];
        snprintf(name, sizeof name, "--%s %s", known[i].name,
                 known[i].argument ? known[i].argument : "");
        printf("  %-18s %s\n", name, known[i].help);
        if (known[i].modes != ALL) {
            printf("  %-18s  in", "");
            for (int mode = 0; mode < MODE_COUNT; mode++) {
                if ((known[i].modes & 1 << mode) != 0) {
                    printf(" %s", modes[mode].name);
                }
            }
            printf("\n");
        }
    }
    exit(0);
}

static double
parse_number(const struct known *option, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    bool whole = option->kind == KIND_COUNT;
    if (end == text || *end != '\0' || !(value >= option->low && value <= option->high)
        || (whole && value != (double)(size_t)value)) {
        wrong("--%s: expected a %snumber from %g to %.0f, got '%s'", option->name,
              whole ? "whole " : "", option->low, option->high, text);
    }
    return value;
}

static void
apply(struct options *options, const struct known *option, const char *text)
{
    char *field = (char *)options + option->offset;
    switch (option->kind) {
    case KIND_STRING: memcpy(field, &text, sizeof text); break;
    case KIND_HEADER:
        if (options->header_count == HEADERS_MAX || strchr(text, ':') == NULL
            || strpbrk(text, "\r\n") != NULL) {
            wrong("--header: expected 'Name: value', at most %d times, got '%s'", HEADERS_MAX,
                  text);
        }
        options->headers[options->header_count++] = text;
        break;
    case KIND_COUNT: {
        size_t count = (size_t)parse_number(option, text);
        memcpy(field, &count, sizeof count);
        break;
    }
    case KIND_NUMBER: {
        double number = parse_number(option, text);
        memcpy(field, &number, sizeof number);
        break;
    }
    case KIND_CONTENT: options->content = (enum content)option->offset; break;
    case KIND_FLAG: *(bool *)field = true; break;
    }
}

static const struct known *
find_option(const char *argument, size_t length)
{
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        if (strlen(known[i].name) == length && memcmp(known[i].name, argument, length) == 0) {
            return &known[i];
        }
    }
    wrong("unknown option '--%s'", argument);
}

static void
parse_option(struct options *options, int argc, char **argv, int *at)
{
    const char *argument = argv[(*at)++];
    if (strncmp(argument, "--", 2) != 0) {
        wrong("unexpected argument '%s'", argument);
    }
    argument += 2;
    size_t length = strcspn(argument, "=");
    const struct known *option = find_option(argument, length);
    if ((option->modes & 1 << options->mode) == 0) {
        wrong("--%s has no meaning in mode %s", option->name, mode_name(options->mode));
    }
    const char *value = argument[length] == '=' ? argument + length + 1 : NULL;
    if (option->argument == NULL && value != NULL) {
        wrong("--%s takes no value", option->name);
    }
    if (option->argument != NULL && value == NULL) {
        if (*at == argc) {
            wrong("--%s needs a value", option->name);
        }
        value = argv[(*at)++];
    }
    apply(options, option, value);
}

static void
check(const struct options *options)
{
    if (options->port == NULL) {
        wrong("--port is required");
    }
    if (options->path[0] != '/') {
        wrong("--path: expected a path that begins with '/', got '%s'", options->path);
    }
    if (options->window_bits != 0 && !options->deflate) {
        wrong("--window-bits needs --deflate");
    }
    if (options->content == CONTENT_JSON && options->size < JSON_SIZE_MIN) {
        wrong("--json: a document needs a --size of at least %d, got %zu", JSON_SIZE_MIN,
              options->size);
    }
    if (options->mode != MODE_GROUP) {
        return;
    }
    if (options->size < GROUP_SIZE_MIN) {
        wrong("--size: a group message needs at least %d bytes, got %zu", GROUP_SIZE_MIN,
              options->size);
    }
    if (options->rooms > 1 && strstr(options->path, "{room}") == NULL) {
        wrong("--rooms: the path must contain {room}, got '%s'", options->path);
    }
    if (options->connections / options->rooms < options->senders) {
        wrong("--senders: %zu in each of %zu rooms, but there are only %zu members",
              options->senders, options->rooms, options->connections);
    }
}

static enum mode
parse_mode(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            help();
        }
    }
    for (int mode = 0; argc > 1 && mode < MODE_COUNT; mode++) {
        if (strcmp(argv[1], modes[mode].name) == 0) {
            return (enum mode)mode;
        }
    }
    wrong("expected a mode (echo, group, storm, idle, slow, burst), got '%s'", argc > 1 ? argv[1] : "");
}

void
options_parse(struct options *options, int argc, char **argv)
{
    enum mode mode = parse_mode(argc, argv);
    *options = (struct options){.mode = mode,
                                .host = "127.0.0.1",
                                .path = "/",
                                .connections = mode == MODE_GROUP ? 10 : 1,
                                .slow = mode == MODE_SLOW ? 1 : 0,
                                .burst = mode == MODE_BURST ? 100 : 0,
                                .every = 1,
                                .rate = mode == MODE_BURST ? 1000 : 0,
                                .rooms = 1,
                                .senders = 1,
                                .size = mode == MODE_GROUP ? 64 : 32,
                                .depth = 1,
                                .seconds = 5,
                                .warmup = mode == MODE_IDLE ? 0 : 1,
                                .timeout = 10,
                                .grace = 5,
                                .settle = 0.2};
    for (int at = 2; at < argc;) {
        parse_option(options, argc, argv, &at);
    }
    check(options);
}
