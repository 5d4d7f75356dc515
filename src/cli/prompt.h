/* Where a prompt comes from: -p, -f, standard input. */
#ifndef TERN_CLI_PROMPT_H
#define TERN_CLI_PROMPT_H

#include "cli/command.h"

typedef struct tern_prompt {
    char *text; /* [size], zero-terminated; free() */
    size_t size;
    bool is_default; /* nothing was given: the built-in model's own prompt */
} tern_prompt;

/* `text` (-p) and `file` (-f; "-" is standard input) may be NULL. Both: text,
 * then the file on a new line. Neither: standard input, unless it is a
 * terminal; for the built-in model (`demo`) an empty one or a terminal gives
 * the default prompt. One newline at the end of what is read is left out, so
 * that `echo text |` asks what -p text asks. 0 or the exit status. */
int tern_cli_read_prompt(const char *text, const char *file, bool demo, tern_prompt *prompt);

/* The bytes of -p or of the file, as they are; with neither, standard input.
 * *bytes is freed with free(). 0 or the exit status. */
int tern_cli_read_text(const char *command, const char *text, const char *file, char **bytes, size_t *n_bytes);

#endif
