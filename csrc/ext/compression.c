/* Compression: see compression.h. Depends on core's deflate and extension units. */
#include "compression.h"

#include "writer.h"

#define EXTENSION_HEADERS_MAX 8

/* Pieces up to this size are unmasked, and messages inflated, on the stack. */
#define SCRATCH_SIZE (16 * 1024)

/* ---- Settings and negotiation ---- */

static int
check_range(const char *name, int value, int low, int high)
{
    if (value >= low && value <= high) {
        return 0;
    }
    PyErr_Format(PyExc_ValueError, "%s: expected %d to %d, got %d", name, low, high, value);
    return -1;
}

int
compression_configure(compression_settings *settings, PyObject *options)
{
    *settings = (compression_settings){.enabled = options != Py_None};
    if (!settings->enabled) {
        return 0;
    }
    int server_bits, client_bits, server_forgets, client_forgets, level, memory_level;
    Py_ssize_t threshold;
    if (!PyTuple_Check(options)) {
        PyErr_Format(PyExc_TypeError, "compression: expected a tuple or None, got %.100s",
                     Py_TYPE(options)->tp_name);
        return -1;
    }
    if (!PyArg_ParseTuple(options, "iippiin;compression", &server_bits, &client_bits,
                          &server_forgets, &client_forgets, &level, &memory_level, &threshold) ||
        check_range("server_max_window_bits", server_bits, WS_WINDOW_BITS_MIN,
                    WS_WINDOW_BITS_MAX) < 0 ||
        check_range("client_max_window_bits", client_bits, WS_WINDOW_BITS_MIN,
                    WS_WINDOW_BITS_MAX) < 0 ||
        check_range("compression level", level, 1, 9) < 0 ||
        check_range("compression memory level", memory_level, 1, 9) < 0) {
        return -1;
    }
    if (threshold < 0) {
        PyErr_Format(PyExc_ValueError, "compression threshold: expected 0 or more bytes, got %zd",
                     threshold);
        return -1;
    }
    settings->server_window_bits = (uint8_t)server_bits;
    settings->client_window_bits = (uint8_t)client_bits;
    settings->server_no_context_takeover = server_forgets != 0;
    settings->client_no_context_takeover = client_forgets != 0;
    settings->level = (uint8_t)level;
    settings->memory_level = (uint8_t)memory_level;
    settings->threshold = (size_t)threshold;
    return 0;
}

/* Makes the codecs for what was negotiated. NULL with MemoryError. */
static compression *
compression_new(const Protocol *self, const ws_deflate_params *params)
{
    const compression_settings *settings = &self->compression_settings;
    compression *made = PyMem_Calloc(1, sizeof(*made));
    if (made == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    made->params = *params;
    made->threshold = settings->threshold;
    ws_compressor_init(
        &made->compressor,
        &(ws_compressor_config){.window_bits = params->server_window_bits,
                                .memory_level = settings->memory_level,
                                .level = settings->level,
                                .no_context_takeover = params->server_no_context_takeover});
    ws_decompressor_init(
        &made->decompressor,
        &(ws_decompressor_config){.max_message = self->conn.config.max_message,
                                  .window_bits = params->client_window_bits,
                                  .no_context_takeover = params->client_no_context_takeover});
    return made;
}

int
compression_negotiate(Protocol *self, const ws_request *request)
{
    const compression_settings *settings = &self->compression_settings;
    ws_slice offers[EXTENSION_HEADERS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < request->header_count && count < EXTENSION_HEADERS_MAX; i++) {
        if (ws_slice_equals(request->headers[i].name, "sec-websocket-extensions")) {
            offers[count++] = request->headers[i].value;
        }
    }
    ws_deflate_params params;
    uint8_t response[WS_EXTENSION_RESPONSE_MAX];
    size_t size;
    ws_deflate_config config = {.enabled = settings->enabled,
                                .server_max_window_bits = settings->server_window_bits,
                                .client_max_window_bits = settings->client_window_bits,
                                .server_no_context_takeover = settings->server_no_context_takeover,
                                .client_no_context_takeover =
                                    settings->client_no_context_takeover};
    if (!settings->enabled || ws_extension_negotiate(&config, offers, count, &params, response,
                                                     &size) != WS_EXTENSION_DEFLATE) {
        return 0;
    }
    self->compression = compression_new(self, &params);
    if (self->compression == NULL) {
        return -1;
    }
    self->compression->response =
        PyBytes_FromStringAndSize((const char *)response, (Py_ssize_t)size);
    return self->compression->response == NULL ? -1 : 0;
}

void
compression_begin(Protocol *self)
{
    if (self->compression != NULL) {
        Py_CLEAR(self->compression->response);
        ws_conn_allow_deflate(&self->conn);
    }
}

void
compression_drop(Protocol *self)
{
    compression *dropped = self->compression;
    self->compression = NULL;
    if (dropped != NULL) {
        Py_CLEAR(dropped->response);
        ws_compressor_release(&dropped->compressor);
        ws_decompressor_clear(&dropped->decompressor);
        byte_buffer_drop(&dropped->inflated);
        PyMem_Free(dropped);
    }
}

void
compression_release_idle(Protocol *self)
{
    if (self->compression != NULL && !self->compression->used) {
        ws_compressor_release(&self->compression->compressor);
        (void)ws_decompressor_release(&self->compression->decompressor);
    }
    if (self->compression != NULL) {
        self->compression->used = false;
    }
}

/* ---- Incoming ---- */

static PyObject *
build_message(uint8_t opcode, const uint8_t *data, size_t n)
{
    return opcode == WS_OPCODE_TEXT ? PyUnicode_DecodeUTF8((const char *)data, (Py_ssize_t)n, NULL)
                                    : PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)n);
}

