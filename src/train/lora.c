/* The adapters' layout, their beginning, and PEFT folders. */
#include "train/lora.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "format/peft.h"
#include "model/adapter.h"

enum { ALIGN_VALUES = 16 }; /* as tern_params' tensors */

static unsigned count_bits(unsigned bits) {
    unsigned n = 0;
    for (; bits; bits &= bits - 1)
        n++;
    return n;
}

/* ----------------------------------------------------------------- layout */

static bool add(tern_lora *lora, uint32_t layer, int which, bool is_a) {
    uint32_t rows, cols;
    uint64_t end;
    tern_linear_shape(lora->dims, which, &rows, &cols);
    tern_param *param = &lora->list[lora->n++];
    snprintf(param->name, sizeof param->name, "model.layers.%" PRIu32 ".%s.lora_%c", layer, tern_linear_hf_name(which),
             is_a ? 'A' : 'B');
    param->rows = is_a ? lora->r : rows;
    param->cols = is_a ? cols : lora->r;
    param->offset = lora->n_values;
    param->decay = true;
    uint64_t n_values = ((uint64_t)param->rows * param->cols + ALIGN_VALUES - 1) / ALIGN_VALUES * ALIGN_VALUES;
    if (!tern_add_u64(lora->n_values, n_values, &end) || end > SIZE_MAX / sizeof(float))
        return false;
    lora->n_values = (size_t)end;
    return true;
}

static bool lay_out(tern_lora *lora) {
    for (uint32_t layer = 0; layer < lora->dims->n_layers; layer++)
        for (int which = 0; which < TERN_LINEARS_PER_LAYER; which++)
            if (lora->targets >> which & 1 && !(add(lora, layer, which, true) && add(lora, layer, which, false)))
                return false;
    return true;
}

static float *zeros(size_t n) {
    float *values = tern_aligned_alloc(n * sizeof *values);
    if (values)
        memset(values, 0, n * sizeof *values);
    return values;
}

tern_status tern_lora_create(const tern_dims *dims, uint32_t r, float alpha, unsigned targets, tern_lora *lora,
                             tern_error *err) {
    *lora = (tern_lora){.r = r, .alpha = alpha, .targets = targets, .dims = dims};
    if (r == 0 || r > dims->hidden_size || targets == 0 || targets >> TERN_LINEARS_PER_LAYER)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "LoRA: a rank of %" PRIu32 " for %u matrices a layer is impossible (1 to %" PRIu32
                         " for 1 to %d)",
                         r, count_bits(targets), dims->hidden_size, TERN_LINEARS_PER_LAYER);
    lora->list = tern_calloc_array((size_t)dims->n_layers * count_bits(targets), 2 * sizeof *lora->list);
    if (!lora->list)
        return tern_fail_memory(err, "the list of adapters");
    bool ok = lay_out(lora);
    if (ok) {
        lora->values = zeros(lora->n_values);
        lora->grads = zeros(lora->n_values);
        lora->m = zeros(lora->n_values);
        lora->v = zeros(lora->n_values);
        ok = lora->values && lora->grads && lora->m && lora->v;
    }
    if (ok)
        return TERN_OK;
    tern_lora_free(lora);
    tern_fail_memory(err, "the adapters");
    return TERN_ERR_MEMORY;
}

void tern_lora_free(tern_lora *lora) {
    free(lora->list);
    tern_aligned_free(lora->values);
    tern_aligned_free(lora->grads);
    tern_aligned_free(lora->m);
    tern_aligned_free(lora->v);
    *lora = (tern_lora){0};
}

/* Each A draws from a generator of its own, so that it does not change when other targets are chosen. */
void tern_lora_init(tern_lora *lora, uint64_t seed) {
    unsigned n_targets = count_bits(lora->targets);
    for (size_t i = 0; i < lora->n; i++) {
        const tern_param *param = &lora->list[i];
        size_t n = (size_t)param->rows * param->cols, pair = i / 2, layer = pair / n_targets;
        float *values = lora->values + param->offset;
        if (i % 2) { /* B */
            memset(values, 0, n * sizeof *values);
            continue;
        }
        unsigned left = lora->targets, which = 0;
        for (size_t skip = pair % n_targets;; left >>= 1, which++)
            if (left & 1 && skip-- == 0)
                break;
        tern_rng rng;
        tern_rng_seed(&rng, seed + 0x9e3779b97f4a7c15u * (layer * TERN_LINEARS_PER_LAYER + which + 1));
        double deviation = 1 / sqrt((double)param->cols);
        for (size_t j = 0; j < n; j++)
            values[j] = (float)(deviation * tern_rng_normal(&rng));
    }
}

const tern_param *tern_lora_param(const tern_lora *lora, uint32_t layer, int which, bool is_b) {
    if (!(lora->targets >> which & 1))
        return NULL;
    unsigned before = count_bits(lora->targets & ((1u << which) - 1));
    return &lora->list[2 * ((size_t)layer * count_bits(lora->targets) + before) + is_b];
}

