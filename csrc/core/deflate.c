/* Compressor and decompressor over zlib's raw streams.
 *
 * Depends on zlib.h and error.h. Invariants between two calls: a compressor's stream stands
 * behind a flush, at a byte boundary; a decompressor's, between messages, stands before the
 * first bit of a block, or behind a last one (ended). A stream and a kept window are never
 * there together. */
#include "deflate.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define ZLIB_CONST
#include <zlib.h>

/* What ends a flush: length 0 and its complement, of an empty block without compression. */
static const uint8_t tail[] = {0x00, 0x00, 0xFF, 0xFF};

/* zlib counts in unsigned int. */
#define STEP_MAX ((size_t)UINT_MAX)

/* Bits of data_type after inflate(): it stands before a block. */
#define AT_BLOCK 128

struct ws_zlib_stream {
    z_stream z;
};

static inline size_t
smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* --- Memory ---------------------------------------------------------------------------------- */

static void *
system_allocate(void *context, size_t size)
{
    (void)context;
    return malloc(size);
}

static void
system_release(void *context, void *memory)
{
    (void)context;
    free(memory);
}

static const ws_allocator system_allocator = {system_allocate, system_release, NULL};

static const ws_allocator *
allocator_or_system(const ws_allocator *allocator)
{
    return allocator == NULL ? &system_allocator : allocator;
}

static void *
zlib_allocate(void *opaque, uInt items, uInt size)
{
    const ws_allocator *allocator = opaque;
    if (size != 0 && items > SIZE_MAX / size) {
        return NULL;
    }
    return allocator->allocate(allocator->context, (size_t)items * size);
}

static void
zlib_release(void *opaque, void *memory)
{
    const ws_allocator *allocator = opaque;
    allocator->release(allocator->context, memory);
}

/* A stream that is not initialised yet, or NULL. */
static ws_zlib_stream *
stream_new(const ws_allocator *allocator)
{
    ws_zlib_stream *stream = allocator->allocate(allocator->context, sizeof *stream);
    if (stream != NULL) {
        *stream = (ws_zlib_stream){0};
        stream->z.zalloc = zlib_allocate;
        stream->z.zfree = zlib_release;
        stream->z.opaque = (void *)(uintptr_t)allocator;
    }
    return stream;
}

static void
stream_free(const ws_allocator *allocator, ws_zlib_stream *stream)
{
    allocator->release(allocator->context, stream);
}

/* --- Compressor ------------------------------------------------------------------------------ */

void
ws_compressor_init(ws_compressor *self, const ws_compressor_config *config)
{
    *self = (ws_compressor){.config = *config};
    self->config.allocator = allocator_or_system(config->allocator);
}

void
ws_compressor_forget(ws_compressor *self)
{
    self->forget = true;
}

void
ws_compressor_release(ws_compressor *self)
{
    if (self->stream != NULL) {
        (void)deflateEnd(&self->stream->z);
        stream_free(self->config.allocator, self->stream);
        self->stream = NULL;
    }
}

/* Makes the stream ready for a message: new, or with the history it may have. */
static bool
compressor_ready(ws_compressor *self)
{
    const ws_compressor_config *config = &self->config;
    if (self->stream != NULL) {
        if (self->forget) {
            (void)deflateReset(&self->stream->z);
        }
    }
    else {
        ws_zlib_stream *stream = stream_new(config->allocator);
        if (stream == NULL) {
            return false;
        }
        if (deflateInit2(&stream->z, config->level, Z_DEFLATED, -config->window_bits,
                         config->memory_level, Z_DEFAULT_STRATEGY) != Z_OK) {
            stream_free(config->allocator, stream);
            return false;
        }
        self->stream = stream;
    }
    self->forget = config->no_context_takeover;
    return true;
}

typedef struct {
    uint8_t *data;
    size_t size;
    size_t room;
} output;

/* Lets zlib take all its input and write what is due: false if the room is used up. */
static bool
deflate_input(z_stream *z, int flush, output *out)
{
    for (;;) {
        const size_t piece = smaller(out->room - out->size, STEP_MAX);
        z->next_out = out->data + out->size;
        z->avail_out = (uInt)piece;
        const int result = deflate(z, flush);
        out->size += piece - z->avail_out;
        /* A full room does not tell whether more is due; a call with none left is an error. */
        if (result != Z_OK) {
            return false;
        }
        if (z->avail_out > 0) {
            return true;
        }
    }
}

