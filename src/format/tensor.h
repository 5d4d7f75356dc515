/* A named tensor as it lies in a file: a typed view of mapped bytes. */
#ifndef TERN_FORMAT_TENSOR_H
#define TERN_FORMAT_TENSOR_H

#include "base/file.h"
#include "base/status.h"

typedef enum tern_dtype {
    TERN_TYPE_F32,
    TERN_TYPE_F16,
    TERN_TYPE_BF16,
    TERN_TYPE_Q4_0,
    TERN_TYPE_Q8_0,
    TERN_TYPE_Q6_K,
    TERN_TYPE_TQ1_0,
    TERN_TYPE_TQ2_0,
    TERN_TYPE_I2_S,
    TERN_TYPE_I8,        /* bytes: packed matrices of tern's own layout (docs/FORMAT.md) */
    TERN_TYPE_HF_PACKED, /* U8 [out/4, in] with a companion weight_scale */
    TERN_TYPE_OTHER,     /* readable by name and size only (tern inspect); never bound to the model */
} tern_dtype;

typedef struct tern_tensor {
    const char *name;      /* as in the file; owned by the checkpoint */
    const char *type_name; /* "I2_S", "BF16", "I64", ...; static or owned by the checkpoint */
    tern_dtype type;
    uint32_t n_dims;                 /* 0..4 */
    uint64_t shape[4];               /* as stored, outermost first */
    uint64_t rows, cols;             /* the logical matrix [out, in] (HF_PACKED: unpacked); a vector is [1, n] */
    const uint8_t *data;             /* [bytes], inside the mapping, any alignment */
    uint64_t bytes;                  /* checked: the whole of it is inside the file and fits rows x cols of the type */
    const struct tern_tensor *scale; /* HF_PACKED: the companion weight_scale tensor */
    bool scale_is_inverse; /* HF_PACKED of linear_class "bitlinear": the stored scale divides (numerics.md 4d) */
} tern_tensor;

#endif
