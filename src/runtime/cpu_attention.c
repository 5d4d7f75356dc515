#include "runtime/cpu_attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "runtime/rotations.h"

enum {
    TILE_QUERIES = 32,          /* share each key that is read; their scores (32 KB) stay in L2 */
    SMALL_BATCH = 8,            /* tokens up to which the splits of one query are spread over threads */
    TASKS_PER_THREAD = 4,       /* for threads of unequal speed */
    MIN_TASK_VALUES = 32 << 10, /* a few microseconds' work: for less no other thread is woken */
    ROPE_TOKENS = 8,            /* likewise */
    LINE_FLOATS = 16
};

void tern_cpu_attention_init(tern_cpu_attention *attention, const tern_dims *dims, const tern_kernels *kernels,
                             tern_pool *pool) {
    *attention = (tern_cpu_attention){.dims = dims, .kernels = kernels, .pool = pool};
}

/* Query heads of a KV head. */
static uint32_t heads_of(const tern_cpu_attention *attention) {
    return attention->dims->n_heads / attention->dims->n_kv_heads;
}

static uint32_t tile_tokens(const tern_cpu_attention *attention) {
    uint32_t tokens = TILE_QUERIES / heads_of(attention);
    return tokens ? tokens : 1;
}

/* ----------------------------------------------------------------- memory */

static size_t in_lines(size_t n_floats) { return (n_floats + LINE_FLOATS - 1) / LINE_FLOATS * LINE_FLOATS; }

/* The next n floats of a worker's memory, from a new cache line on. */
static float *take(float **memory, size_t n) {
    float *taken = *memory;
    *memory += in_lines(n);
    return taken;
}

static bool alloc_scratch(tern_attention_scratch *s, size_t queries, size_t head_dim) {
    size_t q8_floats = queries * tern_kv_pad(head_dim) / sizeof(float);
    size_t n = in_lines(queries * TERN_KEY_SPLIT) + 3 * in_lines(queries * head_dim) + 6 * in_lines(queries);
    float *next = s->memory = tern_aligned_alloc((n + q8_floats) * sizeof(float));
    if (!next)
        return false;
    s->scores = take(&next, queries * TERN_KEY_SPLIT);
    s->q = take(&next, queries * head_dim);
    tern_attention_state *states[] = {&s->state, &s->split};
    for (size_t i = 0; i < 2; i++) {
        states[i]->max = take(&next, queries);
        states[i]->sum = take(&next, queries);
        states[i]->out = take(&next, queries * head_dim);
    }
    s->q_scale = take(&next, queries);
    s->q_sum = (int32_t *)(void *)take(&next, queries);
    s->q8 = (int8_t *)take(&next, q8_floats);
    return true;
}

static void free_scratch(tern_cpu_attention *attention) {
    for (int i = 0; attention->scratch && i < tern_pool_threads(attention->pool); i++)
        tern_aligned_free(attention->scratch[i].memory);
    free(attention->scratch);
    free(attention->pending);
    attention->scratch = NULL;
    attention->pending = NULL;
}

/* What does not depend on the context's length. */
static bool reserve_scratch(tern_cpu_attention *attention) {
    if (attention->scratch)
        return true;
    int threads = tern_pool_threads(attention->pool);
    size_t queries = (size_t)tile_tokens(attention) * heads_of(attention);
    attention->scratch = tern_calloc_array((size_t)threads, sizeof *attention->scratch);
    attention->pending =
        tern_calloc_array((size_t)SMALL_BATCH * attention->dims->n_kv_heads, sizeof *attention->pending);
    bool ok = attention->scratch && attention->pending;
    for (int i = 0; ok && i < threads; i++)
        ok = alloc_scratch(&attention->scratch[i], queries, attention->dims->head_dim);
    if (!ok)
        free_scratch(attention);
    return ok;
}

static void free_tables(tern_attention_tables *tables) {
    tern_aligned_free(tables->cos);
    tern_aligned_free(tables->sin);
    tern_aligned_free(tables->splits);
    *tables = (tern_attention_tables){0};
}

/* Floats that the states of one split of n_q queries take. */
static size_t state_floats(size_t n_q, size_t head_dim) { return 2 * in_lines(n_q) + in_lines(n_q * head_dim); }

