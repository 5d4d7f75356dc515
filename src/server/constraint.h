/* What an answer may look like. */
#ifndef TERN_SERVER_CONSTRAINT_H
#define TERN_SERVER_CONSTRAINT_H

#include "server/job.h"

/* "grammar" (GBNF), "response_format" and what other servers call these into the job's grammar. 0 or the status of
 * *error. */
int tern_parse_constraint(tern_job *job, tern_api_error *error);
typedef tern_status tern_schema_reader(const tern_tokenizer *tokenizer, const char *schema, tern_grammar **grammar,
                                       tern_error *err);

/* Give the job the grammar that `read` makes of a schema (tern_grammar_from_schema and its like); `param` names the
 * field it came from. NULL: any JSON object. */
int tern_constrain(tern_job *job, const json_t *schema, tern_schema_reader *read, const char *param,
                   tern_api_error *error);

#endif
