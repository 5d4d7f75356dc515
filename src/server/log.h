/* What happened, one line of JSON each, on standard error. Prompts and answers are no part of it unless asked for. */
#ifndef TERN_SERVER_LOG_H
#define TERN_SERVER_LOG_H

#include <stdint.h>

#include "base/str.h"

/* A line under way: {"time":...,"level":...,"event":... - append fields, then end it, which writes it in one piece. */
typedef struct tern_log_line {
    tern_buffer text;
} tern_log_line;

void tern_log_begin(tern_log_line *line, const char *level, const char *event);
void tern_log_text(tern_log_line *line, const char *name, const char *value);
void tern_log_bytes(tern_log_line *line, const char *name, const char *bytes, size_t n_bytes);
void tern_log_int(tern_log_line *line, const char *name, int64_t value);
void tern_log_ms(tern_log_line *line, const char *name, double seconds);
void tern_log_end(tern_log_line *line);

#endif
