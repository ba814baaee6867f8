/* What every awaitable of ours shares with coroutines: how results and exceptions pass, and how
 * long it may go on. */
#ifndef ATALANTA_EXT_COROUTINE_H
#define ATALANTA_EXT_COROUTINE_H

#include "module.h"

/* Events that an application may take in a row before the loop gets a turn. */
#define COROUTINE_BUDGET 128

/* An outcome of am_send as iteration gives it: a value yielded, or StopIteration with the value
 * returned. Steals `result`. */
static inline PyObject *
coroutine_to_iteration(PySendResult outcome, PyObject *result)
{
    if (outcome != PYGEN_RETURN) {
        return result;
    }
    if (result == Py_None) {
        PyErr_SetNone(PyExc_StopIteration);
    }
    else {
        /* Events are dicts: never a tuple, which would be unpacked into arguments. */
        PyErr_SetObject(PyExc_StopIteration, result);
    }
    Py_DECREF(result);
    return NULL;
}

/* Whether throw() has a number of arguments that it takes. 0, or -1 with TypeError. */
int coroutine_check_throw(Py_ssize_t nargs);

/* Raises what throw() was given: a class, maybe with a value, or an instance; then maybe a
 * traceback. None stands for what is not given. */
void coroutine_raise(PyObject *const *args, Py_ssize_t nargs);

#endif
