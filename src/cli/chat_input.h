/* The user's lines: edited with history on a terminal, plain otherwise. */
#ifndef TERN_CLI_CHAT_INPUT_H
#define TERN_CLI_CHAT_INPUT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct tern_line_input tern_line_input;

typedef enum tern_line_status {
    TERN_LINE_OK,
    TERN_LINE_END,       /* end of the input (Ctrl-D) */
    TERN_LINE_INTERRUPT, /* Ctrl-C on the terminal: *line is what had been typed */
    TERN_LINE_ERROR,     /* a read failed; errno says why */
} tern_line_status;

/* NULL: no memory. */
tern_line_input *tern_line_input_open(void);
/* Saves the line history; a failure is a warning. */
void tern_line_input_close(tern_line_input *input);
bool tern_line_input_is_terminal(const tern_line_input *input);
/* The next line without its newline: *line [*n_bytes], zero-terminated, belongs
 * to the input until the next call. */
tern_line_status tern_line_input_read(tern_line_input *input, const char **line, size_t *n_bytes);

#endif
