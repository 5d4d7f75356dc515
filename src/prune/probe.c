/* What the scores are made of: sums over tokens, taken while the calibration text runs through the network. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "prune/parts.h"

enum { FFN_BLOCK = 128, TOKEN_BLOCK = 64 }; /* channels, tokens of a task */

typedef struct probe_job {
    tern_pruner *pruner;
    prune_side *side;
    uint32_t layer, cols, block; /* channels of the side; of a task */
    const float *x, *gain, *dy;
    size_t n;
} probe_job;

/* 1 / sqrt(mean x^2 + eps) of each token, as RMSNorm has it. */
static void inverse_task(void *context, size_t task, int worker) {
    (void)worker;
    const probe_job *job = context;
    size_t end = (task + 1) * TOKEN_BLOCK < job->n ? (task + 1) * TOKEN_BLOCK : job->n;
    for (size_t t = task * TOKEN_BLOCK; t < end; t++) {
        const float *x = job->x + t * job->cols;
        double sum = 0;
        for (uint32_t i = 0; i < job->cols; i++)
            sum += (double)x[i] * x[i];
        job->pruner->inverse[t] = (float)(1 / sqrt(sum / job->cols + job->pruner->weights.dims.rms_eps));
    }
}

/* y y^T of one head, or the squares of a block of channels. */
static void moments_task(void *context, size_t task, int worker) {
    (void)worker;
    const probe_job *job = context;
    const prune_side *side = job->side;
    uint32_t first = (uint32_t)task * job->block, width = side->width;
    uint32_t n = job->cols - first < job->block ? job->cols - first : job->block;
    double *sums = side->moments + ((size_t)job->layer * job->cols + first) * width;
    const float *gain = job->gain + first;
    for (size_t t = 0; t < job->n; t++) {
        const float *x = job->x + t * job->cols + first;
        double square = (double)job->pruner->inverse[t] * job->pruner->inverse[t];
        for (uint32_t i = 0; i < n; i++) {
            double left = (double)(x[i] * gain[i]) * square;
            if (width == 1)
                sums[i] += left * (double)(x[i] * gain[i]);
            for (uint32_t j = 0; width > 1 && j < n; j++)
                sums[(size_t)i * width + j] += left * (double)(x[j] * gain[j]);
        }
    }
}

/* |sum over a sequence's tokens and a unit's channels of y dL/dy|, added up over sequences. */
static void taylor_task(void *context, size_t task, int worker) {
    (void)worker;
    const probe_job *job = context;
    const prune_side *side = job->side;
    const tern_sequences *seqs = job->pruner->seqs;
    uint32_t first = (uint32_t)task * job->block, n_units = job->block / side->width;
    if (first / side->width + n_units > side->n_units)
        n_units = side->n_units - first / side->width;
    for (size_t s = 0; s < seqs->n; s++) {
        double sums[FFN_BLOCK] = {0};
        for (size_t t = seqs->start[s]; t < seqs->start[s + 1]; t++) {
            const float *x = job->x + t * job->cols + first, *dy = job->dy + t * job->cols + first;
            float inverse = job->pruner->inverse[t];
            for (uint32_t u = 0; u < n_units; u++)
                for (uint32_t i = u * side->width; i < (u + 1) * side->width; i++)
                    sums[u] += (double)(x[i] * inverse * job->gain[first + i] * dy[i]);
        }
        double *to = side->taylor + (size_t)job->layer * side->n_units + first / side->width;
        for (uint32_t u = 0; u < n_units; u++)
            to[u] += fabs(sums[u]);
    }
}

/* The root mean square over the channels that stay, against that over all: of this much the new norm's output would be
 * too large. */
static void add_factors(const probe_job *job) {
    const prune_side *side = job->side;
    uint32_t n_kept = side->n_kept * side->width;
    const uint32_t *kept = side->kept + (size_t)job->layer * n_kept;
    double eps = job->pruner->weights.dims.rms_eps;
    for (size_t t = 0; t < job->n; t++) {
        const float *x = job->x + t * job->cols;
        double sum = 0;
        for (uint32_t i = 0; i < n_kept; i++)
            sum += (double)x[kept[i]] * x[kept[i]];
        side->factor[job->layer] += sqrt(sum / n_kept + eps) * (double)job->pruner->inverse[t];
    }
}

