/* What all types of the extension share: the module's state and its interned names.
 *
 * Every type keeps a borrowed pointer to this state in its instances; the type's reference to its
 * module keeps the state alive. There is no static PyObject anywhere. */
#ifndef ATALANTA_EXT_MODULE_H
#define ATALANTA_EXT_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <stdbool.h>
#include <stdint.h>

#include "../core/mask.h"
#include "counters.h"
#include "free_list.h"

/* Names used as attribute, key or value on the way of every connection: X(field, "text"). */
#define ATALANTA_NAMES(X)                                                                         \
    X(abort, "abort")                                                                             \
    X(accept_type, "websocket.accept")                                                            \
    X(add_reader, "add_reader")                                                                   \
    X(asgi, "asgi")                                                                               \
    X(body, "body")                                                                               \
    X(body_type, "websocket.http.response.body")                                                  \
    X(broadcast_type, "broadcast.message")                                                        \
    X(bytes, "bytes")                                                                             \
    X(call_exception_handler, "call_exception_handler")                                           \
    X(call_later, "call_later")                                                                   \
    X(call_soon, "call_soon")                                                                     \
    X(call_soon_threadsafe, "call_soon_threadsafe")                                               \
    X(cancel, "cancel")                                                                           \
    X(can_write_eof, "can_write_eof")                                                             \
    X(client, "client")                                                                           \
    X(close, "close")                                                                             \
    X(close_type, "websocket.close")                                                              \
    X(code, "code")                                                                               \
    X(connect_type, "websocket.connect")                                                          \
    X(connection, "connection")                                                                   \
    X(connections, "connections")                                                                 \
    X(context, "context")                                                                         \
    X(copy, "copy")                                                                               \
    X(disconnect_type, "websocket.disconnect")                                                    \
    X(extensions, "extensions")                                                                   \
    X(first_request_timeout, "first_request_timeout")                                             \
    X(get_extra_info, "get_extra_info")                                                           \
    X(get_protocol, "get_protocol")                                                               \
    X(get_write_buffer_size, "get_write_buffer_size")                                             \
    X(hand_over, "_hand_over")                                                                    \
    X(handshake_answered, "handshake_answered")                                                   \
    X(headers, "headers")                                                                         \
    X(http_version, "http_version")                                                               \
    X(is_closing, "is_closing")                                                                   \
    X(keepalive_expired, "keepalive_expired")                                                     \
    X(load, "load")                                                                               \
    X(loaded, "loaded")                                                                           \
    X(max_undecided_size, "max_undecided_size")                                                   \
    X(more_body, "more_body")                                                                     \
    X(overdue, "_overdue")                                                                        \
    X(path, "path")                                                                               \
    X(pause_reading, "pause_reading")                                                             \
    X(peername, "peername")                                                                       \
    X(query_string, "query_string")                                                               \
    X(raw_path, "raw_path")                                                                       \
    X(reason, "reason")                                                                           \
    X(receive_type, "websocket.receive")                                                          \
    X(remove_reader, "remove_reader")                                                             \
    X(request_incomplete, "request_incomplete")                                                   \
    X(response_extension, "websocket.http.response")                                              \
    X(resume_reading, "resume_reading")                                                           \
    X(root_path, "root_path")                                                                     \
    X(scheme, "scheme")                                                                           \
    X(self, "__self__")                                                                           \
    X(send_type, "websocket.send")                                                                \
    X(server, "server")                                                                           \
    X(sockname, "sockname")                                                                       \
    X(sslcontext, "sslcontext")                                                                   \
    X(start_application, "start_application")                                                     \
    X(start_type, "websocket.http.response.start")                                                \
    X(state, "state")                                                                             \
    X(status, "status")                                                                           \
    X(subprotocol, "subprotocol")                                                                 \
    X(subprotocols, "subprotocols")                                                               \
    X(text, "text")                                                                               \
    X(type, "type")                                                                               \
    X(upgrade, "_upgrade")                                                                        \
    X(websocket, "websocket")                                                                     \
    X(write, "write")                                                                             \
    X(write_eof, "write_eof")                                                                     \
    X(ws, "ws")                                                                                   \
    X(ws_protocol_class, "ws_protocol_class")                                                     \
    X(wss, "wss")                                                                                 \
    X(throw_, "throw")                                                                            \
    X(dot, ".")                                                                                   \
    X(underscore, "_")                                                                            \
    X(empty, "")

