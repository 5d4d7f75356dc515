/* BitLinear: its weights' quantiser, its products, and adapters beside it. */
#include <math.h>
#include <string.h>

#include "format/codec.h"
#include "train/ops_rows.h"

/* ---------------------------------------------------------------- weights */

size_t tern_bit_bytes(uint32_t rows, uint32_t cols) {
    return tern_n_groups(rows) * tern_group_bytes(&tern_packing_t2r16, cols);
}

/* gamma as a converter finds it in the exported matrix: by the same function. */
static float absmean(const tern_ops *ops, const float *w, const tern_bit *bit) {
    size_t bytes = (size_t)bit->rows * bit->cols * sizeof *w;
    tern_tensor tensor = {.name = "",
                          .type_name = "F32",
                          .type = TERN_TYPE_F32,
                          .n_dims = 2,
                          .shape = {bit->rows, bit->cols},
                          .rows = bit->rows,
                          .cols = bit->cols,
                          .data = (const uint8_t *)w,
                          .bytes = bytes};
    float mean;
    return tern_absmean(&tensor, tern_worker_scratch(ops, 0), &mean, NULL) ? NAN : mean;
}

/* In double: rows one after the other, each in 4 sums that compilers vectorise. */
void tern_binary_scale(const float *w, size_t n, float *mean, float *scale) {
    double sum[4] = {0}, sizes[4] = {0};
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (size_t j = 0; j < 4; j++) {
            sum[j] += (double)w[i + j];
            sizes[j] += fabs((double)w[i + j]);
        }
    for (; i < n; i++) {
        sum[0] += (double)w[i];
        sizes[0] += fabs((double)w[i]);
    }
    *mean = (float)((sum[0] + sum[1] + sum[2] + sum[3]) / (double)n);
    *scale = (float)((sizes[0] + sizes[1] + sizes[2] + sizes[3]) / (double)n);
}

void tern_binarize(const float *w, size_t n, float mean, int8_t *trits) {
    for (size_t i = 0; i < n; i++)
        trits[i] = w[i] >= mean ? 1 : -1;
}

typedef struct pack_job {
    const tern_ops *ops;
    const float *w;
    tern_bit *bit;
    float mean; /* binary: of the signed weights */
} pack_job;

/* One group of 16 rows. */
static void pack_task(void *context, size_t group, int worker) {
    const pack_job *job = context;
    const tern_bit *bit = job->bit;
    int8_t *trits = tern_worker_scratch(job->ops, worker);
    size_t cols = bit->cols, row = group * TERN_GROUP_ROWS;
    size_t n_rows = bit->rows - row < TERN_GROUP_ROWS ? bit->rows - row : TERN_GROUP_ROWS;
    const float *w = job->w + row * cols;
    if (bit->mode == TERN_WEIGHTS_BINARY)
        tern_binarize(w, n_rows * cols, job->mean, trits);
    else
        tern_ternarize_row(w, n_rows * cols, bit->scale, trits);
    tern_packing_t2r16.pack_group(bit->packed + group * tern_group_bytes(&tern_packing_t2r16, cols), trits, cols,
                                  n_rows, cols);
}

void tern_op_quantize_weights(const tern_ops *ops, const float *w, tern_bit *bit) {
    pack_job job = {.ops = ops, .w = w, .bit = bit};
    bit->values = NULL;
    if (bit->mode == TERN_WEIGHTS_FLOAT) {
        bit->values = w;
        bit->scale = 1.0f;
        return;
    }
    if (bit->mode == TERN_WEIGHTS_BINARY)
        tern_binary_scale(w, (size_t)bit->rows * bit->cols, &job.mean, &bit->scale);
    else
        bit->scale = absmean(ops, w, bit);
    if (isfinite(bit->scale))
        tern_pool_run(ops->pool, tern_n_groups(bit->rows), pack_task, &job);
}

/* ---------------------------------------------------------------- forward */

typedef struct linear_job {
    const tern_ops *ops;
    const tern_bit *bit;
    const tern_act *act;
    size_t n, n_row_tasks;
    float *y;
    bool add;
} linear_job;