tern_status tern_cpu_attention_reserve(tern_cpu_attention *attention, uint32_t n_ctx, tern_error *err) {
    if (n_ctx <= attention->tables.n_positions)
        return TERN_OK;
    const tern_dims *dims = attention->dims;
    uint32_t n_positions = (n_ctx + TERN_KEY_SPLIT - 1) / TERN_KEY_SPLIT * TERN_KEY_SPLIT;
    size_t angles = n_positions * (size_t)(dims->head_dim / 2);
    size_t per_split = state_floats(heads_of(attention), dims->head_dim) * dims->n_kv_heads * SMALL_BATCH;
    tern_attention_tables larger = {.n_positions = n_positions};
    larger.cos = tern_aligned_alloc(angles * sizeof(float));
    larger.sin = tern_aligned_alloc(angles * sizeof(float));
    larger.splits = tern_aligned_alloc(n_positions / TERN_KEY_SPLIT * per_split * sizeof(float));
    if (!larger.cos || !larger.sin || !larger.splits || !reserve_scratch(attention)) {
        free_tables(&larger);
        return tern_fail(err, TERN_ERR_MEMORY, "out of memory for a context of %u tokens; a smaller -c needs less",
                         n_ctx);
    }
    free_tables(&attention->tables);
    attention->tables = larger;
    return TERN_OK;
}

void tern_cpu_attention_free(tern_cpu_attention *attention) {
    free_scratch(attention);
    free_tables(&attention->tables);
}

/* ----------------------------------------------------------- rope and store */

/* The angles of positions below n. They are computed when first needed: all of a long context would take a start of
 * tens of milliseconds. */
static void fill_rope_tables(const tern_dims *dims, tern_attention_tables *tables, uint32_t n) {
    tern_rotations_fill(dims, tables->n_rotations, n, tables->cos, tables->sin);
    if (tables->n_rotations < n)
        tables->n_rotations = n;
}

typedef struct rope_job {
    tern_cpu_attention *attention;
    const tern_slot *slots;
    uint32_t n, layer;
    float *q, *k;
    const float *v;
} rope_job;

/* Channel d of key or value `at` of a block goes to element (d / group) * group_stride + at_stride * at + d % group. */
static void store_f32(const float *row, size_t n, size_t stride, float *to) {
    for (size_t d = 0; d < n; d++)
        to[d * stride] = row[d];
}

static void store_f16(const tern_kernels *kernels, const float *row, size_t n, size_t stride, uint16_t *to) {
    uint16_t halves[64];
    for (size_t first = 0; first < n; first += 64) {
        size_t count = n - first < 64 ? n - first : 64;
        kernels->f32_to_f16(row + first, count, halves);
        for (size_t d = 0; d < count; d++)
            to[(first + d) * stride] = halves[d];
    }
}

/* Key and value of one KV head into their places of a block (kernels/attention.h has the layouts). */
static void store_head(const tern_kernels *kernels, const tern_kv_layout *layout, const float *k, const float *v,
                       uint32_t at, const tern_kv_part *part, int8_t *q8) {
    size_t n = layout->head_dim, padded = tern_kv_pad(n);
    if (layout->type == TERN_KV_F32) {
        store_f32(k, n, TERN_KEY_BLOCK, (float *)(void *)part->keys + at);
        store_f32(v, n, 1, (float *)(void *)part->values + at * n);
        return;
    }
    if (layout->type == TERN_KV_F16) {
        store_f16(kernels, k, n, TERN_KEY_BLOCK, (uint16_t *)(void *)part->keys + at);
        store_f16(kernels, v, n, 1, (uint16_t *)(void *)part->values + at * n);
        return;
    }
    float s;
    int32_t unused_sum;
    kernels->quantize_i8(k, n, padded, q8, &s, &unused_sum);
    part->key_scales[at] = 1.0f / s;
    for (size_t d = 0; d < padded; d += 4)
        memcpy(part->keys + d * TERN_KEY_BLOCK + 4 * (size_t)at, q8 + d, 4);
    kernels->quantize_i8(v, n, padded, q8, &s, &unused_sum);
    part->value_scales[at] = 1.0f / s;
    for (size_t d = 0; d < n; d++)
        part->values[at / 4 * 4 * n + 4 * d + at % 4] = (uint8_t)q8[d];
}

