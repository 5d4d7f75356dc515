#include "cuda/upload.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cuda/layout.h"
#include "model/layout.h"

enum { STRIP_GROUPS = TERN_FORM_STRIP / TERN_CUDA_ROWS, ALIGN = 256 };

/* ------------------------------------------------------------------ what runs */

static tern_status refuse(const tern_weights *weights, const char *what, tern_error *err) {
    return tern_fail(err, TERN_ERR_UNSUPPORTED,
                     "%s: the CUDA backend has no kernels for %s; use the CPU "
                     "(TERN_BACKEND=cpu)",
                     weights->checkpoint->path, what);
}

tern_status tern_cuda_weights_check(const tern_weights *weights, tern_error *err) {
    const tern_dims *dims = &weights->dims;
    if (weights->plain)
        return refuse(weights, "matrices of floats", err);
    if (dims->head_dim > TERN_CUDA_HEAD_DIM || dims->head_dim % 2)
        return refuse(weights, "heads of this size", err);
    for (uint32_t i = 0; i < dims->n_layers; i++)
        for (int j = 0; j < TERN_LINEARS_PER_LAYER; j++) {
            if (weights->layers[i].linears[j].own_scales)
                return refuse(weights, "scales by row", err);
            if (weights->layers[i].linears[j].low_rank)
                return refuse(weights, "adapters", err);
        }
    return TERN_OK;
}

/* -------------------------------------------------------------------- matrices */

/* One matrix, unpacked and packed anew in strips of rows. */
typedef struct pack_job {
    const tern_linear *linear;
    const tern_form *form;
    int8_t *trits;  /* [workers][TERN_FORM_STRIP][most cols] */
    size_t n_trits; /* of a worker */
    uint8_t *tiles;
    atomic_bool damaged;
} pack_job;

static void pack_task(void *context, size_t strip, int worker) {
    pack_job *job = context;
    const tern_linear *linear = job->linear;
    uint32_t row = (uint32_t)strip * TERN_FORM_STRIP;
    uint32_t n_rows = linear->rows - row < TERN_FORM_STRIP ? linear->rows - row : TERN_FORM_STRIP;
    int8_t *trits = job->trits + (size_t)worker * job->n_trits;
    size_t group_bytes = tern_cuda_group_bytes(linear->cols);
    if (!tern_form_unpack(job->form, linear->packed, linear, row, n_rows, trits)) {
        atomic_store_explicit(&job->damaged, true, memory_order_relaxed);
        return;
    }
    for (uint32_t i = 0; i < n_rows; i += TERN_CUDA_ROWS)
        tern_cuda_pack_group(trits + (size_t)i * linear->cols,
                             n_rows - i < TERN_CUDA_ROWS ? n_rows - i : TERN_CUDA_ROWS, linear->cols,
                             job->tiles + (strip * STRIP_GROUPS + i / TERN_CUDA_ROWS) * group_bytes);
}

/* `job` has the scratch; the tiles go to the device before the next matrix. */
static tern_status upload_linear(tern_cuda_device *device, const tern_weights *weights, tern_pool *pool,
                                 const tern_linear *linear, pack_job *job, uint8_t *to, tern_error *err) {
    job->linear = linear;
    job->form = tern_form_for(weights->ternary, (int)(linear->index % TERN_LINEARS_PER_LAYER));
    tern_pool_run(pool, (linear->rows + TERN_FORM_STRIP - 1) / TERN_FORM_STRIP, pack_task, job);
    if (atomic_load_explicit(&job->damaged, memory_order_relaxed))
        return tern_fail(err, TERN_ERR_FORMAT, "%s: a matrix holds what is no ternary weight: the file is damaged",
                         weights->checkpoint->path);
    tern_cuda_copy_to_device(device, to, job->tiles, tern_cuda_matrix_bytes(linear->rows, linear->cols));
    tern_cuda_wait(device);
    return tern_cuda_take_error(device, err);
}

