/* Deliveries of one sender's messages, message by message and member by member. */
#include "ledger.h"

#include "common.h"

#include <string.h>

void
ledger_begin(struct ledger *ledger, size_t members, size_t capacity)
{
    ledger->members = members;
    ledger->capacity = capacity;
    ledger->words = (members + 63) / 64;
    ledger->entries = allocate(capacity, sizeof *ledger->entries);
    ledger->bits = allocate(capacity, ledger->words * sizeof *ledger->bits);
    ledger->expected = allocate(members, sizeof *ledger->expected);
    for (size_t i = 0; i < capacity; i++) {
        ledger->entries[i].has = ledger->bits + i * ledger->words;
    }
}

bool
ledger_has_room(const struct ledger *ledger)
{
    return ledger->entries[ledger->next % ledger->capacity].missing == 0;
}

uint64_t
ledger_send(struct ledger *ledger, uint64_t since)
{
    struct ledger_entry *entry = &ledger->entries[ledger->next % ledger->capacity];
    entry->sequence = ledger->next;
    entry->since = since;
    entry->missing = ledger->members;
    memset(entry->has, 0, ledger->words * sizeof *entry->has);
    ledger->incomplete++;
    ledger->missing += ledger->members;
    return ledger->next++;
}

enum delivery
ledger_deliver(struct ledger *ledger, size_t member, uint64_t sequence, uint64_t *since)
{
    struct ledger_entry *entry = &ledger->entries[sequence % ledger->capacity];
    uint64_t bit = UINT64_C(1) << (member & 63);
    uint64_t *word = &entry->has[member >> 6];

    if (sequence >= ledger->next) {
        return DELIVERY_UNKNOWN;
    }
    /* An entry is used again only when every member has had its message. */
    if (entry->sequence != sequence || entry->missing == 0 || (*word & bit) != 0) {
        return DELIVERY_DUPLICATED;
    }
    *word |= bit;
    *since = entry->since;
    ledger->missing--;
    bool last = --entry->missing == 0;
    ledger->incomplete -= last;
    if (sequence < ledger->expected[member]) {
        return last ? DELIVERY_REORDERED_LAST : DELIVERY_REORDERED;
    }
    ledger->expected[member] = sequence + 1;
    return last ? DELIVERY_LAST : DELIVERY_FIRST;
}

bool
ledger_oldest_missing(const struct ledger *ledger, uint64_t *sequence, size_t *member)
{
    const struct ledger_entry *oldest = NULL;
    for (size_t i = 0; i < ledger->capacity; i++) {
        const struct ledger_entry *entry = &ledger->entries[i];
        if (entry->missing > 0 && (oldest == NULL || entry->sequence < oldest->sequence)) {
            oldest = entry;
        }
    }
    if (oldest == NULL) {
        return false;
    }
    *sequence = oldest->sequence;
    *member = 0;
    while ((oldest->has[*member >> 6] >> (*member & 63) & 1) != 0) {
        (*member)++;
    }
    return true;
}
