/* The C tests' harness: CHECK counts and reports, RUN names the case, check_finish is main's result. */
#ifndef ATALANTA_TESTS_CHECK_H
#define ATALANTA_TESTS_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int checks_failed;
static int cases_passed;
static int cases_failed;

#define CHECK(condition)                                                                          \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                      \
            checks_failed++;                                                                      \
        }                                                                                         \
    } while (0)

#define RUN(test)                                                                                 \
    do {                                                                                          \
        int before = checks_failed;                                                               \
        test();                                                                                   \
        if (checks_failed == before) {                                                            \
            cases_passed++;                                                                       \
        }                                                                                         \
        else {                                                                                    \
            cases_failed++;                                                                       \
            fprintf(stderr, "FAILED %s\n", #test);                                                \
        }                                                                                         \
    } while (0)

static inline int
check_finish(void)
{
    printf("%d passed, %d failed\n", cases_passed, cases_failed);
    return cases_failed == 0 && cases_passed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
