/* /help and its like. They answer on stderr: standard output is the model's. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/chat.h"

typedef struct chat_command {
    const char *name, *argument, *help;
    bool (*run)(tern_chat *chat, const char *argument); /* false: the chat is over */
} chat_command;

static bool help(tern_chat *chat, const char *argument);

static bool reset(tern_chat *chat, const char *argument) {
    (void)argument;
    tern_error err;
    tern_history_reset(&chat->history);
    if (tern_session_truncate(chat->session, 0, &err))
        tern_cli_error(&err);
    else
        fputs("The conversation is forgotten.\n", stderr);
    return true;
}

static bool set_system(tern_chat *chat, const char *argument) {
    const char *system = tern_history_system(&chat->history);
    if (!*argument)
        fprintf(stderr, "%s\n", system ? system : "There is no system message.");
    else if (!tern_history_set_system(&chat->history, strcmp(argument, "-") == 0 ? NULL : argument))
        tern_cli_fail("out of memory: the system message is as before");
    return true;
}

static bool save(tern_chat *chat, const char *argument) {
    tern_error err;
    tern_model_info info;
    tern_model_get_info(chat->model, &info);
    if (!*argument)
        tern_cli_fail("/save needs a file's name");
    else if (tern_history_save(&chat->history, info.name, argument, &err))
        tern_cli_error(&err);
    else
        fprintf(stderr, "%s: saved %zu messages.\n", argument, chat->history.count);
    return true;
}

static bool load(tern_chat *chat, const char *argument) {
    tern_error err;
    if (!*argument)
        tern_cli_fail("/load needs a file's name");
    else if (tern_history_load(&chat->history, argument, &err))
        tern_cli_error(&err);
    else
        fprintf(stderr, "%s: loaded %zu messages.\n", argument, chat->history.count);
    return true;
}

static bool stats(tern_chat *chat, const char *argument) {
    (void)argument;
    tern_chat_print_stats(chat);
    return true;
}

static bool quit(tern_chat *chat, const char *argument) {
    (void)chat, (void)argument;
    return false;
}

static const chat_command commands[] = {
    {"/help", "", "this list", help},
    {"/reset", "", "forget the conversation, keep the system message", reset},
    {"/system", "[TEXT]", "set the system message; - removes it; without TEXT: show it", set_system},
    {"/save", "FILE", "write the conversation as JSON", save},
    {"/load", "FILE", "continue a conversation from such a file", load},
    {"/stats", "", "tokens, times, memory", stats},
    {"/quit", "", "leave (also Ctrl-D)", quit},
};

static bool help(tern_chat *chat, const char *argument) {
    (void)chat, (void)argument;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(stderr, "  %-8s %-7s %s\n", commands[i].name, commands[i].argument, commands[i].help);
    fputs("Ctrl-C stops an answer. A message that begins with / is written with two, //.\n", stderr);
    return true;
}

void tern_chat_print_stats(const tern_chat *chat) {
    char text[32];
    size_t n_messages = chat->history.count - (tern_history_system(&chat->history) ? 1 : 0);
    fprintf(stderr, "conversation:   %zu messages\n", n_messages);
    fprintf(stderr, "context:        %u of %u tokens\n", (unsigned)tern_session_n_past(chat->session),
            (unsigned)tern_session_n_ctx(chat->session));
    fprintf(stderr, "load time:      %s\n", tern_format_seconds(text, chat->load_seconds));
    if (chat->n_answers)
        tern_print_timing(&chat->last, chat->last_reused);
    fprintf(stderr, "KV cache:       %s\n", tern_format_bytes(text, (double)tern_session_kv_bytes(chat->session)));
    fprintf(stderr, "peak RSS:       %s\n", tern_format_bytes(text, (double)tern_peak_rss()));
    fprintf(stderr, "seed:           %llu\n", (unsigned long long)chat->seed);
}

bool tern_chat_command(tern_chat *chat, const char *line) {
    size_t length = strcspn(line, " \t");
    char *argument = strdup(line + length + strspn(line + length, " \t"));
    bool go_on = true, known = false;
    if (!argument) {
        tern_cli_fail("out of memory");
        return true;
    }
    for (size_t n = strlen(argument); n && (argument[n - 1] == ' ' || argument[n - 1] == '\t');)
        argument[--n] = 0;
    for (size_t i = 0; i < sizeof commands / sizeof *commands && !known; i++)
        if (strlen(commands[i].name) == length && memcmp(commands[i].name, line, length) == 0) {
            known = true;
            go_on = commands[i].run(chat, argument);
        }
    if (!known)
        tern_cli_fail("unknown command '%.*s': /help lists them", (int)(length > 60 ? 60 : length), line);
    free(argument);
    return go_on;
}
