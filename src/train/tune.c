#include "train/tune.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/hash.h"
#include "base/mem.h"
#include "train/dpo.h"
#include "train/export.h"
#include "train/merge.h"
#include "train/peak.h"
#include "train/sft.h"
#include "train/tune_parts.h"

/* --------------------------------------------------------------- the kinds */

/* What a kind begins with where the parameters say nothing. Learning rates: 2B4T report sections 3.2 and 3.3;
 * docs/TRAINING.md says where tern's differ. */
static const struct {
    const char *name;
    float lr;
    double epochs;
    uint32_t batch;
} kinds[] = {
    [TERN_TUNE_SFT] = {"sft", 1e-4f, 3, 32},           [TERN_TUNE_DPO] = {"dpo", 2e-7f, 2, 64},
    [TERN_TUNE_CONTINUE] = {"continue", 1e-4f, 1, 32}, [TERN_TUNE_LORA] = {"lora", 2e-4f, 3, 32},
    [TERN_TUNE_MERGE] = {"lora", 2e-4f, 3, 32},
};

static double beta_of(const tune *t) { return t->p->beta > 0 ? t->p->beta : 0.1; }
static bool has_adapters(const tune *t) { return t->p->kind == TERN_TUNE_LORA || t->p->kind == TERN_TUNE_MERGE; }

static tern_status check_shard(const tune *t, tern_error *err) {
    static const char *const holds[] = {
        [TERN_SHARD_TEXT] = "text", [TERN_SHARD_CHAT] = "conversations", [TERN_SHARD_PAIRS] = "preference pairs"};
    static const int wants[] = {
        [TERN_TUNE_SFT] = TERN_SHARD_CHAT, [TERN_TUNE_DPO] = TERN_SHARD_PAIRS, [TERN_TUNE_CONTINUE] = TERN_SHARD_TEXT};
    const tern_shard_info *info = tern_shard_describe(t->shard);
    if (!has_adapters(t) && (int)info->kind != wants[t->p->kind])
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: holds %s, but tern train %s learns from %s",
                         tern_shard_name(t->shard), holds[info->kind], kinds[t->p->kind].name,
                         holds[wants[t->p->kind]]);
    if (info->vocab_size != t->dims.vocab_size)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "%s: was made with a vocabulary of %" PRIu32 ", the model %s has %" PRIu32
                         "; make it with the model's tokenizer",
                         tern_shard_name(t->shard), info->vocab_size, t->p->model, t->dims.vocab_size);
    return TERN_OK;
}

/* -------------------------------------------------------------------- the settings */

static uint64_t ceil_of(double value) { return value > 1 ? (uint64_t)ceil(value - 1e-9) : 1; }

/* Documents of which the context has not all: nobody should learn that from the loss. */
static void tell_what_is_cut(const tune *t, const tern_feed *feed) {
    const tern_shard_info *info = tern_shard_describe(t->shard);
    char message[200];
    uint64_t left_out = tern_feed_left_out(feed), n_cut = tern_feed_cut(feed);
    bool pairs = info->kind == TERN_SHARD_PAIRS;
    if (left_out + n_cut == 0)
        return;
    snprintf(message, sizeof message,
             "of %" PRIu64 " %s, %" PRIu64 " have no answer within %" PRIu32 " tokens and are left out, and %" PRIu64
             " are cut",
             info->n_documents[TERN_SPLIT_TRAIN], pairs ? "answers of pairs" : "conversations", left_out,
             t->config.dims.n_ctx, n_cut);
    tern_tune_warn(t, message);
}

/* Steps of so many epochs (0: as they are): what the feed makes of the shard. */
static tern_status count_steps(const tune *t, uint64_t *n_steps, tern_error *err) {
    const tern_train_config *config = &t->config;
    tern_feed *feed;
    bool pairs = tern_shard_describe(t->shard)->kind == TERN_SHARD_PAIRS;
    double epochs = t->p->epochs > 0 ? t->p->epochs : kinds[pairs ? TERN_TUNE_DPO : t->p->kind].epochs;
    tern_status status = tern_feed_create(t->shard, config->dims.n_ctx, config->batch, config->seed, &feed, err);
    if (status)
        return status;
    if (!*n_steps)
        *n_steps = ceil_of(epochs * (double)tern_feed_rows_per_epoch(feed) / config->batch);
    tell_what_is_cut(t, feed);
    tern_feed_free(feed);
    return TERN_OK;
}

