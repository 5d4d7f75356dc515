/*
 * A ternary matrix times the int8 activations of several tokens, on tensor cores: m16n8k32, A the weights, B the
 * activations. A lane's 16 bytes of a tile of weights (cuda/layout.h) are its registers of A for four of these, after a
 * shift and a mask. The sums are exact integers and what becomes of them is gemv.cuh's: the same bits as there.
 *
 * A *fragment* here is 16 rows (a group) of one matrix. In the gated modes a block takes the same groups of gate and of
 * up, so that a lane holds the sums of both for its rows and tokens.
 */

DEVICE uint32_t word_of(uint4 v, uint32_t w) { return w == 0 ? v.x : w == 1 ? v.y : w == 2 ? v.z : v.w; }

/* A's registers for columns 32 w .. 32 w + 31 of a tile; word: w of the lane's four. */
DEVICE void unpack_a(uint32_t (&a)[4], uint32_t word) {
    UNROLL for (int f = 0; f < 4; f++) a[f] = word >> (2 * f) & 0x03030303u;
}

/* Which group of which matrix a fragment is. */
typedef struct gemm_fragment {
    const uint8_t *tiles; /* of the group */
    uint32_t matrix, group;
    bool exists; /* else it is another one's twin, and nothing of it is stored */
} gemm_fragment;

DEVICE bool is_gated(const tern_cuda_linear_args &args) {
    return args.mode == TERN_CUDA_RELU2 || args.mode == TERN_CUDA_SILU;
}

/* Fragment `at` of those of all matrices, one behind the other; gated: group `at` of matrix `matrix`. */
DEVICE gemm_fragment find_fragment(const tern_cuda_linear_args &args, uint32_t at, uint32_t matrix) {
    gemm_fragment fragment;
    if (!is_gated(args)) {
        matrix = 0;
        for (uint32_t m = 1; m < args.n_matrices; m++)
            if (at >= args.matrices[m].first_group)
                matrix = m;
        at -= args.matrices[matrix].first_group;
    }
    const uint32_t n_groups = (args.matrices[matrix].rows + TERN_CUDA_ROWS - 1) / TERN_CUDA_ROWS;
    fragment.exists = at < n_groups;
    fragment.matrix = matrix;
    fragment.group = fragment.exists ? at : n_groups - 1;
    fragment.tiles = args.matrices[matrix].tiles +
                     (size_t)fragment.group * (args.input.k_pad / TERN_CUDA_COLS) * TERN_CUDA_TILE_BYTES;
    return fragment;
}

/* What becomes of the sums of one row and token; up: of the gated modes. */
DEVICE void gemm_store(const tern_cuda_linear_args &args, uint32_t matrix, uint32_t row, uint32_t token, int32_t sum,
                       int32_t up) {
    const tern_cuda_matrix &of = args.matrices[matrix];
    if (row >= of.rows || token >= args.n_tokens)
        return;
    const int32_t q_sum = args.input.sum[token]; /* codes are T + 1 */
    const float s = args.input.scale[token], y = dequantize(sum - q_sum, s, of.scale);
    float *out = of.out + (size_t)token * of.rows + row;
    if (args.mode == TERN_CUDA_STORE)
        *out = y;
    else if (args.mode == TERN_CUDA_ADD)
        *out = *out + y;
    else if (args.mode == TERN_CUDA_RELU2)
        *out = relu2_mul(y, dequantize(up - q_sum, s, args.matrices[1].scale));
    else
        *out = silu_mul(y, dequantize(up - q_sum, s, args.matrices[1].scale));
}

/* ---- many tokens ----
 *
 * A block makes 8 fragments by 128 tokens, each of its four warps 4 fragments (gated: 2 of gate, 2 of up) by 64 tokens.
 * Activations come through shared memory, in tiles of 128 columns, two of them: one is copied while the other is used.
 * Piece p (16 bytes) of a token's row stands at p ^ (token % 8), so that the eight rows that load_matrices() reads at a
 * time lie in different banks. Weights come from global memory, a tile ahead of their use.
 */
enum {
    GEMM_FRAGMENTS = 4,                       /* of a warp */
    GEMM_EIGHTS = TERN_CUDA_GEMM_TOKENS / 16, /* of tokens, of a warp */
    GEMM_PIECES = TERN_CUDA_COLS / 16,        /* of a token in a tile */
    GEMM_STAGE = TERN_CUDA_GEMM_TOKENS * TERN_CUDA_COLS,
};

