#include "model/layout.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/lines.h"

enum { UP = 5, DOWN = 6, TILE = 64 };

static const tern_form forms[] = {
    {"t2r16", TERN_LAYOUT_GROUPS, &tern_packing_t2r16},
    {"t5r16", TERN_LAYOUT_GROUPS, &tern_packing_t5r16},
    {"t5rows", TERN_LAYOUT_ROWS, NULL},
    {"t5cols", TERN_LAYOUT_COLUMNS, NULL},
    {"b1r16", TERN_LAYOUT_GROUPS, &tern_packing_b1r16},
};
enum { T2R16, T5R16, T5ROWS, T5COLS, B1R16, N_FORMS };

const char tern_form_names[] = "t5r16, t2r16, b1r16";

/* Rows are good for `up` only, columns for `down` only: each because of what a decode step can skip. */
static bool may_be(const tern_form *form, int which) {
    return form->layout == TERN_LAYOUT_ROWS ? which == UP : form->layout == TERN_LAYOUT_COLUMNS ? which == DOWN : true;
}

static const tern_form *choose(const tern_packing *packing, bool lines, int which) {
    if (lines && which == UP)
        return &forms[T5ROWS];
    if (lines && which == DOWN)
        return &forms[T5COLS];
    for (int i = 0; i < N_FORMS; i++)
        if (forms[i].packing == packing)
            return &forms[i];
    return NULL;
}

const tern_form *tern_form_for(const tern_ternary *ternary, int which) {
    return choose(ternary->packing, ternary->lines != NULL, which);
}

const tern_form *tern_form_named(const char *name, int which) {
    for (int i = 0; i < N_FORMS; i++)
        if (forms[i].packing && strcmp(forms[i].name, name) == 0) /* lines come with the 5/3-bit packing (ladder.c) */
            return choose(forms[i].packing, i == T5R16, which);
    return NULL;
}

void tern_form_lay_out(const tern_form *form, tern_linear *linear) {
    uint32_t cols = linear->slab_cols ? linear->slab_cols : linear->cols;
    linear->layout = form->layout;
    linear->k_pad = form->packing ? (uint32_t)tern_k_pad(form->packing, cols) : linear->cols;
    switch (form->layout) {
    case TERN_LAYOUT_GROUPS:
        linear->n_units = (uint32_t)tern_n_groups(linear->rows) * tern_n_slabs(linear);
        linear->unit_bytes = tern_group_bytes(form->packing, cols);
        break;
    case TERN_LAYOUT_ROWS:
        linear->n_units = linear->rows * tern_n_slabs(linear);
        linear->unit_bytes = tern_line_bytes(cols);
        break;
    case TERN_LAYOUT_COLUMNS: /* whatever the slabs */
        linear->n_units = linear->cols;
        linear->unit_bytes = tern_line_bytes(linear->rows);
        break;
    case TERN_LAYOUT_PLAIN: /* of no form */
        break;
    }
}

/* ------------------------------------------------------- packing and unpacking */

static void pack_line(uint8_t *line, const int8_t *trits, uint32_t n) {
    for (uint32_t at = 0; at < n; at += TERN_LINE_BLOCK)
        tern_line_pack_block(line + at / TERN_LINE_BLOCK * TERN_LINE_BLOCK_BYTES, trits + at, 1,
                             n - at < TERN_LINE_BLOCK ? n - at : TERN_LINE_BLOCK);
}

/* Groups of rows: [slab][group]. */
static void pack_groups(const tern_packing *packing, const tern_linear *linear, uint32_t row, uint32_t n_rows,
                        const int8_t *trits) {
    uint8_t *packed = (uint8_t *)linear->packed;
    uint32_t cols = linear->slab_cols ? linear->slab_cols : linear->cols;
    size_t slab_bytes = tern_n_groups(linear->rows) * linear->unit_bytes;
    for (uint32_t slab = 0; slab < tern_n_slabs(linear); slab++)
        for (uint32_t i = 0; i < n_rows; i += TERN_GROUP_ROWS)
            packing->pack_group(packed + slab * slab_bytes + (row + i) / TERN_GROUP_ROWS * linear->unit_bytes,
                                trits + (size_t)i * linear->cols + (size_t)slab * cols, linear->cols,
                                n_rows - i < TERN_GROUP_ROWS ? n_rows - i : TERN_GROUP_ROWS, cols);
}

