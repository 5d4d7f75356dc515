/* Texts and conversations to shards: what is in a document, what is learnt, which side of the split it is on, and what
 * is dropped. The tokenizer has no merges, so that each byte is a token and every expectation can be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "tokenizer/tokenizer.h"
#include "train/bpe_train.h"
#include "train/data_build.h"
#include "train/overlap.h"

static const char *const specials[] = {"<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"};
static tern_error err;
static tern_tokenizer *bytes_only;
static char folder[] = "/tmp/tern-data-XXXXXX";
static tern_data_report report;

static char *path_of(const char *name) {
    static char paths[8][320];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static const char *write_file(const char *name, const char *text) {
    char *path = path_of(name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_true(fwrite(text, 1, strlen(text), file) == strlen(text));
    assert_int_equal(fclose(file), 0);
    return path;
}

static int setup(void **state) {
    (void)state;
    if (!mkdtemp(folder))
        return 1;
    const char *paths[] = {write_file("a.txt", "a")};
    tern_bpe_params params = {
        .texts = paths, .n_texts = 1, .vocab_size = 259, .specials = specials, .n_specials = 3, .n_threads = 1};
    tern_bpe_result result;
    if (tern_bpe_train(&params, &result, &err))
        return 1;
    int failed = tern_tokenizer_from_json("t.json", result.json, result.n_json, &bytes_only, &err) != TERN_OK;
    free(result.json);
    return failed;
}

static int teardown(void **state) {
    DIR *directory = opendir(folder);
    (void)state;
    tern_tokenizer_free(bytes_only);
    if (!directory)
        return 1;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.')
            unlink(path_of(entry->d_name));
    closedir(directory);
    return rmdir(folder);
}

static tern_data_params params_of(tern_shard_kind kind, const char *const *paths, size_t n) {
    return (tern_data_params){
        .kind = kind, .texts = paths, .n_texts = n, .tokenizer = bytes_only, .tokenizer_hash = 42, .n_threads = 2};
}

static tern_shard *build(const tern_data_params *params) {
    tern_shard *shard = NULL;
    const char *path = path_of("out.shard");
    if (tern_data_build(params, path, &report, &err) || tern_shard_open(path, &shard, &err))
        fail_msg("%s", err.message);
    assert_int_equal(tern_shard_describe(shard)->tokenizer_hash, 42);
    return shard;
}

/* One file of that text. */
static tern_shard *build_one(tern_shard_kind kind, const char *name, const char *text) {
    const char *paths[] = {write_file(name, text)};
    tern_data_params params = params_of(kind, paths, 1);
    return build(&params);
}

static tern_status build_fails(tern_shard_kind kind, const char *name, const char *text) {
    const char *paths[] = {write_file(name, text)};
    tern_data_params params = params_of(kind, paths, 1);
    unlink(path_of("out.shard"));
    tern_status status = tern_data_build(&params, path_of("out.shard"), &report, &err);
    assert_false(tern_file_exists(path_of("out.shard")));
    return status;
}

/* A document's text, special tokens as they are written; those that are not learnt only with `all`. Freed by the
 * next call. */
static const char *text_of(const tern_shard *shard, tern_split split, uint64_t index, bool all) {
    static char *text;
    int32_t *ids = malloc((tern_shard_longest(shard) + 1) * sizeof *ids);
    const uint8_t *mask;
    size_t n, kept = 0, size;
    if (tern_shard_document(shard, split, index, ids, &mask, &n, &err))
        fail_msg("%s", err.message);
    for (size_t i = 0; i < n; i++)
        if (all || !mask || mask[i])
            ids[kept++] = ids[i];
    free(text);
    text = NULL;
    assert_int_equal(tern_detokenize(bytes_only, ids, kept, false, &text, &size, &err), TERN_OK);
    free(ids);
    return text;
}

#define ALL(shard, index) text_of(shard, TERN_SPLIT_TRAIN, index, true)
#define LEARNT(shard, index) text_of(shard, TERN_SPLIT_TRAIN, index, false)
#define BEGIN "<|begin_of_text|>"
#define END "<|end_of_text|>"
#define EOT "<|eot_id|>"

/* --------------------------------------------------------------------- text */

