/* Byte strings: a view into somebody's memory and a growing buffer. */
#ifndef TERN_BASE_STR_H
#define TERN_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/status.h"

typedef struct tern_view {
    const char *bytes;
    size_t size;
} tern_view;

static inline tern_view tern_view_of(const char *text) { return (tern_view){text, strlen(text)}; }
static inline bool tern_view_equal(tern_view a, tern_view b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.bytes, b.bytes, a.size) == 0);
}

/* A growing byte buffer; zero-initialised is empty. After a failed append
 * `failed` stays set, so a run of appends needs one check at its end. */
typedef struct tern_buffer {
    char *bytes; /* zero-terminated whenever not NULL */
    size_t size, capacity;
    bool failed;
} tern_buffer;

bool tern_buffer_append(tern_buffer *buffer, const void *bytes, size_t n_bytes);
bool tern_buffer_text(tern_buffer *buffer, const char *text);
bool tern_buffer_printf(tern_buffer *buffer, const char *format, ...) TERN_PRINTF(2, 3);
void tern_buffer_free(tern_buffer *buffer);
/* The bytes, now the caller's (free with free()); an empty string for an empty
 * buffer; NULL if any append had failed. The buffer is empty afterwards. */
char *tern_buffer_take(tern_buffer *buffer, size_t *n_bytes);

#endif
