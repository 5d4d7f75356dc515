#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

bool tern_buffer_append(tern_buffer *buffer, const void *bytes, size_t n_bytes) {
    if (buffer->failed || n_bytes >= SIZE_MAX - buffer->size ||
        !tern_grow_array((void **)&buffer->bytes, &buffer->capacity, buffer->size + n_bytes + 1, 1)) {
        buffer->failed = true;
        return false;
    }
    if (n_bytes)
        memcpy(buffer->bytes + buffer->size, bytes, n_bytes);
    buffer->size += n_bytes;
    buffer->bytes[buffer->size] = 0;
    return true;
}

bool tern_buffer_text(tern_buffer *buffer, const char *text) { return tern_buffer_append(buffer, text, strlen(text)); }

bool tern_buffer_printf(tern_buffer *buffer, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    bool ok = n >= 0 && !buffer->failed &&
              tern_grow_array((void **)&buffer->bytes, &buffer->capacity, buffer->size + (size_t)n + 1, 1);
    if (ok) {
        vsnprintf(buffer->bytes + buffer->size, (size_t)n + 1, format, again);
        buffer->size += (size_t)n;
    } else {
        buffer->failed = true;
    }
    va_end(again);
    return ok;
}

void tern_buffer_free(tern_buffer *buffer) {
    free(buffer->bytes);
    *buffer = (tern_buffer){0};
}

char *tern_buffer_take(tern_buffer *buffer, size_t *n_bytes) {
    tern_buffer_append(buffer, "", 0); /* makes even an empty buffer a string */
    if (buffer->failed) {
        tern_buffer_free(buffer);
        return NULL;
    }
    char *bytes = buffer->bytes;
    if (n_bytes)
        *n_bytes = buffer->size;
    *buffer = (tern_buffer){0};
    return bytes;
}
