/* Any model that tern loads -> GGUF, in tern's own layout (docs/FORMAT.md) or with tensors of other programs' types. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/cpu.h"
#include "base/file.h"
#include "base/mem.h"
#include "model/convert.h"
#include "model/convert_parts.h"
#include "model/demo.h"
#include "model/keys.h"
#include "model/scales.h"
#include "tokenizer/unicode.h"

#define FOLDER_TYPE "hf-packed"
enum { ALIGNMENT = 64, GGUF_F32 = 0, GGUF_I8 = 24 };

typedef struct conversion {
    const tern_checkpoint *checkpoint;
    const tern_convert_params *params;
    const tern_matrix_source *source; /* of the matrices; NULL: the checkpoint */
    const tern_kernels *kernels;      /* the best here: they build the screen */
    const char *packing;
    const tern_codec *matrices;  /* their type; NULL: tern's own layout */
    const tern_codec *embedding; /* of embedding and head; NULL: as they are */
    tern_weights weights;        /* bound, never loaded */
    tern_screen screen;          /* n_rows 0: none */
    tern_pool *pool;
    tern_gguf_writer *writer;
    tern_progress_fn progress;
    void *progress_user;
    uint64_t done_bytes, total_bytes; /* of the tensors in the new file */
    float *scales;                    /* [n_layers][7] */
} conversion;

/* ------------------------------------------------------------- tensor list */

static void put(conversion *c, const char *name, uint32_t gguf_type, uint64_t rows, uint64_t cols, bool vector,
                uint64_t bytes) {
    tern_gguf_put_tensor(c->writer, name, gguf_type, rows, cols, vector, bytes);
    c->total_bytes += bytes;
}

static tern_status fail_rows(const conversion *c, const char *name, uint64_t cols, const tern_codec *codec,
                             uint32_t block, const char *hint, tern_error *err) {
    return tern_fail(err, TERN_ERR_UNSUPPORTED,
                     "%s: %s has rows of %" PRIu64 " values; type %s needs a multiple of %" PRIu32 "%s",
                     c->checkpoint->path, name, cols, codec->name, block, hint);
}

/* What a matrix could be stored as instead. Those of a LLaMA model are told from floats by their type. */
static const char *other_type(const conversion *c, uint32_t block) {
    enum { LEAST = 128 }; /* I2_S */
    if (!c->weights.dims.no_sub_norms)
        return " (F16 takes any)";
    return block > LEAST ? " (I2_S one of 128)" : "";
}

/* A tensor of floats under its name in GGUF, in `codec` or (NULL) as it is. */
static tern_status put_floats(conversion *c, const char *name, const tern_tensor *tensor, const tern_codec *codec,
                              tern_error *err) {
    uint64_t bytes = tensor->bytes;
    if (codec && !tern_codec_bytes(codec, tensor->rows, tensor->cols, &bytes))
        return fail_rows(c, name, tensor->cols, codec, codec->block_values, " (F16 takes any)", err);
    codec = codec ? codec : tern_codec_of(tensor->type);
    put(c, name, codec->gguf_type, tensor->rows, tensor->cols, tensor->n_dims < 2, bytes);
    return TERN_OK;
}

/* Norms: in tern's own layout as they are, elsewhere F32, which every program reads. */
static const tern_codec *norm_codec(const conversion *c) { return c->matrices ? tern_codec_named("F32") : NULL; }

static tern_status put_matrix(conversion *c, uint32_t layer, int which, tern_error *err) {
    char name[128];
    tern_linear *linear = &c->weights.layers[layer].linears[which];
    if (!c->matrices) {
        const tern_form *form = tern_form_named(c->packing, which);
        tern_form_lay_out(form, linear);
        put(c, tern_packed_name(name, layer, which, form), GGUF_I8, linear->n_units, linear->unit_bytes, false,
            (uint64_t)linear->n_units * linear->unit_bytes);
        if (linear->own_scales)
            put(c, tern_own_scales_name(name, layer, which), GGUF_F32, tern_n_slabs(linear), linear->rows, false,
                tern_n_own_scales(linear) * sizeof(float));
        return TERN_OK;
    }
    uint64_t bytes;
    uint32_t block = tern_keys_row_multiple(c->matrices);
    tern_linear_gguf_name(name, layer, which);
    if (linear->cols % block || !tern_codec_bytes(c->matrices, linear->rows, linear->cols, &bytes))
        return fail_rows(c, name, linear->cols, c->matrices, block, other_type(c, block), err);
    linear->n_units = 1; /* all of it */
    linear->unit_bytes = (size_t)bytes;
    put(c, name, c->matrices->gguf_type, linear->rows, linear->cols, false, bytes);
    return TERN_OK;
}