static tern_status upload_linears(tern_cuda_device *device, const tern_weights *weights, tern_pool *pool,
                                  const tern_cuda_weights *copy, tern_error *err) {
    size_t most = 1;
    for (uint32_t i = 0; i < weights->dims.n_layers * TERN_LINEARS_PER_LAYER; i++) {
        const tern_linear *linear = &weights->layers[i / TERN_LINEARS_PER_LAYER].linears[i % TERN_LINEARS_PER_LAYER];
        size_t bytes = tern_cuda_matrix_bytes(linear->rows, linear->cols);
        most = bytes > most ? bytes : most;
    }
    pack_job job = {.n_trits = (size_t)TERN_FORM_STRIP * tern_widest(&weights->dims)};
    job.trits = tern_alloc_array((size_t)tern_pool_threads(pool), job.n_trits);
    job.tiles = tern_alloc_array(most, 1);
    tern_status status = job.trits && job.tiles ? TERN_OK : tern_fail_memory(err, "a matrix for the GPU");
    for (uint32_t i = 0; !status && i < weights->dims.n_layers * TERN_LINEARS_PER_LAYER; i++) {
        const tern_linear *linear = &weights->layers[i / TERN_LINEARS_PER_LAYER].linears[i % TERN_LINEARS_PER_LAYER];
        status = upload_linear(device, weights, pool, linear, &job, copy->memory + copy->tiles_at[linear->index], err);
    }
    free(job.trits);
    free(job.tiles);
    return status;
}

/* ------------------------------------------------------------------ all of them */

static uint64_t place(uint64_t *end, uint64_t bytes) {
    uint64_t at = *end;
    *end += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    return at;
}

static bool plan(const tern_weights *weights, tern_cuda_weights *copy) {
    uint32_t n_linears = weights->dims.n_layers * TERN_LINEARS_PER_LAYER;
    copy->tiles_at = tern_calloc_array(n_linears, sizeof *copy->tiles_at);
    for (uint32_t i = 0; copy->tiles_at && i < n_linears; i++) {
        const tern_linear *linear = &weights->layers[i / TERN_LINEARS_PER_LAYER].linears[i % TERN_LINEARS_PER_LAYER];
        copy->tiles_at[linear->index] = place(&copy->bytes, tern_cuda_matrix_bytes(linear->rows, linear->cols));
    }
    copy->norms_at = place(&copy->bytes, weights->norm_bytes);
    copy->head_at = place(&copy->bytes, weights->head->bytes);
    copy->host_norms =
        (const uint8_t *)weights->memory + (weights->memory_bytes - weights->norm_bytes - weights->scale_bytes);
    return copy->tiles_at != NULL;
}

tern_status tern_cuda_weights_upload(tern_cuda_device *device, const tern_weights *weights, tern_pool *pool,
                                     uint64_t other_bytes, tern_cuda_weights *copy, tern_error *err) {
    *copy = (tern_cuda_weights){0};
    if (!plan(weights, copy))
        return tern_fail_memory(err, "the places of matrices");
    tern_status status = TERN_OK;
    uint64_t free_bytes = tern_cuda_free_bytes(device);
    copy->memory = copy->bytes + other_bytes <= free_bytes ? tern_cuda_alloc(device, copy->bytes) : NULL;
    if (!copy->memory)
        status = tern_cuda_take_error(device, err);
    if (!status && !copy->memory)
        status = tern_fail(err, TERN_ERR_MEMORY,
                           "%s: the model needs %" PRIu64 " MB of its memory, of which %" PRIu64
                           " MB are free; use the CPU (TERN_BACKEND=cpu)",
                           device->name, (copy->bytes + other_bytes) >> 20, free_bytes >> 20);
    if (!status)
        status = upload_linears(device, weights, pool, copy, err);
    if (!status) {
        tern_cuda_copy_to_device(device, copy->memory + copy->norms_at, copy->host_norms, weights->norm_bytes);
        tern_cuda_copy_to_device(device, copy->memory + copy->head_at, weights->head->data, weights->head->bytes);
        tern_cuda_wait(device);
        status = tern_cuda_take_error(device, err);
    }
    if (status)
        tern_cuda_weights_free(device, copy);
    return status;
}

void tern_cuda_weights_free(tern_cuda_device *device, tern_cuda_weights *copy) {
    if (device->driver)
        tern_cuda_free(device, copy->memory);
    free(copy->tiles_at);
    *copy = (tern_cuda_weights){0};
}