static void rope_store_token(const rope_job *job, size_t token, int worker) {
    const tern_cpu_attention *attention = job->attention;
    const tern_dims *dims = attention->dims;
    const tern_slot *slot = &job->slots[token];
    const float *cos = attention->tables.cos + (size_t)slot->position * (dims->head_dim / 2);
    const float *sin = attention->tables.sin + (size_t)slot->position * (dims->head_dim / 2);
    float *k = job->k + token * tern_kv_size(dims);
    const float *v = job->v + token * tern_kv_size(dims);
    attention->kernels->rope(job->q + token * tern_q_size(dims), dims->n_heads, dims->head_dim, cos, sin);
    attention->kernels->rope(k, dims->n_kv_heads, dims->head_dim, cos, sin);
    for (uint32_t head = 0; head < dims->n_kv_heads; head++) {
        tern_kv_part part = tern_kv_at(slot->kv, slot->position / TERN_KV_BLOCK, job->layer, head);
        size_t offset = (size_t)head * dims->head_dim;
        store_head(attention->kernels, &slot->kv->layout, k + offset, v + offset, slot->position % TERN_KV_BLOCK, &part,
                   attention->scratch[worker].q8);
    }
}

static void rope_store_task(void *context, size_t task, int worker) {
    const rope_job *job = context;
    for (size_t token = task * ROPE_TOKENS; token < (task + 1) * ROPE_TOKENS && token < job->n; token++)
        rope_store_token(job, token, worker);
}

void tern_cpu_rope_store(tern_cpu_attention *attention, const tern_slot *slots, uint32_t n, uint32_t layer, float *q,
                         float *k, const float *v) {
    for (uint32_t i = 0; i < n; i++)
        if (slots[i].position >= attention->tables.n_rotations)
            fill_rope_tables(attention->dims, &attention->tables, slots[i].position + 1);
    rope_job job = {attention, slots, n, layer, q, k, v};
    tern_pool_run(attention->pool, (n + ROPE_TOKENS - 1) / ROPE_TOKENS, rope_store_task, &job);
}

/* ------------------------------------------------------------ one split */

/* Tokens [first, first + n) of the batch, of one sequence at consecutive positions. */
typedef struct span {
    uint32_t first, n;
} span;

typedef struct attention_job {
    tern_cpu_attention *attention;
    const tern_slot *slots;
    uint32_t n, layer;
    const float *q;
    float *out;
    span spans[SMALL_BATCH]; /* of a small batch */
    size_t n_spans, n_units, units_per_task;
    uint32_t tokens_per_unit; /* of a large batch */
} attention_job;

/* The queries that one unit of work is about: those of a span and a KV head, token after token. */
typedef struct tile {
    const attention_job *job;
    tern_attention_scratch *scratch;
    span tokens;
    uint32_t kv_head, heads, last_position;
} tile;

static uint32_t splits_of(uint32_t position) { return position / TERN_KEY_SPLIT + 1; }

/* Keys of a split that token t of the tile sees. */
static uint32_t keys_seen(const tile *t, uint32_t token, uint32_t split) {
    uint32_t end = t->job->slots[t->tokens.first + token].position + 1, first = split * TERN_KEY_SPLIT;
    return end <= first ? 0 : end - first < TERN_KEY_SPLIT ? end - first : TERN_KEY_SPLIT;
}

static const tern_kv *kv_of(const tile *t) { return t->job->slots[t->tokens.first].kv; }

static tern_kv_part part_of(const tile *t, uint32_t split, uint32_t block) {
    return tern_kv_at(kv_of(t), split * (TERN_KEY_SPLIT / TERN_KEY_BLOCK) + block, t->job->layer, t->kv_head);
}

