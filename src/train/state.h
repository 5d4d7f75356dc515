/*
 * The state of a run on disk: everything that the next step depends on. Written to a new file, synced, and renamed, so
 * that a kill at any moment leaves the last good one; a checksum over all of it is verified before anything is used.
 * Two are kept, state.tern and state.prev.tern.
 *
 * Layout, little-endian: the words of state.c's `word` enum (8 bytes each, the first one "TERNSTAT"), the configuration
 * (JSON), zeros up to a multiple of 64, the arrays (float32), XXH64 of all that.
 */
#ifndef TERN_TRAIN_STATE_H
#define TERN_TRAIN_STATE_H

#include "base/file.h"
#include "train/params.h"

#define TERN_STATE_NAME "state.tern"
#define TERN_STATE_PREVIOUS "state.prev.tern"
#define TERN_STATE_DAMAGED "state.bad.tern"

typedef struct tern_train_state {
    uint64_t step;      /* steps that are done */
    uint64_t tokens;    /* that were trained on */
    double seconds;     /* of training */
    uint64_t log_bytes; /* length of the log at that step: the rest is cut off when the run goes on */
    const char *config; /* JSON text; the caller's when saving, the file's after tern_state_open() */
    uint64_t data_hash; /* of the shard */
} tern_train_state;

/* arrays [n_arrays][n_values] (values, m, v, or the adapters') follow the header. `folder` must exist. The newest state
 * becomes the previous one. A full disk is an error that leaves the last state untouched. */
tern_status tern_state_save(const char *folder, const tern_train_state *state, float *const *arrays, size_t n_arrays,
                            size_t n_values, tern_error *err);

typedef struct tern_state_file {
    tern_train_state state;
    char path[1024];
    uint64_t n_arrays, n_values;
    const uint8_t *arrays;
    char *config; /* owned */
    tern_map map;
} tern_state_file;

/* The folder's newest good state, verified whole; *found false (and TERN_OK) if there is none at all. A damaged newest
 * one is renamed to state.bad.tern and the one before it taken: then `warning` says so (its message is "" otherwise).
 * Both damaged: an error. Close what was found. */
tern_status tern_state_open(const char *folder, tern_state_file *file, bool *found, tern_error *warning,
                            tern_error *err);
/* The same without touching anything: of a folder that is only read, or not locked yet. */
tern_status tern_state_look(const char *folder, tern_state_file *file, bool *found, tern_error *warning,
                            tern_error *err);
/* -> arrays [n_arrays][n_values]; an error if the file holds others. */
tern_status tern_state_copy(const tern_state_file *file, float *const *arrays, size_t n_arrays, size_t n_values,
                            tern_error *err);
void tern_state_close(tern_state_file *file);

/* Remove all states of the folder: the run begins anew. */
tern_status tern_state_remove(const char *folder, tern_error *err);

#endif