DEVICE void gemm_copy(const tern_cuda_linear_args &args, int8_t *stage, uint32_t first_token, uint32_t tile) {
    UNROLL for (uint32_t i = threadIdx.x; i < TERN_CUDA_GEMM_TOKENS * GEMM_PIECES; i += TERN_CUDA_GEMM_THREADS) {
        const uint32_t token = i / GEMM_PIECES, piece = i % GEMM_PIECES;
        const uint32_t from = first_token + token < args.n_tokens ? first_token + token : args.n_tokens - 1;
        copy_async16(stage + token * TERN_CUDA_COLS + (piece ^ token % 8) * 16,
                     args.input.q + (size_t)from * args.input.k_pad + tile * TERN_CUDA_COLS + piece * 16);
    }
}

/* acc += a tile of the warp's fragments times the stage's tokens from `first` on. */
DEVICE void gemm_tile(int (&acc)[GEMM_FRAGMENTS][GEMM_EIGHTS][4], const uint4 (&codes)[GEMM_FRAGMENTS],
                      const int8_t *stage, uint32_t first, uint32_t lane) {
    UNROLL for (uint32_t w = 0; w < 4; w++) {
        uint32_t a[GEMM_FRAGMENTS][4];
        UNROLL for (int f = 0; f < GEMM_FRAGMENTS; f++) unpack_a(a[f], word_of(codes[f], w));
        UNROLL for (uint32_t e = 0; e < GEMM_EIGHTS; e += 2) { /* two at a time: four matrices of 8 tokens by 16 */
            const uint32_t token = first + 8 * e + lane / 16 * 8 + lane % 8, piece = 2 * w + lane / 8 % 2;
            uint32_t b[4];
            load_matrices(b, stage + token * TERN_CUDA_COLS + (piece ^ token % 8) * 16);
            const uint32_t first_b[2] = {b[0], b[1]}, second_b[2] = {b[2], b[3]};
            UNROLL for (int f = 0; f < GEMM_FRAGMENTS; f++) mma_s8(acc[f][e], a[f], first_b);
            UNROLL for (int f = 0; f < GEMM_FRAGMENTS; f++) mma_s8(acc[f][e + 1], a[f], second_b);
        }
    }
}

/* Fragment f of a warp of the grid. */
DEVICE gemm_fragment gemm_fragment_of(const tern_cuda_linear_args &args, uint32_t warp, uint32_t f) {
    const uint32_t at = 2 * blockIdx.x + warp % 2; /* of fours, or pairs */
    return find_fragment(args, is_gated(args) ? 2 * at + f % 2 : GEMM_FRAGMENTS * at + f, f / 2);
}

KERNEL_BLOCKS(TERN_CUDA_GEMM_THREADS, 2) tern_cuda_gemm(const tern_cuda_gemm_args args) {
    SHARED int8_t stages[2][GEMM_STAGE];
    const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, n_tiles = args.input.k_pad / TERN_CUDA_COLS;
    const uint32_t first_token = blockIdx.y * TERN_CUDA_GEMM_TOKENS, warp_token = warp / 2 * (8 * GEMM_EIGHTS);
    const uint8_t *tiles[GEMM_FRAGMENTS];
    UNROLL for (uint32_t f = 0; f < GEMM_FRAGMENTS; f++) tiles[f] =
        gemm_fragment_of(args, warp, f).tiles + lane * TERN_CUDA_LANE_BYTES;
    int acc[GEMM_FRAGMENTS][GEMM_EIGHTS][4] = {};
    uint4 codes[GEMM_FRAGMENTS];

    gemm_copy(args, stages[0], first_token, 0);
    copy_async_commit();
    UNROLL for (int f = 0; f < GEMM_FRAGMENTS; f++) codes[f] = load16(tiles[f]);
#pragma unroll 1
    for (uint32_t tile = 0; tile < n_tiles; tile++) {
        uint4 next[GEMM_FRAGMENTS];
        const uint32_t ahead = tile + 1 < n_tiles ? tile + 1 : tile;
        if (ahead > tile)
            gemm_copy(args, stages[ahead % 2], first_token, ahead);
        copy_async_commit();
        UNROLL for (int f = 0; f < GEMM_FRAGMENTS; f++) next[f] =
            load16(tiles[f] + (size_t)ahead * TERN_CUDA_TILE_BYTES);
        copy_async_wait<1>(); /* all but what was just begun */
        sync_block();
        gemm_tile(acc, codes, stages[tile % 2], warp_token, lane);
        sync_block(); /* before the stage is written again */
        UNROLL for (int f = 0; f < GEMM_FRAGMENTS; f++) codes[f] = next[f];
    }

    UNROLL for (uint32_t f = 0; f < GEMM_FRAGMENTS; f++) {
        const gemm_fragment fragment = gemm_fragment_of(args, warp, f);
        if (!fragment.exists || (is_gated(args) && f >= 2))
            continue;
        UNROLL for (uint32_t e = 0; e < GEMM_EIGHTS; e++) UNROLL for (uint32_t i = 0; i < 4; i++)
            gemm_store(args, fragment.matrix, fragment.group * TERN_CUDA_ROWS + lane / 4 + i / 2 * 8,
                       first_token + warp_token + 8 * e + lane % 4 * 2 + i % 2, acc[f][e][i], acc[(f + 2) % 4][e][i]);
    }
}

