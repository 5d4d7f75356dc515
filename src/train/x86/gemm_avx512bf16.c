/* Products with vdpbf16ps: each 32-bit lane of a sum takes two products of bfloat16, exact in float32 but for the sum's
 * rounding. 24 of 32 registers hold sums, 4 a row of the panel, one an element of A in all lanes. */
#include <immintrin.h>
#include <string.h>

#include "base/cpu.h"
#include "kernels/tmpl.h"
#include "train/gemm.h"
#include "train/x86/turn_avx512.h"

enum { MR = 6, NV = 4, NR = 16 * NV, AHEAD_PAIRS = 16, AHEAD_ROWS = 6 };

INLINE __mmask16 mask_of(size_t n) { return n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1); }

/* Up to 16 values as floats, zeros behind n; int8 are exact. `type` is a constant where it matters. */
INLINE __m512 load_some(tern_operand_type type, const void *data, size_t at, size_t n) {
    if (type == TERN_OPERAND_I8)
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask_of(n), (const int8_t *)data + at)));
    return _mm512_maskz_loadu_ps(mask_of(n), (const float *)data + at);
}

/* Ask for what is so many elements behind `at`, as far as there is memory; beyond, asking does no harm. */
INLINE void prefetch(tern_operand_type type, const void *data, size_t at) {
    __builtin_prefetch((const void *)((uintptr_t)data + at * (type == TERN_OPERAND_I8 ? 1 : sizeof(float))), 0, 3);
}

/* 32 bfloat16: low's, then high's. */
INLINE __m512i narrow(__m512 low, __m512 high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }

/* Two rows of an operand; the second one may be missing: zeros. */
typedef struct row_pair {
    const void *data;
    size_t at, next, ahead; /* elements: the rows, and one that is wanted later */
    bool both;
    __m512 factors[2];
} row_pair;

INLINE row_pair pair_of(const tern_operand *from, size_t k0, size_t k, size_t nk, size_t first) {
    row_pair pair = {from->data, (k0 + k) * from->ld + first, (k0 + k + 1) * from->ld + first, 0, k + 1 < nk, {{0}}};
    const float *divide = from->divide ? from->divide + k0 + k : NULL;
    pair.ahead = pair.at + AHEAD_PAIRS * 2 * from->ld;
    pair.factors[0] = _mm512_set1_ps(divide ? 1.0f / divide[0] : 1.0f);
    pair.factors[1] = _mm512_set1_ps(divide && pair.both ? 1.0f / divide[1] : 1.0f);
    return pair;
}

/* Units of the columns [i, i + n), n <= 16. */
INLINE __m512i pair_units(tern_operand_type type, const row_pair *pair, size_t i, size_t n) {
    const __m512i interleave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
                                                6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    prefetch(type, pair->data, pair->ahead + i);
    prefetch(type, pair->data, pair->ahead + i + pair->next - pair->at);
    __m512 even = load_some(type, pair->data, pair->at + i, n), odd = _mm512_setzero_ps();
    if (pair->both)
        odd = load_some(type, pair->data, pair->next + i, n);
    if (type == TERN_OPERAND_F32) {
        even = _mm512_mul_ps(even, pair->factors[0]);
        odd = _mm512_mul_ps(odd, pair->factors[1]);
    }
    return _mm512_permutexvar_epi16(interleave, narrow(even, odd));
}

/* Panels of NR columns. */
INLINE void pack_panels(tern_operand_type type, const row_pair *pair, size_t n, size_t width, size_t stride,
                        uint32_t *out) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        _mm512_store_si512(out + i / NR * NR * stride + i % NR, pair_units(type, pair, i, 16));
    for (; i < width; i += 16)
        _mm512_store_si512(out + i / NR * NR * stride + i % NR,
                           i < n ? pair_units(type, pair, i, n - i) : _mm512_setzero_si512());
}

/* Groups of MR rows of A: two of these at a time, the second one's lanes to their own place. */
INLINE void pack_groups(tern_operand_type type, const row_pair *pair, size_t n, size_t width, size_t stride,
                        uint32_t *out) {
    enum { FIRST = (1 << MR) - 1, SECOND = FIRST << MR };
    size_t i = 0;
    for (; i + 2 * MR <= n; i += 2 * MR) {
        __m512i two = pair_units(type, pair, i, 2 * MR);
        _mm512_mask_storeu_epi32(out + i * stride, FIRST, two);
        _mm512_mask_storeu_epi32(out + (i + MR) * stride - MR, SECOND, two);
    }
    for (; i < width; i += MR) {
        size_t left = i < n ? n - i : 0;
        _mm512_mask_storeu_epi32(out + i * stride, FIRST, pair_units(type, pair, i, left < MR ? left : MR));
    }
}

static void pack_k_major(const tern_operand *from, size_t k0, size_t nk, size_t first, size_t n, size_t width,
                         size_t group, size_t stride, void *to) {
    for (size_t k = 0; k < nk; k += 2) {
        row_pair pair = pair_of(from, k0, k, nk, first);
        uint32_t *out = (uint32_t *)to + k / 2 * group;
        if (group == NR && from->type == TERN_OPERAND_I8)
            pack_panels(TERN_OPERAND_I8, &pair, n, width, stride, out);
        else if (group == NR)
            pack_panels(TERN_OPERAND_F32, &pair, n, width, stride, out);
        else if (from->type == TERN_OPERAND_I8)
            pack_groups(TERN_OPERAND_I8, &pair, n, width, stride, out);
        else
            pack_groups(TERN_OPERAND_F32, &pair, n, width, stride, out);
    }
}

