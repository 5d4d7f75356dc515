/* tern logits: the raw logits of every position, for comparisons. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/half.h"
#include "base/mem.h"
#include "cli/measure.h"
#include "cli/progress.h"
#include "eval/perplexity.h"

typedef struct settings {
    tern_model_options model;
    tern_session_options session;
    const char *ids, *prompt, *output;
} settings;

static const tern_option options[] = {
    {"ids", 0, TERN_OPTION_STRING, offsetof(settings, ids), "IDS", "token ids, taken as they are: 1,2,3", 0, 0, NULL,
     NULL},
    {"prompt", 'p', TERN_OPTION_STRING, offsetof(settings, prompt), "TEXT",
     "a text instead, behind a BOS; special tokens in it are parsed", 0, 0, NULL, NULL},
    {"output", 'o', TERN_OPTION_FILE, offsetof(settings, output), "FILE",
     "where to write: float32, little-endian, [tokens, vocabulary];\n- is standard output", 0, 0, NULL, NULL},
    {0},
};

/* Where the numbers go: a new file that appears when whole, or standard output. */
typedef struct sink {
    tern_writer writer;
    FILE *file;
    uint8_t *bytes; /* scratch */
} sink;

static tern_status put_floats(sink *out, const float *values, size_t n, const char *path, tern_error *err) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = tern_bits_from_f32(values[i]);
        for (int byte = 0; byte < 4; byte++)
            out->bytes[4 * i + (size_t)byte] = (uint8_t)(bits >> 8 * byte);
    }
    if (fwrite(out->bytes, 4, n, out->file) == n)
        return TERN_OK;
    return tern_fail(err, TERN_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
}

static tern_status evaluate(tern_session *session, size_t vocab_size, const int32_t *ids, size_t n_ids, size_t slice,
                            float *logits, sink *out, const char *path, tern_error *err) {
    tern_status status = TERN_OK;
    tern_progress progress;
    tern_progress_start(&progress, "logits", TERN_PROGRESS_TOKENS);
    for (size_t at = 0; !status && at < n_ids; at += slice) {
        size_t n = n_ids - at < slice ? n_ids - at : slice;
        status = tern_session_eval_logits(session, ids + at, n, logits, err);
        if (!status)
            status = put_floats(out, logits, n * vocab_size, path, err);
        if (!status && !tern_progress_update(&progress, at + n, n_ids))
            status = tern_fail(err, TERN_ERR_CANCELLED, "cancelled");
    }
    tern_progress_end(&progress);
    return status;
}

/* Evaluate in slices, so that a long prompt's logits need not be in memory all at once. */
static tern_status write_all(tern_session *session, size_t vocab_size, const int32_t *ids, size_t n_ids, sink *out,
                             const char *path, tern_error *err) {
    size_t slice = tern_logits_slice(vocab_size, n_ids);
    float *logits = tern_alloc_array(slice, vocab_size * sizeof *logits);
    out->bytes = tern_alloc_array(slice, vocab_size * sizeof *logits);
    tern_status status;
    if (!logits || !out->bytes)
        status = tern_fail_memory(err, "the logits");
    else
        status = evaluate(session, vocab_size, ids, n_ids, slice, logits, out, path, err);
    free(out->bytes);
    free(logits);
    return status;
}

static int write_logits(const settings *s, const tern_model *model, tern_session *session, const int32_t *ids,
                        size_t n_ids) {
    tern_error err;
    tern_model_info info;
    tern_model_get_info(model, &info);
    bool to_stdout = strcmp(s->output, "-") == 0;
    const char *path = to_stdout ? "standard output" : s->output;
    sink out = {.file = stdout};
    if (!to_stdout) {
        if (tern_writer_open(path, &out.writer, &err))
            return tern_cli_error(&err);
        out.file = out.writer.file;
    }
    tern_status status = write_all(session, info.vocab_size, ids, n_ids, &out, path, &err);
    if (!to_stdout && !status)
        status = tern_writer_commit(&out.writer, &err);
    else if (!to_stdout)
        tern_writer_abort(&out.writer);
    if (status)
        return tern_cli_error(&err);
    if (fflush(stdout)) /* main tells of it; to report success before would be wrong */
        return 0;
    char size[32];
    fprintf(stderr, "%s: %zu tokens x %u logits, %s\n", path, n_ids, info.vocab_size,
            tern_format_bytes(size, 4.0 * (double)n_ids * info.vocab_size));
    return 0;
}