static void documents_of_text(void **state) {
    (void)state;
    tern_shard *shard = build_one(TERN_SHARD_TEXT, "t.txt",
                                  "\nFirst story.\n\nIts end. \n<|endoftext|>\n\n<|endoftext|>Second\n<|endoftext|>"
                                  "\n <|eot_id|> stays text\n");
    assert_int_equal(tern_shard_describe(shard)->n_documents[0], 3);
    assert_string_equal(ALL(shard, 0), BEGIN "First story.\n\nIts end." END);
    assert_string_equal(ALL(shard, 1), BEGIN "Second" END);
    assert_string_equal(ALL(shard, 2), BEGIN "<|eot_id|> stays text" END);
    assert_int_equal(tern_shard_document_tokens(shard, TERN_SPLIT_TRAIN, 2), 23);
    assert_int_equal(tern_shard_describe(shard)->text_bytes[0], 22 + 6 + 21);
    tern_shard_close(shard);
}

static void separators(void **state) {
    (void)state;
    const char *paths[] = {write_file("t.txt", "one\ntwo\n\n\n\nthree<|endoftext|>\n\n\n\n\n\nfour\n"),
                           write_file("e.txt", "")};
    tern_data_params params = params_of(TERN_SHARD_TEXT, paths, 2);
    params.separator = "\n\n\n\n";
    tern_shard *shard = build(&params);
    assert_int_equal(tern_shard_describe(shard)->n_documents[0], 3);
    assert_string_equal(ALL(shard, 0), BEGIN "one\ntwo" END);
    assert_string_equal(ALL(shard, 1), BEGIN "three<|endoftext|>" END);
    assert_string_equal(ALL(shard, 2), BEGIN "four" END);
    tern_shard_close(shard);
    params.separator = ""; /* as it is, to the last byte */
    shard = build(&params);
    assert_int_equal(tern_shard_describe(shard)->n_documents[0], 1);
    assert_string_equal(ALL(shard, 0), BEGIN "one\ntwo\n\n\n\nthree<|endoftext|>\n\n\n\n\n\nfour\n" END);
    tern_shard_close(shard);
}

static void lines_of_text(void **state) {
    (void)state;
    tern_shard *shard = build_one(TERN_SHARD_TEXT, "t.jsonl",
                                  "{\"text\": \"a\\nb\", \"id\": 3}\r\n\n{\"text\": \"\"}\n{\"text\": \" c\"}");
    assert_int_equal(tern_shard_describe(shard)->n_documents[0], 2);
    assert_string_equal(ALL(shard, 0), BEGIN "a\nb" END);
    assert_string_equal(ALL(shard, 1), BEGIN " c" END);
    tern_shard_close(shard);
    assert_int_equal(build_fails(TERN_SHARD_TEXT, "t.jsonl", "{\"text\": \"a\"}\n{\"text\": 1}\n"), TERN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "t.jsonl: line 2: no \"text\""));
    assert_int_equal(build_fails(TERN_SHARD_TEXT, "t.jsonl", "\n\n{\"text\"\n"), TERN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "line 3: not JSON"));
}

/* Long enough for many blocks: the same bytes for any number of threads, documents in order, none lost. */
static void threads(void **state) {
    enum { N = 30000 };
    char *text = malloc(N * 200), *at = text;
    (void)state;
    for (int i = 0; i < N; i++) {
        at += sprintf(at, "document %d", i);
        for (int k = 0; k < i * 7 % 23; k++)
            at += sprintf(at, " word%d", i * k % 101);
        at += sprintf(at, "\n<|endoftext|>\n");
    }
    const char *paths[] = {write_file("t.txt", text)};
    tern_data_params params = params_of(TERN_SHARD_TEXT, paths, 1);
    params.held_out = 0.1;
    uint64_t hash = 0;
    for (int n = 1; n <= 5; n += 2) {
        params.n_threads = n;
        tern_shard *shard = build(&params);
        const tern_shard_info *info = tern_shard_describe(shard);
        assert_int_equal(info->n_documents[0] + info->n_documents[1], N);
        assert_true(info->n_documents[1] > N / 12 && info->n_documents[1] < N / 8);
        assert_true(n == 1 || info->hash == hash);
        hash = info->hash;
        long last = -1;
        for (uint64_t i = 0; n == 5 && i < info->n_documents[0]; i += 97) {
            long number = strtol(ALL(shard, i) + strlen(BEGIN "document "), NULL, 10);
            assert_true(number > last);
            last = number;
        }
        tern_shard_close(shard);
    }
    free(text);
}

