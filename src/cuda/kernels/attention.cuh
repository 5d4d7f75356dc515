/*
 * Rotary embedding, the KV cache and attention over it, with the layouts and the order of operations of
 * kernels/attention.h: splits of 256 keys, a thread for each key while scores are made (keys lie transposed, so that a
 * warp reads 32 keys' channel at once), then a thread for each channel while values are summed, key after key.
 */

enum { KV_F16, KV_F32, KV_Q8 }; /* tern_kv_type */
enum {
    KEY_BLOCK = 64,
    KEY_SPLIT = TERN_CUDA_ATTEND_THREADS,
    SPLIT_BLOCKS = KEY_SPLIT / KEY_BLOCK,
    WEIGHT_MAX = (1 << 14) - 1,
    HEADS = TERN_CUDA_HEADS,
};

/* Where a KV head's part of a block of a token's sequence is. */
DEVICE uint8_t *kv_part(const tern_cuda_kv &kv, const tern_cuda_slot &slot, uint32_t block, uint32_t kv_head) {
    const tern_cuda_kv_layout &layout = kv.layouts[slot.type];
    return kv.tables[slot.table + block] + layout.at + kv_head * layout.head_bytes;
}

DEVICE uint32_t pad4(uint32_t n) { return (n + 3) / 4 * 4; }

/* ------------------------------------------------------------ rope and store */

/* x [head_dim] rotated -> out, h pairs; each product rounds. out may be x. */
DEVICE void rotate(const float *x, const float *cos, const float *sin, uint32_t h, float *out) {
    for (uint32_t i = threadIdx.x; i < h; i += TERN_CUDA_ROPE_THREADS) {
        float a = x[i], b = x[i + h];
        out[i] = a * cos[i] - b * sin[i];
        out[i + h] = b * cos[i] + a * sin[i];
    }
}

/* A key and a value (shared memory) -> place `at` of a block. */
DEVICE void store_floats(uint32_t type, const float *k, const float *v, uint32_t n, uint32_t at, uint8_t *keys,
                         uint8_t *values) {
    for (uint32_t d = threadIdx.x; d < n; d += TERN_CUDA_ROPE_THREADS)
        if (type == KV_F32) {
            ((float *)keys)[d * KEY_BLOCK + at] = k[d];
            ((float *)values)[at * n + d] = v[d];
        } else {
            ((uint16_t *)keys)[d * KEY_BLOCK + at] = half_from_float(k[d]);
            ((uint16_t *)values)[at * n + d] = half_from_float(v[d]);
        }
}

/* Warp 0 quantises the key, warp 1 the value. */
DEVICE void store_q8(const tern_cuda_kv_layout &layout, const float *k, const float *v, uint32_t n, uint32_t at,
                     uint8_t *part, int8_t (*q8)[TERN_CUDA_HEAD_DIM]) {
    const uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (warp < 2) {
        float s = warp_quantize(warp ? v : k, n, pad4(n), q8[warp], lane);
        if (lane == 0)
            ((float *)(part + (warp ? layout.value_scales_at : layout.key_scales_at)))[at] = div_(1.0f, s);
    }
    sync_block();
    uint8_t *values = part + layout.values_at;
    for (uint32_t d = threadIdx.x; d < pad4(n); d += TERN_CUDA_ROPE_THREADS) {
        part[(d / 4 * KEY_BLOCK + at) * 4 + d % 4] = (uint8_t)q8[0][d];
        if (d < n)
            values[(at / 4 * n + d) * 4 + at % 4] = (uint8_t)q8[1][d];
    }
}

