/*
 * The Jinja subset of chat templates, parsed as Hugging Face sets Jinja up (trim_blocks, lstrip_blocks):
 *
 *   {% set x = e %}  {% for x in e %}..{% endfor %}  {% if e %}..{% elif e %}..{% else %}..{% endif %}  {{ e }}  {# #}
 *   literals (strings, whole numbers, true, false, none, lists), names, e.name, e[e], e[a:b], a if c else b,
 *   or and not == != < <= > >= in, + - ~ * // %, the filters, tests and methods in the tables below, raise_exception(e)
 *   -, + at a tag's marks for white space
 *
 * Anything else is refused by name.
 */
#include <stdlib.h>

#include "tokenizer/template_parser.h"
#include "tokenizer/unicode.h"

#define MAX_SOURCE (1u << 20)

tern_view tern_strip_left(tern_view text) {
    while (text.size) {
        uint32_t c;
        size_t n = tern_utf8_decode((const uint8_t *)text.bytes, text.size, &c);
        if (!tern_is_python_space(c))
            break;
        text.bytes += n;
        text.size -= n;
    }
    return text;
}

tern_view tern_strip_right(tern_view text) {
    while (text.size) {
        size_t n = 1; /* step back over continuation bytes to where a character may begin */
        while (n < 4 && n < text.size && ((uint8_t)text.bytes[text.size - n] & 0xc0) == 0x80)
            n++;
        uint32_t c;
        if (tern_utf8_decode((const uint8_t *)text.bytes + text.size - n, n, &c) != n || !tern_is_python_space(c))
            break;
        text.size -= n;
    }
    return text;
}

static tern_stmt *make_stmt(tern_parser *p, tern_stmt_kind kind) {
    tern_stmt *stmt = tern_arena_alloc(p->lex.arena, sizeof *stmt);
    if (!stmt)
        return tern_parser_no_memory(p);
    *stmt = (tern_stmt){.kind = kind, .line = tern_lexer_line(&p->lex)};
    return stmt;
}

/* lstrip_blocks: the blanks between the beginning of a line and a block tag are no text. */
static tern_view strip_blanks_of_line(tern_view text, bool line_started) {
    size_t start = text.size;
    while (start > 0 && text.bytes[start - 1] != '\n')
        start--;
    if (start == 0 && !line_started)
        return text;
    tern_view blanks = {text.bytes + start, text.size - start};
    if (tern_strip_left(blanks).size == 0)
        text.size -= blanks.size;
    return text;
}

/* After the closing mark `mark` of a tag: how the text that follows begins. */
static void close_tag(tern_parser *p, tern_view mark, bool block) {
    tern_lexer *lex = &p->lex;
    size_t from = lex->pos;
    if (mark.bytes[0] == '-') {
        tern_view rest = tern_strip_left((tern_view){lex->source + lex->pos, lex->size - lex->pos});
        lex->pos = lex->size - rest.size;
    } else if (block && mark.bytes[0] != '+' && lex->pos < lex->size && lex->source[lex->pos] == '\n') {
        lex->pos++; /* trim_blocks */
    }
    p->text_from = lex->pos;
    p->line_started = lex->pos > from && lex->source[lex->pos - 1] == '\n';
}

static bool skip_comment(tern_parser *p) {
    tern_lexer *lex = &p->lex;
    const char *end = memmem(lex->source + lex->pos, lex->size - lex->pos, "#}", 2);
    if (!end)
        return tern_lexer_fail(lex, TERN_ERR_FORMAT, "a comment is never closed");
    bool marked = end > lex->source + lex->pos && (end[-1] == '-' || end[-1] == '+');
    lex->pos = (size_t)(end - lex->source) + 2;
    close_tag(p, (tern_view){marked ? end - 1 : end, 2}, true);
    return true;
}

typedef enum tag_kind { TAG_EOF, TAG_OUTPUT, TAG_BLOCK, TAG_FAILED } tag_kind;

/* The opening mark at lex.pos: skip it and strip `text`, which stands in front of it. Returns what follows the {. */
static char open_tag(tern_parser *p, tern_view *text) {
    tern_lexer *lex = &p->lex;
    char kind = lex->source[lex->pos + 1];
    lex->pos += 2;
    char mark = lex->pos < lex->size ? lex->source[lex->pos] : 0;
    if (mark == '-' || mark == '+')
        lex->pos++;
    if (mark == '-')
        *text = tern_strip_right(*text);
    else if (kind != '{' && mark != '+')
        *text = strip_blanks_of_line(*text, p->line_started);
    return kind;
}

