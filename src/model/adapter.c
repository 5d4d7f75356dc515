#include "model/adapter.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const char prefix[] = "base_model.model.model.layers.";

static tern_status fail_shape(const tern_adapter *adapter, const tern_tensor *tensor, uint64_t rows, uint64_t cols,
                              tern_error *err) {
    return tern_fail(err, TERN_ERR_FORMAT,
                     "%s: %s is [%" PRIu64 ", %" PRIu64 "], but [%" PRIu64 ", %" PRIu64
                     "] fits this model; the adapter was made for another base model",
                     adapter->peft.checkpoint->path, tensor->name, tensor->rows, tensor->cols, rows, cols);
}

/* "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight" -> 3, TERN_PARAM_Q, a */
static bool parse_name(const char *name, uint64_t *layer, int *which, bool *is_a) {
    char *end;
    if (strncmp(name, prefix, sizeof prefix - 1) != 0)
        return false;
    name += sizeof prefix - 1;
    if (*name < '0' || *name > '9')
        return false;
    *layer = strtoull(name, &end, 10);
    if (*end++ != '.')
        return false;
    for (int i = 0; i < TERN_LINEARS_PER_LAYER; i++) {
        size_t length = strlen(tern_linear_hf_name(i));
        if (strncmp(end, tern_linear_hf_name(i), length) != 0 || end[length] != '.')
            continue;
        *which = i;
        *is_a = strcmp(end + length, ".lora_A.weight") == 0;
        return *is_a || strcmp(end + length, ".lora_B.weight") == 0;
    }
    return false;
}

static const struct {
    tern_dtype stored;
    tern_head_type kernel;
} types[] = {
    {TERN_TYPE_F32, TERN_HEAD_F32},
    {TERN_TYPE_F16, TERN_HEAD_F16},
    {TERN_TYPE_BF16, TERN_HEAD_BF16},
};

static tern_status check_type(const tern_adapter *adapter, const tern_tensor *tensor, tern_head_type *kernel,
                              tern_error *err) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].stored == tensor->type) {
            *kernel = types[i].kernel;
            return TERN_OK;
        }
    return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: %s has type %s; tern can use F32, F16 and BF16 there",
                     adapter->peft.checkpoint->path, tensor->name, tensor->type_name);
}

static tern_status check_finite(const tern_adapter *adapter, const tern_tensor *tensor, float *row, tern_error *err) {
    const tern_codec *codec = tern_codec_of(tensor->type);
    for (uint64_t i = 0; i < tensor->rows; i++) {
        codec->decode_row(tensor, i, row);
        for (uint64_t j = 0; j < tensor->cols; j++)
            if (!isfinite(row[j]))
                return tern_fail(err, TERN_ERR_FORMAT, "%s: %s holds a value that is not finite; the file is damaged",
                                 adapter->peft.checkpoint->path, tensor->name);
    }
    return TERN_OK;
}

/* row: scratch for the widest one */
static tern_status bind_tensor(tern_adapter *adapter, const tern_dims *dims, const tern_tensor *tensor, float *row,
                               tern_error *err) {
    const tern_peft *peft = &adapter->peft;
    uint64_t layer;
    uint32_t rows, cols;
    int which;
    bool is_a;
    if (!parse_name(tensor->name, &layer, &which, &is_a))
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "%s: %.200s is no LoRA matrix of an attention or FFN projection; tern can adapt only those",
                         peft->checkpoint->path, tensor->name);
    if (layer >= dims->n_layers)
        return tern_fail(err, TERN_ERR_FORMAT,
                         "%s: %s: this model has %" PRIu32 " layers; the adapter was made for another base model",
                         peft->checkpoint->path, tensor->name, dims->n_layers);
    tern_linear_shape(dims, which, &rows, &cols);
    if (tensor->n_dims != 2 || tensor->rows != (is_a ? peft->r : rows) || tensor->cols != (is_a ? cols : peft->r))
        return fail_shape(adapter, tensor, is_a ? peft->r : rows, is_a ? cols : peft->r, err);
    tern_low_rank *low_rank = &adapter->list[layer * TERN_LINEARS_PER_LAYER + (uint64_t)which];
    *(is_a ? &low_rank->a : &low_rank->b) = tensor;
    adapter->bytes += tensor->bytes;
    tern_status status = check_type(adapter, tensor, is_a ? &low_rank->a_type : &low_rank->b_type, err);
    return status ? status : check_finite(adapter, tensor, row, err);
}

