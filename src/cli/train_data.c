/* tern train data: texts and conversations to a shard of tokens. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/hash.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "train/data_build.h"

typedef struct settings {
    const char *tokenizer, *output, *separator;
    int kind;
    double held_out; /* -1: not said */
    tern_string_list held_out_files, excluded;
    int64_t shard_bytes;
    int64_t threads;
} settings;

static const tern_choice kinds[] = {
    {"text", TERN_SHARD_TEXT, false}, {"chat", TERN_SHARD_CHAT, false}, {"pairs", TERN_SHARD_PAIRS, false}, {0}};

static const tern_option options[] = {
    {"tokenizer", 0, TERN_OPTION_FILE, offsetof(settings, tokenizer), "FILE",
     "tokenizer.json, a Hugging Face folder or a .gguf", 0, 0, NULL, NULL},
    {"output", 'o', TERN_OPTION_FILE, offsetof(settings, output), "SHARD", "the file to write", 0, 0, NULL, NULL},
    {"kind", 0, TERN_OPTION_ENUM, offsetof(settings, kind), "KIND",
     "text: documents, all of it is learnt;\nchat: conversations, answers are learnt;\npairs: a chosen and a rejected "
     "answer",
     0, 0, kinds, NULL},
    {"held-out", 0, TERN_OPTION_FLOAT, offsetof(settings, held_out), "X",
     "share of the documents that is kept for validation, chosen\nby a hash of the document (chat, pairs: of its "
     "prompt)",
     0, 1, NULL, "0.01, or 0 with --held-out-file"},
    {"held-out-file", 0, TERN_OPTION_LIST, offsetof(settings, held_out_files), "FILE",
     "validate on FILE, which is also excluded from training;\nmay be given several times", 0, 0, NULL, NULL},
    {"exclude", 0, TERN_OPTION_LIST, offsetof(settings, excluded), "FILE",
     "drop documents that share 13 words in a row with FILE\n(text, or all strings of JSON lines); several times", 0, 0,
     NULL, NULL},
    {"split-on", 0, TERN_OPTION_STRING, offsetof(settings, separator), "TEXT",
     "what stands between the documents of a text; \\n is a\nnewline; \"\": each file is one document", 0, 0, NULL,
     "<|endoftext|>"},
    {"shard-size", 0, TERN_OPTION_INT, offsetof(settings, shard_bytes), "BYTES",
     "several shards of at most so many bytes, each whole:\n-o a.shard makes a-00001-of-00004.shard and so on;\n"
     "0: one of any size",
     0, 1LL << 50, NULL, NULL},
    {"threads", 't', TERN_OPTION_INT, offsetof(settings, threads), "N", "threads; 0: all CPUs", 0, 1024, NULL, NULL},
    {0},
};

/* "\n", "\t", "\r" and "\\" in an argument. Freed with free(); NULL: no memory or another escape. */
static char *unescape(const char *text) {
    static const char from[] = "ntr\\", to[] = "\n\t\r\\";
    char *out = malloc(strlen(text) + 1), *p = out;
    for (; out && *text; text++) {
        const char *escape = *text == '\\' && text[1] ? strchr(from, text[1]) : NULL;
        if (*text == '\\' && !escape) {
            free(out);
            return NULL;
        }
        *p++ = escape ? to[escape - from] : *text;
        text += escape != NULL;
    }
    if (out)
        *p = 0;
    return out;
}

/* Of the tokenizer's file, so that a run with another one is noticed; it is not the output either. */
static tern_status hash_tokenizer(const char *path, const char *output, uint64_t *hash, tern_error *err) {
    tern_map map;
    char inside[4096];
    if (tern_is_directory(path)) {
        if (snprintf(inside, sizeof inside, "%s/tokenizer.json", path) >= (int)sizeof inside)
            return tern_fail(err, TERN_ERR_IO, "%s: the path is too long", path);
        path = inside;
    }
    tern_status status = tern_check_output(output, &path, 1, err);
    if (!status)
        status = tern_map_open(path, &map, err);
    if (status)
        return status;
    *hash = tern_hash_bytes(map.data, map.size);
    tern_map_close(&map);
    return TERN_OK;
}

static void report_split(const char *label, const tern_shard_info *info, tern_split split, const char *what) {
    char bytes[32];
    uint64_t tokens = info->n_tokens[split];
    printf("%s %" PRIu64 " %s, %" PRIu64 " tokens, %s", label, info->n_documents[split], what, tokens,
           tern_format_bytes(bytes, (double)info->text_bytes[split]));
    if (info->kind == TERN_SHARD_TEXT && tokens)
        printf(", %.3f bytes a token", (double)info->text_bytes[split] / (double)tokens);
    putchar('\n');
}

static void report(const settings *s, const tern_data_report *r) {
    static const char *const names[] = {"documents", "conversations", "answers"};
    char size[32], seconds[32];
    struct stat file;
    const char *what = names[r->info.kind];
    tern_format_seconds(seconds, r->seconds);
    if (s->shard_bytes)
        printf("%zu shards in %s, vocabulary of %" PRIu32 "\n", r->n_shards, seconds, r->info.vocab_size);
    else
        printf("%s: %s in %s, vocabulary of %" PRIu32 "\n", s->output,
               tern_format_bytes(size, stat(s->output, &file) ? 0 : (double)file.st_size), seconds, r->info.vocab_size);
    report_split("training:", &r->info, TERN_SPLIT_TRAIN, what);
    report_split("held out:", &r->info, TERN_SPLIT_HELD_OUT, what);
    if (s->excluded.count || s->held_out_files.count)
        printf("dropped:  %" PRIu64 " of %" PRIu64 " read, which share 13 words in a row with an excluded text\n",
               r->n_excluded, r->n_read);
    if (r->n_no_answer)
        printf("dropped:  %" PRIu64 " of %" PRIu64 " read, which hold no answer\n", r->n_no_answer, r->n_read);
}

