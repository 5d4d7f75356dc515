/* How the products of matrices and a batch of tokens are launched: which kernel, and how many blocks of it. */
#ifndef TERN_CUDA_PRODUCTS_H
#define TERN_CUDA_PRODUCTS_H

#include "cuda/device.h"

typedef struct tern_cuda_products {
    tern_cuda_kernel kernel;
    tern_cuda_grid grid;
    uint32_t threads; /* of a block */
} tern_cuda_products;

/* So many that n pieces are all taken. */
static inline uint32_t tern_cuda_blocks(uint32_t n, uint32_t per_block) { return n / per_block + (n % per_block != 0); }

/* Up to TERN_CUDA_GEMV_MOST tokens: gemv, whose blocks read the weights anew for each token; up to
 * TERN_CUDA_FEW_MOST: gemm_few, which reads them once for 32 tokens; else gemm. What is best where is reckoned, not
 * measured: with 4 tokens the GEMV's reading costs more than tensor cores that are half idle, and from 128 rows by 65
 * tokens on arithmetic takes longer than reading. All give the same bits. */
enum { TERN_CUDA_GEMV_MOST = 3, TERN_CUDA_FEW_MOST = 64 };

/* args: matrices, their number and first groups, n_tokens and mode. n_tokens is at least 1 and at most 65535. */
tern_cuda_products tern_cuda_plan_products(const tern_cuda_linear_args *args);

#endif
