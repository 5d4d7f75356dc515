/* GBNF, the notation of llama.cpp's grammars, as docs/GRAMMAR.md describes it. A recursive descent whose depth the
 * nesting of groups bounds. */
#include <stdlib.h>

#include "grammar/ast.h"

typedef struct parser {
    tern_ast *ast;
    const char *at; /* zero-terminated */
    uint32_t line;
    int nesting;
} parser;

static void fail(parser *p, const char *what) {
    tern_ast_fail(p->ast, TERN_ERR_FORMAT, "grammar: line %u: %s", (unsigned)p->line, what);
}

static bool failed(const parser *p) { return p->ast->status != TERN_OK; }

/* Blanks and comments; newlines too if `newlines`. */
static void skip(parser *p, bool newlines) {
    for (;; p->at++) {
        if (*p->at == '#')
            while (*p->at && *p->at != '\n')
                p->at++;
        if (*p->at == '\n' && newlines)
            p->line++;
        else if (*p->at != ' ' && *p->at != '\t' && *p->at != '\r')
            return;
    }
}

static bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static tern_view name(parser *p) {
    const char *start = p->at;
    while (is_name(*p->at))
        p->at++;
    return (tern_view){start, (size_t)(p->at - start)};
}

/* -------------------------------------------------------------- characters */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static uint32_t hex(parser *p, int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; i++, p->at++) {
        int digit = hex_digit(*p->at);
        if (digit < 0) {
            fail(p, "\\x, \\u and \\U take 2, 4 and 8 hexadecimal digits");
            return 0;
        }
        value = value << 4 | (uint32_t)digit;
    }
    return value;
}

static uint32_t escape(parser *p) {
    static const char plain[] = "\\\"[]-^/'.", letters[] = "nrt", controls[] = "\n\r\t";
    char c = *p->at;
    const char *found;
    if (c)
        p->at++;
    if (c == 'x')
        return hex(p, 2);
    if (c == 'u')
        return hex(p, 4);
    if (c == 'U')
        return hex(p, 8);
    if (c && (found = strchr(letters, c)))
        return (uint32_t)controls[found - letters];
    if (!c || !strchr(plain, c))
        fail(p, "an unknown escape; there are \\n \\r \\t \\\\ \\\" \\[ \\] \\- \\^ \\xHH \\uHHHH \\UHHHHHHHH");
    return (uint32_t)(uint8_t)c;
}

