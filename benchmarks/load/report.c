/* The result as JSON, written field by field. */
#include "report.h"

#include <inttypes.h>
#include <stdio.h>

void
report_begin(const struct client *client, uint64_t operations)
{
    printf("{\"mode\": \"%s\"", mode_name(client->options->mode));
    report_number("seconds", (double)client->elapsed / 1e9);
    report_count("operations", operations);
    report_count("bytes_sent", client->bytes_sent);
    report_count("bytes_received", client->bytes_received);
    report_number("client_cpu_seconds", client->cpu_seconds);
}

void
report_count(const char *name, uint64_t value)
{
    printf(", \"%s\": %" PRIu64, name, value);
}

void
report_number(const char *name, double value)
{
    printf(", \"%s\": %.6f", name, value);
}

void
report_latency(const char *name, const struct histogram *histogram)
{
    printf(", \"%s\": {\"p50\": %.2f, \"p90\": %.2f, \"p99\": %.2f, \"p999\": %.2f, \"max\": "
           "%.2f, \"mean\": %.2f, "
           "\"count\": %" PRIu64 "}",
           name, histogram_percentile_us(histogram, 0.50),
           histogram_percentile_us(histogram, 0.90), histogram_percentile_us(histogram, 0.99),
           histogram_percentile_us(histogram, 0.999), (double)histogram->max_ns / 1e3,
           histogram_mean_us(histogram), histogram->count);
}

void
report_end(void)
{
    puts("}");
    fflush(stdout);
}
