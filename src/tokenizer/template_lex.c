#include "tokenizer/template_lex.h"

#include <stdio.h>

#include "tokenizer/unicode.h"

unsigned tern_lexer_line(tern_lexer *lexer) {
    for (; lexer->line_pos < lexer->pos; lexer->line_pos++)
        lexer->line += lexer->source[lexer->line_pos] == '\n';
    return lexer->line;
}

bool tern_lexer_fail(tern_lexer *lexer, tern_status status, const char *format, ...) {
    if (lexer->status)
        return false;
    char message[256];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    lexer->status = tern_fail(lexer->err, status, "chat template, line %u: %s", tern_lexer_line(lexer), message);
    return false;
}

static bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool read_int(tern_lexer *lexer) {
    int64_t value = 0;
    size_t start = lexer->pos;
    for (; lexer->pos < lexer->size; lexer->pos++) {
        char c = lexer->source[lexer->pos];
        if (c == '_')
            continue;
        if (c == '.' && lexer->pos + 1 < lexer->size && is_digit(lexer->source[lexer->pos + 1]))
            return tern_lexer_fail(lexer, TERN_ERR_UNSUPPORTED, "numbers with a fraction are not supported");
        if (!is_digit(c))
            break;
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, c - '0', &value))
            return tern_lexer_fail(lexer, TERN_ERR_UNSUPPORTED, "a number is too large");
    }
    lexer->now = (tern_lexeme){LEX_INT, {lexer->source + start, lexer->pos - start}, value};
    return true;
}

static int hex_digit(char c) {
    return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The escapes of a Python string; source[pos] is the character after the backslash. Appends to out. */
static bool read_escape(tern_lexer *lexer, char *out, size_t *n) {
    static const char plain[][2] = {{'n', '\n'}, {'t', '\t'}, {'r', '\r'}, {'\\', '\\'}, {'\'', '\''},
                                    {'"', '"'},  {'a', '\a'}, {'b', '\b'}, {'f', '\f'},  {'v', '\v'}};
    static const char wide[][2] = {{'x', 2}, {'u', 4}, {'U', 8}};
    char c = lexer->source[lexer->pos];
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (plain[i][0] == c) {
            out[(*n)++] = plain[i][1];
            lexer->pos++;
            return true;
        }
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) {
        if (wide[i][0] != c)
            continue;
        uint32_t value = 0;
        lexer->pos++;
        for (int k = 0; k < wide[i][1]; k++, lexer->pos++) {
            int digit = lexer->pos < lexer->size ? hex_digit(lexer->source[lexer->pos]) : -1;
            if (digit < 0)
                return tern_lexer_fail(lexer, TERN_ERR_FORMAT, "a \\%c escape without its %d digits", c, wide[i][1]);
            value = value << 4 | (uint32_t)digit;
        }
        if (value > 0x10ffff || (value & 0xfffff800) == 0xd800)
            return tern_lexer_fail(lexer, TERN_ERR_FORMAT, "a \\%c escape is no character", c);
        *n += tern_utf8_encode(value, out + *n);
        return true;
    }
    if ((c >= '0' && c <= '7') || c == 'N' || c == '\n')
        return tern_lexer_fail(lexer, TERN_ERR_UNSUPPORTED, "this string escape is not supported");
    out[(*n)++] = '\\'; /* Python keeps the backslash of an unknown escape */
    return true;
}

static bool read_string(tern_lexer *lexer) {
    char quote = lexer->source[lexer->pos++];
    const char *end = lexer->source + lexer->pos;
    const char *stop = lexer->source + lexer->size;
    while (end < stop && *end != quote)
        end += *end == '\\' && stop - end > 1 ? 2 : 1;
    if (end >= stop)
        return tern_lexer_fail(lexer, TERN_ERR_FORMAT, "a string is never closed");
    size_t n = 0, close = (size_t)(end - lexer->source);
    char *out = tern_arena_alloc(lexer->arena, close - lexer->pos + 1); /* an escape is never shorter than its value */
    if (!out) {
        lexer->status = tern_fail_memory(lexer->err, "the chat template");
        return false;
    }
    while (lexer->pos < close) {
        char c = lexer->source[lexer->pos++];
        if (c != '\\')
            out[n++] = c;
        else if (!read_escape(lexer, out, &n))
            return false;
    }
    lexer->pos = close + 1;
    lexer->now = (tern_lexeme){LEX_STRING, {out, n}, 0};
    return true;
}

bool tern_lexer_next(tern_lexer *lexer) {
    static const char *const ends[2][3] = {{"}}", "-}}", "-}}"}, {"%}", "-%}", "+%}"}};
    static const char *const operators[] = {"==", "!=", "<=", ">=", "//", "**", "+", "-", "*", "/", "%", "~", "|",
                                            ".",  ",",  "(",  ")",  "[",  "]",  ":", "=", "<", ">", "{", "}"};
    while (lexer->pos < lexer->size) {
        uint32_t c;
        size_t n = tern_utf8_decode((const uint8_t *)lexer->source + lexer->pos, lexer->size - lexer->pos, &c);
        if (!tern_is_python_space(c))
            break;
        lexer->pos += n;
    }
    const char *at = lexer->source + lexer->pos;
    size_t left = lexer->size - lexer->pos;
    if (!left)
        return tern_lexer_fail(lexer, TERN_ERR_FORMAT, "a tag is never closed");
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(ends[lexer->in_block][i]);
        if (left >= n && memcmp(at, ends[lexer->in_block][i], n) == 0) {
            lexer->pos += n;
            lexer->now = (tern_lexeme){LEX_END, {at, n}, 0};
            return true;
        }
    }
    if (is_name_start(*at)) {
        size_t n = 1;
        while (n < left && (is_name_start(at[n]) || is_digit(at[n])))
            n++;
        lexer->pos += n;
        lexer->now = (tern_lexeme){LEX_NAME, {at, n}, 0};
        return true;
    }
    if (is_digit(*at))
        return read_int(lexer);
    if (*at == '\'' || *at == '"')
        return read_string(lexer);
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        size_t n = strlen(operators[i]);
        if (left >= n && memcmp(at, operators[i], n) == 0) {
            lexer->pos += n;
            lexer->now = (tern_lexeme){LEX_OP, {at, n}, 0};
            return true;
        }
    }
    return tern_lexer_fail(lexer, TERN_ERR_FORMAT, "unexpected character '%c'", *at);
}
