/* Group: the members of one channel layer group in this process, and one pass over them per
 * message (delivery.h). */
#ifndef ATALANTA_EXT_GROUP_H
#define ATALANTA_EXT_GROUP_H

#include "mailbox.h"

struct delivery_object;

typedef struct {
    PyObject *channel;
    Mailbox *mailbox;
    double joined; /* clock_seconds of the last join */
} membership;

/* Members, in an array that a group and its deliveries share: who wants to change one that has
 * other owners changes a copy. */
typedef struct {
    size_t owners;
    size_t count;
    size_t room;
    membership items[]; /* with their references */
} member_list;

typedef struct {
    PyObject_HEAD
    module_state *state;  /* borrowed: the type keeps the module alive */
    PyObject *places;     /* dict: channel -> index into members */
    member_list *members; /* NULL for none yet */
    uint64_t departures;  /* memberships that have ended */
    uint64_t slices;      /* of deliveries that were run */
    double expiry;        /* seconds from the last join to the end of a membership */
    int keeps_unread;     /* a message that expires unread does not end its channel's membership */
    struct delivery_object *line; /* deliveries that are half-way, the first sent first; or NULL */
} Group;

extern PyType_Spec group_spec;

/* The members as they are now, or NULL. Give it back with members_release. */
member_list *group_share_members(Group *self);

/* No-op for NULL. */
void members_release(member_list *members);

/* The references of the members, for tp_traverse of their one owner. */
int members_traverse(const member_list *members, visitproc visit, void *arg);

/* The member's place; -1 if there is none, -2 with an exception. */
Py_ssize_t group_find(const Group *self, PyObject *channel);

/* Whether the membership has ended: too old, or its channel lets messages expire unread. */
bool group_member_is_void(const Group *self, const membership *member, double now);

/* Ends memberships that are over. 0, or -1. */
int group_remove_void(Group *self, double now);

#endif
