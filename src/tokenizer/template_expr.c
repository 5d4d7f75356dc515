/* Expressions of the chat template: precedence climbing in Jinja's order. The subset: template_parse.c. */
#include "tokenizer/template_parser.h"

#define MAX_TREE_DEPTH 300 /* of an expression, a + b + c ... included: bounds the evaluator's recursion */
#define MAX_PIECES 64      /* of a string written in pieces, which are joined one by one */

void *tern_parser_syntax(tern_parser *p, const char *what) {
    tern_view have = p->lex.now.text;
    tern_lexer_fail(&p->lex, TERN_ERR_FORMAT, "%s, not \"%.*s\"", what, (int)(have.size < 40 ? have.size : 40),
                    have.bytes);
    return NULL;
}

void *tern_parser_unsupported(tern_parser *p, const char *what, tern_view name) {
    tern_lexer_fail(&p->lex, TERN_ERR_UNSUPPORTED, "%s \"%.*s\" is not supported", what,
                    (int)(name.size < 40 ? name.size : 40), name.bytes);
    return NULL;
}

void *tern_parser_no_memory(tern_parser *p) {
    p->lex.status = tern_fail_memory(p->lex.err, "the chat template");
    return NULL;
}

static bool expect_op(tern_parser *p, const char *text) {
    if (tern_parser_is_op(p, text))
        return tern_lexer_next(&p->lex);
    char what[32] = "expected ";
    strncat(what, text, 8);
    tern_parser_syntax(p, what);
    return false;
}

static unsigned depth_of(const tern_expr *expr) { return expr ? expr->depth : 0; }

/* A node over its children; NULL if there is no memory or the tree is too deep. */
static tern_expr *make_expr(tern_parser *p, tern_expr_kind kind, tern_expr *a, tern_expr *b, tern_expr *c) {
    tern_expr *expr = tern_arena_alloc(p->lex.arena, sizeof *expr);
    if (!expr)
        return tern_parser_no_memory(p);
    unsigned depth = depth_of(a);
    depth = depth_of(b) > depth ? depth_of(b) : depth;
    depth = depth_of(c) > depth ? depth_of(c) : depth;
    *expr = (tern_expr){.kind = kind, .line = tern_lexer_line(&p->lex), .depth = depth + 1, .a = a, .b = b, .c = c};
    if (expr->depth > MAX_TREE_DEPTH) {
        tern_lexer_fail(&p->lex, TERN_ERR_UNSUPPORTED, "an expression is too long");
        return NULL;
    }
    return expr;
}

/* Arguments or items up to the closing mark, which is consumed. */
static bool parse_list(tern_parser *p, const char *close, tern_expr *owner) {
    tern_expr **tail = &owner->args;
    while (!tern_parser_is_op(p, close)) {
        tern_expr *item = tern_parse_expr(p);
        if (!item)
            return false;
        *tail = item;
        tail = &item->next_arg;
        owner->number++;
        if (item->depth >= owner->depth)
            owner->depth = item->depth + 1;
        if (!tern_parser_is_op(p, close) && !expect_op(p, ","))
            return false;
    }
    return tern_lexer_next(&p->lex);
}

