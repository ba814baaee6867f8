/* The functions of the module atalanta._core. */
#ifndef ATALANTA_EXT_FUNCTIONS_H
#define ATALANTA_EXT_FUNCTIONS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* The module's table of functions, which ends with an empty row. */
extern PyMethodDef module_functions[];

#endif
