/* GET /openapi.json: docs/openapi.json, to which the tests hold the server. It needs no key: everybody may read it. */
#include "base/embed.h"
#include "server/endpoints.h"

/* TERN_OPENAPI_PATH comes from cmake/rooms.cmake, which also rebuilds this file when the description changes. */
TERN_EMBED(tern_openapi, TERN_OPENAPI_PATH);

int tern_endpoint_openapi(tern_exchange *x, tern_api_error *error) {
    (void)error;
    tern_reply_file(x, "application/json", tern_openapi, (size_t)(tern_openapi_end - tern_openapi));
    return 0;
}