/* What a run that goes on was begun with, and what depends on the memory that was free then: as its state says. Rank 0
 * looks. A state that cannot be read is tern_run_begin()'s to tell. */
static tern_status look_for_earlier(tune *t, tern_error *err) {
    if (tern_comm_rank(t->comm) == 0 && !t->p->hooks.restart) {
        tern_state_file file;
        tern_train_config config;
        tern_error warning = {0};
        bool found = false;
        tern_status status = tern_state_look(t->p->out, &file, &found, &warning, NULL);
        if (!status && found) {
            if (!tern_train_config_parse(file.state.config, file.path, &config, NULL)) {
                t->earlier = (tune_earlier){config.micro, config.recompute, config.dims.n_ctx, config.batch};
                tern_train_config_free(&config);
            }
            tern_state_close(&file);
        }
    }
    return tern_comm_broadcast(t->comm, &t->earlier, sizeof t->earlier, err);
}

static void set_micro(tune *t) {
    tern_train_config *config = &t->config;
    const tune_earlier *earlier = &t->earlier;
    bool pairs = tern_shard_describe(t->shard)->kind == TERN_SHARD_PAIRS;
    config->micro = t->p->micro ? t->p->micro : 4096 / config->dims.n_ctx; /* some 4096 tokens keep all cores busy */
    t->micro_is_set = t->p->micro > 0;
    if (config->micro == 0)
        config->micro = 1;
    if (!t->micro_is_set && earlier->micro && earlier->n_ctx == config->dims.n_ctx && earlier->batch == config->batch) {
        config->micro = earlier->micro;
        config->recompute |= earlier->recompute != 0;
        t->micro_is_set = true;
    }
    if (config->micro > config->batch)
        config->micro = config->batch;
    config->micro += pairs && config->micro % 2;
}

static tern_status set_paths(tune *t, tern_error *err) {
    bool have = true;
    for (size_t i = 0; have && i < t->p->n_shards; i++)
        have = tern_paths_add(&t->config.data, t->p->shards[i]);
    t->config.out = strdup(t->p->out);
    /* adapters need none. Whole: what is trained from this run's state may be started in another folder */
    t->config.tokenizer = t->tokenizer ? realpath(t->tokenizer, NULL) : NULL;
    return have && t->config.out && (t->config.tokenizer || !t->tokenizer) ? TERN_OK
                                                                           : tern_fail_memory(err, "the configuration");
}

static tern_status set_sample_prompt(tune *t, tern_error *err) {
    bool chat = tern_shard_describe(t->shard)->kind != TERN_SHARD_TEXT;
    const char *prompt = t->p->sample_prompt ? t->p->sample_prompt : chat ? "Tell me a story." : "Once upon a time";
    free(t->config.sample_prompt);
    t->config.sample_prompt = strdup(prompt);
    return t->config.sample_prompt ? TERN_OK : tern_fail_memory(err, "the configuration");
}

static tern_status make_config(tune *t, tern_error *err) {
    const tern_tune_params *p = t->p;
    tern_train_config *config = &t->config;
    tern_status status = tern_train_config_defaults(config, err);
    if (status)
        return status;
    config->dims = t->dims;
    config->dims.n_ctx = p->n_ctx ? p->n_ctx : t->dims.n_ctx < 1024 ? t->dims.n_ctx : 1024;
    if (config->dims.n_ctx > t->dims.n_ctx)
        return tern_fail(err, TERN_ERR_ARGUMENT, "a context of %" PRIu32 " tokens is more than the model's, %" PRIu32,
                         p->n_ctx, t->dims.n_ctx);
    config->weights = t->mode;
    config->batch = p->batch ? p->batch : kinds[p->kind].batch;
    config->seed = p->seed;
    config->adam = (tern_adam){0.9f, 0.95f, 1e-8f, p->clip < 0 ? 1 : p->clip};
    config->z_loss = p->z_loss;
    config->recompute = p->recompute;
    config->eval_every = p->eval_every;
    config->eval_tokens = p->eval_tokens;
    config->save_every = p->save_every;
    config->sample_every = p->sample_every;
    if ((status = set_sample_prompt(t, err)))
        return status;
    uint64_t n_steps = p->n_steps;
    set_micro(t);
    if ((status = count_steps(t, &n_steps, err)))
        return status;
    float lr = p->lr > 0 ? p->lr : kinds[p->kind].lr, decay = p->weight_decay > 0 ? p->weight_decay : 0;
    uint64_t warmup = p->warmup_steps ? p->warmup_steps : n_steps / 30;
    if (warmup > n_steps)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%" PRIu64 " steps of warm-up are more than all %" PRIu64 " steps",
                         warmup, n_steps);
    config->schedule = (tern_schedule){.n_steps = n_steps,
                                       .warmup_steps = warmup,
                                       .switch_at = 1,
                                       .lr = {lr, lr},
                                       .weight_decay = {decay, decay},
                                       .final_fraction = p->final_fraction > 0 ? p->final_fraction : 0};
    return set_paths(t, err);
}

