/* The matrices of a converted model. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/convert_parts.h"
#include "model/scales.h"

typedef struct encode_job {
    tern_conversion *c;
    const convert_item *const *items;
    const int8_t *trits[TERN_LINEARS_PER_LAYER]; /* with another source of matrices */
    const float *scales[TERN_LINEARS_PER_LAYER];
    tern_status status[TERN_LINEARS_PER_LAYER];
    tern_error errors[TERN_LINEARS_PER_LAYER];
} encode_job;

/* trits [rows, cols] and scales [rows][groups of `group` columns] -> out. Types with blocks have a scale in each one,
 * I2_S has one in all. */
static tern_status encode_given(const tern_codec *codec, const tern_linear *linear, uint32_t group, const int8_t *trits,
                                const float *scales, uint8_t *out, tern_error *err) {
    uint32_t rows = linear->rows, cols = linear->cols;
    group = group ? group : cols;
    size_t row_bytes = cols / codec->block_values * codec->block_bytes;
    if (codec->ternary && codec->tail_bytes) {
        codec->encode_trits(trits, rows, cols, scales[0], out);
        return TERN_OK;
    }
    float *values = codec->ternary ? NULL : tern_alloc_array(cols, sizeof *values);
    if (!codec->ternary && !values)
        return tern_fail_memory(err, "a row of a matrix");
    for (size_t row = 0; row < rows; row++) {
        const int8_t *t = trits + row * cols;
        const float *s = scales + row * (cols / group);
        for (uint32_t i = 0; values && i < cols; i++)
            values[i] = (float)t[i] * s[i / group];
        if (values)
            codec->encode_row(values, cols, out + row * row_bytes);
        for (uint32_t i = 0; !values && i < cols; i += group)
            codec->encode_trits(t + i, 1, group, s[i / group],
                                out + row * row_bytes + i / codec->block_values * codec->block_bytes);
    }
    free(values);
    return TERN_OK;
}

/* A matrix of floats as `codec`, another type of floats; rows in the model's order. */
static tern_status encode_plain(const tern_linear *linear, const tern_codec *codec, uint8_t *out, tern_error *err) {
    const tern_codec *source = tern_codec_of(linear->source->type);
    size_t row_bytes = (size_t)linear->cols / codec->block_values * codec->block_bytes;
    float most = codec->type == TERN_TYPE_F16 ? 65504.0f : FLT_MAX;
    float *values = tern_alloc_array(linear->cols, sizeof *values);
    if (!values)
        return tern_fail_memory(err, "a row of a matrix");
    bool fits = true;
    for (uint32_t row = 0; fits && row < linear->rows; row++) {
        source->decode_row(linear->source, tern_linear_source_row(linear, row), values);
        for (uint32_t i = 0; i < linear->cols; i++)
            fits &= fabsf(values[i]) <= most;
        codec->encode_row(values, linear->cols, out + row * row_bytes);
    }
    free(values);
    return fits ? TERN_OK
                : tern_fail(err, TERN_ERR_UNSUPPORTED, "%s holds a value that is not finite or too large for %s",
                            linear->source->name, codec->name);
}
/* One that the checkpoint has -> linear->packed. */
static tern_status encode(const tern_conversion *c, const convert_item *item, tern_error *err) {
    tern_linear *linear = convert_linear(c, item);
    const tern_codec *codec = c->matrices;
    uint8_t *out = (uint8_t *)linear->packed;
    if (linear->layout == TERN_LAYOUT_PLAIN)
        return encode_plain(linear, codec, out, err);
    tern_status status = TERN_OK;
    if (linear->stored) /* neither copying nor unpacking would tell */
        status = tern_check_linear(linear, err);
    if (status)
        return status;
    return codec ? tern_encode_linear(c->checkpoint, codec, linear, out, err)
                 : tern_pack_linear(c->checkpoint, tern_form_named(c->packing, item->which), linear, err);
}

static void encode_task(void *context, size_t task, int worker) {
    (void)worker;
    encode_job *job = context;
    const tern_conversion *c = job->c;
    tern_linear *linear = convert_linear(c, job->items[task]);
    if (c->source) {
        job->status[task] = encode_given(c->matrices, linear, c->source->group_cols, job->trits[task],
                                         job->scales[task], (uint8_t *)linear->packed, &job->errors[task]);
        return;
    }
    job->status[task] = encode(c, job->items[task], &job->errors[task]);
    tern_checkpoint_release(c->checkpoint, linear->source);
}

tern_status tern_convert_encode(tern_conversion *c, const convert_item *const *matrices, int n, uint8_t *memory,
                                tern_error *err) {
    encode_job job = {.c = c, .items = matrices};
    for (int i = 0; i < n; i++) {
        tern_linear *linear = convert_linear(c, matrices[i]);
        linear->packed = memory;
        memory += (size_t)linear->n_units * linear->unit_bytes;
    }
    if (c->source) {
        tern_status made = c->source->layer(c->source->user, matrices[0]->layer, job.trits, job.scales, err);
        if (made)
            return made;
    }
    tern_pool_run(c->pool, (size_t)n, encode_task, &job);
    for (int i = 0; i < n; i++) {
        if (job.status[i]) {
            tern_fail(err, job.status[i], "%s", job.errors[i].message);
            tern_error_prefix(err, "%s", c->checkpoint->path);
            return job.status[i];
        }
        c->scales[matrices[i]->layer * TERN_LINEARS_PER_LAYER + (uint32_t)matrices[i]->which] =
            convert_linear(c, matrices[i])->scale;
    }
    return TERN_OK;
}

static tern_status write_scales(tern_conversion *c, const tern_linear *linear, tern_error *err) {
    size_t n = tern_n_own_scales(linear);
    float *scales = tern_alloc_array(n, sizeof *scales);
    if (!scales)
        return tern_fail_memory(err, "the scales of a matrix");
    tern_scales_read(linear, scales);
    tern_status status = tern_convert_bytes(c, scales, n * sizeof *scales, err);
    free(scales);
    return status;
}

/* A matrix whose rows are in the model's order. In files of other programs' types and the architecture llama, those of
 * Q and K go to where llama.cpp wants them. */
tern_status tern_convert_matrix(tern_conversion *c, const convert_item *item, tern_error *err) {
    enum { Q, K };
    const tern_linear *linear = convert_linear(c, item);
    int which = item->which;
    size_t n_bytes = (size_t)linear->n_units * linear->unit_bytes;
    if (!c->matrices && linear->own_scales) {
        tern_status status = tern_convert_bytes(c, linear->packed, n_bytes, err);
        return status ? status : write_scales(c, linear, err);
    }
    if (!c->matrices || !c->weights.dims.no_sub_norms || (which != Q && which != K))
        return tern_convert_bytes(c, linear->packed, n_bytes, err);
    const tern_linear file = {.interleaved = c->weights.dims.head_dim};
    size_t row_bytes = (n_bytes - c->matrices->tail_bytes) / linear->rows; /* no block straddles rows */
    uint8_t *ordered = malloc(n_bytes);
    if (!ordered)
        return tern_fail_memory(err, "a matrix");
    for (uint32_t row = 0; row < linear->rows; row++)
        memcpy(ordered + tern_linear_source_row(&file, row) * row_bytes, linear->packed + row * row_bytes, row_bytes);
    memcpy(ordered + linear->rows * row_bytes, linear->packed + linear->rows * row_bytes, c->matrices->tail_bytes);
    tern_status status = tern_convert_bytes(c, ordered, n_bytes, err);
    free(ordered);
    return status;
}
