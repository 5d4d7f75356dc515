/*
 * Attention's backward pass. With P = exp(S - lse), S = scale q k^T, out = P v:
 *     dv = P^T dout,  dP = dout v^T,  dS = P * (dP - delta) * scale,  delta = rowsum(dout * out),
 *     dq = dS k,      dk = dS^T q                                       (FlashAttention-2, Dao 2023, algorithm 2)
 * Tiles of TERN_TILE queries and as many keys. S is computed as in the forward pass, because its error would be one of
 * the exponent, against an lse that is exact; the other products are gradients and go the way of train/gemm.h. A task
 * is the query heads of one KV head over one sequence, which sum up in dk and dv.
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

/* Packed operands (train/gemm.h) of a tile: as A, TERN_TILE rows and some to fill up the last group; as B, whole panels
 * of columns. Sizes are of units of 1 value in 4 bytes, the largest. */
enum { TILE_ROWS = TERN_TILE + 16, COLUMNS = 64, UNIT = 4, LINE = 64 };

typedef struct backward_scratch {
    /* of a sequence and KV head, tile after tile */
    float *keys_turned, *dk, *dv; /* [padded n_ctx][head_dim] */
    uint8_t *values, *keys;       /* B of dP = dout v^T, and of dq = dS k */
    /* of a tile of queries */
    float *q, *dq;             /* [TERN_TILE][head_dim] */
    uint8_t *dout;             /* A of dP */
    uint8_t *dout_sum, *q_sum; /* B of dv = P^T dout, and of dk = dS^T q */
    float *lse, *delta;        /* [TERN_TILE] */
    /* of a pair */
    float *p, *ds;                /* [TERN_TILE][TERN_TILE] */
    uint8_t *ds_rows, *turned[2]; /* A of dq, of dv and dk */
} backward_scratch;

static size_t packed_columns(size_t n) { return tern_round_up(n, COLUMNS) * TERN_TILE * UNIT; } /* a tile's n columns */

/* Bytes of everything, and if `memory` is not NULL where it lies. */
static size_t carve(uint8_t *memory, const tern_dims *dims, backward_scratch *s) {
    size_t d = dims->head_dim, n = tern_round_up(dims->n_ctx, TERN_TILE), used = 0;
    size_t all = n * d * sizeof(float), tile = TERN_TILE * d * sizeof(float), column = TERN_TILE * sizeof(float);
    size_t square = TERN_TILE * TERN_TILE * sizeof(float), rows = TILE_ROWS * tern_round_up(d, 2) * UNIT;
    size_t turned = TILE_ROWS * TERN_TILE * UNIT, values = tern_round_up(d, 2) * TERN_TILE * UNIT;
    const struct {
        void *to; /* a pointer to a pointer */
        size_t bytes;
    } parts[] = {
        {&s->keys_turned, all},
        {&s->dk, all},
        {&s->dv, all},
        {&s->values, n / TERN_TILE * values},
        {&s->keys, n / TERN_TILE * packed_columns(d)},
        {&s->q, tile},
        {&s->dq, tile},
        {&s->dout, rows},
        {&s->dout_sum, packed_columns(d)},
        {&s->q_sum, packed_columns(d)},
        {&s->lse, column},
        {&s->delta, column},
        {&s->p, square},
        {&s->ds, square},
        {&s->ds_rows, turned},
        {&s->turned[0], turned},
        {&s->turned[1], turned},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        void *at = memory ? memory + used : NULL;
        memcpy(parts[i].to, &at, sizeof at);
        used += tern_round_up(parts[i].bytes, LINE);
    }
    return used;
}

size_t tern_attention_backward_bytes(const tern_dims *dims) {
    backward_scratch unused;
    return carve(NULL, dims, &unused);
}

/* ---------------------------------------------------------------- products */

static size_t units_of(const tern_gemm *gemm, size_t n) { return (n + gemm->unit - 1) / gemm->unit; }

