/* The head screen (kernels/screen.h) on AVX2: 8 rows x 4 columns a vector. */
#include <immintrin.h>

#define SCREEN_PACK tern_screen_pack_group_avx2
#include "kernels/screen_pack_tmpl.c"

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

INLINE __m256i four(const int8_t *digits) {
    int32_t word;
    memcpy(&word, digits, 4);
    return _mm256_set1_epi32(word);
}

/* D of one block and 16 rows -> dots[2]. A 16-bit lane sums 8 pairs of products of at most 15 * 128: 30720. */
INLINE void coarse_block(const uint8_t *coarse, const int8_t *digits, int32_t sum, __m256i dots[2]) {
    const __m256i nibble = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    __m256i high[2], low[2];
    UNROLL for (size_t half = 0; half < 2; half++) high[half] = low[half] = _mm256_setzero_si256();
    UNROLL for (size_t chunk = 0; chunk < 4; chunk++, coarse += 64, digits += 16) {
        __m256i x[4] = {four(digits), four(digits + 4), four(digits + 8), four(digits + 12)};
        UNROLL for (size_t half = 0; half < 2; half++) {
            __m256i both = _mm256_loadu_si256((const __m256i *)(coarse + 32 * half));
            __m256i first = _mm256_and_si256(both, nibble);
            high[half] = _mm256_add_epi16(high[half], _mm256_maddubs_epi16(first, x[0]));
            low[half] = _mm256_add_epi16(low[half], _mm256_maddubs_epi16(first, x[1]));
            __m256i second = _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble);
            high[half] = _mm256_add_epi16(high[half], _mm256_maddubs_epi16(second, x[2]));
            low[half] = _mm256_add_epi16(low[half], _mm256_maddubs_epi16(second, x[3]));
        }
    }
    UNROLL for (size_t half = 0; half < 2; half++) {
        __m256i high32 = _mm256_slli_epi32(_mm256_madd_epi16(high[half], ones), 8);
        __m256i low32 = _mm256_add_epi32(_mm256_madd_epi16(low[half], ones), _mm256_set1_epi32(sum));
        dots[half] = _mm256_add_epi32(high32, low32);
    }
}

/* One group, one token. */
INLINE void coarse_group(const uint8_t *coarse, const uint8_t *steps, const float *row_steps, size_t k_pad,
                         const tern_screen_x *x, float *y) {
    const __m256i byte = _mm256_set1_epi32(255);
    const int8_t *digits = x->digits;
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (size_t quad = 0; quad < k_pad / TERN_SCREEN_COLS; quad++, steps += 64) {
        __m256i u[2] = {_mm256_loadu_si256((const __m256i *)steps), _mm256_loadu_si256((const __m256i *)(steps + 32))};
        for (size_t b = 0; b < 4; b++, coarse += 256, digits += 64) {
            __m256i dots[2];
            coarse_block(coarse, digits, x->sums[4 * quad + b], dots);
            UNROLL for (size_t half = 0; half < 2; half++) {
                __m256 step = _mm256_cvtepi32_ps(_mm256_and_si256(u[half], byte));
                sum[half] = _mm256_fmadd_ps(step, _mm256_cvtepi32_ps(dots[half]), sum[half]);
                u[half] = _mm256_srli_epi32(u[half], 8);
            }
        }
    }
    UNROLL for (size_t half = 0; half < 2; half++) {
        __m256 scaled = _mm256_mul_ps(sum[half], _mm256_loadu_ps(row_steps + 8 * half));
        _mm256_storeu_ps(y + 8 * half, _mm256_fmadd_ps(scaled, _mm256_set1_ps(x->step), _mm256_set1_ps(x->offset)));
    }
}

static void screen_coarse(const uint8_t *coarse, const uint8_t *steps, const float *row_steps, size_t k_pad,
                          size_t n_groups, const tern_screen_x *x, size_t n_tokens, float *y, size_t ld_y) {
    for (size_t g = 0; g < n_groups; g++) {
        for (size_t t = 0; t < n_tokens; t++)
            coarse_group(coarse, steps, row_steps, k_pad, &x[t], y + t * ld_y);
        coarse += tern_screen_coarse_bytes(k_pad);
        steps += tern_screen_step_bytes(k_pad);
        row_steps += TERN_SCREEN_ROWS;
        y += TERN_SCREEN_ROWS;
    }
}

