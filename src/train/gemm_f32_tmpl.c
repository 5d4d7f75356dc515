/*
 * Float32 products, written once over the 16-lane vectors of kernels/float_tmpl.c and included by a file per
 * instruction set after the header that defines them, GEMM_ROWS and GEMM_VECTORS (the tile: rows, and vectors of 16
 * columns), GEMM_NAME and GEMM_FEATURES. gemm.h says what the functions do.
 */
#include <string.h>

#include "base/cpu.h"
#include "kernels/tmpl.h"
#include "train/gemm.h"

enum { MR = GEMM_ROWS, NV = GEMM_VECTORS, NR = 16 * NV };

/* n values (up to 16) from element `at` on, as floats */
INLINE v16 load_some(const tern_operand *from, size_t at, size_t n) {
    if (from->type == TERN_OPERAND_I8) {
        const int8_t *p = (const int8_t *)from->data + at;
        return n == 16 ? v16_load_i8(p) : v16_load_i8_n(p, n);
    }
    const float *p = (const float *)from->data + at;
    return n == 16 ? v16_load(p) : v16_load_n(p, n);
}

INLINE void copy_scaled(const tern_operand *from, size_t at, size_t n, float scale, float *to) {
    v16 factor = v16_set1(scale);
    for (size_t i = 0; i < n; i += 16)
        if (n - i >= 16)
            v16_store(to + i, v16_mul(load_some(from, at + i, 16), factor));
        else
            v16_store_n(to + i, v16_mul(load_some(from, at + i, n - i), factor), n - i);
}

static void pack_k_major(const tern_operand *from, size_t k0, size_t nk, size_t first, size_t n, size_t width,
                         size_t group, size_t stride, void *to) {
    for (size_t k = 0; k < nk; k++) {
        float scale = from->divide ? 1.0f / from->divide[k0 + k] : 1.0f;
        for (size_t i = 0; i < width; i += group) {
            float *out = (float *)to + i * stride + k * group;
            size_t here = i >= n ? 0 : n - i < group ? n - i : group;
            copy_scaled(from, (k0 + k) * from->ld + first + i, here, scale, out);
            for (size_t j = here; j < group; j++)
                out[j] = 0.0f;
        }
    }
}

static void pack_rows(const tern_operand *from, size_t k0, size_t nk, size_t first, size_t n, void *to) {
    for (size_t i = 0; i < n; i++)
        copy_scaled(from, (first + i) * from->ld + k0, nk, 1.0f, (float *)to + i * nk);
}

static void pack_turned(const tern_operand *from, size_t k0, size_t nk, size_t first, size_t n, size_t width,
                        void *to) {
    float *out = to, row[16];
    for (size_t k = 0; k < nk; k += 16) {
        size_t left = nk - k < 16 ? nk - k : 16;
        for (size_t i = 0; i < width; i++) {
            v16 values = i < n ? load_some(from, (first + i) * from->ld + k0 + k, left) : v16_zero();
            v16_store(row, values);
            for (size_t j = 0; j < left; j++)
                out[(k + j) * width + i] = row[j];
        }
    }
}

static void store_edge(v16 sum[MR][NV], float *c, size_t ldc, size_t m, size_t n, float alpha, bool add) {
    float row[NR];
    for (size_t r = 0; r < m; r++) {
        UNROLL for (size_t j = 0; j < NV; j++) v16_store(row + 16 * j, sum[r][j]);
        for (size_t i = 0; i < n; i++)
            c[r * ldc + i] = add ? c[r * ldc + i] + alpha * row[i] : alpha * row[i];
    }
}

static void tile(size_t n_units, const void *a, size_t a_row, size_t a_step, const void *b, float *c, size_t ldc,
                 size_t m, size_t n, float alpha, bool add) {
    const uint8_t *at = a;
    const float *panel = b;
    v16 sum[MR][NV];
    UNROLL for (size_t r = 0; r < MR; r++) UNROLL for (size_t j = 0; j < NV; j++) sum[r][j] = v16_zero();
    for (size_t k = 0; k < n_units; k++, at += a_step, panel += NR) {
        v16 column[NV];
        UNROLL for (size_t j = 0; j < NV; j++) column[j] = v16_load(panel + 16 * j);
        UNROLL for (size_t r = 0; r < MR; r++) {
            v16 value = v16_set1(*(const float *)(const void *)(at + r * a_row));
            UNROLL for (size_t j = 0; j < NV; j++) sum[r][j] = v16_fma(value, column[j], sum[r][j]);
        }
    }
    if (m < MR || n < NR) {
        v16 edge[MR][NV];
        UNROLL for (size_t r = 0; r < MR; r++) UNROLL for (size_t j = 0; j < NV; j++) edge[r][j] = sum[r][j];
        store_edge(edge, c, ldc, m, n, alpha, add);
        return;
    }
    v16 factor = v16_set1(alpha);
    UNROLL for (size_t r = 0; r < MR; r++) UNROLL for (size_t j = 0; j < NV; j++) {
        float *to = c + r * ldc + 16 * j;
        v16 product = v16_mul(factor, sum[r][j]);
        v16_store(to, add ? v16_add(v16_load(to), product) : product);
    }
}

extern const tern_gemm JOIN(gemm, V16_ISA);
const tern_gemm JOIN(gemm, V16_ISA) = {
    .name = GEMM_NAME,
    .features = GEMM_FEATURES,
    .mr = MR,
    .nr = NR,
    .unit = 1,
    .unit_bytes = sizeof(float),
    .exact = &JOIN(gemm, V16_ISA),
    .pack_k_major = pack_k_major,
    .pack_rows = pack_rows,
    .pack_turned = pack_turned,
    .tile = tile,
};
