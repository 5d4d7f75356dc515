#include "cuda/candidates.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/gumbel.h"

static uint32_t groups_of(uint32_t n_rows) {
    return n_rows / TERN_CUDA_SELECT_ROWS + (n_rows % TERN_CUDA_SELECT_ROWS != 0);
}

tern_status tern_cuda_candidates_init(tern_cuda_candidates *candidates, tern_cuda_device *device, uint32_t vocab_size,
                                      tern_error *err) {
    size_t found = TERN_CUDA_SELECT_TOKENS * sizeof *candidates->found;
    candidates->n_rows = vocab_size;
    candidates->peaks = tern_cuda_alloc(device, TERN_CUDA_SELECT_TOKENS * groups_of(vocab_size) * sizeof(float));
    candidates->cuts = tern_cuda_alloc(device, TERN_CUDA_SELECT_TOKENS * sizeof(float));
    candidates->found = tern_cuda_alloc(device, found);
    candidates->host_found = tern_cuda_host_alloc(device, found);
    tern_status status = tern_cuda_take_error(device, err);
    if (!status && (!candidates->peaks || !candidates->cuts || !candidates->found || !candidates->host_found))
        status = tern_fail(err, TERN_ERR_MEMORY, "%s: no memory for the choice of tokens", device->name);
    return status;
}

void tern_cuda_candidates_free(tern_cuda_candidates *candidates, tern_cuda_device *device) {
    tern_cuda_free(device, candidates->peaks);
    tern_cuda_free(device, candidates->cuts);
    tern_cuda_free(device, candidates->found);
    tern_cuda_host_free(device, candidates->host_found);
    *candidates = (tern_cuda_candidates){0};
}

/* False: the GPU does not choose for it. */
static bool translate(const tern_cuda_candidates *candidates, const tern_head_query *query, tern_cuda_query *to) {
    *to = (tern_cuda_query){.k = 1, .temperature = 1};
    if (query->n_forced)
        return false;
    switch (query->want) {
    case TERN_HEAD_TOP:
        to->want = TERN_CUDA_SELECT_TOP;
        to->k = query->top_k;
        return query->top_k > 0 && query->top_k <= TERN_CUDA_SELECT_TOP_MOST &&
               query->top_k <= groups_of(candidates->n_rows);
    case TERN_HEAD_NEAR:
        to->want = TERN_CUDA_SELECT_NEAR;
        to->margin = (double)query->margin;
        return true;
    case TERN_HEAD_GUMBEL:
        to->want = TERN_CUDA_SELECT_GUMBEL;
        to->temperature = query->temperature;
        to->start = tern_gumbel_start(query->seed, query->counter);
        return true;
    case TERN_HEAD_ALL:
    case TERN_HEAD_FORCED:
        break;
    }
    return false;
}

static void launch(tern_cuda_device *device, const tern_cuda_select_args *args, uint32_t n) {
    const uint32_t warps = TERN_CUDA_SELECT_THREADS / 32, threads = TERN_CUDA_SELECT_THREADS;
    tern_cuda_launch(device, TERN_CUDA_KERNEL_select_peaks,
                     (tern_cuda_grid){args->n_groups / warps + (args->n_groups % warps != 0), n, 1}, threads, args);
    tern_cuda_launch(device, TERN_CUDA_KERNEL_select_cut, (tern_cuda_grid){n, 1, 1}, threads, args);
    tern_cuda_launch(device, TERN_CUDA_KERNEL_select_rows,
                     (tern_cuda_grid){args->n_rows / threads + (args->n_rows % threads != 0), n, 1}, threads, args);
}

/* Rows came in any order. */
typedef struct row {
    int32_t id;
    float logit;
} row;

static int compare_rows(const void *a, const void *b) {
    int32_t x = ((const row *)a)->id, y = ((const row *)b)->id;
    return (x > y) - (x < y);
}

static tern_status give(const tern_cuda_found *found, tern_candidates *out, tern_error *err) {
    row rows[TERN_CUDA_SELECT_MOST];
    for (uint32_t i = 0; i < found->n; i++)
        rows[i] = (row){found->ids[i], found->logits[i]};
    qsort(rows, found->n, sizeof *rows, compare_rows);
    if (!tern_candidates_reserve(out, found->n))
        return tern_fail_memory(err, "the candidates");
    for (uint32_t i = 0; i < found->n; i++) {
        out->ids[i] = rows[i].id;
        out->logits[i] = rows[i].logit;
    }
    out->n = found->n;
    return TERN_OK;
}

tern_status tern_cuda_candidates_choose(tern_cuda_candidates *candidates, tern_cuda_device *device, const float *logits,
                                        const tern_head_query *queries, uint32_t n, tern_candidates *out,
                                        uint32_t *chosen, tern_error *err) {
    tern_cuda_select_args args = {.logits = logits,
                                  .peaks = candidates->peaks,
                                  .cuts = candidates->cuts,
                                  .found = candidates->found,
                                  .n_rows = candidates->n_rows,
                                  .n_groups = groups_of(candidates->n_rows)};
    uint32_t possible = 0;
    for (uint32_t i = 0; i < n; i++)
        possible |= (uint32_t)translate(candidates, &queries[i], &args.queries[i]) << i;
    *chosen = 0;
    if (!possible)
        return TERN_OK;
    launch(device, &args, n);
    tern_cuda_copy_to_host(device, candidates->host_found, candidates->found, n * sizeof *candidates->found);
    tern_cuda_wait(device);
    tern_status status = tern_cuda_take_error(device, err);
    for (uint32_t i = 0; !status && i < n; i++)
        if (possible >> i & 1 && candidates->host_found[i].n > 0 &&
            candidates->host_found[i].n <= TERN_CUDA_SELECT_MOST) {
            status = give(&candidates->host_found[i], &out[i], err);
            *chosen |= 1u << i;
        }
    return status;
}
