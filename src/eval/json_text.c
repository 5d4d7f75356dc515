/* Whether a text is JSON as Python's json.loads() takes it: RFC 8259, and NaN, Infinity and -Infinity. (Jansson refuses
 * some of that: large numbers, half of a surrogate pair.) */
#include <string.h>

#include "eval/instruction_checks.h"

/* Python gives up where its stack ends, at about this depth; and on whole numbers with more digits. */
enum { MAX_DEPTH = 900, MAX_DIGITS = 4300 };

typedef struct reader {
    const char *at, *end;
    int depth;
} reader;

static void skip_blanks(reader *r) {
    while (r->at < r->end && strchr(" \t\n\r", *r->at) && *r->at)
        r->at++;
}

static bool take(reader *r, char c) {
    bool there = r->at < r->end && *r->at == c;
    r->at += there;
    return there;
}

static bool take_word(reader *r, const char *word) {
    size_t n = strlen(word);
    bool there = (size_t)(r->end - r->at) >= n && memcmp(r->at, word, n) == 0;
    r->at += there ? n : 0;
    return there;
}

static size_t take_digits(reader *r) {
    const char *from = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
        r->at++;
    return (size_t)(r->at - from);
}

static bool read_string(reader *r) {
    while (r->at < r->end && *r->at != '"') {
        unsigned char c = (unsigned char)*r->at++;
        if (c < 0x20)
            return false;
        if (c != '\\')
            continue;
        if (r->at == r->end || !strchr("\"\\/bfnrtu", *r->at) || !*r->at)
            return false;
        if (*r->at++ != 'u')
            continue;
        for (int i = 0; i < 4; i++, r->at++)
            if (r->at == r->end || !*r->at || !strchr("0123456789abcdefABCDEF", *r->at))
                return false;
    }
    return take(r, '"');
}

static bool read_number(reader *r) {
    take(r, '-');
    if (take_word(r, "Infinity"))
        return true;
    const char *begin = r->at;
    size_t n = take_digits(r);
    bool whole = true;
    if (n == 0 || (n > 1 && *begin == '0'))
        return false;
    if (take(r, '.')) {
        whole = false;
        if (!take_digits(r))
            return false;
    }
    if (take(r, 'e') || take(r, 'E')) {
        whole = false;
        if (!take(r, '-'))
            take(r, '+');
        if (!take_digits(r))
            return false;
    }
    return !whole || n <= MAX_DIGITS;
}

static bool read_value(reader *r);

static bool read_members(reader *r, char close, bool named) {
    skip_blanks(r);
    if (take(r, close))
        return true;
    do {
        skip_blanks(r);
        if (named && !(take(r, '"') && read_string(r)))
            return false;
        skip_blanks(r);
        if (named && !take(r, ':'))
            return false;
        if (!read_value(r))
            return false;
        skip_blanks(r);
    } while (take(r, ','));
    return take(r, close);
}

static bool read_value(reader *r) {
    skip_blanks(r);
    if (r->depth == MAX_DEPTH)
        return false;
    r->depth++;
    bool good;
    if (take(r, '{'))
        good = read_members(r, '}', true);
    else if (take(r, '['))
        good = read_members(r, ']', false);
    else if (take(r, '"'))
        good = read_string(r);
    else
        good = take_word(r, "true") || take_word(r, "false") || take_word(r, "null") || take_word(r, "NaN") ||
               read_number(r);
    r->depth--;
    return good;
}

bool tern_is_json(const char *text, size_t n) {
    reader r = {text, text + n, 0};
    if (!read_value(&r))
        return false;
    skip_blanks(&r);
    return r.at == r.end;
}
