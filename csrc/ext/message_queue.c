/* Message queue: see message_queue.h. Two slots inside the connection serve a client that waits
 * for its answers; a ring is allocated for one that does not, and given back when it is empty. */
#include "message_queue.h"

static size_t
message_size(PyObject *message)
{
    return (size_t)(PyUnicode_Check(message) ? PyUnicode_GET_LENGTH(message)
                                             : PyBytes_GET_SIZE(message));
}

static PyObject **
queue_slots(message_queue *queue, size_t *capacity)
{
    *capacity = queue->items == NULL ? MESSAGE_QUEUE_INLINE : queue->capacity;
    return queue->items == NULL ? queue->slots : queue->items;
}

static int
queue_grow(message_queue *queue)
{
    size_t old_capacity;
    PyObject **old = queue_slots(queue, &old_capacity);
    size_t capacity = old_capacity < 16 ? 16 : old_capacity * 2;
    PyObject **items = PyMem_Malloc(capacity * sizeof(*items));
    if (items == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < queue->count; i++) {
        items[i] = old[(queue->head + i) & (old_capacity - 1)];
    }
    PyMem_Free(queue->items);
    queue->items = items;
    queue->capacity = capacity;
    queue->head = 0;
    return 0;
}

int
message_queue_push_steal(message_queue *queue, PyObject *message)
{
    size_t capacity;
    PyObject **slots = queue_slots(queue, &capacity);
    if (queue->count == capacity) {
        if (queue_grow(queue) < 0) {
            Py_DECREF(message);
            return -1;
        }
        slots = queue_slots(queue, &capacity);
    }
    assert(queue->count < capacity && (capacity & (capacity - 1)) == 0);
    slots[(queue->head + queue->count) & (capacity - 1)] = message;
    queue->count++;
    queue->bytes += message_size(message);
    return 0;
}

PyObject *
message_queue_pop(message_queue *queue)
{
    if (queue->count == 0) {
        return NULL;
    }
    size_t capacity;
    PyObject **slots = queue_slots(queue, &capacity);
    PyObject *message = slots[queue->head];
    queue->head = (queue->head + 1) & (capacity - 1);
    queue->count--;
    queue->bytes -= message_size(message);
    if (queue->count == 0) {
        PyMem_Free(queue->items);
        queue->items = NULL;
        queue->capacity = 0;
        queue->head = 0;
    }
    return message;
}

void
message_queue_clear(message_queue *queue)
{
    PyObject *message;
    while ((message = message_queue_pop(queue)) != NULL) {
        Py_DECREF(message);
    }
}
