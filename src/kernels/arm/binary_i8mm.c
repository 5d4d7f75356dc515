/* Binary weights times int8: few tokens as with the dot product, many with the matrix multiply. */
#include "kernels/arm/ternary.h"
#include "kernels/binary_many.h"

TERN_DECLARE_MATMUL_OF(b1, dotprod);
TERN_DECLARE_MATMUL_OF(b1, i8mm);

enum { FEW_TOKENS = 2 };

void tern_matmul_i8_b1_i8mm(const uint8_t *w, size_t k_pad, size_t n_groups, const int8_t *q, size_t ld_q,
                            const int32_t *q_sum, size_t n_tokens, int32_t *acc, size_t ld_acc) {
    if (n_tokens <= FEW_TOKENS)
        tern_matmul_i8_b1_dotprod(w, k_pad, n_groups, q, ld_q, q_sum, n_tokens, acc, ld_acc);
    else
        tern_binary_many(tern_matmul_i8_t2_i8mm, w, k_pad, n_groups, q, ld_q, q_sum, n_tokens, acc, ld_acc);
}