bool tern_parser_is_keyword(const tern_parser *p) {
    static const char *const words[] = {"if", "else", "elif", "in", "not", "and", "or", "is", "for", "set"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (tern_parser_is_name(p, words[i]))
            return true;
    return false;
}

static tern_expr *parse_name(tern_parser *p) {
    static const struct {
        const char *name;
        tern_expr_kind kind;
        int number;
    } constants[] = {{"true", EXPR_BOOL, 1},  {"True", EXPR_BOOL, 1}, {"false", EXPR_BOOL, 0},
                     {"False", EXPR_BOOL, 0}, {"none", EXPR_NONE, 0}, {"None", EXPR_NONE, 0}};
    if (tern_parser_is_keyword(p))
        return tern_parser_syntax(p, "expected a value");
    tern_expr *expr = make_expr(p, EXPR_NAME, NULL, NULL, NULL);
    if (!expr)
        return NULL;
    expr->text = p->lex.now.text;
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (tern_parser_is_name(p, constants[i].name)) {
            expr->kind = constants[i].kind;
            expr->number = constants[i].number;
        }
    return tern_lexer_next(&p->lex) ? expr : NULL;
}

/* 'a' 'b' is one string. */
static tern_expr *parse_string(tern_parser *p) {
    tern_expr *expr = make_expr(p, EXPR_STRING, NULL, NULL, NULL);
    if (!expr)
        return NULL;
    expr->text = p->lex.now.text;
    for (int pieces = 1; tern_lexer_next(&p->lex); pieces++) {
        if (p->lex.now.kind != LEX_STRING)
            return expr;
        if (pieces == MAX_PIECES)
            return tern_parser_unsupported(p, "a string of so many pieces, the last", p->lex.now.text);
        size_t size = expr->text.size + p->lex.now.text.size;
        char *joined = tern_arena_alloc(p->lex.arena, size + 1);
        if (!joined)
            return tern_parser_no_memory(p);
        memcpy(joined, expr->text.bytes, expr->text.size);
        memcpy(joined + expr->text.size, p->lex.now.text.bytes, p->lex.now.text.size);
        expr->text = (tern_view){joined, size};
    }
    return NULL;
}

static tern_expr *parse_primary(tern_parser *p) {
    tern_expr *expr;
    switch (p->lex.now.kind) {
    case LEX_NAME:
        return parse_name(p);
    case LEX_STRING:
        return parse_string(p);
    case LEX_INT:
        expr = make_expr(p, EXPR_INT, NULL, NULL, NULL);
        if (!expr)
            return NULL;
        expr->number = p->lex.now.number;
        return tern_lexer_next(&p->lex) ? expr : NULL;
    default:
        break;
    }
    if (tern_parser_is_op(p, "(")) {
        if (!tern_lexer_next(&p->lex))
            return NULL;
        expr = tern_parse_expr(p);
        return expr && expect_op(p, ")") ? expr : NULL;
    }
    if (tern_parser_is_op(p, "[")) {
        expr = make_expr(p, EXPR_LIST, NULL, NULL, NULL);
        return expr && tern_lexer_next(&p->lex) && parse_list(p, "]", expr) ? expr : NULL;
    }
    if (tern_parser_is_op(p, "{"))
        return tern_parser_unsupported(p, "a dictionary", p->lex.now.text);
    return tern_parser_syntax(p, "expected a value");
}

/* After "[": an item or a slice. */
static tern_expr *parse_subscript(tern_parser *p, tern_expr *of) {
    tern_expr *from = NULL, *to = NULL;
    if (!tern_parser_is_op(p, ":")) {
        from = tern_parse_expr(p);
        if (!from)
            return NULL;
        if (tern_parser_is_op(p, "]"))
            return tern_lexer_next(&p->lex) ? make_expr(p, EXPR_ITEM, of, from, NULL) : NULL;
    }
    if (!expect_op(p, ":"))
        return NULL;
    if (tern_parser_is_op(p, ":"))
        return tern_parser_unsupported(p, "a slice with a step", p->lex.now.text);
    if (!tern_parser_is_op(p, "]")) {
        to = tern_parse_expr(p);
        if (!to)
            return NULL;
        if (tern_parser_is_op(p, ":"))
            return tern_parser_unsupported(p, "a slice with a step", p->lex.now.text);
    }
    return expect_op(p, "]") ? make_expr(p, EXPR_SLICE, of, from, to) : NULL;
}

static const struct {
    const char *name;
    tern_filter filter;
    unsigned min_args, max_args;
} filters[] = {{"capitalize", FILTER_CAPITALIZE, 0, 0}, {"trim", FILTER_TRIM, 0, 0},
               {"upper", FILTER_UPPER, 0, 0},           {"lower", FILTER_LOWER, 0, 0},
               {"length", FILTER_LENGTH, 0, 0},         {"default", FILTER_DEFAULT, 1, 2}};

static const struct {
    const char *name;
    tern_filter filter;
} methods[] = {
    {"strip", FILTER_TRIM}, {"upper", FILTER_UPPER}, {"lower", FILTER_LOWER}, {"capitalize", FILTER_CAPITALIZE}};

static const struct {
    const char *name;
    tern_test test;
} tests[] = {{"defined", TEST_DEFINED}, {"undefined", TEST_UNDEFINED}, {"none", TEST_NONE}, {"string", TEST_STRING}};

/* After "(": raise_exception(e), or a string method that is a filter under another name. */
static tern_expr *parse_call(tern_parser *p, tern_expr *function) {
    if (function->kind == EXPR_NAME && tern_view_equal(function->text, tern_view_of("raise_exception"))) {
        tern_expr *message = tern_parse_expr(p);
        return message && expect_op(p, ")") ? make_expr(p, EXPR_RAISE, message, NULL, NULL) : NULL;
    }
    for (size_t i = 0; function->kind == EXPR_ATTR && i < sizeof methods / sizeof *methods; i++) {
        if (!tern_view_equal(function->text, tern_view_of(methods[i].name)))
            continue;
        tern_expr *expr = make_expr(p, EXPR_FILTER, function->a, NULL, NULL);
        if (!expr || !expect_op(p, ")"))
            return NULL;
        expr->number = methods[i].filter;
        return expr;
    }
    return tern_parser_unsupported(p, function->kind == EXPR_ATTR ? "method" : "function", function->text);
}

static tern_expr *parse_postfix(tern_parser *p, tern_expr *expr) {
    while (expr) {
        bool dot = tern_parser_is_op(p, "."), bracket = tern_parser_is_op(p, "["), call = tern_parser_is_op(p, "(");
        if (!dot && !bracket && !call)
            break;
        if (!tern_lexer_next(&p->lex))
            return NULL;
        if (dot) {
            if (p->lex.now.kind != LEX_NAME)
                return tern_parser_syntax(p, "expected a name after the dot");
            expr = make_expr(p, EXPR_ATTR, expr, NULL, NULL);
            if (expr)
                expr->text = p->lex.now.text;
            if (!expr || !tern_lexer_next(&p->lex))
                return NULL;
        } else {
            expr = bracket ? parse_subscript(p, expr) : parse_call(p, expr);
        }
    }
    return expr;
}

/* After "|". */
static tern_expr *parse_filter(tern_parser *p, tern_expr *of) {
    if (p->lex.now.kind != LEX_NAME)
        return tern_parser_syntax(p, "expected a filter");
    tern_view name = p->lex.now.text;
    size_t row = 0, n_rows = sizeof filters / sizeof *filters;
    while (row < n_rows && !tern_view_equal(name, tern_view_of(filters[row].name)))
        row++;
    if (row == n_rows)
        return tern_parser_unsupported(p, "filter", name);
    tern_expr *expr = make_expr(p, EXPR_FILTER, of, NULL, NULL);
    if (!expr || !tern_lexer_next(&p->lex))
        return NULL;
    if (tern_parser_is_op(p, "(") && (!tern_lexer_next(&p->lex) || !parse_list(p, ")", expr)))
        return NULL;
    if (expr->number < filters[row].min_args || expr->number > filters[row].max_args)
        return tern_parser_unsupported(p, "this number of arguments of filter", name);
    expr->number = filters[row].filter;
    return expr;
}

/* After "is". */
static tern_expr *parse_test(tern_parser *p, tern_expr *of) {
    bool negated = tern_parser_is_name(p, "not");
    if (negated && !tern_lexer_next(&p->lex))
        return NULL;
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        if (!tern_parser_is_name(p, tests[i].name))
            continue;
        tern_expr *expr = make_expr(p, EXPR_TEST, of, NULL, NULL);
        if (!expr || !tern_lexer_next(&p->lex))
            return NULL;
        expr->number = tests[i].test;
        return negated ? make_expr(p, EXPR_NOT, expr, NULL, NULL) : expr;
    }
    return tern_parser_unsupported(p, "test", p->lex.now.text);
}

