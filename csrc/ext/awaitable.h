/* Awaitable: one receive() or send() under way; also a collections.abc.Coroutine, as applications
 * make tasks of it.
 *
 * Nothing happens until it is awaited in the loop. It completes without suspending whenever it
 * can. */
#ifndef ATALANTA_EXT_AWAITABLE_H
#define ATALANTA_EXT_AWAITABLE_H

#include "protocol.h"

extern PyType_Spec awaitable_spec;

/* send(event), or receive() for NULL. New reference. */
PyObject *awaitable_new(Protocol *protocol, PyObject *event);

#endif
