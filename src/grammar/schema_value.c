/* Strings and numbers. */
#include <math.h>
#include <stdlib.h>

#include "base/guard.h"
#include "grammar/schema.h"

/* Digits in front of the point and behind it, and of the exponent: as many as every reader of JSON takes without
 * overflow, and few enough that a model cannot go on for ever. */
enum { MAX_DIGITS = 18, MAX_FRACTION = 15, MAX_EXPONENT_DIGITS = 2 };
#define LARGEST ((int64_t)999999999999999999)

typedef struct literal {
    const json_t *value;
    char *text;
} literal;

static void dump(void *user) {
    literal *l = user;
    l->text = json_dumps(l->value, JSON_ENCODE_ANY | JSON_COMPACT);
}

/* free(); NULL: no memory. */
static char *dumped(const json_t *value) {
    literal l = {.value = value};
    return tern_guarded(dump, &l) ? l.text : NULL;
}

tern_node *tern_schema_literal(tern_schema *s, const json_t *value) {
    char *text = dumped(value);
    tern_node *node = text ? tern_ast_text(s->ast, text) : NULL;
    if (!text)
        tern_ast_fail(s->ast, TERN_ERR_MEMORY, "out of memory for a schema");
    free(text);
    return node;
}

/* ----------------------------------------------------------------- strings */

static tern_node *class_of(tern_schema *s, const char *pairs) {
    tern_range ranges[8];
    size_t n = 0;
    for (; pairs[0]; pairs += 2)
        ranges[n++] = (tern_range){(uint8_t)pairs[0], (uint8_t)pairs[1]};
    return tern_ast_class(s->ast, ranges, n, false);
}

static tern_node *hex_digits(tern_schema *s, uint32_t n) {
    return tern_ast_repeat(s->ast, class_of(s, "09afAF"), n, n);
}

/* What may stand behind \u: no zero, which many readers refuse, and surrogates in pairs only. */
static tern_node *unicode_escape(tern_schema *s) {
    tern_ast *a = s->ast;
    tern_node *high = TERN_SEQUENCE(a, class_of(s, "DDdd"), class_of(s, "89abAB"), hex_digits(s, 2));
    tern_node *low = TERN_SEQUENCE(a, class_of(s, "DDdd"), class_of(s, "cfCF"), hex_digits(s, 2));
    return TERN_CHOICE(a, TERN_SEQUENCE(a, class_of(s, "19acACefEF"), hex_digits(s, 3)),
                       TERN_SEQUENCE(a, class_of(s, "DDdd"), class_of(s, "07"), hex_digits(s, 2)),
                       TERN_SEQUENCE(a, tern_ast_text(a, "0"), class_of(s, "19afAF"), hex_digits(s, 2)),
                       TERN_SEQUENCE(a, tern_ast_text(a, "00"), class_of(s, "19afAF"), hex_digits(s, 1)),
                       TERN_SEQUENCE(a, tern_ast_text(a, "000"), class_of(s, "19afAF")),
                       TERN_SEQUENCE(a, high, tern_ast_text(a, "\\u"), low));
}

tern_node *tern_schema_any_char(tern_schema *s) {
    static const tern_range special[] = {{0, 0x1f}, {'"', '"'}, {'\\', '\\'}};
    tern_ast *a = s->ast;
    return TERN_CHOICE(a, tern_ast_class(a, special, 3, true),
                       TERN_SEQUENCE(a, tern_ast_text(a, "\\"),
                                     TERN_CHOICE(a, class_of(s, "\"\"\\\\//bbffnnrrtt"),
                                                 TERN_SEQUENCE(a, tern_ast_text(a, "u"), unicode_escape(s)))));
}

/* The escape that a character must have. */
static tern_node *escaped(tern_schema *s, uint32_t code) {
    json_t *text = json_stringn((const char[]){(char)code}, 1);
    char *quoted = text ? dumped(text) : NULL;
    tern_node *node = quoted ? tern_ast_bytes(s->ast, quoted + 1, strlen(quoted) - 2) : NULL;
    if (!quoted)
        tern_ast_fail(s->ast, TERN_ERR_MEMORY, "out of memory for a schema");
    free(quoted);
    json_decref(text);
    return node;
}

