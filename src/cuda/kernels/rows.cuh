/* RMSNorm and quantisation: a block of TERN_CUDA_ROW_THREADS is one token. */

enum { ROW_PIECE = 2048, ROW_WARPS = TERN_CUDA_ROW_THREADS / WARP };

/* 1 / sqrt(mean(x^2) + eps), for all threads. The sum runs in the 16 lanes of kernels.h: 16 threads, each over every
 * 16th value in order, from shared memory. */
DEVICE float norm_factor(const float *x, uint32_t size, float eps, float *piece, float *result) {
    float sum = 0.0f;
    for (uint32_t first = 0; first < size; first += ROW_PIECE) {
        uint32_t n = size - first < ROW_PIECE ? size - first : ROW_PIECE;
        for (uint32_t i = threadIdx.x; i < n; i += TERN_CUDA_ROW_THREADS)
            piece[i] = x[first + i];
        sync_block();
        if (threadIdx.x < 16) {
#pragma unroll 8
            for (uint32_t i = threadIdx.x; i < n; i += 16)
                sum = fma_(piece[i], piece[i], sum);
        }
        sync_block();
    }
    if (threadIdx.x < WARP) {
        sum = fold16(sum);
        if (threadIdx.x == 0)
            *result = div_(1.0f, sqrt_(div_(sum, (float)size) + eps));
    }
    sync_block();
    return *result;
}

KERNEL(TERN_CUDA_ROW_THREADS) tern_cuda_norm(const tern_cuda_norm_args args) {
    __shared__ float piece[ROW_PIECE];
    __shared__ float factor;
    const float *x = args.x + (size_t)blockIdx.x * args.size;
    float *out = args.out + (size_t)blockIdx.x * args.size;
    float r = norm_factor(x, args.size, args.eps, piece, &factor);
    for (uint32_t i = threadIdx.x; i < args.size; i += TERN_CUDA_ROW_THREADS)
        out[i] = x[i] * r * args.gain[i];
}

/* Value i of the normalised row, or of the row as it is. */
DEVICE float normalised(const tern_cuda_quantize_args &args, const float *x, float r, uint32_t i) {
    return args.gain ? x[i] * r * args.gain[i] : x[i];
}

KERNEL(TERN_CUDA_ROW_THREADS) tern_cuda_quantize(const tern_cuda_quantize_args args) {
    __shared__ float piece[ROW_PIECE];
    __shared__ float factor, largest_of[ROW_WARPS];
    __shared__ int32_t sum_of[ROW_WARPS];
    const uint32_t token = blockIdx.x, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const float *x = args.x + (size_t)token * args.size;
    float r = args.gain ? norm_factor(x, args.size, args.eps, piece, &factor) : 1.0f;

    float largest = 0.0f;
    for (uint32_t i = threadIdx.x; i < args.size; i += TERN_CUDA_ROW_THREADS)
        largest = fmaxf(largest, fabsf(normalised(args, x, r, i)));
    largest = warp_max(largest);
    if (lane == 0)
        largest_of[warp] = largest;
    sync_block();
    largest = 0.0f;
    for (uint32_t w = 0; w < ROW_WARPS; w++)
        largest = fmaxf(largest, largest_of[w]);
    float s = scale_i8(largest);

    /* four values a thread: one store of four bytes */
    int32_t sum = 0;
    uint32_t *q = (uint32_t *)(args.input.q + (size_t)token * args.input.k_pad);
    for (uint32_t i = 4 * threadIdx.x; i < args.input.k_pad; i += 4 * TERN_CUDA_ROW_THREADS) {
        uint32_t word = 0;
        for (uint32_t j = 0; j < 4 && i + j < args.size; j++) {
            int32_t value = round_i8(normalised(args, x, r, i + j), s);
            word |= (uint32_t)(value & 255) << (8 * j);
            sum += value;
        }
        q[i / 4] = word;
    }
    sum = warp_sum(sum);
    if (lane == 0)
        sum_of[warp] = sum;
    sync_block();
    if (threadIdx.x == 0) {
        sum = 0;
        for (uint32_t w = 0; w < ROW_WARPS; w++)
            sum += sum_of[w];
        args.input.scale[token] = s;
        args.input.sum[token] = sum;
    }
}
