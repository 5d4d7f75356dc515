/* The command `tern`: finds the command's row, parses its options, runs it and
 * turns the outcome into an exit status. */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/guard.h"
#include "cli/command.h"
#include "cli/help.h"

const tern_command *const tern_commands[] = {
    &tern_command_run,
    &tern_command_chat,
    &tern_command_serve,
    &tern_command_tokenize,
    &tern_command_bench,
    &tern_command_perplexity,
    &tern_command_eval,
    &tern_command_logits,
    &tern_command_inspect,
    &tern_command_synth,
    &tern_command_convert,
    &tern_command_prune,
    &tern_command_quantize,
    &tern_command_fit,
    &tern_command_pull,
    &tern_command_rag_add,
    &tern_command_rag_ask,
    &tern_command_rag_list,
    &tern_command_rag_remove,
    &tern_command_train_tokenizer,
    &tern_command_train_data,
    &tern_command_train_pretrain,
    &tern_command_train_continue,
    &tern_command_train_sft,
    &tern_command_train_dpo,
    &tern_command_train_lora,
    &tern_command_train_plot,
    NULL,
};

enum { PARSE_HELP = -1 };

/* The command whose name, one word or two ("train pretrain"), argv [argc] begins with, and how many words it took. */
static const tern_command *find_command(char **argv, int argc, int *n_words) {
    for (size_t i = 0; tern_commands[i]; i++) {
        const char *name = tern_commands[i]->name, *second = strchr(name, ' ');
        size_t length = strcspn(name, " ");
        if (strlen(argv[0]) != length || memcmp(argv[0], name, length) != 0)
            continue;
        *n_words = second ? 2 : 1;
        if (!second || (argc > 1 && strcmp(argv[1], second + 1) == 0))
            return tern_commands[i];
    }
    return NULL;
}

/* "tern train", "tern train --help", "tern train fly": argv[0] is the first word of several commands. */
static int dispatch_group(char **argv, int argc) {
    if (argc < 2) {
        tern_help_group(stderr, argv[0]);
        return TERN_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        tern_help_group(stdout, argv[0]);
        return 0;
    }
    return tern_cli_usage(argv[0], argv[1][0] == '-' ? "unknown option '%s'" : "unknown command '%s'", argv[1]);
}

/* The row for "--name..." (length bytes) or, with length 0, for `letter`; and
 * where in `settings` its value goes. */
static const tern_option *find_option(const tern_command *command, const char *name, size_t length, char letter,
                                      char *settings, void **field) {
    for (const tern_option_group *group = command->groups; group->options; group++)
        for (const tern_option *option = group->options; option->name; option++)
            if (length ? strlen(option->name) == length && memcmp(option->name, name, length) == 0
                       : option->letter && option->letter == letter) {
                *field = settings + group->offset + option->offset;
                return option;
            }
    return NULL;
}

/* The argument at argv[*at], which begins with '-', and its value. */
static int parse_option(const tern_command *command, char **argv, int argc, int *at, char *settings) {
    const char *argument = argv[*at], *value = NULL;
    bool is_long = argument[1] == '-';
    size_t length = is_long ? strcspn(argument + 2, "=") : 0;
    if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0)
        return PARSE_HELP;
    if (is_long && argument[2 + length])
        value = argument + 2 + length + 1;
    else if (!is_long && argument[2])
        value = argument + 2;

    void *field;
    const tern_option *option = find_option(command, argument + 2, length, argument[1], settings, &field);
    if (!option)
        return tern_cli_usage(command->name, "unknown option '%s'", argument);
    if (option->kind == TERN_OPTION_FLAG && value)
        return tern_cli_usage(command->name, "--%s takes no value", option->name);
    if (option->kind != TERN_OPTION_FLAG && !value) {
        if (*at + 1 >= argc)
            return tern_cli_usage(command->name, "--%s needs a value (%s)", option->name, option->argument);
        value = argv[++*at];
    }
    return tern_option_set(option, value, command->name, field);
}

/* Options into settings, the rest into operands [*n_operands]. 0, an exit
 * status or PARSE_HELP. */
