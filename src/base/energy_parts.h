/* Private to energy.c, which reads the sources, and energy_find.c, which finds them. */
#ifndef TERN_BASE_ENERGY_PARTS_H
#define TERN_BASE_ENERGY_PARTS_H

#include <pthread.h>
#include <stdint.h>

#include "base/energy.h"
#include "base/nvml.h"

enum { TERN_ENERGY_PATH = 512 };

typedef enum tern_energy_kind {
    TERN_ENERGY_COUNTER,      /* `file`: microjoules, up to `range` */
    TERN_ENERGY_POWER,        /* `file`: microwatts */
    TERN_ENERGY_OUTFLOW,      /* `file`: status of a battery; power_now or voltage_now and current_now beside it */
    TERN_ENERGY_CARD_COUNTER, /* `card`, its millijoules */
    TERN_ENERGY_CARD_POWER,   /* `card`, its milliwatts */
} tern_energy_kind;

typedef struct tern_energy_sensor {
    tern_energy_source source;
    tern_energy_kind kind;
    char folder[TERN_ENERGY_PATH], file[64];
    tern_nvml_device card;
    uint64_t range; /* largest value of a counter, behind which it begins again; 0: none is known */
    bool fresh;     /* `last` is of the last reading */
    double last;    /* microjoules or watts */
    double joules;
    unsigned gaps;
} tern_energy_sensor;

struct tern_energy {
    tern_energy_sensor sensors[TERN_ENERGY_MAX_SOURCES];
    size_t n;
    tern_nvml nvml; /* open if one of them is a card */
    char missing[600];
    double seconds; /* of the last reading */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pthread_t thread;
    bool has_thread, stopping;
};

/* The first line of FOLDER/NAME, without its newline. False: it cannot be read, errno says why. */
bool tern_energy_line(const char *folder, const char *name, char *line, size_t size);
/* A whole number in it, possibly negative. */
bool tern_energy_number(const char *folder, const char *name, double *value);

/* What can be read of it now: microjoules of a counter, watts of the others. */
bool tern_energy_value(const tern_energy *energy, const tern_energy_sensor *s, double *value);

/* Fills sensors, n, nvml and missing. */
void tern_energy_find(const char *root, const char *nvml, tern_energy *energy);

#endif
