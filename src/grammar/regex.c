/* Regular expressions of JSON schemas (ECMA-262, the part that describes a regular language and that people use): ^ and
 * $ at the ends, alternatives, groups, classes, . and repetitions. What else there is is refused. */
#include <stdio.h>
#include <stdlib.h>

#include "grammar/schema.h"

enum { MAX_GROUPS = 50, MAX_RANGES = 256 };

typedef struct regex {
    tern_schema *s;
    const char *at; /* valid UTF-8, zero-terminated */
    int nesting;
} regex;

static bool failed(const regex *r) { return r->s->ast->status != TERN_OK; }

static void fail(regex *r, const char *what) {
    tern_schema_fail(r->s, "\"pattern\": %s, in front of \"%.30s\"", what, r->at);
}

/* ----------------------------------------------------------------- classes */

typedef struct set {
    tern_range ranges[MAX_RANGES];
    size_t n;
} set;

static void add(regex *r, set *out, uint32_t low, uint32_t high) {
    if (out->n == MAX_RANGES)
        fail(r, "a class with too many parts");
    else
        out->ranges[out->n++] = (tern_range){low, high};
}

static const struct {
    char letter;
    const char *pairs; /* ASCII, low and high in turn */
} shorthands[] = {{'d', "09"}, {'w', "09AZ__az"}, {'s', "\t\r  "}};

/* \d \w \s and their opposites; false: it is none. \s is what ASCII has of it. */
static bool add_shorthand(regex *r, set *out, char letter) {
    for (size_t i = 0; i < sizeof shorthands / sizeof *shorthands; i++) {
        const char *pairs = shorthands[i].pairs;
        uint32_t low = 0;
        if (letter != shorthands[i].letter && letter != shorthands[i].letter - 'a' + 'A')
            continue;
        bool negated = letter != shorthands[i].letter;
        for (; *pairs; pairs += 2) {
            if (!negated)
                add(r, out, (uint8_t)pairs[0], (uint8_t)pairs[1]);
            else if ((uint8_t)pairs[0] > low)
                add(r, out, low, (uint8_t)pairs[0] - 1u);
            low = (uint8_t)pairs[1] + 1u;
        }
        if (negated)
            add(r, out, low, TERN_MAX_CODE_POINT);
        return true;
    }
    return false;
}

static uint32_t hex(regex *r, int digits) {
    char text[5] = "", *end;
    for (int i = 0; i < digits && r->at[i]; i++)
        text[i] = r->at[i];
    uint32_t value = (uint32_t)strtoul(text, &end, 16);
    if (end != text + digits || strspn(text, "0123456789abcdefABCDEF") != (size_t)digits) {
        fail(r, "\\x and \\u take 2 and 4 hexadecimal digits");
        return 0;
    }
    r->at += digits;
    return value;
}

/* Behind a backslash, what stands for one character. */
static uint32_t escape(regex *r) {
    static const char letters[] = "nrtfv", controls[] = "\n\r\t\f\v";
    char c = *r->at;
    const char *found = c ? strchr(letters, c) : NULL;
    if (!c || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z' && !found && c != 'x' && c != 'u') ||
        (c >= 'A' && c <= 'Z') || (c & 0x80)) {
        fail(r,
             "an escape that is not known (there are \\d \\w \\s \\n \\r \\t \\f \\v \\xHH \\uHHHH and punctuation)");
        return 0;
    }
    r->at++;
    if (c == 'x')
        return hex(r, 2);
    if (c == 'u')
        return hex(r, 4);
    return found ? (uint32_t)controls[found - letters] : (uint32_t)(uint8_t)c;
}

static uint32_t plain(regex *r) {
    const uint8_t *b = (const uint8_t *)r->at;
    int n = b[0] < 0x80 ? 1 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : 4;
    uint32_t code = n == 1 ? b[0] : b[0] & (0x7fu >> n);
    for (int i = 1; i < n; i++)
        code = code << 6 | (b[i] & 0x3f);
    r->at += n;
    return code;
}

/* One character of a class, or a shorthand (then *several). */
static uint32_t class_part(regex *r, set *out, bool *several) {
    *several = false;
    if (*r->at != '\\')
        return plain(r);
    r->at++;
    if (*r->at == 'b') { /* a backspace, in a class */
        r->at++;
        return '\b';
    }
    if (*r->at && add_shorthand(r, out, *r->at)) {
        r->at++;
        *several = true;
        return 0;
    }
    return escape(r);
}

static tern_node *class(regex *r) {
    set out = {.n = 0};
    r->at++;
    bool negated = *r->at == '^', several;
    r->at += negated;
    while (!failed(r) && *r->at != ']') {
        if (!*r->at) {
            fail(r, "a class [ that is not closed");
            break;
        }
        uint32_t low = class_part(r, &out, &several), high = low;
        if (several)
            continue;
        if (!failed(r) && r->at[0] == '-' && r->at[1] && r->at[1] != ']') {
            r->at++;
            high = class_part(r, &out, &several);
            if (several || high < low)
                fail(r, "a range of a class that runs backwards or ends in several characters");
        }
        add(r, &out, low, high);
    }
    if (failed(r))
        return NULL;
    r->at++;
    tern_node *node = tern_schema_chars(r->s, out.ranges, out.n, negated);
    if (!node)
        fail(r, "a class that has no character");
    return node;
}

