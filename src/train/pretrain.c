#include "train/pretrain.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "train/export.h"
#include "train/net.h"
#include "train/peak.h"
#include "train/plan.h"
#include "train/pretrain_data.h"
#include "train/speed.h"

enum { MAX_TOKENIZER_BYTES = 1 << 30 };

typedef struct pretrain {
    const tern_pretrain_params *how;
    tern_train_config config; /* a copy that owns nothing: vocabulary and micro-batch are what the data says */
    tern_comm *comm;
    tern_pool *pool;
    tern_text_data data;
    tern_rows rows;
    tern_params params;
    tern_net *net;
    float *nll, *weight;   /* [micro * n_ctx] */
    uint32_t share, micro; /* rows of this rank in a step; of them at a time */
    tern_pretrain_plan plan;
    tern_pretrain_result result;
} pretrain;

/* ---------------------------------------------------------------- objective */

/* Losses of targets that are none count nothing. */
static void set_weights(pretrain *p) {
    for (size_t i = 0; i < p->rows.batch.n_tokens; i++)
        p->weight[i] = p->rows.targets[i] >= 0;
}

static void add_losses(const pretrain *p, tern_step_result *result) {
    const tern_batch *batch = &p->rows.batch;
    for (size_t i = 0; i < batch->n_tokens; i++)
        result->loss_sum += (double)p->nll[i]; /* 0 where there is no target */
    result->n_losses += (double)p->rows.n_losses;
    result->n_tokens += (double)batch->n_tokens;
}

static tern_status gradients(void *user, uint64_t step, tern_grads_ready_fn ready, void *ready_user,
                             tern_step_result *result, tern_error *err) {
    pretrain *p = user;
    uint32_t first = p->share * (uint32_t)tern_comm_rank(p->comm);
    for (uint32_t done = 0; done < p->share; done += p->micro) {
        uint32_t n = p->share - done < p->micro ? p->share - done : p->micro;
        bool last = done + n == p->share;
        tern_status status = tern_text_data_rows(&p->data, step, first + done, n, &p->rows, err);
        if (status)
            return status;
        set_weights(p);
        tern_net_forward(p->net, &p->rows.batch);
        tern_net_backward(p->net, &p->rows.batch, p->weight, p->config.z_loss, p->params.grads, p->nll,
                          last ? ready : NULL, ready_user);
        add_losses(p, result);
    }
    return TERN_OK;
}

/* The rows of a validation go round the ranks, `micro` at a time. */
static tern_status validate(void *user, bool whole, tern_step_result *result, tern_error *err) {
    pretrain *p = user;
    uint64_t rows = tern_feed_held_out_rows(p->data.held_out_feed), tokens = p->config.eval_tokens;
    if (!whole && tokens && tokens / p->config.dims.n_ctx < rows)
        rows = tokens / p->config.dims.n_ctx + 1;
    uint64_t stride = (uint64_t)p->micro * (uint64_t)tern_comm_size(p->comm);
    for (uint64_t first = (uint64_t)p->micro * (uint64_t)tern_comm_rank(p->comm); first < rows; first += stride) {
        uint32_t n = rows - first < p->micro ? (uint32_t)(rows - first) : p->micro;
        tern_status status = tern_feed_held_out_some(p->data.held_out_feed, rows, first, n, &p->rows, err);
        if (status)
            return status;
        tern_net_forward(p->net, &p->rows.batch);
        tern_net_losses(p->net, &p->rows.batch, true, p->nll);
        add_losses(p, result);
    }
    if (!whole)
        return TERN_OK;
    double sums[] = {result->loss_sum, result->n_losses};
    tern_status status = tern_comm_sum_double(p->comm, sums, 2, err);
    if (status || sums[1] <= 0)
        return status;
    p->result.validation = sums[0] / sums[1];
    p->result.held_out_tokens = (uint64_t)sums[1];
    p->result.bits_per_byte =
        sums[0] / log(2) / (double)tern_shard_describe(p->data.held_out)->text_bytes[TERN_SPLIT_HELD_OUT];
    return TERN_OK;
}

static const char *changed(void *user, uint64_t step) {
    pretrain *p = user;
    const tern_param *bad =
        tern_net_quantize(p->net, step < p->config.fp_steps ? TERN_WEIGHTS_FLOAT : p->config.weights);
    return bad ? bad->name : NULL;
}

static void sparsity(void *user, uint32_t layer, double *zero_inputs, double *closed_gates) {
    tern_net_sparsity(((pretrain *)user)->net, layer, zero_inputs, closed_gates);
}

static void update(void *user, tern_pool *pool, const tern_adam_step *step) {
    tern_params_update(pool, &((pretrain *)user)->params, step);
}