/* Norms have the same names in every file that is written. */
static const char *norm_name(char name[static 128], uint32_t layer, tern_norm norm) {
    const tern_checkpoint gguf = {.kind = TERN_CHECKPOINT_GGUF};
    return tern_norm_name(&gguf, name, layer, norm);
}

static const tern_tensor *find_norm(const conversion *c, uint32_t layer, tern_norm norm) {
    char name[128];
    return tern_checkpoint_find(c->checkpoint, tern_norm_name(c->checkpoint, name, layer, norm));
}

/* What stands in a layer, in the order in which it is used. */
typedef struct layer_part {
    bool is_norm; /* a sub norm only where there are any */
    int which;    /* tern_norm or the linear's place */
} layer_part;

static const layer_part layer_parts[] = {
    {true, TERN_NORM_ATTN},
    {false, 0},
    {false, 1},
    {false, 2},
    {true, TERN_NORM_ATTN_SUB},
    {false, 3},
    {true, TERN_NORM_FFN},
    {false, 4},
    {false, 5},
    {true, TERN_NORM_FFN_SUB},
    {false, 6},
};
enum { N_LAYER_PARTS = sizeof layer_parts / sizeof *layer_parts };

static bool is_absent(const conversion *c, const layer_part *part) {
    return part->is_norm && c->weights.dims.no_sub_norms &&
           (part->which == TERN_NORM_ATTN_SUB || part->which == TERN_NORM_FFN_SUB);
}

static tern_status check_norm(const conversion *c, uint32_t layer, tern_norm norm, tern_error *err) {
    char name[128];
    const tern_tensor *tensor = find_norm(c, layer, norm);
    uint32_t size = tern_norm_size(&c->weights.dims, norm);
    tern_norm_name(c->checkpoint, name, layer, norm);
    if (!tensor || tensor->rows != 1 || tensor->cols != size ||
        (tensor->type != TERN_TYPE_F32 && tensor->type != TERN_TYPE_F16 && tensor->type != TERN_TYPE_BF16))
        return tern_fail(err, TERN_ERR_FORMAT, "%s: norm %s is missing or not of %" PRIu32 " F32, F16 or BF16 values",
                         c->checkpoint->path, name, size);
    float *values = tern_alloc_array(size, sizeof *values);
    if (!values)
        return tern_fail_memory(err, "a norm");
    tern_codec_of(tensor->type)->decode_row(tensor, 0, values);
    bool finite = true;
    for (uint32_t i = 0; i < size; i++)
        finite &= isfinite(values[i]);
    free(values);
    return finite ? TERN_OK
                  : tern_fail(err, TERN_ERR_FORMAT, "%s: norm %s holds a value that is not finite; the file is damaged",
                              c->checkpoint->path, name);
}

/* Reading a norm may map what lies around it, up to the 2 MB of a huge page; norms lie between the matrices, which are
 * dropped here again. */
static void release_layer(const conversion *c, uint32_t layer) {
    for (int j = 0; j < TERN_LINEARS_PER_LAYER; j++)
        tern_checkpoint_release(c->checkpoint, c->weights.layers[layer].linears[j].source);
}

static tern_status put_layer(conversion *c, uint32_t layer, tern_error *err) {
    char name[128];
    for (size_t i = 0; i < N_LAYER_PARTS; i++) {
        int which = layer_parts[i].which;
        tern_status status;
        if (is_absent(c, &layer_parts[i]))
            continue;
        if (layer_parts[i].is_norm) {
            status = check_norm(c, layer, (tern_norm)which, err);
            if (!status)
                status = put_floats(c, norm_name(name, layer, (tern_norm)which), find_norm(c, layer, (tern_norm)which),
                                    norm_codec(c), err);
        } else {
            status = put_matrix(c, layer, which, err);
        }
        if (status)
            return status;
    }
    release_layer(c, layer);
    return TERN_OK;
}

