/* Where a loaded model's bytes are: locked into memory, touched before they are needed. */
#include "base/pages.h"
#include "model_handle.h"

/* What decoding reads and lives as long as the model. Matrices may lie in one block or in the mapped file. */
typedef struct part {
    const void *bytes;
    size_t n_bytes;
} part;

static size_t n_matrices(const tern_model *model) {
    return (size_t)model->weights.dims.n_layers * TERN_LINEARS_PER_LAYER;
}

/* Matrices, then the block of the norms, embedding and head. */
static size_t n_parts(const tern_model *model) { return n_matrices(model) + 3; }

static part part_of(const tern_model *model, size_t index) {
    const tern_weights *weights = &model->weights;
    if (index < n_matrices(model)) {
        const tern_linear *linear =
            &weights->layers[index / TERN_LINEARS_PER_LAYER].linears[index % TERN_LINEARS_PER_LAYER];
        return (part){linear->packed, (size_t)linear->n_units * linear->unit_bytes};
    }
    switch (index - n_matrices(model)) {
    case 0: /* the norms lie at its end */
        return (part){(const char *)weights->memory + (weights->memory_bytes - weights->norm_bytes),
                      (size_t)weights->norm_bytes};
    case 1:
        return (part){weights->embedding->data, (size_t)weights->embedding->bytes};
    default:
        return (part){weights->head->data, (size_t)weights->head->bytes};
    }
}

tern_status tern_model_lock(tern_model *model, tern_error *err) {
    model->locked = true;
    for (size_t i = 0; i < n_parts(model); i++) {
        part p = part_of(model, i);
        tern_status status = tern_lock_memory(p.bytes, p.n_bytes, model->checkpoint->path, err);
        if (status)
            return status;
    }
    return TERN_OK;
}

void tern_model_unlock(tern_model *model) {
    if (!model->locked)
        return;
    for (size_t i = 0; i < n_parts(model); i++) {
        part p = part_of(model, i);
        tern_unlock_memory(p.bytes, p.n_bytes);
    }
    model->locked = false;
}

static void touch_task(void *context, size_t task, int worker) {
    (void)worker;
    part p = part_of(context, task);
    tern_touch_pages(p.bytes, p.n_bytes);
}

/* Also the embedding's and head's pages of tokens that never come up: that is what was asked for. The pass brings in
 * the scratch, the kernels' code and the threads. */
tern_status tern_model_warm_up(tern_model *model, tern_error *err) {
    const tern_session_params params = {.n_ctx = 1, .chunk = 1};
    const int32_t id = 0;
    tern_session *session = NULL;
    tern_pool_run(model->pool, n_parts(model), touch_task, model);
    tern_status status = tern_session_create(model, &params, &session, err);
    if (!status)
        status = tern_session_eval(session, &id, 1, err);
    if (!status)
        tern_session_logits(session);
    tern_session_free(session);
    return status;
}
