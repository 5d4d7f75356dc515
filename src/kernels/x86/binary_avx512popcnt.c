/* Binary weights times signs on AVX-512 VPOPCNTDQ: a word of 32 signs against one of each of 16 rows, an instruction
 * each for the XOR, the count and the addition of 512 products. */
#include <immintrin.h>

#include "kernels/rungs.h"

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

TERN_DECLARE_SIGNS(avx512popcnt);

enum { TILE_TOKENS = 4, PREFETCH_BYTES = 4096 };

/* One group, n_tokens (constant) tokens. */
static inline __attribute__((always_inline)) void tile(const uint8_t *w, size_t k, const uint32_t *signs,
                                                       size_t ld_signs, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    __m512i differ[TILE_TOKENS];
    UNROLL for (size_t t = 0; t < n_tokens; t++) differ[t] = _mm512_setzero_si512();
    for (size_t b = 0; b < tern_sign_words(k); b++, w += 64) {
        _mm_prefetch((const char *)w + PREFETCH_BYTES, _MM_HINT_T0);
        __m512i block = _mm512_loadu_si512(w);
        UNROLL for (size_t t = 0; t < n_tokens; t++) {
            __m512i other = _mm512_xor_si512(block, _mm512_set1_epi32((int32_t)signs[t * ld_signs + b]));
            differ[t] = _mm512_add_epi32(differ[t], _mm512_popcnt_epi32(other));
        }
    }
    UNROLL for (size_t t = 0; t < n_tokens; t++) _mm512_storeu_si512(
        acc + t * ld_acc, _mm512_sub_epi32(_mm512_set1_epi32((int32_t)k), _mm512_slli_epi32(differ[t], 1)));
}

void tern_matmul_signs_b1_avx512popcnt(const uint8_t *w, size_t k, size_t n_groups, const uint32_t *signs,
                                       size_t ld_signs, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    for (size_t g = 0; g < n_groups; g++, w += tern_sign_words(k) * 64, acc += TERN_GROUP_ROWS) {
        size_t t = 0;
        for (; t + TILE_TOKENS <= n_tokens; t += TILE_TOKENS)
            tile(w, k, signs + t * ld_signs, ld_signs, TILE_TOKENS, acc + t * ld_acc, ld_acc);
        for (; t < n_tokens; t++)
            tile(w, k, signs + t * ld_signs, ld_signs, 1, acc + t * ld_acc, ld_acc);
    }
}
