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

/* Length of the valid UTF-8 character at text (RFC 3629), 0 if there is none. */
static size_t character_length(const unsigned char *text) {
    if (text[0] < 0x80)
        return 1;
    size_t n = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
    if (text[0] < 0xc2 || text[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((text[i] & 0xc0) != 0x80) /* also the terminating zero */
            return 0;
    bool overlong = (text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xf0 && text[1] < 0x90);
    bool impossible = (text[0] == 0xed && text[1] > 0x9f) || (text[0] == 0xf4 && text[1] > 0x8f);
    return overlong || impossible ? 0 : n;
}

json_t *tern_json_text(const char *text) {
    if (!text)
        return NULL;
    tern_buffer clean = {0};
    for (const char *at = text; *at;) {
        size_t n = character_length((const unsigned char *)at);
        if (n)
            tern_buffer_append(&clean, at, n);
        else
            tern_buffer_text(&clean, "\xef\xbf\xbd");
        at += n ? n : 1;
    }
    json_t *string = clean.failed ? NULL : json_stringn(clean.bytes ? clean.bytes : "", clean.size);
    tern_buffer_free(&clean);
    return string;
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
