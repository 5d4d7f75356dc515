#include "cli/train_tune.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "cli/measure.h"
#include "cli/train_common.h"

#define FIELD(name) offsetof(tern_tune_options, name)
enum { MAX_STEPS = 1 << 30, MAX_BATCH = 1 << 20, MAX_CONTEXT = 1 << 17 };

const tern_option tern_tune_option_table[] = {
    {"epochs", 0, TERN_OPTION_FLOAT, FIELD(epochs), "X", "how often the documents are gone through", 1e-6, 1e6, NULL,
     "by the command"},
    {"steps", 0, TERN_OPTION_INT, FIELD(steps), "N", "optimiser steps, whatever --epochs says", 1, MAX_STEPS, NULL,
     "by the epochs"},
    {"lr", 0, TERN_OPTION_FLOAT, FIELD(lr), "X", "peak learning rate", 1e-12, 1, NULL, "by the command"},
    {"final-lr", 0, TERN_OPTION_FLOAT, FIELD(final_lr), "X", "share of it that is left at the end; the way is a line",
     0, 1, NULL, NULL},
    {"warmup", 0, TERN_OPTION_INT, FIELD(warmup), "N", "steps over which the rate rises from 0", 1, MAX_STEPS, NULL,
     "a thirtieth of all"},
    {"weight-decay", 0, TERN_OPTION_FLOAT, FIELD(weight_decay), "X", "of matrices (AdamW)", 0, 10, NULL, NULL},
    {"clip", 0, TERN_OPTION_FLOAT, FIELD(clip), "X", "largest norm of the whole gradient; 0: any", 0, 1e9, NULL, NULL},
    {"batch", 0, TERN_OPTION_INT, FIELD(batch), "N", "rows of --ctx tokens in a step", 1, MAX_BATCH, NULL,
     "by the command"},
    {"micro-batch", 0, TERN_OPTION_INT, FIELD(micro), "N", "rows that go through the model at a time", 1, MAX_BATCH,
     NULL, "some 4096 tokens, fewer where memory is short"},
    {"ctx", 'c', TERN_OPTION_INT, FIELD(n_ctx), "N", "tokens of a row; what is longer is cut", 8, MAX_CONTEXT, NULL,
     "1024, or the model's if that is less"},
    {"recompute", 0, TERN_OPTION_FLAG, FIELD(recompute), NULL,
     "activation checkpointing: less memory, a third more time;\nchosen by itself where memory is short", 0, 0, NULL,
     NULL},
    {"seed", 0, TERN_OPTION_INT, FIELD(seed), "N", "of the order of the data and of fresh adapters", 0, 9e15, NULL,
     NULL},
    {0},
};

const tern_option tern_tune_run_option_table[] = {
    {"out", 'o', TERN_OPTION_FILE, FIELD(out), "FOLDER",
     "of the run: its states, log.jsonl, and at the end what was\ntrained. The same command goes on with a run that "
     "was "
     "stopped",
     0, 0, NULL, ""},
    {"tokenizer", 0, TERN_OPTION_FILE, FIELD(tokenizer), "FILE", "tokenizer.json for the trained model", 0, 0, NULL,
     "the model's own"},
    {"eval-every", 0, TERN_OPTION_INT, FIELD(eval_every), "N", "steps between validations; 0: only at the end", 0,
     MAX_STEPS, NULL, NULL},
    {"eval-tokens", 0, TERN_OPTION_INT, FIELD(eval_tokens), "N",
     "held-out tokens of a validation; 0, and at the end: all", 0, MAX_STEPS, NULL, NULL},
    {"save-every", 0, TERN_OPTION_INT, FIELD(save_every), "N", "steps between saved states; 0: only at the end", 0,
     MAX_STEPS, NULL, NULL},
    {"sample-every", 0, TERN_OPTION_INT, FIELD(sample_every), "N",
     "steps between samples of what the model says; 0: none", 0, MAX_STEPS, NULL, NULL},
    {"sample-prompt", 0, TERN_OPTION_STRING, FIELD(sample_prompt), "TEXT",
     "what it is asked, or how a text begins where texts are\nlearnt", 0, 0, NULL,
     "Tell me a story.; of texts: Once upon a time"},
    {"restart", 0, TERN_OPTION_FLAG, FIELD(restart), NULL, "forget the states that are in the folder", 0, 0, NULL,
     NULL},
    {"accept-changes", 0, TERN_OPTION_FLAG, FIELD(accept_changes), NULL,
     "go on with a run although its settings have changed", 0, 0, NULL, NULL},
    {"plan", 0, TERN_OPTION_FLAG, FIELD(plan_only), NULL, "only print the memory plan", 0, 0, NULL, NULL},
    {"threads", 't', TERN_OPTION_INT, FIELD(threads), "N", "CPU threads; 0: all", 0, 1024, NULL, NULL},
    {0},
};

