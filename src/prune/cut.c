/* Rows and columns out of a tensor, in its own type. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/codecs.h"
#include "model/keys.h"
#include "model/layout.h"
#include "prune/parts.h"

/* The channels that a layer keeps of one kind; NULL if all. */
static const uint32_t *kept_of(const tern_pruner *pruner, int side, uint32_t layer, uint64_t *n) {
    const prune_side *s = &pruner->sides[side];
    *n = (uint64_t)s->n_kept * s->width;
    return s->n_kept < s->n_units ? s->kept + layer * *n : NULL;
}

static const uint32_t *kept_kv_of(const tern_pruner *pruner, uint32_t layer, uint64_t *n) {
    *n = tern_kv_size(&pruner->after);
    return *n < tern_kv_size(&pruner->weights.dims) ? pruner->kept_kv + layer * *n : NULL;
}

static bool cut_linear(const tern_pruner *pruner, uint32_t layer, const tern_tensor *tensor, prune_cut *cut) {
    for (int which = 0; which < TERN_LINEARS_PER_LAYER; which++) {
        const tern_linear *linear = &pruner->weights.layers[layer].linears[which];
        if (linear->source != tensor)
            continue;
        if (linear->stored) {
            cut->stored = linear;
            cut->n_rows = linear->rows;
            cut->n_cols = linear->cols;
        }
        if (which == TERN_PARAM_K || which == TERN_PARAM_V)
            cut->rows = kept_kv_of(pruner, layer, &cut->n_rows);
        else if (which == TERN_PARAM_O || which == TERN_PARAM_DOWN)
            cut->cols = kept_of(pruner, which == TERN_PARAM_O ? PRUNE_ATTENTION : PRUNE_FFN, layer, &cut->n_cols);
        else
            cut->rows = kept_of(pruner, which == TERN_PARAM_Q ? PRUNE_ATTENTION : PRUNE_FFN, layer, &cut->n_rows);
        return true;
    }
    return false;
}

static bool cut_norm(const tern_pruner *pruner, uint32_t layer, const tern_tensor *tensor, prune_cut *cut) {
    static const tern_norm norms[PRUNE_SIDES] = {
        [PRUNE_ATTENTION] = TERN_NORM_ATTN_SUB, [PRUNE_FFN] = TERN_NORM_FFN_SUB};
    char name[128];
    for (int i = 0; i < PRUNE_SIDES; i++) {
        if (strcmp(tensor->name, tern_norm_name(pruner->checkpoint, name, layer, norms[i])) != 0)
            continue;
        cut->cols = kept_of(pruner, i, layer, &cut->n_cols);
        cut->factor = pruner->sides[i].factor[layer];
        return true;
    }
    return false;
}

prune_cut tern_prune_cut_of(const tern_pruner *pruner, const tern_tensor *tensor) {
    prune_cut cut = {.n_rows = tensor->rows, .n_cols = tensor->cols, .factor = 1};
    for (uint32_t layer = 0; layer < pruner->weights.dims.n_layers; layer++)
        if (cut_linear(pruner, layer, tensor, &cut) || cut_norm(pruner, layer, tensor, &cut))
            break;
    return cut;
}

tern_linear tern_prune_laid_out(const prune_cut *cut) {
    tern_linear linear = {.rows = (uint32_t)cut->n_rows, .cols = (uint32_t)cut->n_cols};
    tern_form_lay_out(cut->stored->stored, &linear);
    return linear;
}

tern_status tern_prune_bytes(const tern_pruner *pruner, const tern_tensor *tensor, const prune_cut *cut,
                             uint64_t *bytes, tern_error *err) {
    const tern_codec *codec = tern_codec_of(tensor->type);
    *bytes = tensor->bytes;
    if (prune_is_whole(cut))
        return TERN_OK;
    if (cut->stored) {
        tern_linear linear = tern_prune_laid_out(cut);
        *bytes = (uint64_t)linear.n_units * linear.unit_bytes;
        return TERN_OK;
    }
    if (!codec ||
        (codec->ternary && codec->type != TERN_TYPE_HF_PACKED && cut->n_cols % tern_keys_row_multiple(codec)) ||
        !tern_codec_bytes(codec, cut->n_rows, cut->n_cols, bytes))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: %s of type %s cannot be cut to [%" PRIu64 ", %" PRIu64 "]",
                         pruner->checkpoint->path, tensor->name, tensor->type_name, cut->n_rows, cut->n_cols);
    return TERN_OK;
}

