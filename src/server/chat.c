/* POST /v1/chat/completions */
#include <string.h>

#include "base/mem.h"
#include "server/constraint.h"
#include "server/endpoints.h"
#include "server/fields.h"
#include "server/limits.h"
#include "server/messages.h"
#include "server/sampling.h"
#include "server/sse.h"
#include "server/tools.h"

static void write_logprobs(tern_choice *choice, tern_buffer *out) {
    tern_buffer_text(out, ",\"logprobs\":");
    if (choice->job->logprobs && (choice->log.n || !choice->job->stream))
        tern_logprob_write_chat(&choice->log, out);
    else
        tern_buffer_text(out, "null");
}

/* A chunk whose delta is `delta`, JSON of an object's inside; with the logprobs of the tokens it is made of, which are
 * not yet sent. */
static void write_chunk(tern_choice *choice, const tern_buffer *delta, bool logprobs, const char *reason) {
    tern_job *job = choice->job;
    tern_buffer *out = &job->exchange->out;
    tern_sse_begin(out);
    tern_buffer_text(out, "{");
    tern_job_write_head(job, "chat.completion.chunk", out);
    tern_buffer_printf(out, ",\"choices\":[{\"index\":%zu,\"delta\":{", choice->index);
    tern_buffer_append(out, delta->bytes ? delta->bytes : "", delta->size);
    tern_buffer_text(out, "}");
    if (logprobs)
        write_logprobs(choice, out);
    else
        tern_buffer_text(out, ",\"logprobs\":null");
    tern_choice_write_reason(choice, reason, out);
    tern_buffer_text(out, job->include_usage ? "}],\"usage\":null}" : "}]}");
    tern_sse_end(out);
    out->failed |= delta->failed;
}

static void begin_choice(tern_choice *choice, const char *content) {
    tern_buffer delta = {0};
    if (choice->begun)
        return;
    choice->begun = true;
    tern_buffer_printf(&delta, "\"role\":\"assistant\",\"content\":%s", content);
    write_chunk(choice, &delta, false, NULL);
    tern_buffer_free(&delta);
}

static const char *text_of(const tern_choice *choice) { return choice->text.bytes ? choice->text.bytes : ""; }

/* Whether the answer so far begins as a call does: it is held back until it is known. */
static bool may_be_call(const tern_choice *choice) {
    size_t blanks = strspn(text_of(choice), " \t\r\n");
    return choice->job->tools && !choice->is_text && (blanks == choice->text.size || text_of(choice)[blanks] == '{');
}

static void write_content(tern_choice *choice) {
    tern_buffer delta = {0};
    begin_choice(choice, "\"\"");
    tern_buffer_text(&delta, "\"content\":");
    tern_json_write_string(&delta, text_of(choice), choice->text.size);
    write_chunk(choice, &delta, true, NULL);
    tern_buffer_free(&delta);
    choice->text.size = 0;
    if (choice->text.bytes)
        choice->text.bytes[0] = 0;
    choice->is_text = true;
}

