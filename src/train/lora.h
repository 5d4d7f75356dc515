/*
 * Low-rank adapters (Hu et al. 2021) on a frozen ternary base: y = BitLinear(x) + (alpha / r) B (A x~). Stored as
 * Hugging Face PEFT folders (adapter_config.json, adapter_model.safetensors).
 */
#ifndef TERN_TRAIN_LORA_H
#define TERN_TRAIN_LORA_H

#include "train/params.h"

typedef struct tern_lora {
    uint32_t r;
    float alpha;
    unsigned targets; /* bit TERN_PARAM_Q .. TERN_PARAM_DOWN */
    const tern_dims *dims;
    tern_param *list; /* [n]: A and B of each target of each layer, in order */
    size_t n, n_values;
    float *values, *grads, *m, *v; /* [n_values] */
} tern_lora;

tern_status tern_lora_create(const tern_dims *dims, uint32_t r, float alpha, unsigned targets, tern_lora *lora,
                             tern_error *err);
void tern_lora_free(tern_lora *lora);
void tern_lora_init(tern_lora *lora, uint64_t seed); /* A ~ N(0, 1 / in), B = 0 */
/* A [r, in] and B [out, r] of one matrix in an array of the adapters' layout; false: it has none. */
bool tern_lora_find(const tern_lora *lora, const float *array, uint32_t layer, int which, const float **a,
                    const float **b);
tern_status tern_lora_save(const tern_lora *lora, const char *folder, tern_error *err);
tern_status tern_lora_read(const char *folder, const tern_dims *dims, tern_lora *lora, tern_error *err);

#endif
