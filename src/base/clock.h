#ifndef TERN_BASE_CLOCK_H
#define TERN_BASE_CLOCK_H

/* Seconds of a clock that never goes back. */
double tern_seconds(void);
/* Seconds that the process's threads, all together, have had a CPU. */
double tern_cpu_seconds(void);
/* Highest resident set size of this process so far, in bytes; 0 if unknown. */
unsigned long long tern_peak_rss(void);

#endif
