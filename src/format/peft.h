/*
 * Low-rank adapters (LoRA, Hu et al. 2021) as the PEFT library of Hugging Face stores them: a folder with
 * adapter_config.json and adapter_model.safetensors, matrices A [r, in] and B [out, r] of each adapted module.
 */
#ifndef TERN_FORMAT_PEFT_H
#define TERN_FORMAT_PEFT_H

#include "format/checkpoint.h"

typedef struct tern_peft {
    uint32_t r;
    float alpha;
    bool rslora;                /* alpha / sqrt(r) multiplies B A, not alpha / r (Kalajdzievski 2023) */
    bool some_layers;           /* layers_to_transform: not every layer has them */
    const char *const *targets; /* [n_targets] module names, "q_proj"; 0: the file gives a pattern instead of a list */
    size_t n_targets;
    tern_checkpoint *checkpoint; /* the tensors; owns all of this. Its config says nothing */
} tern_peft;

/* What is not plain LoRA (DoRA, biases, other ranks for some modules, ...) is TERN_ERR_UNSUPPORTED. On success to be
 * closed with tern_peft_close(). */
tern_status tern_peft_open(const char *folder, tern_peft *peft, tern_error *err);
void tern_peft_close(tern_peft *peft);

/* One float32 matrix to be written. */
typedef struct tern_peft_tensor {
    char name[160];
    uint32_t rows, cols;
    const float *values; /* [rows, cols] */
} tern_peft_tensor;

/* Write such a folder, which is made if need be: tensors [n] in this order, targets [n_targets]. The configuration
 * comes last, so that a folder with a new one is whole. */
tern_status tern_peft_write(const char *folder, uint32_t r, float alpha, const char *const *targets, size_t n_targets,
                            const tern_peft_tensor *tensors, size_t n, tern_error *err);

#endif