/* A document's side does not depend on what else is there; more are held out for a larger share. */
static void held_out(void **state) {
    (void)state;
    char text[4000] = "", *at = text;
    for (int i = 0; i < 100; i++)
        at += sprintf(at, "story %d<|endoftext|>", i);
    const char *paths[] = {write_file("t.txt", text)};
    tern_data_params params = params_of(TERN_SHARD_TEXT, paths, 1);
    params.held_out = 0.2;
    tern_shard *shard = build(&params);
    uint64_t n = tern_shard_describe(shard)->n_documents[1];
    assert_true(n > 8 && n < 35);
    char *one = strdup(text_of(shard, TERN_SPLIT_HELD_OUT, 0, true));
    tern_shard_close(shard);
    char *plain = strndup(one + strlen(BEGIN), strlen(one) - strlen(BEGIN END));
    paths[0] = write_file("one.txt", plain);
    shard = build(&params);
    assert_int_equal(tern_shard_describe(shard)->n_documents[0], 0);
    assert_int_equal(tern_shard_describe(shard)->n_documents[1], 1);
    tern_shard_close(shard);
    free(one);
    free(plain);
    params.held_out = 1;
    shard = build(&params);
    assert_int_equal(tern_shard_describe(shard)->n_documents[0], 0);
    tern_shard_close(shard);
}

/* -------------------------------------------------------------------- chat */

static void one_answer(void **state) {
    (void)state;
    tern_shard *shard =
        build_one(TERN_SHARD_CHAT, "c.jsonl",
                  "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", "
                  "\"content\": \" Hello! \"}], \"source\": \"x\"}\n"
                  "{\"prompt\": \"Q\", \"completion\": \"A\"}\n");
    assert_int_equal(tern_shard_describe(shard)->n_documents[0], 2);
    assert_string_equal(ALL(shard, 0), BEGIN "User: Hi" EOT "Assistant: Hello!" EOT);
    assert_string_equal(LEARNT(shard, 0), "Hello!" EOT);
    /* by hand: BOS, 8 bytes, EOT, 11 bytes, then 6 bytes and EOT are learnt */
    int32_t ids[64];
    const uint8_t *mask;
    size_t n;
    assert_int_equal(tern_shard_document(shard, TERN_SPLIT_TRAIN, 0, ids, &mask, &n, &err), TERN_OK);
    assert_int_equal(n, 1 + 8 + 1 + 11 + 7);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(mask[i], i >= 21);
    assert_int_equal(ids[0], 256);
    assert_int_equal(ids[9], 258);
    assert_int_equal(ids[21], 'H' - 33);
    assert_int_equal(ids[27], 258);
    assert_int_equal(tern_shard_describe(shard)->text_bytes[0], 6 + 1);
    assert_string_equal(LEARNT(shard, 1), "A" EOT);
    tern_shard_close(shard);
}

/* System message, two answers, a last question that nobody answers, and a user who writes special tokens. */
static void conversation(void **state) {
    (void)state;
    tern_shard *shard = build_one(
        TERN_SHARD_CHAT, "c.jsonl",
        "{\"messages\": [{\"role\": \"system\", \"content\": \"Be brief\"}, {\"role\": \"user\", \"content\": "
        "\"1<|eot_id|>Assistant: no\"}, {\"role\": \"assistant\", \"content\": \"yes<|eot_id|>!\"}, {\"role\": "
        "\"user\", "
        "\"content\": \"2\"}, {\"role\": \"assistant\", \"content\": \"two\"}, {\"role\": \"user\", \"content\": "
        "\"3\"}]}\n"
        "{\"messages\": [{\"role\": \"user\", \"content\": \"nobody answers\"}]}\n"
        "{\"messages\": [{\"role\": \"user\", \"content\": \"u\"}, {\"role\": \"assistant\", \"content\": \" \"}]}\n");
    assert_int_equal(tern_shard_describe(shard)->n_documents[0], 1);
    assert_int_equal(report.n_read, 3);
    assert_int_equal(report.n_no_answer, 2);
    assert_string_equal(ALL(shard, 0), BEGIN "System: Be brief" EOT "User: 1<|eot_id|>Assistant: no" EOT
                                             "Assistant: yes<|eot_id|>!" EOT "User: 2" EOT "Assistant: two" EOT);
    assert_string_equal(LEARNT(shard, 0), "yes<|eot_id|>!" EOT "two" EOT);
    int32_t ids[200];
    const uint8_t *mask;
    size_t n, ends = 0;
    assert_int_equal(tern_shard_document(shard, TERN_SPLIT_TRAIN, 0, ids, &mask, &n, &err), TERN_OK);
    for (size_t i = 0; i < n; i++)
        ends += ids[i] == 258;
    assert_int_equal(ends, 5); /* those of the template, not those in the messages */
    tern_shard_close(shard);
}

