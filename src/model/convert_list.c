/* What a converted model's file holds, and in which order. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "model/convert_parts.h"
#include "model/keys.h"
#include "model/scales.h"

enum { GGUF_F32 = 0, GGUF_I8 = 24 };

/* ------------------------------------------------------------------- items */

/* What stands in a layer, in the order in which it is used. */
static const struct {
    bool is_norm; /* a sub norm only where there are any */
    int which;    /* tern_norm or the linear's place */
} layer_parts[] = {
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
enum { N_LAYER_PARTS = sizeof layer_parts / sizeof *layer_parts, OTHERS = 6 };

static bool is_absent(const tern_conversion *c, bool is_norm, int which) {
    return is_norm && c->weights.dims.no_sub_norms && (which == TERN_NORM_ATTN_SUB || which == TERN_NORM_FFN_SUB);
}

static void add(tern_conversion *c, convert_item item) { c->items[c->n_items++] = item; }

static tern_status check_norm(const tern_conversion *c, const tern_tensor *tensor, const char *name, uint32_t size,
                              tern_error *err) {
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

/* Norms: in tern's own layout as they are, elsewhere F32, which every program reads. */
static tern_status add_norm(tern_conversion *c, uint32_t layer, tern_norm norm, tern_error *err) {
    char buffer[128];
    const char *name = tern_norm_name(c->checkpoint, buffer, layer, norm);
    const tern_tensor *tensor = tern_checkpoint_find(c->checkpoint, name);
    tern_status status = check_norm(c, tensor, name, tern_norm_size(&c->weights.dims, norm), err);
    if (!status)
        add(c, (convert_item){.kind = CONVERT_NORM,
                              .layer = layer,
                              .which = (int)norm,
                              .tensor = tensor,
                              .codec = c->matrices ? tern_codec_named("F32") : NULL});
    return status;
}

static tern_status add_layer(tern_conversion *c, uint32_t layer, tern_error *err) {
    for (size_t i = 0; i < N_LAYER_PARTS; i++) {
        int which = layer_parts[i].which;
        if (is_absent(c, layer_parts[i].is_norm, which))
            continue;
        if (!layer_parts[i].is_norm) {
            add(c, (convert_item){.kind = CONVERT_MATRIX, .layer = layer, .which = which});
            continue;
        }
        tern_status status = add_norm(c, layer, (tern_norm)which, err);
        if (status)
            return status;
    }
    /* Reading a norm may map what lies around it, up to the 2 MB of a huge page; norms lie between the matrices. */
    for (int j = 0; j < TERN_LINEARS_PER_LAYER; j++)
        tern_checkpoint_release(c->checkpoint, c->weights.layers[layer].linears[j].source);
    return TERN_OK;
}

static void add_screen(tern_conversion *c) {
    bool wanted = !c->params->no_screen && tern_screen_pays(c->weights.head);
    if (c->params->screen_missing)
        *c->params->screen_missing = wanted && !c->kernels->screen;
    if (wanted && c->kernels->screen)
        add(c, (convert_item){.kind = CONVERT_SCREEN});
}

static tern_status add_all(tern_conversion *c, tern_error *err) {
    const tern_weights *weights = &c->weights;
    uint32_t n_layers = weights->dims.n_layers;
    c->items = tern_alloc_array((size_t)n_layers * N_LAYER_PARTS + OTHERS, sizeof *c->items);
    if (!c->items)
        return tern_fail_memory(err, "the list of tensors");
    add(c, (convert_item){.kind = CONVERT_EMBEDDING, .tensor = weights->embedding, .codec = c->embedding});
    if (!weights->tied)
        add(c, (convert_item){.kind = CONVERT_HEAD, .tensor = weights->head, .codec = c->embedding});
    tern_status status = TERN_OK;
    for (uint32_t i = 0; !status && i < n_layers; i++)
        status = add_layer(c, i, err);
    if (!status)
        status = add_norm(c, 0, TERN_NORM_OUTPUT, err);
    if (status)
        return status;
    if (weights->rope_divisors)
        add(c, (convert_item){.kind = CONVERT_ROPE});
    if (!c->matrices) {
        add_screen(c);
        add(c, (convert_item){.kind = CONVERT_SCALES});
    }
    return TERN_OK;
}

/* ------------------------------------------------------------------- order */

/* The source's tensor that an item comes from; NULL: it is made. */
static const tern_tensor *source_of(const tern_conversion *c, const convert_item *item) {
    if (item->kind == CONVERT_MATRIX)
        return convert_linear(c, item)->source;
    return item->kind == CONVERT_ROPE ? tern_checkpoint_find(c->checkpoint, TERN_ROPE_DIVISORS_NAME) : item->tensor;
}

static int compare_items(const void *left, const void *right) {
    size_t a = ((const convert_item *)left)->place, b = ((const convert_item *)right)->place;
    return a < b ? -1 : a > b;
}

/* A GGUF's tensors stay in their order, and what is new comes behind them: there and back again is then the same
 * file. */
static void keep_order(tern_conversion *c) {
    for (size_t i = 0; i < c->n_items; i++) {
        const tern_tensor *tensor = source_of(c, &c->items[i]);
        c->items[i].place = tensor ? (size_t)(tensor - c->checkpoint->tensors) : c->checkpoint->n_tensors + i;
    }
    qsort(c->items, c->n_items, sizeof *c->items, compare_items);
}

/* ----------------------------------------------------------------- tensors */

static void put(tern_conversion *c, const char *name, uint32_t gguf_type, uint64_t rows, uint64_t cols, bool vector,
                uint64_t bytes) {
    tern_gguf_put_tensor(c->writer, name, gguf_type, rows, cols, vector, bytes);
    c->total_bytes += bytes;
}

static tern_status fail_rows(const tern_conversion *c, const char *name, uint64_t cols, const tern_codec *codec,
                             uint32_t block, const char *hint, tern_error *err) {
    return tern_fail(err, TERN_ERR_UNSUPPORTED,
                     "%s: %s has rows of %" PRIu64 " values; type %s needs a multiple of %" PRIu32 "%s",
                     c->checkpoint->path, name, cols, codec->name, block, hint);
}

/* What a matrix could be stored as instead. Those of a LLaMA model are told from floats by their type. */
static const char *other_type(const tern_conversion *c, uint32_t block) {
    enum { LEAST = 128 }; /* I2_S */
    if (!c->weights.dims.no_sub_norms)
        return " (F16 takes any)";
    return block > LEAST ? " (I2_S one of 128)" : "";
}

/* Floats have the same names in every file that is written. */
static const char *float_name(char name[static 128], const convert_item *item) {
    const tern_checkpoint gguf = {.kind = TERN_CHECKPOINT_GGUF};
    if (item->kind == CONVERT_NORM)
        return tern_norm_name(&gguf, name, item->layer, (tern_norm)item->which);
    return item->kind == CONVERT_HEAD ? "output.weight" : "token_embd.weight";
}

static tern_status put_floats(tern_conversion *c, const convert_item *item, tern_error *err) {
    char name[128];
    const tern_tensor *tensor = item->tensor;
    const tern_codec *codec = item->codec;
    uint64_t bytes = tensor->bytes;
    if (codec && !tern_codec_bytes(codec, tensor->rows, tensor->cols, &bytes))
        return fail_rows(c, float_name(name, item), tensor->cols, codec, codec->block_values, " (F16 takes any)", err);
    codec = codec ? codec : tern_codec_of(tensor->type);
    put(c, float_name(name, item), codec->gguf_type, tensor->rows, tensor->cols, tensor->n_dims < 2, bytes);
    return TERN_OK;
}

static tern_status put_matrix(tern_conversion *c, const convert_item *item, tern_error *err) {
    char name[128];
    uint32_t layer = item->layer;
    int which = item->which;
    tern_linear *linear = convert_linear(c, item);
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

static void put_screen(tern_conversion *c) {
    tern_screen_array arrays[TERN_SCREEN_ARRAYS];
    c->screen = tern_screen_of(c->checkpoint, c->weights.head);
    tern_screen_arrays(&c->screen, arrays);
    for (size_t i = 0; i < TERN_SCREEN_ARRAYS; i++) {
        uint64_t values = arrays[i].rows * arrays[i].cols;
        put(c, arrays[i].name, arrays[i].is_float ? GGUF_F32 : GGUF_I8, arrays[i].rows, arrays[i].cols,
            arrays[i].rows == 1, arrays[i].is_float ? values * sizeof(float) : values);
    }
}

static tern_status put_item(tern_conversion *c, const convert_item *item, tern_error *err) {
    const tern_dims *dims = &c->weights.dims;
    switch (item->kind) {
    case CONVERT_EMBEDDING:
    case CONVERT_HEAD:
    case CONVERT_NORM:
        return put_floats(c, item, err);
    case CONVERT_MATRIX:
        return put_matrix(c, item, err);
    case CONVERT_ROPE:
        put(c, TERN_ROPE_DIVISORS_NAME, GGUF_F32, 1, dims->head_dim / 2, true, dims->head_dim / 2 * sizeof(float));
        break;
    case CONVERT_SCREEN:
        put_screen(c);
        break;
    case CONVERT_SCALES:
        put(c, TERN_SCALES_NAME, GGUF_F32, dims->n_layers, TERN_LINEARS_PER_LAYER, false,
            (uint64_t)dims->n_layers * TERN_LINEARS_PER_LAYER * sizeof(float));
        break;
    }
    return TERN_OK;
}

tern_status tern_convert_list(tern_conversion *c, tern_error *err) {
    tern_status status = add_all(c, err);
    if (!status && c->checkpoint->kind == TERN_CHECKPOINT_GGUF && !c->source)
        keep_order(c);
    for (size_t i = 0; !status && i < c->n_items; i++)
        status = put_item(c, &c->items[i], err);
    return status;
}