tern_node *tern_schema_chars(tern_schema *s, const tern_range *ranges, size_t n, bool negated) {
    tern_node *class = tern_ast_class(s->ast, ranges, n, negated);
    tern_node *choice = tern_ast_list(s->ast, TERN_NODE_CHOICE, NULL, 0), **end = choice ? &choice->first : NULL;
    if (!class || !choice)
        return NULL;
    tern_range *plain = tern_alloc_array(class->n_ranges + 4, sizeof *plain);
    size_t n_plain = 0;
    if (!plain) {
        tern_ast_fail(s->ast, TERN_ERR_MEMORY, "out of memory for a schema");
        return NULL;
    }
    for (size_t i = 0; !s->ast->status && i < class->n_ranges; i++) {
        uint32_t low = class->ranges[i].low, high = class->ranges[i].high;
        for (uint32_t code = low; !s->ast->status && code <= high && code <= '\\'; code++) {
            if (code > 0x1f && code != '"' && code != '\\')
                continue;
            if (code > low)
                plain[n_plain++] = (tern_range){low, code - 1};
            low = code + 1;
            if (code == 0) /* no reader of JSON is sure to take it */
                continue;
            *end = escaped(s, code);
            if (*end)
                end = &(*end)->next;
        }
        if (low <= high)
            plain[n_plain++] = (tern_range){low, high};
    }
    if (!s->ast->status && n_plain)
        *end = tern_ast_class(s->ast, plain, n_plain, false);
    free(plain);
    return s->ast->status || !choice->first ? NULL : choice;
}

static tern_node *quoted(tern_schema *s, tern_node *content) {
    return TERN_SEQUENCE(s->ast, tern_ast_text(s->ast, "\""), content, tern_ast_text(s->ast, "\""));
}

tern_node *tern_schema_any_string(tern_schema *s) {
    uint32_t rule;
    if (tern_schema_new_rule(s, "string", &rule)) {
        tern_node *body = quoted(s, tern_ast_repeat(s->ast, tern_schema_any_char(s), 0, TERN_UNLIMITED));
        if (body)
            s->ast->rules[rule].body = body;
    }
    return tern_ast_use(s->ast, rule);
}

#define DATE                                                                                                           \
    "[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
#define TIME "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define BYTE "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?"

