#include "server/constraint.h"

#include <stdlib.h>
#include <string.h>

static int has_one_already(const tern_job *job, const char *param, tern_api_error *error) {
    if (!job->grammar)
        return 0;
    return tern_api_fail(error, 400, param, "invalid_value",
                         "'%s' cannot stand together with another field that says what the answer looks like", param);
}

int tern_constrain(tern_job *job, const json_t *schema, tern_schema_reader *read, const char *param,
                   tern_api_error *error) {
    tern_error err;
    if (has_one_already(job, param, error))
        return error->status;
    char *text = schema ? tern_json_dump(schema, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    if (schema && !text)
        return tern_api_fail_memory(error);
    tern_status status = read(job->exchange->server->tokenizer, text, &job->grammar, &err);
    free(text);
    if (status)
        return tern_api_fail_from(error, param, &err);
    job->params.sampler.grammar = job->grammar;
    return 0;
}

static int parse_grammar(tern_job *job, tern_api_error *error) {
    const char *gbnf = NULL;
    tern_error err;
    if (tern_field_string(job->exchange->request, "grammar", &gbnf, error))
        return error->status;
    if (!gbnf || !*gbnf)
        return 0;
    if (tern_grammar_parse(job->exchange->server->tokenizer, gbnf, &job->grammar, &err))
        return tern_api_fail_from(error, "grammar", &err);
    job->params.sampler.grammar = job->grammar;
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
    if (parse_grammar(job, error) || tern_field_object(job->exchange->request, "response_format", &format, error))
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