/* What the callbacks share. */
typedef struct reporter {
    tern_train_display display; /* first: what its own functions take */
    bool plan_only;
    int n_threads;
    tern_progress reference;
    bool in_reference;
} reporter;

static void on_plan(void *user, const tern_plan *plan, const tern_train_config *config) {
    const reporter *r = user;
    FILE *file = r->plan_only ? stdout : stderr;
    char *text = tern_plan_text(plan);
    if (text)
        fputs(text, file);
    free(text);
    fprintf(file, "%" PRIu64 " steps of %" PRIu32 " rows of %" PRIu32 " tokens\n", config->schedule.n_steps,
            config->batch, config->dims.n_ctx);
}

static void on_reference(void *user, uint64_t done, uint64_t total) {
    reporter *r = user;
    if (!r->in_reference)
        tern_progress_start(&r->reference, "reference", TERN_PROGRESS_RUNS);
    r->in_reference = done < total;
    tern_progress_update(&r->reference, done, total);
    if (done == total)
        tern_progress_end(&r->reference);
}

static void on_export(void *user, const char *path) {
    tern_train_display_clear(user);
    tern_cli_row("written", "%s", path);
}

static tern_status on_sample(void *user, const tern_tune_sample *of, tern_error *err) {
    reporter *r = user;
    const tern_train_sample sample = {.step = of->step,
                                      .model = of->model,
                                      .adapter = of->adapter,
                                      .prompt = of->prompt,
                                      .note = "",
                                      .chat = of->chat,
                                      .n_threads = r->n_threads};
    return tern_train_display_sample(&r->display, &sample, err);
}

static tern_status on_finished(void *user, const tern_loop_report *last, tern_error *err) {
    (void)err;
    tern_train_display_clear(user);
    if (isfinite(last->validation))
        tern_cli_row("validation loss", "%.6f nats", last->validation);
    tern_cli_row("steps", "%" PRIu64 ", %" PRIu64 " tokens", last->step, last->tokens);
    return TERN_OK;
}

int tern_cli_tune(const tern_tune_options *options, const char *command, const char *const *operands, size_t n_operands,
                  tern_tune_params *params) {
    reporter r = {.plan_only = options->plan_only, .n_threads = (int)options->threads};
    tern_error err;
    if (!options->out)
        return tern_cli_usage(command, "-o FOLDER is missing: where the run is to be kept");
    char *model = NULL;
    int failed = tern_cli_find_model(operands[0], &model);
    if (failed)
        return failed;
    params->model = model;
    params->shards = operands + 1;
    params->n_shards = n_operands - 1;
    params->out = options->out;
    params->tokenizer = options->tokenizer;
    params->n_ctx = (uint32_t)options->n_ctx;
    params->batch = (uint32_t)options->batch;
    params->micro = (uint32_t)options->micro;
    params->n_steps = (uint64_t)options->steps;
    params->epochs = options->epochs;
    params->lr = (float)options->lr;
    params->final_fraction = (float)options->final_lr;
    params->weight_decay = (float)options->weight_decay;
    params->clip = (float)options->clip;
    params->warmup_steps = (uint64_t)options->warmup;
    params->recompute = options->recompute;
    params->seed = (uint64_t)options->seed;
    params->eval_every = (uint64_t)options->eval_every;
    params->eval_tokens = (uint64_t)options->eval_tokens;
    params->save_every = (uint64_t)options->save_every;
    params->sample_every = (uint64_t)options->sample_every;
    params->sample_prompt = options->sample_prompt;
    params->n_threads = (int)options->threads;
    params->plan_only = options->plan_only;
    params->hooks = (tern_loop_hooks){.user = &r,
                                      .warn = tern_train_display_warn,
                                      .progress = tern_train_display_progress,
                                      .go_on = tern_train_display_go_on,
                                      .finished = on_finished,
                                      .restart = options->restart,
                                      .accept_changes = options->accept_changes};
    params->user = &r;
    params->on_plan = on_plan;
    params->on_reference = on_reference;
    params->on_export = on_export;
    params->on_sample = on_sample;
    tern_interrupt_watch(NULL);
    tern_status status = tern_tune(params, &err);
    free(model);
    tern_train_display_clear(&r.display);
    if (r.in_reference)
        tern_progress_end(&r.reference);
    tern_interrupt_unwatch();
    if (status == TERN_ERR_CANCELLED && tern_interrupted()) {
        fprintf(stderr, "%s; the same command goes on\n", err.message);
        return tern_interrupt_status();
    }
    return status ? tern_cli_error(&err) : 0;
}
