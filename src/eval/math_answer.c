#include "eval/math_answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

const char *tern_math_boxed(const char *text, size_t *n) {
    const char *begin = NULL, *open;
    for (const char *at = text; (at = strstr(at, "\\boxed ")); at++)
        begin = at + strlen("\\boxed ");
    if (begin) {
        *n = strcspn(begin, "$");
        return begin;
    }
    for (const char *at = text; (at = strstr(at, "\\boxed")); at++)
        begin = at;
    for (const char *at = text; !begin && (at = strstr(at, "\\fbox")); at++)
        begin = at;
    open = begin ? strchr(begin, '{') : NULL;
    int depth = 0;
    for (const char *at = open; at && *at; at++) {
        depth += (*at == '{') - (*at == '}');
        if (depth == 0) {
            *n = (size_t)(at - open) - 1;
            return open + 1;
        }
    }
    return NULL;
}

/* *text with every `from` replaced; false: no memory, *text is freed. */
static bool replace(char **text, const char *from, const char *to) {
    tern_buffer out = {0};
    const char *at = *text;
    for (const char *next; (next = strstr(at, from)); at = next + strlen(from)) {
        tern_buffer_append(&out, at, (size_t)(next - at));
        tern_buffer_text(&out, to);
    }
    tern_buffer_text(&out, at);
    free(*text);
    *text = tern_buffer_take(&out, NULL);
    return *text != NULL;
}

static size_t count(const char *text, const char *what) {
    size_t n = 0;
    for (; (text = strstr(text, what)); text += strlen(what))
        n++;
    return n;
}

/* \sqrt3 -> \sqrt{3}, and \frac12, \frac1{72} -> \frac{1}{2}, \frac{1}{72}: `n_arguments` single characters behind
 * `command` get braces. One that begins with a brace is left as it is. */
static bool brace(char **text, const char *command, int n_arguments) {
    tern_buffer out = {0};
    const char *at = *text;
    for (const char *next; (next = strstr(at, command));) {
        next += strlen(command);
        tern_buffer_append(&out, at, (size_t)(next - at));
        at = next;
        bool whole = n_arguments == 1 || (at[0] && at[1]);
        for (int i = 0; i < n_arguments && *at && *at != '{' && whole; i++, at++)
            tern_buffer_printf(&out, "{%c}", *at);
    }
    tern_buffer_text(&out, at);
    free(*text);
    *text = tern_buffer_take(&out, NULL);
    return *text != NULL;
}

/* 3/4 -> \frac{3}{4}, of whole numbers and nothing else. */
static bool fraction(char **text) {
    char *slash = strchr(*text, '/'), *end;
    char a[24], b[24];
    if (!slash || strchr(slash + 1, '/'))
        return true;
    long long above = strtoll(*text, &end, 10);
    if (end != slash)
        return true;
    long long below = strtoll(slash + 1, &end, 10);
    snprintf(a, sizeof a, "%lld", above);
    snprintf(b, sizeof b, "%lld", below);
    if (*end || strncmp(a, *text, (size_t)(slash - *text)) != 0 || strlen(a) != (size_t)(slash - *text) ||
        strcmp(b, slash + 1) != 0)
        return true;
    tern_buffer out = {0};
    tern_buffer_printf(&out, "\\frac{%s}{%s}", a, b);
    free(*text);
    *text = tern_buffer_take(&out, NULL);
    return *text != NULL;
}

/* "x = 5" -> " 5", where what is called so has at most two characters. */
static void drop_name(char *text) {
    char *equals = strchr(text, '=');
    if (equals && !strchr(equals + 1, '=') && equals - text <= 2)
        memmove(text, equals + 1, strlen(equals + 1) + 1);
}

char *tern_math_normalise(const char *answer) {
    static const char *const before[][2] = {
        {"\n", ""},     {"\\!", ""},     {"\\\\", "\\"},    {"tfrac", "frac"}, {"dfrac", "frac"},
        {"\\left", ""}, {"\\right", ""}, {"^{\\circ}", ""}, {"^\\circ", ""},   {"\\$", ""},
    };
    static const char *const after[][2] = {{"\\%", ""}, {" .", " 0."}, {"{.", "{0."}};
    char *text = strdup(answer);
    bool good = text != NULL;
    for (size_t i = 0; good && i < sizeof before / sizeof *before; i++)
        good = replace(&text, before[i][0], before[i][1]);
    if (good && count(text, "\\text{ ") == 1) /* a unit behind the number */
        *strstr(text, "\\text{ ") = 0;
    for (size_t i = 0; good && i < sizeof after / sizeof *after; i++)
        good = replace(&text, after[i][0], after[i][1]);
    if (good && text[0] == '.') {
        tern_buffer out = {0};
        tern_buffer_printf(&out, "0%s", text);
        free(text);
        text = tern_buffer_take(&out, NULL);
        good = text != NULL;
    }
    if (good)
        drop_name(text);
    good = good && brace(&text, "\\sqrt", 1) && replace(&text, " ", "") && brace(&text, "\\frac", 2);
    if (good && strcmp(text, "0.5") == 0)
        good = replace(&text, "0.5", "\\frac{1}{2}");
    return good && fraction(&text) ? text : NULL;
}