static void on_shard(void *user, const char *path, const tern_shard_info *info) {
    const settings *s = user;
    char size[32];
    struct stat file;
    if (s->shard_bytes)
        printf("%s: %s, %" PRIu64 " tokens\n", path,
               tern_format_bytes(size, stat(path, &file) ? 0 : (double)file.st_size),
               info->n_tokens[TERN_SPLIT_TRAIN] + info->n_tokens[TERN_SPLIT_HELD_OUT]);
}

static tern_status check_output(const tern_data_params *params, const char *output, tern_error *err) {
    tern_status status = tern_check_output(output, params->texts, params->n_texts, err);
    if (!status)
        status = tern_check_output(output, params->held_out_files, params->n_held_out_files, err);
    return status ? status : tern_check_output(output, params->excluded, params->n_excluded, err);
}

static int build(const settings *s, tern_data_params *params) {
    tern_error err;
    tern_progress progress;
    tern_data_report made;
    tern_interrupt_watch(NULL); /* Ctrl-C comes through the progress function: no half file stays behind */
    tern_progress_start(&progress, "tokenising", TERN_PROGRESS_BYTES);
    params->progress = tern_progress_update;
    params->progress_user = &progress;
    params->on_shard = on_shard;
    params->on_shard_user = (void *)s;
    tern_status failed = tern_data_build(params, s->output, &made, &err);
    tern_progress_end(&progress);
    if (failed)
        return tern_cli_error(&err);
    if (made.info.n_documents[TERN_SPLIT_TRAIN] == 0)
        tern_cli_warn("%s: holds no training documents", s->output);
    report(s, &made);
    return 0;
}

static int run(void *parsed, const char *const *operands, size_t n_operands) {
    const settings *s = parsed;
    tern_error err;
    tern_tokenizer *tokenizer;
    if (!s->tokenizer)
        return tern_cli_usage("train data", "needs --tokenizer FILE; `tern train tokenizer` makes one");
    if (!s->output)
        return tern_cli_usage("train data", "needs -o SHARD, the file to write");
    char *separator = s->separator ? unescape(s->separator) : NULL;
    if (s->separator && !separator)
        return tern_cli_usage("train data", "--split-on %s: after \\ comes n, t, r or \\", s->separator);
    tern_data_params params = {.kind = (tern_shard_kind)s->kind,
                               .texts = operands,
                               .n_texts = n_operands,
                               .separator = separator,
                               .held_out = s->held_out >= 0          ? s->held_out
                                           : s->held_out_files.count ? 0
                                                                     : 0.01,
                               .held_out_files = s->held_out_files.items,
                               .n_held_out_files = s->held_out_files.count,
                               .excluded = s->excluded.items,
                               .n_excluded = s->excluded.count,
                               .shard_bytes = (uint64_t)s->shard_bytes,
                               .n_threads = (int)s->threads};
    int status;
    if (check_output(&params, s->output, &err) ||
        hash_tokenizer(s->tokenizer, s->output, &params.tokenizer_hash, &err) ||
        tern_tokenizer_load(s->tokenizer, &tokenizer, &err)) {
        status = tern_cli_error(&err);
    } else {
        params.tokenizer = tokenizer;
        status = build(s, &params);
        tern_tokenizer_free(tokenizer);
    }
    free(separator);
    return status;
}

static const settings defaults = {.held_out = -1};

const tern_command tern_command_train_data = {
    .name = "train data",
    .operands = "FILE...",
    .summary = "tokenise texts or conversations to train on",
    .example = "tern train data stories.txt books.txt --tokenizer tokenizer.json -o stories.shard\n"
               "tern train data chat.jsonl --kind chat --tokenizer tokenizer.json -o chat.shard\n"
               "tern train data web.jsonl --tokenizer tokenizer.json --exclude benchmark.txt -o web.shard\n"
               "tern train data web.jsonl --tokenizer tokenizer.json --shard-size 500M -o web.shard\n",
    .notes =
        "text: plain text, or JSON lines {\"text\"} where the name ends in .jsonl. chat: JSON lines {\"messages\":\n"
        "[{\"role\", \"content\"}, ...]} or {\"prompt\", \"completion\"}; the tokenizer's chat template is applied.\n"
        "Both kinds of lines may stand in one file: kind text learns all of both, chat all of a text.\n"
        "pairs: {\"prompt\" or \"messages\", \"chosen\", \"rejected\"}, the two as texts or lists of messages.\n"
        "The same input gives the same file, for any number of threads. docs/TRAINING.md has the layout.\n",
    .min_operands = 1,
    .max_operands = SIZE_MAX,
    .groups = {{"Options", options, 0}},
    .options_size = sizeof(settings),
    .defaults = &defaults,
    .run = run,
};
