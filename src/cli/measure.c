#include "cli/measure.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

enum { MAX_CHUNK = 1 << 20, LABEL_WIDTH = 22 };

const tern_option tern_exact_session_option_table[] = {
    {"kv-type", 0, TERN_OPTION_ENUM, offsetof(tern_session_options, kv_type), "TYPE",
     "numbers in the KV cache: f32 (to compare with other\nimplementations), f16 or q8", 0, 0, tern_kv_choices,
     "$BITNET_KV_CACHE_DTYPE or f32"},
    {"chunk", 0, TERN_OPTION_INT, offsetof(tern_session_options, chunk), "N",
     "tokens evaluated at once; the result does not depend on it", 1, MAX_CHUNK, NULL,
     "$BITNET_CHUNK_SIZE or automatic"},
    {0},
};

int tern_cli_exact_session_params(const tern_session_options *options, tern_session_params *params) {
    const char *environment = getenv("BITNET_KV_CACHE_DTYPE");
    int status = tern_cli_session_params(options, params);
    if (!status && options->kv_type < 0 && !(environment && *environment))
        params->kv_type = TERN_KV_F32;
    return status;
}

const char *tern_kv_type_name(tern_kv_type type) {
    for (const tern_choice *choice = tern_kv_choices; choice->name; choice++)
        if (choice->value == (int)type && !choice->hidden)
            return choice->name;
    return "?";
}

size_t tern_held_out_at(const char *text, size_t n_bytes, size_t most) {
    size_t kept = n_bytes / 4 < most ? n_bytes / 4 : most, at = n_bytes - kept;
    const char *line = kept ? memchr(text + at, '\n', kept - kept / 2) : NULL;
    if (line)
        return (size_t)(line - text) + 1;
    while (at < n_bytes && ((unsigned char)text[at] & 0xc0) == 0x80)
        at++;
    return at;
}

/* Length of the valid UTF-8 character (RFC 3629) at text [left], 0 if there is none. */
static size_t character_length(const char *text, size_t left) {
    const unsigned char *bytes = (const unsigned char *)text;
    if (bytes[0] < 0x80)
        return 1;
    size_t n = bytes[0] >= 0xf0 ? 4 : bytes[0] >= 0xe0 ? 3 : 2;
    if (bytes[0] < 0xc2 || bytes[0] > 0xf4 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (bytes[0] == 0xe0 && bytes[1] < 0xa0) || (bytes[0] == 0xf0 && bytes[1] < 0x90);
    bool impossible = (bytes[0] == 0xed && bytes[1] > 0x9f) || (bytes[0] == 0xf4 && bytes[1] > 0x8f);
    return overlong || impossible ? 0 : n;
}

json_t *tern_json_text(const char *text) {
    if (!text)
        return NULL;
    tern_buffer clean = {0};
    for (size_t left = strlen(text), n; left; text += n, left -= n) {
        n = character_length(text, left);
        if (n)
            tern_buffer_append(&clean, text, n);
        else
            tern_buffer_text(&clean, "\xef\xbf\xbd");
        n = n ? n : 1;
    }
    json_t *string = clean.failed ? NULL : json_stringn(clean.bytes ? clean.bytes : "", clean.size);
    tern_buffer_free(&clean);
    return string;
}

void tern_cli_put_escaped(const char *text, size_t n_bytes) {
    for (size_t i = 0, n; i < n_bytes; i += n) {
        unsigned char first = (unsigned char)text[i];
        n = character_length(text + i, n_bytes - i);
        /* U+0080 to U+009F drive terminals as the controls below U+0020 do */
        bool control =
            n == 1 ? first < 0x20 || first == 0x7f : n == 2 && first == 0xc2 && (unsigned char)text[i + 1] < 0xa0;
        if (n && !control)
            fwrite(text + i, 1, n, stdout);
        else if (first == '\n')
            fputs("\\n", stdout);
        else
            for (size_t k = 0; k < (n ? n : 1); k++)
                printf("\\x%02x", (unsigned char)text[i + k]);
        n = n ? n : 1;
    }
}

int tern_cli_print_json(json_t *object) {
    /* 12 digits: all that is meaningful, and 0.1 prints as 0.1 */
    char *text = object ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(object);
    if (!text)
        return tern_cli_fail("out of memory");
    puts(text);
    free(text);
    return 0;
}

void tern_cli_row(const char *label, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("%-*s  ", LABEL_WIDTH, label);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
}

const char *tern_format_count(char text[32], double count) {
    if (count < 1e6)
        snprintf(text, 32, "%.0f", count);
    else if (count < 1e9)
        snprintf(text, 32, "%.2f M", count / 1e6);
    else
        snprintf(text, 32, "%.3f G", count / 1e9);
    return text;
}
