/* Coroutines: see coroutine.h. */
#include "coroutine.h"

void
coroutine_raise(PyObject *type, PyObject *value, PyObject *traceback)
{
    if (PyExceptionInstance_Check(type)) {
        value = type;
        type = (PyObject *)Py_TYPE(type);
    }
    else if (!PyExceptionClass_Check(type)) {
        PyErr_Format(PyExc_TypeError,
                     "exceptions must be classes or instances deriving from BaseException, not "
                     "%.100s",
                     Py_TYPE(type)->tp_name);
        return;
    }
    if (value == Py_None) {
        value = NULL;
    }
    if (traceback == Py_None) {
        traceback = value != NULL && PyExceptionInstance_Check(value)
                        ? PyException_GetTraceback(value)
                        : NULL;
    }
    else {
        Py_INCREF(traceback);
    }
    PyErr_Restore(Py_NewRef(type), Py_XNewRef(value), traceback);
}
