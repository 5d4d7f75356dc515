/* What the measuring commands share. */
#ifndef TERN_CLI_MEASURE_H
#define TERN_CLI_MEASURE_H

#include <jansson.h>

#include "cli/command.h"

/* --kv-type and --chunk with float32 as the KV cache's default: for figures that are compared between
 * implementations; run and chat default to f16. Its struct is tern_session_options (n_ctx is left alone). */
extern const tern_option tern_exact_session_option_table[];
/* As tern_cli_session_params, with that default. */
int tern_cli_exact_session_params(const tern_session_options *options, tern_session_params *params);
const char *tern_kv_type_name(tern_kv_type type);

/* A JSON string of text from outside: bytes that are no UTF-8 become U+FFFD. NULL if text is NULL or there is no
 * memory; json_object_set_new() then fails, which tern_cli_print_json() reports. */
json_t *tern_json_text(const char *text);
/* Print the object on stdout and free it. The exit status; NULL is "out of memory". */
int tern_cli_print_json(json_t *object);

/* Text from outside on stdout and on one line: control characters and what is no UTF-8 as \\n or \\x1b. */
void tern_cli_put_escaped(const char *text, size_t n_bytes);

/* Where the end of a text [n_bytes] begins that is kept to measure on while the rest calibrates: its last quarter or,
 * if that is less, its last `most` bytes, from the beginning of a line on if one begins in the first half of that, else
 * from the beginning of a character. */
size_t tern_held_out_at(const char *text, size_t n_bytes, size_t most);

/* One line "label   value", labels padded to a common column. */
void tern_cli_row(const char *label, const char *format, ...) TERN_PRINTF(2, 3);
/* Counts for people: "2.41 G", "37.5 M", "512". */
const char *tern_format_count(char text[32], double count);

#endif
