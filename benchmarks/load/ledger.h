/* Who got which group message: the books of one sender, kept over the messages that are not yet
 * everywhere. */
#ifndef LOAD_LEDGER_H
#define LOAD_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum delivery {
    DELIVERY_FIRST,     /* the member did not have it yet */
    DELIVERY_LAST,      /* and now every member has it */
    DELIVERY_REORDERED, /* new, but after a later message of the same sender */
    DELIVERY_REORDERED_LAST,
    DELIVERY_DUPLICATED,
    DELIVERY_UNKNOWN /* never sent */
};

struct ledger_entry {
    uint64_t sequence;
    uint64_t since; /* when it was sent or due, nanoseconds */
    size_t missing; /* members that do not have it */
    uint64_t *has;  /* one bit for each member */
};

struct ledger {
    size_t members, capacity, words;
    struct ledger_entry *entries; /* message n at n % capacity */
    uint64_t *bits;
    uint64_t *expected;  /* for each member: one more than the highest sequence it has seen */
    uint64_t next;       /* sequence of the next message */
    uint64_t incomplete; /* messages that some member lacks */
    uint64_t missing;    /* deliveries that are outstanding */
};

void ledger_begin(struct ledger *ledger, size_t members, size_t capacity);

/* There is room for one more message. */
bool ledger_has_room(const struct ledger *ledger);

/* Enters a message and returns its sequence number. */
uint64_t ledger_send(struct ledger *ledger, uint64_t since);

/* Books a delivery. *since is set when it is a first one. */
enum delivery ledger_deliver(struct ledger *ledger, size_t member, uint64_t sequence,
                             uint64_t *since);

/* The oldest message that is not everywhere, and the first member without it; false if there is
 * none. */
bool ledger_oldest_missing(const struct ledger *ledger, uint64_t *sequence, size_t *member);

#endif
