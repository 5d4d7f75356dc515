/* Hardware counters (Linux perf events) and the kernel's own counts around a piece of work, all threads together. */
#ifndef TERN_CLI_COUNTERS_H
#define TERN_CLI_COUNTERS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum tern_counter {
    TERN_COUNTER_CYCLES = 0,
    TERN_COUNTER_INSTRUCTIONS,
    TERN_COUNTER_LLC_MISSES,  /* reads that missed the last-level cache */
    TERN_COUNTER_DTLB_MISSES, /* reads that missed the data TLB */
    TERN_N_HARDWARE_COUNTERS,
    TERN_COUNTER_PAGE_FAULTS = TERN_N_HARDWARE_COUNTERS, /* these two by getrusage(): they are always there */
    TERN_COUNTER_CONTEXT_SWITCHES,
    TERN_N_COUNTERS
} tern_counter;

/* Counts since _open(); negative: cannot be counted here. */
typedef struct tern_counts {
    double values[TERN_N_COUNTERS];
} tern_counts;

typedef struct tern_counters {
    int fds[TERN_N_HARDWARE_COUNTERS]; /* -1: not there */
    char missing[200];                 /* one line: why some or all of the hardware's are not there; "" if all are */
} tern_counters;

/* "cycles", "llc_misses": as it stands in a JSON key. */
const char *tern_counter_name(tern_counter counter);

/* Begin counting in this thread and in all that it makes from now on: to be called before a model is loaded. Never
 * fails: what cannot be counted is explained in `missing`. */
void tern_counters_open(tern_counters *counters);
void tern_counters_close(tern_counters *counters);
void tern_counters_read(const tern_counters *counters, tern_counts *counts);

/* sum += after - before; a counter that is not there stays negative. */
void tern_counts_add(tern_counts *sum, const tern_counts *before, const tern_counts *after);

#endif
