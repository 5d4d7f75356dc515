/* The keys of a configuration file, as config.c reads them. */
#ifndef TERN_TRAIN_CONFIG_KEYS_H
#define TERN_TRAIN_CONFIG_KEYS_H

#include "train/config.h"

/* Whole numbers come first. A choice is an int (an enum) that counts the names. */
typedef enum config_kind {
    KEY_U32,
    KEY_U64,
    KEY_F32,
    KEY_F64,
    KEY_BOOL,
    KEY_CHOICE,
    KEY_TEXT,
    KEY_PATH,
    KEY_PATHS, /* one, or a list: tern_paths */
} config_kind;

typedef struct config_key {
    const char *name;
    config_kind kind;
    size_t offset; /* in tern_train_config */
    double min, max;
    const char *const *choices; /* in the order of the enum, ended by NULL */
    bool free;                  /* may change while a run goes on: no number depends on it */
    const char *help;           /* half a line */
} config_key;

extern const config_key tern_config_keys[]; /* ended by a NULL name */

typedef struct config_shape {
    const char *name;
    tern_dims dims;
} config_shape;

extern const config_shape tern_config_shapes[]; /* the first one is the default; ended by a NULL name */

#endif