/* E of one block and 16 rows -> dots[2]. A 16-bit lane sums 4 products of at most 62 * 128: 31744. */
INLINE void both_block(const uint8_t *coarse, const uint8_t *fine, const int8_t *digits, int32_t sum, __m256i dots[2]) {
    const __m256i high_bits = _mm256_set1_epi8(0x3c), two = _mm256_set1_epi8(2), ones = _mm256_set1_epi16(1);
    UNROLL for (size_t half = 0; half < 2; half++) {
        __m256i high = _mm256_setzero_si256(), low = _mm256_set1_epi32(sum);
        __m256i bits = _mm256_loadu_si256((const __m256i *)(fine + 32 * half));
        UNROLL for (int chunk = 0; chunk < 4; chunk++) {
            const int8_t *x = digits + 16 * chunk;
            __m256i pair = _mm256_loadu_si256((const __m256i *)(coarse + 64 * chunk + 32 * half));
            __m256i even = chunk ? _mm256_srli_epi16(bits, 2 * chunk - 1) : _mm256_add_epi8(bits, bits);
            __m256i odd = _mm256_srli_epi16(bits, 2 * chunk);
            __m256i first =
                _mm256_or_si256(_mm256_and_si256(_mm256_slli_epi16(pair, 2), high_bits), _mm256_and_si256(even, two));
            __m256i second =
                _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(pair, 2), high_bits), _mm256_and_si256(odd, two));
            __m256i of_high =
                _mm256_add_epi16(_mm256_maddubs_epi16(first, four(x)), _mm256_maddubs_epi16(second, four(x + 8)));
            __m256i of_low =
                _mm256_add_epi16(_mm256_maddubs_epi16(first, four(x + 4)), _mm256_maddubs_epi16(second, four(x + 12)));
            high = _mm256_add_epi32(high, _mm256_madd_epi16(of_high, ones));
            low = _mm256_add_epi32(low, _mm256_madd_epi16(of_low, ones));
        }
        dots[half] = _mm256_add_epi32(_mm256_slli_epi32(high, 8), low);
    }
}

/* One group, one token. */
INLINE void both_group(const uint8_t *coarse, const uint8_t *fine, const uint8_t *steps, const float *row_steps,
                       size_t k_pad, const tern_screen_x *x, float *y) {
    const __m256i byte = _mm256_set1_epi32(255);
    const int8_t *digits = x->digits;
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (size_t quad = 0; quad < k_pad / TERN_SCREEN_COLS; quad++, steps += 64) {
        __m256i u[2] = {_mm256_loadu_si256((const __m256i *)steps), _mm256_loadu_si256((const __m256i *)(steps + 32))};
        for (size_t b = 0; b < 4; b++, coarse += 256, fine += 64, digits += 64) {
            __m256i dots[2];
            both_block(coarse, fine, digits, x->both_sums[4 * quad + b], dots);
            UNROLL for (size_t half = 0; half < 2; half++) {
                __m256 step = _mm256_cvtepi32_ps(_mm256_and_si256(u[half], byte));
                sum[half] = _mm256_fmadd_ps(step, _mm256_cvtepi32_ps(dots[half]), sum[half]);
                u[half] = _mm256_srli_epi32(u[half], 8);
            }
        }
    }
    __m256 step = _mm256_set1_ps(x->step * 0.25f);
    UNROLL for (size_t half = 0; half < 2; half++) {
        __m256 scaled = _mm256_mul_ps(sum[half], _mm256_loadu_ps(row_steps + 8 * half));
        _mm256_storeu_ps(y + 8 * half, _mm256_fmadd_ps(scaled, step, _mm256_set1_ps(x->offset)));
    }
}

static void screen_both(const uint8_t *coarse, const uint8_t *fine, const uint8_t *steps, const float *row_steps,
                        size_t k_pad, size_t n_groups, const tern_screen_x *x, size_t n_tokens, float *y, size_t ld_y) {
    for (size_t g = 0; g < n_groups; g++) {
        for (size_t t = 0; t < n_tokens; t++)
            both_group(coarse, fine, steps, row_steps, k_pad, &x[t], y + t * ld_y);
        coarse += tern_screen_coarse_bytes(k_pad);
        fine += tern_screen_fine_bytes(k_pad);
        steps += tern_screen_step_bytes(k_pad);
        row_steps += TERN_SCREEN_ROWS;
        y += TERN_SCREEN_ROWS;
    }
}

/* The sum of u (2 l - 1) Z for 8 rows. A bit is 0 or 2, so that a block's sum from -sum(Z) on is that of (2 l - 1) Z;
 * it fits 16 bits, as do its two halves in a row's lane. */
