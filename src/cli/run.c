/* tern run: a prompt in, text out as it is made. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/prompt.h"
#include "cli/sampling.h"

typedef struct run_options {
    const char *prompt, *file, *ids, *system;
    bool chat, no_bos, no_special, echo;
    int64_t n_tokens;
    bool ignore_eos, special, print_ids, stats;
    tern_sampling_options sampling;
    tern_model_options model;
    tern_session_options session;
} run_options;

#define FIELD(name) offsetof(run_options, name)

static const tern_option prompt_table[] = {
    {"prompt", 'p', TERN_OPTION_STRING, FIELD(prompt), "TEXT", "the prompt", 0, 0, NULL, NULL},
    {"file", 'f', TERN_OPTION_FILE, FIELD(file), "FILE",
     "read the prompt from FILE, - is standard input;\nwith -p too: first TEXT, then the file on a new line", 0, 0,
     NULL, NULL},
    {"ids", 0, TERN_OPTION_STRING, FIELD(ids), "LIST", "the prompt as token ids, 1,2,3; no BOS is added", 0, 0, NULL,
     NULL},
    {"chat", 0, TERN_OPTION_FLAG, FIELD(chat), NULL,
     "put the prompt as a user's message into the model's\nchat template", 0, 0, NULL, NULL},
    {"system", 0, TERN_OPTION_STRING, FIELD(system), "TEXT", "with --chat: the system message", 0, 0, NULL, NULL},
    {"no-bos", 0, TERN_OPTION_FLAG, FIELD(no_bos), NULL, "do not begin with the BOS token", 0, 0, NULL, NULL},
    {"no-special", 0, TERN_OPTION_FLAG, FIELD(no_special), NULL,
     "special tokens written in the prompt stay plain text\n(with --chat they always do)", 0, 0, NULL, NULL},
    {0},
};

static const tern_option output_table[] = {
    {"tokens", 'n', TERN_OPTION_INT, FIELD(n_tokens), "N",
     "generate at most N tokens; -1: until the model ends or\nthe context is full", -1, INT32_MAX, NULL, NULL},
    {"ignore-eos", 0, TERN_OPTION_FLAG, FIELD(ignore_eos), NULL, "go on when the model ends its text", 0, 0, NULL,
     NULL},
    {"echo", 0, TERN_OPTION_FLAG, FIELD(echo), NULL, "print the prompt in front", 0, 0, NULL, NULL},
    {"special", 0, TERN_OPTION_FLAG, FIELD(special), NULL, "print special tokens too", 0, 0, NULL, NULL},
    {"print-ids", 0, TERN_OPTION_FLAG, FIELD(print_ids), NULL, "print the ids of the generated tokens, 1,2,3, not text",
     0, 0, NULL, NULL},
    {"stats", 0, TERN_OPTION_FLAG, FIELD(stats), NULL, "times, rates and memory on standard error", 0, 0, NULL, NULL},
    {0},
};

static const run_options defaults = {
    .n_tokens = 256,
    .sampling = TERN_SAMPLING_OPTIONS_DEFAULT,
    .session = TERN_SESSION_OPTIONS_DEFAULT,
};

typedef struct run_state {
    const run_options *options;
    tern_model *model;
    tern_session *session;
    tern_grammar *grammar;
    tern_prompt prompt;
    int32_t *ids; /* [n_ids], free() */
    size_t n_ids;
    uint32_t chunk; /* the session's, 0: default */
    double load_seconds;
    bool printed_id, line_open; /* what is on stdout so far; line_open: and its last byte is no newline */
} run_state;

static bool is_demo(const char *path) { return !path || strcmp(path, "demo") == 0; }

/* stdout takes more and nobody pressed Ctrl-C. */
static bool go_on(void) { return !ferror(stdout) && !tern_interrupted(); }

static void print_text(run_state *run, const char *text, size_t n_bytes) {
    if (n_bytes == 0)
        return;
    fwrite(text, 1, n_bytes, stdout);
    run->line_open = text[n_bytes - 1] != '\n';
    tern_cli_flush(); /* streaming is the point */
}

static bool on_text(void *user, const char *text, size_t n_bytes, int32_t id) {
    run_state *run = user;
    if (!run->options->print_ids) {
        print_text(run, text, n_bytes);
    } else if (id >= 0) {
        printf(run->printed_id ? ",%d" : "%d", (int)id);
        run->printed_id = run->line_open = true;
        tern_cli_flush();
    }
    return go_on();
}