/* Inflates unmasked input. 1: *message is complete; 0: more is needed; -1: an exception is set;
 * -2: *error is set. */
static int
inflate_piece(compression *self, const ws_event *event, const uint8_t *input, PyObject **message,
              int *error)
{
    uint8_t scratch[SCRATCH_SIZE];
    ws_inflate step = {.input = input, .input_size = event->length, .final = event->end};
    for (;;) {
        step.output = scratch;
        step.room = sizeof(scratch);
        int result = ws_decompressor_step(&self->decompressor, &step);
        if (result < 0) {
            *error = result;
            return -2;
        }
        size_t written = sizeof(scratch) - step.room;
        if (result == WS_INFLATE_DONE && self->inflated.size == 0) {
            *message = build_message(event->opcode, scratch, written);
            return *message == NULL ? -1 : 1;
        }
        if (byte_buffer_append(&self->inflated, scratch, written) < 0) {
            return -1;
        }
        if (result == WS_INFLATE_INPUT) {
            return 0;
        }
        if (result == WS_INFLATE_DONE) {
            *message = build_message(event->opcode, self->inflated.data, self->inflated.size);
            byte_buffer_drop(&self->inflated);
            return *message == NULL ? -1 : 1;
        }
    }
}

/* What kept a message from being made that is the peer's fault: bad UTF-8, or no memory for what
 * it sent. */
static int
blame(int result, int *error)
{
    if (result == -1 && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        *error = WS_ERROR_UTF8;
    }
    else if (result == -1 && PyErr_ExceptionMatches(PyExc_MemoryError)) {
        *error = WS_ERROR_TOO_BIG;
    }
    else {
        return result;
    }
    PyErr_Clear();
    return -2;
}

int
compression_take(Protocol *self, const ws_event *event, PyObject **message)
{
    uint8_t scratch[SCRATCH_SIZE];
    uint8_t *input = event->length <= sizeof(scratch) ? scratch : PyMem_Malloc(event->length);
    if (input == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->compression->used = true;
    int error = ws_conn_take(&self->conn, event, input);
    int result = error < 0 ? -2 : inflate_piece(self->compression, event, input, message, &error);
    if (input != scratch) {
        PyMem_Free(input);
    }
    result = blame(result, &error);
    if (result == -2) {
        ws_conn_fail(&self->conn);
        self->failure = error;
    }
    if (result < 0) {
        byte_buffer_drop(&self->compression->inflated);
    }
    return result;
}

/* ---- Outgoing ---- */

/* Moves a payload that lies WS_FRAME_HEADER_MAX bytes behind `place` behind its header. Returns
 * the frame's size. */
static size_t
put_header(uint8_t *place, uint8_t opcode, size_t n)
{
    size_t size = ws_frame_build(
        place, &(ws_frame_header){.length = n, .opcode = opcode, .fin = true, .rsv1 = true});
    memmove(place + size, place + WS_FRAME_HEADER_MAX, n);
    return size + n;
}

int
compression_append_frame(Protocol *self, uint8_t opcode, const uint8_t *payload, size_t n)
{
    compression *codec = self->compression;
    if (codec == NULL || n < codec->threshold) {
        return writer_append_frame(self, opcode, payload, n);
    }
    size_t room = ws_deflate_bound(n);
    byte_buffer *gathered = &self->output.gathered;
    uint8_t *place = byte_buffer_reserve(gathered, WS_FRAME_HEADER_MAX + room);
    if (place == NULL) {
        return -1;
    }
    codec->used = true;
    size_t size;
    int made = ws_compressor_message(&codec->compressor, &(ws_slice){payload, n}, 1,
                                     place + WS_FRAME_HEADER_MAX, room, &size);
    if (made != 1) {
        /* No memory for the codec's state: the message goes as it is. */
        return writer_append_frame(self, opcode, payload, n);
    }
    gathered->size += put_header(place, opcode, size);
    return writer_flush_if_full(self);
}

PyObject *
compression_shared_frame(const Protocol *self, uint8_t opcode, const void *payload, size_t n)
{
    size_t room = ws_deflate_bound(n);
    PyObject *frame = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(WS_FRAME_HEADER_MAX + room));
    if (frame == NULL) {
        return NULL;
    }
    ws_compressor_config config = self->compression->compressor.config;
    ws_compressor compressor;
    ws_compressor_init(&compressor, &config);
    uint8_t *place = (uint8_t *)PyBytes_AS_STRING(frame);
    size_t size;
    int made = ws_compressor_message(&compressor, &(ws_slice){payload, n}, 1,
                                     place + WS_FRAME_HEADER_MAX, room, &size);
    ws_compressor_release(&compressor);
    if (made != 1) {
        Py_DECREF(frame);
        return NULL;
    }
    _PyBytes_Resize(&frame, (Py_ssize_t)put_header(place, opcode, size));
    return frame;
}
