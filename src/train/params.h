/*
 * The parameters of a model in training: one flat array of float32 values, and gradients and Adam's moments of the same
 * layout, so that the optimiser, checkpoints and all-reduce see vectors and only the network sees tensors.
 */
#ifndef TERN_TRAIN_PARAMS_H
#define TERN_TRAIN_PARAMS_H

#include "model/weights.h"
#include "train/config.h"

typedef struct tern_param {
    char name[96];       /* Hugging Face's: "model.layers.0.self_attn.q_proj.weight" */
    uint32_t rows, cols; /* a norm's gain: 1, n */
    size_t offset;       /* of its values in the flat arrays, a multiple of 16 */
    bool ternary;        /* a BitLinear's matrix */
    bool decay;          /* weight decay applies: matrices, not gains */
} tern_param;

/* Where a layer's tensors are in tern_params.list: list[layer * TERN_PARAMS_PER_LAYER + one of these]. */
enum {
    TERN_PARAM_Q,
    TERN_PARAM_K,
    TERN_PARAM_V,
    TERN_PARAM_O,
    TERN_PARAM_GATE,
    TERN_PARAM_UP,
    TERN_PARAM_DOWN,
    TERN_PARAM_ATTN_NORM,
    TERN_PARAM_ATTN_SUB_NORM,
    TERN_PARAM_FFN_NORM,
    TERN_PARAM_FFN_SUB_NORM,
    TERN_PARAMS_PER_LAYER
};

typedef struct tern_params {
    tern_dims dims;
    tern_param *list; /* [n]: the layers' in order, then embedding, then output norm */
    size_t n;
    size_t n_values;               /* of each flat array, padding included (padding is 0 and stays 0) */
    float *values, *grads, *m, *v; /* [n_values]; grads, m, v NULL where they were not asked for */
} tern_params;

static inline const tern_param *tern_param_of(const tern_params *params, uint32_t layer, int which) {
    return &params->list[(size_t)layer * TERN_PARAMS_PER_LAYER + (size_t)which];
}
static inline const tern_param *tern_param_embedding(const tern_params *params) { return &params->list[params->n - 2]; }
static inline const tern_param *tern_param_output_norm(const tern_params *params) {
    return &params->list[params->n - 1];
}

/* Values 0. `trainable`: with gradients and moments. Free with tern_params_free() (accepts what a failure left). */
tern_status tern_params_create(const tern_dims *dims, bool trainable, tern_params *params, tern_error *err);
void tern_params_free(tern_params *params);
/* Matrices N(0, 1 / cols) (variance), embedding N(0, 0.02^2), gains 1. The same for every platform. */
void tern_params_init(tern_params *params, uint64_t seed);
/* An error for models of the LLaMA layout (SiLU, no SubLN, float matrices), which run but are not trained here. */
tern_status tern_params_check_layout(const tern_weights *weights, tern_error *err);
/* From a checkpoint's float tensors (HF bf16 master, GGUF with float matrices); packed ternary weights are refused:
 * they are no master. Dimensions must be equal. */
tern_status tern_params_load(const tern_checkpoint *checkpoint, tern_params *params, tern_error *err);
/* The first tensor with a value (of `array`: values, grads, ...) that is not finite; NULL: none. */
const tern_param *tern_params_find_bad(const tern_params *params, const float *array);
bool tern_param_is_finite(const tern_param *param, const float *array);

#endif
