/* tern prune: heads and FFN channels that matter least are cut out of a model. */
#include "cli/prune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/measure.h"
#include "cli/progress.h"

enum { MAX_TEXT_BYTES = 1 << 30 };

const tern_choice tern_prune_scores[] = {{"activation", TERN_PRUNE_ACTIVATION, false},
                                         {"taylor", TERN_PRUNE_TAYLOR, false},
                                         {"random", TERN_PRUNE_RANDOM, false},
                                         {0}};

static const tern_choice units[] = {
    {"auto", TERN_PRUNE_AUTO, false}, {"heads", TERN_PRUNE_HEADS, false}, {"groups", TERN_PRUNE_GROUPS, false}, {0}};

static const tern_choice parts[] = {{"both", TERN_PRUNE_BOTH, false},
                                    {"heads", TERN_PRUNE_ONLY_HEADS, false},
                                    {"ffn", TERN_PRUNE_ONLY_FFN, false},
                                    {0}};

#define AT(field) offsetof(tern_prune_settings, field)

static const tern_option main_options[] = {
    {"text", 0, TERN_OPTION_FILE, AT(text), "FILE",
     "the text to calibrate with, of the kind that the model is for;\n\"-\" is standard input", 0, 0, NULL, ""},
    {"heads", 0, TERN_OPTION_STRING, AT(heads), "SHARE", "of the attention heads to cut: 20% or 0.2", 0, 0, NULL, "0%"},
    {"ffn", 0, TERN_OPTION_STRING, AT(ffn), "SHARE", "of the FFN channels to cut", 0, 0, NULL, "0%"},
    {"output", 'o', TERN_OPTION_FILE, AT(out), "OUT", "the new model: a file or, of a folder, a folder", 0, 0, NULL,
     ""},
    {"score", 0, TERN_OPTION_ENUM, AT(score), "NAME",
     "what says how much a head or channel matters: activation, of the\nforward pass; taylor, of gradients, three "
     "times "
     "the work; random",
     0, 0, tern_prune_scores, NULL},
    {"unit", 0, TERN_OPTION_ENUM, AT(unit), "NAME",
     "heads: query heads, as many of each KV head; groups: KV heads\nwith all their query heads; auto: what comes "
     "closer to SHARE",
     0, 0, units, NULL},
    {"multiple", 0, TERN_OPTION_INT, AT(multiple), "N", "FFN channels are left in multiples of this", 0, 1 << 20, NULL,
     "128, of TQ1_0 and TQ2_0 256"},
    {"tokens", 0, TERN_OPTION_INT, AT(tokens), "N", "of the text to calibrate with, from its beginning; 0: all", 0,
     1e12, NULL, NULL},
    {"seed", 0, TERN_OPTION_INT, AT(seed), "N", "of --score random", 0, 9e15, NULL, NULL},
    {"eval", 0, TERN_OPTION_FILE, AT(eval), "FILE", "a text that perplexity is measured on, before and after", 0, 0,
     NULL, "none; of a sweep the last quarter of --text"},
    {"sweep", 0, TERN_OPTION_STRING, AT(sweep), "LIST",
     "write no model but a table of perplexity and speed: of 0,10,20,30%\nof heads and channels, by each score", 0, 0,
     NULL, ""},
    {"only", 0, TERN_OPTION_ENUM, AT(only), "PART", "with --sweep: both, heads or ffn", 0, 0, parts, NULL},
    {"json", 0, TERN_OPTION_FLAG, AT(json), NULL, "the results as one JSON object", 0, 0, NULL, NULL},
    {"force", 0, TERN_OPTION_FLAG, AT(force), NULL, "replace OUT if it exists", 0, 0, NULL, NULL},
    {"threads", 't', TERN_OPTION_INT, AT(threads), "N", "threads; 0: all CPUs", 0, 4096, NULL, NULL},
    {0},
};

/* ----------------------------------------------------------------- shares */

