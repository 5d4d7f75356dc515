/* The head screen (kernels/screen.h) on AVX-512 VNNI: 16 rows x 4 columns a vector. */
#include <immintrin.h>

#define SCREEN_PACK tern_screen_pack_group_avx512vnni
#include "kernels/screen_pack_tmpl.c"

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

enum {
    TILE = 4,              /* tokens that share an unpacked vector: 8 integer and 4 float accumulators */
    PREFETCH_BYTES = 4096, /* ahead; the hardware's own reach ends at the page */
    BOTH_PREFETCH_BYTES = 8192
};

/* _mm512_dpbusd_epi32(); but from that GCC 12 makes copies of the sums. */
INLINE __m512i dot(__m512i sum, __m512i digits, __m512i x) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(digits), "v"(x));
    return sum;
}

INLINE __m512i four(const int8_t *digits) {
    int32_t word;
    memcpy(&word, digits, 4);
    return _mm512_set1_epi32(word);
}

/* One group, n_tokens (constant) tokens. */
INLINE void coarse_tile(const uint8_t *coarse, const uint8_t *steps, const float *row_steps, size_t k_pad,
                        const tern_screen_x *x, size_t n_tokens, float *y, size_t ld_y, bool ahead) {
    const __m512i nibble = _mm512_set1_epi8(15), byte = _mm512_set1_epi32(255);
    __m512 sum[TILE];
    UNROLL for (size_t t = 0; t < n_tokens; t++) sum[t] = _mm512_setzero_ps();
    for (size_t quad = 0; quad < k_pad / TERN_SCREEN_COLS; quad++, steps += 64) {
        __m512i u = _mm512_loadu_si512(steps);
        for (size_t b = 0; b < 4; b++) {
            size_t block = 4 * quad + b;
            __m512i high[TILE], low[TILE];
            UNROLL for (size_t t = 0; t < n_tokens; t++) {
                high[t] = _mm512_setzero_si512();
                low[t] = _mm512_set1_epi32(x[t].sums[block]);
            }
            UNROLL for (size_t chunk = 0; chunk < 4; chunk++, coarse += 64) {
                if (ahead)
                    _mm_prefetch((const char *)coarse + PREFETCH_BYTES, _MM_HINT_T0);
                __m512i both = _mm512_loadu_si512(coarse);
                __m512i first = _mm512_and_si512(both, nibble);
                __m512i second = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble);
                UNROLL for (size_t t = 0; t < n_tokens; t++) {
                    const int8_t *digits = x[t].digits + (4 * block + chunk) * 16;
                    high[t] = dot(high[t], first, four(digits));
                    low[t] = dot(low[t], first, four(digits + 4));
                    high[t] = dot(high[t], second, four(digits + 8));
                    low[t] = dot(low[t], second, four(digits + 12));
                }
            }
            __m512 step = _mm512_cvtepi32_ps(_mm512_and_si512(u, byte));
            u = _mm512_srli_epi32(u, 8);
            UNROLL for (size_t t = 0; t < n_tokens; t++) {
                __m512i dot = _mm512_add_epi32(_mm512_slli_epi32(high[t], 8), low[t]);
                sum[t] = _mm512_fmadd_ps(step, _mm512_cvtepi32_ps(dot), sum[t]);
            }
        }
    }
    __m512 scale = _mm512_loadu_ps(row_steps);
    UNROLL for (size_t t = 0; t < n_tokens; t++) {
        __m512 scaled = _mm512_mul_ps(sum[t], scale);
        _mm512_storeu_ps(y + t * ld_y, _mm512_fmadd_ps(scaled, _mm512_set1_ps(x[t].step), _mm512_set1_ps(x[t].offset)));
    }
}

