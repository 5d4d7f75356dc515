/* What loop.c and loop_state.c share. */
#ifndef TERN_TRAIN_LOOP_PARTS_H
#define TERN_TRAIN_LOOP_PARTS_H

#include "train/log.h"
#include "train/loop.h"

/* A run while it runs. Counters are the same on all ranks. */
typedef struct tern_run {
    const tern_train_config *config;
    const tern_objective *objective;
    const tern_trainable *trainable;
    tern_comm *comm;
    tern_pool *pool;
    const tern_loop_hooks *hooks;
    bool first;        /* rank 0: it writes, and calls the hooks */
    char *config_text; /* owned */
    tern_train_log log;
    uint64_t step, tokens; /* done */
    uint64_t saved_step;   /* of the newest state on the disk; 0: none */
    double seconds;
    size_t n_sent; /* values of this step's gradients whose sum over the ranks was started */
} tern_run;

/* The state in config->out, if there is one, and the log; and all ranks have what rank 0 read. */
tern_status tern_run_begin(tern_run *run, tern_error *err);
/* The state now, as the newest one. */
tern_status tern_run_save(tern_run *run, tern_error *err);
void tern_run_end(tern_run *run);

#endif
