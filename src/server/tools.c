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

/* What the model is told. Ternary models of today have no form of their own for it. */
static int write_text(tern_job *job, tern_api_error *error) {
    tern_buffer text = {0};
    tern_buffer_text(&text, "You can call functions. To call one, answer with nothing but a JSON object: "
                            "{\"name\": the function's name, \"arguments\": {...}}. The functions are:");
    for (size_t i = 0; i < json_array_size(job->tools); i++) {
        char *line = tern_json_dump(json_object_get(json_array_get(job->tools, i), "function"), JSON_PRESERVE_ORDER);
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
        if (status != 400)
            return status;
    }
    return error->status;
}

static int apply_choice(tern_job *job, const json_t *choice, tern_api_error *error) {
    const char *word = json_string_value(choice);
    if (!choice || (word && strcmp(word, "auto") == 0))
        return offer(job, error);
    if (word && strcmp(word, "required") == 0)
        return force(job, NULL, error);
    const json_t *tool = json_is_object(choice) ? find_tool(job->tools, name_of(choice)) : NULL;
    if (!tool)
        return tern_api_fail(error, 400, "tool_choice", "invalid_value",
                             "'tool_choice' must be \"none\", \"auto\", \"required\" or {\"type\": \"function\", "
                             "\"function\": {\"name\": the name of one of 'tools'}}");
    return force(job, tool, error);
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
    if (word && strcmp(word, "none") == 0)
        return 0;
    if (n == 0)
        return choice && (!word || strcmp(word, "auto") != 0)
                   ? tern_api_fail(error, 400, "tool_choice", "invalid_value", "'tool_choice' needs 'tools'")
                   : 0;
    job->tools = tools;
    return write_text(job, error) ? error->status : apply_choice(job, choice, error);
}

json_t *tern_find_call(const tern_job *job, const char *text, size_t n_bytes, tern_buffer *out) {
    json_error_t where;
    if (!job->tools)
        return NULL;
    json_t *call = tern_json_load(text, n_bytes, 0, &where);
    out->failed |= !call && tern_json_no_memory(&where);
    if (call && find_tool(job->tools, json_string_value(json_object_get(call, "name"))) &&
        json_is_object(json_object_get(call, "arguments")))
        return call;
    json_decref(call);
    return NULL;
}

void tern_write_call(const tern_choice *choice, const json_t *call, bool index, tern_buffer *out) {
    char *arguments = tern_json_dump(json_object_get(call, "arguments"), JSON_COMPACT | JSON_PRESERVE_ORDER);
    tern_buffer_printf(out, "{%s\"id\":\"call_%s_%zu\",\"type\":\"function\",\"function\":{\"name\":",
                       index ? "\"index\":0," : "", choice->job->exchange->id, choice->index);
    tern_json_write_text(out, json_string_value(json_object_get(call, "name")));
    tern_buffer_text(out, ",\"arguments\":");
    tern_json_write_text(out, arguments ? arguments : "");
    tern_buffer_text(out, "}}");
    out->failed |= !arguments;
    free(arguments);
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
