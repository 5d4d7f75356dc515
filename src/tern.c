/* The public API's models and tokenizers: the place that wires the rooms together. */
#include "tern/tern.h"

#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/topology.h"
#include "model/demo.h"
#include "model/layout.h"
#include "model_handle.h"
#include "runtime/choose.h"
#include "runtime/scheduler.h"

const char *tern_version(void) { return TERN_VERSION; }

void tern_free(void *memory) { free(memory); }

tern_model_params tern_model_defaults(void) { return (tern_model_params){0}; }

/* About how many ternary weights the model will have; only how much to measure with depends on it. */
static uint64_t expected_weights(const tern_config *config) {
    double heads = config->n_heads ? (double)config->n_kv_heads / config->n_heads : 1;
    double hidden = config->hidden_size, per_layer = hidden * (hidden * (2 + 2 * heads) + 3.0 * config->ffn_size);
    double n = config->n_layers * per_layer;
    return n < 1e12 ? (uint64_t)n : (uint64_t)1e12;
}

/* What tern_choose_packing() is to choose by name: a file in tern's own layout needs no packing if its own is taken,
 * and no measurement. */
static const char *wanted_packing(const tern_model *model, const tern_model_params *params) {
    const char *stored = model->checkpoint->layout_packing, *environment = getenv("TERN_PACKING");
    if (params->packing || (environment && *environment) || !stored)
        return params->packing;
    if (strcmp(stored, tern_packing_b1r16.name) == 0)
        return stored;
    for (size_t i = 0; model->kernels->ternary[i]; i++)
        if (strcmp(model->kernels->ternary[i]->packing->name, stored) == 0)
            return stored;
    return NULL;
}

/* What only BitLinears have. */
static tern_status check_plain(const tern_model *model, const tern_model_params *params, tern_error *err) {
    if (params->lora)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: adapters on weights of floats are not supported",
                         model->checkpoint->path);
    if (params->act == TERN_ACT_INT4)
        return tern_fail(
            err, TERN_ERR_UNSUPPORTED,
            "%s: has weights of floats, whose activations are not rounded; int4 activations go with ternary "
            "weights",
            model->checkpoint->path);
    return TERN_OK;
}

static tern_status choose_packing(tern_model *model, const tern_model_params *params, const tern_ternary **ternary,
                                  tern_error *err) {
    const char *wanted = wanted_packing(model, params);
    bool binary = false;
    tern_status status = TERN_OK;
    if (tern_packing_is_automatic(wanted))
        status = tern_weights_are_binary(model->checkpoint, model->pool, &binary, err);
    return status ? status
                  : tern_choose_packing(model->kernels, wanted, binary, model->pool,
                                        expected_weights(&model->checkpoint->config), ternary, err);
}

static tern_status load(tern_model *model, const char *path, const tern_model_params *params, tern_error *err) {
    tern_backend *backend;
    const tern_ternary *ternary = NULL;
    const tern_load_params load_params = {.progress = params->progress,
                                          .progress_user = params->progress_user,
                                          .huge_pages = params->huge_pages,
                                          .numa = params->numa};
    if (params->act != TERN_ACT_INT8 && params->act != TERN_ACT_INT4)
        return tern_fail(err, TERN_ERR_ARGUMENT, "activations are TERN_ACT_INT8 or TERN_ACT_INT4, not %d",
                         (int)params->act);
    int n_threads = params->n_threads ? params->n_threads : tern_cpu_count();
    model->low_memory = params->low_memory;
    tern_status status = tern_kernels_choose(params->cpu, &model->kernels, err);
    if (!status)
        status = tern_pool_create(n_threads, &model->pool, err);
    if (!status && (params->pin || params->numa == TERN_NUMA_LOCAL))
        status = tern_pool_pin(model->pool, err);
    if (!status)
        status = tern_open_model(path, &model->checkpoint, err);
    if (!status)
        status = tern_vocab_from_checkpoint(model->checkpoint, &model->tokenizer, err);
    if (!status)
        tern_checkpoint_drop_vocab(model->checkpoint);
    if (!status)
        status = choose_packing(model, params, &ternary, err);
    if (!status)
        status = tern_weights_load(model->checkpoint, ternary, model->pool, &load_params, &model->weights, err);
    if (!status && model->weights.plain)
        status = check_plain(model, params, err);
    if (!status && params->lora)
        status = tern_adapter_open(params->lora, &model->weights.dims, &model->adapter, err);
    if (!status && params->lora)
        tern_adapter_attach(&model->adapter, &model->weights);
    if (!status)
        status = tern_model_make_backend(model, params, &backend, err);
    if (!status)
        status = tern_engine_create(&model->weights, backend, &model->engine, err);
    if (!status)
        model->engine->pool = model->pool;
    if (!status && params->act == TERN_ACT_INT4) {
        model->engine->inputs = TERN_ROUND_INT4;
        model->engine->attended = TERN_ROUND_INT8_HALF;
    }
    if (!status && params->mlock)
        status = tern_model_lock(model, err);
    if (!status && params->warm_up)
        status = tern_model_warm_up(model, err);
    return status;
}

