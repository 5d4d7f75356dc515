/* POST /v1/completions */
#include "server/constraint.h"
#include "server/endpoints.h"
#include "server/fields.h"
#include "server/limits.h"
#include "server/prompt.h"
#include "server/sampling.h"
#include "server/sse.h"

/* {"index":0,"text":...,"logprobs":...,"finish_reason":REASON} */
static void write_choice(tern_choice *choice, const char *text, size_t n_bytes, const char *reason, tern_buffer *out) {
    tern_buffer_printf(out, "{\"index\":%zu,\"text\":", choice->index);
    tern_json_write_string(out, text, n_bytes);
    tern_buffer_text(out, ",\"logprobs\":");
    if (choice->job->logprobs)
        tern_logprob_write_completion(&choice->log, out);
    else
        tern_buffer_text(out, "null");
    tern_choice_write_reason(choice, reason, out);
    tern_buffer_text(out, "}");
    out->failed |= choice->text.failed;
}

static void write_chunk(tern_choice *choice, const char *text, size_t n_bytes, const char *reason) {
    tern_job *job = choice->job;
    tern_buffer *out = &job->exchange->out;
    tern_sse_begin(out);
    tern_buffer_text(out, "{");
    tern_job_write_head(job, "text_completion", out);
    tern_buffer_text(out, ",\"choices\":[");
    write_choice(choice, text, n_bytes, reason, out);
    tern_buffer_text(out, job->include_usage ? "],\"usage\":null}" : "]}");
    tern_sse_end(out);
    choice->begun = true;
}

/* The prompt in front, once. */
static void begin_choice(tern_choice *choice) {
    if (choice->begun || !choice->job->echo)
        return;
    choice->begun = true;
    tern_buffer_append(&choice->text, choice->prompt->text, choice->prompt->n_text);
}

static void on_event(tern_choice *choice, const tern_request_event *event) {
    tern_job *job = choice->job;
    const tern_tokenizer *tokenizer = job->exchange->server->tokenizer;
    begin_choice(choice);
    if (job->logprobs && event->id >= 0)
        tern_logprob_add_completion(&choice->log, tokenizer, event);
    if (event->prompt) /* its text is there already */
        return;
    tern_buffer_append(&choice->text, event->text ? event->text : "", event->n_bytes);
    if (job->stream && (choice->text.size || choice->log.n)) {
        write_chunk(choice, choice->text.bytes ? choice->text.bytes : "", choice->text.size, NULL);
        choice->text.size = 0;
    }
}

static void on_choice_end(tern_choice *choice) {
    begin_choice(choice);
    write_chunk(choice, choice->text.bytes ? choice->text.bytes : "", choice->text.size,
                tern_finish_reason(choice->reason));
}

static void on_stream_end(tern_job *job) {
    tern_buffer *out = &job->exchange->out;
    if (job->include_usage) {
        tern_sse_begin(out);
        tern_buffer_text(out, "{");
        tern_job_write_head(job, "text_completion", out);
        tern_buffer_text(out, ",\"choices\":[],");
        tern_job_write_usage(job, out);
        tern_buffer_text(out, "}");
        tern_sse_end(out);
    }
    tern_sse_done(out);
}

static void write_whole(tern_job *job, tern_buffer *body) {
    tern_buffer_text(body, "{");
    tern_job_write_head(job, "text_completion", body);
    tern_buffer_text(body, ",\"choices\":[");
    for (size_t i = 0; i < job->n_choices; i++) {
        tern_choice *choice = &job->choices[i];
        begin_choice(choice);
        tern_buffer_text(body, i ? "," : "");
        write_choice(choice, choice->text.bytes ? choice->text.bytes : "", choice->text.size,
                     tern_finish_reason(choice->reason), body);
    }
    tern_buffer_text(body, "],");
    tern_job_write_usage(job, body);
    tern_buffer_text(body, "}");
}

static const tern_job_ops ops = {
    .prefix = "cmpl-",
    .event = on_event,
    .choice_end = on_choice_end,
    .stream_end = on_stream_end,
    .whole = write_whole,
};

static int check_unsupported(const tern_exchange *x, tern_api_error *error) {
    const char *suffix = NULL;
    if (tern_field_string(x->request, "suffix", &suffix, error))
        return error->status;
    if (suffix && *suffix)
        return tern_api_fail(error, 400, "suffix", "unsupported_value", "'suffix': this model only continues a text");
    return 0;
}

int tern_endpoint_completions(tern_exchange *x, tern_api_error *error) {
    int64_t n, max_tokens = 16, n_top = -1; /* OpenAI's default of max_tokens */
    size_t n_prompts;
    if (tern_check_fields(x, TERN_FIELDS_COMPLETION, error) || tern_check_model(x, error) ||
        check_unsupported(x, error) || tern_parse_n(x, &n, error) ||
        tern_count_prompts(x, "prompt", &n_prompts, error) ||
        tern_field_int(x->request, "max_tokens", 0, INT32_MAX, &max_tokens, error) ||
        tern_field_int(x->request, "logprobs", 0, TERN_MAX_TOP_LOGPROBS, &n_top, error) ||
        tern_job_create(x, &ops, n_prompts, (size_t)n, error))
        return error->status;
    tern_job *job = x->job;
    if (tern_field_bool(x->request, "echo", &job->echo, error) || tern_parse_sampling(job, error) ||
        tern_parse_constraint(job, error) || tern_parse_prompts(job, "prompt", error))
        return error->status;
    job->logprobs = n_top >= 0;
    job->params.max_tokens = max_tokens;
    job->params.logprobs = job->logprobs;
    job->params.n_top = n_top > 0 ? (uint32_t)n_top : 0;
    job->params.prompt_logprobs = job->logprobs && job->echo;
    /* Evaluation harnesses ask for a text's probabilities with a token more, which they cut off: an end token is none
     * of an answer's tokens, and in its place they would cut off the text's last one. */
    if (job->params.prompt_logprobs && max_tokens == 1)
        job->params.ignore_end = true;
    return 0;
}