/* ------------------------------------------------------------- expressions */

static tern_node *alternatives(regex *r, bool whole);

static tern_node *group(regex *r) {
    r->at++;
    if (++r->nesting > MAX_GROUPS)
        fail(r, "too many groups inside each other");
    if (r->at[0] == '?') {
        bool named = r->at[1] == '<' && r->at[2] != '=' && r->at[2] != '!';
        if (r->at[1] != ':' && !named)
            fail(r, "a look-ahead or another special group, which is not known");
        while (named && *r->at && *r->at != '>')
            r->at++;
        r->at += named ? *r->at == '>' : 2;
    }
    tern_node *node = failed(r) ? NULL : alternatives(r, false);
    if (!failed(r) && *r->at != ')')
        fail(r, "a group ( that is not closed");
    r->at += !failed(r);
    r->nesting--;
    return node;
}

static tern_node *atom(regex *r) {
    static const tern_range newlines[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
    set out = {.n = 0};
    switch (*r->at) {
    case '(':
        return group(r);
    case '[':
        return class(r);
    case '.':
        r->at++;
        return tern_schema_chars(r->s, newlines, 3, true);
    case '^':
    case '$':
        fail(r, "^ and $ are known at the ends only");
        return NULL;
    case '*':
    case '+':
    case '?':
    case '{':
    case '}':
    case ']':
        fail(r, "a character that has to be escaped here");
        return NULL;
    case '\\':
        r->at++;
        if (*r->at && add_shorthand(r, &out, *r->at)) {
            r->at++;
        } else {
            uint32_t code = escape(r);
            add(r, &out, code, code);
        }
        break;
    default: {
        uint32_t code = plain(r);
        add(r, &out, code, code);
        break;
    }
    }
    tern_node *node = failed(r) ? NULL : tern_schema_chars(r->s, out.ranges, out.n, false);
    if (!node)
        fail(r, "a character that cannot stand in JSON");
    return node;
}

static uint32_t number(regex *r) {
    uint32_t value = 0;
    if (*r->at < '0' || *r->at > '9')
        fail(r, "{m,n} needs numbers");
    for (; *r->at >= '0' && *r->at <= '9' && !failed(r); r->at++) {
        value = value * 10 + (uint32_t)(*r->at - '0');
        if (value > TERN_GRAMMAR_MAX_REPEAT)
            fail(r, "too many repetitions");
    }
    return value;
}

static tern_node *repeated(regex *r, tern_node *node) {
    uint32_t min = 0, max = TERN_UNLIMITED;
    switch (*r->at) {
    case '*':
        break;
    case '+':
        min = 1;
        break;
    case '?':
        max = 1;
        break;
    case '{':
        r->at++;
        min = max = number(r);
        if (!failed(r) && *r->at == ',') {
            r->at++;
            max = *r->at == '}' ? TERN_UNLIMITED : number(r);
        }
        if (*r->at != '}' || max < min)
            fail(r, "{m,n} needs numbers, the smaller one first");
        break;
    default:
        return node;
    }
    if (failed(r))
        return NULL;
    r->at++;
    if (*r->at == '?') /* lazy or greedy: the language is the same */
        r->at++;
    return tern_ast_repeat(r->s->ast, node, min, max);
}

static tern_node *anything(regex *r) {
    return tern_ast_repeat(r->s->ast, tern_schema_any_char(r->s), 0, TERN_UNLIMITED);
}

/* `whole`: an alternative of the whole expression, where ^ and $ may stand, and anything where they do not. */
static tern_node *sequence(regex *r, bool whole) {
    tern_node *list = tern_ast_list(r->s->ast, TERN_NODE_SEQUENCE, NULL, 0), **end = list ? &list->first : NULL;
    bool from_start = whole && *r->at == '^';
    r->at += from_start;
    if (whole && !from_start && end && (*end = anything(r)))
        end = &(*end)->next;
    while (!failed(r) && *r->at && *r->at != '|' && *r->at != ')') {
        if (whole && r->at[0] == '$' && (!r->at[1] || r->at[1] == '|')) {
            r->at++;
            return list;
        }
        tern_node *node = atom(r);
        node = failed(r) ? NULL : repeated(r, node);
        if (!node)
            return NULL;
        *end = node;
        end = &node->next;
    }
    if (whole && !failed(r))
        *end = anything(r);
    return failed(r) ? NULL : list;
}

static tern_node *alternatives(regex *r, bool whole) {
    tern_node *list = tern_ast_list(r->s->ast, TERN_NODE_CHOICE, NULL, 0), **end = list ? &list->first : NULL;
    while (!failed(r)) {
        tern_node *node = sequence(r, whole);
        if (!node)
            break;
        *end = node;
        end = &node->next;
        if (*r->at != '|')
            break;
        r->at++;
    }
    return failed(r) ? NULL : list;
}

tern_node *tern_schema_regex(tern_schema *s, const char *pattern) {
    regex r = {.s = s, .at = pattern};
    tern_node *node = alternatives(&r, true);
    if (!failed(&r) && *r.at)
        fail(&r, "a ) without its (");
    return failed(&r) ? NULL : node;
}
