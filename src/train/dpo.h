/*
 * Direct preference optimisation (Rafailov et al. 2023; 2B4T report, section 3.3): of two answers y+ and y- to x,
 *
 *     m = [log p(y+|x) - log pref(y+|x)] - [log p(y-|x) - log pref(y-|x)]        sums over the answers' tokens
 *     L = -log sigmoid(beta m)
 *
 * Each answer is an ordinary forward and backward pass whose tokens all have the weight dL/dnll. The reference's
 * log-probabilities are computed once, with the model as it is when the objective is made, and kept: no second model
 * is in memory.
 */
#ifndef TERN_TRAIN_DPO_H
#define TERN_TRAIN_DPO_H

#include "train/loop.h"

typedef struct tern_dpo tern_dpo;

typedef struct tern_dpo_params {
    const tern_shard *shard;         /* PAIRS */
    const tern_train_config *config; /* dims.n_ctx, batch (two rows a pair), micro, seed, eval_tokens */
    double beta;
    tern_net *net; /* holds the reference model's weights when the objective is made */
    float *grads;
    tern_comm *comm;
    void (*progress)(void *user, uint64_t done, uint64_t total); /* rows of the reference pass; NULL: none */
    bool (*go_on)(void *user); /* false: end the reference pass with TERN_ERR_CANCELLED; NULL: never */
    void *user;
} tern_dpo_params;

/* What the parameters point at must outlive it. batch and micro are even. */
tern_status tern_dpo_create(const tern_dpo_params *params, tern_dpo **dpo, tern_error *err);
void tern_dpo_free(tern_dpo *dpo);
/* For tern_train_loop(); valid as long as `dpo`. Losses are per pair; its own figures are, per pair, the share with
 * m > 0, m, and log p of the two answers. `changed` is the caller's to fill in. */
tern_objective tern_dpo_objective(tern_dpo *dpo);
uint64_t tern_dpo_steps_per_epoch(const tern_dpo *dpo);

/* One pair: log-probabilities [chosen, rejected] of model and reference -> L, m, and -dL/dlogp of the chosen answer,
 * the weight of its tokens' losses (that of the rejected one's is minus that). */
void tern_dpo_pair(const double logp[2], const double reference[2], double beta, double *loss, double *margin,
                   double *weight);

#endif