/* Copy the tile's queries to one place, as int8 for an int8 cache. */
static tile make_tile(const attention_job *job, span tokens, uint32_t kv_head, tern_attention_scratch *s) {
    const tern_cpu_attention *attention = job->attention;
    const tern_dims *dims = attention->dims;
    uint32_t heads = heads_of(attention);
    size_t size = (size_t)heads * dims->head_dim, padded = tern_kv_pad(dims->head_dim);
    tile t = {job, s, tokens, kv_head, heads, job->slots[tokens.first + tokens.n - 1].position};
    bool q8 = kv_of(&t)->layout.type == TERN_KV_Q8;
    float scale = (float)(1.0 / sqrt((double)dims->head_dim));
    for (uint32_t i = 0; i < tokens.n; i++) {
        const float *q = job->q + (size_t)(tokens.first + i) * tern_q_size(dims) + kv_head * size;
        if (!q8)
            memcpy(s->q + i * size, q, size * sizeof *q);
        for (uint32_t h = 0; q8 && h < heads; h++) {
            size_t query = (size_t)i * heads + h;
            float factor;
            attention->kernels->quantize_i8(q + (size_t)h * dims->head_dim, dims->head_dim, padded,
                                            s->q8 + query * padded, &factor, &s->q_sum[query]);
            s->q_scale[query] = 1.0f / factor * scale;
        }
    }
    return t;
}

static void prefetch_scales(const float *scales) {
    for (size_t i = 0; scales && i < TERN_KEY_BLOCK; i += LINE_FLOATS)
        __builtin_prefetch(scales + i, 0, 3);
}

static void score_block(const tile *t, const tern_kv_part *part, uint32_t n_keys, float *scores, const void *ahead) {
    const tern_attention_kernels *kernels = t->job->attention->kernels->attention;
    const tern_attention_scratch *s = t->scratch;
    const tern_kv_layout *layout = &kv_of(t)->layout;
    size_t n_q = (size_t)t->tokens.n * t->heads, head_dim = layout->head_dim;
    float scale = (float)(1.0 / sqrt((double)head_dim));
    if (layout->type == TERN_KV_F32)
        kernels->scores_f32(s->q, n_q, (const float *)(const void *)part->keys, n_keys, head_dim, scale, scores,
                            TERN_KEY_SPLIT, ahead);
    else if (layout->type == TERN_KV_F16)
        kernels->scores_f16(s->q, n_q, (const uint16_t *)(const void *)part->keys, n_keys, head_dim, scale, scores,
                            TERN_KEY_SPLIT, ahead);
    else
        kernels->scores_q8(s->q8, s->q_scale, s->q_sum, n_q, (const int8_t *)part->keys, part->key_scales, n_keys,
                           head_dim, scores, TERN_KEY_SPLIT, ahead);
}

static void sum_block(const tile *t, const tern_kv_part *part, const float *weights, size_t n_q, uint32_t n_keys,
                      float *out, const void *ahead) {
    const tern_attention_kernels *kernels = t->job->attention->kernels->attention;
    const tern_kv_layout *layout = &kv_of(t)->layout;
    if (layout->type == TERN_KV_F32)
        kernels->values_f32(weights, TERN_KEY_SPLIT, n_q, (const float *)(const void *)part->values, n_keys,
                            layout->head_dim, out, ahead);
    else if (layout->type == TERN_KV_F16)
        kernels->values_f16(weights, TERN_KEY_SPLIT, n_q, (const uint16_t *)(const void *)part->values, n_keys,
                            layout->head_dim, out, ahead);
    else
        kernels->values_q8(weights, TERN_KEY_SPLIT, n_q, (const int8_t *)part->values, part->value_scales, n_keys,
                           layout->head_dim, out, ahead);
}

/* Add a block of the split to the tokens' sums: those that see all of it go together, the others, at the end of the
 * causal mask, each with the keys it sees. */
