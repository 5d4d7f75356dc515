#include "base/status.h"

#include <stdio.h>
#include <string.h>

/* Messages quote names from files that may be hostile: no newline or escape
 * sequence may reach a terminal or break the one-line promise. */
static void make_printable(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
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
    if (n < 0 || (size_t)n >= sizeof err->message)
        return;
    size_t used = (size_t)n, length = strlen(old), room = sizeof err->message - used - 1;
    if (room < 2)
        return;
    memcpy(err->message + used, ": ", 2);
    length = length < room - 2 ? length : room - 2;
    memcpy(err->message + used + 2, old, length);
    err->message[used + 2 + length] = 0;
    make_printable(err->message);
}
