#include "base/energy_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* Sensors of power change several times a second, batteries' every few seconds. A counter of RAPL has 32 bits of,
 * mostly, 61 microjoules: at 1,000 W it wraps around after four minutes. */
static const double power_interval = 0.1, counter_interval = 10;

const char *tern_energy_method_name(tern_energy_method method) {
    static const char *const names[TERN_ENERGY_N_METHODS] = {"RAPL", "hwmon", "battery", "NVML"};
    return names[method];
}

/* ---------------------------------------------------------------------- reading */

/* Without stdio, which would allocate: the server reads while others run out of memory. */
bool tern_energy_line(const char *folder, const char *name, char *line, size_t size) {
    char path[TERN_ENERGY_PATH + 80];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, line, size - 1);
    int code = errno;
    close(fd);
    line[n > 0 ? n : 0] = 0;
    line[strcspn(line, "\n")] = 0;
    errno = n < 0 ? code : ENODATA;
    return n > 0;
}

bool tern_energy_number(const char *folder, const char *name, double *value) {
    char line[64], *end;
    if (!tern_energy_line(folder, name, line, sizeof line))
        return false;
    errno = 0;
    long long number = strtoll(line, &end, 10);
    if (errno || end == line || *end) {
        errno = EINVAL;
        return false;
    }
    *value = (double)number;
    return true;
}

/* Watts that flow out of a battery; false also while it is not discharging: then the machine runs on the mains, and
 * what flows through the battery says nothing. */
static bool read_outflow(const tern_energy_sensor *s, double *watts) {
    char status[64];
    double power, voltage, current;
    if (!tern_energy_line(s->folder, s->file, status, sizeof status) || strcmp(status, "Discharging") != 0)
        return false;
    if (tern_energy_number(s->folder, "power_now", &power)) {
        *watts = fabs(power) * 1e-6; /* some drivers give what flows out as a negative number */
        return true;
    }
    if (!tern_energy_number(s->folder, "voltage_now", &voltage) ||
        !tern_energy_number(s->folder, "current_now", &current))
        return false;
    *watts = fabs(voltage * current) * 1e-12;
    return true;
}

static bool is_counter(const tern_energy_sensor *s) {
    return s->kind == TERN_ENERGY_COUNTER || s->kind == TERN_ENERGY_CARD_COUNTER;
}

bool tern_energy_value(const tern_energy *energy, const tern_energy_sensor *s, double *value) {
    unsigned long long millijoules;
    unsigned milliwatts;
    switch (s->kind) {
    case TERN_ENERGY_OUTFLOW:
        return read_outflow(s, value);
    case TERN_ENERGY_CARD_COUNTER:
        if (energy->nvml.energy(s->card, &millijoules))
            return false;
        *value = (double)millijoules * 1e3;
        return true;
    case TERN_ENERGY_CARD_POWER:
        if (energy->nvml.power(s->card, &milliwatts))
            return false;
        *value = milliwatts * 1e-3;
        return true;
    case TERN_ENERGY_COUNTER:
    case TERN_ENERGY_POWER:
        break;
    }
    if (!tern_energy_number(s->folder, s->file, value) || *value < 0)
        return false;
    if (s->kind == TERN_ENERGY_POWER)
        *value *= 1e-6;
    return true;
}

/* Microjoules from `last` to `value`; negative: the counter went back, and not because it is full. */
static double counted(const tern_energy_sensor *s, double value) {
    if (value >= s->last)
        return value - s->last;
    return (double)s->range >= s->last ? (double)s->range - s->last + value : -1;
}

static void read_sensor(const tern_energy *energy, tern_energy_sensor *s, double seconds) {
    double value = 0, added = 0;
    bool readable = tern_energy_value(energy, s, &value);
    if (readable && s->fresh)
        added = is_counter(s) ? counted(s, value) * 1e-6 : (s->last + value) / 2 * seconds;
    if (s->fresh && (!readable || added < 0))
        s->gaps++;
    else
        s->joules += added;
    s->fresh = readable;
    s->last = value;
}

