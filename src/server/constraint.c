#include "server/constraint.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static int has_one_already(const tern_job *job, const char *param, tern_api_error *error) {
    if (!job->grammar)
        return 0;
    return tern_api_fail(error, 400, param, "invalid_value",
                         "'%s' cannot stand together with another field that says what the answer looks like", param);
}

/* Of a text that `read` reads; NULL: of what it makes of none. */
static int constrain_by(tern_job *job, const char *text, tern_schema_reader *read, const char *param,
                        tern_api_error *error) {
    tern_error err;
    if (has_one_already(job, param, error))
        return error->status;
    if (read(job->exchange->server->tokenizer, text, &job->grammar, &err))
        return tern_api_fail_from(error, param, &err);
    job->params.sampler.grammar = job->grammar;
    return 0;
}

int tern_constrain(tern_job *job, const json_t *schema, tern_schema_reader *read, const char *param,
                   tern_api_error *error) {
    char *text = schema ? tern_json_dump(schema, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    if (schema && !text)
        return tern_api_fail_memory(error);
    int status = constrain_by(job, text, read, param, error);
    free(text);
    return status;
}

/* ------------------------------------------- the forms that a field may have */

static int by_grammar(tern_job *job, const json_t *value, const char *param, tern_api_error *error) {
    const char *gbnf = json_string_value(value);
    if (!gbnf || strlen(gbnf) != json_string_length(value))
        return tern_api_fail(error, 400, param, gbnf ? "invalid_value" : "invalid_type",
                             "'%s' must be a grammar as a string without the character U+0000", param);
    return *gbnf ? constrain_by(job, gbnf, tern_grammar_parse, param, error) : 0;
}

/* An object, or one as a string, as vLLM's clients send it. */
static int by_schema(tern_job *job, const json_t *value, const char *param, tern_api_error *error) {
    json_error_t where;
    json_t *read = NULL;
    if (json_is_string(value)) {
        read = tern_json_load(json_string_value(value), json_string_length(value), 0, &where);
        if (!read && tern_json_no_memory(&where))
            return tern_api_fail_memory(error);
    }
    const json_t *schema = read ? read : value;
    int status = json_is_object(schema)
                     ? tern_constrain(job, schema, tern_grammar_from_schema, param, error)
                     : tern_api_fail(error, 400, param, "invalid_type", "'%s' must be a JSON schema: an object", param);
    json_decref(read);
    return status;
}

static int by_object(tern_job *job, const json_t *value, const char *param, tern_api_error *error) {
    if (!json_is_boolean(value))
        return tern_api_fail(error, 400, param, "invalid_type", "'%s' must be true or false", param);
    return json_is_true(value) ? constrain_by(job, NULL, tern_grammar_from_schema, param, error) : 0;
}

/* One of some texts: a grammar of literals. */
static int by_choice(tern_job *job, const json_t *value, const char *param, tern_api_error *error) {
    tern_buffer gbnf = {0};
    size_t n = json_array_size(value);
    bool good = n > 0;
    tern_buffer_text(&gbnf, "root ::= ");
    for (size_t i = 0; i < n && good; i++) {
        const char *text = json_string_value(json_array_get(value, i));
        good = text && strlen(text) == json_string_length(json_array_get(value, i));
        tern_buffer_text(&gbnf, i ? " | \"" : "\"");
        for (; good && *text; text++)
            tern_buffer_printf(&gbnf, strchr("\"\\\n\r", *text) ? "\\x%02x" : "%c", *text);
        tern_buffer_text(&gbnf, "\"");
    }
    int status = gbnf.failed ? tern_api_fail_memory(error)
                 : good      ? constrain_by(job, gbnf.bytes, tern_grammar_parse, param, error)
                             : tern_api_fail(error, 400, param, "invalid_type",
                                             "'%s' must be an array of strings without the character U+0000", param);
    tern_buffer_free(&gbnf);
    return status;
}

static int by_nothing(tern_job *job, const json_t *value, const char *param, tern_api_error *error) {
    (void)job, (void)value;
    return tern_api_fail(error, 400, param, "unsupported_value", "'%s' is not supported; write a grammar", param);
}

/* tern's and llama-server's names, and both generations of vLLM's. */
static const struct {
    const char *group, *name, *param; /* group: the object that the field is in; NULL: the request */
    int (*apply)(tern_job *job, const json_t *value, const char *param, tern_api_error *error);
} forms[] = {
    {NULL, "grammar", "grammar", by_grammar},
    {NULL, "guided_grammar", "guided_grammar", by_grammar},
    {NULL, "json_schema", "json_schema", by_schema},
    {NULL, "guided_json", "guided_json", by_schema},
    {NULL, "guided_choice", "guided_choice", by_choice},
    {"structured_outputs", "grammar", "structured_outputs.grammar", by_grammar},
    {"structured_outputs", "json", "structured_outputs.json", by_schema},
    {"structured_outputs", "json_object", "structured_outputs.json_object", by_object},
    {"structured_outputs", "choice", "structured_outputs.choice", by_choice},
    {"structured_outputs", "regex", "structured_outputs.regex", by_nothing},
    {"structured_outputs", "structural_tag", "structured_outputs.structural_tag", by_nothing},
};

static int parse_forms(tern_job *job, tern_api_error *error) {
    const json_t *request = job->exchange->request;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        const json_t *object = request;
        if (forms[i].group && tern_field_object(request, forms[i].group, &object, error))
            return error->status;
        const json_t *value = object == request && forms[i].group ? NULL : tern_field(object, forms[i].name);
        if (value && forms[i].apply(job, value, forms[i].param, error))
            return error->status;
    }
    return 0;
}

static int parse_schema(tern_job *job, const json_t *format, tern_api_error *error) {
    const json_t *schema = json_object_get(json_object_get(format, "json_schema"), "schema");
    if (!json_is_object(schema))
        return tern_api_fail(error, 400, "response_format.json_schema", "invalid_type",
                             "'response_format' of type json_schema needs {\"json_schema\": {\"schema\": {...}}}");
    return tern_constrain(job, schema, tern_grammar_from_schema, "response_format.json_schema", error);
}

int tern_parse_constraint(tern_job *job, tern_api_error *error) {
    const json_t *format = NULL;
    if (parse_forms(job, error) || tern_field_object(job->exchange->request, "response_format", &format, error))
        return error->status;
    if (!format)
        return 0;
    const char *type = json_string_value(json_object_get(format, "type"));
    if (type && strcmp(type, "text") == 0)
        return 0;
    if (type && strcmp(type, "json_object") == 0)
        return tern_constrain(job, NULL, tern_grammar_from_schema, "response_format", error);
    if (type && strcmp(type, "json_schema") == 0)
        return parse_schema(job, format, error);
    return tern_api_fail(error, 400, "response_format.type", "invalid_value",
                         "'response_format.type' must be \"text\", \"json_object\" or \"json_schema\"");
}
