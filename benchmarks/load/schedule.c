/* Due instants of a fixed rate. */
#include "schedule.h"

#include "common.h"

static uint64_t
due(const struct schedule *schedule, uint64_t number)
{
    return schedule->begin + (uint64_t)((double)number * schedule->interval_ns);
}

void
schedule_begin(struct schedule *schedule, double rate, size_t streams, uint64_t now)
{
    schedule->interval_ns = (double)NS_PER_S / rate;
    schedule->begin = now;
    schedule->streams = streams;
    schedule->next = 0;
}

uint64_t
schedule_due(const struct schedule *schedule, size_t stream, uint64_t message)
{
    return due(schedule, message * schedule->streams + stream);
}

uint64_t
schedule_next(const struct schedule *schedule)
{
    return due(schedule, schedule->next);
}

size_t
schedule_take(struct schedule *schedule, uint64_t now)
{
    if (schedule_next(schedule) > now) {
        return SIZE_MAX;
    }
    return (size_t)(schedule->next++ % schedule->streams);
}