static void linear_task(void *context, size_t task, int worker) {
    const linear_job *job = context;
    const tern_bit *bit = job->bit;
    const tern_kernels *kernels = job->ops->kernels;
    size_t row = task % job->n_row_tasks * TERN_LINEAR_ROWS, first = task / job->n_row_tasks * TERN_LINEAR_TOKENS;
    size_t n_rows = bit->rows - row < TERN_LINEAR_ROWS ? bit->rows - row : TERN_LINEAR_ROWS;
    size_t n = job->n - first < TERN_LINEAR_TOKENS ? job->n - first : TERN_LINEAR_TOKENS;
    size_t group_bytes = tern_group_bytes(&tern_packing_t2r16, bit->cols), n_groups = tern_n_groups(n_rows);
    int32_t *acc = tern_worker_scratch(job->ops, worker);
    float *values = (float *)(acc + TERN_LINEAR_ROWS * TERN_LINEAR_TOKENS);
    job->ops->ternary->matmul(bit->packed + row / TERN_GROUP_ROWS * group_bytes,
                              tern_k_pad(&tern_packing_t2r16, bit->cols), n_groups, job->act->q + first * job->act->ld,
                              job->act->ld, job->act->sum + first, n, acc, TERN_LINEAR_ROWS);
    for (size_t t = 0; t < n; t++) {
        float *to = job->y + (first + t) * bit->rows + row;
        kernels->dequantize(acc + t * TERN_LINEAR_ROWS, n_rows, job->act->scale[first + t], bit->scale,
                            job->add ? values : to);
        if (job->add)
            kernels->add(to, values, n_rows);
    }
}

void tern_op_linear(const tern_ops *ops, const tern_bit *bit, const tern_act *act, size_t n, float *y, bool add) {
    if (bit->mode == TERN_WEIGHTS_FLOAT) {
        tern_product product = {.m = n,
                                .n = bit->rows,
                                .k = bit->cols,
                                .a = {.data = act->x, .ld = bit->cols},
                                .b = {.data = bit->values, .ld = bit->cols},
                                .alpha = 1.0f,
                                .add = add,
                                .c = y,
                                .ldc = bit->rows};
        tern_gemm_run(ops->gemm->exact, ops->pool, &product, ops->gemm_scratch);
        return;
    }
    linear_job job = {.ops = ops, .bit = bit, .act = act, .n = n, .y = y, .add = add};
    job.n_row_tasks = (bit->rows + TERN_LINEAR_ROWS - 1) / TERN_LINEAR_ROWS;
    tern_pool_run(ops->pool, (n + TERN_LINEAR_TOKENS - 1) / TERN_LINEAR_TOKENS * job.n_row_tasks, linear_task, &job);
}

/* ---------------------------------------------------------------- backward */

/* The quantised input as B, summed over tokens. What divides it, act->scale, divides the other factor. */
static tern_operand tokens_of(const tern_act *act, size_t cols) {
    if (act->x)
        return (tern_operand){.k_major = true, .data = act->x, .ld = cols};
    return (tern_operand){.type = TERN_OPERAND_I8, .k_major = true, .data = act->q, .ld = act->ld};
}
static const float *divisors_of(const tern_act *act) { return act->x ? NULL : act->scale; }

void tern_op_linear_backward(const tern_ops *ops, const tern_bit *bit, const tern_act *act, const float *dy, size_t n,
                             float *dx, bool add, float *dw) {
    bool is_float = bit->mode == TERN_WEIGHTS_FLOAT;
    if (dx) {
        tern_product product = {.m = n,
                                .n = bit->cols,
                                .k = bit->rows,
                                .a = {.data = dy, .ld = bit->rows},
                                .b = {.type = is_float ? TERN_OPERAND_F32 : TERN_OPERAND_TRITS,
                                      .k_major = true,
                                      .data = is_float ? (const void *)bit->values : bit->packed,
                                      .ld = bit->cols},
                                .alpha = bit->scale,
                                .add = add,
                                .c = dx,
                                .ldc = bit->cols};
        tern_gemm_run(ops->gemm, ops->pool, &product, ops->gemm_scratch);
    }
    if (dw) {
        tern_product product = {.m = bit->rows,
                                .n = bit->cols,
                                .k = n,
                                .a = {.k_major = true, .data = dy, .ld = bit->rows, .divide = divisors_of(act)},
                                .b = tokens_of(act, bit->cols),
                                .alpha = 1.0f,
                                .add = true,
                                .c = dw,
                                .ldc = bit->cols};
        tern_gemm_run(ops->gemm, ops->pool, &product, ops->gemm_scratch);
    }
}

/* ---------------------------------------------------------------- adapters */

/* Beside int8 inputs as inference does it (runtime/cpu_adapter.c): the LM head's kernels, whose order of operations is
 * their contract. So a model that runs with the adapter has the very losses that training saw. */
enum { LORA_ROWS = 64, LORA_TOKENS = 8 };

size_t tern_lora_bytes(size_t widest) { return LORA_TOKENS * (2 * widest + LORA_ROWS) * sizeof(float); }

typedef struct lora_job {
    const tern_ops *ops;
    const float *a, *b;
    uint32_t rows, cols, r;
    float scale;
    const tern_act *act;
    size_t n;
    float *u, *y;
} lora_job;

