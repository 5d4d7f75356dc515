/* tern rag ask: the chunks nearest to a question, and an answer from them. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "cli/rag.h"
#include "cli/sampling.h"

typedef struct ask_options {
    tern_rag_options rag;
    int64_t n_hits, n_tokens;
    bool no_answer, stats;
    int by; /* tern_rag_by */
    tern_sampling_options sampling;
    tern_model_options model;
    tern_session_options session;
} ask_options;

#define FIELD(name) offsetof(ask_options, name)

static const tern_choice by_choices[] = {
    {"both", TERN_RAG_BY_BOTH, false},
    {"vectors", TERN_RAG_BY_VECTORS, false},
    {"words", TERN_RAG_BY_WORDS, false},
    {NULL, 0, false},
};

static const tern_option ask_table[] = {
    {"hits", 'k', TERN_OPTION_INT, FIELD(n_hits), "N", "chunks to find and to answer from", 1, TERN_RAG_MAX_HITS, NULL,
     NULL},
    {"by", 0, TERN_OPTION_ENUM, FIELD(by), "WHAT", "find by the model's vectors, by the question's words, or by\nboth",
     0, 0, by_choices, NULL},
    {"no-answer", 0, TERN_OPTION_FLAG, FIELD(no_answer), NULL, "only search: print the chunks", 0, 0, NULL, NULL},
    {"tokens", 'n', TERN_OPTION_INT, FIELD(n_tokens), "N",
     "an answer has at most N tokens; -1: until the model ends\nit or the context is full", -1, INT32_MAX, NULL, NULL},
    {"stats", 0, TERN_OPTION_FLAG, FIELD(stats), NULL, "times and rates on standard error", 0, 0, NULL, NULL},
    {0},
};

/* Sampling as for tern run, but greedy: an answer from sources is no place for dice. */
static const ask_options defaults = {
    .n_hits = 4,
    .n_tokens = 256,
    .sampling =
        {.top_p = 0.95, .min_p = 0.05, .repeat_penalty = 1, .top_k = 40, .penalty_window = 64, .seed = -1, .draft = -1},
    .session = TERN_SESSION_OPTIONS_DEFAULT,
};

typedef struct asking {
    const ask_options *options;
    char *question;
    tern_rag *rag;
    tern_model *model;
    tern_session *session;
    tern_grammar *grammar;
    tern_rag_hits hits;
    size_t n_used; /* of the hits, in the prompt */
    int32_t *ids;  /* [n_ids] the prompt */
    size_t n_ids;
    tern_buffer answer;
    tern_generate_result result;
    tern_prefill prefill;
} asking;

static const char *text_of(const asking *a) { return a->answer.bytes ? a->answer.bytes : ""; }

/* ---- output ---- */

static void print_source(const tern_rag_hit *hit, size_t number) {
    printf("[%zu] ", number);
    tern_cli_print_text(stdout, hit->path);
    printf(":%u-%u  (%.3f)\n", (unsigned)hit->first_line, (unsigned)hit->last_line, (double)hit->score);
}

static void print_hits(const asking *a) {
    for (size_t i = 0; i < a->hits.n; i++) {
        print_source(&a->hits.hits[i], i + 1);
        fputs("    ", stdout);
        for (const char *at = a->hits.hits[i].text; *at;) { /* indented */
            size_t n = strcspn(at, "\n");
            char *line = strndup(at, n);
            tern_cli_print_text(stdout, line ? line : "");
            free(line);
            at += n + (at[n] == '\n');
            fputs(*at ? "\n    " : "\n\n", stdout);
        }
    }
}

static void print_sources(const asking *a) {
    printf("\nSources:\n");
    for (size_t i = 0; i < a->n_used; i++)
        print_source(&a->hits.hits[i], i + 1);
}

static json_t *sources_of(const asking *a, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        const tern_rag_hit *hit = &a->hits.hits[i];
        json_int_t number = (json_int_t)i;
        number++;
        json_array_append_new(list,
                              json_pack("{s:I, s:o, s:i, s:i, s:f, s:i, s:i, s:b, s:o}", "number", number, "path",
                                        tern_json_text(hit->path), "first_line", (int)hit->first_line, "last_line",
                                        (int)hit->last_line, "score", (double)hit->score, "vector_rank",
                                        (int)hit->vector_rank, "word_rank", (int)hit->word_rank, "cited",
                                        (int)tern_rag_cites(text_of(a), i + 1), "text", tern_json_text(hit->text)));
    }
    return list;
}

static int print_json(const asking *a) {
    bool answered = !a->options->no_answer;
    json_t *object =
        json_pack("{s:o, s:o, s:o, s:o, s:I}", "question", tern_json_text(a->question), "answer",
                  answered ? tern_json_text(text_of(a)) : json_null(), "complete",
                  answered ? json_boolean(a->result.reason == TERN_STOP_END) : json_null(), "sources",
                  sources_of(a, answered ? a->n_used : a->hits.n), "searched_chunks", (json_int_t)a->hits.n_searched);
    return tern_cli_print_json(object);
}

