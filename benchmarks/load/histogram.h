/* Durations in fixed memory: log-linear buckets of a relative width below 1 %, exact mean and
 * maximum. */
#ifndef LOAD_HISTOGRAM_H
#define LOAD_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

enum {
    HISTOGRAM_BITS = 7, /* 128 buckets for every power of two */
    HISTOGRAM_BUCKETS = (64 - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS
};

struct histogram {
    uint64_t count;
    uint64_t sum_ns;
    uint64_t max_ns;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* Below 2**(BITS + 1) the bucket is the value itself; above, its BITS + 1 highest bits and its
 * magnitude. */
static inline size_t
histogram_bucket(uint64_t ns)
{
    unsigned shift = 0;
    if (ns >> (HISTOGRAM_BITS + 1) != 0) {
        shift = 63U - (unsigned)__builtin_clzll(ns) - HISTOGRAM_BITS;
    }
    return ((size_t)shift << HISTOGRAM_BITS) + (size_t)(ns >> shift);
}

static inline void
histogram_add(struct histogram *histogram, uint64_t ns)
{
    histogram->count++;
    histogram->sum_ns += ns;
    histogram->max_ns = ns > histogram->max_ns ? ns : histogram->max_ns;
    histogram->buckets[histogram_bucket(ns)]++;
}

/* The middle of the bucket that holds the value of this rank (0.5: the median), in microseconds; 0
 * when empty. */
double histogram_percentile_us(const struct histogram *histogram, double share);

double histogram_mean_us(const struct histogram *histogram);

#endif