static uint64_t index_of(const uint32_t *kept, uint64_t i) { return kept ? kept[i] : i; }

static tern_status make_trits(const tern_codec *codec, const tern_tensor *tensor, const prune_cut *cut, uint8_t *out,
                              tern_error *err) {
    float scale = 0;
    int8_t *row = tern_alloc_array(tensor->cols, 1), *trits = tern_alloc_array(cut->n_rows, cut->n_cols);
    tern_status status = row && trits ? codec->scale(tensor, &scale, err) : tern_fail_memory(err, tensor->name);
    for (uint64_t i = 0; !status && i < cut->n_rows; i++) {
        if (!codec->decode_trits(tensor, index_of(cut->rows, i), 1, row, tensor->cols))
            status = tern_fail(err, TERN_ERR_FORMAT, "%s holds a code that is no ternary value", tensor->name);
        for (uint64_t j = 0; !status && j < cut->n_cols; j++)
            trits[i * cut->n_cols + j] = row[index_of(cut->cols, j)];
    }
    if (!status && codec->type == TERN_TYPE_HF_PACKED) /* its scale is a tensor of its own */
        tern_hf_packed_encode(trits, cut->n_rows, cut->n_cols, out);
    else if (!status)
        codec->encode_trits(trits, cut->n_rows, cut->n_cols, scale, out);
    free(row);
    free(trits);
    return status;
}

/* A matrix in tern's own layout, unpacked and packed again. */
static tern_status make_packed(const tern_tensor *tensor, const prune_cut *cut, uint8_t *out, tern_error *err) {
    const tern_linear *from = cut->stored;
    const tern_form *form = from->stored;
    tern_linear to = tern_prune_laid_out(cut);
    int8_t *all = tern_alloc_array(from->rows, from->cols), *trits = tern_alloc_array(to.rows, to.cols);
    tern_status status = all && trits ? TERN_OK : tern_fail_memory(err, tensor->name);
    for (uint32_t row = 0; !status && row < from->rows; row += TERN_FORM_STRIP) {
        uint32_t n = from->rows - row < TERN_FORM_STRIP ? from->rows - row : TERN_FORM_STRIP;
        if (!tern_form_unpack(form, tensor->data, from, row, n, all + (size_t)row * from->cols))
            status = tern_fail(err, TERN_ERR_FORMAT, "%s holds a code that is no ternary value", tensor->name);
    }
    for (size_t i = 0; !status && i < to.rows; i++)
        for (size_t j = 0; j < to.cols; j++)
            trits[i * to.cols + j] = all[index_of(cut->rows, i) * from->cols + index_of(cut->cols, j)];
    to.packed = out;
    memset(out, 0, (size_t)to.n_units * to.unit_bytes);
    for (uint32_t row = 0; !status && row < to.rows; row += TERN_FORM_STRIP)
        tern_form_pack(form, &to, row, to.rows - row < TERN_FORM_STRIP ? to.rows - row : TERN_FORM_STRIP,
                       trits + (size_t)row * to.cols);
    free(all);
    free(trits);
    return status;
}

static tern_status make_floats(const tern_codec *codec, const tern_tensor *tensor, const prune_cut *cut, uint8_t *out,
                               tern_error *err) {
    float *row = tern_alloc_array(tensor->cols, 2 * sizeof *row), *values = row + tensor->cols;
    size_t row_bytes = (size_t)(cut->n_cols / codec->block_values * codec->block_bytes);
    if (!row)
        return tern_fail_memory(err, tensor->name);
    for (uint64_t i = 0; i < cut->n_rows; i++, out += row_bytes) {
        codec->decode_row(tensor, index_of(cut->rows, i), row);
        for (uint64_t j = 0; j < cut->n_cols; j++)
            values[j] = (float)(row[index_of(cut->cols, j)] * cut->factor);
        codec->encode_row(values, cut->n_cols, out);
    }
    free(row);
    return TERN_OK;
}

tern_status tern_prune_make(const tern_pruner *pruner, const tern_tensor *tensor, const prune_cut *cut, uint8_t *out,
                            tern_error *err) {
    const tern_codec *codec = tern_codec_of(tensor->type);
    tern_status status = TERN_OK;
    if (prune_is_whole(cut))
        memcpy(out, tensor->data, tensor->bytes);
    else if (cut->stored)
        status = make_packed(tensor, cut, out, err);
    else
        status = (codec->ternary ? make_trits : make_floats)(codec, tensor, cut, out, err);
    if (status)
        tern_error_prefix(err, "%s", pruner->checkpoint->path);
    return status;
}