static void print_stats(const asking *a) {
    char load[32], search[32];
    fprintf(stderr, "search:         %llu vectors read in %s, compared in %s\n", (unsigned long long)a->hits.n_searched,
            tern_format_seconds(load, a->hits.load_seconds), tern_format_seconds(search, a->hits.search_seconds));
    if (!a->options->no_answer)
        tern_print_timing(&a->result, 0);
}

/* ---- the question ---- */

static int read_question(asking *a, const char *operand) {
    tern_error err;
    size_t n_bytes;
    if (strcmp(operand, "-") != 0) {
        if (!(a->question = strdup(operand)))
            return tern_cli_fail("out of memory for the question");
    } else {
        if (tern_read_file("-", 1 << 20, &a->question, &n_bytes, &err))
            return tern_cli_error(&err);
        if (strlen(a->question) != n_bytes)
            return tern_cli_fail("the question holds a zero byte: it is no text");
        while (n_bytes && strchr("\r\n", a->question[n_bytes - 1]))
            a->question[--n_bytes] = 0;
    }
    if (a->question[strspn(a->question, " \t\r\n")] == 0)
        return tern_cli_usage("rag ask", "the question is empty");
    return 0;
}

/* The database, and the model that its vectors are of. */
static int open_all(asking *a) {
    tern_error err;
    tern_rag_info info;
    int status = tern_cli_rag_open(&a->options->rag, false, &a->rag);
    if (status)
        return status;
    if (tern_rag_get_info(a->rag, &info, &err))
        return tern_cli_error(&err);
    if (info.n_chunks == 0 && info.n_files == 0) /* nor is any model the right one yet */
        return tern_cli_fail("%s: the database has no texts: tern rag add FOLDER", info.path);
    tern_interrupt_watch(NULL);
    return tern_cli_rag_model(a->rag, &a->options->rag, &a->options->model, NULL, &a->model);
}

static int search(asking *a) {
    tern_error err;
    if (tern_rag_search(a->rag, a->question, (tern_rag_by)a->options->by, (size_t)a->options->n_hits,
                        (int)a->options->model.threads, &a->hits, &err))
        return tern_cli_error(&err);
    if (a->hits.n_searched == 0)
        return tern_cli_fail("the database has no texts: tern rag add FOLDER");
    if (a->hits.n == 0)
        tern_cli_warn("no chunk has any of the question's words");
    return tern_interrupted() ? tern_interrupt_status() : 0;
}

/* ---- the answer ---- */

/* Into a->ids, with as many chunks as leave room for the answer. */
static int make_prompt(asking *a) {
    uint32_t n_ctx = tern_session_n_ctx(a->session);
    int64_t room = n_ctx / 4, wanted = a->options->n_tokens;
    size_t reserve = (size_t)(wanted >= 0 && wanted < room ? wanted : room);
    tern_error err;
    if (tern_rag_prompt(tern_model_tokenizer(a->model), a->question, &a->hits, n_ctx - reserve, &a->n_used, &a->ids,
                        &a->n_ids, &err))
        return tern_cli_error(&err);
    if (a->n_used < a->hits.n)
        tern_cli_warn(
            "%zu of the %zu chunks do not fit into the context of %u tokens: the answer is made from the best "
            "%zu",
            a->hits.n - a->n_used, a->hits.n, (unsigned)n_ctx, a->n_used);
    return 0;
}

/* The answer has to cite, unless the user has a grammar for it. Behind make_prompt(): the sources are those in it. */
static int make_grammar(asking *a, tern_sampler_params *sampler) {
    tern_error err;
    if (sampler->grammar)
        return 0;
    char *gbnf = tern_rag_grammar(a->n_used);
    tern_status status = gbnf ? tern_grammar_parse(tern_model_tokenizer(a->model), gbnf, &a->grammar, &err)
                              : tern_fail_memory(&err, "the answer's grammar");
    free(gbnf);
    sampler->grammar = a->grammar;
    return status ? tern_cli_error(&err) : 0;
}

static bool on_text(void *user, const char *text, size_t n_bytes, int32_t id) {
    asking *a = user;
    (void)id;
    tern_buffer_append(&a->answer, text, n_bytes);
    if (!a->options->rag.json && n_bytes) {
        fwrite(text, 1, n_bytes, stdout);
        tern_cli_flush();
    }
    return !ferror(stdout) && !tern_interrupted() && !a->answer.failed;
}

