/*
 * The CPU kernels: pure functions on rows of numbers. No allocation, no errors,
 * no threads; callers split the work.
 *
 * One table (tern_kernels) per rung of the ISA ladder: ref, avx2, avxvnni,
 * avx512vnni, avx512vbmi, neon, dotprod, i8mm. A packing of ternary weights and the kernels
 * that read it stand in the same table, because they only make sense together.
 *
 * EVERY RUNG GIVES THE SAME BITS. Integer kernels because integers are exact;
 * float kernels because the order of operations is part of their contract:
 *
 *   16 lanes. A reduction over n values keeps 16 partial results; element i goes
 *   to lane i % 16, in order of i. Lanes that get no element in the last, partial
 *   step keep their value. The lanes are then folded 16 -> 8 -> 4 -> 2 -> 1, lane
 *   j with lane j + half: r8[j] = r[j] + r[j+8], r4[j] = r8[j] + r8[j+4], ...
 *   A product that is summed is one fused multiply-add: r = fma(a, b, r).
 *   Where no fma is named below, each operation rounds on its own; division and
 *   square root are the correctly rounded ones; no reciprocal estimates, no
 *   flush to zero.
 *
 * ref/ is the readable C that defines this; tests/kernels holds every rung to it,
 * bit for bit.
 */
#ifndef TERN_KERNELS_KERNELS_H
#define TERN_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/*
 * Packing t2r16: 2 bits a weight, 16 rows interleaved.
 *
 * Rows are taken in groups of 16 (the last group padded with zero rows), columns
 * in blocks of 16 (padded with zeros). A group is k_pad/16
 * blocks of 64 bytes, one after the other; byte 4*r + j of block b (r: row in
 * the group 0..15, j: 0..3) holds the codes T+1 (0, 1, 2) of
 * columns 16*b + 4*f + j in bits 2f+1..2f, f = 0..3.
 *
 * So one 64-byte load, a shift and a mask give 16 rows x 4 consecutive columns,
 * the operand shape of vpdpbusd (16 lanes), two of ymm, four of NEON sdot; the
 * activations are 4 bytes broadcast to all lanes. The same bytes serve every
 * ISA, decode and prefill.
 */
enum { TERN_GROUP_ROWS = 16, TERN_GROUP_COLS = 16 };

/*
 * Packing t5r16: 5 bits for 3 weights, 16 rows interleaved.
 *
 * Groups of 16 rows as above, columns in blocks of 12, 40 bytes each: 64 codes of 5 bits, code c in bits 5c .. 5c+4 of
 * the block, little-endian. Code 4*r + j of block b (r: row in the group 0..15, j: 0..3) is the sum of (T+1) * 3^f over
 * the columns 12*b + 4*f + j, f = 0..2. The codes 27 to 31 do not occur; kernels take their three lowest base-3 digits.
 *
 * A block is unpacked to three operands of 16 rows x 4 columns, the same as those of t2r16, and a sixth less is read.
 * Kernels read no byte outside the packed groups: these may end with a file's mapping.
 */

/* Activations of n values are padded with zeros to this: whole blocks of every packing (b1r16: kernels/binary.h). */
enum { TERN_Q_PAD = 96 };
static inline size_t tern_q_pad(size_t n) { return (n + TERN_Q_PAD - 1) / TERN_Q_PAD * TERN_Q_PAD; }

static inline size_t tern_n_groups(size_t rows) { return (rows + TERN_GROUP_ROWS - 1) / TERN_GROUP_ROWS; }

/* A way to store ternary weights in groups of TERN_GROUP_ROWS rows, blocks of `cols` columns one after the other. */
typedef struct tern_packing {
    const char *name;
    size_t cols, block_bytes;
    /* trits [n_rows <= 16][k], row stride `ld` bytes, values -1, 0, 1 -> one packed group of tern_group_bytes();
     * missing rows and columns become zeros. */
    void (*pack_group)(uint8_t *packed, const int8_t *trits, size_t ld, size_t n_rows, size_t k);
    /* Row `row` (0..15) of a packed group -> trits [k]. */
    void (*unpack_row)(const uint8_t *group, size_t row, size_t k, int8_t *trits);
    bool binary; /* holds -1 and 1 only: pack_group must be given no zeros */
} tern_packing;

