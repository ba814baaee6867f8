/* WebSocket load client for the benchmarks: one thread, epoll, Linux only, no dependency but libc
 * and zlib. */
#include "modes.h"
#include "options.h"

int
main(int argc, char **argv)
{
    static int (*const run[MODE_COUNT])(const struct options *) = {[MODE_ECHO] = run_echo,
                                                                   [MODE_GROUP] = run_group,
                                                                   [MODE_STORM] = run_storm,
                                                                   [MODE_IDLE] = run_idle,
                                                                   [MODE_SLOW] = run_slow,
                                                                   [MODE_BURST] = run_burst};
    struct options options;
    options_parse(&options, argc, argv);
    return run[options.mode](&options);
}
