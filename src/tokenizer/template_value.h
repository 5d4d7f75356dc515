/* Values of a chat template while it is rendered, and the strings among them:
 * each byte knows whether it came out of a message. */
#ifndef TERN_TOKENIZER_TEMPLATE_VALUE_H
#define TERN_TOKENIZER_TEMPLATE_VALUE_H

#include "tokenizer/template_ast.h"

typedef enum tern_value_kind {
    VALUE_UNDEFINED,
    VALUE_NONE,
    VALUE_BOOL,
    VALUE_INT,
    VALUE_STRING,
    VALUE_LIST,
    VALUE_MESSAGE,
    VALUE_LOOP,
} tern_value_kind;

typedef struct tern_string {
    const char *bytes;
    const uint8_t *taint; /* [size] 1: out of a message; NULL: all bytes are as `tainted` says */
    size_t size;
    bool tainted;
} tern_string;

typedef struct tern_value {
    tern_value_kind kind;
    union {
        int64_t number; /* BOOL, INT */
        tern_string string;
        struct {
            const struct tern_value *items;
            size_t n;
        } list;
        const tern_message *message;
        struct {
            size_t index, n;
        } loop;
    };
} tern_value;

typedef struct tern_variable {
    tern_view name;
    tern_value value;
} tern_variable;

/* One rendering. All memory comes from the arena and all work is charged against budgets, so that no template hangs or
 * eats the machine; the first failure stays in `status`. */
typedef struct tern_render {
    const tern_template_input *input;
    tern_arena arena;
    uint64_t memory_left, work_left;
    tern_variable *variables; /* a stack; inner scopes on top */
    size_t n_variables, capacity;
    size_t scope; /* where the innermost scope begins */
    tern_buffer *text, *taint;
    unsigned line; /* being evaluated */
    tern_error *err;
    tern_status status;
} tern_render;

/* Both always return false / an undefined value, so that failing is one statement. */
bool tern_render_fail(tern_render *r, tern_status status, const char *format, ...) TERN_PRINTF(3, 4);
tern_value tern_render_fail_value(tern_render *r, const char *format, ...) TERN_PRINTF(2, 3);
/* Account for work: one unit is about one step of the evaluator or 16 bytes handled. */
bool tern_render_work(tern_render *r, uint64_t units);
/* Memory of the rendering; NULL after a failure. */
void *tern_render_alloc(tern_render *r, size_t bytes);

const char *tern_value_name(const tern_value *value); /* "a string", for messages */
bool tern_value_true(const tern_value *value);
static inline tern_value tern_value_of(tern_value_kind kind, int64_t number) {
    return (tern_value){.kind = kind, {.number = number}};
}
static inline tern_value tern_value_string(const char *bytes, size_t size, bool tainted) {
    return (tern_value){.kind = VALUE_STRING, {.string = {.bytes = bytes, .size = size, .tainted = tainted}}};
}

/* What {{ value }} prints, as a string; lists and messages fail. */
bool tern_value_to_string(tern_render *r, const tern_value *value, tern_string *out);
tern_value tern_string_concat(tern_render *r, const tern_string *a, const tern_string *b);
/* Characters [from, to) with Python's rules for negative and missing ends. */
tern_value tern_string_slice(tern_render *r, const tern_string *string, const int64_t *from, const int64_t *to);
size_t tern_string_length(const tern_string *string);                  /* in characters */
void tern_string_write_taint(const tern_string *string, uint8_t *out); /* [size] */

/* Apply a filter; `args` [n_args] are its evaluated arguments. */
tern_value tern_apply_filter(tern_render *r, tern_filter filter, const tern_value *value, const tern_value *args,
                             size_t n_args);
/* Clamp slice ends to [0, n] as Python does. */
void tern_slice_ends(size_t n, const int64_t *from, const int64_t *to, size_t *start, size_t *end);

#endif
