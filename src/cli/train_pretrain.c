/* tern train pretrain: a model from nothing. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "cli/measure.h"
#include "cli/train_common.h"
#include "train/pretrain.h"

typedef struct settings {
    int64_t steps, threads;
    const char *out;
    bool restart, accept_changes, plan, example_config, list_keys;
} settings;

static const tern_option options[] = {
    {"steps", 0, TERN_OPTION_INT, offsetof(settings, steps), "N", "optimiser steps of the whole run", 1, 1e15, NULL,
     "the configuration's"},
    {"out", 'o', TERN_OPTION_FILE, offsetof(settings, out), "FOLDER", "of the run: state, log and model", 0, 0, NULL,
     "the configuration's"},
    {"restart", 0, TERN_OPTION_FLAG, offsetof(settings, restart), NULL,
     "begin anew: forget the state and the log in the folder", 0, 0, NULL, NULL},
    {"accept-changes", 0, TERN_OPTION_FLAG, offsetof(settings, accept_changes), NULL,
     "go on although configuration or data have changed", 0, 0, NULL, NULL},
    {"threads", 't', TERN_OPTION_INT, offsetof(settings, threads), "N", "threads of each process", 1, 1024, NULL,
     "all CPUs"},
    {"plan", 0, TERN_OPTION_FLAG, offsetof(settings, plan), NULL,
     "only print what the run will take: memory, tokens, time", 0, 0, NULL, NULL},
    {"example-config", 0, TERN_OPTION_FLAG, offsetof(settings, example_config), NULL,
     "print a whole configuration with every key", 0, 0, NULL, NULL},
    {"list-keys", 0, TERN_OPTION_FLAG, offsetof(settings, list_keys), NULL,
     "explain the keys of a configuration: default, range, use", 0, 0, NULL, NULL},
    {0},
};

typedef struct state {
    const settings *settings;
    const tern_train_config *config;
    tern_train_display display;
} state;

/* --------------------------------------------------------------------- plan */

static void plan_row(FILE *file, const char *label, const char *format, ...) TERN_PRINTF(3, 4);
static void plan_row(FILE *file, const char *label, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(file, "%-14s ", label);
    vfprintf(file, format, arguments);
    fputc('\n', file);
    va_end(arguments);
}

static void print_time(FILE *file, const tern_pretrain_plan *plan, uint64_t n_steps) {
    double seconds = plan->step_seconds * (double)n_steps;
    const double spans[] = {1, 60, 3600, 86400};
    static const char *const units[] = {"s", "min", "h", "days"};
    int i = 0;
    while (i < 3 && seconds >= 2 * spans[i + 1])
        i++;
    if (seconds > 0)
        plan_row(file, "time", "some %.2g %s: %.3g s a step, as a few small ones took, or %.0f tokens/s",
                 seconds / spans[i], units[i], plan->step_seconds, (double)plan->step_tokens / plan->step_seconds);
    if (plan->peak_flops > 0)
        plan_row(file, "peak", "%.0f GFLOP/s (float32)", plan->peak_flops * 1e-9);
}

static void print_data(FILE *file, const tern_pretrain_plan *plan, uint64_t n_steps) {
    char a[32], b[32], shards[48];
    for (int i = 0; i < plan->n_stages; i++) {
        const tern_shard_info *data = &plan->data[i];
        snprintf(shards, sizeof shards, "%zu shards: ", plan->n_files[i]);
        plan_row(file, i ? "data, stage 2" : "data", "%s%s training tokens (documents: %" PRIu64 ")",
                 plan->n_files[i] > 1 ? shards : "", tern_format_count(a, (double)data->n_tokens[TERN_SPLIT_TRAIN]),
                 data->n_documents[TERN_SPLIT_TRAIN]);
    }
    plan_row(file, "held out", "%s tokens", tern_format_count(a, (double)plan->held_out.n_tokens[TERN_SPLIT_HELD_OUT]));
    plan_row(file, "run", "%" PRIu64 " steps of %s tokens: %s tokens, %.2f passes over the data", n_steps,
             tern_format_count(a, (double)plan->step_tokens), tern_format_count(b, (double)plan->n_tokens),
             plan->epochs[0]);
    if (plan->n_stages == 2)
        plan_row(file, "", "from step %" PRIu64 " on stage 2, %.2f passes over its data", plan->switch_step + 1,
                 plan->epochs[1]);
}