/* "20%", "0.2" or, with `percent` (said of a whole list), "20" -> 0.2. */
static bool parse_share(const char *text, size_t length, bool percent, double *share) {
    char copy[32];
    if (length == 0 || length >= sizeof copy)
        return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    if (copy[length - 1] == '%') {
        copy[length - 1] = '\0';
        percent = true;
    }
    if (!tern_parse_float(copy, share))
        return false;
    *share /= percent ? 100 : 1;
    return *share >= 0 && *share < 1;
}

static int read_share(const char *option, const char *text, double *share) {
    *share = 0;
    if (text && !parse_share(text, strlen(text), false, share))
        return tern_cli_usage("prune", "--%s %s: is no share of 0%% or more and less than 100%%, such as 20%% or 0.2",
                              option, text);
    return 0;
}

/* "0,10,20,30%": one % at the end stands for all. */
static int read_sweep(tern_prune_settings *s) {
    size_t length = strlen(s->sweep);
    bool percent = length && s->sweep[length - 1] == '%';
    for (const char *at = s->sweep;; at++) {
        size_t n = strcspn(at, ",");
        if (s->n_shares == TERN_PRUNE_SHARES || !parse_share(at, n, percent, &s->shares[s->n_shares]))
            return tern_cli_usage("prune",
                                  "--sweep %s: is no list of at most %d shares below 100%%, such as 0,10,20,30%%",
                                  s->sweep, TERN_PRUNE_SHARES);
        s->n_shares++;
        at += n;
        if (!*at)
            return 0;
    }
}

static int check(tern_prune_settings *s) {
    int status;
    if (!s->text)
        return tern_cli_usage("prune",
                              "--text names the text to calibrate with; without one nothing says what matters");
    if (s->sweep && (s->out || s->heads || s->ffn))
        return tern_cli_usage("prune", "--sweep writes no model and has its own shares; leave out %s",
                              s->out     ? "-o"
                              : s->heads ? "--heads"
                                         : "--ffn");
    if (s->sweep)
        return read_sweep(s);
    if (s->only != TERN_PRUNE_BOTH)
        return tern_cli_usage("prune", "--only goes with --sweep");
    if (!s->out)
        return tern_cli_usage("prune", "-o names the new model (or --sweep makes a table of several)");
    if (!s->heads && !s->ffn)
        return tern_cli_usage("prune", "--heads, --ffn or both say how much to cut");
    status = read_share("heads", s->heads, &s->choice.heads);
    return status ? status : read_share("ffn", s->ffn, &s->choice.ffn);
}

/* ---------------------------------------------------------------- one model */

/* Warn if a count is further from what was asked for than this. */
static const double far = 0.05;

static void warn_of_rounding(const char *what, const char *hint, double asked, uint32_t before, uint32_t after) {
    double cut = 1 - (double)after / before;
    if (fabs(cut - asked) > far || (asked > 0 && after == before))
        tern_cli_warn("%.4g%% of %u %s is rounded to %.4g%%; %s", 100 * asked, before, what, 100 * cut, hint);
}

/* What the shares will come to, told before the calibration. */
static int check_choice(const tern_prune_settings *s, const tern_pruner *pruner) {
    tern_error err;
    tern_prune_plan plan;
    if (s->sweep)
        return 0;
    if (tern_pruner_plan(pruner, &s->choice, &plan, &err))
        return tern_cli_usage("prune", "%s", err.message);
    warn_of_rounding("heads", "whole KV groups go, or as many of each", s->choice.heads, plan.before.n_heads,
                     plan.after.n_heads);
    warn_of_rounding("FFN channels", "a smaller --multiple is finer", s->choice.ffn, plan.before.ffn_size,
                     plan.after.ffn_size);
    return 0;
}