static const char *name_of(void *user, size_t index) {
    const tern_params *params = &((pretrain *)user)->params;
    size_t i = params->n - 1;
    while (i && params->list[i].offset > index)
        i--;
    return params->list[i].name;
}

/* ------------------------------------------------------------------- export */

static tern_status export_one(pretrain *p, tern_export_kind kind, tern_weight_mode mode, const char *name,
                              char path[static 1024], tern_error *err) {
    const tern_export_params how = {.kind = kind,
                                    .mode = mode,
                                    .tokenizer_json = p->config.tokenizer,
                                    /* as it is in training: the logits are the same bits */
                                    .embedding_type = "F32",
                                    .weight_type = mode == TERN_WEIGHTS_FLOAT ? "F32" : NULL,
                                    .name = "tern"};
    if (snprintf(path, 1024, "%s/%s", p->config.out, name) >= 1024)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: the name of the folder is too long", p->config.out);
    return tern_export(&p->params, &how, path, err);
}

static tern_status on_sample(void *user, uint64_t step, tern_error *err) {
    pretrain *p = user;
    char path[1024];
    if (!p->how->on_sample)
        return TERN_OK;
    tern_weight_mode mode = step < p->config.fp_steps ? TERN_WEIGHTS_FLOAT : p->config.weights;
    tern_status status = export_one(p, TERN_EXPORT_GGUF, mode, "sample.gguf", path, err);
    if (status)
        return status;
    status = p->how->on_sample(p->how->user, step, path, err);
    unlink(path);
    return status;
}

/* Of a binary model also one bit a weight, which model.gguf, for every program, has no place for. */
static tern_status export_b1(pretrain *p, char path[static 1024], tern_error *err) {
    static const tern_convert_params b1 = {.type = "b1"};
    char from[1024];
    if (snprintf(from, sizeof from, "%s/model.gguf", p->config.out) >= (int)sizeof from ||
        snprintf(path, 1024, "%s/model-b1.gguf", p->config.out) >= 1024)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: the name of the folder is too long", p->config.out);
    return tern_convert(from, path, &b1, err);
}

static tern_status on_finished(void *user, const tern_loop_report *last, tern_error *err) {
    pretrain *p = user;
    (void)last;
    tern_status status = TERN_OK;
    char path[1024];
    for (size_t i = 0; !status && i < TERN_N_RUN_EXPORTS; i++) {
        const tern_run_export *export = &tern_run_exports[i];
        if (p->config.weights == TERN_WEIGHTS_FLOAT && !export->of_floats)
            continue;
        status = export_one(p, export->kind, p->config.weights, export->name, path, err);
        if (!status && p->how->on_export)
            p->how->on_export(p->how->user, path);
    }
    if (!status && p->config.weights == TERN_WEIGHTS_BINARY) {
        status = export_b1(p, path, err);
        if (!status && p->how->on_export)
            p->how->on_export(p->how->user, path);
    }
    return status;
}

/* The command's hooks know nothing of us. */
static void on_warn(void *user, const char *message) {
    const tern_loop_hooks *hooks = &((pretrain *)user)->how->hooks;
    if (hooks->warn)
        hooks->warn(hooks->user, message);
}

static void on_progress(void *user, const tern_loop_report *report) {
    const tern_loop_hooks *hooks = &((pretrain *)user)->how->hooks;
    if (hooks->progress)
        hooks->progress(hooks->user, report);
}

static bool on_go_on(void *user) {
    const tern_loop_hooks *hooks = &((pretrain *)user)->how->hooks;
    return !hooks->go_on || hooks->go_on(hooks->user);
}

/* ------------------------------------------------------------------ begin, end */

static tern_status check_tokenizer(const pretrain *p, tern_error *err) {
    const char *path = p->config.tokenizer;
    char *text;
    size_t n_bytes;
    if (!path)
        return tern_fail(err, TERN_ERR_ARGUMENT, "\"tokenizer\" is missing in the configuration: the model needs one");
    tern_status status = tern_read_regular(path, MAX_TOKENIZER_BYTES, &text, &n_bytes, err);
    if (status)
        return status;
    uint64_t hash = tern_hash_bytes(text, n_bytes), wanted = tern_shard_describe(p->data.held_out)->tokenizer_hash;
    free(text);
    if (wanted && hash != wanted)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: is not the tokenizer that %s was made with", path,
                         p->config.data.list[0]);
    status = tern_export_check_tokenizer(path, p->config.dims.vocab_size, NULL, err);
    if (!status && tern_comm_rank(p->comm) == 0)
        status = tern_export_check_folder(p->config.out, p->config.weights, err);
    return status;
}

