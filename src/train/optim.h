/* AdamW (Loshchilov and Hutter 2019) over flat arrays, on all threads. */
#ifndef TERN_TRAIN_OPTIM_H
#define TERN_TRAIN_OPTIM_H

#include "base/pool.h"
#include "train/params.h"

/* The norm of all gradients times `scale`; sums in double, in fixed blocks, so that it does not depend on threads. */
double tern_grad_norm(tern_pool *pool, const float *grads, size_t n, double scale);

typedef struct tern_adam_step {
    float *values, *m, *v;
    const float *grads;
    float grad_scale; /* gradients are multiplied by this: 1 / tokens, and the clipping factor */
    float lr, weight_decay;
    uint64_t t; /* 1, 2, ...: the step's number, for the bias correction */
    tern_adam adam;
} tern_adam_step;

/* One step over values [n]; `decay` is whether weight decay applies to them. */
void tern_adam_update(tern_pool *pool, const tern_adam_step *step, size_t n, bool decay);
/* One step over all parameters, each tensor's `decay` as it says. */
void tern_params_update(tern_pool *pool, tern_params *params, const tern_adam_step *step);

#endif
