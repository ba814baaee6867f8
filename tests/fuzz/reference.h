/* A reader of RFC 6455 as slow and as plain as it can be: the oracle for csrc/core.
 *
 * Bytes come one at a time; each is judged when it is there, by the rule that it breaks. What was
 * read goes to a transcript, in which two readers that agree leave the same bytes. Shares no code
 * with the core but the names of errors, opcodes and close codes. */
#ifndef ATALANTA_TESTS_FUZZ_REFERENCE_H
#define ATALANTA_TESTS_FUZZ_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- Transcripts --- */

typedef struct {
    uint8_t *data; /* owned; NULL while empty */
    size_t size;
    size_t room;
} transcript;

void transcript_bytes(transcript *to, const uint8_t *data, size_t n);
void transcript_clear(transcript *to);

/* One record each. A message's opcode, whether it is compressed and its payload: `end` is false
 * for what there is (if anything) of one that is not complete when the input ends. */
void transcript_message(transcript *to, uint8_t opcode, bool compressed, const transcript *payload,
                        bool end);
void transcript_control(transcript *to, uint8_t opcode, uint16_t close_code,
                        const uint8_t *payload, size_t n);
void transcript_failure(transcript *to, int error);

/* --- UTF-8 --- */

/* The bytes of the character under way: at most three, as the fourth completes it. */
typedef struct {
    uint8_t bytes[4];
    size_t size;
} reference_utf8;

/* False when no text goes on with this byte. */
bool reference_utf8_byte(reference_utf8 *state, uint8_t byte);

/* --- Headers --- */

typedef struct {
    uint8_t bytes[14];
    size_t size;
    uint64_t length;
    bool done; /* the header is complete */
} reference_header;

/* 0, or the ws_error that the header is when it has this byte. */
int reference_header_byte(reference_header *header, uint8_t byte);

/* --- Connections --- */

typedef struct {
    bool client;        /* the reader is the client: frames must not be masked */
    bool deflate;       /* RSV1 is allowed on a message's first frame */
    size_t max_message; /* 0: no limit */

    reference_header header;
    uint64_t payload_taken; /* bytes of the current frame's payload read so far */
    uint8_t control[125];
    bool in_message;
    uint8_t opcode;
    bool compressed;
    uint64_t announced; /* bytes of the message, all its frames so far */
    transcript message;
    reference_utf8 text;
    bool inert; /* failed, or closed by the peer */
    bool failed;
    transcript *log; /* borrowed */
} reference_reader;

void reference_byte(reference_reader *reader, uint8_t byte);

/* The input is at its end: logs what there is of an incomplete message, and frees the memory. */
void reference_end(reference_reader *reader);

#endif
