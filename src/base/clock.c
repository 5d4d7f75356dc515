#include "base/clock.h"

#include <sys/resource.h>
#include <time.h>

double tern_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double tern_cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

unsigned long long tern_peak_rss(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage))
        return 0;
#ifdef __APPLE__
    return (unsigned long long)usage.ru_maxrss; /* bytes there, kilobytes elsewhere */
#else
    return (unsigned long long)usage.ru_maxrss * 1024;
#endif
}
