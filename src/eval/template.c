#include "eval/template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAME = 120 };

/* ----------------------------------------------------------------- characters */

static bool continues(char byte) { return ((unsigned char)byte & 0xc0) == 0x80; }

size_t tern_count_characters(const char *text) {
    size_t n = 0;
    for (; *text; text++)
        n += !continues(*text);
    return n;
}

/* Length of the white space that text [left] begins with, one character of it; 0: it begins with something else. The
 * characters for which Python's str.isspace() is true. */
static size_t space_length(const char *text, size_t left) {
    static const char *const wide[] = {"\xc2\x85", "\xc2\xa0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003",
                                       "\u2004",   "\u2005",   "\u2006", "\u2007", "\u2008", "\u2009", "\u200a",
                                       "\u2028",   "\u2029",   "\u202f", "\u205f", "\u3000"};
    if (left && (*text == ' ' || (*text >= '\t' && *text <= '\r') || (*text >= 0x1c && *text <= 0x1f)))
        return 1;
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) {
        size_t n = strlen(wide[i]);
        if (n <= left && memcmp(text, wide[i], n) == 0)
            return n;
    }
    return 0;
}

size_t tern_text_begin(const char *text, size_t n_bytes) {
    size_t at = 0;
    for (size_t n; (n = space_length(text + at, n_bytes - at)); at += n) {
    }
    return at;
}

size_t tern_text_end(const char *text, size_t n_bytes) {
    for (;;) {
        size_t at = n_bytes;
        while (at > 0 && continues(text[at - 1]))
            at--;
        at -= at > 0;
        if (at == n_bytes || space_length(text + at, n_bytes - at) != n_bytes - at)
            return n_bytes;
        n_bytes = at;
    }
}

/* --------------------------------------------------------------------- filters */

/* A filter takes in [n] and appends what it makes of it. */
typedef bool (*filter_fn)(const char *in, size_t n, const char *argument, tern_buffer *out);

static bool strip(const char *in, size_t n, const char *argument, tern_buffer *out) {
    (void)argument;
    size_t end = tern_text_end(in, n), begin = tern_text_begin(in, end);
    return tern_buffer_append(out, in + begin, end - begin);
}

static bool spaces(const char *in, size_t n, const char *argument, tern_buffer *out) {
    (void)argument;
    for (size_t i = 0; i < n; i++)
        tern_buffer_append(out, in[i] == '_' ? " " : in + i, 1);
    return !out->failed;
}

/* Capital first character, small others, of ASCII and Latin-1. */
static bool capitalize(const char *in, size_t n, const char *argument, tern_buffer *out) {
    (void)argument;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)in[i];
        bool latin = i > 0 && (unsigned char)in[i - 1] == 0xc3 && (c & 0x9f) != 0x97 && c != 0x9f && c != 0xbf;
        if (i == 0 && c >= 'a' && c <= 'z')
            c -= 'a' - 'A';
        else if (i > 0 && c >= 'A' && c <= 'Z')
            c += 'a' - 'A';
        else if (latin && i == 1 && c >= 0xa0)
            c -= 0x20;
        else if (latin && i > 1 && c < 0xa0)
            c += 0x20;
        tern_buffer_append(out, &c, 1);
    }
    return !out->failed;
}

/* HellaSwag's texts come with marks of the pages that they were taken from: " [title]" ends a sentence, other [marks]
 * are left out, and then two blanks become one (Zellers et al. 2019; lm-evaluation-harness does the same). */
static bool unmark(const char *in, size_t n, const char *argument, tern_buffer *out) {
    static const char title[] = " [title]";
    tern_buffer plain = {0};
    (void)argument;
    size_t end = tern_text_end(in, n);
    for (size_t at = tern_text_begin(in, end); at < end;) {
        const char *close = in[at] == '[' ? memchr(in + at, ']', end - at) : NULL;
        const char *line = in[at] == '[' ? memchr(in + at, '\n', end - at) : NULL;
        if (end - at >= sizeof title - 1 && memcmp(in + at, title, sizeof title - 1) == 0) {
            tern_buffer_text(&plain, ". ");
            at += sizeof title - 1;
        } else if (close && (!line || line > close)) {
            at = (size_t)(close - in) + 1;
        } else {
            tern_buffer_append(&plain, in + at++, 1);
        }
    }
    for (size_t at = 0; at < plain.size; at++) {
        tern_buffer_append(out, plain.bytes + at, 1);
        at += at + 1 < plain.size && plain.bytes[at] == ' ' && plain.bytes[at + 1] == ' ';
    }
    bool good = !plain.failed && !out->failed;
    tern_buffer_free(&plain);
    return good;
}

/* The first or, if `last`, the last place of `what` in in [n]; n: none. */
static size_t find(const char *in, size_t n, const char *what, bool last) {
    size_t length = strlen(what), place = n;
    for (size_t at = 0; length && at + length <= n && (last || place == n); at++)
        if (memcmp(in + at, what, length) == 0)
            place = at;
    return place;
}

