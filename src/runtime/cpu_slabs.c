#include "runtime/cpu_slabs.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* What a token's input takes in slabs at most -> bytes, slabs; 0: there are none. And slabs times rows. */
static void measure(const tern_weights *weights, size_t *bytes, size_t *n_slabs, size_t *n_acc) {
    *bytes = *n_slabs = *n_acc = 0;
    for (size_t i = 0; i < (size_t)weights->dims.n_layers * TERN_LINEARS_PER_LAYER; i++) {
        const tern_linear *linear = &weights->layers[i / TERN_LINEARS_PER_LAYER].linears[i % TERN_LINEARS_PER_LAYER];
        size_t slabs = linear->slab_cols ? tern_n_slabs(linear) : 0, q = slabs * tern_q_pad(linear->slab_cols);
        *bytes = q > *bytes ? q : *bytes;
        *n_slabs = slabs > *n_slabs ? slabs : *n_slabs;
        if (linear->layout == TERN_LAYOUT_COLUMNS && slabs * linear->rows > *n_acc)
            *n_acc = slabs * linear->rows;
    }
}

bool tern_cpu_slabs_create(const tern_weights *weights, uint32_t max_batch, tern_cpu_slabs *slabs) {
    size_t bytes, n_slabs, n_acc;
    measure(weights, &bytes, &n_slabs, &n_acc);
    *slabs = (tern_cpu_slabs){0};
    if (!n_slabs)
        return true;
    slabs->q = tern_mul_size(max_batch, bytes, &bytes) ? tern_aligned_alloc(bytes) : NULL;
    slabs->sums = tern_alloc_array(max_batch * n_slabs, sizeof *slabs->sums);
    slabs->acc = n_acc ? tern_alloc_array(n_acc, sizeof *slabs->acc) : NULL;
    return slabs->q && slabs->sums && (slabs->acc || !n_acc);
}

void tern_cpu_slabs_free(tern_cpu_slabs *slabs) {
    tern_aligned_free(slabs->q);
    free(slabs->sums);
    free(slabs->acc);
    *slabs = (tern_cpu_slabs){0};
}

typedef struct cut_job {
    const tern_cpu_slabs *slabs;
    const int8_t *q;
    uint32_t slab_cols, cols, n_tokens;
} cut_job;

static void cut_task(void *context, size_t token, int worker) {
    const cut_job *job = context;
    const int8_t *q = job->q + token * tern_q_pad(job->cols);
    size_t pad = tern_q_pad(job->slab_cols);
    (void)worker;
    for (size_t slab = 0; slab < job->cols / job->slab_cols; slab++, q += job->slab_cols) {
        int8_t *to = job->slabs->q + (slab * job->n_tokens + token) * pad;
        int32_t sum = 0;
        for (uint32_t i = 0; i < job->slab_cols; i++)
            sum += q[i];
        memcpy(to, q, job->slab_cols);
        memset(to + job->slab_cols, 0, pad - job->slab_cols);
        job->slabs->sums[slab * job->n_tokens + token] = sum;
    }
}

void tern_cpu_slabs_cut(tern_cpu_slabs *slabs, tern_pool *pool, const int8_t *q, const tern_linear *const *linears,
                        uint32_t n_linears, uint32_t n) {
    for (uint32_t i = 0; i < n_linears; i++)
        if (linears[i]->slab_cols) {
            cut_job job = {slabs, q, linears[i]->slab_cols, linears[i]->cols, n};
            tern_pool_run(pool, n, cut_task, &job);
            return;
        }
}
