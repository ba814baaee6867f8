/* Coroutines: see coroutine.h. */
#include "coroutine.h"

int
coroutine_check_throw(Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 3) {
        PyErr_SetString(PyExc_TypeError, "throw() takes 1 to 3 arguments");
        return -1;
    }
    return 0;
}

void
coroutine_raise(PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *type = args[0];
    PyObject *value = nargs > 1 ? args[1] : Py_None;
    PyObject *traceback = nargs > 2 ? args[2] : Py_None;
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
