/* GET /v1/models and GET /v1/models/{model} */
#include <string.h>

#include "server/endpoints.h"
#include "server/sampling.h"

static void write_model(const tern_server *server, tern_buffer *body) {
    tern_buffer_text(body, "{\"id\":");
    tern_json_write_text(body, server->model_name);
    tern_buffer_printf(body,
                       ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"tern\",\"context_length\":%u,"
                       "\"max_model_len\":%u,\"parameters\":%llu,\"embedding_size\":%u}",
                       (long long)server->started, server->n_ctx, server->n_ctx,
                       (unsigned long long)server->info.n_params, server->info.hidden_size);
}

int tern_endpoint_models(tern_exchange *x, tern_api_error *error) {
    tern_buffer body = {0};
    tern_buffer_text(&body, "{\"object\":\"list\",\"data\":[");
    write_model(x->server, &body);
    tern_buffer_text(&body, "]}");
    return tern_reply_json(x, &body, error);
}

int tern_endpoint_model(tern_exchange *x, tern_api_error *error) {
    tern_buffer body = {0};
    if (tern_check_model_name(x, x->path + strcspn(x->route->path, "{"), error))
        return error->status;
    write_model(x->server, &body);
    return tern_reply_json(x, &body, error);
}
