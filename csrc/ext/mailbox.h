/* Mailbox: the messages of one channel that were not received yet, and who waits for them.
 *
 * First in, first out; each message goes to one reader. Owns no memory for messages while empty.
 * Any thread may put; a reader is resumed in its own loop. */
#ifndef ATALANTA_EXT_MAILBOX_H
#define ATALANTA_EXT_MAILBOX_H

#include "module.h"
#include "object_list.h"
#include "waiter.h"

struct protocol_object;

typedef struct {
    PyObject *message; /* never handed out while another mailbox has it too */
    double expires;    /* clock_seconds */
    bool own_expiry;   /* the sender's: that it expires says nothing of the reader */
} mailbox_slot;

typedef struct mailbox_object {
    PyObject_HEAD
    module_state *state; /* borrowed: the type keeps the module alive */
    mailbox_slot *slots; /* a ring; NULL while empty */
    size_t head;
    size_t count;
    size_t room;
    size_t capacity;  /* messages, at least 1 */
    double expiry;    /* seconds from put to oblivion */
    size_t own_count; /* of messages with an expiry of their own */
    double earliest;  /* when the first message expires, of all; kept while own_count > 0 */
    double lapsed;    /* when a message expired unread: memberships older than that are void */
    double left;      /* when its reader ended: so are those, whatever the group keeps */
    Py_ssize_t holds; /* of those who read from it, if not at the moment */
    size_t groups;    /* that it is a member of */
    Waiter *reader;   /* the first that waits, or NULL */
    object_list more_readers;           /* the other Waiters */
    struct protocol_object *connection; /* which broadcasts are written to, or NULL */
} Mailbox;

extern PyType_Spec mailbox_spec;

/* Appends a message that nobody else changes and wakes a reader; `expiry` in seconds,
 * MAILBOX_EXPIRY for the mailbox's own. 1, 0 when full, or -1: where only waking has failed, the
 * message is there for the next wake. */
#define MAILBOX_EXPIRY (-1.0)
int mailbox_put(Mailbox *self, PyObject *message, double now, double expiry);

/* The seconds of an `expiry` argument: MAILBOX_EXPIRY for None or NULL. NaN with an exception. */
double mailbox_parse_expiry(PyObject *expiry);

/* The oldest message that has not expired, copied unless it is the only one of its kind. New
 * reference; NULL without an exception when there is none. */
PyObject *mailbox_take(Mailbox *self);

/* Forgets messages that have expired at `now`. */
void mailbox_expire(Mailbox *self, double now);

/* Has the waiter woken when a message arrives. 0, or -1. */
int mailbox_add_reader(Mailbox *self, Waiter *waiter);

/* No-op for a waiter that is none of its readers. */
void mailbox_remove_reader(Mailbox *self, Waiter *waiter);

/* Wakes a reader if there is a message: for a reader that was woken and does not take it. 0; or
 * -1, and the reader waits on. */
int mailbox_wake_reader(Mailbox *self);

#endif
