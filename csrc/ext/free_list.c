/* The contract is in free_list.h. */
#include "free_list.h"

#include <stdbool.h>

PyObject *
free_list_new(free_list *list, PyTypeObject *type)
{
    if (list->count == 0) {
        return (PyObject *)PyObject_GC_New(PyObject, type);
    }
    PyObject *object = PyObject_Init(list->items[--list->count], type);
    /* Parked memory has kept its reference to the type. */
    Py_DECREF(type);
    return object;
}

void
free_list_dealloc(free_list *list, PyObject *object)
{
    assert(!PyObject_GC_IsTracked(object) && Py_REFCNT(object) == 0);
    PyTypeObject *type = Py_TYPE(object);
    /* The collector may have taken the module from its type, and the list with it. */
    bool alive = ((PyHeapTypeObject *)type)->ht_module != NULL;
    if (alive && list->count < FREE_LIST_SIZE) {
        list->items[list->count++] = object;
        return;
    }
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

void
free_list_empty(free_list *list)
{
    while (list->count > 0) {
        PyObject *object = list->items[--list->count];
        PyTypeObject *type = Py_TYPE(object);
        PyObject_GC_Del(object);
        Py_DECREF(type);
    }
}

int
free_list_traverse(const free_list *list, visitproc visit, void *arg)
{
    int stopped = 0;
    for (int i = 0; stopped == 0 && i < list->count; i++) {
        stopped = visit((PyObject *)Py_TYPE(list->items[i]), arg);
    }
    return stopped;
}
