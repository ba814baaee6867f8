/* The modes: each runs as the options say, prints its result and returns the exit status. */
#ifndef LOAD_MODES_H
#define LOAD_MODES_H

#include "options.h"

int run_echo(const struct options *options);
int run_group(const struct options *options);
int run_storm(const struct options *options);
int run_idle(const struct options *options);
int run_slow(const struct options *options);
int run_burst(const struct options *options);

#endif
