/* Group: see group.h. Members lie in an array, so that a message costs each of them a reference
 * and an entry in its mailbox; a dict from channel to place finds them by name. A member that
 * leaves is replaced by the last one.
 *
 * Sending calls into Python (the loop's call_soon, destructors), which may change the group: a
 * message goes to those who were members when it was sent. */
#include "group.h"

#include <math.h>

#include "broadcast.h"
#include "clock.h"
#include "mailbox.h"
#include "message_copy.h"

typedef struct {
    PyObject *channel;
    Mailbox *mailbox;
    double joined; /* clock_seconds of the last join */
} membership;

typedef struct {
    PyObject_HEAD
    module_state *state; /* borrowed: the type keeps the module alive */
    PyObject *places;    /* dict: channel -> index into members */
    membership *members;
    size_t count;
    size_t room;
    double expiry;    /* seconds from the last join to the end of a membership */
    int keeps_unread; /* a message that expires unread does not end its channel's membership */
} Group;

/* ---- Members ---- */

/* The member's place; -1 if there is none, -2 with an exception. */
static Py_ssize_t
group_find(Group *self, PyObject *channel)
{
    PyObject *place = PyDict_GetItemWithError(self->places, channel);
    if (place == NULL) {
        return PyErr_Occurred() ? -2 : -1;
    }
    return PyLong_AsSsize_t(place);
}

static int
group_set_place(Group *self, PyObject *channel, size_t place)
{
    PyObject *number = PyLong_FromSize_t(place);
    if (number == NULL) {
        return -1;
    }
    int result = PyDict_SetItem(self->places, channel, number);
    Py_DECREF(number);
    return result;
}

static int
group_grow(Group *self)
{
    size_t room = self->room == 0 ? 4 : self->room * 2;
    membership *members = PyMem_Realloc(self->members, room * sizeof(*members));
    if (members == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->members = members;
    self->room = room;
    return 0;
}

static int
group_append(Group *self, PyObject *channel, Mailbox *mailbox, double now)
{
    if (self->count == self->room && group_grow(self) < 0) {
        return -1;
    }
    if (group_set_place(self, channel, self->count) < 0) {
        return -1;
    }
    self->members[self->count++] =
        (membership){.channel = Py_NewRef(channel),
                     .mailbox = (Mailbox *)Py_NewRef((PyObject *)mailbox),
                     .joined = now};
    mailbox->groups++;
    return 0;
}

/* Takes the member at a place out; the last one comes to its place. 0, or -1. */
static int
group_remove(Group *self, size_t place)
{
    membership removed = self->members[place];
    size_t last = self->count - 1;
    if (place != last && group_set_place(self, self->members[last].channel, place) < 0) {
        return -1;
    }
    self->members[place] = self->members[last];
    self->count = last;
    int result = PyDict_DelItem(self->places, removed.channel);
    removed.mailbox->groups--;
    Py_DECREF(removed.channel);
    Py_DECREF(removed.mailbox);
    return result;
}

/* Whether the membership has ended: too old, or its channel lets messages expire unread. */
static bool
member_is_void(const Group *self, const membership *member, double now)
{
    bool unread = !self->keeps_unread && member->joined < member->mailbox->lapsed;
    return unread || now - member->joined > self->expiry;
}

/* ---- The type ---- */

static int
group_init(Group *self, PyObject *args, PyObject *kwargs)
{
    static const char *const keywords[] = {"expiry", "keeps_unread", NULL};
    double expiry;
    int keeps_unread = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "d|p:Group", KEYWORD_LIST(keywords), &expiry,
                                     &keeps_unread)) {
        return -1;
    }
    if (self->places != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "a Group is initialised once");
        return -1;
    }
    self->state = module_state_of((PyObject *)self);
    self->places = self->state == NULL ? NULL : PyDict_New();
    self->expiry = expiry;
    self->keeps_unread = keeps_unread;
    return self->places == NULL ? -1 : 0;
}

static int
group_tp_clear(Group *self)
{
    membership *members = self->members;
    size_t count = self->count;
    self->members = NULL;
    self->count = 0;
    self->room = 0;
    for (size_t i = 0; i < count; i++) {
        members[i].mailbox->groups--;
        Py_DECREF(members[i].channel);
        Py_DECREF(members[i].mailbox);
    }
    PyMem_Free(members);
    Py_CLEAR(self->places);
    return 0;
}

static int
group_traverse(Group *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->places);
    for (size_t i = 0; i < self->count; i++) {
        Py_VISIT(self->members[i].channel);
        Py_VISIT(self->members[i].mailbox);
    }
    return 0;
}

