#include "runtime/cpu_attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Fewer key values than this (a few microseconds' work) are not worth waking another thread for. */
enum { TASKS_PER_THREAD = 4, MIN_TASK_VALUES = 32 << 10 };

void tern_cpu_attention_init(tern_cpu_attention *attention, const tern_dims *dims, const tern_kernels *kernels,
                             tern_pool *pool) {
    *attention = (tern_cpu_attention){.dims = dims, .kernels = kernels, .pool = pool};
}

static void free_tables(tern_attention_tables *tables, int threads) {
    tern_aligned_free(tables->cos);
    tern_aligned_free(tables->sin);
    for (int i = 0; tables->scratch && i < threads; i++)
        tern_aligned_free(tables->scratch[i].scores);
    free(tables->scratch);
    *tables = (tern_attention_tables){0};
}

void tern_cpu_attention_free(tern_cpu_attention *attention) {
    free_tables(&attention->tables, tern_pool_threads(attention->pool));
}

/* inv_freq[i] = theta^(-2i / head_dim) and the angle are float32, as the reference has them; cosine and sine are then
 * taken in double and rounded once, so that every C library gives the same table. */
static void fill_rope_tables(const tern_dims *dims, tern_attention_tables *tables) {
    uint32_t half = dims->head_dim / 2;
    for (uint32_t i = 0; i < half; i++) {
        float exponent = (float)(2 * i) / (float)dims->head_dim;
        float inv_freq = 1.0f / (float)pow((double)dims->rope_theta, (double)exponent);
        for (uint32_t p = 0; p < tables->n_positions; p++) {
            double angle = (double)((float)p * inv_freq);
            tables->cos[(size_t)p * half + i] = (float)cos(angle);
            tables->sin[(size_t)p * half + i] = (float)sin(angle);
        }
    }
}

/* One allocation a worker holds all of its scratch. */
static bool alloc_scratch(tern_attention_scratch *scratch, const tern_dims *dims, uint32_t n_positions) {
    size_t heads = dims->n_heads / dims->n_kv_heads;
    size_t n_floats = heads * ((size_t)n_positions + 2);
    float *memory = tern_aligned_alloc(n_floats * sizeof(float) + heads * dims->head_dim);
    if (!memory)
        return false;
    *scratch = (tern_attention_scratch){.scores = memory,
                                        .sums = memory + heads * n_positions,
                                        .q8_scale = memory + heads * n_positions + heads,
                                        .q8 = (int8_t *)(memory + n_floats)};
    return true;
}

tern_status tern_cpu_attention_reserve(tern_cpu_attention *attention, uint32_t n_ctx, tern_error *err) {
    if (n_ctx <= attention->tables.n_positions)
        return TERN_OK;
    uint32_t n_positions = (n_ctx + TERN_KV_BLOCK - 1) / TERN_KV_BLOCK * TERN_KV_BLOCK;
    size_t half = attention->dims->head_dim / 2;
    int threads = tern_pool_threads(attention->pool);
    tern_attention_tables larger = {.n_positions = n_positions};
    larger.cos = tern_aligned_alloc(n_positions * half * sizeof(float));
    larger.sin = tern_aligned_alloc(n_positions * half * sizeof(float));
    larger.scratch = tern_calloc_array((size_t)threads, sizeof *larger.scratch);
    bool ok = larger.cos && larger.sin && larger.scratch;
    for (int i = 0; ok && i < threads; i++)
        ok = alloc_scratch(&larger.scratch[i], attention->dims, n_positions);
    if (!ok) {
        free_tables(&larger, threads);
        return tern_fail(err, TERN_ERR_MEMORY, "out of memory for a context of %u tokens; a smaller -c needs less",
                         n_ctx);
    }
    fill_rope_tables(attention->dims, &larger);
    free_tables(&attention->tables, threads);
    attention->tables = larger;
    return TERN_OK;
}

/* ------------------------------------------------------------ rope and store */

typedef struct attention_job {
    tern_cpu_attention *attention;
    const tern_slot *slots;
    uint32_t layer, heads_per_unit;
    size_t n_units, units_per_task;
    float *q_rotated, *k_rotated; /* rope_store: q and k */
    const float *q, *v;
    float *out;
} attention_job;

