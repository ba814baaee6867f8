/* Poller: see poller.h. Any Python that runs may end connections and make others: an event is no
 * more than a descriptor, and what it belongs to is looked up when its turn comes. A socket that
 * turns out not to be ready is no harm, as receiving never waits. */
#include "poller.h"

#include "loop_state.h"
#include "protocol.h"

#ifdef __linux__
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#endif

/* Events that are asked for at once. */
#define BATCH 128

struct poller_object {
    PyObject_HEAD
    LoopState *per_loop;
    int epoll;
    long process;       /* that made it: a child shares it, and must not change what it watches */
    Protocol **sockets; /* by descriptor; owned, NULL for none */
    size_t capacity;
    size_t count; /* of them */
};

/* ---- The system ---- */

#ifdef __linux__

static void
poller_close(const Poller *self)
{
    if (self->epoll >= 0) {
        close(self->epoll);
    }
}

static void
poller_open(Poller *self)
{
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    self->process = (long)getpid();
}

static bool
system_watch(const Poller *self, int descriptor)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = descriptor}};
    return epoll_ctl(self->epoll, EPOLL_CTL_ADD, descriptor, &event) == 0;
}

/* Of a descriptor that is closed the system knows nothing any more. */
static void
system_unwatch(const Poller *self, int descriptor)
{
    if (self->process == (long)getpid()) {
        struct epoll_event ignored = {.events = 0};
        (void)epoll_ctl(self->epoll, EPOLL_CTL_DEL, descriptor, &ignored);
    }
}

#else

static void
poller_close(const Poller *Py_UNUSED(self))
{
}

static void
poller_open(Poller *self)
{
    self->epoll = -1;
}

static bool
system_watch(const Poller *Py_UNUSED(self), int Py_UNUSED(descriptor))
{
    return false;
}

static void
system_unwatch(const Poller *Py_UNUSED(self), int Py_UNUSED(descriptor))
{
}

#endif

/* ---- Which connections ---- */

static void
poller_remove(Poller *self, int descriptor)
{
    Protocol *connection = self->sockets[descriptor];
    assert(connection != NULL && connection->polled == descriptor && self->count > 0);
    self->sockets[descriptor] = NULL;
    self->count--;
    connection->polled = -1;
    Py_DECREF(connection);
}

/* Room for the descriptor in the table. */
static bool
poller_reserve(Poller *self, size_t descriptor)
{
    size_t capacity = self->capacity == 0 ? 64 : self->capacity;
    while (capacity <= descriptor) {
        capacity *= 2;
    }
    if (capacity == self->capacity) {
        return true;
    }
    Protocol **sockets = PyMem_Realloc(self->sockets, capacity * sizeof(*sockets));
    if (sockets == NULL) {
        return false;
    }
    memset(sockets + self->capacity, 0, (capacity - self->capacity) * sizeof(*sockets));
    self->sockets = sockets;
    self->capacity = capacity;
    return true;
}

/* Whether the connection is watched from now on. */
static bool
poller_watch(Poller *self, Protocol *connection)
{
    const int descriptor = connection->output.descriptor;
    if (descriptor < 0 || !poller_reserve(self, (size_t)descriptor)) {
        return false;
    }
    if (self->sockets[descriptor] != NULL) {
        /* Its transport was given another protocol and closed: we were not told. */
        poller_remove(self, descriptor);
    }
    if (!system_watch(self, descriptor)) {
        return false;
    }
    self->sockets[descriptor] = (Protocol *)Py_NewRef((PyObject *)connection);
    self->count++;
    connection->polled = descriptor;
    return true;
}

void
poller_leave(Protocol *connection)
{
    const int descriptor = connection->polled;
    if (descriptor < 0) {
        return;
    }
    Poller *self = connection->per_loop->poller;
    system_unwatch(self, descriptor);
    poller_remove(self, descriptor);
}

bool
poller_pause(Protocol *connection)
{
    if (connection->reading != READ_BY_POLLER) {
        return false;
    }
    poller_leave(connection);
    return true;
}

/* ---- Life ---- */

static int
poller_clear(Poller *self)
{
    if (self->per_loop != NULL && self->per_loop->poller == self) {
        self->per_loop->poller = NULL;
    }
    Protocol **sockets = self->sockets;
    const size_t capacity = self->capacity;
    self->sockets = NULL;
    self->capacity = 0;
    self->count = 0;
    /* All of them are left before the first one goes, which can run what ends others. */
    for (size_t i = 0; i < capacity; i++) {
        if (sockets[i] != NULL) {
            sockets[i]->polled = -1;
        }
    }
    for (size_t i = 0; i < capacity; i++) {
        Py_XDECREF(sockets[i]);
    }
    PyMem_Free(sockets);
    Py_CLEAR(self->per_loop);
    return 0;
}

