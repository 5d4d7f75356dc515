#include "train/record.h"

#include <stdlib.h>

#include "base/mem.h"
#include "train/json_line.h"

static const char *string_of(const json_t *value) {
    const char *text = json_string_value(value);
    return text && strlen(text) == json_string_length(value) ? text : NULL;
}

static tern_status bad(tern_error *err, const char *what) { return tern_fail(err, TERN_ERR_FORMAT, "%s", what); }

/* Append the messages of a list (or one of `role` if it is a string) to the record's conversation `which`. */
static tern_status append(tern_record *record, size_t which, const json_t *value, const char *role, tern_error *err) {
    size_t n = json_is_array(value) ? json_array_size(value) : 1, have = record->n_messages[which];
    tern_message *messages = realloc(record->messages[which], (have + n + 1) * sizeof *messages);
    if (!messages)
        return tern_fail_memory(err, "the messages");
    record->messages[which] = messages;
    for (size_t i = 0; i < n; i++) {
        const json_t *message = json_is_array(value) ? json_array_get(value, i) : NULL;
        messages[have + i] = (tern_message){message ? string_of(json_object_get(message, "role")) : role,
                                            string_of(message ? json_object_get(message, "content") : value)};
        if (!messages[have + i].role || !messages[have + i].content)
            return bad(err, "a message needs a \"role\" and a \"content\" that are strings without zero bytes");
    }
    record->n_messages[which] = have + n;
    return TERN_OK;
}

static tern_status read_prompt(tern_record *record, size_t which, tern_error *err) {
    const json_t *messages = json_object_get(record->root, "messages"),
                 *prompt = json_object_get(record->root, "prompt");
    if (!messages && !json_is_string(prompt) && !json_is_array(prompt))
        return bad(err, "no \"text\" that is a string, and neither \"messages\" (a list) nor a \"prompt\" (a string)");
    if (messages && !json_is_array(messages))
        return bad(err, "\"messages\" is no list");
    return append(record, which, messages ? messages : prompt, "user", err);
}

static tern_status read_chat(tern_record *record, tern_error *err) {
    const json_t *completion = json_object_get(record->root, "completion"),
                 *text = json_object_get(record->root, "text");
    if (json_is_string(text) && !json_object_get(record->root, "messages") &&
        !json_object_get(record->root, "prompt")) {
        record->text = (tern_view){json_string_value(text), json_string_length(text)};
        return TERN_OK;
    }
    record->n = 1;
    tern_status status = read_prompt(record, 0, err);
    if (!status && !json_object_get(record->root, "messages") && !json_is_string(completion))
        return bad(err, "a \"prompt\" without a \"completion\" that is a string");
    return status || !completion ? status : append(record, 0, completion, "assistant", err);
}

static tern_status read_pair(tern_record *record, tern_error *err) {
    static const char *const names[] = {"chosen", "rejected"};
    tern_status status = TERN_OK;
    record->n = 2;
    for (size_t i = 0; !status && i < 2; i++) {
        const json_t *answer = json_object_get(record->root, names[i]);
        if (!json_is_string(answer) && json_array_size(answer) == 0)
            return tern_fail(err, TERN_ERR_FORMAT, "no \"%s\" (a string or a list of messages)", names[i]);
        if (json_array_size(answer) < 2) /* else it brings its prompt along */
            status = read_prompt(record, i, err);
        if (!status)
            status = append(record, i, answer, "assistant", err);
        if (!status && strcmp(record->messages[i][record->n_messages[i] - 1].role, "assistant") != 0)
            status = tern_fail(err, TERN_ERR_FORMAT, "\"%s\" does not end with the assistant's answer", names[i]);
    }
    return status;
}

tern_status tern_record_parse(tern_shard_kind kind, tern_view line, tern_record *record, tern_error *err) {
    tern_error problem = {0};
    *record = (tern_record){.root = tern_json_line(line, &problem)};
    tern_status status = problem.status;
    if (!status)
        status = kind == TERN_SHARD_PAIRS ? read_pair(record, err) : read_chat(record, err);
    else if (err)
        *err = problem;
    if (status)
        tern_record_free(record);
    return status;
}

void tern_record_free(tern_record *record) {
    free(record->messages[0]);
    free(record->messages[1]);
    json_decref(record->root);
    *record = (tern_record){0};
}