INLINE __m256i fine_half(const uint8_t *fine, const uint8_t *steps, size_t k_pad, const tern_screen_x *x) {
    const __m256i two = _mm256_set1_epi8(2);
    __m256i total = _mm256_setzero_si256();
    for (size_t block = 0; block < k_pad / TERN_SCREEN_BLOCK; block++) {
        const int8_t *z = x->fine + block * TERN_SCREEN_BLOCK;
        __m256i bits = _mm256_loadu_si256((const __m256i *)(fine + block * 64));
        __m256i sum = _mm256_set1_epi32(x->fine_sums[block] & 0xffff);
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(_mm256_and_si256(_mm256_add_epi8(bits, bits), two), four(z)));
        UNROLL for (int i = 1; i < 8; i++) {
            __m256i bit = _mm256_and_si256(_mm256_srli_epi16(bits, i - 1), two);
            sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(bit, four(z + 4 * i)));
        }
        __m256i u = _mm256_loadu_si256((const __m256i *)(steps + block / 4 * 64));
        u = _mm256_and_si256(_mm256_srl_epi32(u, _mm_cvtsi32_si128((int)(block % 4 * 8))), _mm256_set1_epi32(255));
        u = _mm256_or_si256(u, _mm256_slli_epi32(u, 16));
        total = _mm256_add_epi32(total, _mm256_madd_epi16(sum, u));
    }
    return total;
}

static void screen_fine(const uint8_t *fine, const uint8_t *steps, const float *row_steps, size_t k_pad,
                        const tern_screen_x *x, size_t n_tokens, float *const *y) {
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t row = 0; row < TERN_SCREEN_ROWS; row += 8) {
            __m256 sum = _mm256_cvtepi32_ps(fine_half(fine + 4 * row, steps + 4 * row, k_pad, &x[t]));
            __m256 scaled = _mm256_mul_ps(sum, _mm256_loadu_ps(row_steps + row));
            __m256 step = _mm256_set1_ps(x[t].half_fine_step);
            _mm256_storeu_ps(y[t] + row, _mm256_fmadd_ps(scaled, step, _mm256_loadu_ps(y[t] + row)));
        }
}

static void screen_peaks(const float *y, const float *bonus, size_t n_groups, float *peaks) {
    for (size_t g = 0; g < n_groups; g++) {
        size_t i = g * TERN_SCREEN_ROWS;
        __m256 a = _mm256_loadu_ps(y + i), b = _mm256_loadu_ps(y + i + 8);
        if (bonus) {
            a = _mm256_add_ps(a, _mm256_loadu_ps(bonus + i));
            b = _mm256_add_ps(b, _mm256_loadu_ps(bonus + i + 8));
        }
        /* max(a, b) is b if one is NaN */
        __m256 least = _mm256_set1_ps(-INFINITY);
        __m256 r8 = _mm256_max_ps(_mm256_max_ps(a, least), _mm256_max_ps(b, least));
        __m128 r4 = _mm_max_ps(_mm256_castps256_ps128(r8), _mm256_extractf128_ps(r8, 1));
        __m128 r2 = _mm_max_ps(r4, _mm_movehl_ps(r4, r4));
        peaks[g] = _mm_cvtss_f32(_mm_max_ss(r2, _mm_movehdup_ps(r2)));
    }
}

static void screen_keep(const float *y, const float *bonus, const float *coarse_errors, const float *fine_errors,
                        const float *norms, const float c[4], float least, size_t n_groups, uint16_t *masks) {
    __m256 c0 = _mm256_set1_ps(c[0]), c1 = _mm256_set1_ps(c[1]), c2 = _mm256_set1_ps(c[2]), c3 = _mm256_set1_ps(c[3]);
    for (size_t g = 0; g < n_groups; g++) {
        unsigned mask = 0;
        for (size_t half = 0; half < 2; half++) {
            size_t i = g * TERN_SCREEN_ROWS + 8 * half;
            __m256 bound = _mm256_fmadd_ps(_mm256_loadu_ps(norms + i), c2, c3);
            bound = _mm256_fmadd_ps(_mm256_loadu_ps(fine_errors + i), c1, bound);
            bound = _mm256_fmadd_ps(_mm256_loadu_ps(coarse_errors + i), c0, bound);
            __m256 top = _mm256_add_ps(_mm256_loadu_ps(y + i), bound);
            if (bonus)
                top = _mm256_add_ps(top, _mm256_loadu_ps(bonus + i));
            __m256 kept = _mm256_cmp_ps(top, _mm256_set1_ps(least), _CMP_NLT_UQ);
            mask |= (unsigned)_mm256_movemask_ps(kept) << 8 * half;
        }
        masks[g] = (uint16_t)mask;
    }
}

const tern_screen_kernels tern_screen_kernels_avx2 = {
    .pack_group = tern_screen_pack_group_avx2,
    .coarse = screen_coarse,
    .both = screen_both,
    .fine = screen_fine,
    .peaks = screen_peaks,
    .keep = screen_keep,
};