static void screen_coarse(const uint8_t *coarse, const uint8_t *steps, const float *row_steps, size_t k_pad,
                          size_t n_groups, const tern_screen_x *x, size_t n_tokens, float *y, size_t ld_y) {
    for (size_t g = 0; g < n_groups; g++) {
        size_t t = 0;
        for (; t + TILE <= n_tokens; t += TILE)
            coarse_tile(coarse, steps, row_steps, k_pad, x + t, TILE, y + t * ld_y, ld_y, t == 0);
        switch (n_tokens - t) {
        case 1:
            coarse_tile(coarse, steps, row_steps, k_pad, x + t, 1, y + t * ld_y, ld_y, t == 0);
            break;
        case 2:
            coarse_tile(coarse, steps, row_steps, k_pad, x + t, 2, y + t * ld_y, ld_y, t == 0);
            break;
        case 3:
            coarse_tile(coarse, steps, row_steps, k_pad, x + t, 3, y + t * ld_y, ld_y, t == 0);
            break;
        default:
            break;
        }
        coarse += tern_screen_coarse_bytes(k_pad);
        steps += tern_screen_step_bytes(k_pad);
        row_steps += TERN_SCREEN_ROWS;
        y += TERN_SCREEN_ROWS;
    }
}

/* (a & mask) | b */
#define BOTH(a, mask, b) _mm512_ternarylogic_epi64(a, mask, b, 0xea)

/* One group of both planes, n_tokens (constant) tokens. Bit i of the fine plane's bytes belongs to vector i of a
 * block's eight: 2 q = 4 h + 2 l is the unsigned operand. */
INLINE void both_tile(const uint8_t *coarse, const uint8_t *fine, const uint8_t *steps, const float *row_steps,
                      size_t k_pad, const tern_screen_x *x, size_t n_tokens, float *y, size_t ld_y, bool ahead) {
    const __m512i high_bits = _mm512_set1_epi8(0x3c), two = _mm512_set1_epi8(2), byte = _mm512_set1_epi32(255);
    __m512 sum[TILE];
    UNROLL for (size_t t = 0; t < n_tokens; t++) sum[t] = _mm512_setzero_ps();
    for (size_t quad = 0; quad < k_pad / TERN_SCREEN_COLS; quad++, steps += 64) {
        __m512i u = _mm512_loadu_si512(steps);
        for (size_t b = 0; b < 4; b++, fine += 64) {
            size_t block = 4 * quad + b;
            __m512i high[TILE], low[TILE], bits = _mm512_loadu_si512(fine);
            if (ahead)
                _mm_prefetch((const char *)fine + BOTH_PREFETCH_BYTES / 4, _MM_HINT_T0);
            UNROLL for (size_t t = 0; t < n_tokens; t++) {
                high[t] = _mm512_setzero_si512();
                low[t] = _mm512_set1_epi32(x[t].both_sums[block]);
            }
            UNROLL for (unsigned chunk = 0; chunk < 4; chunk++, coarse += 64) {
                if (ahead)
                    _mm_prefetch((const char *)coarse + BOTH_PREFETCH_BYTES, _MM_HINT_T0);
                __m512i pair = _mm512_loadu_si512(coarse);
                __m512i even = chunk ? _mm512_srli_epi16(bits, 2 * chunk - 1) : _mm512_add_epi8(bits, bits);
                __m512i odd = _mm512_srli_epi16(bits, 2 * chunk);
                __m512i first = BOTH(_mm512_slli_epi16(pair, 2), high_bits, _mm512_and_si512(even, two));
                __m512i second = BOTH(_mm512_srli_epi16(pair, 2), high_bits, _mm512_and_si512(odd, two));
                UNROLL for (size_t t = 0; t < n_tokens; t++) {
                    const int8_t *digits = x[t].digits + (4 * block + chunk) * 16;
                    high[t] = dot(high[t], first, four(digits));
                    low[t] = dot(low[t], first, four(digits + 4));
                    high[t] = dot(high[t], second, four(digits + 8));
                    low[t] = dot(low[t], second, four(digits + 12));
                }
            }
            __m512 step = _mm512_cvtepi32_ps(_mm512_and_si512(u, byte));
            u = _mm512_srli_epi32(u, 8);
            UNROLL for (size_t t = 0; t < n_tokens; t++) {
                __m512i dot = _mm512_add_epi32(_mm512_slli_epi32(high[t], 8), low[t]);
                sum[t] = _mm512_fmadd_ps(step, _mm512_cvtepi32_ps(dot), sum[t]);
            }
        }
    }
    __m512 scale = _mm512_loadu_ps(row_steps);
    UNROLL for (size_t t = 0; t < n_tokens; t++) {
        __m512 scaled = _mm512_mul_ps(sum[t], scale), step = _mm512_set1_ps(x[t].step * 0.25f);
        _mm512_storeu_ps(y + t * ld_y, _mm512_fmadd_ps(scaled, step, _mm512_set1_ps(x[t].offset)));
    }
}