static bool opens_tag(const char *at) { return at[0] == '{' && (at[1] == '{' || at[1] == '%' || at[1] == '#'); }

/* Append the text up to the next {{ or {% (whose first token is then current) to *tail; comments are skipped. */
static tag_kind next_tag(tern_parser *p, tern_stmt ***tail) {
    tern_lexer *lex = &p->lex;
    for (;;) {
        lex->pos = p->text_from;
        while (lex->pos + 1 < lex->size && !opens_tag(lex->source + lex->pos))
            lex->pos++;
        bool at_end = lex->pos + 1 >= lex->size;
        if (at_end)
            lex->pos = lex->size;
        tern_view text = {lex->source + p->text_from, lex->pos - p->text_from};
        char kind = at_end ? 0 : open_tag(p, &text);
        if (text.size) {
            **tail = make_stmt(p, STMT_TEXT);
            if (!**tail)
                return TAG_FAILED;
            (**tail)->text = text;
            *tail = &(**tail)->next;
        }
        if (at_end) {
            p->text_from = lex->size;
            return TAG_EOF;
        }
        if (kind != '#') {
            lex->in_block = kind == '%';
            return !tern_lexer_next(lex) ? TAG_FAILED : kind == '{' ? TAG_OUTPUT : TAG_BLOCK;
        }
        if (!skip_comment(p))
            return TAG_FAILED;
    }
}

static bool end_tag(tern_parser *p) {
    if (p->lex.now.kind != LEX_END) {
        tern_parser_syntax(p, "expected the end of the tag");
        return false;
    }
    close_tag(p, p->lex.now.text, p->lex.in_block);
    return true;
}

static tern_stmt *parse_body(tern_parser *p, const char *opened, unsigned opened_line);

static tern_stmt *parse_set(tern_parser *p) {
    tern_stmt *stmt = make_stmt(p, STMT_SET);
    if (!stmt || p->lex.now.kind != LEX_NAME || tern_parser_is_keyword(p))
        return stmt ? tern_parser_syntax(p, "expected a name after \"set\"") : NULL;
    stmt->text = p->lex.now.text;
    if (!tern_lexer_next(&p->lex))
        return NULL;
    if (!tern_parser_is_op(p, "="))
        return tern_parser_unsupported(p, "a set that goes on with", p->lex.now.text);
    stmt->expr = tern_lexer_next(&p->lex) ? tern_parse_expr(p) : NULL;
    return stmt->expr && end_tag(p) ? stmt : NULL;
}

/* Consume the name that closed a body if it is `word`. */
static bool closes(tern_parser *p, const char *word) {
    return tern_parser_is_name(p, word) && tern_lexer_next(&p->lex);
}

static tern_stmt *parse_for(tern_parser *p) {
    tern_stmt *stmt = make_stmt(p, STMT_FOR);
    if (!stmt || p->lex.now.kind != LEX_NAME || tern_parser_is_keyword(p))
        return stmt ? tern_parser_syntax(p, "expected a name after \"for\"") : NULL;
    stmt->text = p->lex.now.text;
    if (!tern_lexer_next(&p->lex))
        return NULL;
    if (!tern_parser_is_name(p, "in"))
        return tern_parser_unsupported(p, "a for that goes on with", p->lex.now.text);
    stmt->expr = tern_lexer_next(&p->lex) ? tern_parse_or(p) : NULL;
    if (!stmt->expr)
        return NULL;
    if (p->lex.now.kind != LEX_END)
        return tern_parser_unsupported(p, "a for that goes on with", p->lex.now.text);
    if (!end_tag(p))
        return NULL;
    stmt->body = parse_body(p, "for", stmt->line);
    if (p->lex.status)
        return NULL;
    if (closes(p, "endfor"))
        return end_tag(p) ? stmt : NULL;
    return p->lex.status ? NULL : tern_parser_unsupported(p, "in a for loop the tag", p->lex.now.text);
}