/* What is new of a call: its name once it is one, its arguments piece by piece. `ended`: with the last logprobs. */
static void write_call(tern_choice *choice, const tern_call *call, bool ended) {
    tern_buffer delta = {0};
    begin_choice(choice, "null");
    if (!choice->is_call) {
        tern_buffer_text(&delta, "\"tool_calls\":[");
        tern_write_call(choice, call, true, &delta);
        tern_buffer_text(&delta, "]");
        write_chunk(choice, &delta, true, NULL);
        choice->is_call = true;
    }
    if (call->arguments.size > choice->n_sent || (ended && choice->log.n)) {
        delta.size = 0;
        tern_buffer_text(&delta, "\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":");
        tern_json_write_string(&delta, call->arguments.bytes + choice->n_sent, call->arguments.size - choice->n_sent);
        tern_buffer_text(&delta, "}}]");
        write_chunk(choice, &delta, true, NULL);
        choice->n_sent = call->arguments.size;
    }
    tern_buffer_free(&delta);
}

static void on_event(tern_choice *choice, const tern_request_event *event) {
    tern_job *job = choice->job;
    if (job->logprobs && event->id >= 0)
        tern_logprob_add_chat(&choice->log, job->exchange->server->tokenizer, event);
    tern_buffer_append(&choice->text, event->text ? event->text : "", event->n_bytes);
    if (!job->stream || (choice->text.size == 0 && choice->log.n == 0))
        return;
    tern_call call;
    if (!may_be_call(choice)) {
        write_content(choice);
    } else if (job->calls_are_sure && tern_call_find(choice, &call, &job->exchange->out)) {
        write_call(choice, &call, false);
        tern_call_free(&call);
    }
}

static void on_choice_end(tern_choice *choice) {
    tern_call call = {0};
    if (!choice->is_text && tern_call_find(choice, &call, &choice->job->exchange->out))
        write_call(choice, &call, true);
    else if (choice->text.size || choice->log.n)
        write_content(choice);
    begin_choice(choice, "\"\"");
    write_chunk(choice, &(tern_buffer){0}, false, call.is_whole ? "tool_calls" : tern_finish_reason(choice->reason));
    tern_call_free(&call);
}

static void on_stream_end(tern_job *job) {
    tern_buffer *out = &job->exchange->out;
    if (job->include_usage) {
        tern_sse_begin(out);
        tern_buffer_text(out, "{");
        tern_job_write_head(job, "chat.completion.chunk", out);
        tern_buffer_text(out, ",\"choices\":[],");
        tern_job_write_usage(job, out);
        tern_buffer_text(out, "}");
        tern_sse_end(out);
    }
    tern_sse_done(out);
}

/* "content":...,"tool_calls":... -> whether it is a whole call. */
static bool write_message(tern_choice *choice, tern_buffer *body) {
    tern_call call;
    tern_buffer_text(body, "\"content\":");
    if (tern_call_find(choice, &call, body)) {
        tern_buffer_text(body, "null,\"tool_calls\":[");
        tern_write_call(choice, &call, false, body);
        tern_buffer_text(body, "]");
    } else {
        tern_json_write_string(body, text_of(choice), choice->text.size);
    }
    tern_call_free(&call);
    return call.is_whole;
}

static void write_whole(tern_job *job, tern_buffer *body) {
    tern_buffer_text(body, "{");
    tern_job_write_head(job, "chat.completion", body);
    tern_buffer_text(body, ",\"choices\":[");
    for (size_t i = 0; i < job->n_choices; i++) {
        tern_choice *choice = &job->choices[i];
        tern_buffer_printf(body, "%s{\"index\":%zu,\"message\":{\"role\":\"assistant\",", i ? "," : "", choice->index);
        bool call = write_message(choice, body);
        tern_buffer_text(body, ",\"refusal\":null}");
        write_logprobs(choice, body);
        tern_choice_write_reason(choice, call ? "tool_calls" : tern_finish_reason(choice->reason), body);
        tern_buffer_text(body, "}");
    }
    tern_buffer_text(body, "],");
    tern_job_write_usage(job, body);
    tern_buffer_text(body, "}");
}

static const tern_job_ops ops = {
    .prefix = "chatcmpl-",
    .event = on_event,
    .choice_end = on_choice_end,
    .stream_end = on_stream_end,
    .whole = write_whole,
};

static int parse_logprobs(tern_job *job, tern_api_error *error) {
    const json_t *request = job->exchange->request;
    int64_t n_top = 0;
    if (tern_field_bool(request, "logprobs", &job->logprobs, error) ||
        tern_field_int(request, "top_logprobs", 0, TERN_MAX_TOP_LOGPROBS, &n_top, error))
        return error->status;
    if (n_top && !job->logprobs)
        return tern_api_fail(error, 400, "top_logprobs", "invalid_value", "'top_logprobs' needs 'logprobs': true");
    job->params.logprobs = job->logprobs;
    job->params.n_top = (uint32_t)n_top;
    return 0;
}

int tern_endpoint_chat(tern_exchange *x, tern_api_error *error) {
    int64_t n, max_tokens = -1;
    if (tern_check_fields(x, TERN_FIELDS_CHAT, error) || tern_check_model(x, error) || tern_parse_n(x, &n, error) ||
        tern_field_int(x->request, "max_tokens", 1, INT32_MAX, &max_tokens, error) ||
        tern_field_int(x->request, "max_completion_tokens", 1, INT32_MAX, &max_tokens, error) ||
        tern_job_create(x, &ops, 1, (size_t)n, error))
        return error->status;
    tern_job *job = x->job;
    if (parse_logprobs(job, error) || tern_parse_sampling(job, error) || tern_parse_constraint(job, error) ||
        tern_parse_tools(job, error) || tern_parse_messages(x, job->tool_text, &job->prompts[0], error) ||
        tern_check_prompt(x, &job->prompts[0], "messages", error))
        return error->status;
    job->params.max_tokens = max_tokens;
    return 0;
}
