/* Scope: see scope.h. Bytes stay bytes, in their order; only the path is decoded. */
#include "scope.h"

/* Sets and releases: dict[key] = value, where value may be NULL with an exception. */
static int
scope_set_steal(PyObject *scope, PyObject *key, PyObject *value)
{
    int result = value == NULL ? -1 : PyDict_SetItem(scope, key, value);
    Py_XDECREF(value);
    return result;
}

/* (host, port) of an address of either IP family; what a Unix socket gives: (path, None) for the
 * server, None for the client. Takes over the reference. */
static PyObject *
address_steal(PyObject *address, bool server)
{
    PyObject *result = NULL;
    if (address == NULL || (PyTuple_CheckExact(address) && PyTuple_GET_SIZE(address) == 2)) {
        return address;
    }
    if ((PyTuple_Check(address) || PyList_Check(address)) && PySequence_Size(address) >= 2) {
        PyObject *host = PySequence_GetItem(address, 0);
        PyObject *port = host == NULL ? NULL : PySequence_GetItem(address, 1);
        if (port != NULL) {
            result = PyTuple_Pack(2, host, port);
        }
        Py_XDECREF(host);
        Py_XDECREF(port);
    }
    else if (server && PyUnicode_Check(address) && PyUnicode_GET_LENGTH(address) > 0) {
        result = PyTuple_Pack(2, address, Py_None);
    }
    else {
        result = Py_NewRef(Py_None);
    }
    Py_DECREF(address);
    return result;
}

static PyObject *
build_headers(const ws_request *request)
{
    PyObject *headers = PyList_New((Py_ssize_t)request->header_count);
    if (headers == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < request->header_count; i++) {
        const ws_header *header = &request->headers[i];
        PyObject *name = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)header->name.size);
        PyObject *value = PyBytes_FromStringAndSize((const char *)header->value.data,
                                                    (Py_ssize_t)header->value.size);
        PyObject *pair = name == NULL || value == NULL ? NULL : PyTuple_Pack(2, name, value);
        if (name != NULL) {
            char *lower = PyBytes_AS_STRING(name);
            for (size_t j = 0; j < header->name.size; j++) {
                lower[j] = (char)Py_TOLOWER(header->name.data[j]);
            }
        }
        Py_XDECREF(name);
        Py_XDECREF(value);
        if (pair == NULL) {
            Py_DECREF(headers);
            return NULL;
        }
        PyList_SET_ITEM(headers, (Py_ssize_t)i, pair);
    }
    return headers;
}

static PyObject *
build_subprotocols(const ws_request *request)
{
    PyObject *subprotocols = PyList_New(0);
    for (size_t i = 0; subprotocols != NULL && i < request->header_count; i++) {
        ws_slice rest = request->headers[i].value;
        ws_slice element;
        if (!ws_slice_equals(request->headers[i].name, "sec-websocket-protocol")) {
            continue;
        }
        while (ws_list_next(&rest, &element)) {
            PyObject *name =
                PyUnicode_DecodeLatin1((const char *)element.data, (Py_ssize_t)element.size, NULL);
            int failed = name == NULL ? -1 : PyList_Append(subprotocols, name);
            Py_XDECREF(name);
            if (failed < 0) {
                Py_DECREF(subprotocols);
                return NULL;
            }
        }
    }
    return subprotocols;
}

/* The target without the scheme and the authority of the absolute form (RFC 9112, section 3.2.2);
 * what is left may be no path but a query, or nothing. The target was validated. */
static ws_slice
origin_form(ws_slice target)
{
    if (target.data[0] == '/') {
        return target;
    }
    const uint8_t *colon = memchr(target.data, ':', target.size);
    assert(colon != NULL);
    size_t at = (size_t)(colon - target.data) + sizeof("://") - 1;
    while (at < target.size && target.data[at] != '/' && target.data[at] != '?') {
        at++;
    }
    return (ws_slice){target.data + at, target.size - at};
}

