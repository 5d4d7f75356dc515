/*
 * The state of a run on disk: everything that the next step depends on. Written to a new file, synced, and renamed, so
 * that a kill at any moment leaves the last good one; a checksum over all of it is verified before anything is used.
 * Two are kept (state.tern and state.prev.tern): a corrupt newest one is reported, and the one before it can be used.
 */
#ifndef TERN_TRAIN_STATE_H
#define TERN_TRAIN_STATE_H

#include "train/params.h"

typedef struct tern_train_state {
    uint64_t step;      /* steps that are done */
    uint64_t tokens;    /* that were trained on */
    double seconds;     /* of training */
    uint64_t log_bytes; /* length of the log at that step: the rest is cut off when the run goes on */
    double best_loss;   /* validation */
    char *config;       /* JSON text; owned */
    uint64_t data_hash; /* of the shard */
} tern_train_state;

/* Vectors [n_arrays][n_values] follow the header (values, m, v, or the adapters'). `folder` must exist. A full disk is
 * an error that leaves the last state untouched. */
tern_status tern_state_save(const char *folder, const tern_train_state *state, float *const *arrays, size_t n_arrays,
                            size_t n_values, tern_error *err);
/* TERN_ERR_NOT_FOUND-like status if there is none: *found false and TERN_OK. */
tern_status tern_state_load(const char *folder, tern_train_state *state, float *const *arrays, size_t n_arrays,
                            size_t n_values, bool *found, tern_error *err);
void tern_train_state_free(tern_train_state *state);

#endif
