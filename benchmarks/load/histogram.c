/* Percentiles of a log-linear histogram. */
#include "histogram.h"

static double
bucket_middle_ns(size_t bucket)
{
    size_t shift = bucket >> HISTOGRAM_BITS;
    shift = shift > 0 ? shift - 1 : 0;
    uint64_t low = (uint64_t)(bucket - (shift << HISTOGRAM_BITS)) << shift;
    return (double)low + ((double)(UINT64_C(1) << shift) - 1) / 2;
}

double
histogram_percentile_us(const struct histogram *histogram, double share)
{
    uint64_t rank = (uint64_t)(share * (double)histogram->count);
    uint64_t seen = 0;
    for (size_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen > rank) {
            double middle = bucket_middle_ns(bucket);
            return (middle < (double)histogram->max_ns ? middle : (double)histogram->max_ns) / 1e3;
        }
    }
    return (double)histogram->max_ns / 1e3;
}

double
histogram_mean_us(const struct histogram *histogram)
{
    return histogram->count == 0 ? 0.0
                                 : (double)histogram->sum_ns / (double)histogram->count / 1e3;
}