static int parse(const tern_command *command, char **argv, int argc, char *settings, const char **operands,
                 size_t *n_operands) {
    bool options_end = false;
    *n_operands = 0;
    for (int i = 0; i < argc; i++) {
        if (!options_end && strcmp(argv[i], "--") == 0) {
            options_end = true;
        } else if (!options_end && argv[i][0] == '-' && argv[i][1]) { /* a bare "-" is an operand */
            int status = parse_option(command, argv, argc, &i, settings);
            if (status)
                return status;
        } else {
            if (!argv[i][0]) /* an unset variable of a script */
                return tern_cli_usage(command->name, "argument %zu is empty, wanted: %s", *n_operands + 1,
                                      command->operands);
            if (*n_operands == command->max_operands)
                return tern_cli_usage(command->name, "'%s' is one argument too many", argv[i]);
            operands[(*n_operands)++] = argv[i];
        }
    }
    if (*n_operands < command->min_operands)
        return tern_cli_usage(command->name, "too few arguments, wanted: %s", command->operands);
    return 0;
}

static int run_command(const tern_command *command, char **argv, int argc) {
    size_t n_operands;
    char *settings = malloc(command->options_size);
    const char **operands = calloc((size_t)argc + 1, sizeof *operands);
    int status = TERN_EXIT_FAILURE;
    if (!settings || !operands) {
        tern_cli_fail("out of memory");
    } else {
        memcpy(settings, command->defaults, command->options_size);
        status = parse(command, argv, argc, settings, operands, &n_operands);
        if (status == PARSE_HELP) {
            tern_help_command(stdout, command);
            status = 0;
        } else if (status == 0) {
            status = command->run(settings, operands, n_operands);
        }
    }
    free(operands);
    free(settings);
    return status;
}

/* Everything that was printed has to have arrived, or the status must say so.
 * A reader that went away (| head) has had what it wanted: that is no failure. */
static int finish_output(int status) {
    tern_cli_flush();
    int code = tern_cli_flush_errno();
    if (!code && !ferror(stdout))
        return status;
    struct pollfd reader = {.fd = STDOUT_FILENO};
    if (code == EPIPE || (poll(&reader, 1, 0) == 1 && reader.revents & POLLERR))
        return status;
    if (status == 0)
        status = tern_cli_fail("standard output: cannot write: %s", code ? strerror(code) : "some of it is lost");
    return status;
}

static int dispatch(int argc, char **argv) {
    if (argc < 2) {
        tern_help_overview(stderr);
        return TERN_EXIT_USAGE;
    }
    const char *first = argv[1];
    if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0) {
        tern_help_overview(stdout);
        return 0;
    }
    if (strcmp(first, "--version") == 0) {
        printf("tern %s\n", tern_version());
        return 0;
    }
    if (strcmp(first, "--list-commands") == 0) { /* for the completions */
        for (size_t i = 0; tern_commands[i]; i++)
            printf("%s\t%s\n", tern_commands[i]->name, tern_commands[i]->summary);
        return 0;
    }
    if (strcmp(first, "--list-options") == 0) {
        int n_words;
        const tern_command *command = argc > 2 ? find_command(argv + 2, argc - 2, &n_words) : NULL;
        if (!command)
            return tern_cli_usage(NULL, "--list-options needs the name of a command");
        tern_help_list_options(stdout, command);
        return 0;
    }
    int n_words;
    const tern_command *command = find_command(argv + 1, argc - 1, &n_words);
    if (command)
        return run_command(command, argv + 1 + n_words, argc - 1 - n_words);
    if (tern_help_is_group(first))
        return dispatch_group(argv + 1, argc - 1);
    return tern_cli_usage(NULL, first[0] == '-' ? "unknown option '%s'" : "unknown command '%s'", first);
}

/* A mapped file that somebody cut off, or a disk that fails: the page that is touched cannot be read. Nothing can go on
 * from here, and nothing is lost: files get their names when they are whole. */
static void on_bus_error(int signal_number, siginfo_t *info, void *context) {
    static const char line[] =
        "tern: a file that was read has become shorter, or its disk fails; begin again when it is "
        "whole (a training run goes on from its last saved state)\n";
    (void)context;
    if (info->si_code == BUS_ADRERR) {
        ssize_t ignored = write(STDERR_FILENO, line, sizeof line - 1);
        (void)ignored;
        _exit(TERN_EXIT_FAILURE);
    }
    signal(signal_number, SIG_DFL); /* anything else is an error of the program, and meets it again on return */
}

int main(int argc, char **argv) {
    struct sigaction bus_error = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    sigemptyset(&bus_error.sa_mask);
    sigaction(SIGBUS, &bus_error, NULL);
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is seen as a failed write instead */
    signal(SIGXFSZ, SIG_IGN); /* and so is a file that would exceed the limit on files' sizes */
    json_set_alloc_funcs(tern_guard_malloc, tern_guard_free);
    return finish_output(dispatch(argc, argv));
}