static void print_sizes(const tern_prune_plan *plan) {
    char before[32], after[32];
    const tern_prune_size *from = &plan->before, *to = &plan->after;
    tern_cli_row("heads", "%u -> %u a layer, of %u -> %u KV heads", from->n_heads, to->n_heads, from->n_kv_heads,
                 to->n_kv_heads);
    tern_cli_row("FFN channels", "%u -> %u a layer", from->ffn_size, to->ffn_size);
    tern_cli_row("parameters", "%s -> %s (%.1f%% less)", tern_format_count(before, (double)from->n_params),
                 tern_format_count(after, (double)to->n_params),
                 100 * (1 - (double)to->n_params / (double)from->n_params));
}

static json_t *json_size(const tern_prune_size *size) {
    return json_pack("{s:I, s:I, s:I, s:I}", "heads", (json_int_t)size->n_heads, "kv_heads",
                     (json_int_t)size->n_kv_heads, "ffn_size", (json_int_t)size->ffn_size, "parameters",
                     (json_int_t)size->n_params);
}

static int report(const tern_prune_settings *s, const char *path, const tern_prune_plan *plan,
                  tern_prune_text held_out) {
    double before = 0, after = 0;
    if (!s->json)
        print_sizes(plan);
    if (s->eval) {
        int status = tern_prune_perplexity(s, path, held_out, &before);
        if (!status)
            status = tern_prune_perplexity(s, s->out, held_out, &after);
        if (status)
            return status;
        if (!s->json)
            tern_cli_row("perplexity", "%.4f -> %.4f of %s", before, after, s->eval);
    }
    if (!s->json)
        return 0;
    json_t *json = json_pack("{s:o, s:o}", "before", json_size(&plan->before), "after", json_size(&plan->after));
    if (json && s->eval) {
        json_object_set_new(json_object_get(json, "before"), "perplexity", json_real(before));
        json_object_set_new(json_object_get(json, "after"), "perplexity", json_real(after));
    }
    return tern_cli_print_json(json);
}

static int write_model(const tern_prune_settings *s, const char *path, tern_pruner *pruner, tern_prune_text held_out) {
    tern_error err;
    tern_prune_plan plan;
    double start = tern_seconds();
    if (tern_pruner_choose(pruner, &s->choice, &plan, &err))
        return tern_cli_error(&err);
    if (tern_pruner_write(pruner, s->out, &err))
        return tern_cli_error(&err);
    char time[32];
    fprintf(stderr, "%s: written in %s\n", s->out, tern_format_seconds(time, tern_seconds() - start));
    if (plan.only_tern)
        tern_cli_warn(
            "%s: its heads no longer make its hidden size: tern runs it; llama.cpp and transformers expect that of "
            "this architecture (cut the FFN alone for them)",
            s->out);
    return report(s, path, &plan, held_out);
}

/* --------------------------------------------------------------------- run */

static int calibrate(const tern_prune_settings *s, tern_pruner *pruner, tern_prune_text text) {
    tern_error err;
    tern_progress progress;
    double start = tern_seconds();
    tern_progress_start(&progress, "calibrating", TERN_PROGRESS_TOKENS);
    const tern_prune_calibration how = {.text = text.bytes,
                                        .n_bytes = text.n,
                                        .max_tokens = (size_t)s->tokens,
                                        .gradients = s->sweep || s->choice.score == TERN_PRUNE_TAYLOR,
                                        .progress = tern_progress_update,
                                        .progress_user = &progress};
    tern_status status = tern_pruner_calibrate(pruner, &how, &err);
    tern_progress_end(&progress);
    if (status == TERN_ERR_ARGUMENT)
        tern_error_prefix(&err, "%s", s->text);
    if (status)
        return tern_cli_error(&err);
    char time[32];
    fprintf(stderr, "calibrated with %zu tokens of %s in %s\n", tern_pruner_tokens(pruner), s->text,
            tern_format_seconds(time, tern_seconds() - start));
    return 0;
}

static int check_output(const tern_prune_settings *s, const tern_pruner *pruner) {
    tern_error err;
    if (!s->out)
        return 0;
    if (tern_pruner_check_output(pruner, s->out, &err))
        return tern_cli_error(&err);
    if (!s->force && tern_file_exists(s->out))
        return tern_cli_fail("%s: exists already; --force replaces it", s->out);
    const char *const texts[] = {s->text, s->eval};
    if (tern_check_output(s->out, texts, 2, &err))
        return tern_cli_error(&err);
    if (tern_pruner_try_output(pruner, s->out, &err)) /* told now, not after the calibration */
        return tern_cli_error(&err);
    return 0;
}