static tern_stmt *parse_if(tern_parser *p) {
    tern_stmt *first = make_stmt(p, STMT_IF), *branch = first;
    bool is_else = false;
    while (branch) {
        if (!is_else) {
            branch->expr = tern_parse_or(p); /* as in Jinja, no "a if b else c" here */
            if (!branch->expr)
                return NULL;
        }
        if (!end_tag(p))
            return NULL;
        branch->body = parse_body(p, "if", first->line);
        if (p->lex.status)
            return NULL;
        if (tern_parser_is_name(p, "endif"))
            return tern_lexer_next(&p->lex) && end_tag(p) ? first : NULL;
        if (is_else || (!tern_parser_is_name(p, "elif") && !tern_parser_is_name(p, "else")))
            return tern_parser_syntax(p, "expected endif");
        is_else = tern_parser_is_name(p, "else");
        if (!tern_lexer_next(&p->lex))
            return NULL;
        branch->otherwise = make_stmt(p, STMT_IF);
        branch = branch->otherwise;
    }
    return NULL;
}

static tern_stmt *parse_block(tern_parser *p) {
    static const struct {
        const char *name;
        tern_stmt *(*parse)(tern_parser *p);
    } tags[] = {{"set", parse_set}, {"for", parse_for}, {"if", parse_if}};
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        if (tern_parser_is_name(p, tags[i].name))
            return tern_lexer_next(&p->lex) ? tags[i].parse(p) : NULL;
    return tern_parser_unsupported(p, "tag", p->lex.now.text);
}

static bool closes_body(tern_parser *p) {
    return tern_parser_is_name(p, "endfor") || tern_parser_is_name(p, "endif") || tern_parser_is_name(p, "elif") ||
           tern_parser_is_name(p, "else");
}

/* Statements up to a closing tag (whose name is then current) or, outside of all blocks, the end. */
static tern_stmt *parse_body(tern_parser *p, const char *opened, unsigned opened_line) {
    tern_stmt *head = NULL, **tail = &head;
    if (++p->depth > TERN_TEMPLATE_MAX_DEPTH)
        return tern_parser_unsupported(p, "this depth of", tern_view_of(opened));
    for (;;) {
        tag_kind kind = next_tag(p, &tail);
        if (kind == TAG_FAILED)
            return NULL;
        if (kind == TAG_EOF) {
            if (opened)
                tern_lexer_fail(&p->lex, TERN_ERR_FORMAT, "the \"%s\" of line %u is never closed", opened, opened_line);
            break;
        }
        if (kind == TAG_BLOCK && closes_body(p)) {
            if (!opened)
                tern_parser_syntax(p, "expected a tag that opens something");
            break;
        }
        if (kind == TAG_BLOCK) {
            *tail = parse_block(p);
        } else {
            *tail = make_stmt(p, STMT_OUTPUT);
            if (*tail && (!((*tail)->expr = tern_parse_expr(p)) || !end_tag(p)))
                return NULL;
        }
        if (!*tail)
            return NULL;
        tail = &(*tail)->next;
    }
    p->depth--;
    return head;
}

/* Jinja reads \r\n and \r as \n and drops one newline at the very end. */
static size_t normalise(const char *source, size_t n, char *out) {
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (source[i] == '\r') {
            out[k++] = '\n';
            i += i + 1 < n && source[i + 1] == '\n';
        } else {
            out[k++] = source[i];
        }
    }
    return k && out[k - 1] == '\n' ? k - 1 : k;
}

tern_status tern_template_parse(const char *source, tern_template **parsed, tern_error *err) {
    size_t n = strlen(source);
    if (n > MAX_SOURCE)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "the chat template has more than %u bytes", MAX_SOURCE);
    tern_template *made = calloc(1, sizeof *made);
    if (!made)
        return tern_fail_memory(err, "the chat template");
    made->source = tern_arena_copy(&made->arena, source, n);
    char *text = tern_arena_alloc(&made->arena, n + 1);
    tern_parser p = {.lex = {.arena = &made->arena, .err = err, .line = 1}, .line_started = true};
    if (!made->source || !text) {
        p.lex.status = tern_fail_memory(err, "the chat template");
    } else {
        p.lex.source = text;
        p.lex.size = normalise(source, n, text);
        made->body = parse_body(&p, NULL, 0);
    }
    if (p.lex.status) {
        tern_template_free(made);
        return p.lex.status;
    }
    *parsed = made;
    return TERN_OK;
}

void tern_template_free(tern_template *parsed) {
    if (!parsed)
        return;
    tern_arena_free(&parsed->arena);
    free(parsed);
}

const char *tern_template_source(const tern_template *parsed) { return parsed->source; }
