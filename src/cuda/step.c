#include "cuda/step.h"

#include <stdlib.h>

#include "base/mem.h"
#include "runtime/backend.h"
#include "runtime/embedding.h"
#include "runtime/rotations.h"

/* Angles are made for so many positions at a time, addresses for so many blocks at least. */
enum { ROTATIONS = 512, LEAST_TABLES = 1024 };

static tern_status fail_host(tern_cuda_device *device, tern_error *err) {
    return tern_fail(err, TERN_ERR_MEMORY, "%s: no host memory for copies to it", device->name);
}

tern_status tern_cuda_step_init(tern_cuda_step *step, tern_cuda_device *device, const tern_weights *weights,
                                tern_error *err) {
    *step = (tern_cuda_step){.row = malloc(tern_embedding_row_bytes(weights))};
    if (!step->row)
        return tern_fail_memory(err, "a row of the embedding");
    tern_cuda_check(device, device->driver->event_create(&step->free_again, TERN_CU_EVENT_DISABLE_TIMING), "an event");
    return tern_cuda_take_error(device, err);
}

static void free_batch(tern_cuda_step *step, tern_cuda_device *device) {
    tern_cuda_free(device, step->slots);
    tern_cuda_free(device, step->embedded);
    tern_cuda_host_free(device, step->host_slots);
    tern_cuda_host_free(device, step->host_embedded);
    step->slots = step->host_slots = NULL;
    step->embedded = step->host_embedded = NULL;
    step->max_batch = 0;
}

static void free_tables(tern_cuda_step *step, tern_cuda_device *device) {
    tern_cuda_free(device, step->tables);
    tern_cuda_host_free(device, step->host_tables);
    step->tables = step->host_tables = NULL;
    step->n_tables = 0;
}

static void free_rotations(tern_cuda_step *step, tern_cuda_device *device) {
    tern_cuda_free(device, step->cos);
    tern_cuda_free(device, step->sin);
    free(step->host_cos);
    free(step->host_sin);
    step->cos = step->sin = step->host_cos = step->host_sin = NULL;
    step->n_positions = step->n_rotations = 0;
}

void tern_cuda_step_free(tern_cuda_step *step, tern_cuda_device *device) {
    free_batch(step, device);
    free_tables(step, device);
    free_rotations(step, device);
    if (step->free_again)
        device->driver->event_destroy(step->free_again);
    free(step->row);
    *step = (tern_cuda_step){0};
}

/* ----------------------------------------------------------------------- room */

static bool make_batch(tern_cuda_step *step, tern_cuda_device *device, uint32_t max_batch, uint32_t hidden) {
    size_t floats = (size_t)max_batch * hidden;
    step->slots = tern_cuda_alloc(device, max_batch * sizeof *step->slots);
    step->embedded = tern_cuda_alloc(device, floats * sizeof *step->embedded);
    step->host_slots = tern_cuda_host_alloc(device, max_batch * sizeof *step->slots);
    step->host_embedded = tern_cuda_host_alloc(device, floats * sizeof *step->embedded);
    step->max_batch = max_batch;
    return step->slots && step->embedded && step->host_slots && step->host_embedded;
}

static bool make_rotations(tern_cuda_step *step, tern_cuda_device *device, uint32_t n_positions, uint32_t half) {
    size_t floats = (size_t)n_positions * half;
    step->cos = tern_cuda_alloc(device, floats * sizeof(float));
    step->sin = tern_cuda_alloc(device, floats * sizeof(float));
    step->host_cos = tern_alloc_array(floats, sizeof(float));
    step->host_sin = tern_alloc_array(floats, sizeof(float));
    step->n_positions = n_positions;
    return step->cos && step->sin && step->host_cos && step->host_sin;
}

tern_status tern_cuda_step_reserve(tern_cuda_step *step, tern_cuda_device *device, const tern_weights *weights,
                                   uint32_t max_batch, uint32_t n_ctx, tern_error *err) {
    const tern_dims *dims = &weights->dims;
    if (max_batch > step->max_batch) {
        free_batch(step, device);
        if (!make_batch(step, device, max_batch, dims->hidden_size)) {
            free_batch(step, device);
            return tern_fail(err, TERN_ERR_MEMORY,
                             "%s: no memory for prefill steps of %u tokens; a smaller chunk needs less", device->name,
                             max_batch);
        }
    }
    if (n_ctx > step->n_positions) {
        free_rotations(step, device);
        if (!make_rotations(step, device, n_ctx, dims->head_dim / 2)) {
            free_rotations(step, device);
            return tern_fail(err, TERN_ERR_MEMORY, "%s: no memory for a context of %u tokens; a smaller -c needs less",
                             device->name, n_ctx);
        }
    }
    return TERN_OK;
}