/* Rows [n][d], ld apart, as B that is summed over them. */
static void pack_sum(const tern_gemm *gemm, const float *from, size_t ld, size_t n, size_t d, uint8_t *to) {
    tern_operand operand = {.k_major = true, .data = from, .ld = ld};
    gemm->pack_k_major(&operand, 0, n, 0, d, tern_round_up(d, gemm->nr), gemm->nr, units_of(gemm, n), to);
}

/* The same, [n][TERN_TILE], as A. */
static void pack_turned(const tern_gemm *gemm, const float *from, size_t n, uint8_t *to) {
    tern_operand operand = {.k_major = true, .data = from, .ld = TERN_TILE};
    gemm->pack_k_major(&operand, 0, n, 0, TERN_TILE, tern_round_up(TERN_TILE, gemm->mr), gemm->mr, units_of(gemm, n),
                       to);
}

/* Rows [n][d], ld apart, as A. What fills up the last group of rows meets no row of C: any value will do. */
static void pack_rows(const tern_gemm *gemm, const float *from, size_t ld, size_t n, size_t d, uint8_t *to) {
    tern_operand operand = {.data = from, .ld = ld};
    gemm->pack_rows(&operand, 0, d, 0, n, to);
}

/* As B that is summed over d. */
static void pack_columns(const tern_gemm *gemm, const float *from, size_t ld, size_t n, size_t d, uint8_t *to) {
    tern_operand operand = {.data = from, .ld = ld};
    for (size_t first = 0; first < TERN_TILE; first += gemm->nr, to += units_of(gemm, d) * gemm->nr * gemm->unit_bytes)
        gemm->pack_turned(&operand, 0, d, first,
                          first >= n             ? 0
                          : n - first < gemm->nr ? n - first
                                                 : gemm->nr,
                          gemm->nr, to);
}

/* c [m][n] = or += A B, summed over k; `by_rows` as pack_rows() packs A, else as pack_turned(). */
static void multiply(const tern_gemm *gemm, const uint8_t *a, bool by_rows, const uint8_t *b, size_t k, float *c,
                     size_t ldc, size_t m, size_t n, bool add) {
    size_t units = units_of(gemm, k), row_bytes = units * gemm->unit_bytes;
    size_t a_row = by_rows ? row_bytes : gemm->unit_bytes;
    size_t a_step = by_rows ? gemm->unit_bytes : gemm->mr * gemm->unit_bytes;
    for (size_t j = 0; j < n; j += gemm->nr)
        for (size_t i = 0; i < m; i += gemm->mr)
            gemm->tile(units, a + i * row_bytes, a_row, a_step, b + j * row_bytes, c + i * ldc + j, ldc,
                       m - i < gemm->mr ? m - i : gemm->mr, n - j < gemm->nr ? n - j : gemm->nr, 1.0f, add);
}

/* ---------------------------------------------------------------- tiles */

/* n queries from `position` on against the n_keys keys from `key` on. */
static void tile_pair(const backward_job *job, const backward_scratch *s, size_t position, size_t n, size_t key,
                      size_t n_keys) {
    const tern_gemm *gemm = job->ops->gemm;
    size_t d = job->dims->head_dim, at = key / TERN_TILE;
    float scale = (float)(1.0 / sqrt((double)d));
    job->ops->kernels->attention->scores_f32(s->q, n, s->keys_turned + key * d, TERN_TILE, d, scale, s->p, TERN_TILE,
                                             NULL);
    multiply(gemm, s->dout, true, s->values + at * (tern_round_up(d, 2) * TERN_TILE * UNIT), d, s->ds, TERN_TILE, n,
             TERN_TILE, false);
    for (size_t i = 0; i < n; i++) {
        size_t seen = position + i + 1 - key;
        job->ops->rows->attention_gradient(s->p + i * TERN_TILE, s->ds + i * TERN_TILE, seen < n_keys ? seen : n_keys,
                                           s->lse[i], s->delta[i], scale);
    }
    pack_rows(gemm, s->ds, TERN_TILE, n, TERN_TILE, s->ds_rows);
    multiply(gemm, s->ds_rows, true, s->keys + at * packed_columns(d), TERN_TILE, s->dq, d, n, d, true);
    pack_turned(gemm, s->p, n, s->turned[0]);
    multiply(gemm, s->turned[0], false, s->dout_sum, n, s->dv + key * d, d, n_keys, d, true);
    pack_turned(gemm, s->ds, n, s->turned[1]);
    multiply(gemm, s->turned[1], false, s->q_sum, n, s->dk + key * d, d, n_keys, d, true);
}

