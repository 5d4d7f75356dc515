#include "base/status.h"

#include <stdio.h>
#include <string.h>

/* Messages quote names from files that may be hostile: no newline or escape
 * sequence may reach a terminal or break the one-line promise. U+0080 to U+009F
 * (C2 80 to C2 9F) are control characters too; U+009B begins escape sequences. */
static void make_printable(char *text) {
    for (; *text; text++) {
        unsigned char byte = (unsigned char)text[0], next = (unsigned char)text[1];
        if (byte < 0x20 || byte == 0x7f)
            text[0] = '?';
        else if (byte == 0xc2 && next >= 0x80 && next <= 0x9f)
            text[0] = text[1] = '?';
    }
}

tern_status tern_fail(tern_error *err, tern_status status, const char *format, ...) {
    if (err) {
        va_list args;
        va_start(args, format);
        vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
        make_printable(err->message);
        err->status = status;
    }
    return status;
}

tern_status tern_fail_memory(tern_error *err, const char *what) {
    return tern_fail(err, TERN_ERR_MEMORY, "out of memory for %s", what);
}

void tern_error_prefix(tern_error *err, const char *format, ...) {
    if (!err)
        return;
    char old[TERN_ERROR_SIZE];
    memcpy(old, err->message, sizeof old);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    size_t used = n < 0 ? 0 : (size_t)n, length = strlen(old);
    if (used + 2 < sizeof err->message) { /* else the prefix alone fills it */
        size_t room = sizeof err->message - used - 3;
        memcpy(err->message + used, ": ", 2);
        length = length < room ? length : room;
        memcpy(err->message + used + 2, old, length);
        err->message[used + 2 + length] = 0;
    }
    make_printable(err->message);
}
