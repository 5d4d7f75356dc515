#include "train/merge.h"

#include <string.h>

#include "base/cpu.h"
#include "base/mem.h"

enum { COPY_VALUES = 1 << 16 };

tern_status tern_merge_create(const tern_params *master, tern_lora *lora, tern_pool *pool, tern_merge *merge,
                              tern_error *err) {
    const tern_dims *dims = &master->dims;
    size_t widest = tern_widest(dims);
    *merge = (tern_merge){.pool = pool, .master = master, .lora = lora, .gemm = tern_gemm_choose(tern_cpu_features())};
    merge->gemm = merge->gemm->exact;
    tern_status status = tern_params_create(dims, false, &merge->merged, err);
    if (status)
        return status;
    merge->merged.grads = tern_aligned_alloc(merge->merged.n_values * sizeof(float));
    merge->scratch = tern_aligned_alloc(tern_gemm_scratch(widest, tern_pool_threads(pool)));
    if (!merge->merged.grads || !merge->scratch) {
        tern_merge_free(merge);
        return tern_fail_memory(err, "merging adapters");
    }
    memset(merge->merged.grads, 0, merge->merged.n_values * sizeof(float));
    tern_merge_apply(merge);
    return TERN_OK;
}

void tern_merge_free(tern_merge *merge) {
    tern_params_free(&merge->merged);
    tern_aligned_free(merge->scratch);
    *merge = (tern_merge){0};
}

static void copy_task(void *context, size_t task, int worker) {
    (void)worker;
    tern_merge *merge = context;
    size_t begin = task * COPY_VALUES, left = merge->merged.n_values - begin;
    memcpy(merge->merged.values + begin, merge->master->values + begin,
           (left < COPY_VALUES ? left : COPY_VALUES) * sizeof(float));
}

static void zero_task(void *context, size_t task, int worker) {
    (void)worker;
    tern_merge *merge = context;
    size_t begin = task * COPY_VALUES, left = merge->merged.n_values - begin;
    memset(merge->merged.grads + begin, 0, (left < COPY_VALUES ? left : COPY_VALUES) * sizeof(float));
}

static size_t n_copies(const tern_merge *merge) { return (merge->merged.n_values + COPY_VALUES - 1) / COPY_VALUES; }

/* For every adapted matrix. */
static void each(tern_merge *merge, void (*fn)(tern_merge *merge, const tern_param *matrix, const tern_param *pair)) {
    for (uint32_t layer = 0; layer < merge->merged.dims.n_layers; layer++)
        for (int which = 0; which < TERN_LINEARS_PER_LAYER; which++) {
            const tern_param *pair = tern_lora_param(merge->lora, layer, which, false);
            if (pair)
                fn(merge, tern_param_of(&merge->merged, layer, which), pair);
        }
}

/* values += (alpha / r) B A */
static void apply(tern_merge *merge, const tern_param *matrix, const tern_param *pair) {
    const tern_lora *lora = merge->lora;
    const tern_product product = {
        .m = matrix->rows,
        .n = matrix->cols,
        .k = lora->r,
        .a = {.data = lora->values + pair[1].offset, .ld = lora->r},
        .b = {.k_major = true, .data = lora->values + pair[0].offset, .ld = matrix->cols},
        .alpha = lora->alpha / (float)lora->r,
        .add = true,
        .c = merge->merged.values + matrix->offset,
        .ldc = matrix->cols,
    };
    tern_gemm_run(merge->gemm, merge->pool, &product, merge->scratch);
}

void tern_merge_apply(tern_merge *merge) {
    tern_pool_run(merge->pool, n_copies(merge), copy_task, merge);
    each(merge, apply);
}

static void backward(tern_merge *merge, const tern_param *matrix, const tern_param *pair) {
    const tern_lora *lora = merge->lora;
    const float *dw = merge->merged.grads + matrix->offset;
    const tern_product da = {
        .m = lora->r,
        .n = matrix->cols,
        .k = matrix->rows,
        .a = {.k_major = true, .data = lora->values + pair[1].offset, .ld = lora->r},
        .b = {.k_major = true, .data = dw, .ld = matrix->cols},
        .alpha = lora->alpha / (float)lora->r,
        .add = true,
        .c = lora->grads + pair[0].offset,
        .ldc = matrix->cols,
    };
    const tern_product db = {
        .m = matrix->rows,
        .n = lora->r,
        .k = matrix->cols,
        .a = {.data = dw, .ld = matrix->cols},
        .b = {.data = lora->values + pair[0].offset, .ld = matrix->cols},
        .alpha = lora->alpha / (float)lora->r,
        .add = true,
        .c = lora->grads + pair[1].offset,
        .ldc = lora->r,
    };
    tern_gemm_run(merge->gemm, merge->pool, &da, merge->scratch);
    tern_gemm_run(merge->gemm, merge->pool, &db, merge->scratch);
}

void tern_merge_backward(tern_merge *merge) {
    each(merge, backward);
    tern_pool_run(merge->pool, n_copies(merge), zero_task, merge);
}

/* ------------------------------------------------------------------ the objective */

/* All gradients become complete at the end. */
static tern_status gradients(void *user, uint64_t step, tern_grads_ready_fn ready, void *ready_user,
                             tern_step_result *result, tern_error *err) {
    tern_merge_objective *both = user;
    tern_status status = both->inner->gradients(both->inner->user, step, NULL, NULL, result, err);
    if (status)
        return status;
    tern_merge_backward(both->merge);
    if (ready)
        ready(ready_user, 0, both->merge->lora->n_values);
    return TERN_OK;
}

static tern_status validate(void *user, bool whole, tern_step_result *result, tern_error *err) {
    tern_merge_objective *both = user;
    return both->inner->validate(both->inner->user, whole, result, err);
}

tern_objective tern_merge_wrap(tern_merge_objective *both) {
    tern_objective objective = *both->inner;
    objective.user = both;
    objective.gradients = gradients;
    objective.validate = both->inner->validate ? validate : NULL;
    objective.changed = NULL;
    return objective;
}