KERNEL(TERN_CUDA_ROPE_THREADS) tern_cuda_rope_store(const tern_cuda_rope_store_args args) {
    __shared__ float k_row[TERN_CUDA_HEAD_DIM], v_row[TERN_CUDA_HEAD_DIM];
    __shared__ int8_t q8[2][TERN_CUDA_HEAD_DIM];
    const uint32_t token = blockIdx.y, head_dim = args.kv.head_dim, h = head_dim / 2;
    const tern_cuda_slot slot = args.kv.slots[token];
    const float *cos = args.cos + (size_t)slot.position * h, *sin = args.sin + (size_t)slot.position * h;
    if (blockIdx.x < args.kv.n_heads) {
        float *q = args.q + ((size_t)token * args.kv.n_heads + blockIdx.x) * head_dim;
        rotate(q, cos, sin, h, q);
        return;
    }
    const uint32_t kv_head = blockIdx.x - args.kv.n_heads;
    const size_t row = ((size_t)token * args.kv.n_kv_heads + kv_head) * head_dim;
    rotate(args.k + row, cos, sin, h, k_row);
    for (uint32_t d = threadIdx.x; d < head_dim; d += TERN_CUDA_ROPE_THREADS)
        v_row[d] = args.v[row + d];
    sync_block();
    const tern_cuda_kv_layout &layout = args.kv.layouts[slot.type];
    uint8_t *part = kv_part(args.kv, slot, slot.position / KEY_BLOCK, kv_head);
    const uint32_t at = slot.position % KEY_BLOCK;
    if (slot.type == KV_Q8)
        store_q8(layout, k_row, v_row, head_dim, at, part, q8);
    else
        store_floats(slot.type, k_row, v_row, head_dim, at, part, part + layout.values_at);
}

/* ------------------------------------------------------------------ one split */

/* What the threads of a block share. */
struct attend_shared {
    float q[HEADS][TERN_CUDA_HEAD_DIM]; /* or int8 of a q8 cache */
    uint32_t q8[HEADS][TERN_CUDA_HEAD_DIM / 4];
    float q_scale[HEADS];
    float scores[HEADS][KEY_SPLIT]; /* then weights */
    float max[HEADS], sum[HEADS];
    float largest[HEADS][KEY_SPLIT / WARP];                            /* weights of a q8 cache, by warp */
    uint32_t digits_high[HEADS][KEY_SPLIT / 4], digits_low[HEADS][KEY_SPLIT / 4]; /* four keys a word */
};

/* The heads first_head .. first_head + n_heads - 1 of a token, all of one KV head. */
struct attend_tile {
    tern_cuda_slot slot;
    uint32_t token, first_head, n_heads, kv_head;
};

DEVICE attend_tile find_tile(const tern_cuda_attend_args &args, uint32_t index, uint32_t token) {
    const uint32_t heads = args.kv.n_heads / args.kv.n_kv_heads, tiles = (heads + HEADS - 1) / HEADS;
    attend_tile tile;
    tile.slot = args.kv.slots[token];
    tile.token = token;
    tile.kv_head = index / tiles;
    const uint32_t first = index % tiles * HEADS;
    tile.first_head = tile.kv_head * heads + first;
    tile.n_heads = heads - first < HEADS ? heads - first : HEADS;
    return tile;
}

/* The queries to shared memory; those of heads that a tile does not have are zeros. */
DEVICE void load_queries(const tern_cuda_attend_args &args, const attend_tile &tile, attend_shared *shared) {
    const uint32_t head_dim = args.kv.head_dim, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const float *q = args.q + ((size_t)tile.token * args.kv.n_heads + tile.first_head) * head_dim;
    for (uint32_t i = threadIdx.x; i < HEADS * head_dim; i += TERN_CUDA_ATTEND_THREADS)
        shared->q[i / head_dim][i % head_dim] = i / head_dim < tile.n_heads ? q[i] : 0.0f;
    sync_block();
    if (tile.slot.type == KV_Q8) {
        if (warp < HEADS) {
            float s = warp_quantize(shared->q[warp], head_dim, pad4(head_dim), (int8_t *)shared->q8[warp], lane);
            if (lane == 0)
                shared->q_scale[warp] = div_(1.0f, s) * args.scale;
        }
        sync_block();
    }
}