static bool on_plan(void *user, const tern_pretrain_plan *plan) {
    const state *s = user;
    FILE *file = s->settings->plan ? stdout : stderr;
    const tern_dims *dims = &plan->dims;
    const tern_train_config *config = s->config;
    char a[32], b[32], c[32];
    double flops = plan->flops_per_token * (double)plan->n_tokens;
    plan_row(file, "model",
             "%" PRIu32 " layers, hidden %" PRIu32 ", FFN %" PRIu32 ", %" PRIu32 "/%" PRIu32
             " heads, vocabulary %" PRIu32 ", context %" PRIu32 " tokens",
             dims->n_layers, dims->hidden_size, dims->ffn_size, dims->n_heads, dims->n_kv_heads, dims->vocab_size,
             dims->n_ctx);
    plan_row(file, "parameters", "%s", tern_format_count(a, (double)plan->n_params));
    print_data(file, plan, config->schedule.n_steps);
    plan_row(file, "work", "%.3g FLOP, %.4g a token", flops, plan->flops_per_token);
    plan_row(file, "memory",
             "%s: %s weights, gradients and moments, %s activations (sequences at a time: %" PRIu32 ")%s",
             tern_format_bytes(a, (double)(plan->params_bytes + plan->net_bytes)),
             tern_format_bytes(b, (double)plan->params_bytes), tern_format_bytes(c, (double)plan->net_bytes),
             plan->micro, plan->n_ranks > 1 ? ", in each process" : "");
    if (plan->available_bytes != UINT64_MAX)
        plan_row(file, "to spare", "%s%s%s", tern_format_bytes(a, (double)plan->available_bytes),
                 plan->n_ranks > 1 ? " for each process" : "", plan->fits ? "" : ": too little");
    if (plan->recompute && !config->recompute)
        plan_row(file, "", "memory is short: activations are computed again, as by \"recompute\": true");
    plan_row(file, "processes", "%d of %d threads", plan->n_ranks, plan->n_threads);
    print_time(file, plan, config->schedule.n_steps);
    if (config->weights == TERN_WEIGHTS_FLOAT)
        plan_row(file, "note",
                 "weights stay float: tern's other commands make them ternary as they load the model, so "
                 "`tern perplexity` says more than the validation loss");
    return !s->settings->plan;
}

/* ------------------------------------------------------------------- sample */

static tern_status on_sample(void *user, uint64_t step, const char *gguf, tern_error *err) {
    state *s = user;
    bool was_float = s->config->weights == TERN_WEIGHTS_FLOAT || step < s->config->fp_steps;
    const tern_train_sample sample = {.step = step,
                                      .model = gguf,
                                      .prompt = s->config->sample_prompt,
                                      .note = was_float ? " (made ternary)" : "",
                                      .n_threads = (int)s->settings->threads};
    return tern_train_display_sample(&s->display, &sample, err);
}

/* ---------------------------------------------------------------------- run */

static void on_export(void *user, const char *path) {
    tern_train_display_clear(&((state *)user)->display);
    tern_cli_row("written", "%s", path);
}

static void print_result(const tern_pretrain_result *result) {
    if (!result->first || isnan(result->validation))
        return;
    tern_cli_row("validation loss", "%.6f nats a token", result->validation);
    tern_cli_row("bits per byte", "%.6f bits", result->bits_per_byte);
    tern_cli_row("held out", "%" PRIu64 " tokens", result->held_out_tokens);
}

