/* What a model takes in memory and what a token reads of it, from its shape: the sizes that model/load.c and
 * model/screen.c would come to, without a file. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "model/demo.h"
#include "model/keys.h"
#include "model/layout.h"
#include "model/scales.h"

/* ------------------------------------------------------------------- shapes */

static void name_type(char text[16], const tern_tensor *tensor) {
    const tern_codec *codec = tern_codec_of(tensor->type);
    snprintf(text, 16, "%s", codec ? codec->name : tensor->type_name);
}

/* Those of a file have one slab for a row's scale; here that is all its columns. */
static void describe_scales(const tern_weights *weights, tern_shape *shape) {
    for (size_t i = 0; i < (size_t)weights->dims.n_layers * TERN_LINEARS_PER_LAYER; i++) {
        const tern_linear *linear = &weights->layers[i / TERN_LINEARS_PER_LAYER].linears[i % TERN_LINEARS_PER_LAYER];
        uint32_t *columns = &shape->scale_columns[i % TERN_LINEARS_PER_LAYER];
        uint32_t own = linear->slab_cols ? linear->slab_cols : linear->cols;
        if (linear->own_scales && (*columns == 0 || own < *columns))
            *columns = own;
    }
}

static void describe(const tern_weights *weights, tern_shape *shape) {
    const tern_dims *dims = &weights->dims;
    const tern_config *config = &weights->checkpoint->config;
    const tern_linear *first = &weights->layers[0].q;
    *shape = (tern_shape){.vocab_size = dims->vocab_size,
                          .n_ctx = dims->n_ctx,
                          .hidden_size = dims->hidden_size,
                          .ffn_size = dims->ffn_size,
                          .n_layers = dims->n_layers,
                          .n_heads = dims->n_heads,
                          .n_kv_heads = dims->n_kv_heads,
                          .head_dim = dims->head_dim,
                          .tied_embedding = weights->tied,
                          .no_sub_norms = dims->no_sub_norms};
    for (size_t i = 0; weights->plain && i < (size_t)dims->n_layers * TERN_LINEARS_PER_LAYER; i++)
        shape->float_bytes +=
            tern_packed_bytes(&weights->layers[i / TERN_LINEARS_PER_LAYER].linears[i % TERN_LINEARS_PER_LAYER]);
    describe_scales(weights, shape);
    snprintf(shape->name, sizeof shape->name, "%s", config->name ? config->name : weights->checkpoint->path);
    if (first->stored)
        snprintf(shape->weight_type, sizeof shape->weight_type, "%s", first->stored->name);
    else
        name_type(shape->weight_type, first->source);
    name_type(shape->embedding_type, weights->embedding);
    name_type(shape->head_type, weights->head);
}

tern_status tern_shape_of(const char *path, tern_shape *shape, tern_error *err) {
    tern_checkpoint *checkpoint;
    tern_pool *pool = NULL;
    tern_weights weights = {0};
    bool binary = false;
    tern_status status = tern_open_model(path, &checkpoint, err);
    if (status)
        return status;
    status = tern_pool_create(tern_cpu_count(), &pool, err);
    if (!status)
        status = tern_weights_are_binary(checkpoint, pool, &binary, err);
    if (!status)
        status = tern_weights_bind(checkpoint, &weights, err);
    if (!status)
        status = tern_scales_find(checkpoint, pool, &weights, err);
    if (!status) {
        describe(&weights, shape);
        shape->binary = binary;
    }
    tern_weights_free(&weights);
    tern_pool_free(pool);
    tern_checkpoint_close(checkpoint);
    return status;
}

tern_status tern_shape_named(const char *name, tern_shape *shape, tern_error *err) {
    tern_synth_params params;
    tern_status status = tern_synth_shape(name, &params, err);
    if (status)
        return status;
    *shape = (tern_shape){.vocab_size = params.vocab_size,
                          .n_ctx = params.n_ctx,
                          .hidden_size = params.hidden_size,
                          .ffn_size = params.ffn_size,
                          .n_layers = params.n_layers,
                          .n_heads = params.n_heads,
                          .n_kv_heads = params.n_kv_heads,
                          .head_dim = params.hidden_size / params.n_heads,
                          .tied_embedding = params.tied_embedding};
    snprintf(shape->name, sizeof shape->name, "%s", name);
    snprintf(shape->weight_type, sizeof shape->weight_type, "%s", params.weight_type);
    snprintf(shape->embedding_type, sizeof shape->embedding_type, "%s", params.embedding_type);
    snprintf(shape->head_type, sizeof shape->head_type, "%s", params.embedding_type);
    return TERN_OK;
}