/* One character of UTF-8, strictly (Unicode 15, table 3-7). */
static uint32_t utf8(parser *p) {
    const uint8_t *s = (const uint8_t *)p->at;
    int n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
    uint32_t code = n == 1 ? s[0] : s[0] & (0x7fu >> n);
    bool bad = n == 0;
    for (int i = 1; !bad && i < n; i++) { /* the zero at the end is no continuation */
        bad = (s[i] & 0xc0) != 0x80;
        code = code << 6 | (s[i] & 0x3f);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (bad || code < least[n] || code > TERN_MAX_CODE_POINT || (code >= 0xd800 && code <= 0xdfff)) {
        fail(p, "the text is not valid UTF-8");
        return 0;
    }
    p->at += n;
    return code;
}

static uint32_t character(parser *p) {
    uint32_t code;
    if (*p->at == '\\') {
        p->at++;
        code = escape(p);
    } else {
        code = utf8(p);
    }
    if (!failed(p) && (code > TERN_MAX_CODE_POINT || (code >= 0xd800 && code <= 0xdfff)))
        fail(p, "an escape that is no Unicode character");
    return code;
}

static void put_utf8(tern_buffer *out, uint32_t code) {
    char bytes[4];
    int n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (int i = n - 1; i > 0; i--, code >>= 6)
        bytes[i] = (char)(0x80 | (code & 0x3f));
    bytes[0] = (char)(lead[n] | code);
    tern_buffer_append(out, bytes, (size_t)n);
}

static tern_node *literal(parser *p) {
    tern_buffer text = {0};
    p->at++;
    while (*p->at != '"' && !failed(p)) {
        if (!*p->at || *p->at == '\n')
            fail(p, "a text in quotes does not end in its line");
        else
            put_utf8(&text, character(p));
    }
    p->at += !failed(p);
    if (text.failed)
        tern_ast_fail(p->ast, TERN_ERR_MEMORY, "out of memory for a grammar");
    tern_node *node = failed(p) ? NULL : tern_ast_bytes(p->ast, text.size ? text.bytes : "", text.size);
    tern_buffer_free(&text);
    return node;
}

static tern_node *class(parser *p) {
    tern_range *ranges = NULL;
    size_t n = 0, capacity = 0;
    tern_node *node = NULL;
    p->at++;
    bool negated = *p->at == '^';
    p->at += negated;
    while (*p->at != ']' && !failed(p)) {
        if (!*p->at || *p->at == '\n') {
            fail(p, "a class [...] does not end in its line");
            break;
        }
        tern_range range;
        range.low = range.high = character(p);
        if (!failed(p) && p->at[0] == '-' && p->at[1] && p->at[1] != ']' && p->at[1] != '\n') {
            p->at++;
            range.high = character(p);
            if (range.high < range.low)
                fail(p, "a range of a class runs backwards");
        }
        if (!tern_grow_array((void **)&ranges, &capacity, n + 1, sizeof *ranges))
            tern_ast_fail(p->ast, TERN_ERR_MEMORY, "out of memory for a grammar");
        else
            ranges[n++] = range;
    }
    if (!failed(p)) {
        p->at++;
        node = tern_ast_class(p->ast, ranges, n, negated);
        if (!node)
            fail(p, "a class [...] without any character");
    }
    free(ranges);
    return node;
}

/* ------------------------------------------------------------- expressions */

static tern_node *alternatives(parser *p, bool in_group);

static tern_node *group(parser *p) {
    if (++p->nesting > TERN_GRAMMAR_MAX_NESTING) {
        tern_ast_fail(p->ast, TERN_ERR_FORMAT, "grammar: line %u: more than %d groups inside each other",
                      (unsigned)p->line, TERN_GRAMMAR_MAX_NESTING);
        return NULL;
    }
    p->at++;
    tern_node *node = alternatives(p, true);
    if (!failed(p) && *p->at != ')')
        fail(p, "a group ( is not closed");
    p->at += !failed(p);
    p->nesting--;
    return node;
}

/* True where a name is followed by "::=": the next rule begins. */
static bool begins_rule(const parser *p) {
    parser ahead = *p;
    if (name(&ahead).size == 0)
        return false;
    skip(&ahead, true);
    return strncmp(ahead.at, "::=", 3) == 0;
}

/* NULL without a failure: none begins here. */
static tern_node *item(parser *p) {
    static const tern_range any = {0, TERN_MAX_CODE_POINT};
    switch (*p->at) {
    case '"':
        return literal(p);
    case '[':
        return class(p);
    case '(':
        return group(p);
    case '.':
        p->at++;
        return tern_ast_class(p->ast, &any, 1, false);
    default:
        break;
    }
    if (!is_name(*p->at) || begins_rule(p))
        return NULL;
    uint32_t line = p->line;
    return tern_ast_use(p->ast, tern_ast_rule(p->ast, name(p), line));
}

static uint32_t number(parser *p) {
    uint32_t value = 0;
    if (*p->at < '0' || *p->at > '9')
        fail(p, "{m,n} needs numbers: {3}, {3,} or {3,5}");
    for (; *p->at >= '0' && *p->at <= '9' && !failed(p); p->at++) {
        value = value * 10 + (uint32_t)(*p->at - '0');
        if (value > TERN_GRAMMAR_MAX_REPEAT)
            tern_ast_fail(p->ast, TERN_ERR_FORMAT, "grammar: line %u: repeated more than %d times", (unsigned)p->line,
                          TERN_GRAMMAR_MAX_REPEAT);
    }
    skip(p, false);
    return value;
}

/* Behind an item; true: there is one. */
static bool repetition(parser *p, uint32_t *min, uint32_t *max) {
    *min = 0;
    *max = TERN_UNLIMITED;
    switch (*p->at) {
    case '*':
        break;
    case '+':
        *min = 1;
        break;
    case '?':
        *max = 1;
        break;
    case '{':
        p->at++;
        skip(p, false);
        *min = *p->at == ',' ? 0 : number(p);
        *max = *min;
        if (!failed(p) && *p->at == ',') {
            p->at++;
            skip(p, false);
            *max = *p->at == '}' ? TERN_UNLIMITED : number(p);
        }
        if (*p->at != '}')
            fail(p, "{m,n} needs numbers: {3}, {3,} or {3,5}");
        if (*max < *min)
            fail(p, "{m,n}: n is less than m");
        break;
    default:
        return false;
    }
    if (*p->at)
        p->at++;
    return true;
}

static tern_node *sequence(parser *p, bool in_group) {
    tern_node *list = tern_ast_list(p->ast, TERN_NODE_SEQUENCE, NULL, 0), *last = NULL;
    int n_repeats = 0;
    for (;;) {
        skip(p, in_group);
        tern_node *node = item(p);
        if (!node || failed(p))
            return list;
        uint32_t min, max;
        skip(p, in_group);
        for (n_repeats = 0; !failed(p) && repetition(p, &min, &max); skip(p, in_group)) {
            if (++n_repeats > TERN_GRAMMAR_MAX_NESTING)
                fail(p, "too many repetitions of repetitions");
            node = tern_ast_repeat(p->ast, node, min, max);
        }
        if (failed(p))
            return NULL;
        if (last)
            last->next = node;
        else
            list->first = node;
        last = node;
    }
}

/* In a rule a newline ends the alternatives, unless a | stands on either side of it. */
static tern_node *alternatives(parser *p, bool in_group) {
    tern_node *list = tern_ast_list(p->ast, TERN_NODE_CHOICE, NULL, 0), *last = NULL;
    while (!failed(p)) {
        tern_node *node = sequence(p, in_group);
        if (failed(p))
            break;
        if (last)
            last->next = node;
        else
            list->first = node;
        last = node;
        parser ahead = *p;
        skip(&ahead, true);
        if (*ahead.at != '|')
            break;
        *p = ahead;
        p->at++;
        skip(p, true);
    }
    return failed(p) ? NULL : list;
}

static void rule(parser *p) {
    uint32_t line = p->line;
    tern_view called = name(p);
    if (!called.size) {
        fail(p, "the name of a rule is expected here: name ::= ...");
        return;
    }
    uint32_t index = tern_ast_rule(p->ast, called, line);
    skip(p, true);
    if (strncmp(p->at, "::=", 3) != 0) {
        fail(p, "::= is expected behind the name of a rule");
        return;
    }
    p->at += 3;
    skip(p, true);
    tern_node *body = alternatives(p, false);
    if (failed(p))
        return;
    skip(p, false);
    if (*p->at && *p->at != '\n') {
        fail(p, *p->at == ')' ? "a ) without its (" : "this is no part of an expression");
    } else if (p->ast->rules[index].body) {
        tern_ast_fail(p->ast, TERN_ERR_FORMAT, "grammar: line %u: rule \"%s\" is defined twice", (unsigned)line,
                      p->ast->rules[index].name);
    } else {
        p->ast->rules[index].body = body;
        p->ast->rules[index].line = line;
    }
}

void tern_ast_from_gbnf(tern_ast *ast, const char *gbnf) {
    parser p = {.ast = ast, .at = gbnf, .line = 1};
    if (strlen(gbnf) > TERN_GRAMMAR_MAX_TEXT) {
        tern_ast_fail(ast, TERN_ERR_FORMAT, "grammar: larger than %d bytes", TERN_GRAMMAR_MAX_TEXT);
        return;
    }
    tern_ast_rule(ast, tern_view_of("root"), 0);
    for (skip(&p, true); *p.at && !failed(&p); skip(&p, true))
        rule(&p);
    if (!failed(&p) && !ast->rules[0].body)
        tern_ast_fail(ast, TERN_ERR_FORMAT, "grammar: there is no rule \"root\", with which a text begins");
    for (size_t i = 1; !failed(&p) && i < ast->n_rules; i++)
        if (!ast->rules[i].body)
            tern_ast_fail(ast, TERN_ERR_FORMAT, "grammar: line %u: rule \"%s\" is not defined",
                          (unsigned)ast->rules[i].line, ast->rules[i].name);
}
