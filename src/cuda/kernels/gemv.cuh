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

/* Sums of codes times q of rows g and g + 8 of a group (g = lane / 4), this warp's tiles only. All four lanes of a g
 * get them. */
DEVICE void gemv_group(const uint8_t *group, const int8_t *q, uint32_t n_tiles, uint32_t warp, uint32_t lane,
                       int32_t *low, int32_t *high) {
    int32_t a = 0, b = 0;
#pragma unroll 4
    for (uint32_t tile = warp; tile < n_tiles; tile += GEMV_WARPS) {
        uint4 codes = load_stream(group + (size_t)tile * TERN_CUDA_TILE_BYTES + lane * TERN_CUDA_LANE_BYTES);
        const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
        const uint32_t *x = (const uint32_t *)(q + (size_t)tile * TERN_CUDA_COLS) + lane % 4;
        UNROLL for (uint32_t w = 0; w < 4; w++) UNROLL for (uint32_t h = 0; h < 2; h++) {
            uint32_t four = x[8 * w + 4 * h];
            a = dp4a(words[w] >> (4 * h) & 0x03030303u, four, a);
            b = dp4a(words[w] >> (4 * h + 2) & 0x03030303u, four, b);
        }
    }
    UNROLL for (int lanes = 1; lanes < 4; lanes *= 2) {
        a += shuffle_xor(a, lanes);
        b += shuffle_xor(b, lanes);
    }
    *low = a;
    *high = b;
}

KERNEL(TERN_CUDA_GEMV_THREADS) tern_cuda_gemv(const tern_cuda_gemv_args args) {
    __shared__ int32_t sums[2][GEMV_WARPS][TERN_CUDA_ROWS];
    const uint32_t token = blockIdx.y, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const uint32_t n_tiles = args.input.k_pad / TERN_CUDA_COLS;
    const int8_t *q = args.input.q + (size_t)token * args.input.k_pad;
    const bool gated = args.mode == TERN_CUDA_RELU2 || args.mode == TERN_CUDA_SILU;
    uint32_t first = 0;
    for (uint32_t m = 1; !gated && m < args.n_matrices; m++)
        if (blockIdx.x >= args.matrices[m].first_group)
            first = m;
    const uint32_t n = gated ? 2 : 1, group = blockIdx.x - args.matrices[first].first_group;
    for (uint32_t m = 0; m < n; m++) {
        int32_t low, high;
        gemv_group(args.matrices[first + m].tiles + (size_t)group * n_tiles * TERN_CUDA_TILE_BYTES, q, n_tiles, warp,
                   lane, &low, &high);
        if (lane % 4 == 0) {
            sums[m][warp][lane / 4] = low;
            sums[m][warp][lane / 4 + 8] = high;
        }
    }
    sync_block();

    const tern_cuda_matrix &matrix = args.matrices[first];
    const uint32_t row = group * TERN_CUDA_ROWS + threadIdx.x;
    if (threadIdx.x >= TERN_CUDA_ROWS || row >= matrix.rows)
        return;
    float y[2] = {0.0f, 0.0f};
    for (uint32_t m = 0; m < n; m++) {
        int32_t sum = -args.input.sum[token]; /* codes are T + 1 */
        for (uint32_t w = 0; w < GEMV_WARPS; w++)
            sum += sums[m][w][threadIdx.x];
        y[m] = dequantize(sum, args.input.scale[token], args.matrices[first + m].scale);
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
