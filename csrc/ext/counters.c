/* Counters: see counters.h. */
#include "counters.h"

#include "broadcast.h"
#include "writer.h"

#define ATALANTA_NAME(suffix, name) name,
static const char *const refusal_names[] = {ATALANTA_REFUSALS(ATALANTA_NAME)};
static const char *const limit_names[] = {ATALANTA_LIMITS(ATALANTA_NAME)};
#undef ATALANTA_NAME

static int
find_name(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            return (int)i;
        }
    }
    PyErr_Format(PyExc_ValueError, "nothing is counted as %s", name);
    return -1;
}

int
refusal_from_name(const char *name)
{
    return find_name(refusal_names, REFUSED_COUNT, name);
}

int
limit_from_name(const char *name)
{
    return find_name(limit_names, LIMIT_COUNT, name);
}

const char *
limit_name(limit_kind which)
{
    return limit_names[which];
}

/* ---- The list ---- */

counters *
counters_new(void)
{
    counters *all = PyMem_Calloc(1, sizeof(*all));
    if (all == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    all->owners = 1;
    return all;
}

void
counters_release(counters *all)
{
    if (all != NULL && --all->owners == 0) {
        PyMem_Free(all);
    }
}

void
counters_join(Protocol *connection)
{
    counters *all = connection->state->counters;
    connection->next = all->connections;
    if (all->connections != NULL) {
        all->connections->previous = connection;
    }
    all->connections = connection;
    all->connection_count++;
    connection->counted_by = all;
    all->owners++;
}

void
counters_leave(Protocol *connection)
{
    counters *all = connection->counted_by;
    if (all == NULL) {
        return;
    }
    if (connection->previous != NULL) {
        connection->previous->next = connection->next;
    }
    else {
        all->connections = connection->next;
    }
    if (connection->next != NULL) {
        connection->next->previous = connection->previous;
    }
    connection->previous = connection->next = NULL;
    connection->counted_by = NULL;
    all->connection_count--;
    all->connections_closed += connection->opened ? 1 : 0;
    counters_release(all);
}

/* ---- Reading ---- */

typedef struct {
    size_t received; /* by us, and not taken by the application */
    size_t sent;     /* by the application, and not taken by the peer's system */
} queued_bytes;

/* The connections as a list that owns them: asking a transport runs Python. */
static PyObject *
listed_connections(const counters *all)
{
    PyObject *list = PyList_New(0);
    for (Protocol *item = all->connections; list != NULL && item != NULL; item = item->next) {
        /* One that is being destroyed may still be on the list, and must not be revived. */
        if (Py_REFCNT(item) > 0 && PyList_Append(list, (PyObject *)item) < 0) {
            Py_DECREF(list);
            return NULL;
        }
    }
    return list;
}

/* Adds what the connection's transport holds. 0, or -1. */
static int
add_transport(const Protocol *connection, queued_bytes *sum)
{
    /* Only what a transport did not take at once makes it pause, or us ask. */
    bool may_hold = connection->output.may_hold || connection->output.paused;
    if (connection->transport == NULL || !may_hold) {
        return 0;
    }
    size_t held;
    if (writer_transport_held(connection, &held) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError) &&
            !PyErr_ExceptionMatches(PyExc_NotImplementedError)) {
            return -1;
        }
        PyErr_Clear(); /* a transport that does not say */
        return 0;
    }
    sum->sent += held;
    return 0;
}

/* 0, or -1. */
static int
sum_queues(const counters *all, queued_bytes *sum)
{
    PyObject *list = listed_connections(all);
    int result = list == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(list); i++) {
        const Protocol *connection = (const Protocol *)PyList_GET_ITEM(list, i);
        sum->received += connection->queue.bytes + connection->kept.size - connection->held_at;
        sum->received += (size_t)connection->message.filled;
        sum->sent += connection->output.gathered.size;
        sum->sent += connection->broadcast == NULL ? 0 : connection->broadcast->size;
        result = add_transport(connection, sum);
    }
    Py_XDECREF(list);
    return result;
}

static int
set_number(PyObject *dict, const char *name, uint64_t value)
{
    PyObject *number = PyLong_FromUnsignedLongLong(value);
    int result = number == NULL ? -1 : PyDict_SetItemString(dict, name, number);
    Py_XDECREF(number);
    return result;
}

/* dict[key] = {name: number, …}. 0, or -1. */
static int
set_table(PyObject *dict, const char *key, const char *const *names, const uint64_t *values,
          size_t count)
{
    PyObject *table = PyDict_New();
    int result = table == NULL ? -1 : 0;
    for (size_t i = 0; result == 0 && i < count; i++) {
        result = set_number(table, names[i], values[i]);
    }
    if (result == 0) {
        result = PyDict_SetItemString(dict, key, table);
    }
    Py_XDECREF(table);
    return result;
}

/* 0, or -1. */
static int
fill(PyObject *dict, const counters *all, const queued_bytes *queued)
{
    uint64_t open = all->connections_opened - all->connections_closed;
    if (set_number(dict, "connections", open) < 0 ||
        set_number(dict, "handshakes_pending", all->connection_count - open) < 0 ||
        set_number(dict, "queued_bytes_received", queued->received) < 0 ||
        set_number(dict, "queued_bytes_sent", queued->sent) < 0) {
        return -1;
    }
#define ATALANTA_SET(field)                                                                       \
    if (set_number(dict, #field, all->field) < 0) {                                               \
        return -1;                                                                                \
    }
    ATALANTA_COUNTS(ATALANTA_SET)
#undef ATALANTA_SET
    if (set_table(dict, "handshakes_refused", refusal_names, all->refused, REFUSED_COUNT) < 0) {
        return -1;
    }
    return set_table(dict, "limits_exceeded", limit_names, all->limited, LIMIT_COUNT);
}

PyObject *
core_counters(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    const module_state *state = PyModule_GetState(module);
    queued_bytes queued = {0, 0};
    PyObject *dict = PyDict_New();
    if (dict == NULL || sum_queues(state->counters, &queued) < 0 ||
        fill(dict, state->counters, &queued) < 0) {
        Py_XDECREF(dict);
        return NULL;
    }
    return dict;
}
