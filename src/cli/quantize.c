/* tern quantize: a model of floats into a ternary one, without training. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "cli/measure.h"
#include "cli/progress.h"
#include "eval/perplexity.h"
#include "quant/quantize.h"

/* HELD_OUT: of a calibration text to measure on, some 8000 tokens: as many as calibrate, and no day for a large model
 */
enum { DEFAULT_WINDOW = 512, MAX_CALIBRATION = 1 << 20, MAX_WINDOW = 1 << 24, HELD_OUT = 32 << 10 };
#define MAX_TEXT_BYTES ((size_t)1 << 30)

typedef struct settings {
    const char *output, *type, *embedding_type, *name, *calibration, *text;
    int64_t tokens, window, threads;
    bool force, json;
    int scale; /* tern_quantize_scale */
} settings;

static const tern_choice scale_choices[] = {{"tensor", TERN_QUANTIZE_BY_TENSOR, false},
                                            {"row", TERN_QUANTIZE_BY_ROW, false},
                                            {"group", TERN_QUANTIZE_BY_GROUP, false},
                                            {0}};

static const tern_option options[] = {
    {"output", 'o', TERN_OPTION_FILE, offsetof(settings, output), "OUT.gguf", "the new model", 0, 0, NULL, NULL},
    {"calibrate", 0, TERN_OPTION_FILE, offsetof(settings, calibration), "FILE",
     "a text: rounding makes up for its own errors on the inputs that\neach matrix gets of it", 0, 0, NULL,
     "none: each weight by itself"},
    {"calibrate-tokens", 0, TERN_OPTION_INT, offsetof(settings, tokens), "N", "of the calibration text, at most", 64,
     MAX_CALIBRATION, NULL, NULL},
    {"text", 0, TERN_OPTION_FILE, offsetof(settings, text), "FILE",
     "print what the model loses on this text: perplexity of the\nfloats, then of the new file", 0, 0, NULL,
     "the end of the calibration text"},
    {"ctx", 'c', TERN_OPTION_INT, offsetof(settings, window), "N",
     "tokens of a window of the text that is measured on, BOS included", 2, MAX_WINDOW, NULL, "512, or the model's"},
    {"scale", 0, TERN_OPTION_ENUM, offsetof(settings, scale), "WHAT",
     "the weights that share a scale: those of a tensor, of a row,\nor of a group of 256 in a row", 0, 0, scale_choices,
     NULL},
    {"type", 0, TERN_OPTION_STRING, offsetof(settings, type), "TYPE",
     "of the matrices in the file: i2_s, tq1_0, tq2_0, f16, bf16 or\nf32; by row and group tq1_0 or tq2_0", 0, 0, NULL,
     "i2_s; by row and group tq2_0"},
    {"embedding-type", 0, TERN_OPTION_STRING, offsetof(settings, embedding_type), "TYPE",
     "of embedding and head: f16, bf16, f32, q8_0, q6_k, q4_0", 0, 0, NULL, "as it is"},
    {"name", 0, TERN_OPTION_STRING, offsetof(settings, name), "TEXT", "the model's name, general.name in the file", 0,
     0, NULL, "as it is"},
    {"force", 0, TERN_OPTION_FLAG, offsetof(settings, force), NULL, "replace OUT.gguf if it exists", 0, 0, NULL, NULL},
    {"json", 0, TERN_OPTION_FLAG, offsetof(settings, json), NULL, "print one JSON object", 0, 0, NULL, NULL},
    {"threads", 't', TERN_OPTION_INT, offsetof(settings, threads), "N", "threads; 0: all CPUs", 0, 4096, NULL, NULL},
    {0},
};

/* A text from a file. */
typedef struct text {
    char *bytes; /* NULL: none was asked for */
    size_t n_bytes;
} text;

/* What is measured on: --text, or the end of the calibration text, which then does not calibrate. */
typedef struct measured_text {
    const char *bytes, *name;
    size_t n_bytes; /* 0: nothing is measured */
    bool is_end;
} measured_text;

/* What came out. NaN: not measured. */
typedef struct result {
    double before, after; /* mean negative log-likelihood */
    uint64_t tokens, file_bytes;
    size_t n_calibrated;
    double seconds;
} result;

static int read_text(const char *path, text *t) {
    tern_error err;
    if (path && tern_read_file(path, MAX_TEXT_BYTES, &t->bytes, &t->n_bytes, &err))
        return tern_cli_error(&err);
    if (path && !t->n_bytes)
        return tern_cli_fail("%s: is empty; a text is wanted", path);
    return 0;
}

/* Takes what it keeps from the calibration text. */
static measured_text choose_text(const settings *s, text *calibration, const text *asked) {
    if (s->text)
        return (measured_text){asked->bytes, s->text, asked->n_bytes, false};
    if (!s->calibration)
        return (measured_text){0};
    size_t at = tern_held_out_at(calibration->bytes, calibration->n_bytes, HELD_OUT);
    measured_text end = {calibration->bytes + at, s->calibration, calibration->n_bytes - at, true};
    calibration->n_bytes = at;
    return end;
}