/* This thread's key: its scores with all queries. */
DEVICE void score_key(const tern_cuda_attend_args &args, uint32_t type, const uint8_t *part, uint32_t at,
                      const attend_shared *shared, float *scores) {
    const uint32_t head_dim = args.kv.head_dim;
    if (type == KV_Q8) {
        int32_t dots[HEADS] = {0};
        const uint32_t *keys = (const uint32_t *)part + at;
#pragma unroll 4
        for (uint32_t d = 0; d < pad4(head_dim) / 4; d++) {
            uint32_t key = keys[d * KEY_BLOCK];
            UNROLL for (int h = 0; h < HEADS; h++) dots[h] = dp4a(shared->q8[h][d], key, dots[h]);
        }
        float key_scale = ((const float *)(part + args.kv.layouts[KV_Q8].key_scales_at))[at];
        UNROLL for (int h = 0; h < HEADS; h++) scores[h] = (float)dots[h] * (shared->q_scale[h] * key_scale);
        return;
    }
    float r[HEADS] = {0.0f};
#pragma unroll 8
    for (uint32_t d = 0; d < head_dim; d++) {
        float key = type == KV_F32 ? ((const float *)part)[d * KEY_BLOCK + at]
                                   : float_from_half(((const uint16_t *)part)[d * KEY_BLOCK + at]);
        UNROLL for (int h = 0; h < HEADS; h++) r[h] = fma_(shared->q[h][d], key, r[h]);
    }
    UNROLL for (int h = 0; h < HEADS; h++) scores[h] = r[h] * args.scale;
}

/* softmax_exp of the split's n scores of each head, in place. */
DEVICE void soften(attend_shared *shared, uint32_t n) {
    const uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (warp < HEADS) {
        float largest = -INFINITY;
        for (uint32_t i = lane; i < n; i += WARP)
            largest = fmaxf(largest, shared->scores[warp][i]);
        largest = warp_max(largest);
        if (lane == 0)
            shared->max[warp] = largest;
    }
    sync_block();
    if (threadIdx.x < n)
        UNROLL for (int h = 0; h < HEADS; h++) shared->scores[h][threadIdx.x] =
            exp_(shared->scores[h][threadIdx.x] - shared->max[h]);
    sync_block();
    if (warp < HEADS) {
        float sum = 0.0f;
        if (lane < 16)
            for (uint32_t i = lane; i < n; i += 16)
                sum = sum + shared->scores[warp][i];
        sum = fold16(sum);
        if (lane == 0)
            shared->sum[warp] = sum;
    }
}

/* The weights of a q8 cache as two digits of 7 bits; the scores must not be needed any more. */
DEVICE void round_weights(const tern_cuda_attend_args &args, const attend_tile &tile, uint32_t split, uint32_t n,
                          attend_shared *shared) {
    const uint32_t key = threadIdx.x, warp = key / WARP, block = key / KEY_BLOCK;
    float weights[HEADS];
    float value_scale = 0.0f;
    if (key < n)
        value_scale = ((const float *)(kv_part(args.kv, tile.slot, split * SPLIT_BLOCKS + block, tile.kv_head) +
                                       args.kv.layouts[KV_Q8].value_scales_at))[key % KEY_BLOCK];
    UNROLL for (int h = 0; h < HEADS; h++) {
        float p = key < n ? shared->scores[h][key] : 0.0f;
        weights[h] = p > 0.0f ? p * value_scale : 0.0f;
        float largest = warp_max(weights[h]);
        if (key % WARP == 0)
            shared->largest[h][warp] = largest;
    }
    sync_block();
    UNROLL for (int h = 0; h < HEADS; h++) {
        float largest = 1e-30f;
        for (uint32_t w = block * (KEY_BLOCK / WARP); w < (block + 1) * (KEY_BLOCK / WARP); w++)
            largest = shared->largest[h][w] > largest ? shared->largest[h][w] : largest;
        float step = div_(largest, (float)WEIGHT_MAX);
        float rounded = round_(weights[h] * div_(1.0f, step));
        uint32_t digit = rounded > 0.0f ? (uint32_t)rounded : 0u;
        ((uint8_t *)shared->digits_high[h])[key] = (uint8_t)(digit >> 7);
        ((uint8_t *)shared->digits_low[h])[key] = (uint8_t)(digit & 127u);
    }
    sync_block();
    if (threadIdx.x < HEADS * SPLIT_BLOCKS) { /* the steps, where the scores were */
        const uint32_t h = threadIdx.x / SPLIT_BLOCKS, b = threadIdx.x % SPLIT_BLOCKS;
        float largest = 1e-30f;
        for (uint32_t w = b * (KEY_BLOCK / WARP); w < (b + 1) * (KEY_BLOCK / WARP); w++)
            largest = shared->largest[h][w] > largest ? shared->largest[h][w] : largest;
        shared->scores[h][b] = div_(largest, (float)WEIGHT_MAX);
    }
}

