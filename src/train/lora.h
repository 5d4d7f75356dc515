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
    unsigned targets;      /* bit TERN_PARAM_Q .. TERN_PARAM_DOWN */
    const tern_dims *dims; /* the caller's; must outlive the adapters */
    tern_param *list;      /* [n]: A and B of each target of each layer, in order */
    size_t n, n_values;
    float *values, *grads, *m, *v; /* [n_values] */
} tern_lora;

/* All values 0. TERN_ERR_ARGUMENT for a rank or targets that cannot be. On success free with tern_lora_free(). */
tern_status tern_lora_create(const tern_dims *dims, uint32_t r, float alpha, unsigned targets, tern_lora *lora,
                             tern_error *err);
void tern_lora_free(tern_lora *lora);
void tern_lora_init(tern_lora *lora, uint64_t seed); /* A ~ N(0, 1 / in), B = 0 */
/* Where A (or B, which stands behind it) of one matrix is; NULL: it has none. */
const tern_param *tern_lora_param(const tern_lora *lora, uint32_t layer, int which, bool is_b);
/* A [r, in] and B [out, r] of one matrix in an array of the adapters' layout; false: it has none. */
bool tern_lora_find(const tern_lora *lora, const float *array, uint32_t layer, int which, const float **a,
                    const float **b);
/* The name of the matrix that value `index` belongs to. */
const char *tern_lora_name_of(const tern_lora *lora, size_t index);
/* Names of matrices, "q,k,v,o,gate,up,down" or "all" -> bits. */
tern_status tern_lora_targets(const char *text, unsigned *targets, tern_error *err);
/* To and from a PEFT folder (format/peft.h, model/adapter.h). What was read starts with fresh moments. */
tern_status tern_lora_save(const tern_lora *lora, const char *folder, tern_error *err);
tern_status tern_lora_read(const char *folder, const tern_dims *dims, tern_lora *lora, tern_error *err);

#endif
