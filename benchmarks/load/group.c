/* Mode group: what a few members send reaches every member of their room, once and in order.
 *
 * Member i is in room i % rooms; within a room it has the number i / rooms, and the first
 * --senders of a room send. Sender s of room r has the number r * senders + s of all. A message is
 * {"message": "<sender>:<sequence>:<padding>"}. */
#define _GNU_SOURCE
#include "client.h"
#include "common.h"
#include "histogram.h"
#include "ledger.h"
#include "modes.h"
#include "report.h"
#include "schedule.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_HEAD "{\"message\": \""
#define MESSAGE_TAIL "\"}"

enum { CAPACITY_MIN = 16, CAPACITY_SCHEDULED = 4096 };

#define LEDGERS_BYTES_MAX (UINT64_C(256) << 20)

struct group {
    struct ledger *ledgers; /* one for each sender */
    size_t sender_count;
    struct schedule schedule;
    bool started;
    char *message; /* the padding, and room for one message in front of it */
    const char *padding;
    uint64_t outstanding; /* deliveries */
    uint64_t operations, messages_completed;
    uint64_t lost, duplicated, reordered, foreign, corrupted;
    struct histogram delivery, completion;
    char first_fault[256];
};

/* The run goes on to count them all; the first is told at the end. */
static void
note_fault(struct client *client, uint64_t *count, const struct connection *connection,
           const char *what, const uint8_t *data, size_t size)
{
    struct group *group = client->state;
    (*count)++;
    if (group->first_fault[0] == '\0') {
        snprintf(group->first_fault, sizeof group->first_fault,
                 "; the first: connection %zu: %s: %.*s", connection->index, what,
                 (int)(size < 100 ? size : 100), (const char *)data);
    }
}

static struct connection *
sender_connection(struct client *client, size_t sender)
{
    const struct options *options = client->options;
    return &client->connections[sender % options->senders * options->rooms
                                + sender / options->senders];
}

static size_t
room_members(const struct options *options, size_t room)
{
    return options->connections / options->rooms + (room < options->connections % options->rooms);
}

static void
begin_ledgers(struct group *group, const struct options *options)
{
    group->sender_count = options->rooms * options->senders;
    group->ledgers = allocate(group->sender_count, sizeof *group->ledgers);
    size_t wanted = options->rate > 0 ? CAPACITY_SCHEDULED : 4 * options->depth;
    size_t entry = sizeof(struct ledger_entry) + room_members(options, 0) / 8 + 8;
    size_t affordable = (size_t)LEDGERS_BYTES_MAX / group->sender_count / entry;
    size_t capacity = wanted < affordable ? wanted : affordable;
    capacity = capacity > CAPACITY_MIN ? capacity : CAPACITY_MIN;
    for (size_t i = 0; i < group->sender_count; i++) {
        ledger_begin(&group->ledgers[i], room_members(options, i / options->senders), capacity);
    }
}

static void
begin_padding(struct group *group, size_t size)
{
    char *padding = allocate(size + 1, 1);
    for (size_t i = 0; i < size; i++) {
        padding[i] = (char)('a' + random_number() % 26);
    }
    group->padding = padding;
    group->message = allocate(size + 1, 1);
}

/* The length of "<sender>:<sequence>:" and the padding together is the same for all. */
static size_t
padding_length(const struct options *options, size_t number_length)
{
    return options->size - (sizeof MESSAGE_HEAD - 1) - (sizeof MESSAGE_TAIL - 1) - number_length;
}

static void
send_message(struct client *client, size_t sender, uint64_t since)
{
    struct group *group = client->state;
    struct ledger *ledger = &group->ledgers[sender];
    char number[48];
    int number_length =
        snprintf(number, sizeof number, "%zu:%" PRIu64 ":", sender, ledger_send(ledger, since));
    int length = snprintf(
        group->message, client->options->size + 1, MESSAGE_HEAD "%s%.*s" MESSAGE_TAIL, number,
        (int)padding_length(client->options, (size_t)number_length), group->padding);
    group->outstanding += ledger->members;
    connection_queue(sender_connection(client, sender), OP_TEXT, group->message, (size_t)length);
}

