/* A line of JSON from a text of any origin. */
#ifndef TERN_TRAIN_JSON_LINE_H
#define TERN_TRAIN_JSON_LINE_H

#include <jansson.h>

#include "base/str.h"

/* NULL with an error; json_decref() what comes. */
json_t *tern_json_line(tern_view line, tern_error *err);

#endif
