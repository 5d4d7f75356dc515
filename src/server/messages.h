/* The messages of a chat -> its prompt. */
#ifndef TERN_SERVER_MESSAGES_H
#define TERN_SERVER_MESSAGES_H

#include "server/job.h"

/* "messages" through the model's chat template into the prompt, with what the model is told of functions (NULL: there
 * are none). Special tokens that a message spells out stay plain text. 0 or the status of *error. */
int tern_parse_messages(const tern_exchange *x, const char *tool_text, tern_prompt *prompt, tern_api_error *error);

#endif