/* Everything that this sender may send now. */
static void
send_due(struct client *client, size_t sender)
{
    struct group *group = client->state;
    struct ledger *ledger = &group->ledgers[sender];
    bool any = false;
    while (!client->draining && ledger_has_room(ledger)) {
        uint64_t since = client->now;
        if (client->options->rate > 0) {
            since = schedule_due(&group->schedule, sender, ledger->next);
        }
        if (since > client->now
            || (client->options->rate <= 0 && ledger->incomplete >= client->options->depth)) {
            break;
        }
        send_message(client, sender, since);
        any = true;
    }
    if (any) {
        connection_flush(client, sender_connection(client, sender));
    }
}

static void
group_turn(struct client *client)
{
    struct group *group = client->state;
    size_t sender;
    if (!group->started || client->draining) {
        return;
    }
    if (group->outstanding == 0) {
        client->progress = client->now;
    }
    if (client->options->rate <= 0) {
        return;
    }
    while ((sender = schedule_take(&group->schedule, client->now)) != SIZE_MAX
           && client->fault[0] == '\0') {
        send_due(client, sender);
    }
    client->wake = schedule_next(&group->schedule);
}

/* The value of "message" in a JSON object, and where it ends; NULL if there is none. */
static const char *
find_value(const char *text, size_t size, size_t *length)
{
    static const char name[] = "\"message\"";
    const char *end = text + size;
    const char *value = memmem(text, size, name, sizeof name - 1);
    if (value == NULL) {
        return NULL;
    }
    value += sizeof name - 1;
    while (value < end && (*value == ' ' || *value == ':')) {
        value++;
    }
    if (value == end || *value++ != '"') {
        return NULL;
    }
    const char *quote = memchr(value, '"', (size_t)(end - value));
    *length = quote != NULL ? (size_t)(quote - value) : 0;
    return quote != NULL ? value : NULL;
}

/* Digits and a colon; NULL if there is anything else. */
static const char *
parse_decimal(const char *text, const char *end, uint64_t *number)
{
    const char *digit = text;
    *number = 0;
    while (digit < end && *digit >= '0' && *digit <= '9' && digit - text < 19) {
        *number = *number * 10 + (uint64_t)(*digit++ - '0');
    }
    return digit > text && digit < end && *digit == ':' ? digit + 1 : NULL;
}

/* Sender and sequence of a delivered text whose every byte of the value is right. */
static bool
parse_delivery(const struct client *client, const char *text, size_t size, uint64_t *sender,
               uint64_t *sequence)
{
    const struct group *group = client->state;
    size_t length = 0;
    const char *value = find_value(text, size, &length);
    if (value == NULL) {
        return false;
    }
    const char *padding = parse_decimal(value, value + length, sender);
    padding = padding != NULL ? parse_decimal(padding, value + length, sequence) : NULL;
    if (padding == NULL) {
        return false;
    }
    size_t number_length = (size_t)(padding - value);
    size_t expected = padding_length(client->options, number_length);
    return length - number_length == expected && memcmp(padding, group->padding, expected) == 0;
}

static void
book_delivery(struct client *client, uint64_t since, size_t sender, bool last)
{
    struct group *group = client->state;
    group->outstanding--;
    client->progress = client->now;
    if (client->measuring) {
        group->operations++;
        histogram_add(&group->delivery, client->now - since);
        if (last) {
            group->messages_completed++;
            histogram_add(&group->completion, client->now - since);
        }
    }
    if (last) {
        send_due(client, sender);
    }
}

static void
take_delivery(struct client *client, struct connection *connection, const uint8_t *data,
              size_t size)
{
    struct group *group = client->state;
    const struct options *options = client->options;
    uint64_t sender, sequence, since = 0;
    if (connection->opcode != OP_TEXT
        || !parse_delivery(client, (const char *)data, size, &sender, &sequence)) {
        note_fault(client, &group->corrupted, connection,
                   "corrupted, expected the text of a sent message", data, size);
        return;
    }
    if (sender / options->senders != connection->index % options->rooms) {
        note_fault(client, &group->foreign, connection, "foreign, a message of another room", data,
                   size);
        return;
    }
    enum delivery delivery = ledger_deliver(&group->ledgers[sender],
                                            connection->index / options->rooms, sequence, &since);
    switch (delivery) {
    case DELIVERY_UNKNOWN:
        note_fault(client, &group->corrupted, connection,
                   "corrupted, a message that was never sent", data, size);
        return;
    case DELIVERY_DUPLICATED:
        note_fault(client, &group->duplicated, connection, "duplicated", data, size);
        return;
    case DELIVERY_REORDERED:
    case DELIVERY_REORDERED_LAST:
        note_fault(client, &group->reordered, connection,
                   "reordered, after a later one of its sender", data, size);
        break;
    case DELIVERY_FIRST:
    case DELIVERY_LAST: break;
    }
    book_delivery(client, since, (size_t)sender,
                  delivery == DELIVERY_LAST || delivery == DELIVERY_REORDERED_LAST);
}