bool tern_lora_find(const tern_lora *lora, const float *array, uint32_t layer, int which, const float **a,
                    const float **b) {
    const tern_param *param = tern_lora_param(lora, layer, which, false);
    if (!param)
        return false;
    *a = array + param[0].offset;
    *b = array + param[1].offset;
    return true;
}

const char *tern_lora_name_of(const tern_lora *lora, size_t index) {
    size_t i = lora->n;
    while (i > 0 && lora->list[i - 1].offset > index)
        i--;
    return i ? lora->list[i - 1].name : "";
}

tern_status tern_lora_targets(const char *text, unsigned *targets, tern_error *err) {
    static const char *const names[TERN_LINEARS_PER_LAYER] = {"q", "k", "v", "o", "gate", "up", "down"};
    unsigned found = 0;
    if (strcmp(text, "all") == 0) {
        *targets = (1u << TERN_LINEARS_PER_LAYER) - 1;
        return TERN_OK;
    }
    for (const char *at = text;;) {
        size_t length = strcspn(at, ",");
        int which = 0;
        while (which < TERN_LINEARS_PER_LAYER &&
               (strlen(names[which]) != length || memcmp(names[which], at, length) != 0))
            which++;
        if (which == TERN_LINEARS_PER_LAYER)
            return tern_fail(err, TERN_ERR_ARGUMENT,
                             "'%.60s' is no list of q, k, v, o, gate, up and down, like q,v (or all)", text);
        found |= 1u << which;
        if (!at[length])
            break;
        at += length + 1;
    }
    *targets = found;
    return TERN_OK;
}

/* ------------------------------------------------------------------ folders */

tern_status tern_lora_save(const tern_lora *lora, const char *folder, tern_error *err) {
    const char *targets[TERN_LINEARS_PER_LAYER];
    size_t n_targets = 0;
    for (int i = 0; i < TERN_LINEARS_PER_LAYER; i++)
        if (lora->targets >> i & 1)
            targets[n_targets++] = strchr(tern_linear_hf_name(i), '.') + 1;
    tern_peft_tensor *tensors = tern_calloc_array(lora->n, sizeof *tensors);
    if (!tensors)
        return tern_fail_memory(err, "the list of adapters");
    for (size_t i = 0; i < lora->n; i++) {
        const tern_param *param = &lora->list[i];
        snprintf(tensors[i].name, sizeof tensors[i].name, "base_model.model.%s.weight", param->name);
        tensors[i].rows = param->rows;
        tensors[i].cols = param->cols;
        tensors[i].values = lora->values + param->offset;
    }
    tern_status status = tern_peft_write(folder, lora->r, lora->alpha, targets, n_targets, tensors, lora->n, err);
    free(tensors);
    return status;
}

static void decode(const tern_tensor *tensor, float *values) {
    for (uint64_t row = 0; row < tensor->rows; row++)
        tern_codec_of(tensor->type)->decode_row(tensor, row, values + row * tensor->cols);
}

static tern_status copy(const tern_adapter *adapter, const tern_dims *dims, tern_lora *lora, tern_error *err) {
    unsigned targets = 0;
    uint32_t rank = 0;
    float scale = 0;
    for (size_t i = 0; i < adapter->n; i++)
        if (adapter->list[i].rank) {
            targets |= 1u << i % TERN_LINEARS_PER_LAYER;
            rank = adapter->list[i].rank;
            scale = adapter->list[i].scale;
        }
    for (size_t i = 0; i < adapter->n; i++)
        if (targets >> i % TERN_LINEARS_PER_LAYER & 1 && !adapter->list[i].rank)
            return tern_fail(err, TERN_ERR_UNSUPPORTED,
                             "%s: adapts not all layers alike; tern trains only adapters that do",
                             adapter->peft.checkpoint->path);
    tern_status status = tern_lora_create(dims, rank, scale * (float)rank, targets, lora, err);
    for (size_t i = 0; !status && i < adapter->n; i++) {
        const tern_low_rank *from = &adapter->list[i];
        const tern_param *param =
            tern_lora_param(lora, (uint32_t)(i / TERN_LINEARS_PER_LAYER), (int)(i % TERN_LINEARS_PER_LAYER), false);
        if (!param)
            continue;
        decode(from->a, lora->values + param[0].offset);
        decode(from->b, lora->values + param[1].offset);
    }
    return status;
}

tern_status tern_lora_read(const char *folder, const tern_dims *dims, tern_lora *lora, tern_error *err) {
    tern_adapter adapter;
    tern_status status = tern_adapter_open(folder, dims, &adapter, err);
    if (status)
        return status;
    status = copy(&adapter, dims, lora, err);
    tern_adapter_close(&adapter);
    return status;
}