/* The tile of queries from `position` on of a head; `first` is their sequence's first token, of n_tokens. */
static void query_tile(const backward_job *job, const backward_scratch *s, size_t first, size_t n_tokens,
                       size_t position, size_t head) {
    const tern_dims *dims = job->dims;
    size_t d = dims->head_dim, ld = (size_t)dims->n_heads * d, token = first + position, at = token * ld + head * d;
    size_t n = n_tokens - position < TERN_TILE ? n_tokens - position : TERN_TILE;
    tern_attention_gather(job->q + at, ld, n, d, s->q);
    pack_sum(job->ops->gemm, job->q + at, ld, n, d, s->q_sum);
    pack_rows(job->ops->gemm, job->dout + at, ld, n, d, s->dout);
    pack_sum(job->ops->gemm, job->dout + at, ld, n, d, s->dout_sum);
    memset(s->dq, 0, n * d * sizeof *s->dq);
    for (size_t i = 0; i < n; i++) {
        s->lse[i] = job->lse[(token + i) * dims->n_heads + head];
        s->delta[i] = job->ops->rows->dot(job->dout + at + i * ld, job->out + at + i * ld, d);
    }
    for (size_t key = 0; key < position + n; key += TERN_TILE)
        tile_pair(job, s, position, n, key, n_tokens - key < TERN_TILE ? n_tokens - key : TERN_TILE);
    for (size_t i = 0; i < n; i++)
        memcpy(job->dq + at + i * ld, s->dq + i * d, d * sizeof *s->dq);
}

/* Keys and values of a sequence of n tokens as the products want them; those behind n are zeros. */
static void prepare(const backward_job *job, const backward_scratch *s, const float *k, const float *v, size_t n) {
    const tern_gemm *gemm = job->ops->gemm;
    size_t d = job->dims->head_dim, ld = tern_kv_size(job->dims), values = tern_round_up(d, 2) * TERN_TILE * UNIT;
    tern_attention_turn(job->ops, k, ld, n, d, s->keys_turned);
    for (size_t i = 0; i < n; i += TERN_TILE) {
        size_t here = n - i < TERN_TILE ? n - i : TERN_TILE;
        pack_columns(gemm, v + i * ld, ld, here, d, s->values + i / TERN_TILE * values);
        tern_attention_gather(k + i * ld, ld, here, d, s->q); /* any tile of floats will do */
        memset(s->q + here * d, 0, (TERN_TILE - here) * d * sizeof *s->q);
        pack_sum(gemm, s->q, d, TERN_TILE, d, s->keys + i / TERN_TILE * packed_columns(d));
    }
    memset(s->dk, 0, n * d * sizeof *s->dk);
    memset(s->dv, 0, n * d * sizeof *s->dv);
}

static void backward_task(void *context, size_t task, int worker) {
    const backward_job *job = context;
    const tern_dims *dims = job->dims;
    size_t d = dims->head_dim, heads = dims->n_heads / dims->n_kv_heads, kv_size = tern_kv_size(dims);
    size_t sequence = task / dims->n_kv_heads, kv_head = task % dims->n_kv_heads;
    size_t first = job->seqs->start[sequence], n = job->seqs->start[sequence + 1] - first;
    size_t at = first * kv_size + kv_head * d;
    backward_scratch s;
    carve(tern_worker_scratch(job->ops, worker), dims, &s);
    prepare(job, &s, job->k + at, job->v + at, n);
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