/* RFC 3339 (without the 29th of February, which only some years have), RFC 4122, and the plain part of the others. */
static const struct {
    const char *name, *pattern;
} formats[] = {
    {"date", "^" DATE "$"},
    {"time", "^" TIME "$"},
    {"date-time", "^" DATE "T" TIME "$"},
    {"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
    {"ipv4", "^" BYTE "(\\." BYTE "){3}$"},
    {"hostname", "^" LABEL "(\\." LABEL "){0,5}$"},
    {"email", "^[A-Za-z0-9_]([A-Za-z0-9_.+-]{0,30}[A-Za-z0-9_])?@" LABEL "(\\." LABEL "){1,5}$"},
};

/* The format's pattern; NULL: there is no format, or it is not known, which is a failure. */
static const char *format_pattern(tern_schema *s, const json_t *schema) {
    const json_t *format = json_object_get(schema, "format");
    const char *name = json_string_value(format);
    if (!format)
        return NULL;
    for (size_t i = 0; name && i < sizeof formats / sizeof *formats; i++)
        if (strcmp(name, formats[i].name) == 0)
            return formats[i].pattern;
    tern_schema_fail(s,
                     "the format \"%.40s\" is not known (date, time, date-time, uuid, ipv4, hostname, email); leave it "
                     "out, or use \"pattern\"",
                     name ? name : "(no string)");
    return NULL;
}

tern_node *tern_schema_string(tern_schema *s, const json_t *schema) {
    const json_t *pattern = json_object_get(schema, "pattern");
    const char *format = format_pattern(s, schema);
    uint32_t min = tern_schema_count(s, schema, "minLength", 0);
    uint32_t max = tern_schema_count(s, schema, "maxLength", TERN_UNLIMITED);
    bool counted = min > 0 || max != TERN_UNLIMITED;
    if ((pattern != NULL) + (format != NULL) + counted > 1) {
        tern_schema_fail(s, "of \"pattern\", \"format\" and the length only one can be kept to; leave the others out");
        return NULL;
    }
    if (pattern && !json_is_string(pattern))
        tern_schema_fail(s, "\"pattern\" must be a string");
    if (max < min)
        tern_schema_fail(s, "\"maxLength\" is less than \"minLength\"");
    if (s->ast->status)
        return NULL;
    if (pattern)
        return quoted(s, tern_schema_regex(s, json_string_value(pattern)));
    if (format)
        return quoted(s, tern_schema_regex(s, format));
    if (!counted)
        return tern_schema_any_string(s);
    return quoted(s, tern_ast_repeat(s->ast, tern_schema_any_char(s), min, max));
}

/* ----------------------------------------------------------------- numbers */

static tern_node *digit(tern_schema *s, int low, int high) {
    tern_range range = {(uint32_t)('0' + low), (uint32_t)('0' + high)};
    return tern_ast_class(s->ast, &range, 1, false);
}

/* Numbers of n digits from those of `low` to those of `high`, from the digit i on; the digits in front are those of
 * low (if at_low) and of high (if at_high). */
static tern_node *digits_between(tern_schema *s, const char *low, const char *high, uint32_t n, uint32_t i, bool at_low,
                                 bool at_high) {
    tern_ast *a = s->ast;
    if (i == n)
        return tern_ast_empty(a);
    if (!at_low && !at_high)
        return tern_ast_repeat(a, digit(s, 0, 9), n - i, n - i);
    int from = at_low ? low[i] - '0' : 0, to = at_high ? high[i] - '0' : 9;
    if (from == to)
        return TERN_SEQUENCE(a, digit(s, from, to), digits_between(s, low, high, n, i + 1, at_low, at_high));
    tern_node *parts[3] = {NULL};
    size_t k = 0;
    if (at_low)
        parts[k++] = TERN_SEQUENCE(a, digit(s, from, from), digits_between(s, low, high, n, i + 1, true, false));
    if (at_high)
        parts[k++] = TERN_SEQUENCE(a, digit(s, to, to), digits_between(s, low, high, n, i + 1, false, true));
    if (from + at_low <= to - at_high)
        parts[k++] = TERN_SEQUENCE(a, digit(s, from + at_low, to - at_high),
                                   digits_between(s, low, high, n, i + 1, false, false));
    return tern_ast_list(a, TERN_NODE_CHOICE, parts, k);
}

static uint32_t write_digits(int64_t value, char out[MAX_DIGITS + 2]) {
    char reversed[MAX_DIGITS + 2];
    uint32_t n = 0;
    do
        reversed[n++] = (char)('0' + value % 10);
    while ((value /= 10) > 0 && n <= MAX_DIGITS);
    for (uint32_t i = 0; i < n; i++)
        out[i] = reversed[n - 1 - i];
    return n;
}

/* Whole numbers low to high, 0 <= low, without a sign; NULL, without a failure: there are none. */
static tern_node *magnitudes(tern_schema *s, int64_t low, int64_t high) {
    char first[MAX_DIGITS + 2], last[MAX_DIGITS + 2];
    tern_node *parts[MAX_DIGITS + 1];
    size_t n = 0;
    int64_t power = 1;
    for (int digits = 1; digits <= MAX_DIGITS && low <= high; digits++) {
        power *= 10;
        if (low >= power)
            continue;
        int64_t end = high < power - 1 ? high : power - 1;
        uint32_t n_digits = write_digits(low, first);
        write_digits(end, last);
        parts[n++] = digits_between(s, first, last, n_digits, 0, true, true);
        low = end + 1;
    }
    return n ? tern_ast_list(s->ast, TERN_NODE_CHOICE, parts, n) : NULL;
}

typedef struct bounds {
    double low, high; /* infinite: none */
    bool low_open, high_open;
} bounds;

static void read_bound(tern_schema *s, const json_t *schema, const char *key, bool open, double *bound, bool *is_open,
                       int sign) {
    const json_t *value = json_object_get(schema, key);
    if (!value)
        return;
    if (!json_is_number(value))
        tern_schema_fail(s, "\"%s\" must be a number", key);
    double x = json_number_value(value);
    if (fabs(x) > 9007199254740992.0) /* 2^53 */
        tern_schema_fail(s, "\"%s\": at most 2^53 can be kept to", key);
    if (sign * x > sign * *bound || (x == *bound && open)) {
        *bound = x;
        *is_open = open;
    }
}

static bounds read_bounds(tern_schema *s, const json_t *schema) {
    bounds b = {.low = -INFINITY, .high = INFINITY};
    read_bound(s, schema, "minimum", false, &b.low, &b.low_open, 1);
    read_bound(s, schema, "exclusiveMinimum", true, &b.low, &b.low_open, 1);
    read_bound(s, schema, "maximum", false, &b.high, &b.high_open, -1);
    read_bound(s, schema, "exclusiveMaximum", true, &b.high, &b.high_open, -1);
    return b;
}

/* The whole numbers within the bounds: *low to *high. */
static void whole_bounds(const bounds *b, int64_t *low, int64_t *high) {
    *low = b->low == -INFINITY ? -LARGEST : (int64_t)ceil(b->low) + (b->low_open && b->low == ceil(b->low));
    *high = b->high == INFINITY ? LARGEST : (int64_t)floor(b->high) - (b->high_open && b->high == floor(b->high));
}

/* sign, a whole number from low to high, tail. NULL if there is no such number. */
static tern_node *signed_range(tern_schema *s, const char *sign, int64_t low, int64_t high, tern_node *tail) {
    tern_node *magnitude = low <= high ? magnitudes(s, low, high) : NULL;
    return magnitude ? TERN_SEQUENCE(s->ast, tern_ast_text(s->ast, sign), magnitude, tail) : NULL;
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static tern_node *choice_of(tern_schema *s, tern_node *const *parts, size_t n) {
    tern_node *node = tern_ast_list(s->ast, TERN_NODE_CHOICE, parts, n);
    if (node && !node->first)
        tern_schema_fail(s, "there is no number within \"minimum\" and \"maximum\" that could be written");
    return s->ast->status ? NULL : node;
}

tern_node *tern_schema_integer(tern_schema *s, const json_t *schema) {
    bounds b = read_bounds(s, schema);
    int64_t low, high;
    format_pattern(s, schema); /* those that are known are about strings */
    if (s->ast->status)
        return NULL;
    whole_bounds(&b, &low, &high);
    tern_node *parts[] = {signed_range(s, "", larger(low, 0), high, NULL),
                          signed_range(s, "-", larger(-high, 1), -low, NULL)};
    return choice_of(s, parts, 2);
}

/* ".5", ".25": not zero, so that open bounds need no further thought. */
static tern_node *fraction(tern_schema *s) {
    return TERN_SEQUENCE(s->ast, tern_ast_text(s->ast, "."),
                         tern_ast_repeat(s->ast, digit(s, 0, 9), 0, MAX_FRACTION - 1), digit(s, 1, 9));
}

static tern_node *any_number(tern_schema *s) {
    static const tern_range e[] = {{'e', 'e'}, {'E', 'E'}}, sign[] = {{'+', '+'}, {'-', '-'}};
    tern_ast *a = s->ast;
    tern_node *digits = TERN_SEQUENCE(a, tern_ast_text(a, "."), tern_ast_repeat(a, digit(s, 0, 9), 1, MAX_FRACTION));
    tern_node *exponent =
        TERN_SEQUENCE(a, tern_ast_class(a, e, 2, false), tern_ast_repeat(a, tern_ast_class(a, sign, 2, false), 0, 1),
                      tern_ast_repeat(a, digit(s, 0, 9), 1, MAX_EXPONENT_DIGITS));
    tern_node *whole =
        TERN_CHOICE(a, tern_ast_text(a, "0"),
                    TERN_SEQUENCE(a, digit(s, 1, 9), tern_ast_repeat(a, digit(s, 0, 9), 0, MAX_DIGITS - 1)));
    return TERN_SEQUENCE(a, tern_ast_repeat(a, tern_ast_text(a, "-"), 0, 1), whole, tern_ast_repeat(a, digits, 0, 1),
                         tern_ast_repeat(a, exponent, 0, 1));
}

/* Within bounds: whole numbers, and fractions between two whole numbers that both lie within. */
tern_node *tern_schema_number(tern_schema *s, const json_t *schema) {
    bounds b = read_bounds(s, schema), closed = b;
    int64_t low, high, inner_low, inner_high;
    format_pattern(s, schema); /* those that are known are about strings */
    if (s->ast->status)
        return NULL;
    if (b.low == -INFINITY && b.high == INFINITY)
        return any_number(s);
    closed.low_open = closed.high_open = false;
    whole_bounds(&b, &low, &high);
    whole_bounds(&closed, &inner_low, &inner_high);
    tern_node *parts[] = {
        signed_range(s, "", larger(low, 0), high, NULL),
        signed_range(s, "-", larger(-high, 1), -low, NULL),
        signed_range(s, "", larger(inner_low, 0), inner_high - 1, fraction(s)),
        signed_range(s, "-", larger(-inner_high, 0), -inner_low - 1, fraction(s)),
    };
    return choice_of(s, parts, 4);
}