static void sum_block_masked(const tile *t, uint32_t split, uint32_t block, const tern_attention_state *state,
                             const void *ahead) {
    uint32_t head_dim = kv_of(t)->layout.head_dim, before = block * TERN_KEY_BLOCK;
    tern_kv_part part = part_of(t, split, block);
    for (uint32_t i = 0; i < t->tokens.n;) {
        uint32_t seen = keys_seen(t, i, split), together = 1;
        size_t query = (size_t)i * t->heads;
        if (seen >= before + TERN_KEY_BLOCK)
            together = t->tokens.n - i; /* later tokens see more */
        uint32_t n_keys = seen < before ? 0 : seen - before < TERN_KEY_BLOCK ? seen - before : TERN_KEY_BLOCK;
        if (n_keys)
            sum_block(t, &part, t->scratch->scores + query * TERN_KEY_SPLIT + before, (size_t)together * t->heads,
                      n_keys, state->out + query * head_dim, ahead);
        i += together;
    }
}

/* The tile's softmax and sums over one split. `next`: the keys that are read after it, or NULL. */
static void attend_split(const tile *t, uint32_t split, const tern_attention_state *state, const tern_kv_part *next) {
    const tern_attention_kernels *kernels = t->job->attention->kernels->attention;
    float *scores = t->scratch->scores;
    uint32_t n_keys = keys_seen(t, t->tokens.n - 1, split);
    uint32_t n_blocks = (n_keys + TERN_KEY_BLOCK - 1) / TERN_KEY_BLOCK;
    for (uint32_t b = 0; b < n_blocks; b++) {
        tern_kv_part part = part_of(t, split, b), ahead = part_of(t, split, b + 1 < n_blocks ? b + 1 : 0);
        uint32_t left = n_keys - b * TERN_KEY_BLOCK;
        prefetch_scales(b + 1 < n_blocks ? ahead.key_scales : ahead.value_scales);
        score_block(t, &part, left < TERN_KEY_BLOCK ? left : TERN_KEY_BLOCK, scores + b * TERN_KEY_BLOCK,
                    b + 1 < n_blocks ? ahead.keys : ahead.values);
    }
    for (uint32_t i = 0; i < t->tokens.n; i++) {
        uint32_t seen = keys_seen(t, i, split);
        for (size_t query = (size_t)i * t->heads; seen && query < (size_t)(i + 1) * t->heads; query++)
            state->sum[query] = kernels->softmax_exp(scores + query * TERN_KEY_SPLIT, seen, &state->max[query]);
    }
    memset(state->out, 0, (size_t)t->tokens.n * t->heads * kv_of(t)->layout.head_dim * sizeof *state->out);
    for (uint32_t b = 0; b < n_blocks; b++) {
        const void *ahead = next ? next->keys : NULL;
        if (b + 1 < n_blocks) {
            tern_kv_part part = part_of(t, split, b + 1);
            prefetch_scales(part.value_scales);
            ahead = part.values;
        } else if (next) {
            prefetch_scales(next->key_scales);
        }
        sum_block_masked(t, split, b, state, ahead);
    }
}

/* Merge a split's state into that of the splits before it. Tokens that see none of its keys come first. */
static void merge_split(const tile *t, uint32_t split, const tern_attention_state *state,
                        const tern_attention_state *next) {
    size_t head_dim = kv_of(t)->layout.head_dim, query = 0, n_q = (size_t)t->tokens.n * t->heads;
    for (uint32_t i = 0; i < t->tokens.n && !keys_seen(t, i, split); i++)
        query += t->heads;
    t->job->attention->kernels->attention->merge(state->max + query, state->sum + query, state->out + query * head_dim,
                                                 next->max + query, next->sum + query, next->out + query * head_dim,
                                                 n_q - query, head_dim);
}

static void give_result(const tile *t, const tern_attention_state *state) {
    const tern_dims *dims = t->job->attention->dims;
    for (uint32_t i = 0; i < t->tokens.n; i++)
        for (uint32_t h = 0; h < t->heads; h++) {
            size_t query = (size_t)i * t->heads + h;
            float *out = t->job->out + (size_t)(t->tokens.first + i) * tern_q_size(dims) +
                         ((size_t)t->kv_head * t->heads + h) * dims->head_dim;
            memcpy(out, state->out + query * dims->head_dim, dims->head_dim * sizeof *out);
            t->job->attention->kernels->divide(out, dims->head_dim, state->sum[query]);
        }
}

/* ------------------------------------------------------------- large batches */