static int generate(asking *a, const tern_generate_params *params, uint32_t chunk) {
    tern_error err;
    tern_status status = tern_cli_prefill(a->session, chunk, a->ids, a->n_ids, &a->prefill, &err);
    if (!status)
        status = tern_generate_ids(a->session, a->ids + a->prefill.n, a->n_ids - a->prefill.n, params, on_text, a,
                                   &a->result, &err);
    tern_cli_add_prefill(&a->result, &a->prefill);
    if (!a->options->rag.json && a->answer.size && a->answer.bytes[a->answer.size - 1] != '\n')
        putchar('\n');
    if (!status && a->answer.failed)
        status = tern_fail_memory(&err, "the answer");
    if (status)
        return tern_cli_error(&err);
    if (a->result.reason == TERN_STOP_CONTEXT)
        tern_cli_warn("the context of %u tokens is full, the answer stops here",
                      (unsigned)tern_session_n_ctx(a->session));
    if (a->result.reason != TERN_STOP_CANCELLED && !tern_rag_is_founded(text_of(a), a->n_used))
        tern_cli_warn("the answer names no source: %s", a->result.reason == TERN_STOP_END
                                                            ? "its grammar does not ask for one"
                                                            : "it was cut off before (--tokens, --stop)");
    return 0;
}

static int answer(asking *a, tern_generate_params *params, const tern_session_params *session_params) {
    const ask_options *options = a->options;
    tern_error err;
    int status = tern_cli_check_bias("rag ask", a->model, &params->sampler);
    if (!status)
        status = tern_cli_grammar(&options->sampling, "rag ask", a->model, &params->sampler, &a->grammar);
    if (!status && tern_session_create(a->model, session_params, &a->session, &err))
        status = tern_cli_error(&err);
    if (!status)
        status = make_prompt(a);
    if (!status)
        status = make_grammar(a, &params->sampler);
    if (status)
        return status;
    tern_interrupt_watch(a->session);
    status = options->n_tokens == 0 ? 0 : generate(a, params, session_params->chunk);
    tern_interrupt_watch(NULL);
    return status;
}

static int ask(asking *a, const char *operand) {
    const ask_options *options = a->options;
    tern_session_params session_params;
    tern_generate_params params = tern_generate_defaults();
    tern_logit_bias bias[TERN_STRING_LIST_MAX];
    params.max_tokens = options->n_tokens;
    int status = tern_cli_session_params(&options->session, &session_params);
    if (!status)
        status = tern_cli_sampling(&options->sampling, "rag ask", bias, &params);
    if (!status)
        status = read_question(a, operand);
    if (!status)
        status = open_all(a);
    if (!status)
        status = search(a);
    if (!status && !options->no_answer)
        status = answer(a, &params, &session_params);
    if (status)
        return status;
    if (options->rag.json)
        status = print_json(a);
    else if (options->no_answer)
        print_hits(a);
    else
        print_sources(a);
    if (options->stats)
        print_stats(a);
    return status ? status : tern_interrupted() ? tern_interrupt_status() : 0;
}

static int run_ask(void *memory, const char *const *operands, size_t n_operands) {
    asking a = {.options = memory};
    (void)n_operands;
    int status = ask(&a, operands[0]);
    tern_interrupt_unwatch();
    tern_rag_close(a.rag);
    tern_session_free(a.session);
    tern_grammar_free(a.grammar);
    tern_model_free(a.model);
    tern_rag_hits_free(&a.hits);
    tern_buffer_free(&a.answer);
    tern_free(a.ids);
    free(a.question);
    return status;
}

const tern_command tern_command_rag_ask = {
    .name = "rag ask",
    .operands = "QUESTION",
    .summary = "answer a question from the texts, with its sources",
    .example = "tern rag ask \"Which header is counted where?\"\n"
               "tern rag ask \"Who wrote about the lighthouse?\" --no-answer -k 10\n"
               "echo \"What did we decide?\" | tern rag ask - --json | jq .sources\n",
    .notes = "QUESTION - is read from standard input. The chunks nearest to the question go into the\n"
             "prompt with numbers, and are listed behind the answer: [1] FILE:LINES and their score, 1 at\n"
             "most. A grammar has each sentence of the answer cite some of them, unless the answer is\n"
             "\"" TERN_RAG_NO_ANSWER "\"; --grammar and --json-schema replace it. How good an\n"
             "answer is, and whether a source says so, depends on the model.\n",
    .min_operands = 1,
    .max_operands = 1,
    .groups = {{"Question", ask_table, 0},
               {"Database", tern_rag_table, FIELD(rag)},
               {"Sampling", tern_sampling_option_table, FIELD(sampling)},
               {"Model", tern_model_option_table, FIELD(model)},
               {"Threads and memory", tern_placement_option_table, FIELD(model.placement)},
               {"Session", tern_session_option_table, FIELD(session)}},
    .options_size = sizeof(ask_options),
    .defaults = &defaults,
    .run = run_ask,
};
