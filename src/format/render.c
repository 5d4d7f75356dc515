/* Text for people out of bytes that may be hostile: what `tern inspect` prints goes to terminals and into JSON. */
#include <stdio.h>
#include <stdlib.h>

#include "format/store.h"

enum { MAX_NAME = 1024 };

/* Bytes of the valid UTF-8 character that starts here; 0 if there is none (overlong forms, surrogates and values
 * past U+10FFFF are invalid, as RFC 3629 says). */
static size_t utf8_length(const unsigned char *bytes, size_t left) {
    unsigned char first = bytes[0];
    size_t n = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
    if ((first == 0xe0 && bytes[1] < 0xa0) || (first == 0xed && bytes[1] > 0x9f) ||
        (first == 0xf0 && bytes[1] < 0x90) || (first == 0xf4 && bytes[1] > 0x8f))
        return 0;
    return n;
}

/* C1 controls (U+0080 to U+009F) drive terminals too. */
static bool is_control(const unsigned char *bytes, size_t n) {
    return (n == 1 && (bytes[0] < 0x20 || bytes[0] == 0x7f)) || (n == 2 && bytes[0] == 0xc2 && bytes[1] < 0xa0);
}

bool tern_name_is_clean(const char *bytes, uint64_t n_bytes) {
    if (n_bytes == 0 || n_bytes > MAX_NAME)
        return false;
    const unsigned char *at = (const unsigned char *)bytes;
    for (size_t i = 0, n; i < n_bytes; i += n) {
        n = utf8_length(at + i, (size_t)n_bytes - i);
        if (n == 0 || is_control(at + i, n))
            return false;
    }
    return true;
}

void tern_render_text(tern_buffer *out, const char *bytes, size_t n_bytes, size_t max_bytes) {
    const unsigned char *at = (const unsigned char *)bytes;
    size_t i = 0;
    while (i < n_bytes) {
        size_t n = utf8_length(at + i, n_bytes - i);
        if (i + (n ? n : 1) > max_bytes)
            break;
        if (n && !is_control(at + i, n))
            tern_buffer_append(out, at + i, n);
        else if (at[i] == '\n')
            tern_buffer_text(out, "\\n");
        else if (at[i] == '\t')
            tern_buffer_text(out, "\\t");
        else
            for (size_t k = 0; k < (n ? n : 1); k++)
                tern_buffer_printf(out, "\\x%02x", at[i + k]);
        i += n ? n : 1;
    }
    if (i < n_bytes)
        tern_buffer_printf(out, "... (%zu bytes)", n_bytes);
}

void tern_render_f32(tern_buffer *out, float value) {
    char text[40];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    tern_buffer_text(out, text);
}

void tern_render_f64(tern_buffer *out, double value) {
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    tern_buffer_text(out, text);
}
