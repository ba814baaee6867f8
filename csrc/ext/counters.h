/* Counters: what all connections of the process did, and the list of those that are there now.
 *
 * Plain numbers in the module's state, changed under the GIL by whichever loop's thread runs.
 * Reading them walks the list for what is queued at that moment; nothing of that is kept up to
 * date while messages pass. */
#ifndef ATALANTA_EXT_COUNTERS_H
#define ATALANTA_EXT_COUNTERS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>

/* Why a handshake got another answer than 101: X(suffix, "name"). A limit has the name of its
 * setting. */
#define ATALANTA_REFUSALS(X)                                                                      \
    X(MALFORMED, "malformed")                                                                     \
    X(VERSION, "unsupported_version")                                                             \
    X(REQUEST_SIZE, "max_request_size")                                                           \
    X(REQUEST_TIMEOUT, "request_timeout")                                                         \
    X(ANSWER_TIMEOUT, "answer_timeout")                                                           \
    X(CONNECTIONS, "max_connections")                                                             \
    X(CONCURRENCY, "limit_concurrency")                                                           \
    X(APPLICATION, "application")                                                                 \
    X(APPLICATION_ERROR, "application_error")                                                     \
    X(SHUTDOWN, "shutdown")

/* The settings that ended an open connection: X(suffix, "name"). */
#define ATALANTA_LIMITS(X)                                                                        \
    X(MESSAGE_SIZE, "max_message_size")                                                           \
    X(FRAGMENTS, "max_fragments")                                                                 \
    X(LIFETIME, "lifetime")                                                                       \
    X(BROADCAST, "broadcast_limit")

/* X(field): a number that only grows, by its name. Bytes are those on the connection, before TLS.
 */
#define ATALANTA_COUNTS(X)                                                                        \
    X(connections_opened)                                                                         \
    X(connections_closed)                                                                         \
    X(messages_received)                                                                          \
    X(messages_sent)                                                                              \
    X(bytes_received)                                                                             \
    X(bytes_sent)                                                                                 \
    X(read_pauses)                                                                                \
    X(write_pauses)                                                                               \
    X(broadcasts_dropped)                                                                         \
    X(pings_lost)

#define ATALANTA_SUFFIX(suffix, name) REFUSED_##suffix,
typedef enum { ATALANTA_REFUSALS(ATALANTA_SUFFIX) REFUSED_COUNT } refusal_reason;
#undef ATALANTA_SUFFIX

#define ATALANTA_SUFFIX(suffix, name) LIMIT_##suffix,
typedef enum { ATALANTA_LIMITS(ATALANTA_SUFFIX) LIMIT_COUNT } limit_kind;
#undef ATALANTA_SUFFIX

struct protocol_object;

typedef struct {
#define ATALANTA_FIELD(field) uint64_t field;
    ATALANTA_COUNTS(ATALANTA_FIELD)
#undef ATALANTA_FIELD
    uint64_t refused[REFUSED_COUNT];
    uint64_t limited[LIMIT_COUNT];
    /* First of the list, all borrowed: they leave before they die. */
    struct protocol_object *connections;
    size_t connection_count; /* with handshakes that are not answered yet */
    size_t owners;           /* the module, and each connection: either may be collected first */
} counters;

/* For the module. NULL with MemoryError. */
counters *counters_new(void);

/* Gives up an owner's part; the last one frees the memory. NULL is none. */
void counters_release(counters *all);

/* The value for a name, or -1 with ValueError. */
int refusal_from_name(const char *name);
int limit_from_name(const char *name);

const char *limit_name(limit_kind which);

/* Puts a connection with a valid request on the list. */
void counters_join(struct protocol_object *connection);

/* Takes it off; no-op when it is not on it. */
void counters_leave(struct protocol_object *connection);

/* The module's function: the numbers as a new dict. */
PyObject *core_counters(PyObject *module, PyObject *Py_UNUSED(ignored));

#endif