static tern_expr *parse_unary(tern_parser *p, bool with_filter) {
    tern_expr *expr;
    if (tern_parser_is_op(p, "-")) {
        if (++p->depth > TERN_TEMPLATE_MAX_DEPTH)
            return tern_parser_unsupported(p, "this depth of", p->lex.now.text);
        expr = tern_lexer_next(&p->lex) ? parse_unary(p, false) : NULL;
        p->depth--;
        expr = expr ? make_expr(p, EXPR_NEGATE, expr, NULL, NULL) : NULL;
    } else {
        expr = parse_primary(p);
    }
    expr = parse_postfix(p, expr);
    while (expr && with_filter) { /* filters and tests bind tighter than any operator */
        bool filter = tern_parser_is_op(p, "|");
        if (!filter && !tern_parser_is_name(p, "is"))
            break;
        expr = !tern_lexer_next(&p->lex) ? NULL : filter ? parse_filter(p, expr) : parse_test(p, expr);
    }
    return expr;
}

enum { LEVEL_OR, LEVEL_AND, LEVEL_NOT, LEVEL_COMPARE, LEVEL_ADD, LEVEL_CONCAT, LEVEL_MUL, LEVEL_UNARY };

static const struct {
    const char *text;
    tern_lexeme_kind kind;
    int level;
    tern_op op;
} binary[] = {
    {"or", LEX_NAME, LEVEL_OR, OP_OR},      {"and", LEX_NAME, LEVEL_AND, OP_AND},
    {"==", LEX_OP, LEVEL_COMPARE, OP_EQ},   {"!=", LEX_OP, LEVEL_COMPARE, OP_NE},
    {"<", LEX_OP, LEVEL_COMPARE, OP_LT},    {"<=", LEX_OP, LEVEL_COMPARE, OP_LE},
    {">", LEX_OP, LEVEL_COMPARE, OP_GT},    {">=", LEX_OP, LEVEL_COMPARE, OP_GE},
    {"in", LEX_NAME, LEVEL_COMPARE, OP_IN}, {"not", LEX_NAME, LEVEL_COMPARE, OP_NOT_IN},
    {"+", LEX_OP, LEVEL_ADD, OP_ADD},       {"-", LEX_OP, LEVEL_ADD, OP_SUB},
    {"~", LEX_OP, LEVEL_CONCAT, OP_CONCAT}, {"*", LEX_OP, LEVEL_MUL, OP_MUL},
    {"//", LEX_OP, LEVEL_MUL, OP_FLOORDIV}, {"%", LEX_OP, LEVEL_MUL, OP_MOD},
};