static int print_example(void) {
    tern_train_config config;
    tern_error err;
    if (tern_train_config_defaults(&config, &err))
        return tern_cli_error(&err);
    /* paths have no defaults */
    bool have = tern_paths_add(&config.data, "story.shard");
    config.tokenizer = strdup("tokenizer.json");
    config.out = strdup("run");
    char *text = have && config.tokenizer && config.out ? tern_train_config_text(&config) : NULL;
    if (text)
        fputs(text, stdout);
    tern_train_config_free(&config);
    free(text);
    return text ? 0 : tern_cli_fail("out of memory");
}

static int print_keys(void) {
    tern_config_key key;
    for (size_t i = 0; tern_train_config_key(i, &key); i++)
        printf("%-20s %-19s %-18s %s\n", key.name, *key.preset ? key.preset : "-", key.allowed, key.help);
    return 0;
}

static int train(const settings *s, tern_train_config *config) {
    state shared = {.settings = s, .config = config};
    tern_pretrain_params params = {.config = config,
                                   .n_threads = (int)s->threads,
                                   .measure = s->plan,
                                   .user = &shared,
                                   .on_plan = on_plan,
                                   .on_sample = on_sample,
                                   .on_export = on_export,
                                   .hooks = {.user = &shared.display,
                                             .warn = tern_train_display_warn,
                                             .progress = tern_train_display_progress,
                                             .go_on = tern_train_display_go_on,
                                             .restart = s->restart,
                                             .accept_changes = s->accept_changes}};
    tern_pretrain_result result;
    tern_error err;
    tern_interrupt_watch(NULL);
    tern_status status = tern_pretrain(&params, &result, &err);
    tern_train_display_clear(&shared.display);
    tern_interrupt_unwatch();
    if (status == TERN_ERR_CANCELLED && s->plan)
        return 0;
    if (status == TERN_ERR_CANCELLED && tern_interrupted()) {
        if (result.first)
            fprintf(stderr, "%s; the same command goes on\n", err.message);
        return tern_interrupt_status();
    }
    if (status)
        return tern_cli_fail("%s", err.message);
    print_result(&result);
    return 0;
}

static int run(void *parsed, const char *const *operands, size_t n_operands) {
    const settings *s = parsed;
    tern_train_config config;
    tern_error err;
    if (s->example_config)
        return print_example();
    if (s->list_keys)
        return print_keys();
    if (n_operands == 0)
        return tern_cli_usage("train pretrain", "too few arguments, wanted: CONFIG");
    if (tern_train_config_read(operands[0], &config, &err))
        return tern_cli_error(&err);
    if (s->steps)
        config.schedule.n_steps = (uint64_t)s->steps;
    if (config.schedule.warmup_steps > config.schedule.n_steps)
        config.schedule.warmup_steps = config.schedule.n_steps;
    int status = tern_train_config_check_steps(&config, operands[0], &err) ? tern_cli_error(&err) : 0;
    if (!status && s->out) {
        free(config.out);
        config.out = strdup(s->out);
        status = config.out ? 0 : tern_cli_fail("out of memory");
    }
    if (!status)
        status = train(s, &config);
    tern_train_config_free(&config);
    return status;
}

static const settings defaults = {0};

const tern_command tern_command_train_pretrain = {
    .name = "train pretrain",
    .operands = "CONFIG",
    .summary = "train a model from nothing, as the JSON file CONFIG says",
    .example = "tern train pretrain --example-config > story.json\n"
               "tern train pretrain story.json --plan\n"
               "tern train pretrain story.json\n"
               "mpirun -n 4 tern train pretrain story.json\n",
    .notes = "The run's folder (\"out\") gets log.jsonl with a line a step, state.tern, from which the same command\n"
             "goes on after Ctrl-C, a crash or a power failure as if nothing had been, and at the end model.gguf and\n"
             "the Hugging Face folders master (bf16) and packed. `tern train plot` draws the log. Started by mpirun\n"
             "all processes share each step's batch. docs/TRAINING.md says more.\n",
    .min_operands = 0,
    .max_operands = 1,
    .groups = {{"Options", options, 0}},
    .options_size = sizeof(settings),
    .defaults = &defaults,
    .run = run,
};
