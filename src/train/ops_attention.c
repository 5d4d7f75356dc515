/* RoPE and attention's forward pass: the kernels of inference with a float32 cache, operation by operation, so its
 * bits, too (kernels/attention.h, runtime/cpu_attention.c). A task is the query heads of one KV head over one sequence.
 */
#include <math.h>
#include <string.h>

#include "train/ops_attention.h"

enum { ROPE_TOKENS = 32 };

/* ---------------------------------------------------------------- rope */

void tern_rope_tables(const tern_dims *dims, float *cosines, float *sines) {
    uint32_t half = dims->head_dim / 2;
    for (uint32_t i = 0; i < half; i++) {
        float exponent = (float)(2 * i) / (float)dims->head_dim;
        float inv_freq = 1.0f / (float)pow((double)dims->rope_theta, (double)exponent);
        for (uint32_t p = 0; p < dims->n_ctx; p++) {
            double angle = (double)((float)p * inv_freq);
            cosines[(size_t)p * half + i] = (float)cos(angle);
            sines[(size_t)p * half + i] = (float)sin(angle);
        }
    }
}

typedef struct rope_job {
    const tern_ops *ops;
    const tern_sequences *seqs;
    const tern_dims *dims;
    const float *cos, *sin;
    bool inverse;
    float *q, *k;
    size_t n;
} rope_job;

/* The sequence that holds token t. */
static size_t sequence_of(const tern_sequences *seqs, size_t t) {
    size_t low = 0, high = seqs->n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (seqs->start[middle] <= t)
            low = middle;
        else
            high = middle;
    }
    while (seqs->start[low + 1] <= t) /* empty sequences begin where the next one does */
        low++;
    return low;
}

static void rope_task(void *context, size_t task, int worker) {
    const rope_job *job = context;
    const tern_dims *dims = job->dims;
    size_t half = dims->head_dim / 2, first = task * ROPE_TOKENS, end = first + ROPE_TOKENS;
    size_t sequence = sequence_of(job->seqs, first);
    float *back = tern_worker_scratch(job->ops, worker);
    for (size_t t = first; t < end && t < job->n; t++) {
        while (job->seqs->start[sequence + 1] <= t)
            sequence++;
        size_t position = t - job->seqs->start[sequence];
        const float *cosines = job->cos + position * half, *sines = job->sin + position * half;
        for (size_t i = 0; job->inverse && i < half; i++)
            back[i] = -sines[i];
        if (job->inverse)
            sines = back;
        size_t q_size = (size_t)dims->n_heads * dims->head_dim, k_size = tern_kv_size(dims);
        job->ops->kernels->rope(job->q + t * q_size, dims->n_heads, dims->head_dim, cosines, sines);
        job->ops->kernels->rope(job->k + t * k_size, dims->n_kv_heads, dims->head_dim, cosines, sines);
    }
}

void tern_op_rope(const tern_ops *ops, const tern_sequences *seqs, const tern_dims *dims, const float *cosines,
                  const float *sines, bool inverse, float *q, float *k) {
    rope_job job = {.ops = ops, .seqs = seqs, .dims = dims, .cos = cosines, .sin = sines, .inverse = inverse};
    job.q = q;
    job.k = k;
    job.n = seqs->n ? seqs->start[seqs->n] : 0;
    tern_pool_run(ops->pool, (job.n + ROPE_TOKENS - 1) / ROPE_TOKENS, rope_task, &job);
}

/* ---------------------------------------------------------------- attention */

typedef struct forward_scratch {
    float *keys;                            /* [blocks][head_dim][TERN_TILE], of all keys so far */
    float *values;                          /* [blocks * TERN_TILE][head_dim] */
    float *q, *scores;                      /* [TERN_TILE][head_dim], [TERN_TILE][TERN_KEY_SPLIT] */
    float *out, *part;                      /* [TERN_TILE][head_dim]: the splits so far, this one */
    float *max, *sum, *part_max, *part_sum; /* [TERN_TILE] */
} forward_scratch;

static size_t padded_ctx(const tern_dims *dims) { return tern_round_up(dims->n_ctx, TERN_TILE); }

static size_t scratch_floats(const tern_dims *dims) {
    size_t d = dims->head_dim;
    return 2 * padded_ctx(dims) * d + TERN_TILE * (3 * d + TERN_KEY_SPLIT + 4);
}

size_t tern_attention_forward_bytes(const tern_dims *dims) { return scratch_floats(dims) * sizeof(float); }

static forward_scratch carve(float *memory, const tern_dims *dims) {
    size_t d = dims->head_dim, all = padded_ctx(dims) * d;
    forward_scratch s = {.keys = memory, .values = memory + all, .q = memory + 2 * all};
    s.out = s.q + TERN_TILE * d;
    s.part = s.out + TERN_TILE * d;
    s.scores = s.part + TERN_TILE * d;
    s.max = s.scores + TERN_TILE * TERN_KEY_SPLIT;
    s.sum = s.max + TERN_TILE;
    s.part_max = s.sum + TERN_TILE;
    s.part_sum = s.part_max + TERN_TILE;
    return s;
}

