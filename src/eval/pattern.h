/* Regular expressions over UTF-8 as Python's re has them: all of Unicode, lines end with \n alone. */
#ifndef TERN_EVAL_PATTERN_H
#define TERN_EVAL_PATTERN_H

#include "base/str.h"
#include "tern/tern.h"

enum {
    TERN_PATTERN_CASELESS = 1,
    TERN_PATTERN_MULTILINE = 2,    /* ^ and $ at every line */
    TERN_PATTERN_LITERAL = 4,      /* no expression: the text itself */
    TERN_PATTERN_AT_BEGINNING = 8, /* only where the text begins */
    TERN_PATTERN_AT_END = 16,      /* only what ends where the text ends */
};

typedef struct tern_span {
    size_t begin, end; /* bytes */
} tern_span;

typedef struct tern_spans {
    tern_span *at;
    size_t n, capacity;
} tern_spans; /* zero-initialised is empty; at is freed with free() */

/* The first `most` matches in text [n], one behind the other, added to `spans` (NULL: only counted) -> *count.
 * TERN_ERR_FORMAT: no expression; TERN_ERR_UNSUPPORTED: one that needs too many steps on this text. */
tern_status tern_pattern_find(const char *pattern, unsigned flags, const char *text, size_t n, size_t most,
                              tern_spans *spans, size_t *count, tern_error *err);
/* Replace every match in *text by `with`, in which $1 is the first group. */
tern_status tern_pattern_replace(const char *pattern, const char *with, tern_buffer *text, tern_error *err);

#endif
