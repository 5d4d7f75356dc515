/*
 * The LM head: rows as they are stored, times float activations, in the 16 lanes of kernels/kernels.h. Two threads have
 * a row: the even one lanes 0 .. 7, the odd one lanes 8 .. 15, so that of rows of 16-bit floats each reads 16 bytes at
 * once and both together whole sectors of 32.
 */

enum { HEAD_F32, HEAD_F16, HEAD_BF16, HEAD_Q8_0, HEAD_Q4_0, HEAD_Q6_K }; /* tern_head_type */
enum { HEAD_TOKENS = TERN_CUDA_HEAD_TOKENS };

DEVICE uint16_t load_u16(const uint8_t *from) { return *(const uint16_t *)from; }

/* Value i of a row, as ggml dequantises it. */
template <int type> DEVICE float head_value(const uint8_t *row, uint32_t i) {
    if (type == HEAD_F32)
        return ((const float *)row)[i];
    if (type == HEAD_F16)
        return float_from_half(((const uint16_t *)row)[i]);
    if (type == HEAD_BF16)
        return float_from_bits((uint32_t)((const uint16_t *)row)[i] << 16);
    if (type == HEAD_Q8_0) {
        const uint8_t *block = row + (size_t)(i / 32) * 34;
        return (float)(int8_t)block[2 + i % 32] * float_from_half(load_u16(block));
    }
    if (type == HEAD_Q4_0) {
        const uint8_t *block = row + (size_t)(i / 32) * 18;
        int32_t code = block[2 + i % 16] >> (i % 32 < 16 ? 0 : 4) & 15;
        return (float)(code - 8) * float_from_half(load_u16(block));
    }
    /* Q6_K: two halves of 128 values, 64 bytes of low nibbles and 32 of high pairs each (kernels/ref/head.c) */
    const uint8_t *block = row + (size_t)(i / 256) * 210;
    const uint32_t at = i % 256, j = at % 128;
    const uint8_t *ql = block + at / 128 * 64, *qh = block + 128 + at / 128 * 32;
    int32_t low = ql[j % 64] >> j / 64 * 4 & 15, high = qh[j % 32] >> j / 32 * 2 & 3;
    return float_from_half(load_u16(block + 208)) * (float)(int8_t)block[192 + at / 16] *
           (float)((low | high << 4) - 32);
}

/* Values at .. at + 7; at is a multiple of 8, and what it names is aligned to 16 bytes for the types of floats. */
template <int type> DEVICE void head_values(const uint8_t *row, uint32_t at, float *out) {
    if (type == HEAD_F16 || type == HEAD_BF16) {
        const uint4 eight = load_stream(row + (size_t)at * 2);
        const uint32_t words[4] = {eight.x, eight.y, eight.z, eight.w};
        UNROLL for (int e = 0; e < 8; e++) {
            uint32_t bits = words[e / 2] >> (e % 2 * 16) & 0xffffu;
            out[e] = type == HEAD_F16 ? float_from_half((uint16_t)bits) : float_from_bits(bits << 16);
        }
    } else {
        UNROLL for (int e = 0; e < 8; e++) out[e] = head_value<type>(row, at + (uint32_t)e);
    }
}

template <int type> DEVICE void head_row(const tern_cuda_head_args &args, uint32_t row, uint32_t odd, uint32_t first) {
    const uint8_t *values = args.rows + row * args.row_bytes;
    const float *x[HEAD_TOKENS];
    float r[HEAD_TOKENS][8];
    UNROLL for (int t = 0; t < HEAD_TOKENS; t++) {
        const uint32_t token = first + (uint32_t)t < args.n_tokens ? first + (uint32_t)t : args.n_tokens - 1;
        x[t] = args.x + (size_t)token * args.k;
        UNROLL for (int e = 0; e < 8; e++) r[t][e] = 0.0f;
    }
    uint32_t at = 8 * odd;
    if (args.k % 8 == 0) /* rows of x and of the head are aligned */
#pragma unroll 2
        for (; at + 8 <= args.k; at += 16) {
            float w[8];
            head_values<type>(values, at, w);
            UNROLL for (int t = 0; t < HEAD_TOKENS; t++) {
                const float4 a = *(const float4 *)(x[t] + at), b = *(const float4 *)(x[t] + at + 4);
                const float y[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
                UNROLL for (int e = 0; e < 8; e++) r[t][e] = fma_(w[e], y[e], r[t][e]);
            }
        }
    for (; at < args.k; at += 16)
        UNROLL for (int e = 0; e < 8; e++) if (at + (uint32_t)e < args.k) {
            const float w = head_value<type>(values, at + (uint32_t)e);
            UNROLL for (int t = 0; t < HEAD_TOKENS; t++) r[t][e] = fma_(w, x[t][at + (uint32_t)e], r[t][e]);
        }
    UNROLL for (int t = 0; t < HEAD_TOKENS; t++) {
        UNROLL for (int e = 0; e < 8; e++) r[t][e] = r[t][e] + shuffle_xor(r[t][e], 1);
        UNROLL for (int half = 4; half > 0; half /= 2) UNROLL for (int e = 0; e < half; e++) r[t][e] =
            r[t][e] + r[t][e + half];
        if (!odd && first + (uint32_t)t < args.n_tokens && blockIdx.x * TERN_CUDA_HEAD_ROWS + threadIdx.x / 2 == row)
            args.logits[(size_t)(first + (uint32_t)t) * args.n_rows + row] = r[t][0];
    }
}

KERNEL(TERN_CUDA_HEAD_THREADS) tern_cuda_head(const tern_cuda_head_args args) {
    const uint32_t wanted = blockIdx.x * TERN_CUDA_HEAD_ROWS + threadIdx.x / 2;
    const uint32_t row = wanted < args.n_rows ? wanted : args.n_rows - 1; /* all lanes take part in the shuffles */
    const uint32_t odd = threadIdx.x % 2, first = blockIdx.y * HEAD_TOKENS;
    switch (args.type) {
    case HEAD_F32:
        head_row<HEAD_F32>(args, row, odd, first);
        break;
    case HEAD_F16:
        head_row<HEAD_F16>(args, row, odd, first);
        break;
    case HEAD_BF16:
        head_row<HEAD_BF16>(args, row, odd, first);
        break;
    case HEAD_Q8_0:
        head_row<HEAD_Q8_0>(args, row, odd, first);
        break;
    case HEAD_Q4_0:
        head_row<HEAD_Q4_0>(args, row, odd, first);
        break;
    default:
        head_row<HEAD_Q6_K>(args, row, odd, first);
        break;
    }
}