typedef struct attention_job {
    const tern_ops *ops;
    const tern_sequences *seqs;
    const tern_dims *dims;
    const float *q, *k, *v;
    float *out, *lse;
} attention_job;

/* Keys of split `split` that the query at `position` sees. */
static size_t keys_seen(size_t position, size_t split) {
    size_t end = position + 1, first = split * TERN_KEY_SPLIT;
    return end <= first ? 0 : end - first < TERN_KEY_SPLIT ? end - first : TERN_KEY_SPLIT;
}

/* The softmax and sums of n queries at `position` on over one split. */
static void attend_split(const attention_job *job, const forward_scratch *s, size_t position, size_t n, size_t split,
                         float *max, float *sum, float *out) {
    const tern_attention_kernels *kernels = job->ops->kernels->attention;
    size_t d = job->dims->head_dim, n_keys = keys_seen(position + n - 1, split);
    size_t n_blocks = (n_keys + TERN_TILE - 1) / TERN_TILE, first_block = split * (TERN_KEY_SPLIT / TERN_TILE);
    float scale = (float)(1.0 / sqrt((double)d));
    for (size_t b = 0; b < n_blocks; b++)
        kernels->scores_f32(s->q, n, s->keys + (first_block + b) * TERN_TILE * d, TERN_TILE, d, scale,
                            s->scores + b * TERN_TILE, TERN_KEY_SPLIT, NULL);
    for (size_t i = 0; i < n; i++) {
        size_t seen = keys_seen(position + i, split);
        float *row = s->scores + i * TERN_KEY_SPLIT;
        if (seen)
            sum[i] = kernels->softmax_exp(row, seen, &max[i]);
        memset(row + seen, 0, (n_blocks * TERN_TILE - seen) * sizeof *row); /* what adds nothing, changes nothing */
    }
    memset(out, 0, n * d * sizeof *out);
    for (size_t b = 0; b < n_blocks; b++) {
        size_t left = n_keys - b * TERN_TILE;
        kernels->values_f32(s->scores + b * TERN_TILE, TERN_KEY_SPLIT, n, s->values + (first_block + b) * TERN_TILE * d,
                            left < TERN_TILE ? left : TERN_TILE, d, out, NULL);
    }
}

/* Queries [position, position + n) of a head. */
static void attend(const attention_job *job, const forward_scratch *s, size_t first_token, size_t position, size_t n,
                   size_t head) {
    const tern_dims *dims = job->dims;
    const tern_attention_kernels *kernels = job->ops->kernels->attention;
    size_t d = dims->head_dim, ld = (size_t)dims->n_heads * d;
    for (size_t i = 0; i < n; i++)
        memcpy(s->q + i * d, job->q + (first_token + position + i) * ld + head * d, d * sizeof *s->q);
    attend_split(job, s, position, n, 0, s->max, s->sum, s->out);
    for (size_t split = 1; split * TERN_KEY_SPLIT < position + n; split++) {
        attend_split(job, s, position, n, split, s->part_max, s->part_sum, s->part);
        size_t without = 0; /* queries that see none of the split */
        while (!keys_seen(position + without, split))
            without++;
        kernels->merge(s->max + without, s->sum + without, s->out + without * d, s->part_max + without,
                       s->part_sum + without, s->part + without * d, n - without, d);
    }
    for (size_t i = 0; i < n; i++) {
        size_t t = first_token + position + i;
        float *out = job->out + t * ld + head * d;
        memcpy(out, s->out + i * d, d * sizeof *out);
        job->ops->kernels->divide(out, d, s->sum[i]);
        job->lse[t * dims->n_heads + head] = s->max[i] + logf(s->sum[i]);
    }
}

static void attention_task(void *context, size_t task, int worker) {
    const attention_job *job = context;
    const tern_dims *dims = job->dims;
    size_t d = dims->head_dim, heads = dims->n_heads / dims->n_kv_heads;
    size_t sequence = task / dims->n_kv_heads, kv_head = task % dims->n_kv_heads;
    size_t first = job->seqs->start[sequence], n = job->seqs->start[sequence + 1] - first;
    forward_scratch s = carve(tern_worker_scratch(job->ops, worker), dims);
    const float *k = job->k + first * tern_kv_size(dims) + kv_head * d;
    const float *v = job->v + first * tern_kv_size(dims) + kv_head * d;
    tern_attention_turn(job->ops, k, tern_kv_size(dims), n, d, s.keys);
    tern_attention_gather(v, tern_kv_size(dims), n, d, s.values);
    for (size_t head = kv_head * heads; head < (kv_head + 1) * heads; head++)
        for (size_t i = 0; i < n; i += TERN_TILE)
            attend(job, &s, first, i, n - i < TERN_TILE ? n - i : TERN_TILE, head);
}

void tern_op_attention(const tern_ops *ops, const tern_sequences *seqs, const tern_dims *dims, const float *q,
                       const float *k, const float *v, float *out, float *lse) {
    attention_job job = {.ops = ops, .seqs = seqs, .dims = dims, .q = q, .k = k, .v = v, .out = out, .lse = lse};
    tern_pool_run(ops->pool, seqs->n * dims->n_kv_heads, attention_task, &job);
}
