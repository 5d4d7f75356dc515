/*
 * A ternary matrix times the int8 activations of one token, for decode: 16-byte loads of weights, each read once, and
 * dp4a. A block is a group of 16 rows and a token; its warps take every fourth tile of 128 columns. The sums are exact
 * integers, so neither order nor split shows in the result.
 */

enum { GEMV_WARPS = TERN_CUDA_GEMV_THREADS / WARP };

/* What becomes of a row's sum: kernels/kernels.h, dequantize and what follows. */
DEVICE float dequantize(int32_t sum, float s, float scale) { return div_((float)sum, s) * scale; }

DEVICE float relu2_mul(float gate, float up) { return gate > 0.0f ? gate * gate * up : 0.0f; }

DEVICE float silu_mul(float gate, float up) {
    float e = exp_(0.0f - fabsf(gate));
    float above = gate < 0.0f ? gate * e : gate;
    return div_(above, 1.0f + e) * up;
}

/* The groups of rows that a block takes: one, or one of gate and the same of up. */
struct gemv_place {
    uint32_t first, n; /* matrices */
    uint32_t group, n_tiles;
    const uint8_t *tiles[2];
};

DEVICE gemv_place find_groups(const tern_cuda_linear_args &args) {
    const bool gated = args.mode == TERN_CUDA_RELU2 || args.mode == TERN_CUDA_SILU;
    gemv_place place;
    place.first = 0;
    for (uint32_t m = 1; !gated && m < args.n_matrices; m++)
        if (blockIdx.x >= args.matrices[m].first_group)
            place.first = m;
    place.n = gated ? 2 : 1;
    place.group = blockIdx.x - args.matrices[place.first].first_group;
    place.n_tiles = args.input.k_pad / TERN_CUDA_COLS;
    for (uint32_t m = 0; m < 2; m++)
        place.tiles[m] = args.matrices[place.first + (m < place.n ? m : 0)].tiles +
                         (size_t)place.group * place.n_tiles * TERN_CUDA_TILE_BYTES;
    return place;
}

/* This lane's 16 bytes of a tile. */
DEVICE uint4 gemv_load(const uint8_t *tiles, uint32_t tile, uint32_t lane) {
    return load_stream(tiles + (size_t)tile * TERN_CUDA_TILE_BYTES + lane * TERN_CUDA_LANE_BYTES);
}

/* The first tiles of a warp, asked for before anything else is done. */
enum { GEMV_AHEAD = 4 };
struct gemv_ahead {
    uint4 codes[2][GEMV_AHEAD];
};

DEVICE void gemv_ask(const gemv_place &place, uint32_t warp, uint32_t lane, gemv_ahead *ahead) {
    UNROLL for (uint32_t m = 0; m < 2; m++) UNROLL for (uint32_t i = 0; i < GEMV_AHEAD; i++) if (
        m < place.n && warp + i * GEMV_WARPS < place.n_tiles) ahead->codes[m][i] =
        gemv_load(place.tiles[m], warp + i * GEMV_WARPS, lane);
}

/* Adds a tile's codes times q: rows g and g + 8, g = lane / 4, the columns of this lane. */
DEVICE void gemv_tile(uint4 codes, const int8_t *q, uint32_t tile, uint32_t lane, int32_t *low, int32_t *high) {
    const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
    const uint32_t *x = (const uint32_t *)(q + (size_t)tile * TERN_CUDA_COLS) + lane % 4;
    UNROLL for (uint32_t w = 0; w < 4; w++) UNROLL for (uint32_t h = 0; h < 2; h++) {
        uint32_t four = x[8 * w + 4 * h];
        *low = dp4a(words[w] >> (4 * h) & 0x03030303u, four, *low);
        *high = dp4a(words[w] >> (4 * h + 2) & 0x03030303u, four, *high);
    }
}

