/* The fields of a request that /v1/completions and /v1/chat/completions share. */
#ifndef TERN_SERVER_SAMPLING_H
#define TERN_SERVER_SAMPLING_H

#include "server/job.h"

/* "model", if it is there, has to be the one that is served. 0 or the status of *error. */
int tern_check_model(const tern_exchange *x, tern_api_error *error);
int tern_check_model_name(const tern_exchange *x, const char *model, tern_api_error *error);
/* "n" and "best_of" -> *n. */
int tern_parse_n(const tern_exchange *x, int64_t *n, tern_api_error *error);
/* "stream", "stream_options", temperature, penalties, seed, stop, logit_bias and what else decides on tokens, into the
 * job; not the number of tokens. */
int tern_parse_sampling(tern_job *job, tern_api_error *error);
/* A prompt's place for an answer: 400 if there is none. */
int tern_check_prompt(const tern_exchange *x, const tern_prompt *prompt, const char *param, tern_api_error *error);

#endif
