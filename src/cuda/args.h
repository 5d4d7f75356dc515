/*
 * What the host and the kernels agree on: the kernels' names and their arguments. Every kernel takes one structure by
 * value. All pointers are device addresses. Read by the C compiler, by nvcc, and by the tests' emulator.
 *
 * Activations of BitLinears, as `tern_cuda_input` has them, are int8 [n][k_pad], k_pad a multiple of TERN_CUDA_COLS,
 * zeros behind the columns; scale s and sum of each token as quantize_i8 of kernels/kernels.h gives them.
 */
#ifndef TERN_CUDA_ARGS_H
#define TERN_CUDA_ARGS_H

#include <stdint.h>

/* The kernels: `extern "C" __global__ void tern_cuda_NAME(tern_cuda_NAME_args args)`. */
#define TERN_CUDA_KERNELS(X)                                                                                           \
    X(norm)                                                                                                            \
    X(quantize)                                                                                                        \
    X(gemv)                                                                                                            \
    X(gemv_norm)                                                                                                       \
    X(gemm)                                                                                                            \
    X(gemm_few)                                                                                                        \
    X(rope_store)                                                                                                      \
    X(attend_splits)                                                                                                   \
    X(attend_merge)                                                                                                    \
    X(attend_whole)                                                                                                    \
    X(head)                                                                                                            \
    X(select_peaks)                                                                                                    \
    X(select_cut)                                                                                                      \
    X(select_rows)

typedef struct tern_cuda_input {
    int8_t *q;
    float *scale; /* [n] */
    int32_t *sum; /* [n] */
    uint32_t k_pad;
} tern_cuda_input;

/* A grid of n blocks (tokens). out [n][size] = RMSNorm(x; gain); out may be x. */
typedef struct tern_cuda_norm_args {
    const float *x, *gain;
    float *out;
    uint32_t size;
    float eps;
} tern_cuda_norm_args;

/* A grid of n blocks. RMSNorm of x [n][size] (gain NULL: none), quantised. */
typedef struct tern_cuda_quantize_args {
    const float *x, *gain;
    tern_cuda_input input;
    uint32_t size;
    float eps;
} tern_cuda_quantize_args;

typedef struct tern_cuda_matrix {
    const uint8_t *tiles; /* layout.h */
    float *out;           /* [n][rows] */
    uint32_t rows;
    uint32_t first_group; /* groups of rows of the matrices before it */
    float scale;
} tern_cuda_matrix;

typedef enum tern_cuda_mode {
    TERN_CUDA_STORE, /* out = y, of up to three matrices side by side */
    TERN_CUDA_ADD,   /* out += y */
    TERN_CUDA_RELU2, /* out of matrix 0 = relu(y_0)^2 * y_1, 0 where y_0 is not positive (gate and up, equal rows) */
    TERN_CUDA_SILU   /* out of matrix 0 = silu(y_0) * y_1 */
} tern_cuda_mode;

enum { TERN_CUDA_MATRICES = 3 };

/* y = (float)(sum q T) / s * scale for n tokens, then what the mode says, in the order of operations of
 * kernels/kernels.h. */
typedef struct tern_cuda_linear_args {
    tern_cuda_input input;
    tern_cuda_matrix matrices[TERN_CUDA_MATRICES];
    uint32_t n_matrices, n_tokens;
    uint32_t mode; /* tern_cuda_mode */
} tern_cuda_linear_args;

/* One block per group of 16 rows (x) and token (y). */
typedef tern_cuda_linear_args tern_cuda_gemv_args;
/* The same, of rows that each block quantises for itself: row.input and linear.input have no more than k_pad, and the
 * launch gives k_pad bytes of shared memory, TERN_CUDA_NORM_MOST or fewer. */
typedef struct tern_cuda_gemv_norm_args {
    tern_cuda_quantize_args row;
    tern_cuda_linear_args linear;
} tern_cuda_gemv_norm_args;

enum { TERN_CUDA_NORM_MOST = 38 << 10 };

/* The same on tensor cores: a block per TERN_CUDA_..._GROUPS groups of all matrices, one behind the other, or (relu2,
 * silu) half as many of the gate with those of up (x), and TERN_CUDA_..._TOKENS tokens (y). */
typedef tern_cuda_linear_args tern_cuda_gemm_args, tern_cuda_gemm_few_args;

enum { TERN_CUDA_GEMM_GROUPS = 8, TERN_CUDA_GEMM_TOKENS = 128, TERN_CUDA_FEW_GROUPS = 2, TERN_CUDA_FEW_TOKENS = 32 };

/* Where a token of the batch stands. Its sequence's KV blocks (runtime/kv.h) are tables[table .. ]. */
typedef struct tern_cuda_slot {
    uint32_t position;
    uint32_t table;
    uint32_t type; /* tern_kv_type of its blocks */
} tern_cuda_slot;

/* Where things are in a KV block of one type, in bytes (tern_kv_layout of runtime/kv.h). */
typedef struct tern_cuda_kv_layout {
    uint64_t at; /* this layer */
    uint64_t head_bytes, values_at, key_scales_at, value_scales_at;
} tern_cuda_kv_layout;

