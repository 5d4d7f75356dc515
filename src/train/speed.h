/* How fast this machine trains a shape: a few steps of it, or of a smaller one like it, are made and timed. */
#ifndef TERN_TRAIN_SPEED_H
#define TERN_TRAIN_SPEED_H

#include "train/net.h"

typedef struct tern_train_speed {
    double flops;  /* a second of forward and backward passes, as docs/TRAINING.md counts them */
    double values; /* parameters a second of what a step does besides: clipping, AdamW, making the matrices anew */
} tern_train_speed;

/* FLOPs of a token, forward and backward: 2 N and 4 N of the matrices' n_matrix values (Kaplan et al. 2020), and causal
 * attention. */
double tern_train_flops(const tern_dims *dims, uint64_t n_matrix);

/* Of a net `how` of these dims. A large model is stood for by one layer of it with a smaller vocabulary: the products
 * have the same widths. Takes some tenths of a second and memory for that layer. */
tern_status tern_train_measure(const tern_dims *dims, const tern_net_params *how, tern_pool *pool,
                               tern_train_speed *speed, tern_error *err);

#endif