static tern_status open_data(pretrain *p, tern_error *err) {
    tern_train_config *config = &p->config;
    if (!config->data.n || !config->out)
        return tern_fail(err, TERN_ERR_ARGUMENT, "\"%s\" is missing in the configuration",
                         config->data.n ? "out" : "data");
    tern_status status = tern_text_data_open(config, &p->data, err);
    if (status)
        return status;
    uint32_t vocabulary = tern_shard_describe(p->data.held_out)->vocab_size;
    if (!config->dims.vocab_size)
        config->dims.vocab_size = vocabulary;
    if (config->dims.vocab_size < vocabulary)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: has ids up to %" PRIu32 ", more than \"vocab\" %" PRIu32,
                         config->data.list[0], vocabulary - 1, config->dims.vocab_size);
    status = check_tokenizer(p, err);
    return status ? status : tern_text_data_feed(config, &p->data, err);
}

static tern_status divide(pretrain *p, tern_error *err) {
    uint32_t size = (uint32_t)tern_comm_size(p->comm);
    if (p->config.batch % size)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "\"batch\" %" PRIu32 " cannot be shared evenly by %" PRIu32 " processes", p->config.batch,
                         size);
    p->share = p->config.batch / size;
    p->micro = p->config.micro < p->share ? p->config.micro : p->share;
    return TERN_OK;
}

static tern_net_params net_params(const pretrain *p) {
    return (tern_net_params){.max_tokens = (size_t)p->micro * p->config.dims.n_ctx,
                             .weights = p->config.weights,
                             .recompute = p->config.recompute,
                             .sparsity = true,
                             .n_threads = tern_pool_threads(p->pool)};
}

/* A share of the step's tokens, and all of the update. What cannot be measured is not told. */
static void measure(pretrain *p) {
    tern_pretrain_plan *plan = &p->plan;
    tern_net_params how = net_params(p);
    tern_train_speed speed;
    how.recompute = plan->recompute;
    if (tern_train_measure(&p->config.dims, &how, p->pool, &speed, NULL))
        return;
    double passes = (double)p->share * p->config.dims.n_ctx * plan->flops_per_token / speed.flops;
    plan->step_seconds = passes + (double)plan->n_params / speed.values;
}

static void plan_data(pretrain *p) {
    tern_pretrain_plan *plan = &p->plan;
    uint64_t n_steps = p->config.schedule.n_steps, switch_step = p->data.switch_step;
    plan->held_out = *tern_shard_describe(p->data.held_out);
    plan->n_stages = p->data.stages[1] ? 2 : 1;
    plan->switch_step = plan->n_stages == 2 ? switch_step : n_steps;
    const uint64_t steps[2] = {plan->switch_step, n_steps - plan->switch_step};
    for (int i = 0; i < plan->n_stages; i++) {
        plan->data[i] = *tern_shard_describe(p->data.stages[i]);
        plan->n_files[i] = tern_shard_parts(p->data.stages[i]);
        plan->epochs[i] = (double)steps[i] * p->config.batch / (double)tern_feed_rows_per_epoch(p->data.feeds[i]);
    }
}

static tern_status make_plan(pretrain *p, tern_error *err) {
    const tern_train_config *config = &p->config;
    const tern_dims *dims = &config->dims;
    tern_pretrain_plan *plan = &p->plan;
    const tern_net_params how = net_params(p);
    uint64_t width = dims->hidden_size, kv = tern_kv_size(dims), q = tern_q_size(dims), layers = dims->n_layers;
    uint64_t matrices = layers * width * (2 * q + 2 * kv + 3 * (uint64_t)dims->ffn_size);
    plan->dims = *dims;
    plan->n_matrix = matrices + (uint64_t)dims->vocab_size * width;
    plan->n_params = plan->n_matrix + layers * (2 * width + q + dims->ffn_size) + width;
    plan->params_bytes = plan->n_params * 4 * sizeof(float);
    tern_plan memory = {.weights = plan->n_params * sizeof(float),
                        .gradients = plan->n_params * sizeof(float),
                        .moments = plan->n_params * 2 * sizeof(float)};
    tern_plan_complete(dims, &how, false, &memory);
    if (memory.available != UINT64_MAX)
        tern_plan_choose(&memory, memory.available / (uint64_t)tern_comm_local_size(p->comm), how.recompute);
    plan->net_bytes = memory.net[memory.recompute];
    plan->available_bytes = memory.available;
    plan->fits = memory.fits;
    plan->recompute = p->config.recompute = memory.recompute; /* where memory is short; the numbers are the same */
    plan->step_tokens = (uint64_t)config->batch * dims->n_ctx;
    plan->n_tokens = plan->step_tokens * config->schedule.n_steps;
    plan_data(p);
    plan->flops_per_token = tern_train_flops(dims, plan->n_matrix);
    plan->n_ranks = tern_comm_size(p->comm);
    plan->n_threads = tern_pool_threads(p->pool);
    plan->micro = p->micro;
    plan->peak_flops = tern_fp32_peak(p->pool);
    if (p->how->measure && plan->fits)
        measure(p);
    return tern_comm_sum_double(p->comm, &plan->peak_flops, 1, err);
}

