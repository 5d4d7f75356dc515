/* Parts of ops.h's functions, written once over vectors (ops_rows_tmpl.c) for each instruction set. */
#ifndef TERN_TRAIN_OPS_ROWS_H
#define TERN_TRAIN_OPS_ROWS_H

#include "kernels/attention.h"
#include "train/ops.h"

enum { TERN_TILE = TERN_KEY_BLOCK }; /* queries, and keys, that attention takes at a time */

typedef struct tern_row_math {
    unsigned features; /* TERN_CPU_* bits it needs */
    /* dot(a, b), n values */
    float (*dot)(const float *a, const float *b, size_t n);
    /* One token of tern_op_norm_backward(): dx += , dgain += */
    void (*norm_backward)(const float *x, const float *gain, const float *dy, size_t k, float eps, float *dx,
                          float *dgain);
    void (*relu2_backward)(const float *gate, const float *up, const float *dh, size_t n, float *dgate, float *dup);
    /* x[i] *= factor */
    void (*scale)(float *x, size_t n, float factor);
    /* A query's row of a tile: p [TERN_TILE], scores, becomes the probabilities exp(p - lse), and dp, the gradient by
     * those, the gradient by q k, p (dp - delta) scale. From entry n on both become 0. */
    void (*attention_gradient)(float *p, float *dp, size_t n, float lse, float delta, float scale);
    /* to [n_cols][ld_to] = from [n_rows][ld_from] transposed */
    void (*turn)(const float *from, size_t ld_from, size_t n_rows, size_t n_cols, float *to, size_t ld_to);
} tern_row_math;

/* The best one that needs no more than these features. */
const tern_row_math *tern_row_math_choose(unsigned features);

/* What a worker needs for attention (ops_attention.c, ops_attention_backward.c). */
size_t tern_attention_forward_bytes(const tern_dims *dims);
size_t tern_attention_backward_bytes(const tern_dims *dims);

static inline void *tern_worker_scratch(const tern_ops *ops, int worker) {
    return ops->worker_scratch + (size_t)worker * ops->worker_bytes;
}
static inline size_t tern_round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

/* Tokens in a block of which one task sums dgain; their number, not that of threads, is the order of summation. */
enum { TERN_NORM_TOKENS = 64 };
/* Scratch of a worker for tern_op_lora(): inputs up to `widest` values, ranks no larger. */
size_t tern_lora_bytes(size_t widest);

/* Rows and tokens that a task of a BitLinear takes: their integer sums stay in L2. */
enum { TERN_LINEAR_ROWS = 256, TERN_LINEAR_TOKENS = 64 };

#endif
