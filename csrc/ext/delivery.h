/* Delivery: one message on its way to all who were members of a group when it was sent.
 *
 * An awaitable that gives the loop back between slices, so that a large group holds up nobody.
 * Deliveries of one group that begin on one loop reach every member in the order of their
 * beginning; a member that leaves in between gets nothing more. What goes wrong with one member is
 * raised when all others have the message. */
#ifndef ATALANTA_EXT_DELIVERY_H
#define ATALANTA_EXT_DELIVERY_H

#include "group.h"

typedef struct delivery_object Delivery;

extern PyType_Spec delivery_spec;

/* Prepares a message, whose type and shape decide whether it is a broadcast: applications may use
 * the type for events of their own. `expiry` as mailbox_parse_expiry. New reference, or NULL. */
PyObject *delivery_new(Group *group, PyObject *event, PyObject *expiry);

/* Forgets the deliveries from this one on, for a group that ends. */
void delivery_drop(Delivery *self);

#endif
