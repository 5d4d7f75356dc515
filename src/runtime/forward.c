/*
 * The model: BitNet b1.58 2B4T, top to bottom. Every step is one operation of
 * runtime/backend.h; docs/MODEL.md has the equations.
 *
 * LLaMA differs in three places, none of them here: its sub norms are NULL, which is no norm; gated() takes the
 * activation of the dimensions; and linear layers whose matrices are floats take their input as it is.
 */
#include "runtime/engine.h"

/* x = x + o_proj(sub_norm(attention(q, k, v))) */
static void attention_block(tern_engine *engine, const tern_layer *layer, uint32_t index, const tern_slot *slots,
                            uint32_t n) {
    const tern_backend_ops *ops = engine->backend->ops;
    tern_backend *be = engine->backend;
    tern_activations *a = &engine->activations;
    uint32_t hidden = engine->weights->dims.hidden_size, q = tern_q_size(&engine->weights->dims);

    ops->norm_quantize(be, a->x, layer->attn_norm, hidden, n, engine->inputs);
    ops->linear(be, (const tern_linear *[]){&layer->q, &layer->k, &layer->v}, (float *[]){a->q, a->k, a->v}, 3, n);
    ops->rope_store(be, slots, n, index, a->q, a->k, a->v);
    ops->attention(be, slots, n, index, a->q, a->attended);
    ops->norm_quantize(be, a->attended, layer->attn_sub_norm, q, n, engine->attended);
    ops->linear_add(be, &layer->o, a->x, n);
}

/* x = x + down_proj(sub_norm(act(gate) * up)), act(x) = relu(x)^2 or silu(x) */
static void ffn_block(tern_engine *engine, const tern_layer *layer, uint32_t n) {
    const tern_backend_ops *ops = engine->backend->ops;
    tern_backend *be = engine->backend;
    tern_activations *a = &engine->activations;
    uint32_t hidden = engine->weights->dims.hidden_size, ffn = engine->weights->dims.ffn_size;

    ops->norm_quantize(be, a->x, layer->ffn_norm, hidden, n, engine->inputs);
    ops->gated(be, &layer->gate, &layer->up, a->gated, n);
    ops->norm_quantize(be, a->gated, layer->ffn_sub_norm, ffn, n, TERN_ROUND_INT8);
    ops->linear_add(be, &layer->down, a->x, n);
}

static tern_status give_output(tern_engine *engine, uint32_t n, const tern_forward_output *output, tern_error *err) {
    const tern_backend_ops *ops = engine->backend->ops;
    tern_activations *a = &engine->activations;
    uint32_t hidden = engine->weights->dims.hidden_size;
    uint32_t first = output->logits || output->hidden ? 0 : n - 1; /* or only the last token's state is asked for */
    if (!output->logits && !output->hidden && !output->last_hidden)
        return TERN_OK;
    ops->norm(engine->backend, a->x + (size_t)first * hidden, engine->weights->output_norm, hidden, n - first,
              a->y + (size_t)first * hidden);
    if (output->last_hidden)
        ops->to_host(engine->backend, a->y + (size_t)(n - 1) * hidden, hidden, output->last_hidden);
    if (output->hidden)
        ops->to_host(engine->backend, a->y, (size_t)n * hidden, output->hidden);
    return output->logits ? ops->logits(engine->backend, a->y, n, output->logits, err) : TERN_OK;
}

static tern_status run_layers(tern_engine *engine, const tern_slot *slots, uint32_t n, const atomic_bool *cancel,
                              tern_error *err) {
    const tern_backend_ops *ops = engine->backend->ops;
    ops->embed(engine->backend, slots, n, engine->activations.x);
    for (uint32_t i = 0; i < engine->weights->dims.n_layers; i++) {
        if (atomic_load_explicit(cancel, memory_order_relaxed))
            return tern_fail(err, TERN_ERR_CANCELLED, "the evaluation was cancelled");
        attention_block(engine, &engine->weights->layers[i], i, slots, n);
        ffn_block(engine, &engine->weights->layers[i], n);
    }
    if (ops->layers_end)
        ops->layers_end(engine->backend);
    return TERN_OK;
}

tern_status tern_forward(tern_engine *engine, const tern_slot *slots, uint32_t n, const atomic_bool *cancel,
                         const tern_forward_output *output, tern_error *err) {
    const tern_backend_ops *ops = engine->backend->ops;
    tern_engine_lock(engine);
    bool done = false;
    tern_status status =
        ops->begin ? ops->begin(engine->backend, slots, n, engine->activations.generation, &done, err) : TERN_OK;
    if (!status) {
        status = done ? TERN_OK : run_layers(engine, slots, n, cancel, err);
        if (!status)
            status = give_output(engine, n, output, err);
        tern_status end = ops->end ? ops->end(engine->backend, status ? NULL : err) : TERN_OK;
        status = status ? status : end;
    }
    tern_engine_unlock(engine);
    return status;
}