static void screen_both(const uint8_t *coarse, const uint8_t *fine, const uint8_t *steps, const float *row_steps,
                        size_t k_pad, size_t n_groups, const tern_screen_x *x, size_t n_tokens, float *y, size_t ld_y) {
    for (size_t g = 0; g < n_groups; g++) {
        size_t t = 0;
        for (; t + TILE <= n_tokens; t += TILE)
            both_tile(coarse, fine, steps, row_steps, k_pad, x + t, TILE, y + t * ld_y, ld_y, t == 0);
        switch (n_tokens - t) {
        case 1:
            both_tile(coarse, fine, steps, row_steps, k_pad, x + t, 1, y + t * ld_y, ld_y, t == 0);
            break;
        case 2:
            both_tile(coarse, fine, steps, row_steps, k_pad, x + t, 2, y + t * ld_y, ld_y, t == 0);
            break;
        case 3:
            both_tile(coarse, fine, steps, row_steps, k_pad, x + t, 3, y + t * ld_y, ld_y, t == 0);
            break;
        default:
            break;
        }
        coarse += tern_screen_coarse_bytes(k_pad);
        fine += tern_screen_fine_bytes(k_pad);
        steps += tern_screen_step_bytes(k_pad);
        row_steps += TERN_SCREEN_ROWS;
        y += TERN_SCREEN_ROWS;
    }
}

/* A bit is 0 or 2 as vpdpbusd's unsigned operand, so that a block's sum from -sum(Z) on is that of (2 l - 1) Z. It is
 * at most 32 * 127 and its product with u a pair of 16-bit factors of which the second is 0. n_tokens is constant. */
INLINE void fine_tile(const uint8_t *fine, const uint8_t *steps, const float *row_steps, size_t k_pad,
                      const tern_screen_x *x, size_t n_tokens, float *const *y) {
    const __m512i two = _mm512_set1_epi8(2), byte = _mm512_set1_epi32(255);
    __m512i total[TILE];
    UNROLL for (size_t t = 0; t < n_tokens; t++) total[t] = _mm512_setzero_si512();
    for (size_t quad = 0; quad < k_pad / TERN_SCREEN_COLS; quad++, steps += 64) {
        __m512i u = _mm512_loadu_si512(steps);
        for (size_t b = 0; b < 4; b++, fine += 64) {
            size_t block = 4 * quad + b;
            __m512i bits = _mm512_loadu_si512(fine), even[TILE], odd[TILE];
            UNROLL for (size_t t = 0; t < n_tokens; t++) {
                even[t] = _mm512_set1_epi32(x[t].fine_sums[block]);
                odd[t] = _mm512_setzero_si512();
            }
            UNROLL for (size_t i = 0; i < 8; i += 2) {
                __m512i moved = i ? _mm512_srli_epi16(bits, (unsigned)i - 1) : _mm512_add_epi8(bits, bits);
                __m512i first = _mm512_and_si512(moved, two);
                __m512i second = _mm512_and_si512(_mm512_srli_epi16(bits, (unsigned)i), two);
                UNROLL for (size_t t = 0; t < n_tokens; t++) {
                    const int8_t *z = x[t].fine + block * TERN_SCREEN_BLOCK + 4 * i;
                    even[t] = dot(even[t], first, four(z));
                    odd[t] = dot(odd[t], second, four(z + 4));
                }
            }
            __m512i step = _mm512_and_si512(u, byte);
            UNROLL for (size_t t = 0; t < n_tokens; t++) total[t] =
                _mm512_dpwssd_epi32(total[t], _mm512_add_epi32(even[t], odd[t]), step);
            u = _mm512_srli_epi32(u, 8);
        }
    }
    __m512 scale = _mm512_loadu_ps(row_steps);
    UNROLL for (size_t t = 0; t < n_tokens; t++) {
        __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(total[t]), scale);
        _mm512_storeu_ps(y[t], _mm512_fmadd_ps(scaled, _mm512_set1_ps(x[t].half_fine_step), _mm512_loadu_ps(y[t])));
    }
}