/* Before the plan, which depends on what it holds. */
static tern_status read_adapter(tune *t, tern_error *err) {
    if (!has_adapters(t) || !t->p->adapter)
        return TERN_OK;
    tern_status status = tern_lora_read(t->p->adapter, &t->dims, &t->lora, err);
    if (status)
        return status;
    t->rank = t->lora.r;
    t->alpha = t->lora.alpha;
    t->targets = t->lora.targets;
    return TERN_OK;
}

/* ------------------------------------------------------------------------ memory */

static uint64_t rows_of(const tune *t) { return (uint64_t)t->config.micro * t->config.dims.n_ctx; }

static tern_net_params net_params(tune *t) {
    return (tern_net_params){.max_tokens = rows_of(t),
                             .weights = t->mode,
                             .recompute = t->config.recompute,
                             .lora = t->p->kind == TERN_TUNE_LORA ? &t->lora : NULL,
                             .cpu = t->p->cpu,
                             .n_threads = tern_pool_threads(t->pool)};
}

/* Adapters of all chosen matrices. */
static uint64_t adapter_values(const tune *t) {
    uint64_t n = 0;
    for (int which = 0; which < TERN_LINEARS_PER_LAYER; which++) {
        uint32_t rows, cols;
        tern_linear_shape(&t->dims, which, &rows, &cols);
        n += t->targets >> which & 1 ? (uint64_t)t->rank * (rows + cols) : 0;
    }
    return n * t->dims.n_layers;
}

static tern_plan sizes_of(const tune *t) {
    uint64_t n = tern_plan_params(&t->dims), n_adapter = has_adapters(t) ? adapter_values(t) : 0;
    uint64_t masters = n > UINT64_MAX / 16 ? UINT64_MAX / 16 : n * sizeof(float), adapters = n_adapter * sizeof(float);
    switch (t->p->kind) {
    case TERN_TUNE_LORA:
        return (tern_plan){.weights = t->base_bytes + adapters, .gradients = adapters, .moments = 2 * adapters};
    case TERN_TUNE_MERGE:
        return (tern_plan){
            .weights = masters + adapters, .gradients = masters + adapters, .moments = 2 * adapters, .other = masters};
    default:
        return (tern_plan){.weights = masters, .gradients = masters, .moments = 2 * masters};
    }
}

/* Smaller micro-batches until it fits, unless they were asked for or the run was begun with them. */
static tern_status plan_memory(tune *t, tern_error *err) {
    tern_plan plan;
    uint32_t least = tern_shard_describe(t->shard)->kind == TERN_SHARD_PAIRS ? 2 : 1;
    for (;;) {
        tern_net_params how = net_params(t);
        plan = sizes_of(t);
        plan.micro = t->config.micro;
        tern_plan_complete(&t->dims, &how, t->p->kind == TERN_TUNE_LORA, &plan);
        if (plan.fits || t->micro_is_set || t->config.micro <= least)
            break;
        t->config.micro = t->config.micro / 2 < least ? least : t->config.micro / 2 / least * least;
    }
    t->config.recompute = plan.recompute;
    if (t->p->on_plan && tern_comm_rank(t->comm) == 0)
        t->p->on_plan(t->p->user, &plan, &t->config);
    return tern_plan_check(&plan, err);
}

