/* Message copies: see message_copy.h. An object that is not of a plain type, nested deeply, or
 * contained in itself is left to copy.deepcopy, which remembers what it has copied. */
#include "message_copy.h"

/* A message nested deeper than this is not copied here: it may contain itself. */
#define DEPTH_MAX 16

static PyObject *copy_value(const module_state *state, PyObject *value, int depth);

/* Values that cannot change are shared. */
static bool
is_immutable(PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);
    return value == Py_None || type == &PyUnicode_Type || type == &PyLong_Type ||
           type == &PyBytes_Type || type == &PyFloat_Type || type == &PyBool_Type;
}

static PyObject *
copy_dict(const module_state *state, PyObject *dict, int depth)
{
    PyObject *copy = PyDict_Copy(dict);
    if (copy == NULL) {
        return NULL;
    }
    Py_ssize_t position = 0;
    PyObject *key, *value;
    /* Setting the value of a key that is there does not disturb the iteration. */
    while (PyDict_Next(copy, &position, &key, &value)) {
        if (!is_immutable(key)) {
            /* Keys of types unknown: leave the whole of it to deepcopy. */
            Py_DECREF(copy);
            return PyObject_CallOneArg(state->deepcopy, dict);
        }
        if (is_immutable(value)) {
            continue;
        }
        PyObject *inner = copy_value(state, value, depth);
        if (inner == NULL || PyDict_SetItem(copy, key, inner) < 0) {
            Py_XDECREF(inner);
            Py_DECREF(copy);
            return NULL;
        }
        Py_DECREF(inner);
    }
    return copy;
}

static PyObject *
copy_list(const module_state *state, PyObject *list, int depth)
{
    PyObject *copy = PyList_GetSlice(list, 0, PyList_GET_SIZE(list));
    for (Py_ssize_t i = 0; copy != NULL && i < PyList_GET_SIZE(copy); i++) {
        PyObject *value = PyList_GET_ITEM(copy, i);
        if (is_immutable(value)) {
            continue;
        }
        PyObject *inner = copy_value(state, value, depth);
        if (inner == NULL || PyList_SetItem(copy, i, inner) < 0) {
            Py_DECREF(copy);
            return NULL;
        }
    }
    return copy;
}

static PyObject *
copy_value(const module_state *state, PyObject *value, int depth)
{
    if (depth < DEPTH_MAX && PyDict_CheckExact(value)) {
        return copy_dict(state, value, depth + 1);
    }
    if (depth < DEPTH_MAX && PyList_CheckExact(value)) {
        return copy_list(state, value, depth + 1);
    }
    return PyObject_CallOneArg(state->deepcopy, value);
}

PyObject *
message_copy(const module_state *state, PyObject *message)
{
    return copy_value(state, message, 0);
}
