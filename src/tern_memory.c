/* Where a loaded model's bytes are: locked into memory, touched before they are needed. */
#include "base/pages.h"
#include "model_handle.h"

/* What decoding reads and lives as long as the model. Each may lie in memory or in the mapped file. */
typedef struct part {
    const void *bytes;
    size_t n_bytes;
    bool by_rows; /* of which a token needs only some */
} part;

static size_t n_matrices(const tern_model *model) {
    return (size_t)model->weights.dims.n_layers * TERN_LINEARS_PER_LAYER;
}

enum { PART_NORMS, PART_EMBEDDING, PART_HEAD, PART_SCREEN }; /* behind the matrices */

static size_t n_screen_parts(const tern_model *model) { return model->weights.screen.n_rows ? TERN_SCREEN_ARRAYS : 0; }

static size_t n_adapter_parts(const tern_model *model) {
    return model->adapter.peft.checkpoint ? model->adapter.peft.checkpoint->n_tensors : 0;
}

static size_t n_parts(const tern_model *model) {
    return n_matrices(model) + PART_SCREEN + n_screen_parts(model) + n_adapter_parts(model);
}

static part part_of_screen(const tern_model *model, size_t index) {
    tern_screen screen = model->weights.screen;
    tern_screen_array arrays[TERN_SCREEN_ARRAYS];
    tern_screen_arrays(&screen, arrays);
    const tern_screen_array *array = &arrays[index];
    size_t n = (size_t)(array->rows * array->cols);
    return array->is_float ? (part){*array->at.floats, n * sizeof(float), false} : (part){*array->at.bytes, n, false};
}

static part part_of(const tern_model *model, size_t index) {
    const tern_weights *weights = &model->weights;
    if (index < n_matrices(model)) {
        const tern_linear *linear =
            &weights->layers[index / TERN_LINEARS_PER_LAYER].linears[index % TERN_LINEARS_PER_LAYER];
        return (part){linear->packed, (size_t)linear->n_units * linear->unit_bytes, false};
    }
    index -= n_matrices(model);
    switch (index) {
    case PART_NORMS: /* and the scales by row: at the end of the block */
        return (part){(const char *)weights->memory +
                          (weights->memory_bytes - weights->norm_bytes - weights->scale_bytes),
                      (size_t)(weights->norm_bytes + weights->scale_bytes), false};
    case PART_EMBEDDING:
        return (part){weights->embedding->data, (size_t)weights->embedding->bytes, true};
    case PART_HEAD:
        return (part){weights->head->data, (size_t)weights->head->bytes, true};
    default:
        if (index - PART_SCREEN < n_screen_parts(model))
            return part_of_screen(model, index - PART_SCREEN);
        const tern_tensor *tensor =
            &model->adapter.peft.checkpoint->tensors[index - PART_SCREEN - n_screen_parts(model)];
        return (part){tensor->data, (size_t)tensor->bytes, false};
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
    if (p.by_rows)
        tern_pages_will_need(p.bytes, p.n_bytes);
    else
        tern_touch_pages(p.bytes, p.n_bytes);
}

/* The system is told to read embedding and head from the disk, but what of them is never used shall not count as this
 * process's memory. The pass brings in the scratch, the kernels' code and the threads. */
tern_status tern_model_warm_up(tern_model *model, tern_error *err) {
    const tern_session_params params = {.n_ctx = 1, .chunk = 1};
    tern_sampler_params greedy = tern_sampler_defaults();
    greedy.temperature = 0;
    int32_t id = 0;
    tern_session *session = NULL;
    tern_sampler *sampler = NULL;
    tern_pool_run(model->pool, n_parts(model), touch_task, model);
    tern_status status = tern_session_create(model, &params, &session, err);
    if (!status)
        status = tern_sampler_create(&greedy, model->weights.dims.vocab_size, &sampler, err);
    if (!status)
        status = tern_session_eval(session, &id, 1, err);
    if (!status)
        status = tern_session_sample(session, sampler, &id, err);
    tern_sampler_free(sampler);
    tern_session_free(session);
    return status;
}