/* Of a sweep without --eval: the text's last quarter, from the beginning of a line on if there is one. */
static tern_prune_text split(tern_prune_text *text) {
    size_t at = tern_held_out_at(text->bytes, text->n, SIZE_MAX);
    tern_prune_text last = {text->bytes + at, text->n - at};
    text->n = at;
    return last;
}

static int with_texts(tern_prune_settings *s, const char *path, tern_prune_text text, tern_prune_text held_out) {
    tern_error err;
    tern_pruner *pruner;
    if (tern_pruner_create(path, (int)s->threads, &pruner, &err))
        return tern_cli_error(&err);
    int status = check_output(s, pruner);
    if (!status)
        status = check_choice(s, pruner);
    if (!status && s->sweep && !s->eval)
        held_out = split(&text);
    if (!status)
        status = calibrate(s, pruner, text);
    if (!status)
        status = s->sweep ? tern_prune_sweep(s, path, pruner, held_out) : write_model(s, path, pruner, held_out);
    tern_pruner_free(pruner);
    return status;
}

static int run(void *parsed, const char *const *operands, size_t n_operands) {
    tern_prune_settings *s = parsed;
    char *text = NULL, *held_out = NULL;
    size_t n_text = 0, n_held_out = 0;
    tern_error err;
    char *model = NULL;
    int status = check(s);
    if (!status)
        status = tern_cli_find_model(n_operands ? operands[0] : NULL, &model);
    if (status)
        return status;
    s->choice.score = (tern_prune_score)s->score;
    s->choice.unit = (tern_prune_unit)s->unit;
    s->choice.seed = (uint64_t)s->seed;
    s->choice.multiple = (uint32_t)s->multiple;
    tern_interrupt_watch(NULL); /* Ctrl-C comes through the progress function: no half file stays behind */
    if (tern_read_file(s->text, MAX_TEXT_BYTES, &text, &n_text, &err) ||
        (s->eval && tern_read_file(s->eval, MAX_TEXT_BYTES, &held_out, &n_held_out, &err)))
        status = tern_cli_error(&err);
    else if (s->eval && n_held_out == 0) /* told now, not when the model is written */
        status = tern_cli_fail("%s: is empty; a text is wanted", s->eval);
    else
        status = with_texts(s, model, (tern_prune_text){text, n_text}, (tern_prune_text){held_out, n_held_out});
    free(text);
    free(held_out);
    free(model);
    return status;
}

static const tern_prune_settings defaults = {.score = TERN_PRUNE_ACTIVATION, .tokens = 16384, .seed = 1};

const tern_command tern_command_prune = {
    .name = "prune",
    .operands = "[MODEL]",
    .summary = "cut the heads and FFN channels that matter least out of a model",
    .example = "tern prune model.gguf --ffn 20% --text some.txt -o smaller.gguf\n"
               "tern prune model.gguf --heads 20% --ffn 20% --text some.txt --eval other.txt -o smaller.gguf\n"
               "tern prune model.gguf --sweep 0,10,20,30% --text some.txt --eval other.txt\n",
    .notes = "What is left is written as a model of the same kind: a GGUF with tensors of the same types (tern's own "
             "layout,\n"
             "too) or a folder (packed or master weights). Nothing is trained and no code changes; the gains of the "
             "SubLNs are scaled\n"
             "for norms over fewer channels. Each layer loses as many; shares are rounded to what the layout takes.\n"
             "Models of the LLaMA layout are not pruned. docs/PRUNE.md has tables.\n",
    .max_operands = 1,
    .groups = {{"Options", main_options, 0}},
    .options_size = sizeof(tern_prune_settings),
    .defaults = &defaults,
    .run = run,
};