static tern_status reserve_tables(tern_cuda_step *step, tern_cuda_device *device, size_t n, tern_error *err) {
    if (n <= step->n_tables)
        return TERN_OK;
    size_t wanted = 2 * n > LEAST_TABLES ? 2 * n : LEAST_TABLES;
    tern_cuda_wait(device); /* the batch before may still be read */
    free_tables(step, device);
    step->tables = tern_cuda_alloc(device, wanted * sizeof *step->tables);
    step->host_tables = tern_cuda_host_alloc(device, wanted * sizeof *step->tables);
    if (!step->tables || !step->host_tables) {
        free_tables(step, device);
        return fail_host(device, err);
    }
    step->n_tables = wanted;
    return TERN_OK;
}

/* ---------------------------------------------------------------------- a batch */

/* Tokens of one sequence follow each other: they share its addresses. */
static size_t count_tables(const tern_slot *slots, uint32_t n) {
    size_t count = 0;
    for (uint32_t i = 0; i < n; i++)
        if (i == 0 || slots[i].kv != slots[i - 1].kv)
            count += slots[i].kv->n_blocks;
    return count;
}

static void fill_slots(tern_cuda_step *step, const tern_slot *slots, uint32_t n) {
    uint32_t end = 0, table = 0, last = 0;
    for (uint32_t i = 0; i < n; i++) {
        const tern_kv *kv = slots[i].kv;
        if (i == 0 || kv != slots[i - 1].kv) {
            table = end;
            for (size_t b = 0; b < kv->n_blocks; b++)
                step->host_tables[end++] = kv->blocks[b];
        }
        step->host_slots[i] = (tern_cuda_slot){slots[i].position, table, (uint32_t)kv->layout.type};
        last = slots[i].position > last ? slots[i].position : last;
    }
    step->n_splits = last / TERN_KEY_SPLIT + 1;
}

/* Angles of positions below n. They are copied before anything else goes on: that is once in so many positions. */
static void fill_rotations(tern_cuda_step *step, tern_cuda_device *device, const tern_dims *dims, uint32_t n) {
    if (n <= step->n_rotations)
        return;
    uint32_t first = step->n_rotations, end = (n + ROTATIONS - 1) / ROTATIONS * ROTATIONS;
    if (end > step->n_positions)
        end = step->n_positions;
    size_t half = dims->head_dim / 2, at = first * half, bytes = (end - first) * half * sizeof(float);
    tern_rotations_fill(dims, first, end, step->host_cos, step->host_sin);
    tern_cuda_copy_to_device(device, step->cos + at, step->host_cos + at, bytes);
    tern_cuda_copy_to_device(device, step->sin + at, step->host_sin + at, bytes);
    if (tern_cuda_wait(device))
        step->n_rotations = end;
}

tern_status tern_cuda_step_begin(tern_cuda_step *step, tern_cuda_device *device, const tern_weights *weights,
                                 const tern_slot *slots, uint32_t n, tern_error *err) {
    const tern_dims *dims = &weights->dims;
    size_t n_tables = count_tables(slots, n);
    tern_cuda_check(device, device->driver->event_synchronize(step->free_again), "computing");
    tern_status status = reserve_tables(step, device, n_tables, err);
    if (status)
        return status;
    fill_slots(step, slots, n);
    uint32_t end = 0;
    for (uint32_t i = 0; i < n; i++) {
        end = slots[i].position >= end ? slots[i].position + 1 : end;
        tern_embedding_row(weights, slots[i].id, step->row, step->host_embedded + (size_t)i * dims->hidden_size);
    }
    fill_rotations(step, device, dims, end);
    tern_cuda_copy_to_device(device, step->slots, step->host_slots, n * sizeof *step->slots);
    tern_cuda_copy_to_device(device, step->tables, step->host_tables, n_tables * sizeof *step->tables);
    tern_cuda_copy_to_device(device, step->embedded, step->host_embedded,
                             (size_t)n * dims->hidden_size * sizeof(float));
    tern_cuda_check(device, device->driver->event_record(step->free_again, device->stream), "computing");
    return tern_cuda_take_error(device, err);
}