static void unpack_groups(const tern_packing *packing, const tern_linear *linear, const uint8_t *bytes, uint32_t row,
                          uint32_t n_rows, int8_t *trits) {
    uint32_t cols = linear->slab_cols ? linear->slab_cols : linear->cols;
    size_t slab_bytes = tern_n_groups(linear->rows) * linear->unit_bytes;
    for (uint32_t slab = 0; slab < tern_n_slabs(linear); slab++)
        for (uint32_t i = 0; i < n_rows; i++)
            packing->unpack_row(bytes + slab * slab_bytes + (row + i) / TERN_GROUP_ROWS * linear->unit_bytes,
                                (row + i) % TERN_GROUP_ROWS, cols,
                                trits + (size_t)i * linear->cols + (size_t)slab * cols);
}

/* Lines of rows: [slab][row]. */
static void pack_rows(const tern_linear *linear, uint32_t row, uint32_t n_rows, const int8_t *trits) {
    uint32_t cols = linear->slab_cols ? linear->slab_cols : linear->cols;
    for (size_t slab = 0; slab < tern_n_slabs(linear); slab++)
        for (size_t i = 0; i < n_rows; i++)
            pack_line((uint8_t *)linear->packed + (slab * linear->rows + row + i) * linear->unit_bytes,
                      trits + i * linear->cols + slab * cols, cols);
}

static void unpack_rows(const tern_linear *linear, const uint8_t *bytes, uint32_t row, uint32_t n_rows, int8_t *trits) {
    uint32_t cols = linear->slab_cols ? linear->slab_cols : linear->cols;
    for (size_t slab = 0; slab < tern_n_slabs(linear); slab++)
        for (size_t i = 0; i < n_rows; i++)
            tern_line_unpack(bytes + (slab * linear->rows + row + i) * linear->unit_bytes, cols,
                             trits + i * linear->cols + slab * cols);
}

void tern_form_pack(const tern_form *form, const tern_linear *linear, uint32_t row, uint32_t n_rows,
                    const int8_t *trits) {
    uint8_t *packed = (uint8_t *)linear->packed;
    uint32_t cols = linear->cols;
    switch (form->layout) {
    case TERN_LAYOUT_GROUPS:
        pack_groups(form->packing, linear, row, n_rows, trits);
        break;
    case TERN_LAYOUT_ROWS:
        pack_rows(linear, row, n_rows, trits);
        break;
    case TERN_LAYOUT_COLUMNS:
        tern_line_pack_columns(packed + row / TERN_LINE_BLOCK * TERN_LINE_BLOCK_BYTES, linear->unit_bytes, trits, cols,
                               n_rows, cols);
        break;
    case TERN_LAYOUT_PLAIN: /* of no form */
        break;
    }
}

/* A block of each line, in tiles of columns that stay in the cache while they are turned. */
static void unpack_columns(const uint8_t *blocks, size_t line_bytes, uint32_t cols, uint32_t n_rows, int8_t *trits) {
    int8_t tile[TILE][TERN_LINE_BLOCK];
    for (uint32_t col = 0; col < cols; col += TILE) {
        uint32_t n = cols - col < TILE ? cols - col : TILE;
        for (uint32_t c = 0; c < n; c++)
            tern_line_unpack(blocks + (col + c) * line_bytes, n_rows, tile[c]);
        for (uint32_t r = 0; r < n_rows; r++)
            for (uint32_t c = 0; c < n; c++)
                trits[(size_t)r * cols + col + c] = tile[c][r];
    }
}

static bool all_trits(const int8_t *values, size_t n) {
    bool bad = false;
    for (size_t i = 0; i < n; i++)
        bad |= (uint8_t)(values[i] + 1) > 2;
    return !bad;
}

_Static_assert((int)TERN_FORM_STRIP == (int)TERN_LINE_BLOCK && TERN_FORM_STRIP % TERN_GROUP_ROWS == 0,
               "a strip is whole groups of rows, and a block of each column");

bool tern_form_unpack(const tern_form *form, const uint8_t *bytes, const tern_linear *matrix, uint32_t row,
                      uint32_t n_rows, int8_t *trits) {
    uint32_t cols = matrix->cols;
    tern_linear linear = {.rows = matrix->rows, .cols = cols, .slab_cols = matrix->slab_cols};
    tern_form_lay_out(form, &linear);
    switch (form->layout) {
    case TERN_LAYOUT_GROUPS:
        unpack_groups(form->packing, &linear, bytes, row, n_rows, trits);
        break;
    case TERN_LAYOUT_ROWS:
        unpack_rows(&linear, bytes, row, n_rows, trits);
        break;
    case TERN_LAYOUT_COLUMNS:
        unpack_columns(bytes + row / TERN_LINE_BLOCK * TERN_LINE_BLOCK_BYTES, linear.unit_bytes, cols, n_rows, trits);
        break;
    case TERN_LAYOUT_PLAIN: /* of no form */
        break;
    }
    return all_trits(trits, (size_t)n_rows * cols);
}

