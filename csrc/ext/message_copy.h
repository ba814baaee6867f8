/* Copies of channel layer messages: sender and receivers never see each other's changes. */
#ifndef ATALANTA_EXT_MESSAGE_COPY_H
#define ATALANTA_EXT_MESSAGE_COPY_H

#include "module.h"

/* As copy.deepcopy gives it; plain dicts, lists and scalars without a call into Python. New
 * reference, or NULL. */
PyObject *message_copy(const module_state *state, PyObject *message);

#endif
