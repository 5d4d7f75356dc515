/* One step of the scheduler: some tokens of every running request in one pass over the weights, then one pass over the
 * LM head for those that draw their next token. */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "runtime/draw.h"
#include "runtime/logprob.h"
#include "runtime/scheduler_parts.h"

/* ------------------------------------------------------------ which tokens */

static size_t left_of(const tern_request *r) { return r->n_tokens - r->n_past; }

/* A request with one token left gets it in every step. The others share the chunk: as much for each, and what some do
 * not need goes to those that came first. So a short prompt passes a long one, and the first one always moves. */
static uint32_t share_out(tern_scheduler *s) {
    uint32_t n_prompts = 0, budget = s->params.chunk, n_rows = 0;
    for (uint32_t i = 0; i < s->n_running; i++) {
        tern_request *r = s->running[i];
        r->n_now = left_of(r) == 1;
        n_prompts += !r->n_now;
    }
    uint32_t share = n_prompts && budget / n_prompts ? budget / n_prompts : 1;
    for (int pass = 0; pass < 2 && budget > 0; pass++) {
        for (uint32_t i = 0; i < s->n_running; i++) {
            tern_request *r = s->running[i];
            size_t more = left_of(r) - r->n_now;
            if (left_of(r) == 1)
                continue;
            uint32_t most = pass == 0 && share < budget ? share : budget;
            uint32_t now = more < most ? (uint32_t)more : most;
            r->n_now += now;
            budget -= now;
        }
    }
    for (uint32_t i = 0; i < s->n_running; i++) {
        s->running[i]->row = n_rows;
        n_rows += s->running[i]->n_now;
    }
    return n_rows;
}

static void fill_slots(tern_scheduler *s) {
    for (uint32_t i = 0; i < s->n_running; i++) {
        tern_request *r = s->running[i];
        for (uint32_t j = 0; j < r->n_now; j++)
            s->slots[r->row + j] =
                (tern_slot){.id = r->tokens[r->n_past + j], .position = (uint32_t)(r->n_past + j), .kv = &r->kv};
    }
}

/* ---------------------------------------------------------- the LM head */

/* What to do with the logits [vocab_size] that follow a token. */
typedef void (*logits_fn)(tern_scheduler *s, const tern_head_job *job, const float *logits);

static void gather(tern_scheduler *s, const tern_head_job *jobs, uint32_t n) {
    size_t size = s->engine->weights->dims.hidden_size;
    for (uint32_t i = 0; i < n; i++)
        memcpy(s->gathered + i * size, s->hidden + jobs[i].row * size, size * sizeof *s->hidden);
}

static void with_logits(tern_scheduler *s, uint32_t n, logits_fn fn) {
    for (uint32_t done = 0; done < n; done += TERN_LOGIT_ROWS) {
        uint32_t now = n - done < TERN_LOGIT_ROWS ? n - done : TERN_LOGIT_ROWS;
        gather(s, s->jobs + done, now);
        tern_error err = {0};
        tern_status status = tern_engine_logits(s->engine, s->gathered, now, s->logits, &err);
        for (uint32_t i = 0; i < now; i++)
            if (s->jobs[done + i].request->over)
                continue;
            else if (status)
                tern_request_fail(s->jobs[done + i].request, &err);
            else
                fn(s, &s->jobs[done + i], s->logits + i * (size_t)s->engine->weights->dims.vocab_size);
    }
}

/* Logarithms of probabilities into the event. False: the logits are broken, and the request has failed. */
static bool add_logprobs(tern_scheduler *s, tern_request *r, const float *logits, int32_t id,
                         tern_request_event *event) {
    size_t vocab_size = s->engine->weights->dims.vocab_size;
    double log_sum = tern_log_sum_exp(logits, vocab_size);
    tern_error err = {0};
    if (isnan(log_sum)) {
        tern_fail(&err, TERN_ERR_FORMAT,
                  "the model gave NaN or infinite logits: its weights are damaged, or the file "
                  "is");
        tern_request_fail(r, &err);
        return false;
    }
    event->logprob = (float)(logits[id] - log_sum);
    event->n_top = r->params.n_top;
    event->top = r->top;
    if (event->n_top)
        tern_top_logprobs(logits, vocab_size, log_sum, event->n_top, s->keys, r->top);
    return true;
}