static void put_screen(conversion *c) {
    tern_screen_array arrays[TERN_SCREEN_ARRAYS];
    bool wanted = !c->params->no_screen && tern_screen_pays(c->weights.head);
    if (c->params->screen_missing)
        *c->params->screen_missing = wanted && !c->kernels->screen;
    if (!wanted || !c->kernels->screen)
        return;
    c->screen = tern_screen_of(c->checkpoint, c->weights.head);
    tern_screen_arrays(&c->screen, arrays);
    for (size_t i = 0; i < TERN_SCREEN_ARRAYS; i++) {
        uint64_t values = arrays[i].rows * arrays[i].cols;
        put(c, arrays[i].name, arrays[i].is_float ? GGUF_F32 : GGUF_I8, arrays[i].rows, arrays[i].cols,
            arrays[i].rows == 1, arrays[i].is_float ? values * sizeof(float) : values);
    }
}

static tern_status put_tensors(conversion *c, tern_error *err) {
    const tern_weights *weights = &c->weights;
    char name[128];
    uint32_t n_layers = weights->dims.n_layers;
    tern_status status = put_floats(c, "token_embd.weight", weights->embedding, c->embedding, err);
    if (!status && !weights->tied)
        status = put_floats(c, "output.weight", weights->head, c->embedding, err);
    for (uint32_t i = 0; !status && i < n_layers; i++)
        status = put_layer(c, i, err);
    if (!status)
        status = check_norm(c, 0, TERN_NORM_OUTPUT, err);
    if (!status)
        status =
            put_floats(c, norm_name(name, 0, TERN_NORM_OUTPUT), find_norm(c, 0, TERN_NORM_OUTPUT), norm_codec(c), err);
    if (weights->rope_divisors) {
        uint64_t n = weights->dims.head_dim / 2;
        put(c, TERN_ROPE_DIVISORS_NAME, GGUF_F32, 1, n, true, n * sizeof(float));
    }
    if (status || c->matrices)
        return status;
    put_screen(c);
    put(c, TERN_SCALES_NAME, GGUF_F32, n_layers, TERN_LINEARS_PER_LAYER, false,
        (uint64_t)n_layers * TERN_LINEARS_PER_LAYER * sizeof(float));
    return TERN_OK;
}

/* -------------------------------------------------------------------- data */

static tern_status write_bytes(conversion *c, const void *bytes, size_t n_bytes, tern_error *err) {
    tern_status status = tern_gguf_write_data(c->writer, bytes, n_bytes, err);
    c->done_bytes += n_bytes;
    if (!status && c->progress && !c->progress(c->progress_user, c->done_bytes, c->total_bytes))
        status = tern_fail(err, TERN_ERR_CANCELLED, "the conversion was cancelled");
    return status;
}

/* In pieces: for the progress, and because pages that are written need not stay. */
static tern_status write_same(conversion *c, const tern_tensor *tensor, tern_error *err) {
    enum { PIECE = 8 << 20 };
    tern_status status = TERN_OK;
    for (uint64_t at = 0; !status && at < tensor->bytes; at += PIECE) {
        tern_tensor piece = *tensor;
        piece.data += at;
        piece.bytes = tensor->bytes - at < PIECE ? tensor->bytes - at : PIECE;
        status = write_bytes(c, piece.data, (size_t)piece.bytes, err);
        tern_checkpoint_release(c->checkpoint, &piece);
    }
    return status;
}

/* Row by row into another type. */
static tern_status write_encoded(conversion *c, const tern_tensor *tensor, const tern_codec *codec, tern_error *err) {
    const tern_codec *source = tern_codec_of(tensor->type);
    size_t row_bytes = (size_t)tensor->cols / codec->block_values * codec->block_bytes;
    float *values = tern_alloc_array((size_t)tensor->cols, sizeof *values);
    uint8_t *bytes = malloc(row_bytes);
    tern_status status = values && bytes ? TERN_OK : tern_fail_memory(err, tensor->name);
    for (uint64_t row = 0; !status && row < tensor->rows; row++) {
        source->decode_row(tensor, row, values);
        bool finite = true;
        for (uint64_t i = 0; i < tensor->cols; i++)
            finite &= isfinite(values[i]);
        if (!finite) {
            status = tern_fail(err, TERN_ERR_FORMAT, "%s: %s holds a value that is not finite, in row %" PRIu64,
                               c->checkpoint->path, tensor->name, row);
            break;
        }
        codec->encode_row(values, tensor->cols, bytes);
        status = write_bytes(c, bytes, row_bytes, err);
    }
    tern_checkpoint_release(c->checkpoint, tensor);
    free(bytes);
    free(values);
    return status;
}