/* All of a text among conversations is learnt, its end too; what is excluded is left out there as well. */
static void text_among_conversations(void **state) {
    (void)state;
    tern_shard *shard = build_one(TERN_SHARD_CHAT, "c.jsonl",
                                  "{\"text\": \"A bird <|eot_id|>.\"}\n"
                                  "{\"prompt\": \"Q\", \"completion\": \"A\"}\n"
                                  "{\"text\": \"\"}\n");
    assert_int_equal(tern_shard_describe(shard)->n_documents[0], 2);
    assert_int_equal(report.n_read, 3);
    assert_string_equal(ALL(shard, 0), BEGIN "A bird <|eot_id|>." END);
    assert_string_equal(LEARNT(shard, 0), "A bird <|eot_id|>." END);
    assert_string_equal(LEARNT(shard, 1), "A" EOT);
    tern_shard_close(shard);
}

/* Among texts a conversation is a document like any other: its turns in the template, all of it learnt. */
static void conversation_among_texts(void **state) {
    (void)state;
    tern_shard *chat = build_one(TERN_SHARD_CHAT, "c.jsonl", "{\"prompt\": \"Q <|eot_id|>\", \"completion\": \"A\"}\n");
    char *turns = strdup(ALL(chat, 0));
    tern_shard *shard = build_one(TERN_SHARD_TEXT, "t.jsonl",
                                  "{\"text\": \"A bird.\"}\n"
                                  "{\"prompt\": \"Q <|eot_id|>\", \"completion\": \"A\"}\n"
                                  "{\"messages\": [{\"role\": \"user\", \"content\": \"no answer\"}]}\n");
    const tern_shard_info *info = tern_shard_describe(shard);
    assert_int_equal(info->kind, TERN_SHARD_TEXT);
    assert_int_equal(info->n_documents[0], 2);
    assert_int_equal(report.n_read, 3);
    assert_int_equal(report.n_no_answer, 1);
    assert_string_equal(ALL(shard, 0), BEGIN "A bird." END);
    assert_string_equal(ALL(shard, 1), turns);
    assert_non_null(strstr(turns, "Q <|eot_id|>"));
    assert_int_equal(info->text_bytes[0], 7 + 12 + 1);
    free(turns);
    tern_shard_close(shard);
    tern_shard_close(chat);
}

