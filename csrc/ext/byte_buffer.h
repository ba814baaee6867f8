/* A growing run of bytes. All zero bytes is an empty one, which owns no memory. */
#ifndef ATALANTA_EXT_BYTE_BUFFER_H
#define ATALANTA_EXT_BYTE_BUFFER_H

#include "module.h"

typedef struct {
    uint8_t *data;
    size_t size;
    size_t capacity;
} byte_buffer;

/* Room for n (above 0) more bytes: the place to write them to (add n to size yourself), or NULL
 * with MemoryError. */
static inline uint8_t *
byte_buffer_reserve(byte_buffer *buffer, size_t n)
{
    assert(n > 0 && buffer->size <= buffer->capacity);
    if (n > buffer->capacity - buffer->size) {
        size_t capacity = buffer->capacity == 0 ? 256 : buffer->capacity;
        while (n > capacity - buffer->size) {
            if (capacity > SIZE_MAX / 2) {
                PyErr_NoMemory();
                return NULL;
            }
            capacity *= 2;
        }
        uint8_t *data = PyMem_Realloc(buffer->data, capacity);
        if (data == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        buffer->data = data;
        buffer->capacity = capacity;
    }
    return buffer->data + buffer->size;
}

/* 0, or -1 with MemoryError. */
static inline int
byte_buffer_append(byte_buffer *buffer, const void *data, size_t n)
{
    if (n == 0) {
        return 0;
    }
    uint8_t *place = byte_buffer_reserve(buffer, n);
    if (place == NULL) {
        return -1;
    }
    memcpy(place, data, n);
    buffer->size += n;
    return 0;
}

static inline int
byte_buffer_append_text(byte_buffer *buffer, const char *text)
{
    return byte_buffer_append(buffer, text, strlen(text));
}

static inline int
byte_buffer_append_bytes(byte_buffer *buffer, PyObject *bytes)
{
    return byte_buffer_append(buffer, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
}

static inline void
byte_buffer_drop(byte_buffer *buffer)
{
    PyMem_Free(buffer->data);
    *buffer = (byte_buffer){NULL, 0, 0};
}

/* Moves the contents out and leaves the buffer empty. The caller drops what it gets. */
static inline byte_buffer
byte_buffer_move(byte_buffer *buffer)
{
    byte_buffer moved = *buffer;
    *buffer = (byte_buffer){NULL, 0, 0};
    return moved;
}

#endif