/* ---------------------------------------------------------------- prompts */

static void tell_prompt_token(tern_scheduler *s, tern_request *r, size_t position, const float *logits) {
    tern_request_event event = {.id = r->tokens[position], .prompt = true, .logprob = NAN};
    event.text = tern_tokenizer_token(s->tokenizer, event.id, &event.n_bytes);
    if (!event.text)
        event.text = "";
    if (!logits || add_logprobs(s, r, logits, event.id, &event))
        tern_request_tell(r, &event);
}

static void tell_next_prompt_token(tern_scheduler *s, const tern_head_job *job, const float *logits) {
    tell_prompt_token(s, job->request, job->position + 1, logits);
}

static void add_state(const tern_scheduler *s, tern_request *r, uint32_t row) {
    size_t size = s->engine->weights->dims.hidden_size;
    for (size_t i = 0; i < size; i++)
        r->sum[i] += s->hidden[row * size + i];
}

/* The prompt tokens of this step that were not read before, for a request that needs all of them. Those whose logits
 * are wanted become jobs from n_jobs on; returns how many jobs there are then. */
static uint32_t read_prompt(tern_scheduler *s, tern_request *r, uint32_t n_jobs) {
    for (uint32_t i = 0; i < r->n_now; i++) {
        size_t position = r->n_past - r->n_now + i;
        if (position != r->n_read || position >= r->n_prompt)
            continue;
        r->n_read++;
        if (r->sum)
            add_state(s, r, r->row + i);
        if (r->params.prompt_logprobs && position == 0)
            tell_prompt_token(s, r, 0, NULL);
        if (r->params.prompt_logprobs && position + 1 < r->n_prompt)
            s->jobs[n_jobs++] = (tern_head_job){r, r->row + i, position};
    }
    return n_jobs;
}

static void read_prompts(tern_scheduler *s) {
    uint32_t n_jobs = 0;
    for (uint32_t i = 0; i < s->n_running; i++)
        if (tern_request_needs_all(s->running[i]))
            n_jobs = read_prompt(s, s->running[i], n_jobs);
    with_logits(s, n_jobs, tell_next_prompt_token);
}

/* ---------------------------------------------------------------- answers */

/* The token that was drawn; logits [vocab_size] if probabilities are wanted. */
static void take(tern_scheduler *s, tern_request *r, int32_t id, const float *logits) {
    bool shown = false;
    tern_error err = {0};
    tern_request_event event = {.id = id, .logprob = NAN};
    tern_status status = tern_sampler_accept(r->sampler, id, &err);
    if (!status)
        status = tern_answer_take(&r->answer, id, &shown, &err);
    if (status) {
        tern_request_fail(r, &err);
        return;
    }
    r->over = r->answer.done;
    if (!shown)
        return;
    if (r->answer.n_tokens == 1)
        r->result.first_token_seconds = tern_seconds() - r->submitted;
    r->tokens[r->n_tokens++] = id;
    if (logits && !add_logprobs(s, r, logits, id, &event))
        return;
    tern_buffer *text = &r->answer.text;
    event.text = text->size ? text->bytes : "";
    event.n_bytes = text->size;
    tern_request_tell(r, &event);
    text->size = 0;
    if (!r->over && r->n_tokens > s->params.n_ctx)
        tern_request_end(r, TERN_STOP_CONTEXT);
}

static void draw_from_logits(tern_scheduler *s, const tern_head_job *job, const float *logits) {
    int32_t id;
    tern_error err = {0};
    if (tern_sampler_sample(job->request->sampler, logits, &id, &err))
        tern_request_fail(job->request, &err);
    else
        take(s, job->request, id, logits);
}

/* hidden [hidden_size] is what the candidates were found for. */
static void draw(tern_scheduler *s, tern_request *r, const float *hidden, tern_candidates *candidates) {
    int32_t id;
    tern_error err = {0};
    if (tern_engine_draw(s->engine, hidden, r->sampler, candidates, &id, &err))
        tern_request_fail(r, &err);
    else
        take(s, r, id, NULL);
}

