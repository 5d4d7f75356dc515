/* Energy that the machine says it takes: RAPL, hwmon and batteries, as Linux shows them under /sys, and NVIDIA's cards,
 * which their driver's library knows. docs/ENERGY.md says what each source counts. None of them knows about programs:
 * all that runs on the machine is in it. Elsewhere than on Linux there is no source.
 *
 * Counters (RAPL, energy*_input) are read at both ends of what is measured, and now and then in between because RAPL's
 * wrap around, on a busy server within minutes; power (power*_input, batteries) is read often and integrated. Cards are
 * counters where they can, else power. */
#ifndef TERN_BASE_ENERGY_H
#define TERN_BASE_ENERGY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

enum { TERN_ENERGY_MAX_SOURCES = 32 };

typedef enum tern_energy_method {
    TERN_ENERGY_RAPL = 0, /* counters of the processor (class/powercap/intel-rapl:*; AMD's are called so, too) */
    TERN_ENERGY_HWMON,    /* counters and power of sensors (class/hwmon), but those of graphics cards */
    TERN_ENERGY_BATTERY,  /* power that flows out of it (class/power_supply), while it does */
    TERN_ENERGY_NVML,     /* whole cards; in no sum: tern computes on the CPU, what a card takes is not its doing */
    TERN_ENERGY_N_METHODS
} tern_energy_method;

typedef struct tern_energy_source {
    char name[80]; /* "rapl:package-0", "rapl:package-0:dram", "hwmon:ina3221:VDD_IN", "battery:BAT0",
                      "nvml:0:NVIDIA_H200" */
    tern_energy_method method;
    bool summed; /* part of its method's sum; false: what it counts is, or may be, in another source as well */
} tern_energy_source;

typedef struct tern_energy_reading {
    double seconds;                         /* when, in tern_seconds() */
    double joules[TERN_ENERGY_MAX_SOURCES]; /* since tern_energy_open(); negative: cannot be read now */
    unsigned gaps[TERN_ENERGY_MAX_SOURCES]; /* how often it could not be read, in between, after it could */
} tern_energy_reading;

typedef struct tern_energy tern_energy;

/* "RAPL", "hwmon", "battery", "NVML". */
const char *tern_energy_method_name(tern_energy_method method);

/* Look for sources below `root`, which stands for /sys, and for cards with the library `nvml` (TERN_NVML_LIBRARY; NULL:
 * for none), and take a first reading. That there are none is no error: tern_energy_missing() then says why. */
tern_status tern_energy_open(const char *root, const char *nvml, tern_energy **energy, tern_error *err);
void tern_energy_close(tern_energy *energy); /* NULL is fine */

size_t tern_energy_n_sources(const tern_energy *energy);
const tern_energy_source *tern_energy_source_at(const tern_energy *energy, size_t index);
/* One line: what could not be read when they were looked for, and what to do about it; "" if nothing. */
const char *tern_energy_missing(const tern_energy *energy);

/* Have a thread read them as often as they need it, until _close(). False: it cannot be made; without sources none is
 * needed. */
bool tern_energy_start(tern_energy *energy);

/* Read all of them now. From any thread. */
void tern_energy_read(tern_energy *energy, tern_energy_reading *reading);
/* The same, for tests, at a time that is told: not before the last reading's. */
void tern_energy_read_at(tern_energy *energy, double seconds, tern_energy_reading *reading);

/* ---------------------------------------------------------------- of two readings */

/* Joules that a source counted in between; negative: it could not be read all the while. */
double tern_energy_between(const tern_energy_reading *before, const tern_energy_reading *after, size_t index);

/* joules [n_sources] as from tern_energy_between() -> the sum of the first method that has readable sources that may be
 * added; methods are never mixed. Negative: there is none, *method is left alone. */
double tern_energy_sum(const tern_energy *energy, const double *joules, tern_energy_method *method);

#endif