/* Which outputs a thread has: channel d of the heads group, group + n_groups, ... A thread without any has d = -1. */
struct attend_place {
    int32_t d;
    uint32_t group, n_groups;
};

DEVICE attend_place find_place(uint32_t head_dim) {
    attend_place place;
    place.n_groups = TERN_CUDA_ATTEND_THREADS / head_dim;
    if (place.n_groups > HEADS)
        place.n_groups = HEADS;
    place.group = threadIdx.x / head_dim;
    place.d = place.group < place.n_groups ? (int32_t)(threadIdx.x % head_dim) : -1;
    return place;
}

/* A block's n values times their weights, added to this thread's channels. */
DEVICE void sum_values(const tern_cuda_attend_args &args, uint32_t type, const uint8_t *part, const attend_place &place,
                       uint32_t block, uint32_t n, const attend_shared *shared, float *out) {
    const uint32_t head_dim = args.kv.head_dim, d = (uint32_t)place.d;
    const uint8_t *values = part + args.kv.layouts[type].values_at;
    if (type == KV_Q8) {
        int32_t high[HEADS] = {0}, low[HEADS] = {0};
#pragma unroll 4
        for (uint32_t j = 0; j < (n + 3) / 4; j++) {
            uint32_t four = ((const uint32_t *)values)[j * head_dim + d];
            UNROLL for (uint32_t i = 0; i < HEADS; i++) if (place.group + i * place.n_groups < HEADS) {
                const uint32_t h = place.group + i * place.n_groups, word = block * (KEY_BLOCK / 4) + j;
                high[i] = dp4a(shared->digits_high[h][word], four, high[i]);
                low[i] = dp4a(shared->digits_low[h][word], four, low[i]);
            }
        }
        UNROLL for (uint32_t i = 0; i < HEADS; i++) if (place.group + i * place.n_groups < HEADS) out[i] =
            fma_((float)(128 * high[i] + low[i]), shared->scores[place.group + i * place.n_groups][block], out[i]);
        return;
    }
#pragma unroll 8
    for (uint32_t j = 0; j < n; j++) {
        float value = type == KV_F32 ? ((const float *)values)[j * head_dim + d]
                                     : float_from_half(((const uint16_t *)values)[j * head_dim + d]);
        UNROLL for (uint32_t i = 0; i < HEADS; i++) if (place.group + i * place.n_groups < HEADS) out[i] =
            fma_(shared->scores[place.group + i * place.n_groups][block * KEY_BLOCK + j], value, out[i]);
    }
}

/* One split of a tile: maxima and sums in shared memory, out [HEADS] of this thread's channels. */
DEVICE void attend_split(const tern_cuda_attend_args &args, const attend_tile &tile, const attend_place &place,
                         uint32_t split, attend_shared *shared, float *out) {
    const uint32_t left = tile.slot.position + 1 - split * KEY_SPLIT, n = left < KEY_SPLIT ? left : KEY_SPLIT;
    const uint32_t key = threadIdx.x, type = tile.slot.type;
    float scores[HEADS];
    if (key < n) {
        score_key(args, type, kv_part(args.kv, tile.slot, split * SPLIT_BLOCKS + key / KEY_BLOCK, tile.kv_head),
                  key % KEY_BLOCK, shared, scores);
        UNROLL for (int h = 0; h < HEADS; h++) shared->scores[h][key] = scores[h];
    }
    sync_block();
    soften(shared, n);
    sync_block();
    if (type == KV_Q8) {
        round_weights(args, tile, split, n, shared);
        sync_block();
    }
    UNROLL for (int i = 0; i < HEADS; i++) out[i] = 0.0f;
    for (uint32_t b = 0; place.d >= 0 && b * KEY_BLOCK < n; b++)
        sum_values(args, type, kv_part(args.kv, tile.slot, split * SPLIT_BLOCKS + b, tile.kv_head), place, b,
                   n - b * KEY_BLOCK < KEY_BLOCK ? n - b * KEY_BLOCK : KEY_BLOCK, shared, out);
}