static void lora_task(void *context, size_t task, int worker) {
    const lora_job *job = context;
    const tern_kernels *kernels = job->ops->kernels;
    float *x = tern_worker_scratch(job->ops, worker);
    float *scaled = x + LORA_TOKENS * (size_t)job->cols, *part = scaled + LORA_TOKENS * (size_t)job->r;
    size_t first = task * LORA_TOKENS, n = job->n - first < LORA_TOKENS ? job->n - first : LORA_TOKENS;
    float *u = job->u + first * job->r;
    for (size_t t = 0; t < n; t++)
        for (uint32_t i = 0; i < job->cols; i++)
            x[t * job->cols + i] = (float)job->act->q[(first + t) * job->act->ld + i] / job->act->scale[first + t];
    kernels->head[TERN_HEAD_F32]((const uint8_t *)job->a, job->cols * sizeof(float), job->r, x, job->cols, n, u,
                                 job->r);
    for (size_t i = 0; i < n * job->r; i++)
        scaled[i] = u[i] * job->scale;
    for (uint32_t row = 0; row < job->rows; row += LORA_ROWS) {
        uint32_t n_rows = job->rows - row < LORA_ROWS ? job->rows - row : LORA_ROWS;
        kernels->head[TERN_HEAD_F32]((const uint8_t *)(job->b + (size_t)row * job->r), job->r * sizeof(float), n_rows,
                                     scaled, job->r, n, part, LORA_ROWS);
        for (size_t t = 0; t < n; t++)
            kernels->add(job->y + (first + t) * job->rows + row, part + t * LORA_ROWS, n_rows);
    }
}

void tern_op_lora(const tern_ops *ops, const float *a, const float *b, uint32_t rows, uint32_t cols, uint32_t r,
                  float alpha_over_r, const tern_act *act, size_t n, float *u, float *y) {
    if (!act->x) {
        lora_job job = {ops, a, b, rows, cols, r, alpha_over_r, act, n, u, y};
        tern_pool_run(ops->pool, (n + LORA_TOKENS - 1) / LORA_TOKENS, lora_task, &job);
        return;
    }
    tern_product inner = {.m = n, .n = r, .k = cols, .alpha = 1.0f, .c = u, .ldc = r};
    inner.a = tokens_of(act, cols);
    inner.a.k_major = false;
    inner.b = (tern_operand){.data = a, .ld = cols};
    tern_gemm_run(ops->gemm->exact, ops->pool, &inner, ops->gemm_scratch);
    tern_product outer = {.m = n, .n = rows, .k = r, .alpha = alpha_over_r, .add = true, .c = y, .ldc = rows};
    outer.a = (tern_operand){.data = u, .ld = r};
    outer.b = (tern_operand){.data = b, .ld = r};
    tern_gemm_run(ops->gemm->exact, ops->pool, &outer, ops->gemm_scratch);
}

/* With v = (alpha / r) dy B, [tokens, r]: dx += v A, dA += v^T x~, dB += (alpha / r) dy^T u. */
void tern_op_lora_backward(const tern_ops *ops, const float *a, const float *b, uint32_t rows, uint32_t cols,
                           uint32_t r, float alpha_over_r, const tern_act *act, const float *u, const float *dy,
                           size_t n, float *dx, float *da, float *db) {
    size_t chunk = ops->n_shared / r; /* tokens whose v the scratch holds */
    for (size_t first = 0; first < n; first += chunk) {
        size_t m = n - first < chunk ? n - first : chunk;
        float *v = ops->shared;
        const float *slope = dy + first * rows;
        tern_act part = *act;
        part.x = act->x ? act->x + first * cols : NULL;
        part.q = act->x ? NULL : act->q + first * act->ld;
        part.scale = act->x ? NULL : act->scale + first;
        tern_operand v_rows = {.data = v, .ld = r}, v_tokens = {.k_major = true, .data = v, .ld = r};
        v_tokens.divide = divisors_of(&part);
        const tern_product products[] = {
            {m, r, rows, {.data = slope, .ld = rows}, {.k_major = true, .data = b, .ld = r}, alpha_over_r, false, v, r},
            {m, cols, r, v_rows, {.k_major = true, .data = a, .ld = cols}, 1.0f, true, dx + first * cols, cols},
            {r, cols, m, v_tokens, tokens_of(&part, cols), 1.0f, true, da, cols},
            {.m = rows,
             .n = r,
             .k = m,
             .a = {.k_major = true, .data = slope, .ld = rows},
             .b = {.k_major = true, .data = u + first * r, .ld = r},
             .alpha = alpha_over_r,
             .add = true,
             .c = db,
             .ldc = r},
        };
        for (size_t i = 0; i < sizeof products / sizeof *products; i++)
            tern_gemm_run(ops->gemm, ops->pool, &products[i], ops->gemm_scratch);
    }
}