/* The tokens from `first` on, before `end`, that go on with its sequence. */
static span span_at(const tern_slot *slots, uint32_t first, uint32_t end) {
    uint32_t n = 1;
    while (first + n < end && slots[first + n].kv == slots[first].kv &&
           slots[first + n].position == slots[first].position + n)
        n++;
    return (span){first, n};
}

/* One unit is one KV head for a few tokens, split after split. */
static void large_unit(const attention_job *job, size_t unit, int worker) {
    const tern_cpu_attention *attention = job->attention;
    uint32_t kv_head = (uint32_t)(unit % attention->dims->n_kv_heads);
    uint32_t first = (uint32_t)(unit / attention->dims->n_kv_heads) * job->tokens_per_unit;
    uint32_t end = job->n - first < job->tokens_per_unit ? job->n : first + job->tokens_per_unit;
    tern_attention_scratch *scratch = &attention->scratch[worker];
    while (first < end) {
        span tokens = span_at(job->slots, first, end);
        tile t = make_tile(job, tokens, kv_head, scratch);
        uint32_t n_splits = splits_of(t.last_position);
        for (uint32_t split = 0; split < n_splits; split++) {
            tern_kv_part next = part_of(&t, split + 1 < n_splits ? split + 1 : 0, 0);
            attend_split(&t, split, split ? &scratch->split : &scratch->state, split + 1 < n_splits ? &next : NULL);
            if (split)
                merge_split(&t, split, &scratch->state, &scratch->split);
        }
        give_result(&t, &scratch->state);
        first += tokens.n;
    }
}

/* As many tokens a unit as a tile takes, unless that leaves threads without work. */
static void plan_large(attention_job *job) {
    uint32_t tokens = tile_tokens(job->attention), n_kv_heads = job->attention->dims->n_kv_heads;
    size_t wanted = (size_t)tern_pool_threads(job->attention->pool) * TASKS_PER_THREAD;
    while (tokens > 1 && (size_t)(job->n + tokens - 1) / tokens * n_kv_heads < wanted)
        tokens--;
    job->tokens_per_unit = tokens;
    job->n_units = (size_t)(job->n + tokens - 1) / tokens * n_kv_heads;
    job->units_per_task = 1;
}

/* ------------------------------------------------------------- small batches */

/* Where in the batch a unit of a small batch is: one split of one KV head of one span. */
typedef struct place {
    span tokens;
    uint32_t kv_head, split, n_splits;
} place;

static uint32_t span_splits(const attention_job *job, span tokens) {
    return splits_of(job->slots[tokens.first + tokens.n - 1].position);
}

static place find_unit(const attention_job *job, size_t unit) {
    uint32_t n_kv_heads = job->attention->dims->n_kv_heads;
    for (size_t i = 0;; i++) {
        uint32_t n_splits = span_splits(job, job->spans[i]);
        if (unit < (size_t)n_splits * n_kv_heads)
            return (place){job->spans[i], (uint32_t)(unit / n_splits), (uint32_t)(unit % n_splits), n_splits};
        unit -= (size_t)n_splits * n_kv_heads;
    }
}

/* Where the state of a split waits for the others. */
static tern_attention_state waiting_state(const tile *t, uint32_t split, uint32_t n_splits) {
    const tern_cpu_attention *attention = t->job->attention;
    const tern_dims *dims = attention->dims;
    size_t max_splits = attention->tables.n_positions / TERN_KEY_SPLIT, n_q = (size_t)t->tokens.n * t->heads;
    size_t per_token = max_splits * state_floats(t->heads, dims->head_dim) * dims->n_kv_heads;
    float *next = attention->tables.splits + t->tokens.first * per_token +
                  ((size_t)t->kv_head * n_splits + split) * state_floats(n_q, dims->head_dim);
    float *max = take(&next, n_q), *sum = take(&next, n_q);
    return (tern_attention_state){max, sum, next};
}