/* --------------------------------------------------------- tensors of the file */

static const char *const names[TERN_LINEARS_PER_LAYER] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                                          "ffn_gate", "ffn_up", "ffn_down"};

const char *tern_packed_name(char buffer[static 128], uint32_t layer, int which, const tern_form *form) {
    snprintf(buffer, 128, "blk.%" PRIu32 ".%s.%s", layer, names[which], form->name);
    return buffer;
}

const char *tern_own_scales_name(char buffer[static 128], uint32_t layer, int which) {
    snprintf(buffer, 128, "blk.%" PRIu32 ".%s.scales", layer, names[which]);
    return buffer;
}

/* The matrix's own scales, if the file has any -> own_scales, slab_cols, scale_source. */
static tern_status bind_scales(const tern_checkpoint *checkpoint, uint32_t layer, int which, tern_linear *linear,
                               tern_error *err) {
    char name[128];
    const tern_tensor *tensor = tern_checkpoint_find(checkpoint, tern_own_scales_name(name, layer, which));
    if (!tensor)
        return TERN_OK;
    uint64_t slabs = tensor->rows, cols = slabs ? linear->cols / slabs : 0;
    bool whole = slabs == 1 || (slabs && cols * slabs == linear->cols && cols && cols % TERN_SLAB_UNIT == 0);
    if (tensor->type != TERN_TYPE_F32 || tensor->n_dims != 2 || tensor->cols != linear->rows || !whole)
        return tern_fail(err, TERN_ERR_FORMAT,
                         "%s: tensor %s is %s [%" PRIu64 ", %" PRIu64 "], but scales of a matrix of %" PRIu32
                         " x %" PRIu32 " are F32 [slabs, %" PRIu32 "], for whole slabs of a multiple of %d columns",
                         checkpoint->path, name, tensor->type_name, tensor->rows, tensor->cols, linear->rows,
                         linear->cols, linear->rows, TERN_SLAB_UNIT);
    linear->own_scales = true;
    linear->slab_cols = slabs > 1 ? (uint32_t)cols : 0;
    linear->scale_source = tensor;
    return TERN_OK;
}

tern_status tern_layout_bind(const tern_checkpoint *checkpoint, uint32_t layer, int which, tern_linear *linear,
                             tern_error *err) {
    char name[128];
    const tern_tensor *tensor = NULL;
    for (int i = 0; i < N_FORMS; i++) {
        const tern_tensor *found = tern_checkpoint_find(checkpoint, tern_packed_name(name, layer, which, &forms[i]));
        if (!found || !may_be(&forms[i], which))
            continue;
        if (tensor)
            return tern_fail(err, TERN_ERR_FORMAT, "%s: tensors %s and %s are the same matrix", checkpoint->path,
                             tensor->name, name);
        tensor = found;
        linear->stored = &forms[i];
    }
    if (!tensor)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: tensor blk.%" PRIu32 ".%s is missing in any form that tern knows",
                         checkpoint->path, layer, names[which]);
    linear->source = tensor;
    tern_status status = bind_scales(checkpoint, layer, which, linear, err);
    if (status)
        return status;
    tern_linear stored = *linear;
    tern_form_lay_out(linear->stored, &stored);
    if (tensor->type != TERN_TYPE_I8 || tensor->n_dims != 2 || tensor->rows != stored.n_units ||
        tensor->cols != stored.unit_bytes)
        return tern_fail(err, TERN_ERR_FORMAT,
                         "%s: tensor %s is %s [%" PRIu64 ", %" PRIu64 "], but a matrix of %" PRIu32 " x %" PRIu32
                         " is I8 [%" PRIu32 ", %zu] in that form",
                         checkpoint->path, tensor->name, tensor->type_name, tensor->rows, tensor->cols, linear->rows,
                         linear->cols, stored.n_units, stored.unit_bytes);
    return TERN_OK;
}

