/* tern perplexity: how well a model predicts a text. */
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/measure.h"
#include "cli/progress.h"
#include "eval/perplexity.h"

enum { DEFAULT_WINDOW = 512, MAX_TEXT_BYTES = 1 << 30 };

typedef struct settings {
    tern_model_options model;
    tern_session_options session; /* n_ctx: the window; 0: the default */
    bool json;
} settings;

static const tern_option options[] = {
    {"ctx", 'c', TERN_OPTION_INT, offsetof(settings, session.n_ctx), "N",
     "window in tokens: a BOS and N-1 tokens of the text", 2, 1 << 24, NULL, "512, or the model's if that is less"},
    {"json", 0, TERN_OPTION_FLAG, offsetof(settings, json), NULL,
     "one JSON object: mean_nll, perplexity, bits_per_byte, tokens", 0, 0, NULL, NULL},
    {0},
};

static void print_result(const char *path, uint32_t window, const tern_session_params *params,
                         const tern_perplexity_result *result, double seconds) {
    tern_cli_row("perplexity", "%.4f", result->perplexity);
    tern_cli_row("mean loss", "%.6f nats a token", result->mean_nll);
    tern_cli_row("bits per byte", "%.6f bits", result->bits_per_byte);
    tern_cli_row("text", "%s: %llu bytes, %llu tokens", path, (unsigned long long)result->bytes,
                 (unsigned long long)result->tokens);
    tern_cli_row("windows", "%u tokens, KV cache %s", window, tern_kv_type_name(params->kv_type));
    char time[32];
    fprintf(stderr, "%.0f tok/s, %s\n", (double)result->tokens / seconds, tern_format_seconds(time, seconds));
}

static int measure(const settings *s, const char *path, const char *text, size_t n_bytes, const tern_model *model,
                   tern_session *session, const tern_session_params *params) {
    tern_error err;
    tern_perplexity_result result;
    tern_progress progress;
    double start = tern_seconds();
    tern_progress_start(&progress, "perplexity", TERN_PROGRESS_TOKENS);
    tern_status status =
        tern_perplexity(model, session, text, n_bytes, params->n_ctx, tern_progress_update, &progress, &result, &err);
    tern_progress_end(&progress);
    if (status) {
        tern_error_prefix(&err, "%s", path);
        return tern_cli_error(&err);
    }
    if (!s->json) {
        print_result(path, params->n_ctx, params, &result, tern_seconds() - start);
        return 0;
    }
    return tern_cli_print_json(
        json_pack("{s:f, s:o, s:f, s:I, s:I, s:I, s:s}", "mean_nll", result.mean_nll, "perplexity",
                  isfinite(result.perplexity) ? json_real(result.perplexity) : json_null(), "bits_per_byte",
                  result.bits_per_byte, "tokens", (json_int_t)result.tokens, "bytes", (json_int_t)result.bytes,
                  "window_tokens", (json_int_t)params->n_ctx, "kv_type", tern_kv_type_name(params->kv_type)));
}

static int with_model(const settings *s, tern_model *model, const char *path, const char *text, size_t n_bytes) {
    tern_model_info info;
    tern_session_params params;
    tern_model_get_info(model, &info);
    int status = tern_cli_exact_session_params(&s->session, &params);
    if (status)
        return status;
    if (s->session.n_ctx > info.n_ctx)
        return tern_cli_usage("perplexity", "--ctx %lld is more than the model's context of %u tokens",
                              (long long)s->session.n_ctx, info.n_ctx);
    if (s->session.n_ctx == 0)
        params.n_ctx = info.n_ctx < DEFAULT_WINDOW ? info.n_ctx : DEFAULT_WINDOW;
    tern_error err;
    tern_session *session;
    if (tern_session_create(model, &params, &session, &err))
        return tern_cli_error(&err);
    tern_interrupt_watch(session);
    status = measure(s, path, text, n_bytes, model, session, &params);
    tern_interrupt_watch(NULL);
    tern_session_free(session);
    return status;
}

static int run(void *parsed, const char *const *operands, size_t n_operands) {
    const settings *s = parsed;
    const char *model_path = n_operands > 1 ? operands[0] : NULL, *path = operands[n_operands - 1];
    char *text;
    size_t n_bytes;
    tern_error err;
    tern_model *model;
    if (tern_read_file(path, MAX_TEXT_BYTES, &text, &n_bytes, &err)) /* before the model: it fails faster */
        return tern_cli_error(&err);
    int status = tern_cli_load_model(model_path, &s->model, &model);
    if (!status) {
        status = with_model(s, model, path, text, n_bytes);
        tern_model_free(model);
    }
    free(text);
    return status;
}

static const settings defaults = {.session = TERN_SESSION_OPTIONS_DEFAULT};

const tern_command tern_command_perplexity = {
    .name = "perplexity",
    .operands = "[MODEL] FILE",
    .summary = "measure how well a model predicts a text",
    .example = "tern perplexity model.gguf wiki.test.txt\n"
               "tern perplexity model.gguf heldout.txt -c 256 --json\n",
    .notes = "The whole text is encoded without BOS (special tokens in it stay plain text) and cut into windows of\n"
             "N-1 tokens. Each is evaluated from an empty context behind one BOS; every token counts, the shorter\n"
             "last window too. FILE - is standard input. The KV cache is float32 unless said otherwise, so that\n"
             "figures compare; f16 and q8 change the fourth or fifth digit (of the built-in model: 17.364 with f32,\n"
             "17.358 with f16, 17.365 with q8 over 15492 tokens).\n",
    .min_operands = 1,
    .max_operands = 2,
    .groups = {{"Options", options, 0},
               {"Evaluation", tern_exact_session_option_table, offsetof(settings, session)},
               {"Model", tern_model_option_table, offsetof(settings, model)}},
    .options_size = sizeof(settings),
    .defaults = &defaults,
    .run = run,
};
