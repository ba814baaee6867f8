/* The slow reader: one byte, one decision. See reference.h.
 *
 * Depends on the C library, and on the core's headers for the names of errors and opcodes alone.
 */
#include "reference.h"

#include <stdlib.h>
#include <string.h>

#include "conn.h"

/* --- Transcripts --- */

void
transcript_bytes(transcript *to, const uint8_t *data, size_t n)
{
    if (n > to->room - to->size) {
        to->room = 2 * (to->size + n);
        to->data = realloc(to->data, to->room);
        if (to->data == NULL) {
            abort();
        }
    }
    if (n > 0) {
        memcpy(to->data + to->size, data, n);
        to->size += n;
    }
}

void
transcript_clear(transcript *to)
{
    free(to->data);
    *to = (transcript){NULL, 0, 0};
}

static void
transcript_number(transcript *to, uint64_t number)
{
    for (unsigned i = 0; i < 8; i++) {
        const uint8_t byte = (uint8_t)(number >> 8 * i);
        transcript_bytes(to, &byte, 1);
    }
}

void
transcript_message(transcript *to, uint8_t opcode, bool compressed, const transcript *payload,
                   bool end)
{
    transcript_bytes(to, end ? (const uint8_t *)"M" : (const uint8_t *)"~", 1);
    transcript_number(to, opcode);
    transcript_number(to, compressed);
    transcript_number(to, payload->size);
    transcript_bytes(to, payload->data, payload->size);
}

void
transcript_control(transcript *to, uint8_t opcode, uint16_t close_code, const uint8_t *payload,
                   size_t n)
{
    transcript_bytes(to, (const uint8_t *)"C", 1);
    transcript_number(to, opcode);
    transcript_number(to, close_code);
    transcript_number(to, n);
    transcript_bytes(to, payload, n);
}

void
transcript_failure(transcript *to, int error)
{
    transcript_bytes(to, (const uint8_t *)"!", 1);
    transcript_number(to, (uint64_t)-error);
}

/* --- UTF-8: RFC 3629, section 3 --- */

/* The code point that the bytes are, each one that is missing taken as `missing`. */
static uint32_t
code_point(const uint8_t *bytes, size_t size, size_t whole, uint32_t lead_bits, uint8_t missing)
{
    uint32_t code = bytes[0] & lead_bits;
    for (size_t i = 1; i < whole; i++) {
        code = code << 6 | ((i < size ? bytes[i] : missing) & 0x3F);
    }
    return code;
}

/* Whether the bytes are a character, or begin at least one. */
static bool
begins_character(const uint8_t *bytes, size_t size, size_t *whole)
{
    static const struct {
        uint8_t fixed_bits, fixed, code_bits;
        uint32_t first, last;
    } forms[] = {{0x80, 0x00, 0x7F, 0x0, 0x7F},
                 {0xE0, 0xC0, 0x1F, 0x80, 0x7FF},
                 {0xF0, 0xE0, 0x0F, 0x800, 0xFFFF},
                 {0xF8, 0xF0, 0x07, 0x10000, 0x10FFFF}};
    size_t form = 0;
    while ((bytes[0] & forms[form].fixed_bits) != forms[form].fixed) {
        if (++form == sizeof forms / sizeof *forms) {
            return false;
        }
    }
    *whole = form + 1;
    for (size_t i = 1; i < size; i++) {
        if ((bytes[i] & 0xC0) != 0x80) {
            return false;
        }
    }
    const uint32_t low = code_point(bytes, size, *whole, forms[form].code_bits, 0x80);
    const uint32_t high = code_point(bytes, size, *whole, forms[form].code_bits, 0xBF);
    const bool surrogate = low >= 0xD800 && high <= 0xDFFF;
    return high >= forms[form].first && low <= forms[form].last && !surrogate;
}

bool
reference_utf8_byte(reference_utf8 *state, uint8_t byte)
{
    size_t whole;
    state->bytes[state->size++] = byte;
    if (!begins_character(state->bytes, state->size, &whole)) {
        state->size = 0;
        return false;
    }
    if (state->size == whole) {
        state->size = 0;
    }
    return true;
}

/* --- Headers: RFC 6455, section 5.2 --- */

static bool
is_control(const reference_header *header)
{
    return (header->bytes[0] & 0x0F) >= 8;
}

static bool
is_masked(const reference_header *header)
{
    return (header->bytes[1] & 0x80) != 0;
}

static int
judge_first_byte(uint8_t first)
{
    const int opcode = first & 0x0F;
    if ((first & 0x30) != 0) {
        return WS_ERROR_RSV;
    }
    if ((opcode > 2 && opcode < 8) || opcode > 10) {
        return WS_ERROR_OPCODE;
    }
    if (opcode >= 8 && (first & 0x40) != 0) {
        return WS_ERROR_RSV;
    }
    if (opcode >= 8 && (first & 0x80) == 0) {
        return WS_ERROR_CONTROL_FRAGMENTED;
    }
    return 0;
}

int
reference_header_byte(reference_header *header, uint8_t byte)
{
    header->bytes[header->size++] = byte;
    if (header->size == 1) {
        return judge_first_byte(byte);
    }
    const int form = header->bytes[1] & 0x7F;
    const size_t length_bytes = form == 126 ? 2 : form == 127 ? 8 : 0;
    const size_t length_read = header->size - 2;
    if (length_read == 0) {
        if (is_control(header) && form > 125) {
            return WS_ERROR_CONTROL_TOO_LONG;
        }
        header->length = length_bytes == 0 ? (uint64_t)form : 0;
    }
    else if (length_read <= length_bytes) {
        header->length = header->length * 256 + byte;
        if (length_bytes == 8 && length_read == 1 && byte >= 0x80) {
            return WS_ERROR_LENGTH_RANGE;
        }
        if (length_bytes == 8 && length_read == 6 && header->length == 0) {
            return WS_ERROR_LENGTH_FORM;
        }
        if (length_bytes == 2 && length_read == 2 && header->length < 126) {
            return WS_ERROR_LENGTH_FORM;
        }
    }
    header->done = length_read == length_bytes + (is_masked(header) ? 4 : 0);
    return 0;
}

