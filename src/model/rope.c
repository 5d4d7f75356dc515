/* Llama 3's RoPE for contexts longer than it was first trained on. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "model/weights.h"

/* As transformers and llama.cpp's converter have it: frequencies that turn less than low_freq_factor times within the
 * original context are divided by `factor`, those that turn more than high_freq_factor times are left, and between the
 * two the inverse of the divisor goes linearly with the number of turns. */
static float divisor_of(const tern_rope_scaling *scaling, double inv_freq) {
    double low = scaling->low_freq_factor, high = scaling->high_freq_factor, factor = scaling->factor;
    double turns = scaling->original_n_ctx * inv_freq / 6.283185307179586477;
    if (turns < low)
        return (float)factor;
    if (turns > high)
        return 1;
    double smooth = (turns - low) / (high - low);
    return (float)(1 / ((1 - smooth) / factor + smooth));
}

static tern_status read_divisors(const tern_checkpoint *checkpoint, const tern_tensor *tensor, uint32_t n,
                                 float *divisors, tern_error *err) {
    if (tensor->type != TERN_TYPE_F32 || tensor->rows != 1 || tensor->cols != n)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: tensor %s must be %u F32 values", checkpoint->path, tensor->name,
                         (unsigned)n);
    tern_codec_of(tensor->type)->decode_row(tensor, 0, divisors);
    for (uint32_t i = 0; i < n; i++)
        if (!(divisors[i] > 0 && isfinite(divisors[i])))
            return tern_fail(err, TERN_ERR_FORMAT, "%s: tensor %s holds a value that is not finite and positive",
                             checkpoint->path, tensor->name);
    return TERN_OK;
}

tern_status tern_rope_bind(const tern_checkpoint *checkpoint, tern_weights *weights, tern_error *err) {
    const tern_rope_scaling *scaling = &checkpoint->config.rope_scaling;
    const tern_tensor *tensor = tern_checkpoint_find(checkpoint, TERN_ROPE_DIVISORS_NAME);
    tern_dims *dims = &weights->dims;
    uint32_t half = dims->head_dim / 2;
    if (!tensor && scaling->factor == 0)
        return TERN_OK;
    weights->rope_divisors = tern_alloc_array(half, sizeof *weights->rope_divisors);
    if (!weights->rope_divisors)
        return tern_fail_memory(err, "RoPE's divisors");
    dims->rope_divisors = weights->rope_divisors;
    if (tensor)
        return read_divisors(checkpoint, tensor, half, weights->rope_divisors, err);
    for (uint32_t i = 0; i < half; i++)
        weights->rope_divisors[i] =
            divisor_of(scaling, pow((double)dims->rope_theta, -2.0 * (double)i / (double)dims->head_dim));
    return TERN_OK;
}