static tern_status write_floats(conversion *c, const tern_tensor *tensor, const tern_codec *codec, tern_error *err) {
    return codec && codec->type != tensor->type ? write_encoded(c, tensor, codec, err) : write_same(c, tensor, err);
}

typedef struct layer_job {
    conversion *c;
    tern_layer *layer;
    const int8_t *trits[TERN_LINEARS_PER_LAYER]; /* with another source of matrices */
    const float *scales[TERN_LINEARS_PER_LAYER];
    tern_status status[TERN_LINEARS_PER_LAYER];
    tern_error errors[TERN_LINEARS_PER_LAYER];
} layer_job;

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

static void pack_task(void *context, size_t task, int worker) {
    (void)worker;
    layer_job *job = context;
    tern_linear *linear = &job->layer->linears[task];
    const tern_codec *codec = job->c->matrices;
    if (job->c->source) {
        job->status[task] = encode_given(codec, linear, job->c->source->group_cols, job->trits[task], job->scales[task],
                                         (uint8_t *)linear->packed, &job->errors[task]);
        return;
    }
    if (linear->layout == TERN_LAYOUT_PLAIN) {
        job->status[task] = encode_plain(linear, codec, (uint8_t *)linear->packed, &job->errors[task]);
        tern_checkpoint_release(job->c->checkpoint, linear->source);
        return;
    }
    if (linear->stored) /* neither copying nor unpacking would tell */
        job->status[task] = tern_check_linear(linear, &job->errors[task]);
    if (!job->status[task])
        job->status[task] =
            codec ? tern_encode_linear(job->c->checkpoint, codec, linear, (uint8_t *)linear->packed, &job->errors[task])
                  : tern_pack_linear(job->c->checkpoint, tern_form_named(job->c->packing, (int)task), linear,
                                     &job->errors[task]);
    tern_checkpoint_release(job->c->checkpoint, linear->source);
}

static tern_status write_scales(conversion *c, const tern_linear *linear, tern_error *err) {
    size_t n = tern_n_own_scales(linear);
    float *scales = tern_alloc_array(n, sizeof *scales);
    if (!scales)
        return tern_fail_memory(err, "the scales of a matrix");
    tern_scales_read(linear, scales);
    tern_status status = write_bytes(c, scales, n * sizeof *scales, err);
    free(scales);
    return status;
}

/* A matrix whose rows are in the model's order. In files of other programs' types and the architecture llama, those of
 * Q and K go to where llama.cpp wants them. */
static tern_status write_matrix(conversion *c, const tern_linear *linear, int which, tern_error *err) {
    enum { Q, K };
    size_t n_bytes = (size_t)linear->n_units * linear->unit_bytes;
    if (!c->matrices && linear->own_scales) {
        tern_status status = write_bytes(c, linear->packed, n_bytes, err);
        return status ? status : write_scales(c, linear, err);
    }
    if (!c->matrices || !c->weights.dims.no_sub_norms || (which != Q && which != K))
        return write_bytes(c, linear->packed, n_bytes, err);
    const tern_linear file = {.interleaved = c->weights.dims.head_dim};
    size_t row_bytes = (n_bytes - c->matrices->tail_bytes) / linear->rows; /* no block straddles rows */
    uint8_t *ordered = malloc(n_bytes);
    if (!ordered)
        return tern_fail_memory(err, "a matrix");
    for (uint32_t row = 0; row < linear->rows; row++)
        memcpy(ordered + tern_linear_source_row(&file, row) * row_bytes, linear->packed + row * row_bytes, row_bytes);
    memcpy(ordered + linear->rows * row_bytes, linear->packed + linear->rows * row_bytes, c->matrices->tail_bytes);
    tern_status status = write_bytes(c, ordered, n_bytes, err);
    free(ordered);
    return status;
}

