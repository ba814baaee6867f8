/* The command line. */
#ifndef LOAD_OPTIONS_H
#define LOAD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

enum mode { MODE_ECHO, MODE_GROUP, MODE_STORM, MODE_IDLE, MODE_SLOW, MODE_BURST, MODE_COUNT };

enum content { CONTENT_TEXT, CONTENT_UNICODE, CONTENT_BINARY, CONTENT_JSON };

enum {
    HEADERS_MAX = 16,
    JSON_SIZE_MIN = 24,
    GROUP_SIZE_MIN = 32 /* head and tail of the document, sender, sequence */
};

struct options {
    enum mode mode;
    const char *host, *port, *path;
    const char *headers[HEADERS_MAX];
    size_t header_count;
    size_t connections; /* healthy ones; in a group all members of all rooms */
    size_t slow;
    size_t burst;
    size_t rooms;
    size_t senders; /* of each room */
    size_t size;
    size_t depth;
    size_t window_bits; /* 0: not asked for */
    enum content content;
    bool deflate;
    bool echo;
    double rate; /* messages per second in total; 0: closed loop */
    double seconds, warmup, timeout, grace, settle;
    double every; /* seconds from one burst to the next */
};

/* Ends the program: status 0 after --help, status 2 and one line on stderr for anything that is
 * wrong. */
void options_parse(struct options *options, int argc, char **argv);

const char *mode_name(enum mode mode);

#endif
