#include "quant/layer.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static bool has_norm(const tern_dims *dims, int norm) {
    return !dims->no_sub_norms || (norm != TERN_NORM_ATTN_SUB && norm != TERN_NORM_FFN_SUB);
}

tern_status tern_quant_layer_create(const tern_weights *weights, const tern_quant_scales *scales,
                                    tern_quant_layer *layer, tern_error *err) {
    const tern_dims *dims = &weights->dims;
    size_t n_values = 0, n_rows = 0, n_norms = 0;
    *layer = (tern_quant_layer){0};
    for (int i = 0; i < TERN_LINEARS_PER_LAYER; i++) {
        const tern_linear *linear = &weights->layers[0].linears[i];
        n_values += (size_t)linear->rows * linear->cols;
        n_rows += (size_t)linear->rows * (scales->group_cols ? linear->cols / scales->group_cols : 1);
    }
    for (int i = 0; i < TERN_NORM_OUTPUT; i++)
        n_norms += tern_norm_size(dims, (tern_norm)i);
    layer->memory = tern_alloc_array(n_values + n_rows + n_norms, sizeof *layer->memory);
    layer->trits = tern_alloc_array(n_values, sizeof *layer->trits);
    if (!layer->memory || !layer->trits) {
        tern_quant_layer_free(layer);
        return tern_fail_memory(err, "the matrices of a layer");
    }
    float *next = layer->memory;
    int8_t *trits = layer->trits;
    for (int i = 0; i < TERN_LINEARS_PER_LAYER; i++) {
        const tern_linear *linear = &weights->layers[0].linears[i];
        layer->values[i] = next;
        next += (size_t)linear->rows * linear->cols;
        layer->matrices[i] = (tern_quant_matrix){.name = layer->names[i],
                                                 .rows = linear->rows,
                                                 .cols = linear->cols,
                                                 .w = layer->values[i],
                                                 .trits = trits,
                                                 .scales = next,
                                                 .row_scales = scales->by_row,
                                                 .group_cols = scales->group_cols};
        next += (size_t)linear->rows * tern_quant_groups(&layer->matrices[i]);
        trits += (size_t)linear->rows * linear->cols;
    }
    for (int i = 0; i < TERN_NORM_OUTPUT; i++) {
        layer->norms[i] = has_norm(dims, i) ? next : NULL;
        next += tern_norm_size(dims, (tern_norm)i);
    }
    return TERN_OK;
}

void tern_quant_layer_free(tern_quant_layer *layer) {
    free(layer->memory);
    free(layer->trits);
    *layer = (tern_quant_layer){0};
}

/* ------------------------------------------------------------------- load */

typedef struct load_job {
    const tern_linear *linear;
    float *out;
    const float *magnitude; /* the matrix's first weight that is not 0 */
    atomic_bool *several;   /* another magnitude was found */
} load_job;

static void decode_task(void *context, size_t row, int worker) {
    const load_job *job = context;
    const tern_tensor *tensor = job->linear->source;
    (void)worker;
    tern_codec_of(tensor->type)
        ->decode_row(tensor, tern_linear_source_row(job->linear, (uint32_t)row), job->out + row * job->linear->cols);
}

static void magnitude_task(void *context, size_t row, int worker) {
    const load_job *job = context;
    const float *values = job->out + row * job->linear->cols;
    (void)worker;
    if (atomic_load_explicit(job->several, memory_order_relaxed))
        return;
    for (uint32_t i = 0; i < job->linear->cols; i++)
        if (values[i] != 0 && fabsf(values[i]) != *job->magnitude) {
            atomic_store_explicit(job->several, true, memory_order_relaxed);
            return;
        }
}

static tern_status load_matrix(const tern_weights *weights, tern_pool *pool, const tern_linear *linear,
                               tern_quant_layer *layer, int which, tern_error *err) {
    const char *path = weights->checkpoint->path, *name = linear->source->name;
    size_t n = (size_t)linear->rows * linear->cols, first = 0;
    atomic_bool several = false;
    load_job job = {.linear = linear, .out = layer->values[which], .several = &several};
    tern_pool_run(pool, linear->rows, decode_task, &job);
    tern_checkpoint_release(weights->checkpoint, linear->source);
    while (first < n && job.out[first] == 0)
        first++;
    if (first == n) /* a matrix of zeros is one in any form */
        return TERN_OK;
    float magnitude = fabsf(job.out[first]);
    job.magnitude = &magnitude;
    tern_pool_run(pool, linear->rows, magnitude_task, &job);
    if (!atomic_load(&several))
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "%s: tensor %s is ternary already; tern convert changes its form without loss", path, name);
    return TERN_OK;
}

tern_status tern_quant_layer_load(const tern_weights *weights, tern_pool *pool, uint32_t index, tern_quant_layer *layer,
                                  tern_error *err) {
    tern_status status = TERN_OK;
    for (int i = 0; !status && i < TERN_NORM_OUTPUT; i++)
        if (layer->norms[i])
            status = tern_norm_load(weights->checkpoint, index, (tern_norm)i,
                                    tern_norm_size(&weights->dims, (tern_norm)i), (float *)layer->norms[i], err);
    for (int i = 0; !status && i < TERN_LINEARS_PER_LAYER; i++) {
        tern_linear_gguf_name(layer->names[i], index, i);
        status = load_matrix(weights, pool, &weights->layers[index].linears[i], layer, i, err);
    }
    return status;
}

/* ----------------------------------------------------------------- settle */

typedef struct settle_job {
    const tern_quant_matrix *m;
    float *values;
} settle_job;

static void settle_task(void *context, size_t row, int worker) {
    const settle_job *job = context;
    const int8_t *trits = job->m->trits + row * job->m->cols;
    float *values = job->values + row * job->m->cols;
    uint32_t group = job->m->group_cols ? job->m->group_cols : job->m->cols;
    (void)worker;
    for (uint32_t at = 0; at < job->m->cols; at += group) {
        float scale = tern_quant_scale(job->m, row, at);
        for (uint32_t i = at; i < at + group; i++)
            values[i] = (float)trits[i] * scale;
    }
}

void tern_quant_layer_settle(tern_pool *pool, tern_quant_layer *layer, int which) {
    settle_job job = {&layer->matrices[which], layer->values[which]};
    tern_pool_run(pool, job.m->rows, settle_task, &job);
}