/* The row of the current token if it is an operator of that level, else -1. */
static int binary_row(tern_parser *p, int level) {
    for (size_t i = 0; i < sizeof binary / sizeof *binary; i++)
        if (binary[i].level == level && tern_lexer_is(&p->lex, binary[i].kind, binary[i].text))
            return (int)i;
    return -1;
}

static tern_expr *parse_level(tern_parser *p, int level) {
    if (level == LEVEL_UNARY)
        return parse_unary(p, true);
    if (level == LEVEL_NOT) {
        if (!tern_parser_is_name(p, "not"))
            return parse_level(p, level + 1);
        if (++p->depth > TERN_TEMPLATE_MAX_DEPTH)
            return tern_parser_unsupported(p, "this depth of", p->lex.now.text);
        tern_expr *expr = tern_lexer_next(&p->lex) ? parse_level(p, level) : NULL;
        p->depth--;
        return expr ? make_expr(p, EXPR_NOT, expr, NULL, NULL) : NULL;
    }
    tern_expr *left = parse_level(p, level + 1);
    int row;
    while (left && (row = binary_row(p, level)) >= 0) {
        if (!tern_lexer_next(&p->lex))
            return NULL;
        if (binary[row].op == OP_NOT_IN) {
            if (!tern_parser_is_name(p, "in"))
                return tern_parser_syntax(p, "expected \"in\" after \"not\"");
            if (!tern_lexer_next(&p->lex))
                return NULL;
        }
        tern_expr *right = parse_level(p, level + 1);
        left = right ? make_expr(p, EXPR_BINARY, left, right, NULL) : NULL;
        if (left)
            left->number = binary[row].op;
        if (left && level == LEVEL_COMPARE && binary_row(p, level) >= 0)
            return tern_parser_unsupported(p, "a chain of comparisons with", p->lex.now.text);
    }
    return left;
}

tern_expr *tern_parse_or(tern_parser *p) { return parse_level(p, LEVEL_OR); }

tern_expr *tern_parse_expr(tern_parser *p) {
    if (++p->depth > TERN_TEMPLATE_MAX_DEPTH)
        return tern_parser_unsupported(p, "this depth of nesting at", p->lex.now.text);
    tern_expr *expr = tern_parse_or(p);
    while (expr && tern_parser_is_name(p, "if")) {
        tern_expr *condition = tern_lexer_next(&p->lex) ? tern_parse_or(p) : NULL, *otherwise = NULL;
        if (!condition)
            return NULL;
        if (tern_parser_is_name(p, "else")) {
            otherwise = tern_lexer_next(&p->lex) ? tern_parse_expr(p) : NULL;
            if (!otherwise)
                return NULL;
        }
        expr = make_expr(p, EXPR_IF, expr, condition, otherwise);
    }
    p->depth--;
    return expr;
}