/* Merge a split's state into that of those before it; `merge` of kernels/attention.h for one channel. */
DEVICE void merge_state(float *max, float *sum, float *out, float max_i, float sum_i, float out_i) {
    float m = max_i > *max ? max_i : *max;
    float a = exp_(*max - m), b = exp_(max_i - m);
    *out = fma_(*out, a, out_i * b);
    *sum = fma_(*sum, a, sum_i * b);
    *max = m;
}

/* ------------------------------------------------------------------- kernels */

KERNEL(TERN_CUDA_ATTEND_THREADS) tern_cuda_attend_splits(const tern_cuda_attend_args args) {
    __shared__ attend_shared shared;
    const uint32_t split = blockIdx.y, head_dim = args.kv.head_dim;
    const attend_tile tile = find_tile(args, blockIdx.x, blockIdx.z);
    if (split * KEY_SPLIT > tile.slot.position)
        return;
    const attend_place place = find_place(head_dim);
    float out[HEADS];
    load_queries(args, tile, &shared);
    attend_split(args, tile, place, split, &shared, out);
    UNROLL for (uint32_t i = 0; i < HEADS; i++) {
        const uint32_t h = place.group + i * place.n_groups;
        if (place.d < 0 || h >= tile.n_heads)
            continue;
        float *state = args.states + (((size_t)tile.token * args.kv.n_heads + tile.first_head + h) * args.n_splits +
                                      split) * (head_dim + 2);
        state[place.d] = out[i];
        if (place.d == 0) {
            state[head_dim] = shared.max[h];
            state[head_dim + 1] = shared.sum[h];
        }
    }
}

KERNEL(TERN_CUDA_ROPE_THREADS) tern_cuda_attend_merge(const tern_cuda_attend_args args) {
    const uint32_t head = blockIdx.x, token = blockIdx.y, head_dim = args.kv.head_dim;
    const uint32_t n_splits = args.kv.slots[token].position / KEY_SPLIT + 1;
    const size_t at = (size_t)token * args.kv.n_heads + head;
    for (uint32_t d = threadIdx.x; d < head_dim; d += TERN_CUDA_ROPE_THREADS) {
        const float *state = args.states + at * args.n_splits * (head_dim + 2);
        float max = state[head_dim], sum = state[head_dim + 1], out = state[d];
        for (uint32_t split = 1; split < n_splits; split++) {
            state += head_dim + 2;
            merge_state(&max, &sum, &out, state[head_dim], state[head_dim + 1], state[d]);
        }
        args.out[at * head_dim + d] = div_(out, sum);
    }
}

KERNEL(TERN_CUDA_ATTEND_THREADS) tern_cuda_attend_whole(const tern_cuda_attend_args args) {
    __shared__ attend_shared shared;
    const uint32_t head_dim = args.kv.head_dim;
    const attend_tile tile = find_tile(args, blockIdx.x, blockIdx.y);
    const attend_place place = find_place(head_dim);
    float out[HEADS], max[HEADS], sum[HEADS], next[HEADS];
    load_queries(args, tile, &shared);
    for (uint32_t split = 0; split * KEY_SPLIT <= tile.slot.position; split++) {
        attend_split(args, tile, place, split, &shared, next);
        UNROLL for (uint32_t i = 0; i < HEADS; i++) {
            const uint32_t h = place.group + i * place.n_groups;
            if (place.d < 0 || h >= HEADS)
                continue;
            if (split == 0) {
                max[i] = shared.max[h];
                sum[i] = shared.sum[h];
                out[i] = next[i];
            } else {
                merge_state(&max[i], &sum[i], &out[i], shared.max[h], shared.sum[h], next[i]);
            }
        }
        sync_block(); /* the next split writes what was just read */
    }
    UNROLL for (uint32_t i = 0; i < HEADS; i++) {
        const uint32_t h = place.group + i * place.n_groups;
        if (place.d >= 0 && h < tile.n_heads)
            args.out[((size_t)tile.token * args.kv.n_heads + tile.first_head + h) * head_dim + place.d] =
                div_(out[i], sum[i]);
    }
}
