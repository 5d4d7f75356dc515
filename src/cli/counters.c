#include "cli/counters.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/perf_event.h>
#include <sys/syscall.h>
#endif

static const char *const names[TERN_N_COUNTERS] = {"cycles",      "instructions", "llc_misses",
                                                   "dtlb_misses", "page_faults",  "context_switches"};

const char *tern_counter_name(tern_counter counter) { return names[counter]; }

#ifdef __linux__

#define CACHE_READ_MISS(cache)                                                                                         \
    ((cache) | (uint64_t)PERF_COUNT_HW_CACHE_OP_READ << 8 | (uint64_t)PERF_COUNT_HW_CACHE_RESULT_MISS << 16)

static const struct {
    uint32_t type;
    uint64_t config;
} events[TERN_N_HARDWARE_COUNTERS] = {
    [TERN_COUNTER_CYCLES] = {PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES},
    [TERN_COUNTER_INSTRUCTIONS] = {PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS},
    [TERN_COUNTER_LLC_MISSES] = {PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_MISSES},
    [TERN_COUNTER_DTLB_MISSES] = {PERF_TYPE_HW_CACHE, CACHE_READ_MISS(PERF_COUNT_HW_CACHE_DTLB)},
};

/* This thread and those it will make (inherit), on any CPU; user space only, which is what an unprivileged process may
 * count up to perf_event_paranoid 2. Not a group: groups cannot be inherited and read. */
static int open_event(tern_counter counter) {
    struct perf_event_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.size = sizeof attributes;
    attributes.type = events[counter].type;
    attributes.config = events[counter].config;
    attributes.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
    attributes.inherit = 1;
    attributes.exclude_kernel = 1;
    attributes.exclude_hv = 1;
    return (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

/* The kernel's errors (perf_event_open(2)) in the words of someone who wants the counters. */
static void explain(int error, char *text, size_t size) {
    long level = -1;
    char line[32];
    FILE *file = fopen("/proc/sys/kernel/perf_event_paranoid", "re");
    if (file && fgets(line, sizeof line, file))
        level = strtol(line, NULL, 10);
    if (file)
        fclose(file);
    if ((error == EACCES || error == EPERM) && level > 2)
        snprintf(text, size, "the kernel forbids it: kernel.perf_event_paranoid is %ld; sysctl it to 2", level);
    else if (error == EACCES || error == EPERM)
        snprintf(text, size, "the kernel or the container forbids it (%s); CAP_PERFMON would allow it",
                 strerror(error));
    else if (error == ENOENT || error == EOPNOTSUPP || error == ENODEV || error == EINVAL)
        snprintf(text, size, "this processor or virtual machine does not offer them (%s)", strerror(error));
    else if (error == ENOSYS)
        snprintf(text, size, "this kernel has no perf events");
    else
        snprintf(text, size, "%s", strerror(error));
}

/* Scaled up by the time the event waited for a counter of the hardware, when there are fewer than events. */
static double read_event(int fd) {
    struct {
        uint64_t value, enabled, running;
    } data;
    if (fd < 0 || read(fd, &data, sizeof data) != sizeof data)
        return -1;
    if (!data.running) /* no thread has run yet, or the event never got a counter of the hardware */
        return data.enabled ? -1 : 0;
    return (double)data.value * ((double)data.enabled / (double)data.running);
}

#else

static int open_event(tern_counter counter) {
    (void)counter;
    errno = ENOSYS;
    return -1;
}
static void explain(int error, char *text, size_t size) {
    (void)error;
    snprintf(text, size, "tern reads them on Linux only");
}
static double read_event(int fd) {
    (void)fd;
    return -1;
}

#endif

void tern_counters_open(tern_counters *counters) {
    size_t used = 0;
    int error = 0, n_missing = 0;
    char list[100] = "", reason[160];
    for (int i = 0; i < TERN_N_HARDWARE_COUNTERS; i++) {
        counters->fds[i] = open_event((tern_counter)i);
        if (counters->fds[i] >= 0)
            continue;
        error = errno;
        n_missing++;
        int n = snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", names[i]);
        used += n > 0 && (size_t)n < sizeof list - used ? (size_t)n : 0;
    }
    counters->missing[0] = 0;
    if (!n_missing)
        return;
    explain(error, reason, sizeof reason);
    snprintf(counters->missing, sizeof counters->missing, "no %s: %s",
             n_missing == TERN_N_HARDWARE_COUNTERS ? "hardware counters" : list, reason);
}

void tern_counters_close(tern_counters *counters) {
    for (int i = 0; i < TERN_N_HARDWARE_COUNTERS; i++)
        if (counters->fds[i] >= 0)
            close(counters->fds[i]);
}

void tern_counters_read(const tern_counters *counters, tern_counts *counts) {
    struct rusage usage;
    for (int i = 0; i < TERN_N_HARDWARE_COUNTERS; i++)
        counts->values[i] = read_event(counters->fds[i]);
    bool known = getrusage(RUSAGE_SELF, &usage) == 0;
    counts->values[TERN_COUNTER_PAGE_FAULTS] = known ? (double)(usage.ru_minflt + usage.ru_majflt) : -1;
    counts->values[TERN_COUNTER_CONTEXT_SWITCHES] = known ? (double)(usage.ru_nvcsw + usage.ru_nivcsw) : -1;
}

void tern_counts_add(tern_counts *sum, const tern_counts *before, const tern_counts *after) {
    for (int i = 0; i < TERN_N_COUNTERS; i++) {
        if (before->values[i] < 0 || after->values[i] < 0)
            sum->values[i] = -1;
        else if (sum->values[i] >= 0)
            sum->values[i] += after->values[i] - before->values[i];
    }
}
