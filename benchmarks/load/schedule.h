/* A fixed rate shared by several streams in turn: message k of stream s is number k * streams + s
 * of all, and is due that many intervals after the beginning, whatever became of those before it.
 * Latency that is counted from the due instant leaves nothing out when a server stalls (no
 * coordinated omission). */
#ifndef LOAD_SCHEDULE_H
#define LOAD_SCHEDULE_H

#include <stddef.h>
#include <stdint.h>

struct schedule {
    double interval_ns; /* 0: no schedule */
    uint64_t begin;
    uint64_t streams;
    uint64_t next; /* number of the first message that was not yet due */
};

void schedule_begin(struct schedule *schedule, double rate, size_t streams, uint64_t now);

uint64_t schedule_due(const struct schedule *schedule, size_t stream, uint64_t message);

/* When the next message of all falls due. */
uint64_t schedule_next(const struct schedule *schedule);

/* The stream whose turn has come, or SIZE_MAX when nothing more is due now. */
size_t schedule_take(struct schedule *schedule, uint64_t now);

#endif
