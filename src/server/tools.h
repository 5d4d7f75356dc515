/* Functions that a chat may call: a call is a JSON object {"name":...,"arguments":{...}} which is the whole answer. */
#ifndef TERN_SERVER_TOOLS_H
#define TERN_SERVER_TOOLS_H

#include "server/job.h"

/* A call in an answer, as far as it is there. */
typedef struct tern_call {
    tern_view name, arguments; /* the answer's or ours */
    bool is_whole;
    json_t *object; /* ours */
    char *text;     /* ours */
} tern_call;

/* "tools" and "tool_choice" into job->tools, job->tool_text (what the model is told of them) and, if it has to call
 * one, the job's grammar. 0 or the status of *error. */
int tern_parse_tools(tern_job *job, tern_api_error *error);

/* Whether choice->text is a call -> *call, for tern_call_free(), valid until the text changes. What may still become
 * none is one only when it is whole. Without memory to tell it is none, and out->failed. */
bool tern_call_find(tern_choice *choice, tern_call *call, tern_buffer *out);
void tern_call_free(tern_call *call);
/* {"id":...,"type":"function","function":{"name":...,"arguments":"..."}}; `delta`: as the first one of a stream, with
 * nothing of the arguments. */
void tern_write_call(const tern_choice *choice, const tern_call *call, bool delta, tern_buffer *out);

/* The "tool_calls" of an assistant's message as the text that the model had made of them, behind what `text` holds. */
int tern_add_calls(const json_t *calls, const char *param, tern_buffer *text, tern_api_error *error);

#endif
