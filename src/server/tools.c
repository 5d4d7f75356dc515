#include "server/tools.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "server/constraint.h"
#include "server/limits.h"

static const char *name_of(const json_t *tool) {
    return json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
}

static const json_t *find_tool(const json_t *tools, const char *name) {
    for (size_t i = 0; name && i < json_array_size(tools); i++)
        if (strcmp(name_of(json_array_get(tools, i)), name) == 0)
            return json_array_get(tools, i);
    return NULL;
}

static int check_tool(const json_t *tool, size_t index, tern_api_error *error) {
    char param[64];
    snprintf(param, sizeof param, "tools[%zu]", index);
    const char *type = json_string_value(json_object_get(tool, "type")), *name = name_of(tool);
    const json_t *parameters = tern_field(json_object_get(tool, "function"), "parameters");
    if (!type || strcmp(type, "function") != 0 || !name || !*name)
        return tern_api_fail(error, 400, param, "invalid_value",
                             "'%s' must be {\"type\": \"function\", \"function\": {\"name\": ...}}", param);
    if (strlen(name) > 64 || name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")])
        return tern_api_fail(error, 400, param, "invalid_value",
                             "'%s': a function's name has up to 64 letters, digits, '_', '-' and '.'", param);
    if (parameters && !json_is_object(parameters))
        return tern_api_fail(error, 400, param, "invalid_type", "'%s': its parameters must be a JSON schema", param);
    return 0;
}

/* What the model is told: of all functions, whichever it may call this time, so that a chat's prompts begin alike.
 * Ternary models of today have no form of their own for it. */
static int write_text(tern_job *job, const json_t *tools, tern_api_error *error) {
    tern_buffer text = {0};
    tern_buffer_text(&text, "You can call functions. To call one, answer with nothing but a JSON object: "
                            "{\"name\": the function's name, \"arguments\": {...}}. The functions are:");
    for (size_t i = 0; i < json_array_size(tools); i++) {
        char *line = tern_json_dump(json_object_get(json_array_get(tools, i), "function"), JSON_PRESERVE_ORDER);
        tern_buffer_text(&text, "\n");
        text.failed |= !line;
        tern_buffer_text(&text, line ? line : "");
        free(line);
    }
    job->tool_text = tern_buffer_take(&text, NULL);
    return job->tool_text ? 0 : tern_api_fail_memory(error);
}

/* A schema's definitions are found from its root ("#/$defs/bird"): they move to the root of the schema that holds it.
 */
static bool move_definitions(const json_t *parameters, json_t *root) {
    static const char *const names[] = {"$defs", "definitions"};
    bool ok = true;
    for (size_t i = 0; i < 2; i++) {
        const char *key;
        json_t *value, *from = json_object_get(parameters, names[i]), *to = json_object_get(root, names[i]);
        if (!json_is_object(from))
            continue;
        if (!to)
            ok &= json_object_set_new(root, names[i], to = json_object()) == 0;
        json_object_foreach(from, key, value) {
            const json_t *other = json_object_get(to, key);
            ok = ok && (!other || json_equal(other, value)) && json_object_set(to, key, value) == 0;
        }
    }
    return ok;
}

/* {"type":"object","properties":{"name":{"const":NAME},"arguments":SCHEMA},...}; `any`: with any object of arguments.
 * NULL: no memory. */
static json_t *schema_of(const json_t *tool, bool any) {
    const json_t *parameters = tern_field(json_object_get(tool, "function"), "parameters");
    json_t *arguments = parameters && !any ? json_incref((json_t *)parameters) : json_pack("{s:s}", "type", "object");
    return json_pack("{s:s, s:{s:{s:s}, s:o}, s:[s, s], s:b}", "type", "object", "properties", "name", "const",
                     name_of(tool), "arguments", arguments, "required", "name", "arguments", "additionalProperties", 0);
}

/* A call of `only`, or of any function if that is NULL. */
static json_t *schema_of_calls(const tern_job *job, const json_t *only, bool any, tern_api_error *error) {
    json_t *list = json_array(), *root = json_pack("{s:O}", "anyOf", list);
    for (size_t i = 0; root && i < json_array_size(job->tools); i++) {
        const json_t *tool = json_array_get(job->tools, i);
        if (only && tool != only)
            continue;
        const json_t *parameters = tern_field(json_object_get(tool, "function"), "parameters");
        bool good = any || move_definitions(parameters, root);
        if (good && json_array_append_new(list, schema_of(tool, any)) == 0)
            continue;
        json_decref(root);
        root = NULL;
        if (!good)
            tern_api_fail(error, 400, "tools", "invalid_value",
                          "'tools[%zu]': a definition of its schema is another one in the function before", i);
    }
    json_decref(list);
    if (!root && !error->status)
        tern_api_fail_memory(error);
    return root;
}

/* The answer has to be a call: of `only`, or of any of them if that is NULL. */
static int force(tern_job *job, const json_t *only, tern_api_error *error) {
    json_t *schema = schema_of_calls(job, only, false, error);
    int status = schema ? tern_constrain(job, schema, tern_grammar_from_schema, "tools", error) : error->status;
    json_decref(schema);
    job->calls_are_sure = status == 0;
    return status;
}

/* The answer may be a call: what begins as one has to become one. Clients send schemas that tern does not know all of;
 * as a call is not asked for, such a request is served, with any object of arguments. */
static int offer(tern_job *job, tern_api_error *error) {
    if (job->grammar) /* the client has said what the answer looks like */
        return 0;
    for (int any = 0; any < 2; any++) {
        *error = (tern_api_error){0};
        json_t *schema = schema_of_calls(job, NULL, any, error);
        int status =
            schema ? tern_constrain(job, schema, tern_grammar_from_schema_or_text, "tools", error) : error->status;
        json_decref(schema);
        job->calls_are_sure = status == 0;
        if (status != 400)
            return status;
    }
    return error->status;
}

/* {"mode": ..., "tools": [...]}: job->tools becomes what is left of them. */
static int allow_some(tern_job *job, const json_t *allowed, tern_api_error *error) {
    const json_t *list = json_object_get(allowed, "tools");
    json_t *some = json_array();
    bool good = json_array_size(list) > 0;
    for (size_t i = 0; some && good && i < json_array_size(list); i++) {
        const json_t *tool = find_tool(job->tools, name_of(json_array_get(list, i)));
        good = tool != NULL;
        if (good && !find_tool(some, name_of(tool)) && json_array_append(some, (json_t *)tool)) {
            json_decref(some);
            some = NULL;
        }
    }
    if (!some)
        return tern_api_fail_memory(error);
    json_decref(job->tools);
    job->tools = some;
    return good ? 0
                : tern_api_fail(error, 400, "tool_choice.allowed_tools.tools", "invalid_value",
                                "'tool_choice.allowed_tools.tools' must be an array of {\"type\": \"function\", "
                                "\"function\": {\"name\": the name of one of 'tools'}}");
}

static int apply_mode(tern_job *job, const char *mode, const char *param, tern_api_error *error) {
    if (mode && strcmp(mode, "auto") == 0)
        return offer(job, error);
    if (mode && strcmp(mode, "required") == 0)
        return force(job, NULL, error);
    return tern_api_fail(error, 400, param, "invalid_value", "'%s' must be \"auto\" or \"required\"", param);
}

static int apply_object(tern_job *job, const json_t *choice, tern_api_error *error) {
    const char *type = json_string_value(json_object_get(choice, "type"));
    const json_t *allowed = json_object_get(choice, "allowed_tools");
    const json_t *tool = find_tool(job->tools, name_of(choice));
    if (type && strcmp(type, "allowed_tools") == 0 && json_is_object(allowed))
        return allow_some(job, allowed, error) ? error->status
                                               : apply_mode(job, json_string_value(json_object_get(allowed, "mode")),
                                                            "tool_choice.allowed_tools.mode", error);
    if ((!type || strcmp(type, "function") == 0) && tool)
        return force(job, tool, error);
    return tern_api_fail(error, 400, "tool_choice", "invalid_value",
                         "'tool_choice' must be \"none\", \"auto\", \"required\", {\"type\": \"function\", "
                         "\"function\": {\"name\": the name of one of 'tools'}} or {\"type\": \"allowed_tools\", "
                         "\"allowed_tools\": {\"mode\": \"auto\" or \"required\", \"tools\": [...]}}");
}

static int apply_choice(tern_job *job, const json_t *choice, tern_api_error *error) {
    if (!choice)
        return offer(job, error);
    const char *word = json_string_value(choice);
    bool is_mode = word && (strcmp(word, "auto") == 0 || strcmp(word, "required") == 0);
    return is_mode ? apply_mode(job, word, "tool_choice", error) : apply_object(job, choice, error);
}

/* An answer has one call, which is right whether it may have several or not. */
static int check_parallel(const json_t *request, size_t n_tools, tern_api_error *error) {
    bool parallel = true;
    if (tern_field_bool(request, "parallel_tool_calls", &parallel, error))
        return error->status;
    return tern_field(request, "parallel_tool_calls") && n_tools == 0
               ? tern_api_fail(error, 400, "parallel_tool_calls", "invalid_value",
                               "'parallel_tool_calls' needs 'tools'")
               : 0;
}

int tern_parse_tools(tern_job *job, tern_api_error *error) {
    const json_t *request = job->exchange->request, *tools = NULL, *choice = tern_field(request, "tool_choice");
    const char *word = json_string_value(choice);
    if (tern_field_array(request, "tools", &tools, error))
        return error->status;
    size_t n = json_array_size(tools);
    if (n > TERN_MAX_TOOLS)
        return tern_api_fail(error, 400, "tools", "invalid_value",
                             "'tools' has %zu functions, but at most %d are allowed", n, TERN_MAX_TOOLS);
    for (size_t i = 0; i < n; i++)
        if (check_tool(json_array_get(tools, i), i, error))
            return error->status;
    if (check_parallel(request, n, error))
        return error->status;
    if (word && strcmp(word, "none") == 0)
        return 0;
    if (n == 0)
        return choice && (!word || strcmp(word, "auto") != 0)
                   ? tern_api_fail(error, 400, "tool_choice", "invalid_value", "'tool_choice' needs 'tools'")
                   : 0;
    job->tools = json_incref((json_t *)tools);
    return write_text(job, tools, error) ? error->status : apply_choice(job, choice, error);
}

/* Of a text that need not be one: the client has said what it looks like. */
static bool find_in_json(const tern_choice *choice, tern_call *call, tern_buffer *out) {
    json_error_t where;
    json_t *object = tern_json_load(choice->text.bytes ? choice->text.bytes : "", choice->text.size, 0, &where);
    const char *name = json_string_value(json_object_get(object, "name"));
    const json_t *arguments = json_object_get(object, "arguments");
    out->failed |= !object && tern_json_no_memory(&where);
    if (!find_tool(choice->job->tools, name) || !json_is_object(arguments)) {
        json_decref(object);
        return false;
    }
    char *text = tern_json_dump(arguments, JSON_COMPACT | JSON_PRESERVE_ORDER);
    out->failed |= !text;
    *call = (tern_call){.name = {name, strlen(name)},
                        .arguments = {text ? text : "", text ? strlen(text) : 0},
                        .is_whole = true,
                        .object = object,
                        .text = text};
    return true;
}

bool tern_call_find(tern_choice *choice, tern_call *call, tern_buffer *out) {
    tern_call_reader *r = &choice->call;
    const char *text = choice->text.bytes;
    *call = (tern_call){0};
    if (!choice->job->tools)
        return false;
    if (!choice->job->calls_are_sure)
        return find_in_json(choice, call, out);
    tern_call_read(r, text, choice->text.size);
    if (!r->arguments)
        return false;
    call->name = (tern_view){text + r->name, r->name_end - r->name};
    call->arguments =
        (tern_view){text + r->arguments, (r->arguments_end ? r->arguments_end : r->n_read) - r->arguments};
    call->is_whole = r->is_whole;
    return true;
}

void tern_call_free(tern_call *call) {
    json_decref(call->object);
    free(call->text);
}

void tern_write_call(const tern_choice *choice, const tern_call *call, bool delta, tern_buffer *out) {
    tern_buffer_printf(out, "{%s\"id\":\"call_%s_%zu\",\"type\":\"function\",\"function\":{\"name\":",
                       delta ? "\"index\":0," : "", choice->job->exchange->id, choice->index);
    tern_json_write_string(out, call->name.bytes, call->name.size);
    tern_buffer_text(out, ",\"arguments\":");
    tern_json_write_string(out, call->arguments.bytes, delta ? 0 : call->arguments.size);
    tern_buffer_text(out, "}}");
}

int tern_add_calls(const json_t *calls, const char *param, tern_buffer *text, tern_api_error *error) {
    if (!json_is_array(calls))
        return tern_api_fail(error, 400, param, "invalid_type", "'%s' must be a list", param);
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *function = json_object_get(json_array_get(calls, i), "function");
        const char *name = json_string_value(json_object_get(function, "name"));
        const char *arguments = json_string_value(json_object_get(function, "arguments"));
        if (!name || !arguments)
            return tern_api_fail(error, 400, param, "invalid_value",
                                 "'%s': a call needs {\"function\": {\"name\": ..., \"arguments\": JSON as a string}}",
                                 param);
        tern_buffer_text(text, text->size ? "\n{\"name\": " : "{\"name\": ");
        tern_json_write_text(text, name);
        tern_buffer_printf(text, ", \"arguments\": %s}", arguments);
    }
    return 0;
}
