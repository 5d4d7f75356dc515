/* POST /v1/embeddings */
#include <string.h>

#include "server/endpoints.h"
#include "server/fields.h"
#include "server/prompt.h"
#include "server/sampling.h"

/* base64 (RFC 4648, section 4) of float32, little-endian: what the openai Python client asks for. */
static void write_base64(const float *values, size_t n, tern_buffer *out) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n_bytes = n * 4;
    tern_buffer_text(out, "\"");
    for (size_t at = 0; at < n_bytes; at += 3) {
        uint32_t group = 0;
        size_t left = n_bytes - at < 3 ? n_bytes - at : 3;
        for (size_t i = 0; i < 3; i++) {
            uint32_t bits = 0;
            if (i < left)
                memcpy(&bits, &values[(at + i) / 4], sizeof bits);
            group = group << 8 | (bits >> (at + i) % 4 * 8 & 0xff);
        }
        char text[4] = {digits[group >> 18], digits[group >> 12 & 63], left > 1 ? digits[group >> 6 & 63] : '=',
                        left > 2 ? digits[group & 63] : '='};
        tern_buffer_append(out, text, 4);
    }
    tern_buffer_text(out, "\"");
}

static void write_floats(const float *values, size_t n, tern_buffer *out) {
    for (size_t i = 0; i < n; i++) {
        tern_buffer_text(out, i ? "," : "[");
        tern_json_write_float(out, values[i]);
    }
    tern_buffer_text(out, "]");
}

static void write_whole(tern_job *job, tern_buffer *body) {
    const char *format = json_string_value(json_object_get(job->exchange->request, "encoding_format"));
    size_t n = job->exchange->server->info.hidden_size;
    bool base64 = format && strcmp(format, "base64") == 0;
    uint64_t tokens = 0;
    tern_buffer_text(body, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < job->n_choices; i++) {
        tern_buffer_printf(body, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i ? "," : "", i);
        if (base64)
            write_base64(job->choices[i].embedding, n, body);
        else
            write_floats(job->choices[i].embedding, n, body);
        tern_buffer_text(body, "}");
        tokens += job->prompts[i].n_ids;
    }
    tern_buffer_text(body, "],\"model\":");
    tern_json_write_text(body, job->exchange->server->model_name);
    tern_buffer_printf(body, ",\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}", (unsigned long long)tokens,
                       (unsigned long long)tokens);
}

static void on_event(tern_choice *choice, const tern_request_event *event) { (void)choice, (void)event; }

static const tern_job_ops ops = {.prefix = "emb-", .event = on_event, .whole = write_whole};

int tern_endpoint_embeddings(tern_exchange *x, tern_api_error *error) {
    const char *format = NULL;
    int64_t dimensions = x->server->info.hidden_size;
    size_t n;
    if (tern_check_fields(x, TERN_FIELDS_EMBEDDING, error) || tern_check_model(x, error) ||
        tern_field_string(x->request, "encoding_format", &format, error) ||
        tern_field_int(x->request, "dimensions", 1, INT32_MAX, &dimensions, error) ||
        tern_count_prompts(x, "input", &n, error))
        return error->status;
    if (format && strcmp(format, "float") != 0 && strcmp(format, "base64") != 0)
        return tern_api_fail(error, 400, "encoding_format", "invalid_value",
                             "'encoding_format' must be \"float\" or \"base64\"");
    if (dimensions != x->server->info.hidden_size)
        return tern_api_fail(error, 400, "dimensions", "unsupported_value",
                             "'dimensions': this model's embeddings have %u, and cannot be shortened",
                             x->server->info.hidden_size);
    if (tern_job_create(x, &ops, n, 1, error) || tern_parse_prompts(x->job, "input", error))
        return error->status;
    x->job->params.sampler = tern_sampler_defaults();
    x->job->params.embedding = true;
    return 0;
}