/* A without B, or B without A. */
static tern_status check_pairs(tern_adapter *adapter, tern_error *err) {
    const tern_peft *peft = &adapter->peft;
    for (size_t i = 0; i < adapter->n; i++) {
        tern_low_rank *low_rank = &adapter->list[i];
        if (!low_rank->a != !low_rank->b)
            return tern_fail(err, TERN_ERR_FORMAT, "%s: %s has no lora_%c beside it; the file is not complete",
                             peft->checkpoint->path, (low_rank->a ? low_rank->a : low_rank->b)->name,
                             low_rank->a ? 'B' : 'A');
        if (!low_rank->a)
            continue;
        low_rank->rank = peft->r;
        low_rank->scale = peft->alpha / (peft->rslora ? sqrtf((float)peft->r) : (float)peft->r);
    }
    return TERN_OK;
}

/* The matrix that a name of target_modules means: PEFT matches the end of a module's path. -1: none. */
static int find_target(const char *target) {
    size_t n = strlen(target);
    for (int i = 0; i < TERN_LINEARS_PER_LAYER; i++) {
        const char *name = tern_linear_hf_name(i);
        size_t length = strlen(name);
        if (n <= length && strcmp(name + length - n, target) == 0 && (n == length || name[length - n - 1] == '.'))
            return i;
    }
    return -1;
}

/* What the configuration promises is there. */
static tern_status check_targets(const tern_adapter *adapter, const tern_dims *dims, tern_error *err) {
    const tern_peft *peft = &adapter->peft;
    for (size_t t = 0; t < peft->n_targets; t++) {
        int which = find_target(peft->targets[t]);
        if (which < 0)
            return tern_fail(err, TERN_ERR_UNSUPPORTED,
                             "%s: target_modules names '%.64s', which this model does not have or tern cannot adapt",
                             peft->checkpoint->path, peft->targets[t]);
        for (uint32_t layer = 0; layer < dims->n_layers && !peft->some_layers; layer++)
            if (!adapter->list[(size_t)layer * TERN_LINEARS_PER_LAYER + (size_t)which].a)
                return tern_fail(err, TERN_ERR_FORMAT,
                                 "%s: the matrices of layers.%" PRIu32
                                 ".%s are missing; the file is not complete or made for another base model",
                                 peft->checkpoint->path, layer, tern_linear_hf_name(which));
    }
    return TERN_OK;
}

static tern_status bind(tern_adapter *adapter, const tern_dims *dims, tern_error *err) {
    const tern_checkpoint *checkpoint = adapter->peft.checkpoint;
    uint32_t widest = tern_widest(dims);
    adapter->n = (size_t)dims->n_layers * TERN_LINEARS_PER_LAYER;
    adapter->list = tern_calloc_array(adapter->n, sizeof *adapter->list);
    float *row = tern_alloc_array(widest > adapter->peft.r ? widest : adapter->peft.r, sizeof *row);
    tern_status status = adapter->list && row ? TERN_OK : tern_fail_memory(err, "the adapter");
    if (!status && checkpoint->n_tensors == 0)
        status = tern_fail(err, TERN_ERR_FORMAT, "%s: the adapter holds no matrices", checkpoint->path);
    for (size_t i = 0; !status && i < checkpoint->n_tensors; i++)
        status = bind_tensor(adapter, dims, &checkpoint->tensors[i], row, err);
    free(row);
    if (!status)
        status = check_pairs(adapter, err);
    return status ? status : check_targets(adapter, dims, err);
}

tern_status tern_adapter_open(const char *folder, const tern_dims *dims, tern_adapter *adapter, tern_error *err) {
    tern_adapter opened = {0};
    tern_status status = tern_peft_open(folder, &opened.peft, err);
    if (status)
        return status;
    status = bind(&opened, dims, err);
    if (status)
        tern_adapter_close(&opened);
    else
        *adapter = opened;
    return status;
}

void tern_adapter_close(tern_adapter *adapter) {
    free(adapter->list);
    if (adapter->peft.checkpoint)
        tern_peft_close(&adapter->peft);
    *adapter = (tern_adapter){0};
}

void tern_adapter_attach(const tern_adapter *adapter, tern_weights *weights) {
    for (uint32_t i = 0; i < weights->dims.n_layers; i++)
        for (size_t j = 0; j < TERN_LINEARS_PER_LAYER; j++) {
            const tern_low_rank *low_rank = &adapter->list[i * TERN_LINEARS_PER_LAYER + j];
            weights->layers[i].linears[j].low_rank = low_rank->rank ? low_rank : NULL;
        }
}

uint32_t tern_weights_low_rank(const tern_weights *weights) {
    uint32_t largest = 0;
    for (uint32_t i = 0; i < weights->dims.n_layers; i++)
        for (size_t j = 0; j < TERN_LINEARS_PER_LAYER; j++) {
            const tern_low_rank *low_rank = weights->layers[i].linears[j].low_rank;
            if (low_rank && low_rank->rank > largest)
                largest = low_rank->rank;
        }
    return largest;
}
