/* Texts made of a record's fields, as task files have them (docs/EVAL.md): "Question: {question|strip}\nAnswer:". */
#ifndef TERN_EVAL_TEMPLATE_H
#define TERN_EVAL_TEMPLATE_H

#include <jansson.h>

#include "base/str.h"

/* The field that "choices.text.0" names: members of objects and places in arrays, from 0. NULL: there is none. */
const json_t *tern_record_field(const json_t *record, const char *path);

/* Append `text`, whose {path} and {path|filter|filter:argument} are replaced by fields that are strings or whole
 * numbers; {{ and }} are braces. TERN_ERR_FORMAT: a field is missing or neither, or the template is none. */
tern_status tern_record_render(const char *text, const json_t *record, tern_buffer *out, tern_error *err);

/* "name" or "name:argument" on *text, which is replaced. */
tern_status tern_text_filter(const char *what, tern_buffer *text, tern_error *err);

/* Characters of UTF-8; a byte that is none of it counts as one. */
size_t tern_count_characters(const char *text);
/* Length of the text without the white space at its end, as Unicode has it; and where it begins without that at its
 * beginning. */
size_t tern_text_end(const char *text, size_t n_bytes);
size_t tern_text_begin(const char *text, size_t n_bytes);

#endif
