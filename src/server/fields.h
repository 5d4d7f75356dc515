/* What a request's fields are called: which ones an endpoint looks at, and which ones other servers know that would
 * change the answer, so that to ignore them would be to answer something else. */
#ifndef TERN_SERVER_FIELDS_H
#define TERN_SERVER_FIELDS_H

#include "server/exchange.h"

enum {
    TERN_FIELDS_CHAT = 1,
    TERN_FIELDS_COMPLETION = 2,
    TERN_FIELDS_EMBEDDING = 4,
    TERN_FIELDS_TOKENIZE = 8,
    TERN_FIELDS_DETOKENIZE = 16,
};

/* x->request's, of the endpoint `where`: 400 for one that means something that this server cannot do; those that nobody
 * knows are noted for the log. 0 or the status of *error. */
int tern_check_fields(tern_exchange *x, unsigned where, tern_api_error *error);

#endif