static bool
deflate_part(z_stream *z, ws_slice part, int flush, output *out)
{
    while (part.size > STEP_MAX) {
        z->next_in = part.data;
        z->avail_in = UINT_MAX;
        if (!deflate_input(z, Z_NO_FLUSH, out)) {
            return false;
        }
        part.data += STEP_MAX;
        part.size -= STEP_MAX;
    }
    z->next_in = part.data;
    z->avail_in = (uInt)part.size;
    return deflate_input(z, flush, out);
}

/* Drops empty parts at the end, so that the last one is what the flush comes with. */
static size_t
count_parts(const ws_slice *parts, size_t count)
{
    while (count > 0 && parts[count - 1].size == 0) {
        count--;
    }
    return count;
}

int
ws_compressor_message(ws_compressor *self, const ws_slice *parts, size_t count, uint8_t *dst,
                      size_t room, size_t *size)
{
    count = count_parts(parts, count);
    if (count == 0) {
        /* An empty block (section 7.2.3.6); zlib flushes nothing twice. */
        if (room == 0) {
            return 0;
        }
        dst[0] = 0x00;
        *size = 1;
        return 1;
    }
    if (!compressor_ready(self)) {
        return WS_ERROR_MEMORY;
    }
    output out = {dst, 0, room};
    bool fits = true;
    for (size_t i = 0; fits && i < count; i++) {
        if (parts[i].size > 0) {
            fits = deflate_part(&self->stream->z, parts[i],
                                i + 1 == count ? Z_SYNC_FLUSH : Z_NO_FLUSH, &out);
        }
    }
    if (!fits) {
        ws_compressor_forget(self);
        return 0;
    }
    *size = out.size - sizeof tail;
    return 1;
}

/* --- Decompressor ---------------------------------------------------------------------------- */

void
ws_decompressor_init(ws_decompressor *self, const ws_decompressor_config *config)
{
    *self = (ws_decompressor){.config = *config};
    self->config.allocator = allocator_or_system(config->allocator);
    if (config->max_message == 0) {
        self->config.max_message = SIZE_MAX;
    }
}

static void
drop_stream(ws_decompressor *self)
{
    if (self->stream != NULL) {
        (void)inflateEnd(&self->stream->z);
        stream_free(self->config.allocator, self->stream);
        self->stream = NULL;
    }
}

static void
drop_window(ws_decompressor *self)
{
    if (self->window != NULL) {
        self->config.allocator->release(self->config.allocator->context, self->window);
        self->window = NULL;
        self->window_size = 0;
    }
}

void
ws_decompressor_clear(ws_decompressor *self)
{
    drop_stream(self);
    drop_window(self);
}

/* Keeps a copy of the history. False, with nothing changed, if there is no memory for it. */
static bool
keep_window(ws_decompressor *self)
{
    const ws_allocator *allocator = self->config.allocator;
    uInt size = 0;
    (void)inflateGetDictionary(&self->stream->z, NULL, &size);
    if (size == 0) {
        return true;
    }
    uint8_t *window = allocator->allocate(allocator->context, size);
    if (window == NULL) {
        return false;
    }
    (void)inflateGetDictionary(&self->stream->z, window, &size);
    self->window = window;
    self->window_size = (uint16_t)size;
    return true;
}

bool
ws_decompressor_release(ws_decompressor *self)
{
    if (self->stream == NULL) {
        return true;
    }
    if (self->in_message || (!self->config.no_context_takeover && !keep_window(self))) {
        return false;
    }
    drop_stream(self);
    return true;
}

/* Makes the stream, with the history that was kept of an earlier one. */
static bool
decompressor_ready(ws_decompressor *self)
{
    if (self->stream != NULL) {
        return true;
    }
    ws_zlib_stream *stream = stream_new(self->config.allocator);
    if (stream == NULL) {
        return false;
    }
    if (inflateInit2(&stream->z, -self->config.window_bits) != Z_OK) {
        stream_free(self->config.allocator, stream);
        return false;
    }
    self->stream = stream;
    if (self->window != NULL &&
        inflateSetDictionary(&stream->z, self->window, self->window_size) != Z_OK) {
        return false;
    }
    drop_window(self);
    return true;
}

