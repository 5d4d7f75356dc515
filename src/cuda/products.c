#include "cuda/products.h"

#include "cuda/layout.h"

typedef struct way {
    uint32_t most_tokens; /* for which it is taken */
    tern_cuda_kernel kernel;
    uint32_t groups, gated_groups, tokens, threads; /* of a block; gated: groups of each of the two matrices */
} way;

static const way ways[] = {
    {TERN_CUDA_GEMV_MOST, TERN_CUDA_KERNEL_gemv, 1, 1, 1, TERN_CUDA_GEMV_THREADS},
    {TERN_CUDA_FEW_MOST, TERN_CUDA_KERNEL_gemm_few, TERN_CUDA_FEW_GROUPS, TERN_CUDA_FEW_GROUPS / 2,
     TERN_CUDA_FEW_TOKENS, TERN_CUDA_FEW_THREADS},
    {UINT32_MAX, TERN_CUDA_KERNEL_gemm, TERN_CUDA_GEMM_GROUPS, TERN_CUDA_GEMM_GROUPS / 2, TERN_CUDA_GEMM_TOKENS,
     TERN_CUDA_GEMM_THREADS},
};

tern_cuda_products tern_cuda_plan_products(const tern_cuda_linear_args *args) {
    bool gated = args->mode == TERN_CUDA_RELU2 || args->mode == TERN_CUDA_SILU;
    const tern_cuda_matrix *last = &args->matrices[gated ? 0 : args->n_matrices - 1];
    uint32_t n_groups = last->first_group + (uint32_t)tern_cuda_n_groups(last->rows);
    const way *taken = ways;
    while (args->n_tokens > taken->most_tokens)
        taken++;
    return (tern_cuda_products){.kernel = taken->kernel,
                                .grid = {tern_cuda_blocks(n_groups, gated ? taken->gated_groups : taken->groups),
                                         tern_cuda_blocks(args->n_tokens, taken->tokens), 1},
                                .threads = taken->threads};
}
