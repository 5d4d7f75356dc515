/*
 * Attention's backward pass. With P = exp(S - lse), S = scale q k^T, out = P v:
 *     dv = P^T dout,  dP = dout v^T,  dS = P * (dP - delta) * scale,  delta = rowsum(dout * out),
 *     dq = dS k,      dk = dS^T q                                       (FlashAttention-2, Dao 2023, algorithm 2)
 * Tiles of TERN_TILE queries and as many keys; all five products are inference's attention kernels. A task is the query
 * heads of one KV head over one sequence, which sum up in dk and dv.
 */
#include <math.h>
#include <string.h>

#include "train/ops_attention.h"

typedef struct backward_job {
    const tern_ops *ops;
    const tern_sequences *seqs;
    const tern_dims *dims;
    const float *q, *k, *v, *out, *lse, *dout;
    float *dq, *dk, *dv;
} backward_job;

/* Of a sequence and KV head: keys and values turned (tern_attention_turn), keys, and the sums. Of a tile: the rest. */
typedef struct backward_scratch {
    float *keys_turned, *values_turned, *keys, *dk, *dv; /* [padded n_ctx][head_dim] */
    float *q, *dout, *dq;                                /* [TERN_TILE][head_dim] */
    float *p, *dp, *turned;                              /* [TERN_TILE][TERN_TILE] */
    float *lse, *delta;                                  /* [TERN_TILE] */
} backward_scratch;

static size_t sequence_floats(const tern_dims *dims) { return tern_round_up(dims->n_ctx, TERN_TILE) * dims->head_dim; }

size_t tern_attention_backward_bytes(const tern_dims *dims) {
    return (5 * sequence_floats(dims) + TERN_TILE * (3 * (size_t)dims->head_dim + 3 * TERN_TILE + 2)) * sizeof(float);
}

static backward_scratch carve(float *memory, const tern_dims *dims) {
    size_t all = sequence_floats(dims), tile = TERN_TILE * (size_t)dims->head_dim, square = TERN_TILE * TERN_TILE;
    backward_scratch s = {.keys_turned = memory, .values_turned = memory + all, .keys = memory + 2 * all};
    s.dk = memory + 3 * all;
    s.dv = memory + 4 * all;
    s.q = memory + 5 * all;
    s.dout = s.q + tile;
    s.dq = s.dout + tile;
    s.p = s.dq + tile;
    s.dp = s.p + square;
    s.turned = s.dp + square;
    s.lse = s.turned + square;
    s.delta = s.lse + TERN_TILE;
    return s;
}

/* n queries from `position` on against the n_keys keys from `key` on. */
static void tile_pair(const backward_job *job, const backward_scratch *s, size_t position, size_t n, size_t key,
                      size_t n_keys) {
    const tern_attention_kernels *kernels = job->ops->kernels->attention;
    const tern_row_math *rows = job->ops->rows;
    size_t d = job->dims->head_dim;
    float scale = (float)(1.0 / sqrt((double)d));
    kernels->scores_f32(s->q, n, s->keys_turned + key * d, TERN_TILE, d, scale, s->p, TERN_TILE, NULL);
    kernels->scores_f32(s->dout, n, s->values_turned + key * d, TERN_TILE, d, 1.0f, s->dp, TERN_TILE, NULL);
    for (size_t i = 0; i < n; i++) {
        size_t seen = position + i + 1 - key;
        rows->attention_gradient(s->p + i * TERN_TILE, s->dp + i * TERN_TILE, seen < n_keys ? seen : n_keys, s->lse[i],
                                 s->delta[i], scale);
    }
    kernels->values_f32(s->dp, TERN_TILE, n, s->keys + key * d, n_keys, d, s->dq, NULL);
    rows->turn(s->dp, TERN_TILE, n, TERN_TILE, s->turned, TERN_TILE);
    kernels->values_f32(s->turned, TERN_TILE, n_keys, s->q, n, d, s->dk + key * d, NULL);
    rows->turn(s->p, TERN_TILE, n, TERN_TILE, s->turned, TERN_TILE);
    kernels->values_f32(s->turned, TERN_TILE, n_keys, s->dout, n, d, s->dv + key * d, NULL);
}

/* n queries from `position` on of a head; `first` is their sequence's first token, of n_tokens. */
static void query_tile(const backward_job *job, const backward_scratch *s, size_t first, size_t n_tokens,
                       size_t position, size_t head) {
    const tern_dims *dims = job->dims;
    size_t d = dims->head_dim, ld = (size_t)dims->n_heads * d, token = first + position;
    size_t n = n_tokens - position < TERN_TILE ? n_tokens - position : TERN_TILE;
    tern_attention_gather(job->q + token * ld + head * d, ld, n, d, s->q);
    tern_attention_gather(job->dout + token * ld + head * d, ld, n, d, s->dout);
    memset(s->dq, 0, n * d * sizeof *s->dq);
    for (size_t i = 0; i < n; i++) {
        s->lse[i] = job->lse[(token + i) * dims->n_heads + head];
        s->delta[i] = job->ops->rows->dot(s->dout + i * d, job->out + (token + i) * ld + head * d, d);
    }
    for (size_t key = 0; key < position + n; key += TERN_TILE)
        tile_pair(job, s, position, n, key, n_tokens - key < TERN_TILE ? n_tokens - key : TERN_TILE);
    for (size_t i = 0; i < n; i++)
        memcpy(job->dq + (token + i) * ld + head * d, s->dq + i * d, d * sizeof *s->dq);
}

static void backward_task(void *context, size_t task, int worker) {
    const backward_job *job = context;
    const tern_dims *dims = job->dims;
    size_t d = dims->head_dim, heads = dims->n_heads / dims->n_kv_heads, kv_size = tern_kv_size(dims);
    size_t sequence = task / dims->n_kv_heads, kv_head = task % dims->n_kv_heads;
    size_t first = job->seqs->start[sequence], n = job->seqs->start[sequence + 1] - first;
    size_t at = first * kv_size + kv_head * d;
    backward_scratch s = carve(tern_worker_scratch(job->ops, worker), dims);
    tern_attention_turn(job->ops, job->k + at, kv_size, n, d, s.keys_turned);
    tern_attention_turn(job->ops, job->v + at, kv_size, n, d, s.values_turned);
    tern_attention_gather(job->k + at, kv_size, n, d, s.keys);
    memset(s.dk, 0, n * d * sizeof *s.dk);
    memset(s.dv, 0, n * d * sizeof *s.dv);
    for (size_t head = kv_head * heads; head < (kv_head + 1) * heads; head++)
        for (size_t i = 0; i < n; i += TERN_TILE)
            query_tile(job, &s, first, n, i, head);
    for (size_t i = 0; i < n; i++) {
        memcpy(job->dk + at + i * kv_size, s.dk + i * d, d * sizeof *s.dk);
        memcpy(job->dv + at + i * kv_size, s.dv + i * d, d * sizeof *s.dv);
    }
}

void tern_op_attention_backward(const tern_ops *ops, const tern_sequences *seqs, const tern_dims *dims, const float *q,
                                const float *k, const float *v, const float *out, const float *lse, const float *dout,
                                float *dq, float *dk, float *dv) {
    backward_job job = {.ops = ops, .seqs = seqs, .dims = dims, .q = q, .k = k, .v = v, .out = out, .lse = lse};
    job.dout = dout;
    job.dq = dq;
    job.dk = dk;
    job.dv = dv;
    tern_pool_run(ops->pool, seqs->n * dims->n_kv_heads, backward_task, &job);
}
