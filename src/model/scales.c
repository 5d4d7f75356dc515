#include "model/scales.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* What was found of a matrix. */
typedef struct scan {
    uint32_t blocks;  /* that share a scale; all of a row: by row. Divides those of a row */
    float first;      /* the first scale other than 0 */
    bool several;     /* and another one */
    float impossible; /* one that is not finite and positive; 0: none */
} scan;

static const tern_codec *blocks_of(const tern_linear *linear) {
    const tern_codec *codec = linear->stored ? NULL : tern_codec_of(linear->source->type);
    return codec && codec->block_scale ? codec : NULL;
}

/* Whether a row's blocks (n of them) have one scale in each run of `run`, but for zeros. */
static bool share(const tern_codec *codec, const tern_tensor *tensor, uint64_t row, uint32_t n, uint32_t run) {
    for (uint32_t at = 0; at < n; at += run) {
        float common = 0;
        for (uint32_t i = 0; i < run; i++) {
            float scale = codec->block_scale(tensor, row, at + i);
            if (scale == 0 || scale == common)
                continue;
            if (common != 0)
                return false;
            common = scale;
        }
    }
    return true;
}

static uint32_t largest_divisor(uint32_t n) {
    for (uint32_t i = 2; i * i <= n; i++)
        if (n % i == 0)
            return n / i;
    return 1;
}

/* A run that is too long for one row is cut to a divisor of itself: rows that were seen before share scales in that,
 * too. */
static scan scan_matrix(const tern_codec *codec, const tern_tensor *tensor) {
    uint32_t n = (uint32_t)(tensor->cols / codec->block_values);
    scan found = {.blocks = n};
    for (uint64_t row = 0; row < tensor->rows; row++) {
        for (uint32_t i = 0; i < n; i++) {
            float scale = codec->block_scale(tensor, row, i);
            if (!(scale >= 0 && isfinite(scale))) {
                found.impossible = scale;
                return found;
            }
            if (found.first == 0)
                found.first = scale;
            found.several |= scale != 0 && scale != found.first;
        }
        while (found.several && found.blocks > 1 && !share(codec, tensor, row, n, found.blocks))
            found.blocks = largest_divisor(found.blocks);
    }
    return found;
}

uint32_t tern_scales_columns(const tern_tensor *tensor) {
    const tern_codec *codec = tern_codec_of(tensor->type);
    if (!codec || !codec->block_scale)
        return 0;
    scan found = scan_matrix(codec, tensor);
    return found.several && found.impossible == 0 ? found.blocks * codec->block_values : 0;
}

typedef struct scan_job {
    const tern_checkpoint *checkpoint;
    tern_weights *weights;
    scan *found; /* [matrices] */
} scan_job;

static tern_linear *linear_of(const tern_weights *weights, size_t index) {
    return &weights->layers[index / TERN_LINEARS_PER_LAYER].linears[index % TERN_LINEARS_PER_LAYER];
}

static void scan_task(void *context, size_t task, int worker) {
    (void)worker;
    const scan_job *job = context;
    const tern_linear *linear = linear_of(job->weights, task);
    const tern_codec *codec = blocks_of(linear);
    if (!codec)
        return;
    job->found[task] = scan_matrix(codec, linear->source);
    tern_checkpoint_release(job->checkpoint, linear->source);
}

static tern_status use(const tern_checkpoint *checkpoint, const scan *found, tern_linear *linear, tern_error *err) {
    const tern_codec *codec = blocks_of(linear);
    if (!codec)
        return TERN_OK;
    if (found->impossible != 0)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: tensor %s holds the scale %g; it must be finite and positive",
                         checkpoint->path, linear->source->name, (double)found->impossible);
    linear->scale_known = !found->several;
    linear->own_scales = found->several;
    linear->scale = found->several ? 0 : found->first;
    uint32_t cols = found->blocks * codec->block_values;
    linear->slab_cols = found->several && cols < linear->cols ? cols : 0;
    return TERN_OK;
}

/* Matrices [first, end) of a layer share an input, which lies in memory in slabs of one width. */
static void agree(tern_layer *layer, int first, int end) {
    uint32_t common = 0;
    for (int i = first; i < end; i++)
        for (uint32_t b = layer->linears[i].slab_cols; b;) { /* the greatest common divisor */
            uint32_t rest = common % b;
            common = b;
            b = rest;
        }
    for (int i = first; i < end; i++)
        if (layer->linears[i].slab_cols)
            layer->linears[i].slab_cols = common;
}

tern_status tern_scales_find(const tern_checkpoint *checkpoint, tern_pool *pool, tern_weights *weights,
                             tern_error *err) {
    size_t n = (size_t)weights->dims.n_layers * TERN_LINEARS_PER_LAYER;
    bool any = false;
    for (size_t i = 0; i < n; i++)
        any |= blocks_of(linear_of(weights, i)) != NULL;
    if (!any)
        return TERN_OK;
    scan_job job = {checkpoint, weights, tern_calloc_array(n, sizeof *job.found)};
    tern_status status = job.found ? TERN_OK : tern_fail_memory(err, "the scales of the matrices");
    if (!status)
        tern_pool_run(pool, n, scan_task, &job);
    for (size_t i = 0; !status && i < n; i++)
        status = use(checkpoint, &job.found[i], linear_of(weights, i), err);
    free(job.found);
    for (uint32_t i = 0; !status && i < weights->dims.n_layers; i++) {
        agree(&weights->layers[i], 0, 3); /* q, k, v */
        agree(&weights->layers[i], 4, 6); /* gate, up */
    }
    return status;
}

void tern_scales_read(const tern_linear *linear, float *out) {
    if (linear->stored) {
        memcpy(out, linear->scale_source->data, tern_n_own_scales(linear) * sizeof *out);
        return;
    }
    const tern_codec *codec = blocks_of(linear);
    uint32_t cols = linear->slab_cols ? linear->slab_cols : linear->cols, blocks = cols / codec->block_values;
    for (uint32_t slab = 0; slab < tern_n_slabs(linear); slab++)
        for (uint32_t row = 0; row < linear->rows; row++) {
            float scale = 0;
            for (uint32_t i = 0; scale == 0 && i < blocks; i++)
                scale = codec->block_scale(linear->source, tern_linear_source_row(linear, row),
                                           (uint64_t)slab * blocks + i);
            out[(size_t)slab * linear->rows + row] = scale;
        }
}

const tern_linear *tern_scales_first(const tern_weights *weights) {
    for (size_t i = 0; i < (size_t)weights->dims.n_layers * TERN_LINEARS_PER_LAYER; i++)
        if (linear_of(weights, i)->own_scales)
            return linear_of(weights, i);
    return NULL;
}

tern_status tern_scales_refuse(const tern_weights *weights, const char *what, tern_error *err) {
    const tern_linear *linear = tern_scales_first(weights);
    if (!linear)
        return TERN_OK;
    return tern_fail(err, TERN_ERR_UNSUPPORTED,
                     "%s: tensor %s has scales by row or group of columns; %s needs one scale a matrix (tern quantize "
                     "--scale tensor)",
                     weights->checkpoint->path, linear->source->name, what);
}