static void store_row(const tern_kernels *kernels, const tern_kv_layout *layout, const float *row, uint32_t at,
                      uint8_t *plane, float *scales) {
    uint8_t *to = plane + (size_t)at * layout->head_dim * layout->element_bytes;
    if (layout->type == TERN_KV_F32) {
        memcpy(to, row, layout->head_dim * sizeof *row);
    } else if (layout->type == TERN_KV_F16) {
        kernels->f32_to_f16(row, layout->head_dim, (uint16_t *)to);
    } else {
        float s;
        int32_t unused_sum;
        kernels->quantize_i8(row, layout->head_dim, layout->head_dim, (int8_t *)to, &s, &unused_sum);
        scales[at] = 1.0f / s;
    }
}

static void rope_store_task(void *context, size_t token, int worker) {
    (void)worker;
    const attention_job *job = context;
    const tern_cpu_attention *attention = job->attention;
    const tern_dims *dims = attention->dims;
    const tern_slot *slot = &job->slots[token];
    const float *cos = attention->tables.cos + (size_t)slot->position * (dims->head_dim / 2);
    const float *sin = attention->tables.sin + (size_t)slot->position * (dims->head_dim / 2);
    float *k = job->k_rotated + token * tern_kv_size(dims);
    attention->kernels->rope(job->q_rotated + token * dims->hidden_size, dims->n_heads, dims->head_dim, cos, sin);
    attention->kernels->rope(k, dims->n_kv_heads, dims->head_dim, cos, sin);
    uint32_t at = slot->position % TERN_KV_BLOCK;
    for (uint32_t head = 0; head < dims->n_kv_heads; head++) {
        tern_kv_part part = tern_kv_at(slot->kv, slot->position / TERN_KV_BLOCK, job->layer, head);
        store_row(attention->kernels, &slot->kv->layout, k + head * dims->head_dim, at, part.keys, part.key_scales);
        store_row(attention->kernels, &slot->kv->layout, job->v + token * tern_kv_size(dims) + head * dims->head_dim,
                  at, part.values, part.value_scales);
    }
}

void tern_cpu_rope_store(tern_cpu_attention *attention, const tern_slot *slots, uint32_t n, uint32_t layer, float *q,
                         float *k, const float *v) {
    attention_job job = {
        .attention = attention, .slots = slots, .layer = layer, .q_rotated = q, .k_rotated = k, .v = v};
    tern_pool_run(attention->pool, n, rope_store_task, &job);
}

/* ----------------------------------------------------------------- attention */

/* Queries of one KV head, in the form that its cache type is multiplied with. */
typedef struct query_heads {
    const float *f32; /* [n_q][head_dim] */
    const int8_t *q8; /* the same quantised, for an int8 cache */
    const float *q8_scale;
    uint32_t n_q;
} query_heads;

static void score_block(const tern_kernels *kernels, const tern_kv_layout *layout, const tern_kv_part *part,
                        const query_heads *query, uint32_t n_keys, float scale, float *scores, size_t ld) {
    if (layout->type == TERN_KV_F32)
        kernels->scores_f32(query->f32, query->n_q, (const float *)part->keys, n_keys, layout->head_dim, scale, scores,
                            ld);
    else if (layout->type == TERN_KV_F16)
        kernels->scores_f16(query->f32, query->n_q, (const uint16_t *)part->keys, n_keys, layout->head_dim, scale,
                            scores, ld);
    else
        kernels->scores_q8(query->q8, query->q8_scale, query->n_q, (const int8_t *)part->keys, part->key_scales, n_keys,
                           layout->head_dim, scale, scores, ld);
}

static void sum_block(const tern_kernels *kernels, const tern_kv_layout *layout, const tern_kv_part *part,
                      const float *weights, size_t ld, uint32_t n_q, uint32_t n_keys, float *out) {
    if (layout->type == TERN_KV_F32)
        kernels->values_f32(weights, ld, n_q, (const float *)part->values, n_keys, layout->head_dim, out);
    else if (layout->type == TERN_KV_F16)
        kernels->values_f16(weights, ld, n_q, (const uint16_t *)part->values, n_keys, layout->head_dim, out);
    else
        kernels->values_q8(weights, ld, n_q, (const int8_t *)part->values, part->value_scales, n_keys, layout->head_dim,
                           out);
}

