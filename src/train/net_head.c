/*
 * The two ends of a model whose embedding stays as its file stores it (half precision, or quantised): no float copy of
 * all its rows is made, which for 2B4T would be 1.3 GB. Looking up decodes the rows that are wanted. The head goes
 * through the vocabulary in tiles of rows that are decoded, multiplied with all tokens, and folded into a running
 * log-sum-exp (as in FlashAttention, Dao et al. 2022); its backward pass goes through them again. The embedding is
 * frozen: only the gradient by the hidden vectors is made.
 */
#include <math.h>

#include "train/net_parts.h"

enum { TOKENS_BLOCK = 8, ROWS_BLOCK = 8 };

/* ------------------------------------------------------------------- rows */

typedef struct rows_job {
    const tern_tensor *table;
    const int32_t *ids; /* NULL: rows from `first` on */
    uint64_t first;
    size_t n;
    float *out;
} rows_job;

static void rows_task(void *context, size_t task, int worker) {
    (void)worker;
    const rows_job *job = context;
    const tern_codec *codec = tern_codec_of(job->table->type);
    size_t end = (task + 1) * ROWS_BLOCK < job->n ? (task + 1) * ROWS_BLOCK : job->n;
    for (size_t i = task * ROWS_BLOCK; i < end; i++)
        codec->decode_row(job->table, job->ids ? (uint64_t)job->ids[i] : job->first + i,
                          job->out + i * job->table->cols);
}

static void decode(const tern_net *net, rows_job job) {
    tern_pool_run(net->ops.pool, (job.n + ROWS_BLOCK - 1) / ROWS_BLOCK, rows_task, &job);
}

void tern_net_embed(const tern_net *net, const tern_batch *batch, float *x) {
    decode(net, (rows_job){.table = net->table.embedding, .ids = batch->inputs, .n = batch->n_tokens, .out = x});
}

/* ------------------------------------------------------------------ tiles */

typedef struct tile_job {
    const net_table *table;
    const net_outputs *out;
    uint32_t first, n_rows; /* of the vocabulary */
    float z_loss;
} tile_job;

/* The logits [n, n_rows] of a tile. */
static tern_bit tile_logits(const tern_net *net, const tile_job *tile) {
    const net_table *table = &net->table;
    tern_bit bit = {.rows = tile->n_rows, .cols = net->dims.hidden_size, .mode = TERN_WEIGHTS_FLOAT, .scale = 1};
    bit.values = table->tile;
    decode(net, (rows_job){.table = table->head, .first = tile->first, .n = tile->n_rows, .out = table->tile});
    tern_op_linear(&net->ops, &bit, &(tern_act){.x = (float *)tile->out->y}, tile->out->n, table->logits, false);
    return bit;
}

static void fold_task(void *context, size_t task, int worker) {
    (void)worker;
    const tile_job *job = context;
    const net_table *table = job->table;
    size_t n = job->out->n, end = (task + 1) * TOKENS_BLOCK < n ? (task + 1) * TOKENS_BLOCK : n;
    for (size_t t = task * TOKENS_BLOCK; t < end; t++) {
        const float *logits = table->logits + t * job->n_rows;
        int64_t target = (int64_t)job->out->targets[t] - job->first;
        float most = logits[0];
        for (uint32_t j = 1; j < job->n_rows; j++)
            most = fmaxf(most, logits[j]);
        double old = job->first ? table->max[t] : (double)most, max = fmax(old, (double)most), sum = 0;
        for (uint32_t j = 0; j < job->n_rows; j++)
            sum += (double)expf((float)(logits[j] - max));
        table->sum[t] = (job->first ? table->sum[t] * exp(old - max) : 0) + sum;
        table->max[t] = max;
        if (target >= 0 && target < job->n_rows)
            table->target[t] = logits[target];
    }
}

/* Logits become their gradients: weight * ((1 + 2 z lse) softmax - onehot). */
static void gradient_task(void *context, size_t task, int worker) {
    (void)worker;
    const tile_job *job = context;
    const net_table *table = job->table;
    size_t n = job->out->n, end = (task + 1) * TOKENS_BLOCK < n ? (task + 1) * TOKENS_BLOCK : n;
    for (size_t t = task * TOKENS_BLOCK; t < end; t++) {
        float *logits = table->logits + t * job->n_rows;
        bool counts = job->out->targets[t] >= 0 && job->out->weight[t] != 0;
        int64_t target = (int64_t)job->out->targets[t] - job->first;
        double lse = table->max[t] + log(table->sum[t]);
        float factor = counts ? (float)(job->out->weight[t] * (1 + 2 * (double)job->z_loss * lse)) : 0;
        for (uint32_t j = 0; j < job->n_rows; j++)
            logits[j] = counts ? factor * expf((float)(logits[j] - lse)) : 0;
        if (counts && target >= 0 && target < job->n_rows)
            logits[target] -= job->out->weight[t];
    }
}

static tile_job tile_at(const tern_net *net, const net_outputs *out, uint32_t first) {
    uint32_t left = net->dims.vocab_size - first, size = net->table.tile_rows;
    return (tile_job){.table = &net->table, .out = out, .first = first, .n_rows = left < size ? left : size};
}

static size_t n_token_tasks(const net_outputs *out) { return (out->n + TOKENS_BLOCK - 1) / TOKENS_BLOCK; }

void tern_net_head_loss(const tern_net *net, const net_outputs *out, float *nll) {
    const net_table *table = &net->table;
    for (uint32_t first = 0; first < net->dims.vocab_size; first += table->tile_rows) {
        tile_job tile = tile_at(net, out, first);
        tile_logits(net, &tile);
        tern_pool_run(net->ops.pool, n_token_tasks(out), fold_task, &tile);
    }
    for (size_t t = 0; t < out->n; t++)
        nll[t] = out->targets[t] < 0 ? 0 : (float)(table->max[t] + log(table->sum[t]) - (double)table->target[t]);
}

void tern_net_head_loss_backward(const tern_net *net, const net_outputs *out, float z_loss, float *nll, float *dh) {
    tern_net_head_loss(net, out, nll);
    for (uint32_t first = 0; first < net->dims.vocab_size; first += net->table.tile_rows) {
        tile_job tile = tile_at(net, out, first);
        tile.z_loss = z_loss;
        tern_bit bit = tile_logits(net, &tile);
        tern_pool_run(net->ops.pool, n_token_tasks(out), gradient_task, &tile);
        tern_op_linear_backward(&net->ops, &bit, &(tern_act){.x = (float *)out->y}, net->table.logits, out->n, dh,
                                first > 0, NULL);
    }
}
