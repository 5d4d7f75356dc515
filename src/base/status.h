/* Filling a caller's tern_error. */
#ifndef TERN_BASE_STATUS_H
#define TERN_BASE_STATUS_H

#include <stdarg.h>

#include "tern/tern.h"

#if defined(__GNUC__)
#define TERN_PRINTF(format_index, first_arg) __attribute__((format(printf, format_index, first_arg)))
#else
#define TERN_PRINTF(format_index, first_arg)
#endif

/* Write the message (control characters from hostile files made harmless) into
 * err, which may be NULL, and return status, so that failing is one statement:
 *     return tern_fail(err, TERN_ERR_FORMAT, "%s: no tensors", path); */
tern_status tern_fail(tern_error *err, tern_status status, const char *format, ...) TERN_PRINTF(3, 4);

/* Out of memory while making `what`. */
tern_status tern_fail_memory(tern_error *err, const char *what);

/* Put "prefix: " in front of the message that is already there. */
void tern_error_prefix(tern_error *err, const char *format, ...) TERN_PRINTF(2, 3);

#endif
