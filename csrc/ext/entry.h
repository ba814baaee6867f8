/* Entry: the asyncio protocol of a connection whose first request is not known yet (a
 * BufferedProtocol).
 *
 * It looks at the first bytes, decides once, and hands the connection with all its bytes to a
 * method of its Python class: _upgrade for a WebSocket, _hand_over for everything else, _overdue
 * when they do not come in time. Until then it is what the server knows of the connection, and
 * what its limit of connections counts. The class gives the limits: first_request_timeout in
 * seconds (0 for none) and max_undecided_size in bytes. Depends on lent_buffer for reading, on
 * core's upgrade for the decision. */
#ifndef ATALANTA_EXT_ENTRY_H
#define ATALANTA_EXT_ENTRY_H

#include "module.h"

extern PyType_Spec entry_spec;

#endif
