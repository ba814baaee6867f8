/* Parser: see parser.h. The same core and assembly as the protocol's, pulled by whoever has bytes.
 */
#include "parser.h"

#include "assembly.h"
#include "byte_buffer.h"

typedef struct {
    PyObject_HEAD
    ws_conn conn;
    assembly message;
    byte_buffer kept;
    int failure; /* ws_error that feed() raises from now on, or 0 */
} Parser;

static PyObject *
parser_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    Parser *self = (Parser *)type->tp_alloc(type, 0);
    module_state *state = self == NULL ? NULL : module_state_of((PyObject *)self);
    if (state == NULL) {
        Py_XDECREF(self);
        return NULL;
    }
    ws_conn_init(&self->conn, &(ws_conn_config){.mask = state->mask});
    return (PyObject *)self;
}

static int
parser_init(Parser *self, PyObject *args, PyObject *kwargs)
{
    static const char *const keywords[] = {"max_message_size", "client", NULL};
    Py_ssize_t max_message = 16 * 1024 * 1024;
    int client = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$np:Parser", KEYWORD_LIST(keywords),
                                     &max_message, &client)) {
        return -1;
    }
    if (max_message < 0) {
        PyErr_SetString(PyExc_ValueError, "max_message_size must be 0 (no limit) or more");
        return -1;
    }
    module_state *state = module_state_of((PyObject *)self);
    if (state == NULL) {
        return -1;
    }
    byte_buffer_drop(&self->kept);
    assembly_drop(&self->message);
    self->failure = 0;
    ws_conn_init(&self->conn, &(ws_conn_config){.mask = state->mask,
                                                .max_message = (size_t)max_message,
                                                .client = client != 0});
    return 0;
}

static int
parser_traverse(Parser *self, visitproc visit, void *arg)
{
    return visit((PyObject *)Py_TYPE(self), arg);
}

static void
parser_dealloc(Parser *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    byte_buffer_drop(&self->kept);
    assembly_drop(&self->message);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

/* (opcode, payload), or (8, (code, reason)). Takes over the payload's reference. */
static int
append_event_steal(PyObject *events, int opcode, PyObject *payload)
{
    PyObject *pair = payload == NULL ? NULL : Py_BuildValue("(iN)", opcode, payload);
    int result = pair == NULL ? -1 : PyList_Append(events, pair);
    Py_XDECREF(pair);
    return result;
}

static int
take_control(PyObject *events, const ws_event *event)
{
    const char *payload = (const char *)event->control;
    switch (event->type) {
    case WS_EVENT_PING:
        return append_event_steal(events, WS_OPCODE_PING,
                                  PyBytes_FromStringAndSize(payload, event->control_size));
    case WS_EVENT_PONG:
        return append_event_steal(events, WS_OPCODE_PONG,
                                  PyBytes_FromStringAndSize(payload, event->control_size));
    case WS_EVENT_CLOSE:
    case WS_EVENT_DATA:
        break;
    }
    return append_event_steal(
        events, WS_OPCODE_CLOSE,
        Py_BuildValue("(is#)", event->close_code, payload, (Py_ssize_t)event->control_size));
}

static int
take_event(Parser *self, PyObject *events, const ws_event *event)
{
    if (event->type != WS_EVENT_DATA) {
        return take_control(events, event);
    }
    PyObject *message;
    int taken = assembly_take(&self->message, &self->conn, event, &message, &self->failure);
    if (taken == 1) {
        return append_event_steal(events, event->opcode, message);
    }
    return taken == -1 ? -1 : 0;
}

static int
parse(Parser *self, PyObject *events, const uint8_t *data, size_t n)
{
    while (n > 0 && self->failure == 0) {
        ws_event event;
        size_t consumed;
        int found = ws_conn_next(&self->conn, data, n, &consumed, &event);
        data += consumed;
        n -= consumed;
        if (found == 0) {
            return n == 0 ? 0 : byte_buffer_append(&self->kept, data, n);
        }
        if (found < 0) {
            self->failure = found;
        }
        else if (take_event(self, events, &event) < 0) {
            return -1;
        }
    }
    return 0;
}

static void
raise_failure(const Parser *self, module_state *state)
{
    PyObject *error = PyObject_CallFunction(state->parse_error, "s", ws_error_text(self->failure));
    PyObject *code = PyLong_FromLong(ws_error_close_code(self->failure));
    if (error != NULL && code != NULL && PyObject_SetAttrString(error, "close_code", code) == 0) {
        PyErr_SetObject(state->parse_error, error);
    }
    Py_XDECREF(error);
    Py_XDECREF(code);
}

PyDoc_STRVAR(
    feed_doc,
    "feed($self, data, /)\n--\n\n"
    "Parse the next bytes of the connection, cut anywhere.\n\n"
    "Return a list of (opcode, payload): 1 with str and 2 with bytes for whole messages, 9\n"
    "and 10 with bytes for ping and pong, 8 with (code, reason) for close (code 1005 when\n"
    "there was none). Raise ParseError (a ValueError; its close_code is RFC 6455's) when the\n"
    "peer breaks the protocol: once what came before is returned, and at every call from then\n"
    "on.");

static PyObject *
parser_feed(Parser *self, PyObject *data)
{
    module_state *state = module_state_of((PyObject *)self);
    PyObject *events = state == NULL ? NULL : PyList_New(0);
    Py_buffer view;
    if (events == NULL) {
        return NULL;
    }
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        Py_DECREF(events);
        return NULL;
    }
    byte_buffer kept = byte_buffer_move(&self->kept);
    int result;
    if (kept.size == 0) {
        result = parse(self, events, view.buf, (size_t)view.len);
    }
    else {
        result = byte_buffer_append(&kept, view.buf, (size_t)view.len);
        if (result == 0) {
            result = parse(self, events, kept.data, kept.size);
        }
    }
    byte_buffer_drop(&kept);
    PyBuffer_Release(&view);
    if (result == 0 && self->failure != 0 && PyList_GET_SIZE(events) == 0) {
        raise_failure(self, state);
        result = -1;
    }
    if (result < 0) {
        Py_DECREF(events);
        return NULL;
    }
    return events;
}

static PyMethodDef parser_methods[] = {
    {"feed", (PyCFunction)parser_feed, METH_O, feed_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(parser_doc,
             "Parser(*, max_message_size=16777216, client=False)\n--\n\n"
             "A parser of WebSocket frames (RFC 6455) that assembles messages.\n\n"
             "It reads what clients send (masked), or what servers send when client is true.\n"
             "max_message_size is in bytes; 0 means no limit, less is a ValueError.");

static PyType_Slot parser_slots[] = {
    {Py_tp_doc, (void *)parser_doc},
    {Py_tp_new, parser_new},
    {Py_tp_init, parser_init},
    {Py_tp_dealloc, parser_dealloc},
    {Py_tp_traverse, parser_traverse},
    {Py_tp_methods, parser_methods},
    {0, NULL},
};

PyType_Spec parser_spec = {
    .name = "atalanta._core.Parser",
    .basicsize = sizeof(Parser),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = parser_slots,
};