tern_status tern_model_load(const char *path, const tern_model_params *params, tern_model **out, tern_error *err) {
    const tern_model_params defaults = tern_model_defaults();
    tern_model *model = calloc(1, sizeof *model);
    if (!model)
        return tern_fail_memory(err, "the model");
    tern_status status = load(model, path, params ? params : &defaults, err);
    if (status)
        tern_model_free(model);
    else
        *out = model;
    return status;
}

void tern_model_free(tern_model *model) {
    if (!model)
        return;
    tern_engine_free(model->engine);
    tern_model_unlock(model);
    tern_weights_free(&model->weights);
    tern_adapter_close(&model->adapter);
    tern_tokenizer_free(model->tokenizer);
    tern_checkpoint_close(model->checkpoint);
    tern_pool_free(model->pool);
    free(model);
}

void tern_model_get_stats(const tern_model *model, tern_model_stats *stats) { tern_engine_stats(model->engine, stats); }

const tern_tokenizer *tern_model_tokenizer(const tern_model *model) { return model->tokenizer; }

void tern_model_get_info(const tern_model *model, tern_model_info *info) {
    const tern_weights *weights = &model->weights;
    const tern_dims *dims = &weights->dims;
    uint64_t ends = weights->embedding->bytes + (weights->tied ? 0 : weights->head->bytes);
    const char *name = model->checkpoint->config.name;
    *info = (tern_model_info){
        .name = name ? name : model->checkpoint->path,
        .arch = model->checkpoint->config.arch,
        .weight_type =
            weights->layers[0].q.stored ? weights->layers[0].q.stored->name : weights->layers[0].q.source->type_name,
        .embedding_type = weights->embedding->type_name,
        .head_type = weights->head->type_name,
        .kernels = tern_model_kernels_name(model),
        .packing = weights->plain ? "none" : weights->ternary->packing->name,
        .n_threads = tern_pool_threads(model->pool),
        .n_memory_nodes = tern_memory_nodes(),
        .vocab_size = dims->vocab_size,
        .n_ctx = dims->n_ctx,
        .hidden_size = dims->hidden_size,
        .ffn_size = dims->ffn_size,
        .n_layers = dims->n_layers,
        .n_heads = dims->n_heads,
        .n_kv_heads = dims->n_kv_heads,
        .head_dim = dims->head_dim,
        .rms_eps = dims->rms_eps,
        .rope_theta = dims->rope_theta,
        .tied_embedding = weights->tied,
        .n_params = weights->n_params,
        .n_ternary = weights->n_ternary,
        .weight_bytes = weights->packed_bytes,
        .screen_bytes = weights->screen.bytes,
        .adapter_bytes = model->adapter.bytes,
        .loaded_bytes =
            weights->packed_bytes + weights->norm_bytes + ends + weights->screen.bytes + model->adapter.bytes,
        .bytes_per_token = weights->packed_bytes + weights->norm_bytes + model->adapter.bytes +
                           (weights->screen.n_rows ? tern_screen_read_bytes(&weights->screen) : weights->head->bytes),
    };
}

tern_status tern_tokenizer_load(const char *path, tern_tokenizer **tokenizer, tern_error *err) {
    if (!tern_is_demo(path))
        return tern_vocab_from_path(path, tokenizer, err);
    tern_checkpoint *checkpoint;
    tern_status status = tern_open_model(path, &checkpoint, err);
    if (status)
        return status;
    status = tern_vocab_from_checkpoint(checkpoint, tokenizer, err);
    tern_checkpoint_close(checkpoint);
    return status;
}

/* Activations of 1 MB for the 2B4T shape instead of 5; prefill is slower. */
enum { LOW_MEMORY_CHUNK = 32 };

tern_status tern_session_create(tern_model *model, const tern_session_params *params, tern_session **session,
                                tern_error *err) {
    tern_session_params small = params ? *params : tern_session_defaults();
    if (model->low_memory && small.chunk == 0)
        small.chunk = LOW_MEMORY_CHUNK;
    return tern_session_open(model->engine, model->tokenizer, &small, session, err);
}

tern_status tern_scheduler_create(tern_model *model, const tern_scheduler_params *params, tern_scheduler **scheduler,
                                  tern_error *err) {
    tern_scheduler_params small = params ? *params : tern_scheduler_defaults();
    if (model->low_memory && small.chunk == 0)
        small.chunk = LOW_MEMORY_CHUNK;
    return tern_scheduler_open(model->engine, model->tokenizer, &small, scheduler, err);
}
