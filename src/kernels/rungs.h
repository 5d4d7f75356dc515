/*
 * What the files of this room share: the kernels of one rung are called
 * tern_<operation>_<isa>, with the signatures of struct tern_kernels.
 *
 * TERN_DECLARE_FLOAT_KERNELS(isa) declares all but the ternary products (one set per
 * vector unit: ref, avx2, avx512vnni, neon), TERN_DECLARE_MATMUL(isa) that one
 * (one per dot-product instruction), and TERN_FLOAT_KERNELS(isa) initialises
 * the fields of a table with a set.
 */
#ifndef TERN_KERNELS_RUNGS_H
#define TERN_KERNELS_RUNGS_H

#include "kernels/binary.h"
#include "kernels/kernels.h"
#include "kernels/lines.h"

#define TERN_DECLARE_HEAD(type, isa)                                                                                   \
    void tern_head_##type##_##isa(const uint8_t *rows, size_t row_bytes, size_t n_rows, const float *x, size_t k,      \
                                  size_t n_tokens, float *y, size_t ld_y)

#define TERN_DECLARE_MATMUL_OF(packing, isa)                                                                           \
    void tern_matmul_i8_##packing##_##isa(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q,            \
                                          size_t ld_q, const int32_t *q_sum, size_t n_tokens, int32_t *acc,            \
                                          size_t ld_acc)
#define TERN_DECLARE_MATMUL(isa) TERN_DECLARE_MATMUL_OF(t2, isa)

#define TERN_DECLARE_DOT_ROWS(isa)                                                                                     \
    void tern_dot_rows_##isa(const int8_t *rows, size_t k, size_t n_rows, const int8_t *q, int32_t *dots)

/* The 2-bit packing with this rung's kernel. */
#define TERN_TERNARY_T2(isa)                                                                                           \
    static const tern_ternary tern_t2_##isa = {.packing = &tern_packing_t2r16, .matmul = tern_matmul_i8_t2_##isa}
/* The 5/3-bit packing with this rung's kernels. */
#define TERN_TERNARY_T5(isa)                                                                                           \
    static const tern_ternary tern_t5_##isa = {                                                                        \
        .packing = &tern_packing_t5r16, .matmul = tern_matmul_i8_t5_##isa, .lines = &tern_lines_##isa}

/* Binary weights: times int8 with the kernel of one instruction set, times signs with that of another. */
#define TERN_DECLARE_SIGNS(isa)                                                                                        \
    void tern_matmul_signs_b1_##isa(const uint8_t *w, size_t k, size_t n_groups, const uint32_t *signs,                \
                                    size_t ld_signs, size_t n_tokens, int32_t *acc, size_t ld_acc)
#define TERN_BINARY_B1(rung, isa, signs_isa)                                                                           \
    static const tern_binary tern_b1_##rung = {                                                                        \
        .int8 = {.packing = &tern_packing_b1r16, .matmul = tern_matmul_i8_b1_##isa},                                   \
        .matmul_signs = tern_matmul_signs_b1_##signs_isa}

#define TERN_DECLARE_FLOAT_KERNELS(isa)                                                                                \
    void tern_quantize_i8_##isa(const float *x, size_t n, size_t n_pad, int8_t *q, float *scale, int32_t *sum);        \
    void tern_dequantize_##isa(const int32_t *acc, size_t n, float s, float weight_scale, float *y);                   \
    void tern_dequantize_rows_##isa(const int32_t *acc, size_t n, float s, const float *weight_scales, float *y);      \
    void tern_add_scaled_##isa(const int32_t *acc, size_t n, const float *weight_scales, float *sum);                  \
    void tern_rms_norm_##isa(const float *x, const float *gain, size_t n, float eps, float *out);                      \
    void tern_add_##isa(float *x, const float *y, size_t n);                                                           \
    void tern_relu2_mul_##isa(const float *gate, const float *up, size_t n, float *out);                               \
    void tern_silu_mul_##isa(const float *gate, const float *up, size_t n, float *out);                                \
    void tern_rope_##isa(float *x, size_t n_heads, size_t head_dim, const float *cos, const float *sin);               \
    void tern_divide_##isa(float *x, size_t n, float d);                                                               \
    void tern_f32_to_f16_##isa(const float *x, size_t n, uint16_t *out);                                               \
    extern const struct tern_attention_kernels tern_attention_##isa;                                                   \
    TERN_DECLARE_HEAD(f32, isa);                                                                                       \
    TERN_DECLARE_HEAD(f16, isa);                                                                                       \
    TERN_DECLARE_HEAD(bf16, isa);                                                                                      \
    TERN_DECLARE_HEAD(q8_0, isa);                                                                                      \
    TERN_DECLARE_HEAD(q4_0, isa);                                                                                      \
    TERN_DECLARE_HEAD(q6_k, isa)

#define TERN_FLOAT_KERNELS(isa)                                                                                        \
    .quantize_i8 = tern_quantize_i8_##isa, .dequantize = tern_dequantize_##isa,                                        \
    .dequantize_rows = tern_dequantize_rows_##isa, .add_scaled = tern_add_scaled_##isa,                                \
    .rms_norm = tern_rms_norm_##isa, .add = tern_add_##isa, .relu2_mul = tern_relu2_mul_##isa,                         \
    .silu_mul = tern_silu_mul_##isa, .rope = tern_rope_##isa, .divide = tern_divide_##isa,                             \
    .f32_to_f16 = tern_f32_to_f16_##isa, .attention = &tern_attention_##isa,                                           \
    .head = {                                                                                                          \
        [TERN_HEAD_F32] = tern_head_f32_##isa,   [TERN_HEAD_F16] = tern_head_f16_##isa,                                \
        [TERN_HEAD_BF16] = tern_head_bf16_##isa, [TERN_HEAD_Q8_0] = tern_head_q8_0_##isa,                              \
        [TERN_HEAD_Q4_0] = tern_head_q4_0_##isa, [TERN_HEAD_Q6_K] = tern_head_q6_k_##isa,                              \
    }

/* Constants of the library's exp; ref/exp.h explains them. */
#define TERN_EXP_MIN (-87.0f)
#define TERN_EXP_LOG2E 0x1.715476p+0f
#define TERN_EXP_LN2_HI 0x1.62e400p-1f
#define TERN_EXP_LN2_LO 0x1.7f7d1cp-20f

/* Defined by the ISA's own files (arm/); the x86 and ref tables stand in ladder.c. */
extern const tern_kernels tern_kernels_neon, tern_kernels_dotprod, tern_kernels_i8mm;

#endif