/* -------------------------------------------------------------------- sizes */

/* Limits that keep every product below far from overflow; model/bind.c has narrower ones for files. */
static bool possible(const tern_shape *s) {
    const uint32_t sizes[] = {s->vocab_size, s->hidden_size, s->ffn_size, s->n_heads, s->n_kv_heads, s->head_dim};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i] == 0 || sizes[i] > 1 << 24)
            return false;
    return s->n_layers > 0 && s->n_layers <= 4096 && s->n_heads % s->n_kv_heads == 0 && s->hidden_size <= 1 << 20 &&
           s->ffn_size <= 1 << 20 && (uint64_t)s->n_heads * s->head_dim <= 1 << 20;
}

/* Whether a matrix with scales of its own can be in that form: of types other programs read, those that have only one
 * for it cannot. */
static bool takes_scales(const tern_form *packing, const tern_codec *codec, const tern_linear *linear) {
    if (!linear->own_scales)
        return true;
    if (packing)
        return !tern_form_is_binary(packing);
    const uint32_t columns = linear->slab_cols ? linear->slab_cols : linear->cols;
    return !codec || !codec->ternary || (codec->block_scale && columns % codec->block_values == 0);
}

/* What the seven matrices of a layer come to: as tern packs them (`name`), or as `codec` stores them; without
 * either, only how many weights they have. */
static tern_status size_layer(const tern_shape *shape, const tern_dims *dims, const char *name, const tern_codec *codec,
                              uint64_t *n_weights, uint64_t *n_bytes, tern_error *err) {
    for (int which = 0; which < TERN_LINEARS_PER_LAYER; which++) {
        const tern_form *packing = name ? tern_form_named(name, which) : NULL;
        const uint32_t columns = shape->scale_columns[which];
        tern_linear linear = {.own_scales = columns != 0};
        uint64_t bytes = 0;
        tern_linear_shape(dims, which, &linear.rows, &linear.cols);
        if (columns && linear.cols % columns)
            return tern_fail(err, TERN_ERR_ARGUMENT, "the model's shape is impossible");
        linear.slab_cols = columns < linear.cols ? columns : 0;
        if (!takes_scales(packing, codec, &linear))
            return tern_fail(err, TERN_ERR_ARGUMENT,
                             "scales by row or group cannot be stored as %s, which has one for a matrix",
                             packing ? name : codec->name);
        if (packing) {
            tern_form_lay_out(packing, &linear);
            bytes = tern_packed_bytes(&linear) + tern_n_own_scales(&linear) * sizeof(float);
        } else if (codec && ((codec->ternary && linear.cols % tern_keys_row_multiple(codec)) ||
                             !tern_codec_bytes(codec, linear.rows, linear.cols, &bytes)))
            return tern_fail(err, TERN_ERR_ARGUMENT,
                             "rows of %" PRIu32 " weights cannot be stored as %s, which takes multiples of %" PRIu32,
                             linear.cols, codec->name, tern_keys_row_multiple(codec));
        *n_weights += (uint64_t)linear.rows * linear.cols;
        *n_bytes += bytes;
    }
    return TERN_OK;
}

static tern_status size_embedding(const tern_shape *shape, const char *type, uint64_t *bytes, tern_error *err) {
    const tern_codec *codec = tern_keys_embedding_type(type);
    if (!codec)
        return tern_fail(err, TERN_ERR_ARGUMENT, "embedding type '%s' is not one of %s", type,
                         tern_keys_embedding_types);
    if (!tern_codec_bytes(codec, shape->vocab_size, shape->hidden_size, bytes))
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "embedding rows of %" PRIu32 " cannot be stored as %s, which takes multiples of %" PRIu32,
                         shape->hidden_size, codec->name, codec->block_values);
    return TERN_OK;
}

/* The LM head's share of what a token reads: all of it, or the screen's first plane. */
static uint64_t head_read(const tern_shape *shape, uint64_t head_bytes, bool screened, tern_size *size) {
    const tern_tensor head = {.rows = shape->vocab_size, .cols = shape->hidden_size, .bytes = head_bytes};
    tern_screen screen = tern_screen_of(NULL, &head);
    if (!screened || !tern_screen_pays(&head) || !tern_screen_measure(&screen))
        return head_bytes;
    size->screen_bytes = screen.bytes;
    return tern_screen_read_bytes(&screen);
}

