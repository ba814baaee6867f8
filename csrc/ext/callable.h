/* Callable: the `receive` and the `send` that an application is given. */
#ifndef ATALANTA_EXT_CALLABLE_H
#define ATALANTA_EXT_CALLABLE_H

#include "protocol.h"

extern PyType_Spec callable_spec;

/* A `send` or a `receive` of that connection. New reference. */
PyObject *callable_new(Protocol *protocol, bool sends);

/* The connection whose `receive` this is; NULL (no exception) for any other object. Borrowed. */
Protocol *callable_receives_from(const module_state *state, PyObject *object);

/* Marks the type the way inspect, asyncio and asgiref look for coroutine functions. 0, or -1. */
int callable_type_prepare(PyTypeObject *type);

#endif