/* ---- few tokens ----
 *
 * The weights are what takes time here, as for one token: a block takes two fragments (gated: one of gate, one of up)
 * and up to 32 tokens, and its warps take every fourth tile of weights, each read once. Their sums are added at the
 * end. Activations come from global memory, mostly the caches.
 */
enum { FEW_WARPS = TERN_CUDA_FEW_THREADS / WARP, FEW_FRAGMENTS = 2, FEW_EIGHTS = TERN_CUDA_FEW_TOKENS / 8 };

KERNEL(TERN_CUDA_FEW_THREADS) tern_cuda_gemm_few(const tern_cuda_gemm_few_args args) {
    SHARED int sums[FEW_FRAGMENTS][FEW_EIGHTS][4][FEW_WARPS][WARP];
    const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, n_tiles = args.input.k_pad / TERN_CUDA_COLS;
    const uint32_t first_token = blockIdx.y * TERN_CUDA_FEW_TOKENS;
    const bool gated = is_gated(args);
    const int8_t *q[FEW_EIGHTS]; /* of the token of this lane, where its four columns begin */
    gemm_fragment fragments[FEW_FRAGMENTS];
    UNROLL for (uint32_t f = 0; f < FEW_FRAGMENTS; f++) fragments[f] =
        find_fragment(args, gated ? blockIdx.x : FEW_FRAGMENTS * blockIdx.x + f, f);
    UNROLL for (uint32_t e = 0; e < FEW_EIGHTS; e++) {
        const uint32_t token = first_token + 8 * e + lane / 4;
        q[e] = args.input.q + (size_t)(token < args.n_tokens ? token : args.n_tokens - 1) * args.input.k_pad +
               lane % 4 * 4;
    }
    const uint32_t n_eights = (args.n_tokens - first_token + 7) / 8;
    int acc[FEW_FRAGMENTS][FEW_EIGHTS][4] = {};
#pragma unroll 1
    for (uint32_t tile = warp; tile < n_tiles; tile += FEW_WARPS) {
        uint4 codes[FEW_FRAGMENTS];
        UNROLL for (int f = 0; f < FEW_FRAGMENTS; f++) codes[f] =
            load_stream(fragments[f].tiles + (size_t)tile * TERN_CUDA_TILE_BYTES + lane * TERN_CUDA_LANE_BYTES);
        UNROLL for (uint32_t w = 0; w < 4; w++) {
            uint32_t a[FEW_FRAGMENTS][4];
            UNROLL for (int f = 0; f < FEW_FRAGMENTS; f++) unpack_a(a[f], word_of(codes[f], w));
            UNROLL for (uint32_t e = 0; e < FEW_EIGHTS; e++) {
                if (e >= n_eights)
                    continue;
                const uint32_t *x = (const uint32_t *)(q[e] + (size_t)tile * TERN_CUDA_COLS + 32 * w);
                const uint32_t b[2] = {x[0], x[4]};
                UNROLL for (int f = 0; f < FEW_FRAGMENTS; f++) mma_s8(acc[f][e], a[f], b);
            }
        }
    }
    UNROLL for (int f = 0; f < FEW_FRAGMENTS; f++) UNROLL for (int e = 0; e < FEW_EIGHTS; e++)
        UNROLL for (int i = 0; i < 4; i++) sums[f][e][i][warp][lane] = acc[f][e][i];
    sync_block();

    for (uint32_t at = warp; at < FEW_EIGHTS * 4; at += FEW_WARPS) {
        const uint32_t e = at / 4, i = at % 4;
        int total[FEW_FRAGMENTS];
        UNROLL for (int f = 0; f < FEW_FRAGMENTS; f++) {
            total[f] = 0;
            UNROLL for (uint32_t from = 0; from < FEW_WARPS; from++) total[f] += sums[f][e][i][from][lane];
        }
        UNROLL for (uint32_t f = 0; f < FEW_FRAGMENTS; f++) if (fragments[f].exists && !(gated && f > 0))
            gemm_store(args, fragments[f].matrix, fragments[f].group * TERN_CUDA_ROWS + lane / 4 + i / 2 * 8,
                       first_token + 8 * e + lane % 4 * 2 + i % 2, total[f], total[1]);
    }
}