/* What the matrices lie in memory as: a packing, a type, or, both NULL, the floats of the file. */
typedef struct matrix_form {
    const char *packing;
    const tern_codec *codec;
    bool with_tern; /* which screens the head */
} matrix_form;

static tern_status find_form(const tern_shape *shape, const char *type, matrix_form *form, tern_error *err) {
    const bool floats = shape->float_bytes > 0;
    *form = (matrix_form){0};
    if (floats && (!type || strcmp(type, "none") == 0)) {
        form->with_tern = type != NULL;
        return TERN_OK;
    }
    type = type ? type : shape->weight_type;
    form->packing = tern_form_named(type, 0) ? type : NULL;
    form->with_tern = form->packing != NULL;
    form->codec = form->packing ? NULL : tern_codec_named(type);
    if (form->packing || (form->codec && (form->codec->ternary || tern_keys_weight_type(type) ||
                                          (floats && tern_keys_embedding_type(type)))))
        return TERN_OK;
    return tern_fail(err, TERN_ERR_ARGUMENT, "weight type '%s' is not one of %s%s, %s", type,
                     floats ? "none, Q8_0, Q6_K, Q4_0, " : "", tern_keys_weight_types, tern_form_names);
}

static tern_status size_matrices(const tern_shape *shape, const tern_dims *dims, const matrix_form *form,
                                 tern_size *size, tern_error *err) {
    uint64_t n_weights = 0, n_bytes = 0;
    tern_status status = size_layer(shape, dims, form->packing, form->codec, &n_weights, &n_bytes, err);
    n_weights *= shape->n_layers;
    bool floats = shape->float_bytes && !form->packing && !(form->codec && form->codec->ternary);
    size->n_params = n_weights;
    size->n_ternary = floats ? 0 : n_weights;
    size->weight_bytes = form->packing || form->codec ? n_bytes * shape->n_layers : shape->float_bytes;
    return status;
}

tern_status tern_size_of(const tern_shape *shape, const tern_size_params *params, tern_size *size, tern_error *err) {
    static const tern_size_params defaults = {0};
    params = params ? params : &defaults;
    if (!possible(shape))
        return tern_fail(err, TERN_ERR_ARGUMENT, "the model's shape is impossible");
    const tern_dims dims = {.vocab_size = shape->vocab_size,
                            .hidden_size = shape->hidden_size,
                            .ffn_size = shape->ffn_size,
                            .n_layers = shape->n_layers,
                            .n_heads = shape->n_heads,
                            .n_kv_heads = shape->n_kv_heads,
                            .head_dim = shape->head_dim,
                            .no_sub_norms = shape->no_sub_norms};
    matrix_form form;
    tern_size made = {0};
    uint64_t embedding = 0, head = 0;
    tern_status status = find_form(shape, params->weight_type, &form, err);
    if (!status)
        status = size_matrices(shape, &dims, &form, &made, err);
    if (!status)
        status = size_embedding(shape, params->embedding_type ? params->embedding_type : shape->embedding_type,
                                &embedding, err);
    if (!status)
        status = size_embedding(shape, params->embedding_type ? params->embedding_type : shape->head_type, &head, err);
    if (status)
        return status;
    made.embedding_bytes = embedding + (shape->tied_embedding ? 0 : head);
    made.norm_bytes = tern_norm_bytes(&dims);
    made.n_params += (shape->tied_embedding ? 1ull : 2ull) * shape->vocab_size * shape->hidden_size +
                     shape->hidden_size + shape->n_layers * 2ull * shape->hidden_size;
    if (!shape->no_sub_norms)
        made.n_params += shape->n_layers * ((uint64_t)tern_q_size(&dims) + shape->ffn_size);
    uint64_t head_bytes = head_read(shape, head, form.with_tern && !params->exact_head, &made);
    made.total_bytes = made.weight_bytes + made.embedding_bytes + made.norm_bytes + made.screen_bytes;
    made.bytes_per_token = made.weight_bytes + made.norm_bytes + head_bytes;
    *size = made;
    return TERN_OK;
}

double tern_shape_kv_bytes(const tern_shape *shape, tern_kv_type type, double tokens) {
    double vector = shape->head_dim * (type == TERN_KV_F32 ? 4.0 : type == TERN_KV_F16 ? 2.0 : 1.0);
    if (type == TERN_KV_Q8)
        vector += sizeof(float); /* the scale of each key and each value */
    return 2.0 * shape->n_layers * shape->n_kv_heads * vector * tokens;
}
