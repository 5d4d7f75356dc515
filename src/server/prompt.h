/* Prompts of /v1/completions, /v1/embeddings: a string, an array of strings, an array of token ids, or an array of
 * those. */
#ifndef TERN_SERVER_PROMPT_H
#define TERN_SERVER_PROMPT_H

#include "server/job.h"

/* How many prompts the field `name` holds -> *n. 0 or the status of *error. */
int tern_count_prompts(const tern_exchange *x, const char *name, size_t *n, tern_api_error *error);
/* That many into the job; with their texts if the job echoes them. */
int tern_parse_prompts(tern_job *job, const char *name, tern_api_error *error);

#endif
