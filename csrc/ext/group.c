/* Group: see group.h. Members lie in an array, so that a message costs each of them a reference
 * and an entry in its mailbox; a dict from channel to place finds them by name. A member that
 * leaves is replaced by the last one. Dict and array agree whenever Python runs: names are of
 * str's own type, so that comparing those that are there runs none, and references are dropped
 * last. */
#include "group.h"

#include "clock.h"
#include "delivery.h"

#define MEMBERS_ROOM_FIRST 4

/* ---- Places ---- */

Py_ssize_t
group_find(const Group *self, PyObject *channel)
{
    if (self->places == NULL) {
        return -1; /* cleared by the garbage collector */
    }
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

/* ---- Lists of members ---- */

member_list *
group_share_members(Group *self)
{
    if (self->members != NULL) {
        self->members->owners++;
    }
    return self->members;
}

void
members_release(member_list *members)
{
    if (members == NULL || --members->owners > 0) {
        return;
    }
    for (size_t i = 0; i < members->count; i++) {
        Py_DECREF(members->items[i].channel);
        Py_DECREF(members->items[i].mailbox);
    }
    PyMem_Free(members);
}

int
members_traverse(const member_list *members, visitproc visit, void *arg)
{
    for (size_t i = 0; members != NULL && i < members->count; i++) {
        Py_VISIT(members->items[i].channel);
        Py_VISIT(members->items[i].mailbox);
    }
    return 0;
}

/* A list of its own for somebody who shares it. NULL with MemoryError. */
static member_list *
members_copy(const member_list *members, size_t room)
{
    member_list *copy = PyMem_Malloc(sizeof(*copy) + room * sizeof(copy->items[0]));
    if (copy == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    *copy = (member_list){.owners = 1, .room = room};
    for (; members != NULL && copy->count < members->count; copy->count++) {
        copy->items[copy->count] = members->items[copy->count];
        Py_INCREF(copy->items[copy->count].channel);
        Py_INCREF(copy->items[copy->count].mailbox);
    }
    return copy;
}

/* Sees to it that the list can be changed, with room for so many. 0, or -1. */
static int
group_own_members(Group *self, size_t count)
{
    member_list *members = self->members;
    size_t room = members == NULL ? MEMBERS_ROOM_FIRST : members->room;
    while (room < count) {
        room *= 2;
    }
    if (members != NULL && members->owners == 1) {
        if (room == members->room) {
            return 0;
        }
        members = PyMem_Realloc(members, sizeof(*members) + room * sizeof(members->items[0]));
        if (members == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        members->room = room;
        self->members = members;
        return 0;
    }
    self->members = members_copy(members, room);
    if (self->members == NULL) {
        self->members = members;
        return -1;
    }
    if (members != NULL) {
        members->owners--; /* there are others, or it would not have been copied */
    }
    return 0;
}

/* ---- Members ---- */

static size_t
group_count(const Group *self)
{
    return self->members == NULL ? 0 : self->members->count;
}

static int
group_append(Group *self, PyObject *channel, Mailbox *mailbox, double now)
{
    size_t count = group_count(self);
    if (group_own_members(self, count + 1) < 0 || group_set_place(self, channel, count) < 0) {
        return -1;
    }
    self->members->items[self->members->count++] =
        (membership){.channel = Py_NewRef(channel),
                     .mailbox = (Mailbox *)Py_NewRef((PyObject *)mailbox),
                     .joined = now};
    mailbox->groups++;
    return 0;
}

/* Renews the membership at a place, maybe with another mailbox of its channel. 0, or -1. */
static int
group_renew(Group *self, size_t place, Mailbox *mailbox, double now)
{
    if (group_own_members(self, 0) < 0) {
        return -1;
    }
    membership *member = &self->members->items[place];
    member->joined = now;
    if (member->mailbox != mailbox) {
        Mailbox *replaced = member->mailbox;
        member->mailbox = (Mailbox *)Py_NewRef((PyObject *)mailbox);
        mailbox->groups++;
        replaced->groups--;
        self->departures++;
        Py_DECREF(replaced);
    }
    return 0;
}

/* Takes the member at a place out; the last one comes to its place. 0, or -1. */
static int
group_remove(Group *self, size_t place)
{
    size_t last = group_count(self) - 1;
    if (group_own_members(self, 0) < 0) {
        return -1;
    }
    membership *items = self->members->items;
    membership removed = items[place];
    if (place != last && group_set_place(self, items[last].channel, place) < 0) {
        return -1;
    }
    items[place] = items[last];
    self->members->count = last;
    self->departures++;
    int result = PyDict_DelItem(self->places, removed.channel);
    assert(result < 0 || PyDict_GET_SIZE(self->places) == (Py_ssize_t)last);
    removed.mailbox->groups--;
    Py_DECREF(removed.channel);
    Py_DECREF(removed.mailbox);
    return result;
}

bool
group_member_is_void(const Group *self, const membership *member, double now)
{
    bool unread = !self->keeps_unread && member->joined < member->mailbox->lapsed;
    return unread || member->joined <= member->mailbox->left ||
           now - member->joined > self->expiry;
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
    member_list *members = self->members;
    self->members = NULL;
    for (size_t i = 0; members != NULL && i < members->count; i++) {
        members->items[i].mailbox->groups--;
    }
    members_release(members);
    Py_CLEAR(self->places);
    Delivery *line = self->line;
    self->line = NULL;
    delivery_drop(line);
    return 0;
}

static int
group_traverse(Group *self, visitproc visit, void *arg)
{
    Py_VISIT(self->places);
    Py_VISIT(self->line);
    int stopped = members_traverse(self->members, visit, arg);
    return stopped != 0 ? stopped : visit((PyObject *)Py_TYPE(self), arg);
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
    PyObject *name;
    Mailbox *mailbox;
    if (group_check(self) < 0 ||
        !PyArg_ParseTuple(args, "UO!:add", &name, self->state->mailbox_type, &mailbox)) {
        return NULL;
    }
    PyObject *channel = PyUnicode_FromObject(name); /* of str's own type */
    Py_ssize_t place = channel == NULL ? -2 : group_find(self, channel);
    int result = -1;
    if (place >= 0) {
        result = group_renew(self, (size_t)place, mailbox, clock_seconds());
    }
    else if (place == -1) {
        result = group_append(self, channel, mailbox, clock_seconds());
    }
    Py_XDECREF(channel);
    return result < 0 ? NULL : PyBool_FromLong(place < 0);
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

int
group_remove_void(Group *self, double now)
{
    for (size_t i = 0; i < group_count(self);) {
        if (!group_member_is_void(self, &self->members->items[i], now)) {
            i++;
        }
        else if (group_remove(self, i) < 0) {
            return -1;
        }
    }
    return 0;
}

PyDoc_STRVAR(
    send_doc,
    "send($self, message, expiry=None, /)\n--\n\n"
    "An awaitable that puts a copy of the message into the mailbox of everyone who is a member\n"
    "now, and wakes their readers; it gives the loop back in between. A message of type\n"
    "\"broadcast.message\" is written to the connections that are attached, past their\n"
    "consumers. An `expiry` in seconds takes the place of the mailboxes'.\n\n"
    "Gives how many got it and how many did not, as they were full. Ends memberships that have\n"
    "expired, and those of channels on which a message has expired unread.");

static PyObject *
group_send(Group *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 2) {
        PyErr_Format(PyExc_TypeError, "send() takes 1 or 2 arguments, got %zd", nargs);
        return NULL;
    }
    if (group_check(self) < 0) {
        return NULL;
    }
    return delivery_new(self, args[0], nargs > 1 ? args[1] : NULL);
}

PyDoc_STRVAR(expire_doc, "expire($self, /)\n--\n\n"
                         "End the memberships that are over; returns how many are left.");

static PyObject *
group_expire(Group *self, PyObject *Py_UNUSED(ignored))
{
    if (group_remove_void(self, clock_seconds()) < 0) {
        return NULL;
    }
    return PyLong_FromSize_t(group_count(self));
}

PyDoc_STRVAR(members_doc, "members($self, /)\n--\n\n"
                          "A dict from each member's channel to the seconds since it joined.");

static PyObject *
group_members(Group *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *result = PyDict_New();
    double now = clock_seconds();
    member_list *members = group_share_members(self);
    for (size_t i = 0; members != NULL && result != NULL && i < members->count; i++) {
        const membership *member = &members->items[i];
        if (group_member_is_void(self, member, now)) {
            continue;
        }
        PyObject *age = PyFloat_FromDouble(now - member->joined);
        if (age == NULL || PyDict_SetItem(result, member->channel, age) < 0) {
            Py_CLEAR(result);
        }
        Py_XDECREF(age);
    }
    members_release(members);
    return result;
}

static Py_ssize_t
group_length(Group *self)
{
    return (Py_ssize_t)group_count(self);
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