/* The types, each with a `<name>_spec` in its own header: X(name). */
#define ATALANTA_TYPES(X)                                                                         \
    X(awaitable)                                                                                  \
    X(callable)                                                                                   \
    X(delivery)                                                                                   \
    X(dispatcher)                                                                                 \
    X(entry)                                                                                      \
    X(events)                                                                                     \
    X(group)                                                                                      \
    X(loop_state)                                                                                 \
    X(mailbox)                                                                                    \
    X(parser)                                                                                     \
    X(poller)                                                                                     \
    X(protocol)                                                                                   \
    X(timer_queue)                                                                                \
    X(turn)                                                                                       \
    X(waiter)

/* Other objects of the module's own: X(name). */
#define ATALANTA_OBJECTS(X)                                                                       \
    X(parse_error)         /* exception class, a subclass of ValueError */                        \
    X(client_disconnected) /* exception class, a subclass of OSError */                           \
    X(cancelled_error)     /* asyncio.CancelledError */                                           \
    X(current_tasks)       /* asyncio's dict from loop to running task, or NULL */                \
    X(current_task)        /* asyncio.current_task, where there is no such dict */                \
    X(enter_task)          /* asyncio.tasks._enter_task, likewise */                              \
    X(leave_task)          /* asyncio.tasks._leave_task, likewise */                              \
    X(get_running_loop)    /* asyncio's, which gives None where no loop runs */                   \
    X(deepcopy)            /* copy.deepcopy */                                                    \
    X(loop_states)         /* WeakKeyDictionary: event loop -> LoopState */                       \
    X(last_loop)           /* weak reference to the loop asked for last, or NULL */               \
    X(last_loop_state)     /* its LoopState */                                                    \
    X(status_phrases)      /* http.client.responses */                                            \
    X(context_keyword)     /* ("context",) */                                                     \
    X(receive_event)       /* {"type": "websocket.receive"}, copied for each message */           \
    X(handler_names)       /* dict: type of an event -> name of the consumer's handler */         \
    X(asgi_versions)       /* scope["asgi"], copied for each connection */                        \
    X(scope_template)      /* a scope with all its keys in their order, likewise */

/* PyArg_ParseTupleAndKeywords takes char **, and changes nothing. */
#define KEYWORD_LIST(names) ((char **)(uintptr_t)(names))

typedef struct {
    const ws_mask_kernel *mask;
#define ATALANTA_FIELD(name) PyTypeObject *name##_type;
    ATALANTA_TYPES(ATALANTA_FIELD)
#undef ATALANTA_FIELD
#define ATALANTA_FIELD(name) PyObject *name;
    ATALANTA_OBJECTS(ATALANTA_FIELD)
#undef ATALANTA_FIELD
    counters *counters;
    free_list awaitables;
    free_list waiters;
    struct {
#define ATALANTA_FIELD(field, text) PyObject *field;
        ATALANTA_NAMES(ATALANTA_FIELD)
#undef ATALANTA_FIELD
    } names;
} module_state;

extern struct PyModuleDef atalanta_module;

/* The state for an object whose type was made by this module, or derives from one that was. */
module_state *module_state_of(PyObject *object);

/* The exception that is set, and then is not any more: an instance with its traceback, as
 * PyErr_GetRaisedException of Python 3.12 gives it. New reference. */
PyObject *exception_take(void);

/* Raises an exception that was taken. */
void exception_raise_steal(PyObject *exception);

/* True when no Python task is running on that loop; -1 with an exception set. */
int loop_is_between_tasks(const module_state *state, PyObject *loop);

/* Makes the task current on a loop that is between tasks, and ends that. 0, or -1. */
int loop_enter_task(const module_state *state, PyObject *loop, PyObject *task);
int loop_leave_task(const module_state *state, PyObject *loop, PyObject *task);

#endif
