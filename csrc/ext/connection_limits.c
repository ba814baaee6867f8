/* Limits: see connection_limits.h. */
#include "connection_limits.h"

#include "../core/conn.h"

int
limits_configure(connection_limits *limits, PyObject *options)
{
    if (!PyTuple_Check(options)) {
        PyErr_Format(PyExc_TypeError, "limits: expected a tuple, got %.100s",
                     Py_TYPE(options)->tp_name);
        return -1;
    }
    Py_ssize_t sizes[6];
    int retry_after, shutdown_code;
    if (!PyArg_ParseTuple(options, "nnnnnnii;limits", &sizes[0], &sizes[1], &sizes[2], &sizes[3],
                          &sizes[4], &sizes[5], &retry_after, &shutdown_code)) {
        return -1;
    }
    for (size_t i = 0; i < Py_ARRAY_LENGTH(sizes); i++) {
        if (sizes[i] < 0) {
            PyErr_Format(PyExc_ValueError, "limits: expected 0 or more, got %zd", sizes[i]);
            return -1;
        }
    }
    if (retry_after < 0 || shutdown_code < 0 || !ws_close_code_valid((uint32_t)shutdown_code)) {
        PyErr_Format(PyExc_ValueError,
                     "limits: expected 0 or more seconds and a close code, got %d and %d",
                     retry_after, shutdown_code);
        return -1;
    }
    *limits = (connection_limits){.connections = (size_t)sizes[0],
                                  .fragments = (size_t)sizes[1],
                                  .queued_messages = (size_t)sizes[2],
                                  .queued_bytes = (size_t)sizes[3],
                                  .request_size = (size_t)sizes[4],
                                  .early_bytes = (size_t)sizes[5],
                                  .retry_after = (unsigned int)retry_after,
                                  .shutdown_code = (uint16_t)shutdown_code};
    return 0;
}