/* ---------------------------------------------------------------- measure */

static uint32_t window_of(const settings *s, uint32_t n_ctx) {
    if (s->window)
        return (uint32_t)s->window;
    return n_ctx < DEFAULT_WINDOW ? n_ctx : DEFAULT_WINDOW;
}

/* Told now, not when the model is written. */
static int check_window(const settings *s, const char *path) {
    tern_error err;
    tern_shape shape;
    if (tern_shape_of(path, &shape, &err))
        return tern_cli_error(&err);
    if (shape.n_ctx < 2)
        return tern_cli_fail("%s: a context of one token, the BOS, has no room for a text", path);
    if (window_of(s, shape.n_ctx) > shape.n_ctx)
        return tern_cli_usage("quantize", "a window of %lld tokens: the model's context has 2 to %u",
                              (long long)s->window, shape.n_ctx);
    return 0;
}

static int measure_before(const settings *s, const char *path, const measured_text *t, result *r) {
    tern_error err;
    tern_shape shape;
    tern_progress progress;
    if (tern_shape_of(path, &shape, &err))
        return tern_cli_error(&err);
    tern_progress_start(&progress, "measuring the floats", TERN_PROGRESS_LAYERS);
    tern_status failed = tern_float_loss(path, t->bytes, t->n_bytes, window_of(s, shape.n_ctx), (int)s->threads,
                                         tern_progress_update, &progress, &r->before, &r->tokens, &err);
    tern_progress_end(&progress);
    if (failed == TERN_ERR_ARGUMENT)
        return tern_cli_usage("quantize", "%s", err.message);
    return failed ? tern_cli_error(&err) : 0;
}

/* As tern perplexity does it, from the file that was written. */
static int measure_after(const settings *s, const measured_text *t, result *r) {
    tern_error err;
    tern_progress progress;
    tern_model *model;
    tern_session *session = NULL;
    tern_model_info info;
    tern_perplexity_result found = {0};
    const tern_model_options loading = {.threads = s->threads};
    int status = tern_cli_load_model(s->output, &loading, &model);
    if (status)
        return status;
    tern_model_get_info(model, &info);
    tern_session_params params = tern_session_defaults();
    params.n_ctx = window_of(s, info.n_ctx);
    params.kv_type = TERN_KV_F32;
    tern_status failed = tern_session_create(model, &params, &session, &err);
    tern_interrupt_watch(session);
    tern_progress_start(&progress, "measuring the new model", TERN_PROGRESS_TOKENS);
    if (!failed)
        failed = tern_perplexity(model, session, t->bytes, t->n_bytes, params.n_ctx, tern_progress_update, &progress,
                                 &found, &err);
    tern_progress_end(&progress);
    tern_interrupt_watch(NULL);
    tern_session_free(session);
    tern_model_free(model);
    r->after = found.mean_nll;
    return failed ? tern_cli_error(&err) : 0;
}

/* ----------------------------------------------------------------- report */

static int print_json(const settings *s, const measured_text *t, const result *r) {
    json_t *object = json_pack("{s:o, s:s, s:s, s:I, s:I, s:f}", "file", tern_json_text(s->output), "method",
                               s->calibration ? "compensated" : "absmean", "scale", scale_choices[s->scale].name,
                               "calibration_tokens", (json_int_t)r->n_calibrated, "bytes", (json_int_t)r->file_bytes,
                               "seconds", r->seconds);
    if (t->n_bytes && object)
        json_object_update_new(
            object, json_pack("{s:o, s:I, s:b, s:I, s:f, s:f, s:f, s:f}", "text", tern_json_text(t->name), "text_bytes",
                              (json_int_t)t->n_bytes, "end_of_calibration_text", t->is_end, "tokens",
                              (json_int_t)r->tokens, "mean_nll_before", r->before, "mean_nll_after", r->after,
                              "perplexity_before", exp(r->before), "perplexity_after", exp(r->after)));
    return tern_cli_print_json(object);
}

static int print_table(const settings *s, const measured_text *t, const result *r) {
    char size[32], time[32];
    tern_cli_row("file", "%s, %s, written in %s", s->output, tern_format_bytes(size, (double)r->file_bytes),
                 tern_format_seconds(time, r->seconds));
    static const char *const scales[] = {"", ", scales by row", ", scales by group of 256"};
    if (s->calibration)
        tern_cli_row("rounding", "compensated, on %zu tokens%s", r->n_calibrated, scales[s->scale]);
    else
        tern_cli_row("rounding", "absmean, each weight by itself%s", scales[s->scale]);
    if (!t->n_bytes)
        return 0;
    if (t->is_end)
        tern_cli_row("text", "the last %s of %s, kept from the calibration, %llu tokens",
                     tern_format_bytes(size, (double)t->n_bytes), t->name, (unsigned long long)r->tokens);
    else
        tern_cli_row("text", "%s, %llu tokens", t->name, (unsigned long long)r->tokens);
    tern_cli_row("perplexity before", "%.3f (%.4f nats a token), the floats as they are", exp(r->before), r->before);
    tern_cli_row("perplexity after", "%.3f (%.4f nats a token), ternary and int8", exp(r->after), r->after);
    tern_cli_row("loss", "%+.4f nats a token, perplexity times %.3f", r->after - r->before, exp(r->after - r->before));
    return 0;
}

