/* The reference of the integer kernels. Written to be read; it defines the result. */
#include "kernels/ref/lanes.h"
#include "kernels/rungs.h"

void tern_quantize_i8_ref(const float *x, size_t n, size_t n_pad, int8_t *q, float *scale, int32_t *sum) {
    float largest = 1e-5f;
    for (size_t i = 0; i < n; i++)
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest; /* false for NaN */
    float s = 127.0f / largest;
    int32_t total = 0;
    for (size_t i = 0; i < n; i++) {
        float rounded = rintf(x[i] * s); /* to nearest, ties to even */
        if (!(rounded == rounded))
            rounded = 0.0f;
        if (rounded < -128.0f)
            rounded = -128.0f;
        if (rounded > 127.0f)
            rounded = 127.0f;
        q[i] = (int8_t)rounded;
        total += q[i];
    }
    for (size_t i = n; i < n_pad; i++)
        q[i] = 0;
    *scale = s;
    *sum = total;
}

/* Rows are unpacked in pieces, so that a piece serves all tokens and the sums below are plain byte products,
 * which compilers vectorise: a CPU without a rung of its own runs this. A piece is whole blocks of every packing. */
enum { PIECE = 5 * TERN_Q_PAD };

static int32_t dot_i8(const int8_t *a, const int8_t *b, size_t n) {
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void matmul(const tern_packing *packing, const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q,
                   size_t ld_q, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    int8_t trits[PIECE];
    for (size_t r = 0; r < n_groups * TERN_GROUP_ROWS; r++) {
        const uint8_t *group = w + r / TERN_GROUP_ROWS * tern_group_bytes(packing, k_pad);
        for (size_t t = 0; t < n_tokens; t++)
            acc[t * ld_acc + r] = 0;
        for (size_t k = 0; k < k_pad; k += PIECE) {
            size_t n = k_pad - k < PIECE ? k_pad - k : PIECE;
            packing->unpack_row(group + tern_group_bytes(packing, k), r % TERN_GROUP_ROWS, n, trits);
            for (size_t t = 0; t < n_tokens; t++)
                acc[t * ld_acc + r] += dot_i8(q + t * ld_q + k, trits, n);
        }
    }
}

void tern_matmul_i8_t2_ref(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q,
                           const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    (void)q_sum; /* for kernels that multiply T + 1 and subtract */
    matmul(&tern_packing_t2r16, w, k_pad, n_groups, q, ld_q, n_tokens, acc, ld_acc);
}

void tern_matmul_i8_t5_ref(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q,
                           const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    (void)q_sum;
    matmul(&tern_packing_t5r16, w, k_pad, n_groups, q, ld_q, n_tokens, acc, ld_acc);
}

void tern_matmul_i8_b1_ref(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q,
                           const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    (void)q_sum;
    matmul(&tern_packing_b1r16, w, k_pad, n_groups, q, ld_q, n_tokens, acc, ld_acc);
}

void tern_matmul_signs_b1_ref(const uint8_t *w, size_t k, size_t n_groups, const uint32_t *signs, size_t ld_signs,
                              size_t n_tokens, int32_t *acc, size_t ld_acc) {
    size_t words = tern_sign_words(k);
    for (size_t r = 0; r < n_groups * TERN_GROUP_ROWS; r++)
        for (size_t t = 0; t < n_tokens; t++) {
            int32_t differ = 0; /* in so many places the product is -1, in the others it is 1 */
            for (size_t b = 0; b < words; b++) {
                const uint8_t *at = w + (r / TERN_GROUP_ROWS * words + b) * 64 + r % TERN_GROUP_ROWS * 4;
                for (unsigned i = 0; i < TERN_SIGNS; i++)
                    differ += (at[i / 8] >> i % 8 & 1) != (signs[t * ld_signs + b] >> i & 1);
            }
            acc[t * ld_acc + r] = (int32_t)k - 2 * differ;
        }
}

void tern_dequantize_ref(const int32_t *acc, size_t n, float s, float weight_scale, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = (float)acc[i] / s * weight_scale;
}

void tern_dequantize_rows_ref(const int32_t *acc, size_t n, float s, const float *weight_scales, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = (float)acc[i] / s * weight_scales[i];
}

void tern_add_scaled_ref(const int32_t *acc, size_t n, const float *weight_scales, float *sum) {
    for (size_t i = 0; i < n; i++)
        sum[i] = fmaf((float)acc[i], weight_scales[i], sum[i]);
}