static int
poller_traverse(Poller *self, visitproc visit, void *arg)
{
    Py_VISIT(self->per_loop);
    for (size_t i = 0; i < self->capacity; i++) {
        Py_VISIT(self->sockets[i]);
    }
    return visit((PyObject *)Py_TYPE(self), arg);
}

static void
poller_dealloc(Poller *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    poller_clear(self);
    poller_close(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* Has the loop watch and call the poller. Somebody may have closed a descriptor of the same number
 * that the loop still takes for watched: it would leave ours out. 0, or -1. */
static int
poller_start(Poller *self, PyObject *loop)
{
    const module_state *state = self->per_loop->state;
    PyObject *descriptor = PyLong_FromLong(self->epoll);
    PyObject *removed = NULL;
    PyObject *added = NULL;
    if (descriptor != NULL) {
        removed = PyObject_CallMethodOneArg(loop, state->names.remove_reader, descriptor);
    }
    if (removed != NULL) {
        added = PyObject_CallMethodObjArgs(loop, state->names.add_reader, descriptor,
                                           (PyObject *)self, NULL);
    }
    const int result = added == NULL ? -1 : 0;
    Py_XDECREF(descriptor);
    Py_XDECREF(removed);
    Py_XDECREF(added);
    return result;
}

/* The poller of the connection's loop, made at its first use. Borrowed: the loop owns it. NULL
 * with an exception, or without one where there can be none. */
static Poller *
poller_of(const Protocol *connection)
{
    LoopState *per_loop = connection->per_loop;
    if (per_loop->poller != NULL) {
        return per_loop->poller;
    }
    Poller *self = PyObject_GC_New(Poller, connection->state->poller_type);
    if (self == NULL) {
        return NULL;
    }
    memset((char *)self + sizeof(PyObject), 0, sizeof(*self) - sizeof(PyObject));
    self->per_loop = (LoopState *)Py_NewRef((PyObject *)per_loop);
    poller_open(self);
    PyObject_GC_Track(self);
    if (self->epoll >= 0) {
        if (poller_start(self, connection->loop) == 0) {
            per_loop->poller = self;
        }
        else if (PyErr_ExceptionMatches(PyExc_OSError) ||
                 PyErr_ExceptionMatches(PyExc_NotImplementedError)) {
            PyErr_Clear(); /* a loop that cannot watch such a descriptor */
        }
    }
    Py_DECREF(self);
    return per_loop->poller;
}

/* ---- From the transport, and back to it ---- */

/* Whether the transport is there and not closing, so that the descriptor is its socket's. 1, 0, or
 * -1. */
static int
transport_is_open(const Protocol *connection)
{
    PyObject *closing =
        protocol_ask_transport(connection, connection->state->names.is_closing, NULL);
    if (closing == NULL) {
        return -1;
    }
    const bool open = closing == Py_False && connection->transport != NULL;
    Py_DECREF(closing);
    return open;
}

int
poller_resume(Protocol *connection)
{
    if (connection->reading != READ_BY_POLLER) {
        return 0;
    }
    const int open = transport_is_open(connection);
    if (open <= 0) {
        return open < 0 ? -1 : 1;
    }
    Poller *self = connection->per_loop->poller;
    if (self != NULL && poller_watch(self, connection)) {
        return 1;
    }
    connection->reading = READ_BY_TRANSPORT;
    return 0;
}

/* Has the transport pause, and watches in its place. 0, or -1. */
static int
take_over(Poller *self, Protocol *connection)
{
    if (protocol_call_transport(connection, connection->state->names.pause_reading) < 0) {
        return -1;
    }
    const int open = transport_is_open(connection);
    if (open <= 0) {
        return open;
    }
    if (!poller_watch(self, connection)) {
        return protocol_call_transport(connection, connection->state->names.resume_reading);
    }
    connection->reading = READ_BY_POLLER;
    return 0;
}

int
poller_take(Protocol *connection)
{
    if (connection->reading != READ_UNDECIDED || connection->output.descriptor < 0 ||
        connection->phase != PHASE_OPEN || connection->closing || connection->reading_paused) {
        return 0;
    }
    connection->reading = READ_BY_TRANSPORT;
    const int open = transport_is_open(connection);
    if (open <= 0) {
        return open;
    }
    Poller *self = poller_of(connection);
    if (self == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    Py_INCREF(self);
    const int result = take_over(self, connection);
    Py_DECREF(self);
    return result;
}

#ifdef __linux__

static int
give_back(Protocol *connection)
{
    poller_leave(connection);
    connection->reading = READ_BY_TRANSPORT;
    return protocol_call_transport(connection, connection->state->names.resume_reading);
}

/* Whether the transport's socket is still for us to read. 1, 0 (then it is not watched any more),
 * or -1. */
static int
may_receive(Protocol *connection)
{
    const int open = transport_is_open(connection);
    if (open <= 0) {
        poller_leave(connection);
        return open;
    }
    PyObject *protocol =
        protocol_ask_transport(connection, connection->state->names.get_protocol, NULL);
    if (protocol == NULL) {
        return -1;
    }
    const bool ours = protocol == (PyObject *)connection;
    Py_DECREF(protocol);
    if (!ours) {
        return give_back(connection);
    }
    return connection->polled >= 0;
}

/* Receives once, as a loop does for each socket that is ready. 0, or -1. */
static int
receive(Protocol *connection)
{
    size_t size;
    uint8_t *place = protocol_receive_space(connection, &size);
    if (place == NULL) {
        return -1;
    }
    ssize_t n;
    do {
        n = recv(connection->polled, place, size, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        return protocol_received(connection, place, (size_t)n);
    }
    if (n == 0) {
        return give_back(connection);
    }
    if (errno == EAGAIN) {
        return 0;
    }
    /* A socket tells its error once: what the transport would find is an orderly end. */
    poller_leave(connection);
    return protocol_abort_transport(connection);
}

/* What a transport does about an exception of its protocol's: the loop's handler is told, and the
 * connection ends. 0, or -1. */
static int
report_exception(Protocol *connection)
{
    PyObject *error = exception_take();
    poller_leave(connection);
    PyObject *transport = connection->transport == NULL ? Py_None : connection->transport;
    PyObject *context =
        Py_BuildValue("{sssOsOsO}", "message", "Fatal error: a connection's input failed.",
                      "exception", error, "transport", transport, "protocol", connection);
    PyObject *result = NULL;
    if (context != NULL) {
        result = PyObject_CallMethodOneArg(
            connection->loop, connection->state->names.call_exception_handler, context);
    }
    Py_XDECREF(context);
    Py_XDECREF(result);
    Py_DECREF(error);
    return result == NULL ? -1 : protocol_abort_transport(connection);
}

/* 0, or -1 with what ends the loop. */
static int
serve(Protocol *connection, uint32_t events)
{
    int result = may_receive(connection);
    if (result > 0) {
        result = events == EPOLLIN ? receive(connection) : give_back(connection);
    }
    if (result < 0 && !PyErr_ExceptionMatches(PyExc_SystemExit) &&
        !PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        result = report_exception(connection);
    }
    return result;
}

/* Serves every socket that is ready, once: more than a batch of them are served round robin. */
static PyObject *
poller_call(Poller *self, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    struct epoll_event events[BATCH];
    const size_t most = self->count;
    size_t served = 0;
    int count;
    do {
        count = epoll_wait(self->epoll, events, BATCH, 0);
        for (int i = 0; i < count; i++, served++) {
            const size_t descriptor = (size_t)events[i].data.fd;
            if (descriptor >= self->capacity || self->sockets[descriptor] == NULL) {
                continue; /* left meanwhile */
            }
            PyObject *connection = Py_NewRef((PyObject *)self->sockets[descriptor]);
            const int result = serve((Protocol *)connection, events[i].events);
            Py_DECREF(connection);
            if (result < 0) {
                return NULL;
            }
        }
    } while (count == BATCH && served < most);
    Py_RETURN_NONE;
}

#else

static PyObject *
poller_call(Poller *Py_UNUSED(self), PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    Py_RETURN_NONE;
}

#endif

static PyType_Slot poller_slots[] = {
    {Py_tp_doc, (void *)"Receives from all plain sockets of a loop that are ready."},
    {Py_tp_dealloc, poller_dealloc},
    {Py_tp_traverse, poller_traverse},
    {Py_tp_clear, poller_clear},
    {Py_tp_call, poller_call},
    {0, NULL},
};

PyType_Spec poller_spec = {
    .name = "atalanta._core.Poller",
    .basicsize = sizeof(Poller),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = poller_slots,
};