/* k rounded up to whole blocks. */
static inline size_t tern_k_pad(const tern_packing *packing, size_t k) {
    return (k + packing->cols - 1) / packing->cols * packing->cols;
}
/* Bytes of one packed group of 16 rows. */
static inline size_t tern_group_bytes(const tern_packing *packing, size_t k) {
    return (k + packing->cols - 1) / packing->cols * packing->block_bytes;
}

extern const tern_packing tern_packing_t2r16, tern_packing_t5r16, tern_packing_b1r16;

struct tern_attention_kernels; /* kernels/attention.h */
struct tern_binary;            /* kernels/binary.h */
struct tern_line_kernels;      /* kernels/lines.h */

/* A packing and the kernels that read it. */
typedef struct tern_ternary {
    const tern_packing *packing;

    /* acc[t * ld_acc + r] = sum_k q[t * ld_q + k] * T[r][k] for the 16 * n_groups rows of
     * the packed groups at w and tokens t < n_tokens. k_pad is tern_k_pad() of the packing; q rows hold k_pad values
     * (zeros behind k), any alignment; q_sum [n_tokens] their sums. q is never -128. Exact while
     * 254 * k_pad < 2^31. ld_acc >= 16 * n_groups. */
    void (*matmul)(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q, const int32_t *q_sum,
                   size_t n_tokens, int32_t *acc, size_t ld_acc);

    /* For matrices of which a decode step needs only some rows or columns; NULL: this rung has none. */
    const struct tern_line_kernels *lines;
} tern_ternary;

/* Stored types that the LM head multiplies with directly. The layouts are
 * ggml's: Q8_0 32 values {f16 d; i8 q[32]} (34 bytes), Q4_0 32 values {f16 d; u8 q[16]},
 * value j < 16 in the low nibble of q[j], j + 16 in the high one, (q - 8) * d;
 * Q6_K 256 values {u8 ql[128]; u8 qh[64]; i8 scales[16]; f16 d} (210 bytes). */
typedef enum tern_head_type {
    TERN_HEAD_F32,
    TERN_HEAD_F16,
    TERN_HEAD_BF16,
    TERN_HEAD_Q8_0,
    TERN_HEAD_Q4_0,
    TERN_HEAD_Q6_K,
    TERN_N_HEAD_TYPES
} tern_head_type;