/* The groups' sums by all warps, then what becomes of them. q: the token's, s and q_sum its scale and sum. */
DEVICE void gemv_block(const tern_cuda_linear_args &args, const gemv_place &place, const gemv_ahead &ahead,
                       uint32_t token, const int8_t *q, float s, int32_t q_sum,
                       int32_t (*sums)[GEMV_WARPS][TERN_CUDA_ROWS]) {
    const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    UNROLL for (uint32_t m = 0; m < 2; m++) if (m < place.n) {
        int32_t low = 0, high = 0;
        UNROLL for (uint32_t i = 0; i < GEMV_AHEAD; i++) if (warp + i * GEMV_WARPS < place.n_tiles)
            gemv_tile(ahead.codes[m][i], q, warp + i * GEMV_WARPS, lane, &low, &high);
#pragma unroll 4
        for (uint32_t tile = warp + GEMV_AHEAD * GEMV_WARPS; tile < place.n_tiles; tile += GEMV_WARPS)
            gemv_tile(gemv_load(place.tiles[m], tile, lane), q, tile, lane, &low, &high);
        UNROLL for (int lanes = 1; lanes < 4; lanes *= 2) {
            low += shuffle_xor(low, lanes);
            high += shuffle_xor(high, lanes);
        }
        if (lane % 4 == 0) {
            sums[m][warp][lane / 4] = low;
            sums[m][warp][lane / 4 + 8] = high;
        }
    }
    sync_block();

    const tern_cuda_matrix &matrix = args.matrices[place.first];
    const uint32_t row = place.group * TERN_CUDA_ROWS + threadIdx.x;
    if (threadIdx.x >= TERN_CUDA_ROWS || row >= matrix.rows)
        return;
    float y[2] = {0.0f, 0.0f};
    for (uint32_t m = 0; m < place.n; m++) {
        int32_t sum = -q_sum; /* codes are T + 1 */
        for (uint32_t w = 0; w < GEMV_WARPS; w++)
            sum += sums[m][w][threadIdx.x];
        y[m] = dequantize(sum, s, args.matrices[place.first + m].scale);
    }
    float *out = matrix.out + (size_t)token * matrix.rows + row;
    if (args.mode == TERN_CUDA_ADD)
        *out = *out + y[0];
    else if (args.mode == TERN_CUDA_RELU2)
        *out = relu2_mul(y[0], y[1]);
    else if (args.mode == TERN_CUDA_SILU)
        *out = silu_mul(y[0], y[1]);
    else
        *out = y[0];
}

KERNEL(TERN_CUDA_GEMV_THREADS) tern_cuda_gemv(const tern_cuda_gemv_args args) {
    __shared__ int32_t sums[2][GEMV_WARPS][TERN_CUDA_ROWS];
    const uint32_t token = blockIdx.y;
    const gemv_place place = find_groups(args);
    gemv_ahead ahead;
    gemv_ask(place, threadIdx.x / WARP, threadIdx.x % WARP, &ahead);
    gemv_block(args, place, ahead, token, args.input.q + (size_t)token * args.input.k_pad, args.input.scale[token],
               args.input.sum[token], sums);
}

/* Every block normalises and rounds the whole row for itself, while its weights are on their way. That saves a kernel,
 * whose start it would wait for, and costs three passes over the row in each block, which on a GPU may well be more:
 * nobody has measured it. */
KERNEL(TERN_CUDA_GEMV_THREADS) tern_cuda_gemv_norm(const tern_cuda_gemv_norm_args args) {
    __shared__ int32_t sums[2][GEMV_WARPS][TERN_CUDA_ROWS];
    __shared__ row_shared shared;
    DYNAMIC_SHARED(uint32_t, q);
    const uint32_t token = blockIdx.y;
    const gemv_place place = find_groups(args.linear);
    gemv_ahead ahead;
    gemv_ask(place, threadIdx.x / WARP, threadIdx.x % WARP, &ahead);
    float s;
    int32_t q_sum;
    quantize_row(args.row, token, TERN_CUDA_GEMV_THREADS, &shared, q, &s, &q_sum);
    gemv_block(args.linear, place, ahead, token, (const int8_t *)q, s, q_sum, sums);
}
