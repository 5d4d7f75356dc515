/* Stop strings in a stream: text comes in pieces of any size, and what goes out
 * never holds a byte that may turn out to belong to a stop string. */
#ifndef TERN_RUNTIME_STOP_H
#define TERN_RUNTIME_STOP_H

#include "base/str.h"

typedef struct tern_stop tern_stop;

/* A matcher for strings [n_strings], which are copied; n_strings 0 makes one
 * that lets everything pass. An empty string and one that begins inside a UTF-8
 * character are errors. (The second rule keeps the output whole: when whole
 * characters go in, whole characters come out.) */
tern_status tern_stop_create(const char *const *strings, size_t n_strings, tern_stop **stop, tern_error *err);
void tern_stop_free(tern_stop *stop);

/* The next bytes [n_bytes] of the text. Appends to `out` what is now sure not to
 * be part of a stop string: everything except the longest end of the text that
 * is a proper beginning of a stop string.
 *
 * True once a stop string is complete: then `out` got the text in front of it,
 * and this and all later bytes are dropped. The string that is complete first
 * wins; among those complete at the same byte the longest. A failed append shows in
 * out->failed. Linear in n_bytes, whatever the strings. */
bool tern_stop_feed(tern_stop *stop, const char *bytes, size_t n_bytes, tern_buffer *out);

/* The text has ended: what was held back goes to `out` (nothing after a match). */
void tern_stop_flush(tern_stop *stop, tern_buffer *out);

/* Which string matched: its index, or -1 while none has. */
ptrdiff_t tern_stop_matched(const tern_stop *stop);

/* Bytes held back now. */
size_t tern_stop_held(const tern_stop *stop);

/* Forget the text, for the next answer. */
void tern_stop_reset(tern_stop *stop);

#endif