/* Inflates at most `room` bytes of what *data holds. Returns zlib's result. */
static int
inflate_piece(ws_decompressor *self, ws_slice *data, uint8_t *dst, size_t room, size_t *written)
{
    z_stream *z = &self->stream->z;
    const size_t shown = smaller(data->size, STEP_MAX);
    room = smaller(room, STEP_MAX);
    z->next_in = data->data;
    z->avail_in = (uInt)shown;
    z->next_out = dst;
    z->avail_out = (uInt)room;
    const int result = inflate(z, Z_SYNC_FLUSH);
    const size_t taken = shown - z->avail_in;
    if (taken > 0) {
        data->data += taken;
        data->size -= taken;
    }
    *written = room - z->avail_out;
    self->blocked = z->avail_out == 0;
    return result;
}

/* At the limit: whether there is more is found out with one byte that nobody gets. */
static int
inflate_at_limit(ws_decompressor *self, ws_slice *data, int *result)
{
    uint8_t beyond;
    size_t written;
    *result = inflate_piece(self, data, &beyond, 1, &written);
    return written > 0 ? WS_ERROR_TOO_BIG : 0;
}

/* Inflates data until it is used up or the room is: INPUT, ROOM, or an error. */
static int
inflate_data(ws_decompressor *self, ws_slice *data, ws_inflate *step)
{
    while (data->size > 0 || self->blocked) {
        const size_t left = self->config.max_message - self->message_size;
        int result;
        if (self->ended) {
            /* Section 7.2.3.4: the history outlives a last block. */
            (void)inflateResetKeep(&self->stream->z);
            self->ended = false;
        }
        if (left == 0) {
            if (inflate_at_limit(self, data, &result) < 0) {
                return WS_ERROR_TOO_BIG;
            }
        }
        else if (step->room == 0) {
            return WS_INFLATE_ROOM;
        }
        else {
            size_t written;
            result = inflate_piece(self, data, step->output, smaller(step->room, left), &written);
            step->output += written;
            step->room -= written;
            self->message_size += written;
        }
        if (result == Z_STREAM_END) {
            self->ended = true;
            self->blocked = false;
        }
        else if (result != Z_OK && result != Z_BUF_ERROR) {
            return result == Z_MEM_ERROR ? WS_ERROR_MEMORY : WS_ERROR_DEFLATE;
        }
    }
    return WS_INFLATE_INPUT;
}

/* The tail that the sender left out (section 7.2.2). It has to complete an empty block. Taken
 * for anything else, these bytes do not end where a block does: no code has as many bits as
 * they have equal ones. */
static int
inflate_tail(ws_decompressor *self)
{
    if (self->ended) {
        return WS_INFLATE_DONE;
    }
    ws_slice data = {tail, sizeof tail};
    uint8_t sink; /* an empty block needs no room, but zlib wants some */
    size_t written;
    if (inflate_piece(self, &data, &sink, 1, &written) == Z_MEM_ERROR) {
        return WS_ERROR_MEMORY;
    }
    const bool at_block = (self->stream->z.data_type & AT_BLOCK) != 0;
    return at_block ? WS_INFLATE_DONE : WS_ERROR_DEFLATE_CUT;
}

static int
inflate_step(ws_decompressor *self, ws_inflate *step)
{
    if (!self->in_message) {
        if (step->input_size == 0) {
            return step->final ? WS_INFLATE_DONE : WS_INFLATE_INPUT;
        }
        if (!decompressor_ready(self)) {
            return WS_ERROR_MEMORY;
        }
        self->in_message = true;
        self->message_size = 0;
    }
    ws_slice data = {step->input, step->input_size};
    int result = inflate_data(self, &data, step);
    step->input = data.data;
    step->input_size = data.size;
    if (result == WS_INFLATE_INPUT && step->final) {
        result = inflate_tail(self);
    }
    if (result == WS_INFLATE_DONE) {
        self->in_message = false;
        if (self->config.no_context_takeover) {
            (void)inflateReset(&self->stream->z);
        }
    }
    return result;
}

int
ws_decompressor_step(ws_decompressor *self, ws_inflate *step)
{
    if (self->error != 0) {
        return self->error;
    }
    const int result = inflate_step(self, step);
    if (result < 0) {
        self->error = result;
        ws_decompressor_clear(self);
    }
    return result;
}
