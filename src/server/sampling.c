#include "server/sampling.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/mem.h"
#include "server/limits.h"

int tern_check_model_name(const tern_exchange *x, const char *model, tern_api_error *error) {
    if (strcmp(model, x->server->model_name) == 0 || strcmp(model, "default") == 0)
        return 0;
    return tern_api_fail(error, 404, "model", "model_not_found",
                         "the model '%.100s' is not here; this server has '%s' (also as 'default')", model,
                         x->server->model_name);
}

int tern_check_model(const tern_exchange *x, tern_api_error *error) {
    const char *model = NULL;
    if (tern_field_string(x->request, "model", &model, error))
        return error->status;
    return model ? tern_check_model_name(x, model, error) : 0;
}

int tern_parse_n(const tern_exchange *x, int64_t *n, tern_api_error *error) {
    int64_t best_of;
    *n = 1;
    if (tern_field_int(x->request, "n", 1, 128, n, error))
        return error->status;
    best_of = *n;
    if (tern_field_int(x->request, "best_of", 1, 128, &best_of, error))
        return error->status;
    if (best_of != *n)
        return tern_api_fail(error, 400, "best_of", "unsupported_value",
                             "'best_of' must be as large as 'n': this server does not choose among answers");
    return 0;
}

/* Different for each request that names none. */
static uint64_t fresh_seed(const tern_exchange *x) {
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) == sizeof seed)
        return seed;
    return (uint64_t)(tern_seconds() * 1e9) ^ (uint64_t)(uintptr_t)x;
}

static int parse_numbers(tern_job *job, tern_api_error *error) {
    const json_t *request = job->exchange->request;
    tern_sampler_params *sampler = &job->params.sampler;
    const struct {
        const char *name;
        double min, max;
        float *value;
    } floats[] = {
        {"temperature", 0, 2, &sampler->temperature},
        {"top_p", 0, 1, &sampler->top_p},
        {"min_p", 0, 1, &sampler->min_p},
        {"frequency_penalty", -2, 2, &sampler->frequency_penalty},
        {"presence_penalty", -2, 2, &sampler->presence_penalty},
        {"repeat_penalty", 0.01, 100, &sampler->repeat_penalty},     /* llama.cpp's name */
        {"repetition_penalty", 0.01, 100, &sampler->repeat_penalty}, /* vLLM's */
    };
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        if (tern_field_float(request, floats[i].name, floats[i].min, floats[i].max, floats[i].value, error))
            return error->status;
    if (sampler->top_p < 1e-6f) /* OpenAI allows 0: only the likeliest token */
        sampler->top_p = 1e-6f;
    int64_t top_k = sampler->top_k, seed = 0;
    if (tern_field_int(request, "top_k", -1, INT32_MAX, &top_k, error) ||
        tern_field_int(request, "seed", INT64_MIN, INT64_MAX, &seed, error) ||
        tern_field_bool(request, "ignore_eos", &job->params.ignore_end, error))
        return error->status;
    sampler->top_k = top_k < 0 ? 0 : (int32_t)top_k;
    sampler->seed = tern_field(request, "seed") ? (uint64_t)seed : fresh_seed(job->exchange);
    return 0;
}

static int add_stop(tern_job *job, const json_t *item, tern_api_error *error) {
    const char *text = json_string_value(item);
    if (!text)
        return tern_api_fail(error, 400, "stop", "invalid_type", "'stop' must be a string or an array of strings");
    if (!*text || strlen(text) != json_string_length(item))
        return tern_api_fail(error, 400, "stop", "invalid_value",
                             "'stop' must not hold an empty string or the character U+0000");
    job->stop[job->params.n_stop++] = text;
    return 0;
}

static int parse_stop(tern_job *job, tern_api_error *error) {
    const json_t *stop = tern_field(job->exchange->request, "stop");
    size_t n = json_is_array(stop) ? json_array_size(stop) : stop != NULL;
    if (n == 0)
        return 0;
    if (n > TERN_MAX_STOP)
        return tern_api_fail(error, 400, "stop", "invalid_value", "'stop' has %zu strings, but at most %d are allowed",
                             n, TERN_MAX_STOP);
    job->stop = tern_alloc_array(n, sizeof *job->stop);
    if (!job->stop)
        return tern_api_fail_memory(error);
    job->params.stop = job->stop;
    for (size_t i = 0; i < n; i++)
        if (add_stop(job, json_is_array(stop) ? json_array_get(stop, i) : stop, error))
            return error->status;
    return 0;
}

static int parse_bias(tern_job *job, tern_api_error *error) {
    const json_t *object = NULL;
    if (tern_field_object(job->exchange->request, "logit_bias", &object, error))
        return error->status;
    size_t n = json_object_size(object);
    if (n == 0)
        return 0;
    if (n > TERN_MAX_BIAS)
        return tern_api_fail(error, 400, "logit_bias", "invalid_value",
                             "'logit_bias' has %zu tokens, but at most %d are allowed", n, TERN_MAX_BIAS);
    job->bias = tern_alloc_array(n, sizeof *job->bias);
    if (!job->bias)
        return tern_api_fail_memory(error);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        char *end;
        long id = strtol(key, &end, 10);
        double bias = json_number_value(value);
        if (*key < '0' || *key > '9' || *end || id < 0 || id >= (long)job->exchange->server->info.vocab_size)
            return tern_api_fail(error, 400, "logit_bias", "invalid_value",
                                 "'logit_bias': '%.40s' is no token id from 0 to %u", key,
                                 job->exchange->server->info.vocab_size - 1);
        if (!json_is_number(value) || !(bias >= -100 && bias <= 100))
            return tern_api_fail(error, 400, "logit_bias", "invalid_value",
                                 "'logit_bias': the bias of token %.40s must be a number from -100 to 100", key);
        job->bias[job->params.sampler.n_logit_bias++] = (tern_logit_bias){(int32_t)id, (float)bias};
    }
    job->params.sampler.logit_bias = job->bias;
    return 0;
}

static int parse_stream(tern_job *job, tern_api_error *error) {
    const json_t *request = job->exchange->request, *options = NULL;
    if (tern_field_bool(request, "stream", &job->stream, error) ||
        tern_field_object(request, "stream_options", &options, error))
        return error->status;
    if (options && !job->stream)
        return tern_api_fail(error, 400, "stream_options", "invalid_value", "'stream_options' needs 'stream': true");
    return options ? tern_field_bool(options, "include_usage", &job->include_usage, error) : 0;
}

int tern_parse_sampling(tern_job *job, tern_api_error *error) {
    job->params.sampler = tern_sampler_defaults();
    job->params.sampler.penalty_window = -1; /* OpenAI's penalties look at all of the text */
    if (parse_stream(job, error) || parse_numbers(job, error) || parse_stop(job, error))
        return error->status;
    return parse_bias(job, error);
}

int tern_check_prompt(const tern_exchange *x, const tern_prompt *prompt, const char *param, tern_api_error *error) {
    if (prompt->n_ids == 0)
        return tern_api_fail(error, 400, param, "invalid_value", "'%s' is empty: there is not a single token in it",
                             param);
    if (prompt->n_ids > x->server->n_ctx)
        return tern_api_fail(error, 400, param, "context_length_exceeded",
                             "the prompt has %zu tokens, but the context of this server is %u tokens", prompt->n_ids,
                             x->server->n_ctx);
    return 0;
}
