/* Functions that a chat may call: a call is a JSON object {"name":...,"arguments":{...}} which is the whole answer. */
#ifndef TERN_SERVER_TOOLS_H
#define TERN_SERVER_TOOLS_H

#include "server/job.h"

/* "tools" and "tool_choice" into job->tools, job->tool_text (what the model is told of them) and, if it has to call
 * one, the job's grammar. 0 or the status of *error. */
int tern_parse_tools(tern_job *job, tern_api_error *error);

/* The call that an answer is, for json_decref(); NULL: it is none, or there is no memory to tell, and out->failed. */
json_t *tern_find_call(const tern_job *job, const char *text, size_t n_bytes, tern_buffer *out);
/* {"id":...,"type":"function","function":{"name":...,"arguments":"..."}}; `index`: of a stream's delta. */
void tern_write_call(const tern_choice *choice, const json_t *call, bool index, tern_buffer *out);

/* The "tool_calls" of an assistant's message as the text that the model had made of them, behind what `text` holds. */
int tern_add_calls(const json_t *calls, const char *param, tern_buffer *text, tern_api_error *error);

#endif