/* ---------------------------------------------------------------------- what is trained */

static const char *params_name_of(void *user, size_t index) {
    const tern_params *params = user;
    size_t i = params->n;
    while (i > 0 && params->list[i - 1].offset > index)
        i--;
    return i ? params->list[i - 1].name : "";
}

static void params_update(void *user, tern_pool *pool, const tern_adam_step *step) {
    tern_params_update(pool, user, step);
}

static const char *lora_name_of(void *user, size_t index) { return tern_lora_name_of(user, index); }

static void lora_update(void *user, tern_pool *pool, const tern_adam_step *step) {
    const tern_lora *lora = user;
    tern_adam_update(pool, step, lora->n_values, true);
}

static tern_trainable trainable_of(tune *t) {
    if (has_adapters(t))
        return (tern_trainable){t->lora.values,   t->lora.grads, t->lora.m,    t->lora.v,
                                t->lora.n_values, lora_update,   lora_name_of, &t->lora};
    return (tern_trainable){t->params.values,   t->params.grads, t->params.m,    t->params.v,
                            t->params.n_values, params_update,   params_name_of, &t->params};
}

static const char *changed(void *user, uint64_t step) {
    (void)step;
    tune *t = *(tune **)user;
    if (t->p->kind == TERN_TUNE_LORA) /* the net reads the adapters where they are */
        return NULL;
    if (t->p->kind == TERN_TUNE_MERGE)
        tern_merge_apply(&t->merge);
    const tern_param *bad = tern_net_quantize(t->net, t->mode);
    return bad ? bad->name : NULL;
}

/* The loop calls all of an objective's functions with one pointer. This one leads to both. */
typedef struct outer {
    tune *t; /* first: what changed() takes */
    tern_objective inner;
} outer;

static tern_status outer_gradients(void *user, uint64_t step, tern_grads_ready_fn ready, void *ready_user,
                                   tern_step_result *result, tern_error *err) {
    outer *o = user;
    return o->inner.gradients(o->inner.user, step, ready, ready_user, result, err);
}

static tern_status outer_validate(void *user, bool whole, tern_step_result *result, tern_error *err) {
    outer *o = user;
    return o->inner.validate(o->inner.user, whole, result, err);
}

static tern_objective wrap(outer *o) {
    tern_objective objective = o->inner;
    objective.user = o;
    objective.gradients = outer_gradients;
    objective.validate = o->inner.validate ? outer_validate : NULL;
    objective.changed = changed;
    return objective;
}

/* --------------------------------------------------------------------------- going */

static tern_status make_lora(tune *t, tern_error *err) {
    if (!has_adapters(t))
        return TERN_OK;
    if (t->p->adapter)
        return TERN_OK; /* read_adapter() has */
    tern_status status = tern_lora_create(&t->dims, t->rank, t->alpha, t->targets, &t->lora, err);
    if (!status)
        tern_lora_init(&t->lora, t->p->seed);
    return status;
}

static tern_status make_net(tune *t, tern_error *err) {
    tern_net_params how = net_params(t);
    if (t->p->kind == TERN_TUNE_LORA)
        return tern_net_create_frozen(&t->weights, &how, t->pool, &t->net, err);
    tern_status status = TERN_OK;
    if (t->p->kind == TERN_TUNE_MERGE)
        status = tern_merge_create(&t->params, &t->lora, t->pool, &t->merge, err);
    if (!status)
        status =
            tern_net_create(t->p->kind == TERN_TUNE_MERGE ? &t->merge.merged : &t->params, &how, t->pool, &t->net, err);
    const tern_param *bad = status ? NULL : tern_net_quantize(t->net, t->mode);
    return bad ? tern_fail(err, TERN_ERR_FORMAT, "%s: %s holds a value that is not finite%s", t->p->model, bad->name,
                           t->p->adapter ? ", with the adapter added" : "")
               : status;
}

/* What a run goes on with only if it is the same, and its configuration does not say: the model that it begins with,
 * the adapters' settings, DPO's beta. */