/* softmax(q k^T / sqrt(head_dim)) v over positions 0 .. slot->position, block by block in order. */
static void attend(const tern_cpu_attention *attention, const tern_slot *slot, uint32_t layer, uint32_t kv_head,
                   const query_heads *query, tern_attention_scratch *scratch, float *out) {
    const tern_kernels *kernels = attention->kernels;
    const tern_kv_layout *layout = &slot->kv->layout;
    uint32_t head_dim = layout->head_dim, n_keys = slot->position + 1;
    size_t ld = attention->tables.n_positions;
    float *scores = scratch->scores;
    float scale = (float)(1.0 / sqrt((double)head_dim));
    for (uint32_t at = 0; at < n_keys; at += TERN_KV_BLOCK) {
        tern_kv_part part = tern_kv_at(slot->kv, at / TERN_KV_BLOCK, layer, kv_head);
        uint32_t n = n_keys - at < TERN_KV_BLOCK ? n_keys - at : TERN_KV_BLOCK;
        score_block(kernels, layout, &part, query, n, scale, scores + at, ld);
    }
    memset(out, 0, (size_t)query->n_q * head_dim * sizeof *out);
    for (uint32_t h = 0; h < query->n_q; h++)
        scratch->sums[h] = kernels->softmax_exp(scores + h * ld, n_keys);
    for (uint32_t at = 0; at < n_keys; at += TERN_KV_BLOCK) {
        tern_kv_part part = tern_kv_at(slot->kv, at / TERN_KV_BLOCK, layer, kv_head);
        uint32_t n = n_keys - at < TERN_KV_BLOCK ? n_keys - at : TERN_KV_BLOCK;
        sum_block(kernels, layout, &part, scores + at, ld, query->n_q, n, out);
    }
    for (uint32_t h = 0; h < query->n_q; h++)
        kernels->divide(out + h * head_dim, head_dim, scratch->sums[h]);
}

/* One unit of work: `heads_per_unit` query heads of one KV head, for one token. */
static void attention_unit(const attention_job *job, size_t unit, int worker) {
    tern_cpu_attention *attention = job->attention;
    const tern_dims *dims = attention->dims;
    uint32_t n_q = job->heads_per_unit, units_per_token = dims->n_heads / n_q;
    size_t token = unit / units_per_token;
    uint32_t head = (uint32_t)(unit % units_per_token) * n_q;
    uint32_t kv_head = head / (dims->n_heads / dims->n_kv_heads);
    size_t offset = token * dims->hidden_size + (size_t)head * dims->head_dim;
    tern_attention_scratch *scratch = &attention->tables.scratch[worker];
    query_heads query = {.f32 = job->q + offset, .q8 = scratch->q8, .q8_scale = scratch->q8_scale, .n_q = n_q};
    if (job->slots[token].kv->layout.type == TERN_KV_Q8)
        for (uint32_t h = 0; h < n_q; h++) {
            float s;
            int32_t unused_sum;
            attention->kernels->quantize_i8(query.f32 + h * dims->head_dim, dims->head_dim, dims->head_dim,
                                            scratch->q8 + h * dims->head_dim, &s, &unused_sum);
            scratch->q8_scale[h] = 1.0f / s;
        }
    attend(attention, &job->slots[token], job->layer, kv_head, &query, scratch, job->out + offset);
}

static void attention_task(void *context, size_t task, int worker) {
    const attention_job *job = context;
    size_t end = (task + 1) * job->units_per_task;
    for (size_t unit = task * job->units_per_task; unit < end && unit < job->n_units; unit++)
        attention_unit(job, unit, worker);
}

/* Heads of one KV head read the same keys, so they go together, unless that leaves threads without work. */
static uint32_t heads_per_unit(const tern_cpu_attention *attention, uint32_t n) {
    uint32_t heads = attention->dims->n_heads / attention->dims->n_kv_heads;
    size_t wanted = (size_t)tern_pool_threads(attention->pool) * TASKS_PER_THREAD;
    uint32_t take = heads;
    while (take > 1 && (heads % take || (size_t)n * (attention->dims->n_heads / take) < wanted))
        take--;
    return take;
}

void tern_cpu_attention_run(tern_cpu_attention *attention, const tern_slot *slots, uint32_t n, uint32_t layer,
                            const float *q, float *out) {
    attention_job job = {.attention = attention,
                         .slots = slots,
                         .layer = layer,
                         .heads_per_unit = heads_per_unit(attention, n),
                         .q = q,
                         .out = out};
    job.n_units = (size_t)n * (attention->dims->n_heads / job.heads_per_unit);
    size_t values_per_unit = ((size_t)slots[n - 1].position + 1) * job.heads_per_unit * attention->dims->head_dim;
    job.units_per_task = MIN_TASK_VALUES / values_per_unit + 1;
    tern_pool_run(attention->pool, (job.n_units + job.units_per_task - 1) / job.units_per_task, attention_task, &job);
}
