/* The messages of a chat, and their file. */
#ifndef TERN_CLI_CHAT_HISTORY_H
#define TERN_CLI_CHAT_HISTORY_H

#include "base/status.h"

typedef struct tern_history {
    tern_message *messages; /* [count]; a system message can only be the first; strings owned */
    size_t count, capacity;
} tern_history; /* zero-initialised is empty */

/* Append a copy of content [n_bytes]; zero bytes in it are left out (a message
 * is a zero-terminated string). `role` must be a literal. False: no memory. */
bool tern_history_add(tern_history *history, const char *role, const char *content, size_t n_bytes);
/* NULL removes the system message. False: no memory, nothing changed. */
bool tern_history_set_system(tern_history *history, const char *content);
const char *tern_history_system(const tern_history *history); /* NULL: none */
/* Keep the first `count` messages. */
void tern_history_truncate(tern_history *history, size_t count);
/* Drop all but the system message. */
void tern_history_reset(tern_history *history);
/* Drop the oldest turn, a user's message with what follows up to the next one.
 * The system message and the last turn stay. Its size as below; 0: nothing was left to drop. */
size_t tern_history_drop_turn(tern_history *history);
/* Bytes of all messages, with some for what the template puts around each. */
size_t tern_history_size(const tern_history *history);
void tern_history_free(tern_history *history);

/* {"model": ..., "messages": [{"role": ..., "content": ...}, ...]}; bytes that are
 * no UTF-8 become U+FFFD. A regular file is replaced only when the new one is whole. */
tern_status tern_history_save(const tern_history *history, const char *model, const char *path, tern_error *err);
/* Such a file, or only the array. On failure *history is as before. */
tern_status tern_history_load(tern_history *history, const char *path, tern_error *err);

#endif
