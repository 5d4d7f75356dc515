/* What a request is refused with, in the shape of OpenAI's errors. */
#ifndef TERN_SERVER_ERROR_H
#define TERN_SERVER_ERROR_H

#include "base/status.h"
#include "base/str.h"

typedef struct tern_api_error {
    int status;       /* of HTTP; 0: no error */
    int retry_after;  /* seconds, for the header of that name; 0: none */
    bool close;       /* the connection, behind the answer */
    bool is_final;    /* the same request would fail again, though the status says otherwise */
    const char *code; /* "invalid_api_key"; static; NULL: none */
    char param[64];   /* the field at fault, "messages[1].content"; empty: none */
    char message[TERN_ERROR_SIZE];
} tern_api_error;

/* Fill *error; `param` and `code` may be NULL. Returns `status`, so that failing is one statement. */
int tern_api_fail(tern_api_error *error, int status, const char *param, const char *code, const char *format, ...)
    TERN_PRINTF(5, 6);
int tern_api_fail_memory(tern_api_error *error);
/* From a failure of the library while it worked on the field `param` (NULL: none in particular). */
int tern_api_fail_from(tern_api_error *error, const char *param, const tern_error *err);

/* {"error":{"message":...,"type":...,"param":...,"code":...}} behind what `body` holds. */
void tern_api_error_write(const tern_api_error *error, tern_buffer *body);

#endif
