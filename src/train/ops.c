#include "train/ops.h"

#include <string.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "train/ops_rows.h"

/* ---------------------------------------------------------------- choice */

extern const tern_row_math tern_row_math_ref;
#if defined(__x86_64__)
extern const tern_row_math tern_row_math_avx2, tern_row_math_avx512vnni;
#elif defined(__aarch64__)
extern const tern_row_math tern_row_math_neon;
#endif

const tern_row_math *tern_row_math_choose(unsigned features) {
    static const tern_row_math *const ladder[] = {
#if defined(__x86_64__)
        &tern_row_math_avx512vnni,
        &tern_row_math_avx2,
#elif defined(__aarch64__)
        &tern_row_math_neon,
#endif
        &tern_row_math_ref,
    };
    size_t i = 0;
    while (ladder[i]->features & ~features)
        i++;
    return ladder[i];
}

static const tern_ternary *find_t2r16(const tern_kernels *kernels) {
    size_t i = 0; /* every rung has it (kernels/ladder.c) */
    while (kernels->ternary[i]->packing != &tern_packing_t2r16)
        i++;
    return kernels->ternary[i];
}

/* ---------------------------------------------------------------- memory */

/* Floats of logits that a chunk of tokens may take, at least MIN_CHUNK tokens' (ops_head.c). */
#define CHUNK_LOGITS ((size_t)4 << 20)
enum { MIN_CHUNK = 96, LINE = 64 };

static size_t largest(size_t a, size_t b) { return a > b ? a : b; }

static size_t worker_bytes(const tern_dims *dims) {
    size_t row = tern_lora_bytes(tern_widest(dims)); /* more than one row of floats */
    size_t linear = (size_t)TERN_LINEAR_ROWS * (TERN_LINEAR_TOKENS + 1) * sizeof(int32_t);
    size_t trits = TERN_GROUP_ROWS * tern_widest(dims);
    size_t attention = largest(tern_attention_forward_bytes(dims), tern_attention_backward_bytes(dims));
    return tern_round_up(largest(largest(row, trits), largest(linear, attention)), LINE);
}

/* False if it does not fit. */
static bool shared_floats(const tern_dims *dims, size_t max_tokens, size_t *n) {
    size_t norm, logits = CHUNK_LOGITS, least;
    size_t blocks = max_tokens / TERN_NORM_TOKENS + 1;
    if (!tern_mul_size(blocks, tern_widest(dims), &norm) || !tern_mul_size(dims->vocab_size, MIN_CHUNK, &least))
        return false;
    *n = tern_round_up(largest(norm, largest(logits, least)), LINE / sizeof(float));
    return true;
}

static size_t widest(const tern_dims *dims) { return largest(dims->vocab_size, tern_widest(dims)); }

size_t tern_ops_scratch(const tern_dims *dims, size_t max_tokens, int threads) {
    size_t n_shared, shared, workers, gemm = tern_gemm_scratch(widest(dims), threads);
    if (!shared_floats(dims, max_tokens, &n_shared) || !tern_mul_size(n_shared, sizeof(float), &shared) ||
        !tern_mul_size(worker_bytes(dims), (size_t)threads, &workers) || shared > SIZE_MAX - workers ||
        shared + workers > SIZE_MAX - gemm)
        return SIZE_MAX;
    return shared + workers + gemm;
}

tern_status tern_ops_create(const char *cpu, const tern_dims *dims, size_t max_tokens, tern_pool *pool, tern_ops *ops,
                            tern_error *err) {
    *ops = (tern_ops){.pool = pool, .max_tokens = max_tokens};
    tern_status status = tern_kernels_choose(cpu, &ops->kernels, err);
    if (status)
        return status;
    ops->ternary = find_t2r16(ops->kernels);
    /* Kernels were chosen for a reason: products and rows use no more than they, but for bf16, which has no rung. */
    unsigned features = ops->kernels->features;
    if (features & TERN_CPU_AVX512)
        features |= tern_cpu_features() & TERN_CPU_AVX512BF16;
    ops->gemm = tern_gemm_choose(features);
    ops->rows = tern_row_math_choose(features);

    int threads = tern_pool_threads(pool);
    ops->scratch_bytes = tern_ops_scratch(dims, max_tokens, threads);
    ops->scratch = ops->scratch_bytes < SIZE_MAX ? tern_aligned_alloc(ops->scratch_bytes) : NULL;
    if (!ops->scratch)
        return tern_fail(err, TERN_ERR_MEMORY,
                         "out of memory for steps of %zu tokens; a smaller micro batch needs less", max_tokens);
    shared_floats(dims, max_tokens, &ops->n_shared);
    ops->worker_bytes = worker_bytes(dims);
    ops->shared = ops->scratch;
    ops->worker_scratch = (uint8_t *)(ops->shared + ops->n_shared);
    ops->gemm_scratch = ops->worker_scratch + (size_t)threads * ops->worker_bytes;
    return TERN_OK;
}

void tern_ops_free(tern_ops *ops) {
    tern_aligned_free(ops->scratch);
    *ops = (tern_ops){0};
}
