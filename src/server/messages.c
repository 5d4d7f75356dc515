#include "server/messages.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "server/limits.h"
#include "server/tools.h"

/* OpenAI's roles and those that chat templates know. */
static const struct {
    const char *name, *role;
} roles[] = {
    {"system", "system"}, {"developer", "system"}, /* OpenAI's newer name of it */
    {"user", "user"},     {"assistant", "assistant"},
    {"tool", "user"}, /* templates have no role for what a function returned */
};

static int add_part(const json_t *part, const char *param, tern_buffer *text, tern_api_error *error) {
    const char *type = json_string_value(json_object_get(part, "type"));
    bool refusal = type && strcmp(type, "refusal") == 0; /* what the assistant said, in OpenAI's histories */
    const json_t *value = json_object_get(part, refusal ? "refusal" : "text");
    if (!type || (!refusal && strcmp(type, "text") != 0) || !json_is_string(value))
        return tern_api_fail(
            error, 400, param, "unsupported_value",
            "'%s' holds a part that is not {\"type\":\"text\",\"text\":...}: this model reads text only", param);
    tern_buffer_append(text, json_string_value(value), json_string_length(value));
    return 0;
}

/* A message's content, a string or an array of parts, behind what `text` holds. */
static int add_content(const json_t *content, const char *param, tern_buffer *text, tern_api_error *error) {
    size_t before = text->size;
    if (json_is_string(content)) {
        tern_buffer_append(text, json_string_value(content), json_string_length(content));
    } else if (json_is_array(content)) {
        for (size_t i = 0; i < json_array_size(content); i++)
            if (add_part(json_array_get(content, i), param, text, error))
                return error->status;
    } else {
        return tern_api_fail(error, 400, param, "invalid_type",
                             "'%s' must be a string or an array of text parts, not %s", param,
                             tern_json_type_name(content));
    }
    if (text->failed)
        return tern_api_fail_memory(error);
    if (text->size > before && memchr(text->bytes + before, 0, text->size - before))
        return tern_api_fail(error, 400, param, "invalid_value", "'%s' must not hold the character U+0000", param);
    return 0;
}

/* All of a message that the model reads. */
static int add_text(const json_t *item, const char *role, size_t index, tern_buffer *text, tern_api_error *error) {
    char param[64];
    const json_t *content = tern_field(item, "content"), *calls = tern_field(item, "tool_calls");
    snprintf(param, sizeof param, "messages[%zu].content", index);
    if (strcmp(role, "tool") == 0)
        tern_buffer_text(text, "The function returned: ");
    if ((content || !calls) && add_content(content, param, text, error))
        return error->status;
    snprintf(param, sizeof param, "messages[%zu].tool_calls", index);
    return calls && strcmp(role, "assistant") == 0 ? tern_add_calls(calls, param, text, error) : 0;
}

static int parse_message(const json_t *item, size_t index, tern_arena *arena, tern_message *message,
                         tern_api_error *error) {
    char param[64];
    snprintf(param, sizeof param, "messages[%zu].role", index);
    const char *name = json_string_value(json_object_get(item, "role"));
    size_t i = 0, n_roles = sizeof roles / sizeof *roles;
    while (i < n_roles && (!name || strcmp(roles[i].name, name) != 0))
        i++;
    if (i == n_roles)
        return tern_api_fail(error, 400, param, "invalid_value",
                             "'%s' must be \"system\", \"developer\", \"user\", \"assistant\" or \"tool\"", param);
    message->role = roles[i].role;
    tern_buffer text = {0};
    int status = add_text(item, name, index, &text, error);
    if (!status) {
        message->content = text.failed ? NULL : tern_arena_copy(arena, text.bytes ? text.bytes : "", text.size);
        status = message->content ? 0 : tern_api_fail_memory(error);
    }
    tern_buffer_free(&text);
    return status;
}

/* What the model is told of functions, in the system message or as one. `messages` has room for one more. */
static int add_tools(const char *text, tern_arena *arena, tern_message *messages, size_t *n, tern_api_error *error) {
    tern_buffer all = {0};
    if (strcmp(messages[0].role, "system") == 0) {
        tern_buffer_text(&all, messages[0].content);
        tern_buffer_text(&all, "\n\n");
    } else {
        memmove(messages + 1, messages, *n * sizeof *messages);
        messages[0].role = "system";
        ++*n;
    }
    tern_buffer_text(&all, text);
    messages[0].content = all.failed ? NULL : tern_arena_copy(arena, all.bytes, all.size);
    tern_buffer_free(&all);
    return messages[0].content ? 0 : tern_api_fail_memory(error);
}

static int parse_all(const char *tool_text, const json_t *list, tern_arena *arena, tern_message *messages, size_t *n,
                     tern_api_error *error) {
    for (size_t i = 0; i < *n; i++)
        if (parse_message(json_array_get(list, i), i, arena, &messages[i], error))
            return error->status;
    return tool_text ? add_tools(tool_text, arena, messages, n, error) : 0;
}

int tern_parse_messages(const tern_exchange *x, const char *tool_text, tern_prompt *prompt, tern_api_error *error) {
    const json_t *list = NULL;
    tern_error err;
    if (tern_field_array(x->request, "messages", &list, error))
        return error->status;
    size_t n = json_array_size(list);
    if (n == 0 || n > TERN_MAX_MESSAGES)
        return tern_api_fail(error, 400, "messages", list ? "invalid_value" : "missing_field",
                             "'messages' must be an array of 1 to %d messages", TERN_MAX_MESSAGES);
    tern_arena arena = {0};
    tern_message *messages = tern_calloc_array(n + 1, sizeof *messages);
    int status = messages ? parse_all(tool_text, list, &arena, messages, &n, error) : tern_api_fail_memory(error);
    if (!status && tern_chat_tokenize(x->server->tokenizer, messages, n, true, TERN_TOKENIZE_BOS, &prompt->ids,
                                      &prompt->n_ids, &err))
        status = tern_api_fail_from(error, "messages", &err);
    tern_arena_free(&arena);
    free(messages);
    return status;
}
