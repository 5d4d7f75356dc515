#include "server/error.h"

#include <stdio.h>

#include "server/json.h"

/* OpenAI's client libraries choose their exception by the status; people read the type. */
static const struct {
    int status;
    const char *type;
} types[] = {
    {408, "timeout_error"}, {429, "rate_limit_error"},    {500, "server_error"},
    {503, "server_error"},  {0, "invalid_request_error"}, /* all else is the client's doing */
};

int tern_api_fail(tern_api_error *error, int status, const char *param, const char *code, const char *format, ...) {
    *error = (tern_api_error){.status = status, .code = code};
    if (param)
        snprintf(error->param, sizeof error->param, "%s", param);
    va_list args;
    va_start(args, format);
    vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
    return status;
}

int tern_api_fail_memory(tern_api_error *error) {
    return tern_api_fail(error, 500, NULL, "out_of_memory", "the server is out of memory; try a smaller request");
}

int tern_api_fail_from(tern_api_error *error, const char *param, const tern_error *err) {
    switch (err->status) {
    case TERN_ERR_BUSY:
        return tern_api_fail(error, 429, NULL, "queue_full", "%s", err->message);
    case TERN_ERR_CONTEXT:
        return tern_api_fail(error, 400, param, "context_length_exceeded", "%s", err->message);
    case TERN_ERR_ARGUMENT:
    case TERN_ERR_FORMAT:
    case TERN_ERR_UNSUPPORTED:
        return tern_api_fail(error, 400, param, "invalid_value", "%s", err->message);
    case TERN_ERR_MEMORY:
        return tern_api_fail(error, 500, NULL, "out_of_memory", "%s", err->message);
    default:
        return tern_api_fail(error, 500, NULL, NULL, "%s", err->message);
    }
}

void tern_api_error_write(const tern_api_error *error, tern_buffer *body) {
    size_t i = 0;
    while (types[i].status && types[i].status != error->status)
        i++;
    tern_buffer_text(body, "{\"error\":{\"message\":");
    tern_json_write_text(body, error->message);
    tern_buffer_printf(body, ",\"type\":\"%s\",\"param\":", types[i].type);
    if (error->param[0])
        tern_json_write_text(body, error->param);
    else
        tern_buffer_text(body, "null");
    tern_buffer_text(body, ",\"code\":");
    if (error->code)
        tern_json_write_text(body, error->code);
    else
        tern_buffer_text(body, "null");
    tern_buffer_text(body, "}}");
}
