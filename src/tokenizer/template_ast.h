/* The parsed form of a chat template; lives in the template's arena. */
#ifndef TERN_TOKENIZER_TEMPLATE_AST_H
#define TERN_TOKENIZER_TEMPLATE_AST_H

#include "base/mem.h"
#include "tokenizer/template.h"

typedef enum tern_expr_kind {
    EXPR_STRING, /* text */
    EXPR_INT,    /* number */
    EXPR_BOOL,   /* number */
    EXPR_NONE,
    EXPR_NAME,   /* text */
    EXPR_LIST,   /* items in args */
    EXPR_ATTR,   /* a . text */
    EXPR_ITEM,   /* a [ b ] */
    EXPR_SLICE,  /* a [ b : c ], b and c may be NULL */
    EXPR_FILTER, /* a | filter(args); number is a tern_filter */
    EXPR_TEST,   /* a is test; number is a tern_test */
    EXPR_RAISE,  /* raise_exception(a) */
    EXPR_NOT,
    EXPR_NEGATE,
    EXPR_BINARY, /* a op b; number is a tern_op */
    EXPR_IF,     /* a if b else c; c may be NULL */
} tern_expr_kind;

typedef enum tern_op {
    OP_OR,
    OP_AND,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_NOT_IN,
    OP_ADD,
    OP_SUB,
    OP_CONCAT,
    OP_MUL,
    OP_FLOORDIV,
    OP_MOD,
} tern_op;

typedef enum tern_filter {
    FILTER_CAPITALIZE,
    FILTER_TRIM,
    FILTER_UPPER,
    FILTER_LOWER,
    FILTER_LENGTH,
    FILTER_DEFAULT,
} tern_filter;

typedef enum tern_test { TEST_DEFINED, TEST_UNDEFINED, TEST_NONE, TEST_STRING } tern_test;

typedef struct tern_expr {
    tern_expr_kind kind;
    unsigned line, depth; /* depth of the tree below: bounds the recursion of the evaluator */
    int64_t number;
    tern_view text;
    struct tern_expr *a, *b, *c;
    struct tern_expr *args, *next_arg; /* a list of arguments or items */
} tern_expr;

typedef enum tern_stmt_kind { STMT_TEXT, STMT_OUTPUT, STMT_SET, STMT_FOR, STMT_IF } tern_stmt_kind;

typedef struct tern_stmt {
    tern_stmt_kind kind;
    unsigned line;
    tern_view text;  /* the text, or the name that is set or loops */
    tern_expr *expr; /* output, value, list or condition; NULL in a STMT_IF that is an else */
    struct tern_stmt *body;
    struct tern_stmt *otherwise; /* STMT_IF: the next elif or else */
    struct tern_stmt *next;
} tern_stmt;

struct tern_template {
    tern_arena arena;
    char *source; /* as given */
    tern_stmt *body;
};

/* Text without the Unicode white space (as Python sees it) at its left, right end. */
tern_view tern_strip_left(tern_view text);
tern_view tern_strip_right(tern_view text);

#endif
