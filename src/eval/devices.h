/* The table of devices: what memory they have and how fast it is read. data/devices.json is part of the program; users
 * add rows of their own in the same form (docs/FIT.md). */
#ifndef TERN_EVAL_DEVICES_H
#define TERN_EVAL_DEVICES_H

#include "tern/tern.h"

/* What devices of a vendor have in common: the share of the stated bandwidth that decoding reaches. */
typedef struct tern_device_class {
    char name[24];
    double efficiency;
    char why[200];
} tern_device_class;

/* GPU, unified memory, CPU: the share of the memory that a model can have. */
typedef struct tern_device_kind {
    char name[24], title[40];
    double usable;
    char why[200];
} tern_device_kind;

/* Whether the vendor's own document was read for a row, or a page that repeats it. */
typedef enum tern_source_origin {
    TERN_SOURCE_NOT_SAID,
    TERN_SOURCE_FIRST_HAND,
    TERN_SOURCE_SECOND_HAND
} tern_source_origin;

typedef struct tern_device {
    char name[40];
    char kind[24], class_name[24]; /* class_name "": the row has an efficiency of its own */
    double memory;                 /* bytes */
    double bandwidth;              /* bytes per second, as stated; of "this machine", as measured */
    double efficiency, usable;     /* shares of them, 0 to 1 */
    double bus_bits, gbit_s;       /* what the bandwidth is the product of; 0: not said */
    char source[400];
    tern_source_origin origin;
} tern_device;

enum { TERN_MAX_DEVICES = 500, TERN_MAX_DEVICE_CLASSES = 32 };

typedef struct tern_device_table {
    tern_device_class classes[TERN_MAX_DEVICE_CLASSES];
    tern_device_kind kinds[TERN_MAX_DEVICE_CLASSES];
    tern_device *devices; /* [n_devices], those of later files first */
    size_t n_classes, n_kinds, n_devices, capacity;
} tern_device_table;

/* The table that is part of the program; freed with tern_devices_free(), also after a failure. */
tern_status tern_devices_builtin(tern_device_table *table, tern_error *err);
/* Add what a JSON text says, `where` standing in messages: its classes, kinds and devices replace those of the same
 * name, and its devices come first. Nothing is added by a text with an error. */
tern_status tern_devices_add(tern_device_table *table, const char *text, size_t n_bytes, const char *where,
                             tern_error *err);
tern_status tern_devices_add_file(tern_device_table *table, const char *path, tern_error *err);
void tern_devices_free(tern_device_table *table);

const tern_device_class *tern_devices_class(const tern_device_table *table, const char *name); /* NULL: none */
const tern_device_kind *tern_devices_kind(const tern_device_table *table, const char *name);

/* By its name, or by the beginning or any part of it that no other one has; capitals, blanks and signs do not count.
 * TERN_ERR_ARGUMENT: several have it, or none; the message names those, or the nearest ones. */
tern_status tern_devices_find(const tern_device_table *table, const char *name, const tern_device **device,
                              tern_error *err);

#endif
