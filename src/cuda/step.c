#include "cuda/step.h"

#include <stdlib.h>

#include "base/mem.h"
#include "runtime/backend.h"
#include "runtime/embedding.h"
#include "runtime/rotations.h"

/* Angles are made for so many positions at a time; there is room for so many blocks' addresses from the start. */
enum { ROTATIONS = 512, LEAST_TABLES = 1024, ALIGN = 256 };

tern_status tern_cuda_step_init(tern_cuda_step *step, tern_cuda_device *device, const tern_weights *weights,
                                tern_error *err) {
    *step = (tern_cuda_step){.row = malloc(tern_embedding_row_bytes(weights))};
    if (!step->row)
        return tern_fail_memory(err, "a row of the embedding");
    tern_cuda_check(device, device->driver->event_create(&step->copied, TERN_CU_EVENT_DISABLE_TIMING), "an event");
    return tern_cuda_take_error(device, err);
}

static void free_memory(tern_cuda_step *step, tern_cuda_device *device) {
    tern_cuda_free(device, step->memory);
    tern_cuda_host_free(device, step->host);
    step->memory = step->host = NULL;
    step->capacity = 0;
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
    free_memory(step, device);
    free_rotations(step, device);
    if (step->copied)
        device->driver->event_destroy(step->copied);
    free(step->row);
    *step = (tern_cuda_step){0};
}

/* ----------------------------------------------------------------------- room */

static size_t align(size_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

/* Where the embedding's rows and the addresses of blocks are; slots are at 0. */
static size_t embedded_at(uint32_t n) { return align(n * sizeof(tern_cuda_slot)); }
static size_t tables_at(uint32_t n, uint32_t hidden) {
    return embedded_at(n) + align((size_t)n * hidden * sizeof(float));
}

static tern_status reserve_memory(tern_cuda_step *step, tern_cuda_device *device, size_t bytes, tern_error *err) {
    if (bytes <= step->capacity)
        return TERN_OK;
    free_memory(step, device);
    step->memory = tern_cuda_alloc(device, bytes);
    step->host = tern_cuda_host_alloc(device, bytes);
    step->generation++;
    if (!step->memory || !step->host) {
        free_memory(step, device);
        tern_status status = tern_cuda_take_error(device, err);
        return status ? status
                      : tern_fail(err, TERN_ERR_MEMORY,
                                  "%s: no memory for prefill steps of %u tokens; a smaller chunk needs less",
                                  device->name, step->max_batch);
    }
    step->capacity = bytes;
    return TERN_OK;
}

static tern_status reserve_rotations(tern_cuda_step *step, tern_cuda_device *device, uint32_t n_ctx, uint32_t half,
                                     tern_error *err) {
    if (n_ctx <= step->n_positions)
        return TERN_OK;
    size_t floats = (size_t)n_ctx * half;
    free_rotations(step, device);
    step->cos = tern_cuda_alloc(device, floats * sizeof(float));
    step->sin = tern_cuda_alloc(device, floats * sizeof(float));
    step->host_cos = tern_alloc_array(floats, sizeof(float));
    step->host_sin = tern_alloc_array(floats, sizeof(float));
    step->generation++;
    if (!step->cos || !step->sin || !step->host_cos || !step->host_sin) {
        free_rotations(step, device);
        tern_status status = tern_cuda_take_error(device, err);
        return status ? status
                      : tern_fail(err, TERN_ERR_MEMORY,
                                  "%s: no memory for a context of %u tokens; a smaller -c needs less", device->name,
                                  n_ctx);
    }
    step->n_positions = n_ctx;
    return TERN_OK;
}

tern_status tern_cuda_step_reserve(tern_cuda_step *step, tern_cuda_device *device, const tern_weights *weights,
                                   uint32_t max_batch, uint32_t n_ctx, tern_error *err) {
    const tern_dims *dims = &weights->dims;
    if (max_batch > step->max_batch)
        step->max_batch = max_batch;
    size_t tables = (tern_kv_blocks_for(n_ctx) + LEAST_TABLES) * sizeof(uint8_t *);
    tern_status status = reserve_memory(step, device, tables_at(step->max_batch, dims->hidden_size) + tables, err);
    return status ? status : reserve_rotations(step, device, n_ctx, dims->head_dim / 2, err);
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

static void fill_slots(tern_cuda_step *step, const tern_slot *slots, uint32_t n, uint8_t **tables) {
    tern_cuda_slot *to = (tern_cuda_slot *)(void *)step->host;
    uint32_t end = 0, table = 0;
    for (uint32_t i = 0; i < n; i++) {
        const tern_kv *kv = slots[i].kv;
        if (i == 0 || kv != slots[i - 1].kv) {
            table = end;
            for (size_t b = 0; b < kv->n_blocks; b++)
                tables[end++] = kv->blocks[b];
        }
        to[i] = (tern_cuda_slot){slots[i].position, table, (uint32_t)kv->layout.type};
    }
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

/* Few numbers of splits, so that few graphs serve all positions. */
static uint32_t round_splits(uint32_t end) {
    uint32_t n_splits = 1;
    while (n_splits * (uint64_t)TERN_KEY_SPLIT < end)
        n_splits *= 2;
    return n_splits;
}

tern_status tern_cuda_step_begin(tern_cuda_step *step, tern_cuda_device *device, const tern_weights *weights,
                                 const tern_slot *slots, uint32_t n, tern_error *err) {
    const tern_dims *dims = &weights->dims;
    size_t at = tables_at(n, dims->hidden_size), bytes = at + count_tables(slots, n) * sizeof(uint8_t *);
    tern_cuda_check(device, device->driver->event_synchronize(step->copied), "computing");
    if (bytes > step->capacity) {
        tern_cuda_wait(device); /* the batch before may still be read */
        tern_status status = reserve_memory(step, device, 2 * bytes, err);
        if (status)
            return status;
    }
    step->slots = (const tern_cuda_slot *)(const void *)step->memory;
    step->embedded = (const float *)(const void *)(step->memory + embedded_at(n));
    step->tables = (uint8_t *const *)(void *)(step->memory + at);
    fill_slots(step, slots, n, (uint8_t **)(void *)(step->host + at));
    float *embedded = (float *)(void *)(step->host + embedded_at(n));
    uint32_t end = 0;
    for (uint32_t i = 0; i < n; i++) {
        end = slots[i].position >= end ? slots[i].position + 1 : end;
        tern_embedding_row(weights, slots[i].id, step->row, embedded + (size_t)i * dims->hidden_size);
    }
    step->n_splits = round_splits(end);
    fill_rotations(step, device, dims, end);
    tern_cuda_copy_to_device(device, step->memory, step->host, bytes);
    tern_cuda_check(device, device->driver->event_record(step->copied, device->stream), "computing");
    return tern_cuda_take_error(device, err);
}