static tern_status too_large(const tern_pretrain_plan *plan, tern_error *err) {
    return tern_fail(
        err, TERN_ERR_MEMORY,
        "the run needs %.2f GB of memory, of which %.2f GB are activations, but this machine has %.2f GB to "
        "spare; take a smaller \"micro_batch\", \"context\" or model, or a larger machine",
        (double)(plan->params_bytes + plan->net_bytes) * 1e-9, (double)plan->net_bytes * 1e-9,
        (double)plan->available_bytes * 1e-9);
}

static tern_status make_model(pretrain *p, tern_error *err) {
    const tern_dims *dims = &p->config.dims;
    const tern_net_params how = net_params(p);
    tern_status status = tern_params_create(dims, true, &p->params, err);
    if (!status)
        status = tern_net_create(&p->params, &how, p->pool, &p->net, err);
    if (!status)
        status = tern_rows_create(p->micro, dims->n_ctx, &p->rows, err);
    if (status)
        return status;
    p->nll = tern_alloc_array(how.max_tokens, sizeof *p->nll);
    p->weight = tern_alloc_array(how.max_tokens, sizeof *p->weight);
    if (!p->nll || !p->weight)
        return tern_fail_memory(err, "a batch's losses");
    tern_params_init(&p->params, p->config.seed);
    return TERN_OK;
}

static tern_status begin(pretrain *p, tern_error *err) {
    int n_threads = p->how->n_threads > 0 ? p->how->n_threads : tern_cpu_count();
    tern_status status = tern_pool_create(n_threads, &p->pool, err);
    if (!status)
        status = divide(p, err);
    return status ? status : open_data(p, err);
}

static tern_status run(pretrain *p, tern_error *err) {
    const tern_objective objective = {.name = "pretrain",
                                      .user = p,
                                      .gradients = gradients,
                                      .validate = validate,
                                      .changed = changed,
                                      .sparsity = sparsity,
                                      .n_layers = p->config.dims.n_layers,
                                      .flops_per_token = p->plan.flops_per_token,
                                      .data_hash = p->data.hash};
    const tern_trainable trainable = {.values = p->params.values,
                                      .grads = p->params.grads,
                                      .m = p->params.m,
                                      .v = p->params.v,
                                      .n = p->params.n_values,
                                      .update = update,
                                      .name_of = name_of,
                                      .user = p};
    tern_loop_hooks hooks = p->how->hooks;
    hooks.user = p;
    hooks.warn = on_warn;
    hooks.progress = on_progress;
    hooks.go_on = on_go_on;
    hooks.sample = on_sample;
    hooks.finished = on_finished;
    hooks.peak_flops = p->plan.peak_flops;
    return tern_train_loop(&p->config, &objective, &trainable, p->comm, p->pool, &hooks, err);
}

static void end(pretrain *p, tern_status status) {
    free(p->nll);
    free(p->weight);
    tern_net_free(p->net);
    tern_params_free(&p->params);
    tern_rows_free(&p->rows);
    tern_text_data_free(&p->data);
    tern_pool_free(p->pool);
    tern_comm_free(p->comm, status);
}

tern_status tern_pretrain(const tern_pretrain_params *how, tern_pretrain_result *result, tern_error *err) {
    *result = (tern_pretrain_result){.first = true, .validation = NAN, .bits_per_byte = NAN};
    pretrain p = {.how = how, .config = *how->config, .result = *result};
    tern_status status = tern_comm_create(&p.comm, err);
    if (status)
        return status;
    p.result.first = tern_comm_rank(p.comm) == 0;
    status = tern_comm_agree(p.comm, begin(&p, err), err);
    if (!status)
        status = make_plan(&p, err);
    if (!status) {
        bool wanted = tern_comm_rank(p.comm) || !how->on_plan || how->on_plan(how->user, &p.plan);
        if (!wanted)
            status = tern_fail(err, TERN_ERR_CANCELLED, "not begun");
        else
            status = p.plan.fits ? make_model(&p, err) : too_large(&p.plan, err);
        status = tern_comm_agree(p.comm, status, err);
    }
    if (!status)
        status = run(&p, err);
    end(&p, status);
    *result = p.result;
    return status;
}