/* The ids that were asked for -> *ids [*n_ids], freed with free(); 0 or an exit status. */
static int get_ids(const settings *s, const tern_model *model, int32_t **ids, size_t *n_ids) {
    tern_model_info info;
    tern_model_get_info(model, &info);
    *ids = NULL;
    *n_ids = 0;
    if (s->ids) {
        const char *bad;
        if (!tern_parse_int_list(s->ids, 0, (int64_t)info.vocab_size - 1, ids, n_ids, &bad))
            return bad ? tern_cli_usage("logits", "--ids: '%.20s': wanted numbers from 0 to %u with commas between",
                                        bad, info.vocab_size - 1)
                       : tern_cli_fail("out of memory");
        return 0;
    }
    tern_error err;
    int32_t *tokens;
    if (tern_tokenize(tern_model_tokenizer(model), s->prompt, strlen(s->prompt),
                      TERN_TOKENIZE_BOS | TERN_TOKENIZE_SPECIAL, &tokens, n_ids, &err))
        return tern_cli_error(&err);
    *ids = tern_alloc_array(*n_ids, sizeof **ids);
    if (*ids)
        memcpy(*ids, tokens, *n_ids * sizeof **ids);
    tern_free(tokens);
    return *ids || *n_ids == 0 ? 0 : tern_cli_fail("out of memory");
}

static int with_model(const settings *s, tern_model *model) {
    int32_t *ids;
    size_t n_ids;
    tern_error err;
    tern_session_params params;
    tern_session *session;
    int status = tern_cli_exact_session_params(&s->session, &params);
    if (status || (status = get_ids(s, model, &ids, &n_ids)))
        return status;
    if (n_ids == 0) {
        status = tern_cli_usage("logits", "no token ids");
    } else if (tern_session_create(model, &params, &session, &err)) {
        status = tern_cli_error(&err);
    } else {
        tern_interrupt_watch(session);
        if (n_ids > tern_session_n_ctx(session))
            status = tern_cli_fail("%zu tokens do not fit into the model's context of %u", n_ids,
                                   tern_session_n_ctx(session));
        else
            status = write_logits(s, model, session, ids, n_ids);
        tern_interrupt_watch(NULL);
        tern_session_free(session);
    }
    free(ids);
    return status;
}

static int run(void *parsed, const char *const *operands, size_t n_operands) {
    const settings *s = parsed;
    if (!s->ids == !s->prompt)
        return tern_cli_usage("logits", "give either --ids or --prompt");
    if (!s->output)
        return tern_cli_usage("logits", "--output FILE is missing (- is standard output)");
    if (strcmp(s->output, "-") == 0 && isatty(STDOUT_FILENO))
        return tern_cli_usage("logits", "will not write binary numbers to a terminal; give --output FILE");
    tern_model *model;
    int status = tern_cli_load_model(n_operands ? operands[0] : NULL, &s->model, &model);
    if (status)
        return status;
    status = with_model(s, model);
    tern_model_free(model);
    return status;
}

static const settings defaults = {.session = TERN_SESSION_OPTIONS_DEFAULT};

const tern_command tern_command_logits = {
    .name = "logits",
    .operands = "[MODEL]",
    .summary = "write the logits of every position of a prompt to a file",
    .example = "tern logits model.gguf --ids 128000,9906,1917 -o hello.f32\n"
               "tern logits model.gguf -p \"Hello world\" -o - | od -f | head\n",
    .notes = "The KV cache is float32 unless said otherwise: then the logits do not depend on --chunk, on the number\n"
             "of threads or on the CPU, bit for bit, and compare with other implementations' best.\n",
    .min_operands = 0,
    .max_operands = 1,
    .groups = {{"Options", options, 0},
               {"Evaluation", tern_exact_session_option_table, offsetof(settings, session)},
               {"Model", tern_model_option_table, offsetof(settings, model)}},
    .options_size = sizeof(settings),
    .defaults = &defaults,
    .run = run,
};