/* memory: room for all matrices of a layer. */
static tern_status write_layer(conversion *c, uint32_t layer, uint8_t *memory, tern_error *err) {
    layer_job job = {.c = c, .layer = &c->weights.layers[layer]};
    for (int j = 0; j < TERN_LINEARS_PER_LAYER; j++) {
        tern_linear *linear = &job.layer->linears[j];
        linear->packed = memory;
        memory += (size_t)linear->n_units * linear->unit_bytes;
    }
    if (c->source) {
        tern_status made = c->source->layer(c->source->user, layer, job.trits, job.scales, err);
        if (made)
            return made;
    }
    tern_pool_run(c->pool, TERN_LINEARS_PER_LAYER, pack_task, &job);
    for (int j = 0; j < TERN_LINEARS_PER_LAYER; j++) {
        if (job.status[j]) {
            tern_fail(err, job.status[j], "%s", job.errors[j].message);
            tern_error_prefix(err, "%s", c->checkpoint->path);
            return job.status[j];
        }
        c->scales[layer * TERN_LINEARS_PER_LAYER + (uint32_t)j] = job.layer->linears[j].scale;
    }
    tern_status status = TERN_OK;
    for (size_t i = 0; !status && i < N_LAYER_PARTS; i++) {
        int which = layer_parts[i].which;
        if (is_absent(c, &layer_parts[i]))
            continue;
        status = layer_parts[i].is_norm ? write_floats(c, find_norm(c, layer, (tern_norm)which), norm_codec(c), err)
                                        : write_matrix(c, &job.layer->linears[which], which, err);
    }
    release_layer(c, layer);
    return status;
}

/* The one thing that is made whole before it is written: a third of a 16-bit head. */
static tern_status write_screen(conversion *c, tern_error *err) {
    tern_screen_array arrays[TERN_SCREEN_ARRAYS];
    tern_screen screen;
    if (!c->screen.n_rows)
        return TERN_OK;
    tern_status status = tern_screen_build(c->checkpoint, c->weights.head, c->kernels->screen, c->pool, &screen, err);
    if (status)
        return status;
    tern_screen_arrays(&screen, arrays);
    for (size_t i = 0; !status && i < TERN_SCREEN_ARRAYS; i++) {
        const void *bytes = arrays[i].is_float ? (const void *)*arrays[i].at.floats : *arrays[i].at.bytes;
        status = write_bytes(c, bytes, arrays[i].rows * arrays[i].cols * (arrays[i].is_float ? sizeof(float) : 1), err);
    }
    tern_screen_free(&screen);
    return status;
}

static tern_status write_tensors(conversion *c, tern_error *err) {
    const tern_weights *weights = &c->weights;
    size_t layer_bytes = 0, n_scales = (size_t)weights->dims.n_layers * TERN_LINEARS_PER_LAYER;
    for (int j = 0; j < TERN_LINEARS_PER_LAYER; j++)
        layer_bytes += (size_t)weights->layers[0].linears[j].n_units * weights->layers[0].linears[j].unit_bytes;
    c->scales = tern_alloc_array(n_scales, sizeof *c->scales);
    uint8_t *memory = tern_aligned_alloc(layer_bytes);
    tern_status status = memory && c->scales ? TERN_OK : tern_fail_memory(err, "packing a layer");
    if (!status)
        status = write_floats(c, weights->embedding, c->embedding, err);
    if (!status && !weights->tied)
        status = write_floats(c, weights->head, c->embedding, err);
    for (uint32_t i = 0; !status && i < weights->dims.n_layers; i++)
        status = write_layer(c, i, memory, err);
    if (!status)
        status = write_floats(c, find_norm(c, 0, TERN_NORM_OUTPUT), norm_codec(c), err);
    if (!status && weights->rope_divisors)
        status = write_bytes(c, weights->rope_divisors, weights->dims.head_dim / 2 * sizeof(float), err);
    if (!status && !c->matrices)
        status = write_screen(c, err);
    if (!status && !c->matrices)
        status = write_bytes(c, c->scales, n_scales * sizeof *c->scales, err);
    tern_aligned_free(memory);
    free(c->scales);
    return status;
}

/* -------------------------------------------------------------------- all */

static tern_status convert(conversion *c, tern_error *err) {
    if (!c->matrices)
        tern_gguf_set_alignment(c->writer, ALIGNMENT);
    tern_status status =
        tern_convert_keys(c->checkpoint, &c->weights, c->params->name, c->packing, c->matrices, c->writer, err);
    if (!status)
        status = put_tensors(c, err);
    if (!status)
        status = tern_gguf_begin_data(c->writer, err);
    return status ? status : write_tensors(c, err);
}

