/*
 * A LoRA adapter (Hu et al. 2021) bound to a model: y = BitLinear(x) + scale * B (A x~), x~ the dequantised int8 input
 * of the BitLinear. Its matrices are used where the file is mapped, as they are stored.
 */
#ifndef TERN_MODEL_ADAPTER_H
#define TERN_MODEL_ADAPTER_H

#include "format/peft.h"
#include "model/weights.h"

/* What is added to one BitLinear. */
typedef struct tern_low_rank {
    uint32_t rank;                 /* r; 0: nothing */
    float scale;                   /* alpha / r */
    const tern_tensor *a, *b;      /* [r, in], [out, r]: F32, F16 or BF16 */
    tern_head_type a_type, b_type; /* the kernels that multiply with them */
} tern_low_rank;

typedef struct tern_adapter {
    tern_peft peft;
    tern_low_rank *list; /* [n] by tern_linear.index */
    size_t n;
    uint64_t bytes; /* of all matrices */
} tern_adapter;

/* Open a PEFT folder for a model of these dimensions: names, shapes, pairs and values are checked. On success to be
 * closed with tern_adapter_close(). */
tern_status tern_adapter_open(const char *folder, const tern_dims *dims, tern_adapter *adapter, tern_error *err);
void tern_adapter_close(tern_adapter *adapter); /* accepts a zeroed one */
/* From now on the adapter, which must outlive the weights, belongs to each BitLinear it was made for. */
void tern_adapter_attach(const tern_adapter *adapter, tern_weights *weights);

/* Is any BitLinear adapted? The largest rank of all; 0: none. */
uint32_t tern_weights_low_rank(const tern_weights *weights);

#endif