static int
hex_value(uint8_t digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    uint8_t lower = (uint8_t)(digit | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Percent-decoded and read as UTF-8; what is neither is kept as it is, or replaced by U+FFFD, as
 * urllib.parse.unquote does. */
static PyObject *
decode_path(ws_slice raw)
{
    uint8_t *decoded = PyMem_Malloc(raw.size + 1);
    if (decoded == NULL) {
        return PyErr_NoMemory();
    }
    size_t size = 0;
    for (size_t i = 0; i < raw.size; i++) {
        int high = -1;
        int low = -1;
        if (raw.data[i] == '%' && raw.size - i > 2) {
            high = hex_value(raw.data[i + 1]);
            low = hex_value(raw.data[i + 2]);
        }
        if (high >= 0 && low >= 0) {
            decoded[size++] = (uint8_t)(high * 16 + low);
            i += 2;
        }
        else {
            decoded[size++] = raw.data[i];
        }
    }
    PyObject *path = PyUnicode_DecodeUTF8((const char *)decoded, (Py_ssize_t)size, "replace");
    PyMem_Free(decoded);
    return path;
}

static int
scope_set_target(Protocol *self, PyObject *scope, ws_slice target)
{
    ws_slice raw = origin_form(target);
    ws_slice query = {raw.data + raw.size, 0};
    const uint8_t *mark = memchr(raw.data, '?', raw.size);
    if (mark != NULL) {
        size_t path_size = (size_t)(mark - raw.data);
        query = (ws_slice){mark + 1, raw.size - path_size - 1};
        raw.size = path_size;
    }
    if (raw.size == 0) {
        raw = (ws_slice){(const uint8_t *)"/", 1}; /* RFC 9110, section 4.2.3 */
    }
    const module_state *state = self->state;
    PyObject *path = decode_path(raw);
    PyObject *full = path == NULL ? NULL : PyUnicode_Concat(self->root_path, path);
    Py_XDECREF(path);
    if (scope_set_steal(scope, state->names.path, full) < 0) {
        return -1;
    }
    PyObject *raw_path = PyUnicode_AsUTF8String(self->root_path);
    if (raw_path != NULL) {
        PyBytes_ConcatAndDel(
            &raw_path, PyBytes_FromStringAndSize((const char *)raw.data, (Py_ssize_t)raw.size));
    }
    if (scope_set_steal(scope, state->names.raw_path, raw_path) < 0) {
        return -1;
    }
    return scope_set_steal(
        scope, state->names.query_string,
        PyBytes_FromStringAndSize((const char *)query.data, (Py_ssize_t)query.size));
}

/* transport.get_extra_info(name). New reference, or NULL. */
static PyObject *
ask_info(const Protocol *self, PyObject *name)
{
    return protocol_ask_transport(self, self->state->names.get_extra_info, name);
}

static int
scope_set_addresses(Protocol *self, PyObject *scope)
{
    const module_state *state = self->state;
    PyObject *tls = ask_info(self, state->names.sslcontext);
    int secure = tls == NULL ? -1 : PyObject_IsTrue(tls);
    Py_XDECREF(tls);
    if (secure < 0 || PyDict_SetItem(scope, state->names.scheme,
                                     secure ? state->names.wss : state->names.ws) < 0) {
        return -1;
    }
    PyObject *server = address_steal(ask_info(self, state->names.sockname), true);
    if (scope_set_steal(scope, state->names.server, server) < 0) {
        return -1;
    }
    PyObject *client = address_steal(ask_info(self, state->names.peername), false);
    return scope_set_steal(scope, state->names.client, client);
}

/* {"websocket.http.response": {}} */
static PyObject *
build_extensions(const module_state *state)
{
    PyObject *extensions = PyDict_New();
    if (extensions != NULL &&
        scope_set_steal(extensions, state->names.response_extension, PyDict_New()) < 0) {
        Py_DECREF(extensions);
        return NULL;
    }
    return extensions;
}

/* app_state.copy() */
static PyObject *
copy_state(Protocol *self)
{
    if (PyDict_CheckExact(self->app_state)) {
        return PyDict_Copy(self->app_state);
    }
    return PyObject_CallMethodNoArgs(self->app_state, self->state->names.copy);
}

PyObject *
scope_template(const module_state *state)
{
    PyObject *const keys[] = {
        state->names.type,         state->names.asgi,      state->names.http_version,
        state->names.scheme,       state->names.server,    state->names.client,
        state->names.root_path,    state->names.path,      state->names.raw_path,
        state->names.query_string, state->names.headers,   state->names.subprotocols,
        state->names.state,        state->names.extensions};
    PyObject *scope = PyDict_New();
    for (size_t i = 0; scope != NULL && i < Py_ARRAY_LENGTH(keys); i++) {
        if (PyDict_SetItem(scope, keys[i], Py_None) < 0) {
            Py_DECREF(scope);
            return NULL;
        }
    }
    if (scope != NULL &&
        (PyDict_SetItem(scope, state->names.type, state->names.websocket) < 0 ||
         scope_set_steal(scope, state->names.http_version, PyUnicode_FromString("1.1")) < 0)) {
        Py_DECREF(scope);
        return NULL;
    }
    return scope;
}

PyObject *
scope_build(Protocol *self, const ws_request *request)
{
    const module_state *state = self->state;
    PyObject *scope = PyDict_Copy(state->scope_template);
    if (scope == NULL) {
        return NULL;
    }
    if (scope_set_steal(scope, state->names.asgi, PyDict_Copy(state->asgi_versions)) < 0 ||
        scope_set_addresses(self, scope) < 0 ||
        PyDict_SetItem(scope, state->names.root_path, self->root_path) < 0 ||
        scope_set_target(self, scope, request->target) < 0 ||
        scope_set_steal(scope, state->names.headers, build_headers(request)) < 0 ||
        scope_set_steal(scope, state->names.subprotocols, build_subprotocols(request)) < 0 ||
        scope_set_steal(scope, state->names.state, copy_state(self)) < 0 ||
        scope_set_steal(scope, state->names.extensions, build_extensions(state)) < 0) {
        Py_DECREF(scope);
        return NULL;
    }
    return scope;
}