/* A LLaMA model is one of floats or a ternary one by the type of its matrices alone: neither can become the other. */
static tern_status check_kind(const conversion *c, tern_error *err) {
    if (c->weights.plain && (!c->matrices || c->matrices->ternary))
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "%s: has weights of floats, which are not ternary: tern quantize makes them so; "
                         "here they can become F16, BF16 or F32",
                         c->checkpoint->path);
    if (!c->weights.plain && c->weights.dims.no_sub_norms && c->matrices && !c->matrices->ternary)
        return tern_fail(
            err, TERN_ERR_UNSUPPORTED,
            "%s: is a ternary model of the LLaMA layout; as %s it would be run as one of floats. Take tern, "
            "I2_S, TQ1_0 or TQ2_0",
            c->checkpoint->path, c->matrices->name);
    return TERN_OK;
}

static bool is_automatic(const char *packing) { return !packing || !*packing || strcmp(packing, "auto") == 0; }

static bool is_folder(const tern_convert_params *params) {
    return params->type && strcasecmp(params->type, FOLDER_TYPE) == 0;
}

static bool is_b1(const char *type) { return type && strcasecmp(type, "b1") == 0; }

/* The packing to write: the one asked for, as when a model is loaded, or (once the model is open) what the best kernels
 * here read first: of a model without zeros, the one for those. */
static tern_status choose_packing(conversion *c, tern_error *err) {
    const char *source = "--packing ";
    bool binary = c->params->binarize;
    c->packing = is_b1(c->params->type) ? tern_packing_b1r16.name : c->params->packing;
    if (is_automatic(c->packing)) {
        c->packing = getenv("TERN_PACKING");
        source = "TERN_PACKING=";
    }
    if (is_automatic(c->packing) && !c->checkpoint)
        return TERN_OK;
    if (is_automatic(c->packing)) {
        tern_status status = binary ? TERN_OK : tern_weights_are_binary(c->checkpoint, c->pool, &binary, err);
        if (status)
            return status;
        c->packing = binary ? tern_packing_b1r16.name : c->kernels->ternary[0]->packing->name;
    }
    if (!tern_form_named(c->packing, 0))
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s%s: is not one of %s", source, c->packing, tern_form_names);
    return TERN_OK;
}

/* What a folder has no place for. */
static tern_status check_folder(const tern_convert_params *params, tern_error *err) {
    if (params->name)
        return tern_fail(err, TERN_ERR_ARGUMENT, "a folder's model has the folder's name; it takes no other");
    if (params->embedding_type)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "a folder's embedding is of the type that holds it, bf16 or F32; it takes no other");
    return TERN_OK;
}

/* Of the matrices, and of embedding and head. */
static tern_status choose_types(conversion *c, tern_error *err) {
    const char *type = c->params->type, *embedding = c->params->embedding_type;
    if (type && strcasecmp(type, "hf-master") == 0)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "type 'hf-master': masters are what a model is trained with, and no conversion has them; copy "
                         "the folder that does, or let tern train export one. Take " FOLDER_TYPE
                         " for ternary weights");
    if (type && strcasecmp(type, "tern") != 0 && !is_b1(type)) {
        c->matrices =
            is_folder(c->params) && !c->source ? tern_codec_of(TERN_TYPE_HF_PACKED) : tern_keys_weight_type(type);
        if (!c->matrices)
            return tern_fail(err, TERN_ERR_ARGUMENT, "type '%s' is not one of tern, b1, %s%s", type,
                             tern_keys_weight_types, c->source ? "" : ", " FOLDER_TYPE);
    }
    tern_status status = is_folder(c->params) ? check_folder(c->params, err) : TERN_OK;
    if (status)
        return status;
    if (is_b1(type) && !is_automatic(c->params->packing) && strcmp(c->params->packing, tern_packing_b1r16.name) != 0)
        return tern_fail(err, TERN_ERR_ARGUMENT, "type b1 is packed as %s, not as %s", tern_packing_b1r16.name,
                         c->params->packing);
    if (embedding) {
        c->embedding = tern_keys_embedding_type(embedding);
        if (!c->embedding)
            return tern_fail(err, TERN_ERR_ARGUMENT, "embedding type '%s' is not one of %s", embedding,
                             tern_keys_embedding_types);
        if (!c->matrices) /* its screen would have to be made of the new head */
            return tern_fail(err, TERN_ERR_ARGUMENT,
                             "an embedding type goes with the types %s; tern's own layout can be made from such a file",
                             tern_keys_weight_types);
    }
    if (c->matrices && (c->params->packing || c->params->no_screen))
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s goes with tern's own layout, not with type %s",
                         c->params->packing ? "a packing" : "leaving out the screen", c->matrices->name);
    return TERN_OK;
}