/* Scales that a matrix has of its own (NULL: none). */
static tern_status check_scales(const tern_checkpoint *checkpoint, const tern_tensor *tensor, tern_error *err) {
    size_t n = tensor ? (size_t)(tensor->rows * tensor->cols) : 0;
    for (size_t i = 0; i < n; i++) {
        float scale;
        memcpy(&scale, tensor->data + i * sizeof scale, sizeof scale);
        if (!(scale >= 0 && isfinite(scale)))
            return tern_fail(err, TERN_ERR_FORMAT, "%s: tensor %s holds the scale %g; it must be finite and positive",
                             checkpoint->path, tensor->name, (double)scale);
    }
    return TERN_OK;
}

/* Inputs lie in memory in slabs of one width. */
static tern_status check_slabs(const tern_checkpoint *checkpoint, const tern_layer *layer, tern_error *err) {
    static const struct { int a, b; } share[] = {{0, 1}, {1, 2}, {0, 2}, {4, 5}}; /* q, k and v; gate and up */
    for (size_t i = 0; i < sizeof share / sizeof *share; i++) {
        const tern_linear *a = &layer->linears[share[i].a], *b = &layer->linears[share[i].b];
        if (a->slab_cols && b->slab_cols && a->slab_cols != b->slab_cols)
            return tern_fail(err, TERN_ERR_UNSUPPORTED,
                             "%s: tensors %s and %s have scales by %" PRIu32 " and by %" PRIu32
                             " columns of the same input; one width is possible",
                             checkpoint->path, a->scale_source->name, b->scale_source->name, a->slab_cols,
                             b->slab_cols);
    }
    return TERN_OK;
}

tern_status tern_layout_scales(const tern_checkpoint *checkpoint, tern_weights *weights, tern_error *err) {
    uint32_t n_layers = weights->dims.n_layers;
    const tern_tensor *tensor = tern_checkpoint_find(checkpoint, TERN_SCALES_NAME);
    if (!tensor || tensor->type != TERN_TYPE_F32 || tensor->n_dims != 2 || tensor->rows != n_layers ||
        tensor->cols != TERN_LINEARS_PER_LAYER)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: there must be a tensor %s of type F32 [%" PRIu32 ", %d]",
                         checkpoint->path, TERN_SCALES_NAME, n_layers, TERN_LINEARS_PER_LAYER);
    const tern_codec *codec = tern_codec_of(TERN_TYPE_F32);
    for (uint32_t i = 0; i < n_layers; i++) {
        float scales[TERN_LINEARS_PER_LAYER];
        tern_status same = check_slabs(checkpoint, &weights->layers[i], err);
        if (same)
            return same;
        codec->decode_row(tensor, i, scales);
        for (int j = 0; j < TERN_LINEARS_PER_LAYER; j++) {
            tern_status status = check_scales(checkpoint, weights->layers[i].linears[j].scale_source, err);
            if (status)
                return status;
            if (!(scales[j] >= 0 && isfinite(scales[j]))) /* 0: a matrix of zeros */
                return tern_fail(err, TERN_ERR_FORMAT, "%s: the scale of blk.%" PRIu32 ".%s is %g", checkpoint->path, i,
                                 names[j], (double)scales[j]);
            weights->layers[i].linears[j].scale = scales[j];
        }
    }
    return TERN_OK;
}

bool tern_layout_identify(const tern_checkpoint *checkpoint, const tern_tensor *tensor, uint32_t *layer, int *which,
                          const tern_form **form) {
    char name[128];
    const char *dot = checkpoint->layout_version && tensor->type == TERN_TYPE_I8 ? strchr(tensor->name, '.') : NULL;
    if (!dot)
        return false;
    *layer = (uint32_t)strtoul(dot + 1, NULL, 10); /* whatever is no number fails the comparison below */
    for (*which = 0; *which < TERN_LINEARS_PER_LAYER; ++*which)
        for (int i = 0; i < N_FORMS; i++) {
            *form = &forms[i];
            if (strcmp(tensor->name, tern_packed_name(name, *layer, *which, *form)) == 0 && may_be(*form, *which))
                return true;
        }
    return false;
}

uint64_t tern_layout_parameters(const tern_checkpoint *checkpoint, int which) {
    const tern_config *config = &checkpoint->config;
    uint64_t hidden = config->hidden_size, head_dim = config->n_heads ? hidden / config->n_heads : 0;
    if (config->head_dim)
        head_dim = config->head_dim;
    uint64_t kv = config->n_kv_heads * head_dim, q = config->n_heads * head_dim, ffn = config->ffn_size;
    const uint64_t rows[TERN_LINEARS_PER_LAYER] = {q, kv, kv, q, ffn, ffn, ffn}; /* of o and down: columns */
    return rows[which] * hidden;
}