static bool before(const char *in, size_t n, const char *argument, tern_buffer *out) {
    return tern_buffer_append(out, in, find(in, n, argument, false));
}

static bool before_last(const char *in, size_t n, const char *argument, tern_buffer *out) {
    return tern_buffer_append(out, in, find(in, n, argument, true));
}

static bool put_after(const char *in, size_t n, size_t at, const char *argument, tern_buffer *out) {
    size_t begin = at < n ? at + strlen(argument) : 0; /* nothing of it there: all of the text */
    return tern_buffer_append(out, in + begin, n - begin);
}

static bool after(const char *in, size_t n, const char *argument, tern_buffer *out) {
    return put_after(in, n, find(in, n, argument, false), argument, out);
}

static bool after_last(const char *in, size_t n, const char *argument, tern_buffer *out) {
    return put_after(in, n, find(in, n, argument, true), argument, out);
}

static const struct {
    const char *name;
    filter_fn apply;
    bool takes_argument;
} filters[] = {
    {"strip", strip, false},
    {"spaces", spaces, false},
    {"capitalize", capitalize, false},
    {"unmark", unmark, false},
    {"before", before, true},
    {"after", after, true},
    {"before_last", before_last, true},
    {"after_last", after_last, true},
};

tern_status tern_text_filter(const char *what, tern_buffer *text, tern_error *err) {
    char call[MAX_NAME];
    snprintf(call, sizeof call, "%s", what);
    char *argument = strchr(call, ':');
    if (argument)
        *argument++ = 0;
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        if (strcmp(filters[i].name, call) != 0 || filters[i].takes_argument != (argument != NULL))
            continue;
        tern_buffer out = {0};
        bool good = filters[i].apply(text->bytes ? text->bytes : "", text->size, argument, &out);
        tern_buffer_free(text);
        *text = out;
        return good ? TERN_OK : tern_fail_memory(err, "a text");
    }
    return tern_fail(err, TERN_ERR_FORMAT, "'%s%s' is no filter of templates", call, argument ? ":..." : "");
}

/* ------------------------------------------------------------------- rendering */

const json_t *tern_record_field(const json_t *record, const char *path) {
    char name[MAX_NAME];
    while (record && *path) {
        size_t n = strcspn(path, ".");
        if (n == 0 || n >= sizeof name)
            return NULL;
        memcpy(name, path, n);
        name[n] = 0;
        if (json_is_array(record)) {
            char *end;
            unsigned long index = strtoul(name, &end, 10);
            record = *end ? NULL : json_array_get(record, index);
        } else {
            record = json_object_get(record, name);
        }
        path += n + (path[n] == '.');
    }
    return record;
}

/* "path|filter|..." of n bytes. */
static tern_status put_field(const char *what, size_t n, const json_t *record, tern_buffer *out, tern_error *err) {
    char call[MAX_NAME], *rest = call;
    if (n >= sizeof call)
        return tern_fail(err, TERN_ERR_FORMAT, "'{%.*s...' of a template is too long", 40, what);
    memcpy(call, what, n);
    call[n] = 0;
    const char *path = strsep(&rest, "|");
    const json_t *field = tern_record_field(record, path);
    if (!field)
        return tern_fail(err, TERN_ERR_FORMAT, "field '%s' is missing", path);
    tern_buffer text = {0};
    if (json_is_string(field))
        tern_buffer_append(&text, json_string_value(field), json_string_length(field));
    else if (json_is_integer(field))
        tern_buffer_printf(&text, "%" JSON_INTEGER_FORMAT, json_integer_value(field));
    else
        return tern_fail(err, TERN_ERR_FORMAT, "field '%s' is no text", path);
    tern_status status = text.failed ? tern_fail_memory(err, "a text") : TERN_OK;
    for (char *filter; !status && (filter = strsep(&rest, "|"));)
        status = tern_text_filter(filter, &text, err);
    if (!status && !tern_buffer_append(out, text.bytes ? text.bytes : "", text.size))
        status = tern_fail_memory(err, "a text");
    tern_buffer_free(&text);
    return status;
}

tern_status tern_record_render(const char *text, const json_t *record, tern_buffer *out, tern_error *err) {
    tern_status status = TERN_OK;
    while (!status && *text) {
        size_t n = strcspn(text, "{}");
        tern_buffer_append(out, text, n);
        text += n;
        if (!*text)
            break;
        if (text[1] == text[0]) {
            tern_buffer_append(out, text, 1);
            text += 2;
            continue;
        }
        const char *end = *text == '{' ? strchr(text, '}') : NULL;
        if (!end)
            return tern_fail(err, TERN_ERR_FORMAT, "a brace of the template '%.40s' has no partner ({{ is a brace)",
                             text);
        status = put_field(text + 1, (size_t)(end - text - 1), record, out, err);
        text = end + 1;
    }
    if (!status && out->failed)
        status = tern_fail_memory(err, "a text");
    return status;
}
