/*
 * Structured pruning (docs/PRUNE.md): attention heads and FFN channels that matter least on a calibration text are cut
 * out of a model, and what is left is written as a smaller one of the same kind. Nothing is trained and no weight is
 * quantised anew: the codes that stay are the codes that were there.
 */
#ifndef TERN_PRUNE_PRUNE_H
#define TERN_PRUNE_PRUNE_H

#include "tern/tern.h"

/* What says how much a head or channel matters. y is what its SubLN gives, the input of the output projection W. */
typedef enum tern_prune_score {
    TERN_PRUNE_ACTIVATION, /* root mean square of W y, its part of the residual stream (as Sun et al. 2023,
                              arXiv:2306.11695, |W| |x|, for whole units) */
    TERN_PRUNE_TAYLOR, /* mean over sequences of |sum y dL/dy|: what leaving it out changes the loss by, to first order
                          (Michel et al. 2019, arXiv:1905.10650; Molchanov et al. 2019, arXiv:1906.10771) */
    TERN_PRUNE_RANDOM, /* the control */
} tern_prune_score;

/* What goes of the attention. */
typedef enum tern_prune_unit {
    TERN_PRUNE_AUTO,   /* whichever of the two comes closer to the share; KV heads where both do */
    TERN_PRUNE_HEADS,  /* query heads, as many in each group of those that share a KV head */
    TERN_PRUNE_GROUPS, /* KV heads with all their query heads: the KV cache shrinks, too */
} tern_prune_unit;

typedef struct tern_prune_calibration {
    const char *text; /* [n_bytes] */
    size_t n_bytes;
    size_t max_tokens;         /* of it, from its beginning; 0: all */
    bool gradients;            /* also for TERN_PRUNE_TAYLOR, which takes three times as long */
    tern_progress_fn progress; /* counts tokens */
    void *progress_user;
} tern_prune_calibration;

typedef struct tern_prune_choice {
    double heads, ffn; /* shares to cut, 0 <= share < 1; what is left is rounded to what layout and kernels take */
    tern_prune_score score;
    tern_prune_unit unit;
    uint64_t seed;     /* of TERN_PRUNE_RANDOM */
    uint32_t multiple; /* FFN channels are left in multiples of this; 0: 128, or 256 where the type of the weights asks
                          for that */
} tern_prune_choice;

typedef struct tern_prune_size {
    uint32_t n_heads, n_kv_heads, ffn_size;
    uint64_t n_params;
} tern_prune_size;

typedef struct tern_prune_plan {
    tern_prune_size before, after;
    bool only_tern; /* heads * head_dim is no longer the hidden size: other programs expect that of this architecture */
} tern_prune_plan;

typedef struct tern_pruner tern_pruner;

/* Open and load a model: a GGUF, a Hugging Face folder, NULL or "demo" for the built-in one, of BitNet's layout.
 * n_threads 0: all CPUs. */
tern_status tern_pruner_create(const char *path, int n_threads, tern_pruner **pruner, tern_error *err);
void tern_pruner_free(tern_pruner *pruner); /* accepts NULL */
/* Whether it is a folder that write() makes. */
bool tern_pruner_is_folder(const tern_pruner *pruner);
/* An error if write() could not, by what is at `path` now. */
tern_status tern_pruner_check_output(const tern_pruner *pruner, const char *path, tern_error *err);
/* What a choice would leave, by the counts alone: before anything is calibrated. An error if it asks for a cut and cuts
 * nothing, which says what the least possible cut is. */
tern_status tern_pruner_plan(const tern_pruner *pruner, const tern_prune_choice *choice, tern_prune_plan *plan,
                             tern_error *err);
/* The same, found out by making a file or folder there, which goes away again; what is at `path` stays. */
tern_status tern_pruner_try_output(const tern_pruner *pruner, const char *path, tern_error *err);
/* Run the text through the model and keep what the scores are made of; once, ahead of everything below. */
tern_status tern_pruner_calibrate(tern_pruner *pruner, const tern_prune_calibration *how, tern_error *err);
size_t tern_pruner_tokens(const tern_pruner *pruner); /* that it took */
/* Choose what stays, and the factors for the SubLNs' gains; may be called again for another choice. */
tern_status tern_pruner_choose(tern_pruner *pruner, const tern_prune_choice *choice, tern_prune_plan *plan,
                               tern_error *err);
/* Write what was chosen: a file or folder like the one read, with its tokenizer, keys and template. Whole or not at
 * all. */
tern_status tern_pruner_write(tern_pruner *pruner, const char *path, tern_error *err);

#endif
