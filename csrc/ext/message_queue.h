/* A queue of messages (str or bytes) that arrived and were not received; owns no memory while
 * empty. */
#ifndef ATALANTA_EXT_MESSAGE_QUEUE_H
#define ATALANTA_EXT_MESSAGE_QUEUE_H

#include "module.h"

#define MESSAGE_QUEUE_INLINE 2

/* A ring. All zero bytes is an empty queue. */
typedef struct {
    PyObject **items; /* NULL while the inline slots are enough */
    PyObject *slots[MESSAGE_QUEUE_INLINE];
    size_t head;
    size_t count;
    size_t capacity; /* of items: a power of two, or 0 */
    size_t bytes;    /* payload sizes added up (characters for str) */
} message_queue;

/* Takes over the reference, also when it fails. 0, or -1 with MemoryError. */
int message_queue_push_steal(message_queue *queue, PyObject *message);

/* The oldest message, or NULL when there is none (no exception). New reference. */
PyObject *message_queue_pop(message_queue *queue);

void message_queue_clear(message_queue *queue);

#endif