/* -------------------------------------------------------------------- run */

static int quantize(const settings *s, const char *path, const text *calibration, result *r) {
    tern_error err;
    tern_progress progress;
    const tern_quantize_params params = {.type = s->type,
                                         .scale = (tern_quantize_scale)s->scale,
                                         .embedding_type = s->embedding_type,
                                         .name = s->name,
                                         .calibration = calibration->bytes,
                                         .calibration_bytes = calibration->n_bytes,
                                         .calibration_tokens = (uint32_t)s->tokens,
                                         .n_threads = (int)s->threads,
                                         .progress = tern_progress_update,
                                         .progress_user = &progress};
    double start = tern_seconds();
    tern_progress_start(&progress, "quantising", TERN_PROGRESS_LAYERS);
    tern_status failed = tern_quantize(path, s->output, &params, &r->n_calibrated, &err);
    tern_progress_end(&progress);
    r->seconds = tern_seconds() - start;
    if (failed == TERN_ERR_ARGUMENT)
        return tern_cli_usage("quantize", "%s", err.message);
    return failed ? tern_cli_error(&err) : 0;
}

static int quantize_and_measure(const settings *s, const char *path, text *calibration, text *asked) {
    result r = {.before = NAN, .after = NAN};
    int status = read_text(s->calibration, calibration); /* before the model: it fails faster */
    if (!status)
        status = read_text(s->text, asked);
    if (status)
        return status;
    const measured_text measured = choose_text(s, calibration, asked);
    if (measured.n_bytes)
        status = check_window(s, path);
    if (!status)
        status = quantize(s, path, calibration, &r);
    if (!status && measured.n_bytes)
        status = measure_before(s, path, &measured, &r);
    if (!status && measured.n_bytes)
        status = measure_after(s, &measured, &r);
    if (status)
        return status;
    if (!measured.n_bytes)
        tern_cli_warn("%s: what it loses was not measured: %s; --text names a text for that", s->output,
                      s->calibration ? "the calibration text is too short to keep its end for it" : "there is no text");
    tern_error err;
    tern_inspection *inspection;
    if (tern_inspect(s->output, &inspection, &err))
        return tern_cli_error(&err);
    r.file_bytes = tern_inspection_file_bytes(inspection);
    tern_inspection_free(inspection);
    return s->json ? print_json(s, &measured, &r) : print_table(s, &measured, &r);
}

static int run(void *parsed, const char *const *operands, size_t n_operands) {
    const settings *s = parsed;
    text calibration = {0}, asked = {0};
    (void)n_operands;
    if (!s->output)
        return tern_cli_usage("quantize", "-o is missing: where is the new model to go?");
    if (tern_is_directory(s->output))
        return tern_cli_fail("%s: is a directory; name a file", s->output);
    if (!s->force && tern_file_exists(s->output))
        return tern_cli_fail("%s: exists already; --force replaces it", s->output);
    const char *const texts[] = {s->calibration, s->text};
    tern_error err;
    tern_writer writer; /* told now what would fail after hours of work */
    if (tern_check_output(s->output, texts, 2, &err) || tern_writer_open(s->output, &writer, &err))
        return tern_cli_error(&err);
    tern_writer_abort(&writer);
    char *model = NULL;
    int status = tern_cli_find_model(operands[0], &model);
    if (status)
        return status;
    tern_interrupt_watch(NULL); /* Ctrl-C comes through the progress function: no half file stays behind */
    status = quantize_and_measure(s, model, &calibration, &asked);
    free(model);
    free(calibration.bytes);
    free(asked.bytes);
    return status;
}

static const settings defaults = {.tokens = 8192};

const tern_command tern_command_quantize = {
    .name = "quantize",
    .operands = "IN",
    .summary = "make a model of floats ternary, without training",
    .example = "tern quantize llama/ -o ternary.gguf --calibrate some.txt --text heldout.txt\n"
               "tern run ternary.gguf -p \"Once upon a time\"\n",
    .notes = "IN is a model whose matrices are floats (F16, BF16 or F32): a Hugging Face folder or a GGUF. Embedding,\n"
             "head and norms stay as they are. Without --calibrate each weight goes to the nearest of -1, 0 and 1\n"
             "times the mean magnitude of its matrix. Such a model has lost nearly everything: ternary weights want\n"
             "training (tern train). docs/QUANTIZE.md has figures.\n",
    .min_operands = 1,
    .max_operands = 1,
    .groups = {{"Options", options, 0}},
    .options_size = sizeof(settings),
    .defaults = &defaults,
    .run = run,
};
