/* What an answer may look like. */
#ifndef TERN_SERVER_CONSTRAINT_H
#define TERN_SERVER_CONSTRAINT_H

#include "server/job.h"

/* "grammar" (GBNF) and "response_format" into the job's grammar. 0 or the status of *error. */
int tern_parse_constraint(tern_job *job, tern_api_error *error);
/* Give the job the grammar of a schema; `param` names the field it came from. NULL: any JSON object. */
int tern_constrain(tern_job *job, const json_t *schema, const char *param, tern_api_error *error);

#endif