static void screen_fine(const uint8_t *fine, const uint8_t *steps, const float *row_steps, size_t k_pad,
                        const tern_screen_x *x, size_t n_tokens, float *const *y) {
    for (; n_tokens >= TILE; n_tokens -= TILE, x += TILE, y += TILE)
        fine_tile(fine, steps, row_steps, k_pad, x, TILE, y);
    switch (n_tokens) {
    case 1:
        fine_tile(fine, steps, row_steps, k_pad, x, 1, y);
        break;
    case 2:
        fine_tile(fine, steps, row_steps, k_pad, x, 2, y);
        break;
    case 3:
        fine_tile(fine, steps, row_steps, k_pad, x, 3, y);
        break;
    default:
        break;
    }
}

static void screen_peaks(const float *y, const float *bonus, size_t n_groups, float *peaks) {
    for (size_t g = 0; g < n_groups; g++) {
        __m512 value = _mm512_loadu_ps(y + g * TERN_SCREEN_ROWS);
        if (bonus)
            value = _mm512_add_ps(value, _mm512_loadu_ps(bonus + g * TERN_SCREEN_ROWS));
        /* max(a, b) is b if one is NaN */
        value = _mm512_max_ps(value, _mm512_set1_ps(-INFINITY));
        peaks[g] = _mm512_reduce_max_ps(value);
    }
}

static void screen_keep(const float *y, const float *bonus, const float *coarse_errors, const float *fine_errors,
                        const float *norms, const float c[4], float least, size_t n_groups, uint16_t *masks) {
    __m512 c0 = _mm512_set1_ps(c[0]), c1 = _mm512_set1_ps(c[1]), c2 = _mm512_set1_ps(c[2]), c3 = _mm512_set1_ps(c[3]);
    for (size_t g = 0; g < n_groups; g++) {
        size_t i = g * TERN_SCREEN_ROWS;
        __m512 bound = _mm512_fmadd_ps(_mm512_loadu_ps(norms + i), c2, c3);
        bound = _mm512_fmadd_ps(_mm512_loadu_ps(fine_errors + i), c1, bound);
        bound = _mm512_fmadd_ps(_mm512_loadu_ps(coarse_errors + i), c0, bound);
        __m512 top = _mm512_add_ps(_mm512_loadu_ps(y + i), bound);
        if (bonus)
            top = _mm512_add_ps(top, _mm512_loadu_ps(bonus + i));
        masks[g] = (uint16_t)_mm512_cmp_ps_mask(top, _mm512_set1_ps(least), _CMP_NLT_UQ);
    }
}

const tern_screen_kernels tern_screen_kernels_avx512vnni = {
    .pack_group = tern_screen_pack_group_avx512vnni,
    .coarse = screen_coarse,
    .both = screen_both,
    .fine = screen_fine,
    .peaks = screen_peaks,
    .keep = screen_keep,
};
