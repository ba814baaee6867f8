/* Free lists: memory of objects that come and go with every message.
 *
 * A list belongs to the module's state, which visits and empties it. Parked memory is no object:
 * it is not tracked, and whoever takes it sets every field behind the header. */
#ifndef ATALANTA_EXT_FREE_LIST_H
#define ATALANTA_EXT_FREE_LIST_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define FREE_LIST_SIZE 64

/* Memory of dead objects of one type, kept for the next ones; each keeps its reference to the
 * type, which the allocator needs to free it. */
typedef struct {
    PyObject *items[FREE_LIST_SIZE];
    int count;
} free_list;

/* An object of `type` (which has a fixed size and GC) from the free list or from the allocator:
 * not tracked yet, all fields behind the header undefined. New reference. */
PyObject *free_list_new(free_list *list, PyTypeObject *type);

/* Ends an untracked object whose fields are all cleared: parks its memory, or frees it and drops
 * its reference to the type. */
void free_list_dealloc(free_list *list, PyObject *object);

/* Frees what is parked. */
void free_list_empty(free_list *list);

/* For the module's m_traverse: the references of what is parked. */
int free_list_traverse(const free_list *list, visitproc visit, void *arg);

#endif