/* The prompt's bytes from -p, -f, standard input; or the ids of --ids. */
static int gather(run_state *run, const char *model_path, bool from_stdin) {
    const run_options *options = run->options;
    const char *file = options->file;
    if (from_stdin) {
        if (file && strcmp(file, "-") != 0)
            return tern_cli_usage("run", "give either -f FILE or -, not both");
        file = "-";
    }
    if (options->system && !options->chat)
        return tern_cli_usage("run", "--system needs --chat");
    if (!options->ids)
        return tern_cli_read_prompt(options->prompt, file, is_demo(model_path) && !options->chat, &run->prompt);
    const char *bad;
    if (options->prompt || file || options->chat)
        return tern_cli_usage("run", "--ids cannot stand together with -p, -f, - or --chat");
    if (!tern_parse_int_list(options->ids, 0, INT32_MAX, &run->ids, &run->n_ids, &bad))
        return bad ? tern_cli_usage("run", "--ids: not a list of token ids, 1,2,3, at '%.20s'", bad)
                   : tern_cli_fail("out of memory for the ids");
    return 0;
}

/* Fill run->ids from the prompt's text. */
static int encode(run_state *run) {
    const run_options *options = run->options;
    const tern_tokenizer *tokenizer = tern_model_tokenizer(run->model);
    unsigned flags = (options->no_bos ? 0 : TERN_TOKENIZE_BOS) | (options->no_special ? 0 : TERN_TOKENIZE_SPECIAL);
    tern_error err;
    tern_status status;
    if (options->ids)
        return 0;
    if (options->chat) {
        tern_message messages[2];
        size_t n = 0;
        if (strlen(run->prompt.text) != run->prompt.size)
            return tern_cli_fail("the prompt holds a zero byte, which a chat message cannot");
        if (options->system)
            messages[n++] = (tern_message){"system", options->system};
        messages[n++] = (tern_message){"user", run->prompt.text};
        status =
            tern_chat_tokenize(tokenizer, messages, n, true, flags & TERN_TOKENIZE_BOS, &run->ids, &run->n_ids, &err);
    } else {
        status = tern_tokenize(tokenizer, run->prompt.text, run->prompt.size, flags, &run->ids, &run->n_ids, &err);
    }
    return status ? tern_cli_error(&err) : 0;
}

static int check_ids(const run_state *run) {
    tern_model_info info;
    tern_model_get_info(run->model, &info);
    uint32_t n_ctx = tern_session_n_ctx(run->session);
    for (size_t i = 0; i < run->n_ids; i++)
        if ((uint32_t)run->ids[i] >= info.vocab_size)
            return tern_cli_fail("token %d is not in the vocabulary of %u tokens", (int)run->ids[i],
                                 (unsigned)info.vocab_size);
    if (run->n_ids == 0)
        return tern_cli_fail("the prompt is empty: %s",
                             run->options->ids ? "give --ids at least one id"
                                               : "give some text, or leave out --no-bos to begin with BOS");
    if (run->n_ids > n_ctx)
        return tern_cli_fail("the prompt has %zu tokens, but the context holds %u: %s (the model's limit is %u tokens)",
                             run->n_ids, (unsigned)n_ctx,
                             run->n_ids <= info.n_ctx ? "give a larger one with -c, or a shorter prompt"
                                                      : "give a shorter prompt",
                             (unsigned)info.n_ctx);
    return 0;
}

static void print_stats(const run_state *run, const tern_generate_result *result, uint64_t seed) {
    static const char *const reasons[] = {
        [TERN_STOP_LENGTH] = "-n reached",         [TERN_STOP_END] = "the model ended its text",
        [TERN_STOP_STRING] = "a --stop text came", [TERN_STOP_CONTEXT] = "the context is full",
        [TERN_STOP_CANCELLED] = "interrupted",
    };
    char text[32];
    tern_model_info info;
    tern_model_get_info(run->model, &info);
    fprintf(stderr, "model:          %s, %s, %s, %d threads\n", info.name, info.weight_type, info.kernels,
            info.n_threads);
    fprintf(stderr, "load time:      %s\n", tern_format_seconds(text, run->load_seconds));
    tern_print_timing(result, 0);
    tern_print_model_stats(run->model);
    fprintf(stderr, "KV cache:       %s\n", tern_format_bytes(text, (double)tern_session_kv_bytes(run->session)));
    fprintf(stderr, "peak RSS:       %s\n", tern_format_bytes(text, (double)tern_peak_rss()));
    fprintf(stderr, "seed:           %llu\n", (unsigned long long)seed);
    fprintf(stderr, "stopped:        %s\n", reasons[result->reason]);
}

