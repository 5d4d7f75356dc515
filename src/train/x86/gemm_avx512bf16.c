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

/* Up to 16 floats, zeros behind n; int8 are exact in float. */
INLINE __m512 load_some(const tern_operand *from, size_t at, size_t n) {
    if (from->type == TERN_OPERAND_I8)
        return _mm512_cvtepi32_ps(
            _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask_of(n), (const int8_t *)from->data + at)));
    return _mm512_maskz_loadu_ps(mask_of(n), (const float *)from->data + at);
}

/* 32 bfloat16: low's, then high's. */
INLINE __m512i narrow(__m512 low, __m512 high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }

/* Two rows of an operand, the second one zeros if there is none. */
typedef struct row_pair {
    const tern_operand *from;
    size_t at, next; /* elements */
    bool both;
    __m512 factors[2];
} row_pair;

INLINE row_pair pair_of(const tern_operand *from, size_t k0, size_t k, size_t nk, size_t first) {
    row_pair pair = {from, (k0 + k) * from->ld + first, (k0 + k + 1) * from->ld + first, k + 1 < nk, {{0}, {0}}};
    const float *divide = from->divide ? from->divide + k0 + k : NULL;
    pair.factors[0] = _mm512_set1_ps(divide ? 1.0f / divide[0] : 1.0f);
    pair.factors[1] = _mm512_set1_ps(divide && pair.both ? 1.0f / divide[1] : 1.0f);
    return pair;
}

/* Units of the columns [i, i + n), n <= 16. */
INLINE __m512i pair_units(const row_pair *pair, size_t i, size_t n) {
    if (pair->from->type == TERN_OPERAND_F32) {
        const float *ahead = (const float *)pair->from->data + pair->at + AHEAD_PAIRS * 2 * pair->from->ld + i;
        __builtin_prefetch(ahead, 0, 3);
        __builtin_prefetch(ahead + pair->from->ld, 0, 3);
    }
    const __m512i interleave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
                                                6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512 even = _mm512_mul_ps(load_some(pair->from, pair->at + i, n), pair->factors[0]), odd = _mm512_setzero_ps();
    if (pair->both)
        odd = _mm512_mul_ps(load_some(pair->from, pair->next + i, n), pair->factors[1]);
    return _mm512_permutexvar_epi16(interleave, narrow(even, odd));
}

/* Columns that are left from i on. */
INLINE size_t left_of(size_t i, size_t n) { return i < n ? n - i : 0; }

/* Panels of NR columns, or groups of MR rows of A: two of these at a time, the second one's lanes to its own place. */
static void pack_k_major(const tern_operand *from, size_t k0, size_t nk, size_t first, size_t n, size_t width,
                         size_t group, size_t stride, void *to) {
    size_t units = (nk + 1) / 2;
    for (size_t u = 0; u < units; u++) {
        row_pair pair = pair_of(from, k0, 2 * u, nk, first);
        uint32_t *out = (uint32_t *)to + u * group;
        for (size_t i = 0; group == NR && i < width; i += 16)
            _mm512_store_si512(out + i / NR * NR * stride + i % NR, pair_units(&pair, i, left_of(i, n)));
        for (size_t i = 0; group == MR && i < width; i += 2 * MR) {
            size_t left = left_of(i, n);
            __m512i two = pair_units(&pair, i, left < 2 * MR ? left : 2 * MR);
            _mm512_mask_storeu_epi32(out + i * stride, 0x3f, two);
            if (i + MR < width)
                _mm512_mask_storeu_epi32(out + (i + MR) * stride - MR, 0xfc0, two);
        }
    }
}

/* Units [u, u + 16) of a row, zeros behind its nk values. */
INLINE __m512i row_units(const tern_operand *from, size_t at, size_t nk, size_t u) {
    size_t left = nk - 2 * u;
    return narrow(load_some(from, at + 2 * u, left),
                  left > 16 ? load_some(from, at + 2 * u + 16, left - 16) : _mm512_setzero_ps());
}

static void pack_rows(const tern_operand *from, size_t k0, size_t nk, size_t first, size_t n, void *to) {
    size_t units = (nk + 1) / 2;
    for (size_t i = 0; i < n; i++)
        for (size_t u = 0; u < units; u += 16) {
            if (from->type == TERN_OPERAND_F32) {
                const float *ahead = (const float *)from->data + (first + i + AHEAD_ROWS) * from->ld + k0 + 2 * u;
                __builtin_prefetch(ahead, 0, 3);
                __builtin_prefetch(ahead + 16, 0, 3);
            }
            _mm512_mask_storeu_epi32((uint32_t *)to + i * units + u, mask_of(units - u),
                                     row_units(from, (first + i) * from->ld + k0, nk, u));
        }
}

static void pack_turned(const tern_operand *from, size_t k0, size_t nk, size_t first, size_t n, size_t width,
                        void *to) {
    size_t units = (nk + 1) / 2;
    for (size_t u = 0; u < units; u += 16)
        for (size_t i = 0; i < width; i += 16) {
            __m512i rows[16];
            for (size_t j = 0; j < 16; j++)
                rows[j] = i + j < n ? row_units(from, (first + i + j) * from->ld + k0, nk, u) : _mm512_setzero_si512();
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
