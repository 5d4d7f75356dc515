/*
 * Which rows of the logits a sampler may want (runtime/head.h), so that not all of them go to the host. Each query is a
 * score of the rows and how many of the best are wanted; rows with a score of at least the last of these are gathered,
 * which is every wanted row, and more only where scores are equal or groups have several of the best:
 *
 *   select_peaks   the largest score of each group of rows, NaN if there is a NaN among them
 *   select_cut     the k-th largest peak: at least k rows have that score
 *   select_rows    the rows that reach it
 *
 * Scores are compared as floats. Where they are made in double, rounding keeps their order, so no row is lost.
 */

enum { SELECT_WARPS = TERN_CUDA_SELECT_THREADS / WARP };

/* tern_gumbel() of a row, operation by operation (runtime/gumbel_tmpl.c has the reasons). */
DEVICE uint64_t gumbel_mix(uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

DEVICE float gumbel_fraction(uint32_t high, uint32_t low) {
    int32_t upper = (int32_t)(high >> 1), lower = (int32_t)((high & 1) << 30 | low >> 2);
    return (float)upper * 0x1p-31f + ((float)lower + 0.5f) * 0x1p-62f;
}

DEVICE uint32_t gumbel_exponent(float x) { return (bits_from_float(x) - 0x3f3504f3u) & 0xff800000u; }

DEVICE float gumbel_log(uint32_t exponent, float r) {
    float r2 = r * r, r4 = r2 * r2;
    float p01 = 0x1.5556c8p-2f - 0x1.00037ap-2f * r, p23 = 0x1.98dc0cp-3f - 0x1.53854ep-3f * r;
    float p456 = (0x1.3150e0p-3f - 0x1.2413d2p-3f * r) + r2 * 0x1.64cf2cp-4f;
    float p = (p01 + r2 * p23) + r4 * p456;
    return (float)((int32_t)exponent >> 23) * 0x1.62e43p-1f + (r - (0.5f * r2 - r2 * r * p));
}

DEVICE float gumbel(uint64_t start, uint32_t row) {
    const uint64_t z = gumbel_mix(start + row * 0x9e3779b97f4a7c15u);
    const uint32_t high = (uint32_t)(z >> 32), low = (uint32_t)z;
    const float u = gumbel_fraction(high, low), rest = gumbel_fraction(~high, ~low);
    uint32_t e = gumbel_exponent(u);
    const float r = e == 0 ? -rest : float_from_bits(bits_from_float(u) - e) - 1;
    const float exponential = -gumbel_log(e, r);
    e = gumbel_exponent(exponential);
    return -gumbel_log(e, float_from_bits(bits_from_float(exponential) - e) - 1);
}

DEVICE float select_score(const tern_cuda_query &query, float logit, uint32_t row) {
    if (query.want != TERN_CUDA_SELECT_GUMBEL)
        return logit;
    return (float)((double)logit / query.temperature + (double)gumbel(query.start, row));
}

KERNEL(TERN_CUDA_SELECT_THREADS) tern_cuda_select_peaks(const tern_cuda_select_args args) {
    const uint32_t token = blockIdx.y, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const uint32_t group = blockIdx.x * SELECT_WARPS + warp;
    const tern_cuda_query &query = args.queries[token];
    const float *logits = args.logits + (size_t)token * args.n_rows;
    float peak = -INFINITY;
    bool broken = false;
    for (uint32_t i = lane; i < TERN_CUDA_SELECT_ROWS; i += WARP) {
        const uint32_t row = group * TERN_CUDA_SELECT_ROWS + i;
        if (row >= args.n_rows)
            continue;
        const float score = select_score(query, logits[row], row);
        broken |= !(score == score);
        peak = fmaxf(peak, score);
    }
    peak = warp_max(peak);
    broken = votes(broken) != 0;
    if (lane == 0 && group < args.n_groups)
        args.peaks[(size_t)token * args.n_groups + group] = broken ? float_from_bits(0x7fc00000u) : peak;
}

/* Floats in their order as integers; -0 is less than 0, which only makes the cut lower. */
DEVICE uint32_t select_key(float x) {
    const uint32_t bits = bits_from_float(x);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

DEVICE float select_value(uint32_t key) { return float_from_bits(key >> 31 ? key & 0x7fffffffu : ~key); }

/* Numbers of all threads together, to all threads. */
DEVICE uint32_t select_total(uint32_t n, uint32_t *shared) {
    const int32_t sum = warp_sum((int32_t)n);
    sync_block(); /* what was there has been read */
    if (threadIdx.x % WARP == 0)
        shared[threadIdx.x / WARP] = (uint32_t)sum;
    sync_block();
    uint32_t total = 0;
    for (uint32_t w = 0; w < SELECT_WARPS; w++)
        total += shared[w];
    return total;
}

KERNEL(TERN_CUDA_SELECT_THREADS) tern_cuda_select_cut(const tern_cuda_select_args args) {
    __shared__ uint32_t totals[SELECT_WARPS];
    const uint32_t token = blockIdx.x;
    const tern_cuda_query &query = args.queries[token];
    const float *peaks = args.peaks + (size_t)token * args.n_groups;
    uint32_t broken = 0;
    for (uint32_t i = threadIdx.x; i < args.n_groups; i += TERN_CUDA_SELECT_THREADS)
        broken += !(peaks[i] == peaks[i]);
    broken = select_total(broken, totals);
    uint32_t cut = 0; /* the largest key that so many peaks reach, bit by bit */
    for (int bit = 31; bit >= 0; bit--) {
        const uint32_t above = cut | 1u << bit;
        uint32_t n = 0;
        for (uint32_t i = threadIdx.x; i < args.n_groups; i += TERN_CUDA_SELECT_THREADS)
            n += select_key(peaks[i]) >= above;
        if (select_total(n, totals) >= query.k)
            cut = above;
    }
    if (threadIdx.x == 0) {
        args.cuts[token] = select_value(cut);
        args.found[token].n = broken ? TERN_CUDA_SELECT_MOST + 1 : 0;
    }
}

KERNEL(TERN_CUDA_SELECT_THREADS) tern_cuda_select_rows(const tern_cuda_select_args args) {
    const uint32_t token = blockIdx.y, row = blockIdx.x * TERN_CUDA_SELECT_THREADS + threadIdx.x;
    const tern_cuda_query &query = args.queries[token];
    if (row >= args.n_rows)
        return;
    const float logit = args.logits[(size_t)token * args.n_rows + row], cut = args.cuts[token];
    const bool wanted = query.want == TERN_CUDA_SELECT_NEAR ? (double)logit >= (double)cut - query.margin
                                                            : select_score(query, logit, row) >= cut;
    if (!wanted)
        return;
    tern_cuda_found *found = &args.found[token];
    const uint32_t at = atomic_add(&found->n, 1u);
    if (at < TERN_CUDA_SELECT_MOST) {
        found->ids[at] = (int32_t)row;
        found->logits[at] = logit;
    }
}