static int generate(run_state *run, const tern_generate_params *params) {
    tern_error err;
    tern_generate_result result = {0};
    tern_prefill prefill = {0};
    tern_status status = TERN_OK;
    bool evaluates = params->max_tokens != 0; /* else there is nothing to evaluate the prompt for */
    if (evaluates)
        status = tern_cli_prefill(run->session, run->chunk, run->ids, run->n_ids, &prefill, &err);
    if (status)
        return tern_cli_error(&err);
    /* after the progress line, which would wipe it from a terminal */
    if ((run->options->echo || run->prompt.is_default) && !run->options->print_ids && run->prompt.text)
        print_text(run, run->prompt.text, run->prompt.size);
    if (evaluates)
        status = tern_generate_ids(run->session, run->ids + prefill.n, run->n_ids - prefill.n, params, on_text, run,
                                   &result, &err);
    tern_cli_add_prefill(&result, &prefill);
    if (run->line_open)
        putchar('\n');
    if (status)
        return tern_cli_error(&err);
    tern_cli_flush();
    if (result.reason == TERN_STOP_CONTEXT)
        tern_cli_warn("the context of %u tokens is full, the text stops here",
                      (unsigned)tern_session_n_ctx(run->session));
    if (run->options->stats)
        print_stats(run, &result, params->sampler.seed);
    return tern_interrupted() ? tern_interrupt_status() : 0; /* a failed write is main's to tell */
}

static int load_and_generate(run_state *run, const char *model_path) {
    const run_options *options = run->options;
    tern_error err;
    tern_session_params session_params;
    tern_generate_params params = tern_generate_defaults();
    tern_logit_bias bias[TERN_STRING_LIST_MAX];
    params.max_tokens = options->n_tokens;
    params.ignore_end = options->ignore_eos;
    params.show_special = options->special;
    int status = tern_cli_session_params(&options->session, &session_params);
    if (!status)
        status = tern_cli_sampling(&options->sampling, "run", bias, &params);
    if (status)
        return status;

    run->chunk = session_params.chunk;
    tern_interrupt_watch(NULL);
    double start = tern_seconds();
    status = tern_cli_load_model(model_path, &options->model, &run->model);
    run->load_seconds = tern_seconds() - start;
    if (!status)
        status = tern_cli_check_bias("run", run->model, &params.sampler);
    if (!status)
        status = tern_cli_grammar(&options->sampling, "run", run->model, &params.sampler, &run->grammar);
    if (!status && tern_session_create(run->model, &session_params, &run->session, &err))
        status = tern_cli_error(&err);
    if (!status)
        tern_interrupt_watch(run->session);
    if (!status && options->n_tokens != 0) {
        status = encode(run);
        if (!status)
            status = check_ids(run);
    }
    return status ? status : generate(run, &params);
}

static int run_run(void *memory, const char *const *operands, size_t n_operands) {
    run_state run = {.options = memory};
    const char *model_path = NULL;
    bool from_stdin = false;
    for (size_t i = 0; i < n_operands; i++) {
        if (strcmp(operands[i], "-") == 0)
            from_stdin = true;
        else if (!model_path)
            model_path = operands[i];
        else
            return tern_cli_usage("run", "'%s' is one argument too many; a prompt goes behind -p", operands[i]);
    }
    int status = gather(&run, model_path, from_stdin);
    if (!status)
        status = load_and_generate(&run, model_path);
    tern_interrupt_unwatch();
    tern_session_free(run.session);
    tern_grammar_free(run.grammar);
    tern_model_free(run.model);
    free(run.prompt.text);
    free(run.ids);
    return status;
}

const tern_command tern_command_run = {
    .name = "run",
    .operands = "[MODEL] [-]",
    .summary = "generate text from a prompt",
    .example = "tern run                                  # a story by the model that is built in\n"
               "tern run model.gguf -p \"Once upon a time\" -n 100\n"
               "tern run model.gguf --chat -p \"Why is the sky blue?\" --temp 0\n"
               "make 2>&1 | tern run model.gguf -p \"Explain this error:\" -f -\n",
    .notes = "The text goes to standard output as it is made; with no prompt at all, standard input is\n"
             "read. One newline at the end of a file or of standard input is not part of the prompt.\n"
             "An empty prompt begins with BOS alone. Ctrl-C ends the text (exit status 130).\n",
    .max_operands = 2,
    .groups = {{"Prompt", prompt_table, 0},
               {"Output", output_table, 0},
               {"Sampling", tern_sampling_option_table, FIELD(sampling)},
               {"Model", tern_model_option_table, FIELD(model)},
               {"Threads and memory", tern_placement_option_table, FIELD(model.placement)},
               {"Session", tern_session_option_table, FIELD(session)}},
    .options_size = sizeof(run_options),
    .defaults = &defaults,
    .run = run_run,
};
