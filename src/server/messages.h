/* The messages of a chat -> its prompt. */
#ifndef TERN_SERVER_MESSAGES_H
#define TERN_SERVER_MESSAGES_H

#include "server/job.h"

/* "messages" through the model's chat template into job->prompts[0]. Special tokens that a message spells out stay
 * plain text. 0 or the status of *error. */
int tern_parse_messages(tern_job *job, tern_api_error *error);

#endif