static uint64_t hash_of_start(const tune *t, uint64_t data_hash) {
    tern_hash hash;
    const uint64_t kind = t->p->kind, tokens = tern_shard_describe(t->shard)->kind;
    tern_hash_start(&hash);
    tern_hash_add(&hash, &data_hash, sizeof data_hash);
    tern_hash_add(&hash, &kind, sizeof kind);
    if (tokens == TERN_SHARD_PAIRS) {
        double beta = beta_of(t);
        tern_hash_add(&hash, &beta, sizeof beta);
    }
    if (has_adapters(t)) {
        const uint64_t settings[] = {t->lora.r, t->lora.targets, t->p->adapter != NULL};
        tern_hash_add(&hash, settings, sizeof settings);
        tern_hash_add(&hash, &t->lora.alpha, sizeof t->lora.alpha);
        if (t->p->adapter) /* a fresh one is made of the seed, which the configuration has */
            tern_hash_add(&hash, t->lora.values, t->lora.n_values * sizeof(float));
    }
    if (t->p->kind != TERN_TUNE_LORA)
        tern_hash_add(&hash, t->params.values, t->params.n_values * sizeof(float));
    for (size_t i = 0; t->p->kind == TERN_TUNE_LORA && i < t->checkpoint->n_tensors; i++) {
        const tern_tensor *tensor = &t->checkpoint->tensors[i];
        tern_hash_add(&hash, tensor->data, (size_t)tensor->bytes);
        if (tensor->scale)
            tern_hash_add(&hash, tensor->scale->data, (size_t)tensor->scale->bytes);
        tern_checkpoint_release(t->checkpoint, tensor);
    }
    return tern_hash_value(&hash);
}

void tern_tune_warn(const tune *t, const char *message) {
    if (t->p->hooks.warn && tern_comm_rank(t->comm) == 0)
        t->p->hooks.warn(t->p->hooks.user, message);
}

/* The loop's hooks are called with the command's pointer; `finished` is ours, and so each goes through here. */
static void on_warn(void *user, const char *message) { tern_tune_warn(user, message); }

static void on_progress(void *user, const tern_loop_report *report) {
    const tune *t = user;
    if (t->p->hooks.progress)
        t->p->hooks.progress(t->p->hooks.user, report);
}

static bool on_go_on(void *user) {
    const tune *t = user;
    return !t->p->hooks.go_on || t->p->hooks.go_on(t->p->hooks.user);
}

static void on_reference(void *user, uint64_t done, uint64_t total) {
    const tune *t = user;
    if (t->p->on_reference && tern_comm_rank(t->comm) == 0)
        t->p->on_reference(t->p->user, done, total);
}

static tern_status make_objective(tune *t, tern_objective *objective, tern_error *err) {
    float *grads = t->p->kind == TERN_TUNE_MERGE ? t->merge.merged.grads
                   : has_adapters(t)             ? t->lora.grads
                                                 : t->params.grads;
    tern_status status;
    if (tern_shard_describe(t->shard)->kind == TERN_SHARD_PAIRS) {
        const tern_dpo_params params = {t->shard, &t->config,   beta_of(t), t->net, grads,
                                        t->comm,  on_reference, on_go_on,   t};
        status = tern_dpo_create(&params, &t->dpo, err);
        if (!status)
            *objective = tern_dpo_objective(t->dpo);
    } else {
        const tern_sft_params params = {t->shard, &t->config, t->net, grads, t->comm};
        status = tern_sft_create(&params, &t->sft, err);
        if (!status)
            *objective = tern_sft_objective(t->sft);
    }
    if (status)
        return status;
    objective->name = kinds[t->p->kind].name;
    objective->data_hash = hash_of_start(t, objective->data_hash);
    /* two operations a weight forward, two by the input, two by the weight; attention with half of the pairs */
    double n = (double)tern_plan_params(&t->dims);
    objective->flops_per_token = (t->p->kind == TERN_TUNE_LORA ? 4 : 6) * n +
                                 6.0 * t->dims.n_layers * t->config.dims.n_ctx * t->dims.hidden_size;
    return TERN_OK;
}

static tern_status sample(void *user, uint64_t step, tern_error *err) { return tern_tune_sample_now(user, step, err); }

static tern_status finished(void *user, const tern_loop_report *last, tern_error *err) {
    tune *t = user;
    tern_status status = tern_tune_export(t, err);
    if (!status && t->p->hooks.finished)
        status = t->p->hooks.finished(t->p->hooks.user, last, err);
    return status;
}

