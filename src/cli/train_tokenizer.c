/* tern train tokenizer: a vocabulary from texts. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "train/bpe_train.h"

typedef struct settings {
    int64_t vocab_size, min_count, max_bytes, threads;
    const char *output;
    tern_string_list specials;
} settings;

static const tern_option options[] = {
    {"vocab-size", 0, TERN_OPTION_INT, offsetof(settings, vocab_size), "N",
     "ids of the tokenizer, special tokens included", 1, 1 << 22, NULL, ""},
    {"output", 'o', TERN_OPTION_FILE, offsetof(settings, output), "FILE", "the tokenizer.json to write", 0, 0, NULL,
     NULL},
    {"min-count", 0, TERN_OPTION_INT, offsetof(settings, min_count), "N", "merge pairs that come at least N times", 1,
     1e15, NULL, NULL},
    {"special", 0, TERN_OPTION_LIST, offsetof(settings, specials), "TOKEN",
     "one more special token, behind <|begin_of_text|>,\n<|end_of_text|> and <|eot_id|>; may be given several times", 0,
     0, NULL, NULL},
    {"max-bytes", 0, TERN_OPTION_INT, offsetof(settings, max_bytes), "N",
     "count only about N bytes, evenly spread over the texts; 0: all", 0, 1e15, NULL, NULL},
    {"threads", 't', TERN_OPTION_INT, offsetof(settings, threads), "N", "threads; 0: all CPUs", 0, 1024, NULL, NULL},
    {0},
};

/* What every tokenizer of a BitNet model has: the chat template ends turns with the third. */
static const char *const base_specials[] = {"<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"};
enum { N_BASE = sizeof base_specials / sizeof *base_specials };

/* The bar of the merges begins when that of the bytes is full. */
typedef struct bars {
    tern_progress progress;
    bool merging;
} bars;

static bool count_progress(void *user, uint64_t done, uint64_t total) {
    return tern_progress_update(&((bars *)user)->progress, done, total);
}

static bool merge_progress(void *user, uint64_t done, uint64_t total) {
    bars *b = user;
    if (!b->merging) {
        tern_progress_end(&b->progress);
        tern_progress_start(&b->progress, "merging", TERN_PROGRESS_TOKENS);
        b->merging = true;
    }
    return tern_progress_update(&b->progress, done, total);
}

/* Minutes of counting are no time to find out that the file cannot be written: it is opened first. */
static tern_status make(const settings *s, const tern_bpe_params *params, bars *b, tern_bpe_result *result,
                        tern_error *err) {
    tern_writer writer;
    tern_status status = tern_check_output(s->output, params->texts, params->n_texts, err);
    if (!status)
        status = tern_writer_open(s->output, &writer, err);
    if (status)
        return status;
    tern_progress_start(&b->progress, "counting", TERN_PROGRESS_BYTES);
    status = tern_bpe_train(params, result, err);
    tern_progress_end(&b->progress);
    if (!status) {
        fwrite(result->json, 1, result->n_json, writer.file); /* the commit sees every error */
        free(result->json);
        return tern_writer_commit(&writer, err);
    }
    tern_writer_abort(&writer);
    return status;
}

static void report(const settings *s, size_t n_specials, const tern_bpe_result *result) {
    char bytes[32], seconds[32], rate[32], merging[32];
    size_t n_merged = (size_t)s->vocab_size - 256 - n_specials;
    printf("%s: %" PRId64 " tokens: 256 bytes, %zu merged, %zu special\n", s->output, s->vocab_size, n_merged,
           n_specials);
    printf("counted %s: %" PRIu64 " pre-tokens, %" PRIu64 " different ones, in %s (%s/s); merged in %s\n",
           tern_format_bytes(bytes, (double)result->n_bytes), result->n_pretokens, result->n_distinct,
           tern_format_seconds(seconds, result->count_seconds),
           tern_format_bytes(rate, (double)result->n_bytes / (result->count_seconds + 1e-9)),
           tern_format_seconds(merging, result->merge_seconds));
}

static int run(void *parsed, const char *const *operands, size_t n_operands) {
    const settings *s = parsed;
    const char *specials[N_BASE + TERN_STRING_LIST_MAX];
    tern_bpe_result result;
    tern_error err;
    bars b = {.merging = false};
    if (!s->output)
        return tern_cli_usage("train tokenizer", "needs -o FILE, the tokenizer.json to write");
    if (!s->vocab_size)
        return tern_cli_usage("train tokenizer", "needs --vocab-size N");
    for (size_t i = 0; i < N_BASE; i++)
        specials[i] = base_specials[i];
    for (size_t i = 0; i < s->specials.count; i++)
        specials[N_BASE + i] = s->specials.items[i];
    const tern_bpe_params params = {.texts = operands,
                                    .n_texts = n_operands,
                                    .vocab_size = (uint32_t)s->vocab_size,
                                    .min_count = (uint64_t)s->min_count,
                                    .specials = specials,
                                    .n_specials = N_BASE + s->specials.count,
                                    .max_bytes = (uint64_t)s->max_bytes,
                                    .n_threads = (int)s->threads,
                                    .counting = count_progress,
                                    .merging = merge_progress,
                                    .progress_user = &b};
    tern_interrupt_watch(NULL); /* Ctrl-C comes through the progress function */
    if (make(s, &params, &b, &result, &err))
        return tern_cli_error(&err);
    report(s, params.n_specials, &result);
    return 0;
}

static const settings defaults = {.min_count = 2};

const tern_command tern_command_train_tokenizer = {
    .name = "train tokenizer",
    .operands = "TEXT...",
    .summary = "make a tokenizer.json from texts",
    .example = "tern train tokenizer stories.txt books.txt --vocab-size 4096 -o tokenizer.json\n"
               "tern train tokenizer web.jsonl --vocab-size 32000 --max-bytes 500000000 -o tokenizer.json\n",
    .notes =
        "Byte-level BPE with the pre-tokeniser of Llama-3. TEXT is plain text in UTF-8 (other bytes are taken as\n"
        "they are), or JSON lines with a \"text\" where its name ends in .jsonl. The marker <|endoftext|> between\n"
        "documents is not learnt. The same texts and settings give the same file, for any number of threads.\n",
    .min_operands = 1,
    .max_operands = SIZE_MAX,
    .groups = {{"Options", options, 0}},
    .options_size = sizeof(settings),
    .defaults = &defaults,
    .run = run,
};
