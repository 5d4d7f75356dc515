/* JSON in: fields of a request, checked, with errors that name them. JSON out: written straight into a buffer, because
 * what a model says need not be valid UTF-8, which a JSON library refuses. */
#ifndef TERN_SERVER_JSON_H
#define TERN_SERVER_JSON_H

#include <jansson.h>

#include "base/json.h"
#include "server/error.h"

/* The body of a request, an object -> *object, for json_decref(). 0 or the status of *error. */
int tern_json_parse(const char *bytes, size_t n_bytes, json_t **object, tern_api_error *error);

/* The field `name` of an object. One that is absent or null leaves *value as it is; one of the wrong type or out of
 * range is 400. What they point to belongs to the object. 0 or the status of *error. */
int tern_field_bool(const json_t *object, const char *name, bool *value, tern_api_error *error);
/* 3.0 is a whole number. */
int tern_field_int(const json_t *object, const char *name, int64_t min, int64_t max, int64_t *value,
                   tern_api_error *error);
int tern_field_float(const json_t *object, const char *name, double min, double max, float *value,
                     tern_api_error *error);
/* Without zero bytes. */
int tern_field_string(const json_t *object, const char *name, const char **value, tern_api_error *error);
int tern_field_object(const json_t *object, const char *name, const json_t **value, tern_api_error *error);
int tern_field_array(const json_t *object, const char *name, const json_t **value, tern_api_error *error);
/* The field; NULL if it is absent or null. */
const json_t *tern_field(const json_t *object, const char *name);
/* "an object", for messages. */
const char *tern_json_type_name(const json_t *value);

/* An array of whole numbers in [0, limit) -> *ids [*n_ids], free(). `param` stands in the message. */
int tern_json_ids(const json_t *array, int64_t limit, const char *param, int32_t **ids, size_t *n_ids,
                  tern_api_error *error);

/* A quoted string; bytes that are no UTF-8 become U+FFFD. */
void tern_json_write_string(tern_buffer *out, const char *bytes, size_t n_bytes);
void tern_json_write_text(tern_buffer *out, const char *text);
/* NaN becomes null, an infinity -9999 or 9999, as in OpenAI's logprobs. The same number is always the same text, and
 * reads back as the same float. */
void tern_json_write_float(tern_buffer *out, float value);

/* Length of the UTF-8 character that text [n > 0] begins with; 0 if that is none. */
size_t tern_utf8_length(const char *text, size_t n);

#endif
