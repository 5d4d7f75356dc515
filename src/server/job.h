/* What an exchange has the scheduler do: one request for each prompt and each of its answers (choices). They are handed
 * in a few at a time, so that one client with a thousand prompts neither fills the queue nor is refused by it. */
#ifndef TERN_SERVER_JOB_H
#define TERN_SERVER_JOB_H

#include "server/call.h"
#include "server/exchange.h"
#include "server/logprobs.h"

typedef struct tern_prompt {
    int32_t *ids; /* [n_ids], tern_free() */
    size_t n_ids;
    char *text; /* [n_text] what echo shows, tern_free(); NULL: not wanted */
    size_t n_text;
    uint64_t n_cached; /* of its tokens, once a choice is done */
} tern_prompt;

typedef struct tern_choice {
    tern_job *job;
    size_t index; /* in the answer */
    tern_prompt *prompt;
    tern_request *request; /* while it is scheduled */
    bool begun;            /* something of it was streamed */
    bool is_text;          /* and it is no call of a function */
    bool is_call;          /* or it is one, whose name was streamed, */
    size_t n_sent;         /* and so many bytes of its arguments */
    tern_call_reader call; /* of text, where job->calls_are_sure */
    bool is_cut;           /* at the deadline */
    tern_buffer text;      /* so far, or (echo, streaming) what the next chunk begins with */
    tern_logprob_log log;  /* likewise */
    double last_token;     /* tern_seconds() */
    tern_stop_reason reason;
    uint64_t n_generated;
    float *embedding; /* [hidden_size], free() */
} tern_choice;

/* How an endpoint writes. All but whole() are called with the exchange's mutex held, and append to x->out. */
typedef struct tern_job_ops {
    const char *prefix; /* of the answer's id, "chatcmpl-" */
    /* A step of a choice, in the scheduler's thread: into x->out if job->stream, else into the choice. */
    void (*event)(tern_choice *choice, const tern_request_event *event);
    void (*choice_end)(tern_choice *choice); /* of a stream */
    void (*stream_end)(tern_job *job);
    /* The answer of a job that does not stream; without the mutex, when nothing runs any more. */
    void (*whole)(tern_job *job, tern_buffer *body);
} tern_job_ops;

struct tern_job {
    tern_exchange *exchange;
    const tern_job_ops *ops;
    bool stream, include_usage, echo, logprobs;
    bool has_tokens;                           /* one of an answer's is there */
    double deadline;                           /* tern_seconds() */
    double queue_seconds, first_token_seconds; /* of the first answer, since it was handed in, negative: not begun; of
                                                * the first token of all, since the request's arrival */
    char id[64];

    tern_prompt *prompts; /* [n_prompts] */
    size_t n_prompts;
    tern_choice *choices; /* [n_choices], n for each prompt */
    size_t n_choices, n;
    size_t n_submitted, n_running, n_done;
    tern_api_error error; /* the first failure; then the rest is cancelled */
    bool ended;           /* a stream's last words are written */

    /* What all requests share; stop and bias point into what the job owns. */
    tern_request_params params;
    tern_logit_bias *bias; /* free() */
    const char **stop;     /* free(); the strings are the request's */
    tern_grammar *grammar;
    json_t *tools;       /* functions that answers may call; a reference; NULL: none */
    char *tool_text;     /* what the model is told of them, free() */
    bool calls_are_sure; /* the grammar is of calls: what begins as one is one */
};

/* Of n_prompts prompts, which are the caller's to fill, with n choices each; becomes x->job. 0 or the status of *error.
 */
int tern_job_create(tern_exchange *x, const tern_job_ops *ops, size_t n_prompts, size_t n, tern_api_error *error);
void tern_job_free(tern_job *job);

/* All with the exchange's mutex held. */
void tern_job_cancel(tern_job *job);
/* In the HTTP thread: hand in what there is room for. */
void tern_job_pump(tern_job *job);
/* Nothing runs and nothing will. */
bool tern_job_over(const tern_job *job);
/* In the HTTP thread, over or not: write the last words of a stream that is over. */
void tern_job_settle(tern_job *job);

/* "stop", "length" */
const char *tern_finish_reason(tern_stop_reason reason);
/* ,"finish_reason":REASON, and what there is to say of it; NULL: it is not over. */
void tern_choice_write_reason(const tern_choice *choice, const char *reason, tern_buffer *out);
/* "usage":{...} */
void tern_job_write_usage(const tern_job *job, tern_buffer *out);
/* "id":...,"object":OBJECT,"created":...,"model":...,"system_fingerprint":... */
void tern_job_write_head(const tern_job *job, const char *object, tern_buffer *out);

#endif
