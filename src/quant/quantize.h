/* Post-training quantisation: a model of floats -> one of ternary matrices (docs/QUANTIZE.md). */
#ifndef TERN_QUANT_QUANTIZE_H
#define TERN_QUANT_QUANTIZE_H

#include <stddef.h>
#include <stdint.h>

#include "tern/tern.h"

/* Which weights share a scale. Groups are of TERN_QUANTIZE_GROUP columns of a row. */
typedef enum tern_quantize_scale {
    TERN_QUANTIZE_BY_TENSOR = 0,
    TERN_QUANTIZE_BY_ROW,
    TERN_QUANTIZE_BY_GROUP
} tern_quantize_scale;
enum { TERN_QUANTIZE_GROUP = 256 };

typedef struct tern_quantize_params {
    const char *type; /* of the matrices in the new file: "I2_S", "TQ1_0", "TQ2_0", "F16", "BF16", "F32";
                         NULL: I2_S, or TQ2_0 for scales by row or group, which only TQ1_0 and TQ2_0 hold */
    tern_quantize_scale scale;
    const char *embedding_type; /* as in tern_convert_params */
    const char *name;           /* likewise */
    /* Rounding that makes up for its errors on this text [calibration_bytes], of which at most so many tokens are used;
     * NULL: each weight by itself */
    const char *calibration;
    size_t calibration_bytes;
    uint32_t calibration_tokens;
    int n_threads;             /* 0: all CPUs this process may run on */
    tern_progress_fn progress; /* counts layers */
    void *progress_user;
} tern_quantize_params;

/* Write the model `in` (as for tern_model_load()), whose matrices are floats, to `out` as GGUF with ternary ones: first
 * to a temporary name, renamed when whole. *n_calibrated (may be NULL): tokens of the calibration text that were used.
 * TERN_ERR_UNSUPPORTED: a model that is ternary already; TERN_ERR_ARGUMENT: an impossible type, `out` is `in`. */
tern_status tern_quantize(const char *in, const char *out, const tern_quantize_params *params, size_t *n_calibrated,
                          tern_error *err);

/* What a model of floats loses on a text, in the windows of tern_perplexity() (eval/perplexity.h; n_window counts the
 * BOS): the floats as they are, nothing is rounded. One layer's matrices are in memory at a time. */
tern_status tern_float_loss(const char *path, const char *text, size_t n_bytes, uint32_t n_window, int n_threads,
                            tern_progress_fn progress, void *progress_user, double *mean_nll, uint64_t *n_tokens,
                            tern_error *err);

#endif