void tern_energy_read_at(tern_energy *energy, double seconds, tern_energy_reading *reading) {
    pthread_mutex_lock(&energy->mutex);
    /* the clock is asked under the lock: the thread's reading must not come between */
    double now = seconds < 0 ? tern_seconds() : seconds, passed = energy->seconds < 0 ? 0 : now - energy->seconds;
    energy->seconds = now;
    for (size_t i = 0; i < energy->n; i++)
        read_sensor(energy, &energy->sensors[i], passed);
    if (reading) {
        memset(reading, 0, sizeof *reading);
        reading->seconds = now;
        for (size_t i = 0; i < energy->n; i++) {
            reading->joules[i] = energy->sensors[i].fresh ? energy->sensors[i].joules : -1;
            reading->gaps[i] = energy->sensors[i].gaps;
        }
    }
    pthread_mutex_unlock(&energy->mutex);
}

void tern_energy_read(tern_energy *energy, tern_energy_reading *reading) { tern_energy_read_at(energy, -1, reading); }

/* ------------------------------------------------------------------ between two */

double tern_energy_between(const tern_energy_reading *before, const tern_energy_reading *after, size_t index) {
    if (before->joules[index] < 0 || after->joules[index] < 0 || before->gaps[index] != after->gaps[index])
        return -1;
    return after->joules[index] - before->joules[index];
}

double tern_energy_sum(const tern_energy *energy, const double *joules, tern_energy_method *method) {
    for (int m = 0; m < TERN_ENERGY_N_METHODS; m++) {
        double sum = -1;
        for (size_t i = 0; i < energy->n; i++) {
            const tern_energy_source *source = &energy->sensors[i].source;
            if (source->method == (tern_energy_method)m && source->summed && joules[i] >= 0)
                sum = (sum < 0 ? 0 : sum) + joules[i];
        }
        if (sum >= 0) {
            *method = (tern_energy_method)m;
            return sum;
        }
    }
    return -1;
}

/* ------------------------------------------------------------------- life, thread */

tern_status tern_energy_open(const char *root, const char *nvml, tern_energy **energy, tern_error *err) {
    tern_energy *made = calloc(1, sizeof *made);
    if (!made)
        return tern_fail_memory(err, "the energy counters");
    if (pthread_mutex_init(&made->mutex, NULL)) {
        free(made);
        return tern_fail_memory(err, "the energy counters");
    }
    if (pthread_cond_init(&made->wake, NULL)) {
        pthread_mutex_destroy(&made->mutex);
        free(made);
        return tern_fail_memory(err, "the energy counters");
    }
    made->seconds = -1;
    tern_energy_find(root, nvml, made);
    *energy = made;
    return TERN_OK;
}

void tern_energy_close(tern_energy *energy) {
    if (!energy)
        return;
    if (energy->has_thread) {
        pthread_mutex_lock(&energy->mutex);
        energy->stopping = true;
        pthread_cond_signal(&energy->wake);
        pthread_mutex_unlock(&energy->mutex);
        pthread_join(energy->thread, NULL);
    }
    pthread_cond_destroy(&energy->wake);
    pthread_mutex_destroy(&energy->mutex);
    tern_nvml_close(&energy->nvml);
    free(energy);
}

size_t tern_energy_n_sources(const tern_energy *energy) { return energy->n; }
const tern_energy_source *tern_energy_source_at(const tern_energy *energy, size_t index) {
    return &energy->sensors[index].source;
}
const char *tern_energy_missing(const tern_energy *energy) { return energy->missing; }

/* False when it is to end. */
static bool wait_for_next(tern_energy *energy, double interval) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until); /* the one that every system's conditions go by */
    double end = (double)until.tv_nsec * 1e-9 + interval;
    until.tv_sec += (time_t)end;
    until.tv_nsec = (long)((end - floor(end)) * 1e9);
    pthread_mutex_lock(&energy->mutex);
    int woken = 0;
    while (!energy->stopping && !woken)
        woken = pthread_cond_timedwait(&energy->wake, &energy->mutex, &until);
    bool goes_on = !energy->stopping;
    pthread_mutex_unlock(&energy->mutex);
    return goes_on;
}

static void *watch(void *user) {
    tern_energy *energy = user;
    double interval = counter_interval;
    for (size_t i = 0; i < energy->n; i++)
        if (!is_counter(&energy->sensors[i]))
            interval = power_interval;
    while (wait_for_next(energy, interval))
        tern_energy_read(energy, NULL);
    return NULL;
}

bool tern_energy_start(tern_energy *energy) {
    sigset_t all, old;
    if (!energy->n || energy->has_thread)
        return true;
    sigfillset(&all); /* signals are for the threads that wait for them */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    energy->has_thread = pthread_create(&energy->thread, NULL, watch, energy) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return energy->has_thread;
}
