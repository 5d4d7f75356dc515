/* The chat template: a subset of Jinja, parsed once and rendered many times
 * (from any thread). docs of the subset: template_parse.c. */
#ifndef TERN_TOKENIZER_TEMPLATE_H
#define TERN_TOKENIZER_TEMPLATE_H

#include "base/str.h"

typedef struct tern_template tern_template;

/* Errors name the line and what is not understood. */
tern_status tern_template_parse(const char *source, tern_template **parsed, tern_error *err);
void tern_template_free(tern_template *parsed);
const char *tern_template_source(const tern_template *parsed);

typedef struct tern_template_input {
    const tern_message *messages; /* [n_messages] */
    size_t n_messages;
    bool generation_prompt;
    tern_view bos_token, eos_token; /* bytes NULL: undefined */
} tern_template_input;

/* Render into text; taint gets one byte for each of text: 1 where it came out of a message, 0 where the template wrote
 * it. Steps, depth and memory are bounded: no template hangs or eats the machine. On failure both are empty. */
tern_status tern_template_render(const tern_template *parsed, const tern_template_input *input, tern_buffer *text,
                                 tern_buffer *taint, tern_error *err);

#endif
