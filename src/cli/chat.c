/* tern chat: options and the loop; see chat.h for the rest. */
#include "cli/chat.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/chat_input.h"

typedef struct chat_options {
    const char *system;
    int64_t n_tokens;
    bool stats;
    tern_sampling_options sampling;
    tern_model_options model;
    tern_session_options session;
} chat_options;

#define FIELD(name) offsetof(chat_options, name)

static const tern_option chat_table[] = {
    {"system", 0, TERN_OPTION_STRING, FIELD(system), "TEXT", "the system message", 0, 0, NULL, NULL},
    {"tokens", 'n', TERN_OPTION_INT, FIELD(n_tokens), "N",
     "an answer has at most N tokens; -1: until the model\nends it or the context is full", -1, INT32_MAX, NULL, NULL},
    {"stats", 0, TERN_OPTION_FLAG, FIELD(stats), NULL, "/stats after every answer", 0, 0, NULL, NULL},
    {0},
};

static const chat_options defaults = {
    .n_tokens = -1,
    .sampling = TERN_SAMPLING_OPTIONS_DEFAULT,
    .session = TERN_SESSION_OPTIONS_DEFAULT,
};

static void greet(const tern_chat *chat) {
    tern_model_info info;
    tern_model_get_info(chat->model, &info);
    fprintf(stderr, "%s, context of %u tokens. /help lists the commands, Ctrl-D leaves.\n", info.name,
            (unsigned)tern_session_n_ctx(chat->session));
}

static bool is_blank(const char *line, size_t n_bytes) { return strspn(line, " \t") == n_bytes; }

/* The conversation, until the input ends. Returns the exit status. */
static int converse(tern_chat *chat, tern_line_input *input, bool show_stats) {
    bool terminal = tern_line_input_is_terminal(input);
    if (terminal)
        greet(chat);
    while (!ferror(stdout)) {
        const char *line;
        size_t n_bytes;
        /* nothing to stop while waiting; on a terminal Ctrl-C becomes a key, and one that is early is lost, not fatal
         */
        tern_interrupt_unwatch();
        if (terminal)
            signal(SIGINT, SIG_IGN);
        switch (tern_line_input_read(input, &line, &n_bytes)) {
        case TERN_LINE_END:
            return 0;
        case TERN_LINE_ERROR:
            return tern_cli_fail("standard input: cannot read: %s", strerror(errno));
        case TERN_LINE_INTERRUPT:
            if (n_bytes == 0)
                fputs("(Ctrl-D or /quit leaves)\n", stderr);
            continue;
        case TERN_LINE_OK:
            break;
        }
        if (is_blank(line, n_bytes))
            continue;
        bool escaped = line[0] == '/' && line[1] == '/';
        if (line[0] == '/' && !escaped) {
            if (!tern_chat_command(chat, line))
                return 0;
            continue;
        }
        tern_chat_turn(chat, line + escaped, n_bytes - escaped);
        if (show_stats)
            tern_chat_print_stats(chat);
        if (tern_interrupt_ends())
            return tern_interrupt_status();
    }
    return 0; /* main tells of a failed write */
}

static int open_chat(tern_chat *chat, const chat_options *options, const char *model_path,
                     tern_logit_bias bias[TERN_STRING_LIST_MAX]) {
    tern_error err;
    tern_session_params session_params;
    int status = tern_cli_session_params(&options->session, &session_params);
    if (!status)
        status = tern_cli_sampling(&options->sampling, "chat", bias, &chat->params);
    if (status)
        return status;
    chat->seed = chat->params.sampler.seed;
    chat->chunk = session_params.chunk;
    if (options->system && !tern_history_set_system(&chat->history, options->system))
        return tern_cli_fail("out of memory");
    tern_interrupt_watch(NULL);
    double start = tern_seconds();
    status = tern_cli_load_model(model_path, &options->model, &chat->model);
    chat->load_seconds = tern_seconds() - start;
    if (!status)
        status = tern_cli_check_bias("chat", chat->model, &chat->params.sampler);
    if (!status)
        status = tern_cli_grammar(&options->sampling, "chat", chat->model, &chat->params.sampler, &chat->grammar);
    if (!status && tern_session_create(chat->model, &session_params, &chat->session, &err))
        status = tern_cli_error(&err);
    return status;
}

static int run_chat(void *memory, const char *const *operands, size_t n_operands) {
    const chat_options *options = memory;
    tern_logit_bias bias[TERN_STRING_LIST_MAX];
    tern_line_input *input = NULL;
    tern_chat chat = {.params = tern_generate_defaults()};
    chat.params.max_tokens = options->n_tokens;
    int status = open_chat(&chat, options, n_operands ? operands[0] : NULL, bias);
    if (!status) {
        input = tern_line_input_open();
        status = input ? converse(&chat, input, options->stats) : tern_cli_fail("out of memory for the line editor");
    }
    tern_line_input_close(input);
    tern_interrupt_unwatch();
    tern_session_free(chat.session);
    tern_grammar_free(chat.grammar);
    tern_model_free(chat.model);
    tern_history_free(&chat.history);
    free(chat.answer);
    return status;
}

const tern_command tern_command_chat = {
    .name = "chat",
    .operands = "[MODEL]",
    .summary = "talk with a model",
    .example = "tern chat model.gguf --system \"Answer in one sentence.\"\n"
               "printf 'Hello!\\nWho are you?\\n' | tern chat model.gguf --temp 0\n",
    .notes = "One line is one message. /help lists the commands: /reset /system /save /load /stats /quit.\n"
             "Ctrl-C stops an answer, Ctrl-D leaves. When the conversation outgrows the context, its\n"
             "oldest turns are forgotten. Typed lines are kept in $XDG_STATE_HOME/tern/chat_history\n"
             "(~/.local/state/tern/chat_history).\n",
    .max_operands = 1,
    .groups = {{"Chat", chat_table, 0},
               {"Sampling", tern_sampling_option_table, FIELD(sampling)},
               {"Model", tern_model_option_table, FIELD(model)},
               {"Threads and memory", tern_placement_option_table, FIELD(model.placement)},
               {"Session", tern_session_option_table, FIELD(session)}},
    .options_size = sizeof(chat_options),
    .defaults = &defaults,
    .run = run_chat,
};