static void
group_dealloc(Group *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    group_tp_clear(self);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static int
group_check(const Group *self)
{
    if (self->places == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Group.__init__ was not called");
        return -1;
    }
    return 0;
}

PyDoc_STRVAR(add_doc, "add($self, channel, mailbox, /)\n--\n\n"
                      "Make the channel a member, or renew its membership. True if it was none.");

static PyObject *
group_add(Group *self, PyObject *args)
{
    PyObject *channel;
    Mailbox *mailbox;
    if (group_check(self) < 0 ||
        !PyArg_ParseTuple(args, "UO!:add", &channel, self->state->mailbox_type, &mailbox)) {
        return NULL;
    }
    Py_ssize_t place = group_find(self, channel);
    if (place == -2) {
        return NULL;
    }
    if (place >= 0 && self->members[place].mailbox == mailbox) {
        self->members[place].joined = clock_seconds();
        Py_RETURN_FALSE;
    }
    if (place >= 0 && group_remove(self, (size_t)place) < 0) {
        return NULL;
    }
    if (group_append(self, channel, mailbox, clock_seconds()) < 0) {
        return NULL;
    }
    return PyBool_FromLong(place < 0);
}

PyDoc_STRVAR(discard_doc, "discard($self, channel, /)\n--\n\n"
                          "End the channel's membership. True if it was a member.");

static PyObject *
group_discard(Group *self, PyObject *channel)
{
    if (group_check(self) < 0) {
        return NULL;
    }
    Py_ssize_t place = group_find(self, channel);
    if (place == -2 || (place >= 0 && group_remove(self, (size_t)place) < 0)) {
        return NULL;
    }
    return PyBool_FromLong(place >= 0);
}

typedef enum { DELIVERY_FULL, DELIVERY_DONE, DELIVERY_VOID } delivery;

/* One message on its way to all members. */
typedef struct {
    PyObject *message;
    broadcast_frames frames; /* of a broadcast */
    PyObject *loop;          /* that runs in this thread, for a broadcast; else NULL */
    double now;
    double expiry; /* seconds, or MAILBOX_EXPIRY */
} group_message;

/* Whether the message is a broadcast and the member's connection may be written to here. */
static bool
goes_to_connection(const group_message *message, const Mailbox *mailbox)
{
    const Protocol *connection = mailbox->connection;
    return message->loop != NULL && connection != NULL && connection->broadcast != NULL &&
           connection->loop == message->loop && connection->phase == PHASE_OPEN;
}

/* A delivery to one who was a member when the message was sent, or -1. */
static int
deliver(const Group *self, const membership *member, group_message *message)
{
    mailbox_expire(member->mailbox, message->now);
    if (member_is_void(self, member, message->now)) {
        return DELIVERY_VOID;
    }
    if (!goes_to_connection(message, member->mailbox)) {
        return mailbox_put(member->mailbox, message->message, message->now, message->expiry);
    }
    Protocol *connection = (Protocol *)Py_NewRef((PyObject *)member->mailbox->connection);
    int result = broadcast_write(connection, &message->frames);
    Py_DECREF(connection);
    return result;
}

/* Ends memberships that are over. 0, or -1. */
static int
remove_void(Group *self, double now)
{
    for (size_t i = 0; i < self->count;) {
        if (!member_is_void(self, &self->members[i], now)) {
            i++;
        }
        else if (group_remove(self, i) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Delivers to every member; counts deliveries by kind. 0, or -1. */
static int
deliver_to_all(Group *self, group_message *message, Py_ssize_t counts[3])
{
    size_t count = self->count;
    membership *members = PyMem_Malloc((count + 1) * sizeof(*members));
    if (members == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        members[i] = self->members[i];
        Py_INCREF(members[i].mailbox);
    }
    int result = 0;
    for (size_t i = 0; i < count; i++) {
        if (result >= 0) {
            result = deliver(self, &members[i], message);
        }
        if (result >= 0) {
            counts[result]++;
        }
        Py_DECREF(members[i].mailbox);
    }
    PyMem_Free(members);
    if (result >= 0 && counts[DELIVERY_VOID] > 0) {
        result = remove_void(self, message->now);
    }
    return result < 0 ? -1 : 0;
}

static void
group_message_end(group_message *message)
{
    broadcast_frames_end(&message->frames);
    Py_CLEAR(message->loop);
    Py_CLEAR(message->message);
}

/* Prepares a message, whose type and shape decide whether it is a broadcast: applications may use
 * the type for events of their own. 0, or -1. */
static int
group_message_begin(const Group *self, PyObject *event, PyObject *expiry, group_message *message)
{
    const module_state *state = self->state;
    *message = (group_message){.now = clock_seconds(), .expiry = mailbox_parse_expiry(expiry)};
    if (isnan(message->expiry)) {
        return -1;
    }
    PyObject *type = PyDict_Check(event) ? PyDict_GetItem(event, state->names.type) : NULL;
    int broadcast =
        type == NULL ? 0 : PyObject_RichCompareBool(type, state->names.broadcast_type, Py_EQ);
    if (broadcast < 0) {
        return -1;
    }
    message->message = message_copy(state, event);
    if (message->message == NULL) {
        return -1;
    }
    if (broadcast && broadcast_frames_begin(&message->frames, state, event) > 0) {
        message->loop = PyObject_CallNoArgs(state->get_running_loop);
    }
    if (PyErr_Occurred()) {
        group_message_end(message);
        return -1;
    }
    return 0;
}

PyDoc_STRVAR(
    send_doc,
    "send($self, message, expiry=None, /)\n--\n\n"
    "Put a copy of the message into every member's mailbox and wake their readers. A message of "
    "type\n"
    "\"broadcast.message\" is written to the connections that are attached, past their "
    "consumers.\n"
    "An `expiry` in seconds takes the place of the mailboxes'.\n\n"
    "Returns how many got it and how many did not, as they were full. Ends memberships that have\n"
    "expired, and those of channels on which a message has expired unread.");

static PyObject *
group_send(Group *self, PyObject *const *args, Py_ssize_t nargs)
{
    group_message message;
    if (nargs < 1 || nargs > 2) {
        PyErr_Format(PyExc_TypeError, "send() takes 1 or 2 arguments, got %zd", nargs);
        return NULL;
    }
    if (group_check(self) < 0 ||
        group_message_begin(self, args[0], nargs > 1 ? args[1] : NULL, &message) < 0) {
        return NULL;
    }
    Py_ssize_t counts[3] = {0, 0, 0};
    int result = deliver_to_all(self, &message, counts);
    group_message_end(&message);
    return result < 0 ? NULL : Py_BuildValue("nn", counts[DELIVERY_DONE], counts[DELIVERY_FULL]);
}

PyDoc_STRVAR(expire_doc, "expire($self, /)\n--\n\n"
                         "End the memberships that are over; returns how many are left.");

static PyObject *
group_expire(Group *self, PyObject *Py_UNUSED(ignored))
{
    if (remove_void(self, clock_seconds()) < 0) {
        return NULL;
    }
    return PyLong_FromSize_t(self->count);
}

PyDoc_STRVAR(members_doc, "members($self, /)\n--\n\n"
                          "A dict from each member's channel to the seconds since it joined.");

static PyObject *
group_members(Group *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *result = PyDict_New();
    double now = clock_seconds();
    for (size_t i = 0; result != NULL && i < self->count; i++) {
        if (member_is_void(self, &self->members[i], now)) {
            continue;
        }
        PyObject *age = PyFloat_FromDouble(now - self->members[i].joined);
        if (age == NULL || PyDict_SetItem(result, self->members[i].channel, age) < 0) {
            Py_CLEAR(result);
        }
        Py_XDECREF(age);
    }
    return result;
}

static Py_ssize_t
group_length(Group *self)
{
    return (Py_ssize_t)self->count;
}

static PyMethodDef group_methods[] = {
    {"add", (PyCFunction)group_add, METH_VARARGS, add_doc},
    {"discard", (PyCFunction)group_discard, METH_O, discard_doc},
    {"send", (PyCFunction)(void (*)(void))group_send, METH_FASTCALL, send_doc},
    {"expire", (PyCFunction)group_expire, METH_NOARGS, expire_doc},
    {"members", (PyCFunction)group_members, METH_NOARGS, members_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(
    group_doc,
    "Group(expiry, keeps_unread=False)\n--\n\n"
    "The members of one group in this process. A membership ends `expiry` seconds after its\n"
    "last add, and when a message expires that its channel has not read, unless\n"
    "`keeps_unread`.");

static PyType_Slot group_slots[] = {
    {Py_tp_doc, (void *)group_doc},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, group_init},
    {Py_tp_dealloc, group_dealloc},
    {Py_tp_traverse, group_traverse},
    {Py_tp_clear, group_tp_clear},
    {Py_tp_methods, group_methods},
    {Py_sq_length, group_length},
    {0, NULL},
};

PyType_Spec group_spec = {
    .name = "atalanta._core.Group",
    .basicsize = sizeof(Group),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = group_slots,
};