static void bad_lines(void **state) {
    static const struct {
        tern_shard_kind kind;
        const char *line, *part;
    } cases[] = {
        {TERN_SHARD_CHAT, "[", "not JSON"},
        {TERN_SHARD_CHAT, "[]", "no \"text\""},
        {TERN_SHARD_CHAT, "{\"text\": 1}", "no \"text\""},
        {TERN_SHARD_PAIRS, "{\"text\": \"a\"}", "no \"chosen\""},
        {TERN_SHARD_CHAT, "{\"messages\": \"a\"}", "no list"},
        {TERN_SHARD_CHAT, "{\"messages\": [{\"role\": \"user\"}]}", "\"content\""},
        {TERN_SHARD_CHAT, "{\"messages\": [5]}", "\"content\""},
        {TERN_SHARD_CHAT, "{\"messages\": [{\"role\": \"user\", \"content\": \"a\\u0000b\"}]}", "zero bytes"},
        {TERN_SHARD_CHAT, "{\"prompt\": \"a\"}", "completion"},
        {TERN_SHARD_CHAT, "{\"prompt\": \"a\", \"completion\": 1}", "completion"},
        {TERN_SHARD_PAIRS, "{\"prompt\": \"a\", \"chosen\": \"b\"}", "\"rejected\""},
        {TERN_SHARD_PAIRS, "{\"prompt\": \"a\", \"chosen\": [], \"rejected\": \"c\"}", "\"chosen\""},
        {TERN_SHARD_PAIRS, "{\"chosen\": \"b\", \"rejected\": \"c\"}", "\"prompt\""},
        {TERN_SHARD_PAIRS,
         "{\"prompt\": \"a\", \"chosen\": [{\"role\": \"user\", \"content\": \"b\"}], \"rejected\": \"c\"}",
         "does not end with"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(build_fails(cases[i].kind, "b.jsonl", cases[i].line), TERN_ERR_FORMAT);
        assert_non_null(strstr(err.message, "line 1: "));
        if (!strstr(err.message, cases[i].part))
            fail_msg("'%s' is not in '%s'", cases[i].part, err.message);
    }
}

static void pairs(void **state) {
    (void)state;
    tern_shard *shard = build_one(TERN_SHARD_PAIRS, "p.jsonl",
                                  "{\"prompt\": \"q\", \"chosen\": \"good\", \"rejected\": \"bad\"}\n"
                                  "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", "
                                  "\"content\": \"b\"}, {\"role\": "
                                  "\"user\", \"content\": \"c\"}], \"chosen\": [{\"role\": \"assistant\", \"content\": "
                                  "\"d\"}], \"rejected\": \"e\"}\n"
                                  "{\"prompt\": \"f\", \"chosen\": [{\"role\": \"user\", \"content\": \"f\"}, "
                                  "{\"role\": \"assistant\", \"content\": "
                                  "\"g\"}], \"rejected\": [{\"role\": \"user\", \"content\": \"f\"}, {\"role\": "
                                  "\"assistant\", \"content\": \"h\"}]}\n"
                                  "{\"prompt\": \"empty\", \"chosen\": \"x\", \"rejected\": \"\"}\n");
    assert_int_equal(tern_shard_describe(shard)->n_documents[0], 6);
    assert_int_equal(report.n_no_answer, 1);
    assert_string_equal(ALL(shard, 0), BEGIN "User: q" EOT "Assistant: good" EOT);
    assert_string_equal(LEARNT(shard, 0), "good" EOT);
    assert_string_equal(ALL(shard, 1), BEGIN "User: q" EOT "Assistant: bad" EOT);
    assert_string_equal(ALL(shard, 2), BEGIN "User: a" EOT "Assistant: b" EOT "User: c" EOT "Assistant: d" EOT);
    assert_string_equal(LEARNT(shard, 2), "d" EOT); /* the answer that is compared, not the one in the prompt */
    assert_string_equal(LEARNT(shard, 3), "e" EOT);
    assert_string_equal(ALL(shard, 4), BEGIN "User: f" EOT "Assistant: g" EOT);
    assert_string_equal(LEARNT(shard, 5), "h" EOT);
    tern_shard_close(shard);
}

/* A template that writes something else in front of answers than it promises. */
static void odd_template(void **state) {
    tern_chat_lesson lesson;
    const tern_message messages[] = {{"user", "a"}, {"assistant", "b"}};
    (void)state;
    assert_int_equal(
        tern_tokenizer_set_template(bytes_only,
                                    "{% for m in messages %}{{ m['role'] + m['content'] }}{% endfor %}{% if "
                                    "add_generation_prompt %}{{ 'now: ' }}{% endif %}",
                                    &err),
        TERN_OK);
    assert_int_equal(tern_chat_learn(bytes_only, messages, 2, false, &lesson, &err), TERN_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "generation prompt"));
    /* and one without a prompt at all, where BOS stands in front of the answer */
    assert_int_equal(tern_tokenizer_set_template(
                         bytes_only, "{% for m in messages %}{{ m['content'] + '<|eot_id|>\\n' }}{% endfor %}", &err),
                     TERN_OK);
    assert_int_equal(tern_chat_learn(bytes_only, messages + 1, 1, false, &lesson, &err), TERN_OK);
    assert_int_equal(lesson.n, 4); /* BOS b EOT newline */
    assert_int_equal(lesson.ids[0], 256);
    assert_memory_equal(lesson.mask + 1, "\1\1\0", 3);
    tern_chat_lesson_free(&lesson);
    assert_int_equal(tern_tokenizer_set_template(bytes_only, NULL, &err), TERN_OK);
}

/* ---------------------------------------------------------------- exclusion */

#define THIRTEEN "one two three four five six seven eight nine ten eleven twelve thirteen"
#define TWELVE "one two three four five six seven eight nine ten eleven twelve"