typedef struct tern_kernels {
    const char *name;                   /* the rung: "ref", "avx2", ... */
    unsigned features;                  /* TERN_CPU_* bits it needs */
    const tern_ternary *const *ternary; /* the packings it has kernels for, NULL behind the last */
    const struct tern_binary *binary;   /* and those for matrices without zeros (kernels/binary.h); never NULL */

    /* ---- BitLinear: exact integers ---- */

    /* Absmax int8 quantisation of x [n] (numerics.md section 3; BitNet b1.58, Ma et al. 2024):
     * s = 127 / max(max|x|, 1e-5), q = clamp(round_half_even(x * s), -128, 127),
     * q [n_pad] with zeros behind n; *scale = s; *sum = sum of q.
     * NaN counts as 0 in max|x| and gives q = 0; infinity (s = 0, x * s = NaN) gives q = 0. */
    void (*quantize_i8)(const float *x, size_t n, size_t n_pad, int8_t *q, float *scale, int32_t *sum);

    /* y[i] = ((float)acc[i] / s) * weight_scale, i < n */
    void (*dequantize)(const int32_t *acc, size_t n, float s, float weight_scale, float *y);

    /* The same for weights with scales of their own by row: y[i] = ((float)acc[i] / s) * weight_scales[i], i < n */
    void (*dequantize_rows)(const int32_t *acc, size_t n, float s, const float *weight_scales, float *y);
    /* And by row and group of columns, one group after the other, before the division by s:
     * sum[i] = fma((float)acc[i], weight_scales[i], sum[i]), i < n */
    void (*add_scaled)(const int32_t *acc, size_t n, const float *weight_scales, float *sum);

    /* ---- float ---- */

    /* out[i] = (x[i] * r) * gain[i], r = 1 / sqrt(sum(x^2) / n + eps); the sum in 16 lanes with fma. out may be x. */
    void (*rms_norm)(const float *x, const float *gain, size_t n, float eps, float *out);
    /* x[i] += y[i] */
    void (*add)(float *x, const float *y, size_t n);
    /* out[i] = gate[i] > 0 ? (gate[i] * gate[i]) * up[i] : 0, whatever up[i] is. out may be gate. */
    void (*relu2_mul)(const float *gate, const float *up, size_t n, float *out);
    /* out[i] = silu(gate[i]) * up[i] with e = exp(-|gate|), the library's exp (ref/exp.h):
     * ((gate < 0 ? gate * e : gate) / (1 + e)) * up, each operation rounding. out may be gate. */
    void (*silu_mul)(const float *gate, const float *up, size_t n, float *out);
    /* Half-split rotary embedding of n_heads vectors [head_dim] in place, h = head_dim / 2 pairs, cos, sin [h]:
     * x[i]' = x[i] * cos[i] - x[i+h] * sin[i],  x[i+h]' = x[i+h] * cos[i] + x[i] * sin[i]; each product rounds,
     * then the sum (no fma). */
    void (*rope)(float *x, size_t n_heads, size_t head_dim, const float *cos, const float *sin);

    const struct tern_attention_kernels *attention; /* kernels/attention.h */

    /* x[i] /= d */
    void (*divide)(float *x, size_t n, float d);

    /* Round to nearest even; overflow gives infinity. */
    void (*f32_to_f16)(const float *x, size_t n, uint16_t *out);

    /* ---- LM head ----
     * y[t * ld_y + r] = dot(row r, x[t]) in 16 lanes with fma, rows of k values of the stored type, row_bytes apart,
     * x [n_tokens][k] (stride k). A quantised row's value is first computed as a float exactly as ggml dequantises it
     * (Q8_0: q * d; Q4_0: (q - 8) * d; Q6_K: (d * scale) * (q - 32)), then enters the fma. k is a multiple of the
     * type's block. */
    void (*head[TERN_N_HEAD_TYPES])(const uint8_t *rows, size_t row_bytes, size_t n_rows, const float *x, size_t k,
                                    size_t n_tokens, float *y, size_t ld_y);
    const struct tern_screen_kernels *screen; /* of the head's screen (kernels/screen.h); NULL: this rung has none */

    /* ---- search among int8 vectors ----
     * dots[i] = sum over j < k of rows[i * k + j] * q[j], i < n_rows, exact. k is a multiple of TERN_DOT_UNIT, at most
     * TERN_DOT_MAX; no value is -128 (quantize_i8 makes none); any alignment. */
    void (*dot_rows)(const int8_t *rows, size_t k, size_t n_rows, const int8_t *q, int32_t *dots);
} tern_kernels;

/* Of dot_rows: 255 * 127 * TERN_DOT_MAX < 2^31, for rungs whose instruction wants one side unsigned. */
enum { TERN_DOT_UNIT = 64, TERN_DOT_MAX = 1 << 16 };

/* The best rung that this CPU supports, or the one called `name` (NULL or "":
 * the environment's TERN_CPU, else the best). An unknown name or a rung this CPU
 * cannot run is an error that lists those it can. */
tern_status tern_kernels_choose(const char *name, const tern_kernels **kernels, tern_error *err);

/* All rungs compiled in, worst first, NULL behind the last; for tests and benches
 * (look at `features` before calling one). */
const tern_kernels *const *tern_kernels_all(void);

#endif