/* The last one to finish merges them all, in order. */
static void small_unit(const tile *t, const place *at, const tern_kv_part *next) {
    const tern_cpu_attention *attention = t->job->attention;
    tern_attention_state state = waiting_state(t, at->split, at->n_splits);
    attend_split(t, at->split, &state, next);
    atomic_uint *pending = &attention->pending[t->tokens.first * attention->dims->n_kv_heads + t->kv_head];
    if (atomic_fetch_sub_explicit(pending, 1, memory_order_acq_rel) != 1)
        return;
    tern_attention_state first = waiting_state(t, 0, at->n_splits);
    for (uint32_t split = 1; split < at->n_splits; split++) {
        tern_attention_state other = waiting_state(t, split, at->n_splits);
        merge_split(t, split, &first, &other);
    }
    give_result(t, &first);
}

/* The first block of a unit. */
static tern_kv_part start_of(const attention_job *job, const place *at) {
    return tern_kv_at(job->slots[at->tokens.first].kv, at->split * (size_t)(TERN_KEY_SPLIT / TERN_KEY_BLOCK),
                      job->layer, at->kv_head);
}

/* The first keys of a task come without warning: they are asked for before anything else is done. */
static void prefetch_start(const attention_job *job, const place *at) {
    const tern_kv_layout *layout = &job->slots[at->tokens.first].kv->layout;
    tern_kv_part part = start_of(job, at);
    for (size_t i = 0; i < layout->values_at; i += LINE_FLOATS * sizeof(float))
        __builtin_prefetch(part.keys + i, 0, 3);
    prefetch_scales(part.key_scales);
}

static void small_task(const attention_job *job, size_t unit, size_t end, int worker) {
    place at = find_unit(job, unit);
    prefetch_start(job, &at);
    tile t = make_tile(job, at.tokens, at.kv_head, &job->attention->scratch[worker]);
    for (; unit < end; unit++) {
        place next = unit + 1 < end ? find_unit(job, unit + 1) : at;
        tern_kv_part keys = start_of(job, &next);
        small_unit(&t, &at, unit + 1 < end ? &keys : NULL);
        if (next.tokens.first != at.tokens.first || next.kv_head != at.kv_head)
            t = make_tile(job, next.tokens, next.kv_head, t.scratch);
        at = next;
    }
}

/* However few the KV heads, there is work for many threads. */
static void plan_small(attention_job *job) {
    const tern_cpu_attention *attention = job->attention;
    uint32_t n_kv_heads = attention->dims->n_kv_heads;
    size_t n_values = 0;
    for (uint32_t first = 0; first < job->n; first += job->spans[job->n_spans++].n) {
        span tokens = job->spans[job->n_spans] = span_at(job->slots, first, job->n);
        if (tokens.n > tile_tokens(attention))
            tokens.n = job->spans[job->n_spans].n = tile_tokens(attention);
        uint32_t n_splits = span_splits(job, tokens);
        for (uint32_t head = 0; head < n_kv_heads; head++)
            atomic_store_explicit(&attention->pending[tokens.first * n_kv_heads + head], n_splits,
                                  memory_order_relaxed);
        job->n_units += (size_t)n_splits * n_kv_heads;
        n_values += (size_t)tokens.n * job->slots[tokens.first].position * tern_q_size(attention->dims);
    }
    size_t tasks = (size_t)tern_pool_threads(attention->pool) * TASKS_PER_THREAD, most = n_values / MIN_TASK_VALUES + 1;
    if (tasks > most)
        tasks = most;
    job->units_per_task = job->n_units / tasks ? job->n_units / tasks : 1;
}

static void attention_task(void *context, size_t task, int worker) {
    const attention_job *job = context;
    size_t unit = task * job->units_per_task, end = unit + job->units_per_task;
    if (end > job->n_units)
        end = job->n_units;
    if (job->n <= SMALL_BATCH)
        small_task(job, unit, end, worker);
    else
        for (; unit < end; unit++)
            large_unit(job, unit, worker);
}

void tern_cpu_attention_run(tern_cpu_attention *attention, const tern_slot *slots, uint32_t n, uint32_t layer,
                            const float *q, float *out) {
    attention_job job = {.attention = attention, .slots = slots, .n = n, .layer = layer, .q = q, .out = out};
    if (n <= SMALL_BATCH)
        plan_small(&job);
    else
        plan_large(&job);
    tern_pool_run(attention->pool, (job.n_units + job.units_per_task - 1) / job.units_per_task, attention_task, &job);
}