void tern_prune_probe(void *user, uint32_t layer, int which, const float *x, const float *gain, const float *dy,
                      size_t n) {
    tern_pruner *pruner = user;
    prune_side *side = &pruner->sides[which == TERN_PARAM_O ? PRUNE_ATTENTION : PRUNE_FFN];
    probe_job job = {pruner, side, layer, prune_channels(side), side->width > 1 ? side->width : FFN_BLOCK, x,
                     gain,   dy,   n};
    size_t tasks = (job.cols + job.block - 1) / job.block;
    if (pruner->pass == PRUNE_FACTORS && side->n_kept == side->n_units)
        return;
    tern_pool_run(pruner->pool, (n + TOKEN_BLOCK - 1) / TOKEN_BLOCK, inverse_task, &job);
    if (pruner->pass == PRUNE_FACTORS)
        add_factors(&job);
    else
        tern_pool_run(pruner->pool, tasks, dy ? taylor_task : moments_task, &job);
}

/* ------------------------------------------------------------- activation */

typedef struct trits_job {
    const prune_side *side;
    const int8_t *trits; /* [rows][cols] */
    uint32_t layer, rows, cols, block;
    double unit; /* (scale of W)^2 / tokens */
} trits_job;

/* sum over rows w of W of w^T (sum y y^T) w, for a unit's columns: the squared length of W y, summed over tokens. */
static void activation_task(void *context, size_t task, int worker) {
    (void)worker;
    const trits_job *job = context;
    const prune_side *side = job->side;
    uint32_t width = side->width, first = (uint32_t)task * (job->block / width), end = first + job->block / width;
    for (uint32_t u = first; u < end && u < side->n_units; u++) {
        const double *moments = side->moments + ((size_t)job->layer * side->n_units + u) * width * width;
        double sum = 0;
        for (uint32_t row = 0; row < job->rows; row++) {
            const int8_t *w = job->trits + (size_t)row * job->cols + (size_t)u * width;
            for (uint32_t i = 0; i < width; i++) {
                double part = 0;
                for (uint32_t j = 0; w[i] && j < width; j++)
                    part += w[j] * moments[(size_t)i * width + j];
                sum += w[i] * part;
            }
        }
        side->activation[(size_t)job->layer * side->n_units + u] = sqrt(fmax(sum, 0) * job->unit);
    }
}

static void score_layer(tern_pruner *pruner, prune_side *side, uint32_t layer, int8_t *trits) {
    const tern_linear *linear = &pruner->weights.layers[layer].linears[side->which];
    for (uint32_t row = 0; row < linear->rows; row++)
        tern_packing_t2r16.unpack_row(linear->packed + row / TERN_GROUP_ROWS * linear->unit_bytes,
                                      row % TERN_GROUP_ROWS, linear->cols, trits + (size_t)row * linear->cols);
    trits_job job = {.side = side,
                     .trits = trits,
                     .layer = layer,
                     .rows = linear->rows,
                     .cols = linear->cols,
                     .block = side->width > 1 ? side->width : FFN_BLOCK,
                     .unit = (double)linear->scale * linear->scale / (double)pruner->n_seen};
    tern_pool_run(pruner->pool, (job.cols + job.block - 1) / job.block, activation_task, &job);
}

tern_status tern_prune_make_activation(tern_pruner *pruner, tern_error *err) {
    const tern_dims *dims = &pruner->weights.dims;
    int8_t *trits = tern_alloc_array(tern_widest(dims), dims->hidden_size);
    if (!trits)
        return tern_fail_memory(err, "a matrix");
    for (int i = 0; i < PRUNE_SIDES; i++)
        for (uint32_t layer = 0; layer < dims->n_layers; layer++)
            score_layer(pruner, &pruner->sides[i], layer, trits);
    free(trits);
    return TERN_OK;
}