/* --- Connections: sections 5.4 to 7 --- */

static void
fail(reference_reader *reader, int error)
{
    transcript_failure(reader->log, error);
    reader->failed = true;
    reader->inert = true;
}

/* What the whole of a message may take on the wire: RFC 7692 has no bound for what compression
 * adds to data that does not compress; conn.h promises this much and no more. */
static uint64_t
limit(const reference_reader *reader)
{
    const uint64_t max = reader->max_message;
    if (max == 0) {
        return SIZE_MAX;
    }
    const uint64_t more = reader->compressed ? max / 8 + max / 64 + 64 : 0;
    return more > SIZE_MAX - max ? SIZE_MAX : max + more;
}

static int
judge_data_frame(reference_reader *reader)
{
    const uint8_t opcode = reader->header.bytes[0] & 0x0F;
    const bool rsv1 = (reader->header.bytes[0] & 0x40) != 0;
    if (rsv1 && (!reader->deflate || opcode == 0)) {
        return WS_ERROR_RSV;
    }
    if (opcode == 0 && !reader->in_message) {
        return WS_ERROR_CONTINUATION;
    }
    if (opcode != 0 && reader->in_message) {
        return WS_ERROR_INTERLEAVED;
    }
    if (opcode != 0) {
        reader->in_message = true;
        reader->opcode = opcode;
        reader->compressed = rsv1;
        reader->announced = 0;
        reader->text.size = 0;
    }
    if (reader->header.length > limit(reader) - reader->announced) {
        return WS_ERROR_TOO_BIG;
    }
    reader->announced += reader->header.length;
    return 0;
}

static int
judge_header(reference_reader *reader)
{
    if (is_masked(&reader->header) && reader->client) {
        return WS_ERROR_MASKED;
    }
    if (!is_masked(&reader->header) && !reader->client) {
        return WS_ERROR_NOT_MASKED;
    }
    return is_control(&reader->header) ? 0 : judge_data_frame(reader);
}

/* The payload's next byte, unmasked: section 5.3. */
static int
take_payload_byte(reference_reader *reader, uint8_t byte)
{
    if (is_masked(&reader->header)) {
        byte ^= reader->header.bytes[reader->header.size - 4 + reader->payload_taken % 4];
    }
    if (is_control(&reader->header)) {
        reader->control[reader->payload_taken++] = byte;
        return 0;
    }
    reader->payload_taken++;
    transcript_bytes(&reader->message, &byte, 1);
    const bool text = reader->opcode == 1 && !reader->compressed;
    return text && !reference_utf8_byte(&reader->text, byte) ? WS_ERROR_UTF8 : 0;
}

static bool
close_code_allowed(unsigned code)
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
        return code >= 3000 && code <= 4999;
    }
}

static int
end_close(reference_reader *reader, size_t n)
{
    reference_utf8 reason = {{0}, 0};
    if (n == 0) {
        transcript_control(reader->log, 8, 1005, NULL, 0);
        reader->inert = true;
        return 0;
    }
    if (n == 1) {
        return WS_ERROR_CLOSE_LENGTH;
    }
    const unsigned code = reader->control[0] * 256u + reader->control[1];
    if (!close_code_allowed(code)) {
        return WS_ERROR_CLOSE_CODE;
    }
    for (size_t i = 2; i < n; i++) {
        if (!reference_utf8_byte(&reason, reader->control[i])) {
            return WS_ERROR_CLOSE_REASON;
        }
    }
    if (reason.size > 0) {
        return WS_ERROR_CLOSE_REASON;
    }
    transcript_control(reader->log, 8, (uint16_t)code, reader->control + 2, n - 2);
    reader->inert = true;
    return 0;
}

static int
end_frame(reference_reader *reader)
{
    const uint8_t opcode = reader->header.bytes[0] & 0x0F;
    const size_t n = (size_t)reader->payload_taken;
    if (opcode == 8) {
        return end_close(reader, n);
    }
    if (opcode > 8) {
        transcript_control(reader->log, opcode, 0, reader->control, n);
        return 0;
    }
    if ((reader->header.bytes[0] & 0x80) == 0) {
        return 0;
    }
    if (reader->text.size > 0) {
        return WS_ERROR_UTF8;
    }
    transcript_message(reader->log, reader->opcode, reader->compressed, &reader->message, true);
    reader->message.size = 0;
    reader->in_message = false;
    return 0;
}

void
reference_byte(reference_reader *reader, uint8_t byte)
{
    if (reader->inert) {
        return;
    }
    int error;
    if (!reader->header.done) {
        error = reference_header_byte(&reader->header, byte);
        if (error == 0 && reader->header.done) {
            error = judge_header(reader);
        }
    }
    else {
        error = take_payload_byte(reader, byte);
    }
    const bool complete = reader->header.done && reader->payload_taken == reader->header.length;
    if (error == 0 && complete) {
        error = end_frame(reader);
        reader->header = (reference_header){{0}, 0, 0, false};
        reader->payload_taken = 0;
    }
    if (error != 0) {
        fail(reader, error);
    }
}

void
reference_end(reference_reader *reader)
{
    if (reader->message.size > 0 && !reader->failed) {
        transcript_message(reader->log, reader->opcode, reader->compressed, &reader->message,
                           false);
    }
    transcript_clear(&reader->message);
}