enum { TERN_CUDA_KV_TYPES = 3 };

typedef struct tern_cuda_kv {
    const tern_cuda_slot *slots; /* [n] */
    uint8_t *const *tables;
    tern_cuda_kv_layout layouts[TERN_CUDA_KV_TYPES]; /* by tern_kv_type */
    uint32_t n_heads, n_kv_heads, head_dim;
} tern_cuda_kv;

/* A block per query head, then per KV head (x), and token (y). */
typedef struct tern_cuda_rope_store_args {
    tern_cuda_kv kv;
    float *q, *k;
    const float *v;
    const float *cos, *sin; /* [positions][head_dim / 2] */
} tern_cuda_rope_store_args;

/* The largest head_dim that the kernels take. */
enum { TERN_CUDA_HEAD_DIM = 256 };

/* Query heads that a block of the attention takes, all of one KV head: TERN_CUDA_HEADS or fewer. */
enum { TERN_CUDA_HEADS = 4 };

/* attend_splits: a block per tile of heads (x), split (y) and token (z); the state of a split goes to `states`,
 *     [token][head][n_splits][head_dim + 2]: out, maximum, sum.
 * attend_merge: a block per head (x) and token (y): merges the states of the token's splits -> out [n][q].
 * attend_whole: a block per tile of heads (x) and token (y) does both without states, for large batches. */
typedef struct tern_cuda_attend_args {
    tern_cuda_kv kv;
    const float *q;
    float *out, *states;
    uint32_t n_splits;
    float scale; /* of the softmax */
} tern_cuda_attend_args;
typedef tern_cuda_attend_args tern_cuda_attend_splits_args, tern_cuda_attend_merge_args, tern_cuda_attend_whole_args;

/* logits [n][n_rows] = rows . x [n][k]: a block per TERN_CUDA_HEAD_ROWS rows (x) and TERN_CUDA_HEAD_TOKENS tokens
 * (y). */
typedef struct tern_cuda_head_args {
    const uint8_t *rows;
    uint64_t row_bytes;
    const float *x;
    float *logits;
    uint32_t n_rows, k, n_tokens;
    uint32_t type; /* tern_head_type */
} tern_cuda_head_args;

enum { TERN_CUDA_HEAD_ROWS = 128, TERN_CUDA_HEAD_TOKENS = 4 };

/* Rows whose logits a sampler may want; kernels/select.cuh. */
enum {
    TERN_CUDA_SELECT_ROWS = 64,      /* of a group */
    TERN_CUDA_SELECT_TOKENS = 16,    /* at once */
    TERN_CUDA_SELECT_TOP_MOST = 128, /* k */
    TERN_CUDA_SELECT_MOST = 1024     /* rows found; if there are more, all logits are wanted */
};

typedef enum tern_cuda_select { TERN_CUDA_SELECT_TOP, TERN_CUDA_SELECT_NEAR, TERN_CUDA_SELECT_GUMBEL } tern_cuda_select;

typedef struct tern_cuda_query {
    uint64_t start;             /* of the noise: tern_gumbel_start() */
    double temperature, margin; /* of gumbel, near */
    uint32_t want;              /* tern_cuda_select */
    uint32_t k;                 /* best rows: 1, or of top */
} tern_cuda_query;

typedef struct tern_cuda_found {
    uint32_t n; /* more than TERN_CUDA_SELECT_MOST: too many, or a NaN */
    int32_t ids[TERN_CUDA_SELECT_MOST];
    float logits[TERN_CUDA_SELECT_MOST];
} tern_cuda_found;

/* peaks: a block per TERN_CUDA_SELECT_THREADS / 32 groups (x) and token (y). cut: a block per token (x). rows: a block
 * per TERN_CUDA_SELECT_THREADS rows (x) and token (y). */
typedef struct tern_cuda_select_args {
    const float *logits;    /* [n][n_rows] */
    float *peaks, *cuts;    /* [n][n_groups], [n] */
    tern_cuda_found *found; /* [n] */
    uint32_t n_rows, n_groups;
    tern_cuda_query queries[TERN_CUDA_SELECT_TOKENS];
} tern_cuda_select_args;
typedef tern_cuda_select_args tern_cuda_select_peaks_args, tern_cuda_select_cut_args, tern_cuda_select_rows_args;

/* Threads of a block. */
enum {
    TERN_CUDA_ROW_THREADS = 256, /* norm, quantize */
    TERN_CUDA_GEMV_THREADS = 128,
    TERN_CUDA_GEMM_THREADS = 128,
    TERN_CUDA_FEW_THREADS = 128,
    TERN_CUDA_ROPE_THREADS = 128,
    TERN_CUDA_ATTEND_THREADS = 256,
    TERN_CUDA_SELECT_THREADS = 256,
    TERN_CUDA_HEAD_THREADS = 2 * TERN_CUDA_HEAD_ROWS
};

#endif
