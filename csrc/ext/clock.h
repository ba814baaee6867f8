/* Monotonic time in seconds, for expiry and budgets; not the loop's time, as no loop may be
 * running. */
#ifndef ATALANTA_EXT_CLOCK_H
#define ATALANTA_EXT_CLOCK_H

#ifdef _WIN32
#include <windows.h>

static inline double
clock_seconds(void)
{
    LARGE_INTEGER now, frequency;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&frequency);
    return (double)now.QuadPart / (double)frequency.QuadPart;
}
#else
#include <time.h>

static inline double
clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}
#endif

#endif
