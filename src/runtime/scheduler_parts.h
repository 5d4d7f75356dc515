/*
 * The scheduler's inside.
 *
 * One thread takes the running requests through the model, step by step:
 *
 *     scheduler.c          the thread, the queue, who runs: admission and preemption
 *     scheduler_step.c     a step: which tokens, one forward pass, one pass over the head, what comes of it
 *     scheduler_request.c  a request from submission to its end
 *
 * A request is a list of tokens, prompt and answer, of which the first n_past are evaluated. When all are, one more is
 * drawn. Prompts, answers and what a request that was put back has to compute once more are then the same thing, and
 * putting one back is only to forget its blocks: its sampler has moved with the tokens that were drawn.
 */
#ifndef TERN_RUNTIME_SCHEDULER_PARTS_H
#define TERN_RUNTIME_SCHEDULER_PARTS_H

#include "runtime/answer.h"
#include "runtime/kv_pool.h"
#include "runtime/sampler.h"
#include "runtime/scheduler.h"

struct tern_request {
    tern_scheduler *scheduler;
    tern_request *next; /* in a queue */
    uint64_t number;    /* of its submission: lower ones go first */
    atomic_bool cancel;
    double submitted, deadline; /* as tern_seconds(); INFINITY: none */
    tern_request_params params; /* what of it is not copied elsewhere (ids, stop, sampler) */

    int32_t *tokens; /* [capacity] the prompt, then what was drawn */
    size_t capacity, n_prompt, n_tokens;
    size_t n_past; /* of them in the cache */
    tern_kv kv;
    tern_sampler *sampler; /* NULL: nothing is drawn */
    tern_answer answer;

    size_t n_read;           /* prompt tokens whose hidden states were used, for a request that needs all of them */
    double *sum;             /* [hidden] of those states; NULL: no embedding is wanted */
    float *embedding;        /* [hidden] */
    tern_token_logprob *top; /* [n_top] */

    uint32_t n_now, row; /* in the step under way: how many tokens, and where their hidden states are */
    bool over;           /* to be ended after this step; result and answer say how */
    bool refused;        /* on_event wants no more */
    size_t n_covered;    /* tokens that were in the cache at some time: evaluated or found there */
    tern_request_result result;
};

/* Rows of full logits in one pass over the head. */
enum { TERN_LOGIT_ROWS = 16 };

/* A token of the step whose logits or candidates are wanted. */
typedef struct tern_head_job {
    tern_request *request;
    uint32_t row;    /* its hidden state */
    size_t position; /* in the request */
} tern_head_job;

struct tern_scheduler {
    tern_engine *engine;
    const tern_tokenizer *tokenizer;
    tern_scheduler_params params; /* no zeros that mean defaults */

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t submitted;
    /* guarded by the lock */
    tern_request *incoming, **incoming_end;
    uint64_t n_submitted, n_there; /* requests, of them those that are not over */
    bool stopping;
    tern_scheduler_stats stats;

    /* the thread's */
    tern_kv_pool pool;
    tern_request *waiting;  /* by number */
    tern_request **running; /* [max_running], by number */
    uint32_t n_running;
    uint32_t max_rows;           /* chunk + max_running */
    tern_slot *slots;            /* [max_rows] */
    float *hidden;               /* [max_rows, hidden_size] of a step */
    float *gathered;             /* [max_rows, hidden_size] */
    tern_head_job *jobs;         /* [max_rows] */
    tern_head_query *queries;    /* [max_running] */
    tern_candidates *candidates; /* [max_running] */
    float *logits;               /* [TERN_LOGIT_ROWS, vocab_size] */
    uint64_t *keys;              /* [vocab_size] */
};

/* scheduler.c: make room for all tokens of running request i, at the cost of those that came later. False: it was put
 * back or has failed itself, and is running no more. */
bool tern_scheduler_make_room(tern_scheduler *s, uint32_t i);

/* scheduler_step.c: one step with what runs, which is something. */
void tern_scheduler_step(tern_scheduler *s);

/* scheduler_request.c */
static inline bool tern_request_needs_all(const tern_request *r) {
    return r->params.prompt_logprobs || r->params.embedding;
}
/* It ends after this step, whole or not: cancelled; or without more than a message. */
void tern_request_end(tern_request *r, tern_stop_reason reason);
void tern_request_fail(tern_request *r, const tern_error *err);
/* Tell it of a step forward. */
void tern_request_tell(tern_request *r, const tern_request_event *event);
/* Give its blocks back, tell it of its end, and free it. The caller has taken it out of what runs and waits. */
void tern_request_finish(tern_request *r);
/* What running requests and the pool are like now, for whoever asks. */
void tern_scheduler_publish(tern_scheduler *s);

#endif
