/* RMSNorm and quantisation of a token by the threads of a block. */

enum { ROW_AHEAD = 8, ROW_PIECE = 2048, ROW_MOST_WARPS = TERN_CUDA_ROW_THREADS / WARP };

/* What they share. */
struct row_shared {
    float piece[ROW_PIECE];
    float factor, largest[ROW_MOST_WARPS];
    int32_t sum[ROW_MOST_WARPS];
};

/* 1 / sqrt(mean(x^2) + eps), for all threads. The sum runs in the 16 lanes of kernels.h: 16 threads, each over every
 * 16th value in order, from shared memory. */
DEVICE float norm_factor(const float *x, uint32_t size, float eps, uint32_t n_threads, row_shared *shared) {
    float sum = 0.0f;
    for (uint32_t first = 0; first < size; first += ROW_PIECE) {
        uint32_t n = size - first < ROW_PIECE ? size - first : ROW_PIECE;
        for (uint32_t i = threadIdx.x; i < n; i += n_threads)
            shared->piece[i] = x[first + i];
        sync_block();
        if (threadIdx.x < 16) {
#pragma unroll 8
            for (uint32_t i = threadIdx.x; i < n; i += 16)
                sum = fma_(shared->piece[i], shared->piece[i], sum);
        }
        sync_block();
    }
    if (threadIdx.x < WARP) {
        sum = fold16(sum);
        if (threadIdx.x == 0)
            shared->factor = div_(1.0f, sqrt_(div_(sum, (float)size) + eps));
    }
    sync_block();
    return shared->factor;
}

KERNEL(TERN_CUDA_ROW_THREADS) tern_cuda_norm(const tern_cuda_norm_args args) {
    __shared__ row_shared shared;
    const float *x = args.x + (size_t)blockIdx.x * args.size;
    float *out = args.out + (size_t)blockIdx.x * args.size;
    float r = norm_factor(x, args.size, args.eps, TERN_CUDA_ROW_THREADS, &shared);
    for (uint32_t i = threadIdx.x; i < args.size; i += TERN_CUDA_ROW_THREADS)
        out[i] = x[i] * r * args.gain[i];
}

/* Values first, first + step, ... of the normalised row, or of the row as it is; behind its end the last one. All are
 * asked for before the first is used: gains were last read a token ago and come from far. */
template <int N>
DEVICE void normalised(const tern_cuda_quantize_args &args, const float *x, float r, uint32_t first, uint32_t step,
                       float *values) {
    float gains[N];
    UNROLL for (uint32_t j = 0; j < N; j++) {
        const uint32_t i = first + j * step, at = i < args.size ? i : args.size - 1;
        values[j] = x[at];
        gains[j] = args.gain ? args.gain[at] : 1.0f;
    }
    if (args.gain)
        UNROLL for (uint32_t j = 0; j < N; j++) values[j] = values[j] * r * gains[j];
}

/* One token's row, four values a word -> q, in any memory. All threads get the scale and the sum, and may read q. */
DEVICE void quantize_row(const tern_cuda_quantize_args &args, uint32_t token, uint32_t n_threads, row_shared *shared,
                         uint32_t *q, float *scale, int32_t *sum_of_q) {
    const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const float *x = args.x + (size_t)token * args.size;
    float r = args.gain ? norm_factor(x, args.size, args.eps, n_threads, shared) : 1.0f;
    float largest = 0.0f;
    for (uint32_t i = threadIdx.x; i < args.size; i += ROW_AHEAD * n_threads) {
        float values[ROW_AHEAD];
        normalised<ROW_AHEAD>(args, x, r, i, n_threads, values);
        UNROLL for (uint32_t j = 0; j < ROW_AHEAD; j++) largest = fmaxf(largest, fabsf(values[j]));
    }
    largest = warp_max(largest);
    if (lane == 0)
        shared->largest[warp] = largest;
    sync_block();
    largest = 0.0f;
    for (uint32_t w = 0; w < n_threads / WARP; w++)
        largest = fmaxf(largest, shared->largest[w]);
    const float s = scale_i8(largest);

    int32_t sum = 0;
    for (uint32_t i = 4 * threadIdx.x; i < args.input.k_pad; i += 4 * n_threads) {
        uint32_t word = 0;
        float values[4];
        normalised<4>(args, x, r, i, 1, values);
        UNROLL for (uint32_t j = 0; j < 4; j++) {
            int32_t value = i + j < args.size ? round_i8(values[j], s) : 0;
            word |= (uint32_t)(value & 255) << (8 * j);
            sum += value;
        }
        q[i / 4] = word;
    }
    sum = warp_sum(sum);
    if (lane == 0)
        shared->sum[warp] = sum;
    sync_block();
    sum = 0;
    for (uint32_t w = 0; w < n_threads / WARP; w++)
        sum += shared->sum[w];
    *scale = s;
    *sum_of_q = sum;
}

KERNEL(TERN_CUDA_ROW_THREADS) tern_cuda_quantize(const tern_cuda_quantize_args args) {
    __shared__ row_shared shared;
    const uint32_t token = blockIdx.x;
    float s;
    int32_t sum;
    quantize_row(args, token, TERN_CUDA_ROW_THREADS, &shared,
                 (uint32_t *)(args.input.q + (size_t)token * args.input.k_pad), &s, &sum);
    if (threadIdx.x == 0) {
        args.input.scale[token] = s;
        args.input.sum[token] = sum;
    }
}