static void
group_data(struct client *client, struct connection *connection, const uint8_t *data, size_t size,
           bool last)
{
    struct buffer *in = &connection->in;
    if (last && in->end == 0) {
        take_delivery(client, connection, data, size);
        return;
    }
    buffer_append(in, data, size);
    if (last) {
        take_delivery(client, connection, in->data, in->end);
        in->end = 0;
    }
}

/* The oldest message that some member lacks. */
static void
group_awaited(const struct client *client, char *out, size_t size)
{
    const struct group *group = client->state;
    const struct options *options = client->options;
    for (size_t sender = 0; sender < group->sender_count; sender++) {
        size_t member;
        uint64_t sequence;
        if (ledger_oldest_missing(&group->ledgers[sender], &sequence, &member)) {
            snprintf(out, size, "message %zu:%" PRIu64 " on connection %zu", sender, sequence,
                     member * options->rooms + sender / options->senders);
            return;
        }
    }
    snprintf(out, size, "a message");
}

static void
start(struct client *client)
{
    struct group *group = client->state;
    uint64_t begin = client->now = now_ns();
    uint64_t end = begin + (uint64_t)(client->options->settle * 1e9);
    while (client->now < end && client->fault[0] == '\0') {
        client_turn(client, end);
    }
    group->started = true;
    if (client->options->rate > 0) {
        schedule_begin(&group->schedule, client->options->rate, group->sender_count, client->now);
        client->wake = client->now;
        return;
    }
    for (size_t sender = 0; sender < group->sender_count && client->fault[0] == '\0'; sender++) {
        send_due(client, sender);
    }
}

static void
report(const struct client *client, double drain_seconds)
{
    const struct group *group = client->state;
    uint64_t sent = 0;
    for (size_t i = 0; i < group->sender_count; i++) {
        sent += group->ledgers[i].next;
    }
    report_begin(client, group->operations);
    report_latency("delivery_us", &group->delivery);
    report_latency("completion_us", &group->completion);
    report_count("messages_completed", group->messages_completed);
    report_count("messages_sent", sent);
    report_count("lost", group->lost);
    report_count("duplicated", group->duplicated);
    report_count("reordered", group->reordered);
    report_count("foreign", group->foreign);
    report_count("corrupted", group->corrupted);
    report_number("drain_seconds", drain_seconds);
    report_end();
}

int
run_group(const struct options *options)
{
    static const struct handler handler = {NULL, group_data, client_ended_is_fault, group_turn,
                                           group_awaited};
    static struct group group;
    static struct client client = {.state = &group};
    client_begin(&client, options, &handler, options->connections);
    begin_ledgers(&group, options);
    begin_padding(&group, options->size);
    client_open(&client);
    start(&client);
    client_measure(&client);
    double drain_seconds = client_drain(&client, &group.outstanding);
    group.lost = group.outstanding;
    report(&client, drain_seconds);
    if (group.lost > 0 && group.first_fault[0] == '\0') {
        int length = snprintf(group.first_fault, sizeof group.first_fault, "; the first: ");
        group_awaited(&client, group.first_fault + length,
                      sizeof group.first_fault - (size_t)length);
    }
    if (group.lost + group.duplicated + group.reordered + group.foreign + group.corrupted > 0) {
        client_fault(&client,
                     "lost %" PRIu64 ", duplicated %" PRIu64 ", reordered %" PRIu64
                     ", foreign %" PRIu64 ", corrupted %" PRIu64 " deliveries%s",
                     group.lost, group.duplicated, group.reordered, group.foreign, group.corrupted,
                     group.first_fault);
    }
    return client_end(&client);
}
