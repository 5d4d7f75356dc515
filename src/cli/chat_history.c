#include "cli/chat_history.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static void free_message(tern_message *message) { free((char *)message->content); }

static char *copy_without_zeros(const char *content, size_t n_bytes) {
    char *copy = malloc(n_bytes + 1);
    size_t size = 0;
    for (size_t i = 0; copy && i < n_bytes; i++)
        if (content[i])
            copy[size++] = content[i];
    if (copy)
        copy[size] = 0;
    return copy;
}

bool tern_history_add(tern_history *history, const char *role, const char *content, size_t n_bytes) {
    if (!tern_grow_array((void **)&history->messages, &history->capacity, history->count + 1,
                         sizeof *history->messages))
        return false;
    char *copy = copy_without_zeros(content, n_bytes);
    if (copy)
        history->messages[history->count++] = (tern_message){role, copy};
    return copy != NULL;
}

const char *tern_history_system(const tern_history *history) {
    bool has = history->count && strcmp(history->messages[0].role, "system") == 0;
    return has ? history->messages[0].content : NULL;
}

static void remove_range(tern_history *history, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++)
        free_message(&history->messages[i]);
    if (end > begin)
        memmove(history->messages + begin, history->messages + end, (history->count - end) * sizeof(tern_message));
    history->count -= end - begin;
}

bool tern_history_set_system(tern_history *history, const char *content) {
    if (content) {
        if (!tern_history_add(history, "system", content, strlen(content)))
            return false;
        tern_message added = history->messages[--history->count];
        if (tern_history_system(history))
            remove_range(history, 0, 1);
        memmove(history->messages + 1, history->messages, history->count * sizeof(tern_message));
        history->messages[0] = added;
        history->count++;
    } else if (tern_history_system(history)) {
        remove_range(history, 0, 1);
    }
    return true;
}

void tern_history_truncate(tern_history *history, size_t count) {
    if (count < history->count)
        remove_range(history, count, history->count);
}

void tern_history_reset(tern_history *history) { tern_history_truncate(history, tern_history_system(history) ? 1 : 0); }

static size_t range_size(const tern_history *history, size_t begin, size_t end) {
    enum { AROUND = 16 };
    size_t size = 0;
    for (size_t i = begin; i < end; i++)
        size += strlen(history->messages[i].content) + AROUND;
    return size;
}

size_t tern_history_size(const tern_history *history) { return range_size(history, 0, history->count); }

size_t tern_history_drop_turn(tern_history *history) {
    size_t begin = tern_history_system(history) ? 1 : 0, end = begin + 1;
    while (end < history->count && strcmp(history->messages[end].role, "user") != 0)
        end++;
    if (end >= history->count) /* that would be the last turn */
        return 0;
    size_t size = range_size(history, begin, end);
    remove_range(history, begin, end);
    return size;
}

void tern_history_free(tern_history *history) {
    tern_history_truncate(history, 0);
    free(history->messages);
    *history = (tern_history){0};
}
