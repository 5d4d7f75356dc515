#include "cli/options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/command.h"

bool tern_parse_int(const char *text, int64_t *value) {
    if ((*text < '0' || *text > '9') && *text != '-' && *text != '+') /* strtoll would skip blanks */
        return false;
    char *end;
    errno = 0;
    long long parsed = strtoll(text, &end, 10);
    if (errno || end == text || *end)
        return false;
    *value = parsed;
    return true;
}

bool tern_parse_float(const char *text, double *value) {
    /* decimal only: no blanks, "nan", "inf" or hexadecimal */
    if (!*text || text[strspn(text, "0123456789+-.eE")])
        return false;
    char *end;
    errno = 0;
    double parsed = strtod(text, &end);
    if (end == text || *end || !isfinite(parsed) || (errno == ERANGE && fabs(parsed) > 1))
        return false; /* underflow is fine: it is zero enough */
    *value = parsed;
    return true;
}

bool tern_parse_int_list(const char *text, int64_t min, int64_t max, int32_t **list, size_t *n, const char **bad) {
    static const char blanks[] = " \t\r\n";
    int32_t *values = NULL;
    size_t count = 0, capacity = 0;
    const char *at = text + strspn(text, blanks);
    bool bracket = *at == '[', comma = false;
    at += bracket;
    for (;;) {
        at += strspn(at, blanks);
        if (!*at || *at == ']')
            break;
        char *end;
        errno = 0;
        long long value = strtoll(at, &end, 10);
        *bad = at;
        if (end == at || errno || value < min || value > max || (*end && !strchr(",] \t\r\n", *end)))
            goto fail;
        if (!tern_grow_array((void **)&values, &capacity, count + 1, sizeof *values)) {
            *bad = NULL;
            goto fail;
        }
        values[count++] = (int32_t)value;
        at = end + strspn(end, blanks);
        comma = *at == ',';
        at += comma;
    }
    *bad = at;
    if (comma || bracket != (*at == ']') || at[bracket + strspn(at + bracket, blanks)])
        goto fail;
    *list = values;
    *n = count;
    return true;
fail:
    free(values);
    return false;
}

static int bad_value(const tern_option *option, const char *value, const char *where, const char *what) {
    return tern_cli_usage(where, "--%s: '%s' %s", option->name, value, what);
}

/* "2G": powers of 1024. */
static bool parse_bytes(const char *text, int64_t *value) {
    static const char suffixes[] = "KMG";
    char digits[24];
    size_t length = strlen(text);
    const char *suffix = length ? strchr(suffixes, text[length - 1]) : NULL;
    if (!suffix)
        return tern_parse_int(text, value);
    if (length > sizeof digits)
        return false;
    memcpy(digits, text, length - 1);
    digits[length - 1] = 0;
    int shift = 10 * (int)(suffix - suffixes + 1);
    if (!tern_parse_int(digits, value) || *value < 0 || *value > INT64_MAX >> shift)
        return false;
    *value <<= shift;
    return true;
}

static int set_int(const tern_option *option, const char *value, const char *where, int64_t *field) {
    bool bytes = option->argument && strcmp(option->argument, "BYTES") == 0;
    int64_t parsed;
    if (bytes ? !parse_bytes(value, &parsed) : !tern_parse_int(value, &parsed))
        return bad_value(option, value, where, "is not a whole number that tern can use");
    if ((double)parsed < option->min || (double)parsed > option->max)
        return tern_cli_usage(where, "--%s: %s is out of range, allowed is %.0f to %.0f", option->name, value,
                              option->min, option->max);
    *field = parsed;
    return 0;
}

static int set_float(const tern_option *option, const char *value, const char *where, double *field) {
    double parsed;
    if (!tern_parse_float(value, &parsed))
        return bad_value(option, value, where, "is not a finite decimal number");
    if (parsed < option->min || parsed > option->max)
        return tern_cli_usage(where, "--%s: %s is out of range, allowed is %g to %g", option->name, value, option->min,
                              option->max);
    *field = parsed;
    return 0;
}

static int set_enum(const tern_option *option, const char *value, const char *where, int *field) {
    for (const tern_choice *choice = option->choices; choice->name; choice++)
        if (strcmp(choice->name, value) == 0) {
            *field = choice->value;
            return 0;
        }
    char list[256] = "";
    for (const tern_choice *choice = option->choices; choice->name; choice++) {
        size_t used = strlen(list);
        if (!choice->hidden)
            snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", choice->name);
    }
    return tern_cli_usage(where, "--%s: '%s' is not one of %s", option->name, value, list);
}

int tern_option_set(const tern_option *option, const char *value, const char *where, void *field) {
    tern_string_list *list = field;
    switch (option->kind) {
    case TERN_OPTION_FLAG:
        *(bool *)field = true;
        return 0;
    case TERN_OPTION_FILE:
        if (!*value) /* as an argument that is empty: often a variable that is not set */
            return bad_value(option, value, where, "is no name");
        *(const char **)field = value;
        return 0;
    case TERN_OPTION_STRING:
        *(const char **)field = value;
        return 0;
    case TERN_OPTION_INT:
        return set_int(option, value, where, field);
    case TERN_OPTION_FLOAT:
        return set_float(option, value, where, field);
    case TERN_OPTION_ENUM:
        return set_enum(option, value, where, field);
    case TERN_OPTION_LIST:
        if (list->count == TERN_STRING_LIST_MAX)
            return tern_cli_usage(where, "--%s: more than %d of them", option->name, TERN_STRING_LIST_MAX);
        list->items[list->count++] = value;
        return 0;
    }
    return 0;
}
