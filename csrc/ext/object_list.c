/* Object list: see object_list.h. */
#include "object_list.h"

#define CAPACITY_FIRST 16

int
object_list_append(object_list *list, PyObject *object)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? CAPACITY_FIRST : list->capacity * 2;
        PyObject **items = PyMem_Realloc(list->items, capacity * sizeof(*items));
        if (items == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = Py_NewRef(object);
    return 0;
}

PyObject *
object_list_take(object_list *list, size_t at)
{
    assert(at < list->count);
    PyObject *object = list->items[at];
    list->count--;
    memmove(list->items + at, list->items + at + 1, (list->count - at) * sizeof(*list->items));
    if (list->count == 0) {
        object_list_drop(list);
    }
    return object;
}

void
object_list_discard(object_list *list, const PyObject *object)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i] == object) {
            Py_DECREF(object_list_take(list, i));
            return;
        }
    }
}

object_list
object_list_move(object_list *list)
{
    object_list moved = *list;
    *list = (object_list){NULL, 0, 0};
    return moved;
}

void
object_list_drop(object_list *list)
{
    object_list dropped = object_list_move(list);
    for (size_t i = 0; i < dropped.count; i++) {
        Py_XDECREF(dropped.items[i]);
    }
    PyMem_Free(dropped.items);
}

int
object_list_traverse(const object_list *list, visitproc visit, void *arg)
{
    for (size_t i = 0; i < list->count; i++) {
        Py_VISIT(list->items[i]);
    }
    return 0;
}