/* Candidates for the n jobs in one pass. When that fails, which is for want of memory, it may be enough for one after
 * the other, and those for which it is not fail alone. */
static void draw_from_candidates(tern_scheduler *s, uint32_t n) {
    size_t size = s->engine->weights->dims.hidden_size;
    tern_error err = {0};
    gather(s, s->jobs, n);
    bool together = !tern_engine_candidates(s->engine, s->gathered, n, s->queries, s->candidates, &err);
    for (uint32_t i = 0; i < n; i++) {
        if (!together &&
            tern_engine_candidates(s->engine, s->gathered + i * size, 1, s->queries + i, s->candidates + i, &err))
            tern_request_fail(s->jobs[i].request, &err);
        else
            draw(s, s->jobs[i].request, s->gathered + i * size, &s->candidates[i]);
    }
}

/* Whose tokens are all evaluated and who goes on becomes a job: those that want logits, or those that do not. */
static uint32_t find_drawers(tern_scheduler *s, bool logits) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_running; i++) {
        tern_request *r = s->running[i];
        if (r->over || left_of(r) > 0 || !r->sampler || r->params.logprobs != logits)
            continue;
        tern_error err = {0};
        if (!logits && tern_sampler_queries(r->sampler, NULL, 1, &s->queries[n], &err))
            tern_request_fail(r, &err);
        else
            s->jobs[n++] = (tern_head_job){r, r->row + r->n_now - 1, r->n_tokens - 1};
    }
    return n;
}

static void draw_all(tern_scheduler *s) {
    uint32_t n = find_drawers(s, false);
    if (n > 0)
        draw_from_candidates(s, n);
    with_logits(s, find_drawers(s, true), draw_from_logits);
}

/* ---------------------------------------------------------------- the step */

/* What was evaluated is there now, and others may find it. Counts prompt tokens that were never there before. */
static uint64_t advance(tern_scheduler *s) {
    uint64_t n_prompt = 0;
    for (uint32_t i = 0; i < s->n_running; i++) {
        tern_request *r = s->running[i];
        r->n_past += r->n_now;
        size_t read = r->n_past < r->n_prompt ? r->n_past : r->n_prompt;
        if (read > r->n_covered)
            n_prompt += read - r->n_covered;
        if (r->n_past > r->n_covered)
            r->n_covered = r->n_past;
        if (!s->params.no_prefix_cache)
            tern_kv_publish(&r->kv, r->tokens, r->n_past);
    }
    return n_prompt;
}

void tern_scheduler_step(tern_scheduler *s) {
    static const atomic_bool never;
    double start = tern_seconds();
    tern_error err = {0};
    for (uint32_t i = 0; i < s->n_running;)
        i += tern_scheduler_make_room(s, i);
    uint32_t n = share_out(s);
    if (n == 0)
        return;
    fill_slots(s);
    tern_status status =
        tern_forward(s->engine, s->slots, n, &never, &(tern_forward_output){.hidden = s->hidden}, &err);
    for (uint32_t i = 0; status && i < s->n_running; i++)
        tern_request_fail(s->running[i], &err);
    if (status)
        return;
    uint64_t n_prompt = advance(s), n_drawn = 0;
    for (uint32_t i = 0; i < s->n_running; i++)
        n_drawn -= s->running[i]->answer.n_tokens;
    read_prompts(s);
    draw_all(s);
    for (uint32_t i = 0; i < s->n_running; i++) {
        tern_request *r = s->running[i];
        n_drawn += r->answer.n_tokens;
        if (!r->over && !r->sampler && left_of(r) == 0)
            tern_request_end(r, TERN_STOP_LENGTH);
    }
    pthread_mutex_lock(&s->lock);
    s->stats.n_steps++;
    s->stats.prompt_tokens += n_prompt;
    s->stats.generated_tokens += n_drawn;
    s->stats.step_seconds += tern_seconds() - start;
    pthread_mutex_unlock(&s->lock);
}