static tern_status train(tune *t, const tern_objective *inner, tern_error *err) {
    tern_objective of_merged = *inner;
    tern_merge_objective merged = {.merge = &t->merge, .inner = &of_merged};
    outer o = {.t = t, .inner = t->p->kind == TERN_TUNE_MERGE ? tern_merge_wrap(&merged) : *inner};
    tern_objective objective = wrap(&o);
    tern_trainable trainable = trainable_of(t);
    tern_loop_hooks hooks = t->p->hooks;
    hooks.user = t;
    hooks.warn = on_warn;
    hooks.progress = on_progress;
    hooks.go_on = on_go_on;
    hooks.sample = t->p->on_sample ? sample : NULL;
    hooks.finished = finished;
    hooks.peak_flops = tern_fp32_peak(t->pool);
    tern_status status = tern_comm_sum_double(t->comm, &hooks.peak_flops, 1, err);
    if (status)
        return status;
    return tern_train_loop(&t->config, &objective, &trainable, t->comm, t->pool, &hooks, err);
}

static tern_status open_shards(tune *t, tern_error *err) {
    tern_status status = TERN_OK;
    t->parts = tern_calloc_array(t->p->n_shards, sizeof(tern_shard *));
    if (!t->parts)
        return tern_fail_memory(err, "the list of shards");
    for (size_t i = 0; !status && i < t->p->n_shards; i++)
        status = tern_shard_open(t->p->shards[i], &t->parts[i], err);
    return status ? status : tern_shard_join(t->parts, t->p->n_shards, &t->shard, err);
}

static void close_shards(tune *t) {
    tern_shard_close(t->shard);
    for (size_t i = 0; t->parts && i < t->p->n_shards; i++)
        tern_shard_close(t->parts[i]);
    free(t->parts);
}

static tern_status open_inputs(tune *t, tern_error *err) {
    tern_status status;
    if ((status = tern_pool_create(t->p->n_threads ? t->p->n_threads : tern_cpu_count(), &t->pool, err)) ||
        (status = tern_tune_open(t, err)) || (status = open_shards(t, err)) || (status = check_shard(t, err)))
        return status;
    status = tern_tune_find_tokenizer(t, err);
    return status ? status : tern_tune_check_places(t, err);
}

static tern_status settle(tune *t, tern_error *err) {
    tern_status status;
    if ((status = make_config(t, err)) || (status = read_adapter(t, err)))
        return status;
    return plan_memory(t, err);
}

static tern_status load(tune *t, tern_objective *objective, tern_error *err) {
    tern_status status;
    if ((status = tern_tune_load(t, err)) || (status = make_lora(t, err)) || (status = make_net(t, err)))
        return status;
    return make_objective(t, objective, err);
}

/* Ranks agree after each part: one that failed alone would end the others, and itself, before it could say why. */
static tern_status run(tune *t, tern_error *err) {
    tern_objective objective;
    tern_status status = tern_comm_create(&t->comm, err);
    if (status)
        return status;
    if ((status = tern_comm_agree(t->comm, open_inputs(t, err), err)) || (status = look_for_earlier(t, err)) ||
        (status = tern_comm_agree(t->comm, settle(t, err), err)))
        return status;
    if (t->p->plan_only)
        return TERN_OK;
    status = tern_comm_agree(t->comm, load(t, &objective, err), err);
    return status ? status : train(t, &objective, err);
}

tern_status tern_tune(const tern_tune_params *params, tern_error *err) {
    tune t = {.p = params,
              .rank = params->rank ? params->rank : 16,
              .targets = params->targets ? params->targets : (1u << TERN_LINEARS_PER_LAYER) - 1};
    t.alpha = params->alpha > 0 ? params->alpha : 2 * (float)t.rank;
    tern_status status = run(&t, err);
    tern_sft_free(t.sft);
    tern_dpo_free(t.dpo);
    tern_net_free(t.net);
    tern_merge_free(&t.merge);
    tern_lora_free(&t.lora);
    tern_params_free(&t.params);
    tern_train_config_free(&t.config);
    close_shards(&t);
    tern_tune_close(&t);
    tern_pool_free(t.pool);
    tern_comm_free(t.comm, status);
    return status;
}
