/* The one line of JSON on stdout. */
#ifndef LOAD_REPORT_H
#define LOAD_REPORT_H

#include "client.h"
#include "histogram.h"

#include <stdint.h>

/* mode, seconds, operations, bytes and the client's CPU time: what every mode reports. */
void report_begin(const struct client *client, uint64_t operations);

void report_count(const char *name, uint64_t value);
void report_number(const char *name, double value);
void report_latency(const char *name, const struct histogram *histogram);

/* Ends the line and flushes it. */
void report_end(void);

#endif
