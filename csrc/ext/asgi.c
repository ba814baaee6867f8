/* ASGI events: see asgi.h. Depends on core's handshake unit for what a header may hold. */
#include "asgi.h"

#include "../core/handshake.h"

PyObject *
asgi_event_type(const module_state *state, PyObject *event)
{
    if (!PyDict_Check(event)) {
        PyErr_Format(PyExc_TypeError, "send() expected an ASGI event (a dict), got %.100s",
                     Py_TYPE(event)->tp_name);
        return NULL;
    }
    PyObject *type = PyDict_GetItemWithError(event, state->names.type);
    if (type == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "send() got an ASGI event without a 'type'");
        }
        return NULL;
    }
    if (!PyUnicode_Check(type)) {
        PyErr_Format(PyExc_TypeError, "send() expected the event's 'type' to be str, got %.100s",
                     Py_TYPE(type)->tp_name);
        return NULL;
    }
    return type;
}

PyObject *
asgi_event_get(PyObject *event, PyObject *key, bool *failed)
{
    PyObject *value = PyDict_GetItemWithError(event, key);
    *failed = value == NULL && PyErr_Occurred() != NULL;
    return value == Py_None ? NULL : value;
}

static int
header_check(PyObject *name, PyObject *value, const char *event)
{
    if (!PyBytes_Check(name) || !PyBytes_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s: header names and values must be bytes, got %R: %R",
                     event, name, value);
        return -1;
    }
    if (!ws_header_name_valid((const uint8_t *)PyBytes_AS_STRING(name),
                              (size_t)PyBytes_GET_SIZE(name))) {
        PyErr_Format(PyExc_ValueError, "%s: %R is not a header name", event, name);
        return -1;
    }
    if (!ws_header_value_valid((const uint8_t *)PyBytes_AS_STRING(value),
                               (size_t)PyBytes_GET_SIZE(value))) {
        PyErr_Format(PyExc_ValueError, "%s: the value of header %R must not hold CR, LF or NUL",
                     event, name);
        return -1;
    }
    return 0;
}

static int
header_walk_pair(PyObject *pair, const char *event, asgi_header_fn *add, void *context)
{
    PyObject *both = PySequence_Fast(pair, "headers must be (name, value) pairs");
    if (both == NULL) {
        return -1;
    }
    int result = -1;
    if (PySequence_Fast_GET_SIZE(both) != 2) {
        PyErr_Format(PyExc_ValueError, "%s: headers must be (name, value) pairs, got %R", event,
                     pair);
    }
    else {
        PyObject *name = Py_NewRef(PySequence_Fast_GET_ITEM(both, 0));
        PyObject *value = Py_NewRef(PySequence_Fast_GET_ITEM(both, 1));
        if (header_check(name, value, event) == 0) {
            result = add(context, name, value);
        }
        Py_DECREF(name);
        Py_DECREF(value);
    }
    Py_DECREF(both);
    return result;
}

int
asgi_headers_walk(PyObject *headers, const char *event, asgi_header_fn *add, void *context)
{
    if (headers == NULL || headers == Py_None) {
        return 0;
    }
    PyObject *iterator = PyObject_GetIter(headers);
    if (iterator == NULL) {
        return -1;
    }
    int result = 0;
    PyObject *pair;
    while (result == 0 && (pair = PyIter_Next(iterator)) != NULL) {
        result = header_walk_pair(pair, event, add, context);
        Py_DECREF(pair);
    }
    Py_DECREF(iterator);
    return result < 0 || PyErr_Occurred() ? -1 : 0;
}

PyObject *
asgi_receive_event_steal(const module_state *state, PyObject *message)
{
    PyObject *event = PyDict_Copy(state->receive_event);
    PyObject *key = PyUnicode_Check(message) ? state->names.text : state->names.bytes;
    int result = event == NULL ? -1 : PyDict_SetItem(event, key, message);
    Py_DECREF(message);
    if (result < 0) {
        Py_XDECREF(event);
        return NULL;
    }
    return event;
}

PyObject *
asgi_disconnect_event(const module_state *state, uint16_t code, PyObject *reason)
{
    PyObject *event = PyDict_New();
    PyObject *number = PyLong_FromLong(code);
    if (event == NULL || number == NULL ||
        PyDict_SetItem(event, state->names.type, state->names.disconnect_type) < 0 ||
        PyDict_SetItem(event, state->names.code, number) < 0 ||
        (reason != NULL && PyDict_SetItem(event, state->names.reason, reason) < 0)) {
        Py_CLEAR(event);
    }
    Py_XDECREF(number);
    return event;
}

PyObject *
asgi_connect_event(const module_state *state)
{
    PyObject *event = PyDict_New();
    if (event != NULL && PyDict_SetItem(event, state->names.type, state->names.connect_type) < 0) {
        Py_DECREF(event);
        return NULL;
    }
    return event;
}