/* Units [u, u + 16) of a row that begins at `at`, zeros behind its nk values. */
INLINE __m512i row_units(tern_operand_type type, const void *data, size_t at, size_t nk, size_t u) {
    size_t left = nk - 2 * u;
    return narrow(load_some(type, data, at + 2 * u, left),
                  left > 16 ? load_some(type, data, at + 2 * u + 16, left - 16) : _mm512_setzero_ps());
}

INLINE void pack_row(tern_operand_type type, const void *data, size_t at, size_t ahead, size_t nk, uint32_t *out) {
    size_t u = 0;
    for (; 2 * u + 32 <= nk; u += 16) {
        prefetch(type, data, ahead + 2 * u);
        prefetch(type, data, ahead + 2 * u + 16);
        _mm512_storeu_si512(out + u, row_units(type, data, at, nk, u));
    }
    if (2 * u < nk)
        _mm512_mask_storeu_epi32(out + u, mask_of((nk + 1) / 2 - u), row_units(type, data, at, nk, u));
}

static void pack_rows(const tern_operand *from, size_t k0, size_t nk, size_t first, size_t n, void *to) {
    for (size_t i = 0; i < n; i++) {
        size_t at = (first + i) * from->ld + k0, ahead = at + AHEAD_ROWS * from->ld;
        uint32_t *out = (uint32_t *)to + i * ((nk + 1) / 2);
        if (from->type == TERN_OPERAND_I8)
            pack_row(TERN_OPERAND_I8, from->data, at, ahead, nk, out);
        else
            pack_row(TERN_OPERAND_F32, from->data, at, ahead, nk, out);
    }
}

static void pack_turned(const tern_operand *from, size_t k0, size_t nk, size_t first, size_t n, size_t width,
                        void *to) {
    size_t units = (nk + 1) / 2;
    for (size_t u = 0; u < units; u += 16)
        for (size_t i = 0; i < width; i += 16) {
            __m512i rows[16];
            for (size_t j = 0; j < 16; j++)
                rows[j] = i + j < n ? row_units(from->type, from->data, (first + i + j) * from->ld + k0, nk, u)
                                    : _mm512_setzero_si512();
            tern_turn16(rows);
            for (size_t j = 0; j < 16 && u + j < units; j++)
                _mm512_mask_storeu_epi32((uint32_t *)to + (u + j) * width + i, mask_of(width - i), rows[j]);
        }
}

/* As an instruction of its own: with the intrinsic GCC 12 moves the sums about (kernels/x86/v16_avx512.h). */
INLINE __m512 dot_pairs(__m512 sum, __m512i a, __m512i b) {
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}

INLINE __m512i pair_at(const uint8_t *p) {
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return _mm512_set1_epi32(pair);
}

static void tile(size_t n_units, const void *a, size_t a_row, size_t a_step, const void *b, float *c, size_t ldc,
                 size_t m, size_t n, float alpha, bool add) {
    const uint8_t *at = a, *panel = b;
    __m512 sum[MR][NV];
    UNROLL for (size_t r = 0; r < MR; r++) UNROLL for (size_t j = 0; j < NV; j++) sum[r][j] = _mm512_setzero_ps();
    for (size_t u = 0; u < n_units; u++, at += a_step, panel += 4 * NR) {
        __m512i column[NV];
        UNROLL for (size_t j = 0; j < NV; j++) column[j] = _mm512_load_si512(panel + 64 * j);
        UNROLL for (size_t r = 0; r < MR; r++) {
            __m512i value = pair_at(at + r * a_row);
            UNROLL for (size_t j = 0; j < NV; j++) sum[r][j] = dot_pairs(sum[r][j], value, column[j]);
        }
    }
    __m512 factor = _mm512_set1_ps(alpha);
    UNROLL for (size_t r = 0; r < MR; r++) {
        UNROLL for (size_t j = 0; j < NV; j++) {
            __mmask16 lanes = r < m && 16 * j < n ? mask_of(n - 16 * j) : 0;
            float *to = c + r * ldc + 16 * j;
            __m512 product = _mm512_mul_ps(factor, sum[r][j]);
            if (add)
                product = _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, to), product);
            _mm512_mask_storeu_ps(to, lanes, product);
        }
    }
}

extern const tern_gemm tern_gemm_avx512vnni, tern_gemm_avx512bf16;
const tern_gemm tern_gemm_avx512bf16 = {
    .name = "avx512bf16",
    .features = TERN_CPU_AVX2 | TERN_CPU_AVX512 | TERN_CPU_AVX512VNNI | TERN_CPU_AVX512BF16,
    .mr = MR,
    .nr = NR,
    .unit = 2,
    .unit_bytes = 2 * sizeof(uint16_t),
    .exact = &tern_gemm_avx512vnni,
    .pack_k_major = pack_k_major,
    .pack_rows = pack_rows,
    .pack_turned = pack_turned,
    .tile = tile,
};
