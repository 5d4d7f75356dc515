/* Server-sent events (HTML Standard, section 9.2) as OpenAI uses them: a JSON object each, the last one is [DONE]. JSON
 * that was written by json.h has no line break, so an event is one line. */
#ifndef TERN_SERVER_SSE_H
#define TERN_SERVER_SSE_H

#include "base/str.h"

static inline void tern_sse_begin(tern_buffer *out) { tern_buffer_text(out, "data: "); }
static inline void tern_sse_end(tern_buffer *out) { tern_buffer_text(out, "\n\n"); }
static inline void tern_sse_done(tern_buffer *out) { tern_buffer_text(out, "data: [DONE]\n\n"); }

#endif
