/* Master weights to trits (numerics.md section 2): T = clamp(round(W * (1/mean)), -1, 1), mean = max(mean|W|, 1e-5). */
#include "base/half.h"
#include "format/codecs.h"

enum { LANES = 8 };

#define MIN_MEAN 1e-5f

typedef struct absmean_sums {
    double lanes[LANES]; /* of |w| */
    int32_t most[LANES]; /* bits of the largest |w|: they order like the floats, with infinity and NaN on top */
} absmean_sums;

/* Eight independent sums, because one chain of additions could not be vectorised without changing its order. */
static void add_row(absmean_sums *sums, const float *weights, uint64_t n) {
    absmean_sums s = *sums;
    uint64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int lane = 0; lane < LANES; lane++) {
            int32_t bits = (int32_t)(tern_bits_from_f32(weights[i + lane]) & 0x7fffffff);
            s.lanes[lane] += (double)tern_f32_from_bits((uint32_t)bits);
            s.most[lane] = bits > s.most[lane] ? bits : s.most[lane];
        }
    for (int lane = 0; i < n; i++, lane++) {
        int32_t bits = (int32_t)(tern_bits_from_f32(weights[i]) & 0x7fffffff);
        s.lanes[lane] += (double)tern_f32_from_bits((uint32_t)bits);
        s.most[lane] = bits > s.most[lane] ? bits : s.most[lane];
    }
    *sums = s;
}

tern_status tern_absmean(const tern_tensor *tensor, float *buffer, float *mean, tern_error *err) {
    const tern_codec *codec = tern_codec_of(tensor->type);
    if (!codec || !codec->decode_row)
        return tern_fail(err, TERN_ERR_ARGUMENT, "tensor '%s' of type %s holds no float weights", tensor->name,
                         tensor->type_name);
    absmean_sums sums = {{0}, {0}};
    for (uint64_t row = 0; row < tensor->rows; row++) {
        codec->decode_row(tensor, row, buffer);
        add_row(&sums, buffer, tensor->cols);
    }
    double total = 0;
    int32_t most = 0;
    for (int lane = 0; lane < LANES; lane++) {
        total += sums.lanes[lane];
        most = sums.most[lane] > most ? sums.most[lane] : most;
    }
    if (most >= 0x7f800000)
        return tern_fail(err, TERN_ERR_FORMAT, "tensor '%s' holds NaN or infinite weights", tensor->name);
    float value = (float)(total / ((double)tensor->rows * (double)tensor->cols));
    *mean = value > MIN_MEAN ? value : MIN_MEAN;
    return TERN_OK;
}

void tern_ternarize_row(const float *weights, uint64_t n, float mean, int8_t *trits) {
    float inverse = 1.0f / mean;
    for (uint64_t i = 0; i < n; i++) {
        /* round half to even, clamped to -1..1: exactly 0.5 goes to 0, 1.5 and more to 1 */
        float scaled = weights[i] * inverse;
        trits[i] = (int8_t)((scaled > 0.5f) - (scaled < -0.5f));
    }
}
