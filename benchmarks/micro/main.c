/* Speed of the core's units without a network.
 *
 *     bench-micro [--json] [--repetitions N] [--milliseconds M] [UNIT...]
 *
 * Prints a Markdown table, or JSON; all units when none is named. Compiled by
 *
 *     cc -std=c11 -O3 -Icsrc/core -o bench-micro benchmarks/micro/[a-z]*.c csrc/core/[a-z]*.c -lz
 *
 * with -lz for the core's compression. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

typedef struct {
    const char *name;
    void (*run)(void);
} unit;

static const unit units[] = {
    {"mask", bench_mask}, {"frame", bench_frame},         {"conn", bench_conn},
    {"utf8", bench_utf8}, {"handshake", bench_handshake},
};
#define UNITS (sizeof units / sizeof units[0])
#define EXIT_USAGE 2

static void
print_help(void)
{
    printf("bench-micro [--json] [--repetitions N] [--milliseconds M] [UNIT...]\n\n"
           "--json            JSON instead of a Markdown table\n"
           "--repetitions N   of each measurement (9)\n"
           "--milliseconds M  least CPU time of a repetition (20)\n\n"
           "Units:");
    for (size_t i = 0; i < UNITS; i++) {
        printf(" %s", units[i].name);
    }
    printf("\n");
}

static _Noreturn void
refuse(const char *text, const char *argument)
{
    fprintf(stderr, "bench-micro: %s%s (--help lists what there is)\n", text, argument);
    exit(EXIT_USAGE);
}

static unsigned
parse_number(const char *option, const char *text, unsigned largest)
{
    if (text == NULL) {
        refuse("a number is missing after ", option);
    }
    char *end;
    errno = 0;
    const unsigned long number = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number < 1 ||
        number > largest) {
        refuse("not a number that fits: ", text);
    }
    return (unsigned)number;
}

static size_t
find_unit(const char *name)
{
    for (size_t i = 0; i < UNITS; i++) {
        if (strcmp(units[i].name, name) == 0) {
            return i;
        }
    }
    refuse("no such unit or option: ", name);
}

int
main(int argc, char **argv)
{
    bench_options options = {.json = false, .repetitions = 9, .milliseconds = 20};
    bool chosen[UNITS] = {false};
    bool all = true;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            print_help();
            return EXIT_SUCCESS;
        }
        if (strcmp(argv[i], "--json") == 0) {
            options.json = true;
        }
        else if (strcmp(argv[i], "--repetitions") == 0) {
            i++;
            options.repetitions = parse_number(argv[i - 1], argv[i], BENCH_REPETITIONS_MAX);
        }
        else if (strcmp(argv[i], "--milliseconds") == 0) {
            i++;
            options.milliseconds = parse_number(argv[i - 1], argv[i], 60000);
        }
        else {
            chosen[find_unit(argv[i])] = true;
            all = false;
        }
    }
    bench_begin(&options);
    for (size_t i = 0; i < UNITS; i++) {
        if (all || chosen[i]) {
            units[i].run();
        }
    }
    bench_end();
    return EXIT_SUCCESS;
}
