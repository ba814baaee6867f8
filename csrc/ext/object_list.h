/* A growing list of objects: tasks that wait, what a Turn has to do. All zero bytes is an empty
 * one, which owns no memory.
 *
 * Unlike a list of Python's it can be embedded, making it collects no garbage, and taking from it
 * never fails (Python's may ask for memory to get smaller). */
#ifndef ATALANTA_EXT_OBJECT_LIST_H
#define ATALANTA_EXT_OBJECT_LIST_H

#include "module.h"

typedef struct {
    PyObject **items; /* with their references; NULL for one that was moved out */
    size_t count;
    size_t capacity;
} object_list;

/* Takes a new reference. 0, or -1 with MemoryError. Runs no Python. */
int object_list_append(object_list *list, PyObject *object);

/* Takes the object at a place off, those behind it move up. Its reference. */
PyObject *object_list_take(object_list *list, size_t at);

/* Takes the object off if it is on the list, which is not its last owner. */
void object_list_discard(object_list *list, const PyObject *object);

/* Moves the contents out and leaves the list empty. The caller drops what it gets. */
object_list object_list_move(object_list *list);

/* Forgets everything, and the memory. */
void object_list_drop(object_list *list);

int object_list_traverse(const object_list *list, visitproc visit, void *arg);

#endif