static void exclusion(void **state) {
    (void)state;
    const char *paths[] = {write_file("t.txt",
                                      "Zero. One, two -- THREE four five six seven eight nine ten eleven\ntwelve: "
                                      "thirteen fourteen<|endoftext|>" TWELVE " and more<|endoftext|>fine")};
    const char *excluded[] = {write_file("x.txt", "so " THIRTEEN ".")};
    tern_data_params params = params_of(TERN_SHARD_TEXT, paths, 1);
    params.excluded = excluded;
    params.n_excluded = 1;
    tern_shard *shard = build(&params);
    assert_int_equal(report.n_read, 3);
    assert_int_equal(report.n_excluded, 1);
    assert_int_equal(tern_shard_describe(shard)->n_documents[0], 2);
    assert_string_equal(ALL(shard, 0), BEGIN TWELVE " and more" END);
    tern_shard_close(shard);
    /* JSON lines: any string in them */
    excluded[0] = write_file("x.jsonl", "{\"a\": [{\"b\": \"" THIRTEEN "\"}]}\n");
    shard = build(&params);
    assert_int_equal(report.n_excluded, 1);
    tern_shard_close(shard);
    /* a held-out file is in the shard, whole, and not in the training documents */
    const char *held[] = {write_file("h.txt", "Before " THIRTEEN "<|endoftext|>second")};
    params.n_excluded = 0;
    params.held_out_files = held;
    params.n_held_out_files = 1;
    shard = build(&params);
    assert_int_equal(report.n_excluded, 1);
    assert_int_equal(tern_shard_describe(shard)->n_documents[0], 2);
    assert_int_equal(tern_shard_describe(shard)->n_documents[1], 2);
    assert_string_equal(text_of(shard, TERN_SPLIT_HELD_OUT, 0, true), BEGIN "Before " THIRTEEN END);
    tern_shard_close(shard);
    /* conversations: any message */
    paths[0] = write_file("c.jsonl", "{\"prompt\": \"Say " THIRTEEN "\", \"completion\": \"no\"}\n"
                                     "{\"prompt\": \"fine\", \"completion\": \"yes\"}\n");
    params = params_of(TERN_SHARD_CHAT, paths, 1);
    params.excluded = held;
    params.n_excluded = 1;
    shard = build(&params);
    assert_int_equal(report.n_excluded, 1);
    assert_int_equal(tern_shard_describe(shard)->n_documents[0], 1);
    tern_shard_close(shard);
}

static void overlap_of_many(void **state) {
    tern_overlap overlap = {0};
    char text[400], *at;
    (void)state;
    for (int i = 0; i < 3000; i++) {
        at = text;
        for (int k = 0; k < 14; k++)
            at += sprintf(at, "w%d ", i * 20 + k);
        assert_true(tern_overlap_add(&overlap, tern_view_of(text)));
    }
    assert_int_equal(overlap.n, 6000);
    for (int i = 0; i < 3000; i += 7)
        for (int from = 0; from < 3; from++) { /* from 2 on a word is a new one */
            at = text;
            for (int k = 0; k < 13; k++)
                at += sprintf(at, "W%d,", i * 20 + k + from);
            assert_int_equal(tern_overlap_has(&overlap, tern_view_of(text)), from < 2);
        }
    tern_overlap_free(&overlap);
}

static bool refuse(void *user, uint64_t done, uint64_t total) {
    (void)user;
    assert_true(done <= total);
    return false;
}

static void cancelled(void **state) {
    (void)state;
    const char *paths[] = {write_file("t.txt", "text")};
    tern_data_params params = params_of(TERN_SHARD_TEXT, paths, 1);
    params.progress = refuse;
    unlink(path_of("out.shard"));
    assert_int_equal(tern_data_build(&params, path_of("out.shard"), NULL, &err), TERN_ERR_CANCELLED);
    assert_false(tern_file_exists(path_of("out.shard")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_of_text),
        cmocka_unit_test(separators),
        cmocka_unit_test(lines_of_text),
        cmocka_unit_test(threads),
        cmocka_unit_test(held_out),
        cmocka_unit_test(one_answer),
        cmocka_unit_test(text_among_conversations),
        cmocka_unit_test(conversation),
        cmocka_unit_test(conversation_among_texts),
        cmocka_unit_test(bad_lines),
        cmocka_unit_test(pairs),
        cmocka_unit_test(odd_template),
        cmocka_unit_test(exclusion),
        cmocka_unit_test(overlap_of_many),
        cmocka_unit_test(cancelled),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