static tern_status check_name(const char *name, tern_error *err) {
    size_t n = name ? strlen(name) : 0;
    if (name && !n)
        return tern_fail(err, TERN_ERR_ARGUMENT, "the model's new name is empty");
    for (size_t at = 0; at < n;) {
        uint32_t c;
        at += tern_utf8_decode((const uint8_t *)name + at, n - at, &c);
        if (c == TERN_BAD_CHAR || c < ' ')
            return tern_fail(err, TERN_ERR_ARGUMENT, "the model's new name is not one line of UTF-8");
    }
    return TERN_OK;
}

static tern_status check_target(const char *in, const char *out, tern_error *err) {
    struct stat a, b;
    if (!out)
        return tern_fail(err, TERN_ERR_ARGUMENT, "tern_convert needs a path to write to");
    if (in && stat(in, &a) == 0 && stat(out, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: is the model that is to be converted; write to another file",
                         out);
    return TERN_OK;
}

static tern_status convert_file(conversion *c, const char *out, tern_error *err) {
    tern_status status = tern_gguf_writer_create(out, &c->writer, err);
    if (!status)
        status = convert(c, err);
    if (!status)
        return tern_gguf_writer_finish(c->writer, err);
    tern_gguf_writer_abort(c->writer);
    return status;
}

static tern_status convert_folder(conversion *c, const char *out, tern_error *err) {
    const tern_folder_params params = {.pool = c->pool, .progress = c->progress, .progress_user = c->progress_user};
    return tern_convert_folder(c->checkpoint, &c->weights, out, &params, err);
}

tern_status tern_convert_with(const char *in, const char *out, const tern_convert_params *params,
                              const tern_matrix_source *source, tern_error *err) {
    static const tern_convert_params defaults = {0};
    tern_checkpoint *checkpoint = NULL;
    params = params ? params : &defaults;
    conversion c = {
        .params = params, .source = source, .progress = params->progress, .progress_user = params->progress_user};
    tern_status status = check_target(in, out, err);
    if (!status)
        status = check_name(params->name, err);
    if (!status)
        status = choose_types(&c, err);
    if (!status && !c.matrices)
        status = tern_kernels_choose(NULL, &c.kernels, err);
    if (!status && !c.matrices) /* what is wrong with a name is known before anything is opened */
        status = choose_packing(&c, err);
    if (!status)
        status = tern_pool_create(params->n_threads > 0 ? params->n_threads : tern_cpu_count(), &c.pool, err);
    if (!status)
        status = tern_open_model(in, &checkpoint, err);
    c.checkpoint = checkpoint;
    if (!status)
        status = tern_weights_bind(checkpoint, &c.weights, err);
    if (!status && !source)
        status = check_kind(&c, err);
    if (!status && !source)
        status = tern_scales_find(checkpoint, c.pool, &c.weights, err);
    for (uint32_t i = 0; !status && params->binarize && i < c.weights.dims.n_layers; i++)
        for (int j = 0; j < TERN_LINEARS_PER_LAYER; j++)
            c.weights.layers[i].linears[j].binarize = true;
    if (!status && !c.matrices)
        status = choose_packing(&c, err);
    if (!status)
        status = is_folder(params) ? convert_folder(&c, out, err) : convert_file(&c, out, err);
    if (!status && !c.matrices)
        tern_file_reread(out); /* it will be used where it is mapped */
    tern_weights_free(&c.weights);
    tern_checkpoint_close(checkpoint);
    tern_pool_free(c.pool);
    return status;
}

tern_status tern_convert(const char *in, const char *out, const tern_convert_params *params, tern_error *err) {
    return tern_convert_with(in, out, params, NULL, err);
}
