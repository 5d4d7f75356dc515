/* What the two halves of the chat template's parser share. */
#ifndef TERN_TOKENIZER_TEMPLATE_PARSER_H
#define TERN_TOKENIZER_TEMPLATE_PARSER_H

#include "tokenizer/template_ast.h"
#include "tokenizer/template_lex.h"

#define TERN_TEMPLATE_MAX_DEPTH 60 /* of nested brackets and blocks: bounds the recursion of parser and evaluator */

typedef struct tern_parser {
    tern_lexer lex;
    unsigned depth;
    size_t text_from;  /* where the text after the last tag begins */
    bool line_started; /* that text begins a line */
} tern_parser;

/* Both record the failure and return NULL: "WHAT, not CURRENT TOKEN" and "WHAT NAME is not supported". */
void *tern_parser_syntax(tern_parser *p, const char *what);
void *tern_parser_unsupported(tern_parser *p, const char *what, tern_view name);
void *tern_parser_no_memory(tern_parser *p);

static inline bool tern_parser_is_op(const tern_parser *p, const char *text) {
    return tern_lexer_is(&p->lex, LEX_OP, text);
}
static inline bool tern_parser_is_name(const tern_parser *p, const char *text) {
    return tern_lexer_is(&p->lex, LEX_NAME, text);
}
/* Is the current name one of the words of the language, which no variable can have? */
bool tern_parser_is_keyword(const tern_parser *p);

/* The expression at the current token; what follows it is current afterwards. NULL: failed. */
tern_expr *tern_parse_expr(tern_parser *p);
/* The same without "a if b else c" at the outermost level: the list of a for loop, the condition of an if. */
tern_expr *tern_parse_or(tern_parser *p);

#endif
