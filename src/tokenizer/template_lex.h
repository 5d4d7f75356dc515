/* The tokens inside a tag of a chat template. */
#ifndef TERN_TOKENIZER_TEMPLATE_LEX_H
#define TERN_TOKENIZER_TEMPLATE_LEX_H

#include "base/mem.h"
#include "base/str.h"

typedef enum tern_lexeme_kind { LEX_END, LEX_NAME, LEX_STRING, LEX_INT, LEX_OP } tern_lexeme_kind;

typedef struct tern_lexeme {
    tern_lexeme_kind kind;
    tern_view text; /* a string's value, else as written; LEX_END: the closing mark */
    int64_t number;
} tern_lexeme;

typedef struct tern_lexer {
    const char *source; /* newlines are \n */
    size_t size, pos;
    unsigned line; /* of `line_pos` */
    size_t line_pos;
    bool in_block;   /* the tag ends in %} and not in }} */
    tern_lexeme now; /* the current token */
    tern_arena *arena;
    tern_error *err;
    tern_status status;
} tern_lexer;

/* Line of the current position. */
unsigned tern_lexer_line(tern_lexer *lexer);
/* Record the first failure, with the line; always returns false. */
bool tern_lexer_fail(tern_lexer *lexer, tern_status status, const char *format, ...) TERN_PRINTF(3, 4);
/* Read the next token into `now`. */
bool tern_lexer_next(tern_lexer *lexer);

static inline bool tern_lexer_is(const tern_lexer *lexer, tern_lexeme_kind kind, const char *text) {
    return lexer->now.kind == kind && tern_view_equal(lexer->now.text, tern_view_of(text));
}

#endif
