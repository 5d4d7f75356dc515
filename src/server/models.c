/* GET /v1/models */
#include "server/endpoints.h"

int tern_endpoint_models(tern_exchange *x, tern_api_error *error) {
    const tern_server *server = x->server;
    tern_buffer body = {0};
    tern_buffer_text(&body, "{\"object\":\"list\",\"data\":[{\"id\":");
    tern_json_write_text(&body, server->model_name);
    tern_buffer_printf(&body,
                       ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"tern\",\"context_length\":%u,"
                       "\"max_model_len\":%u,\"parameters\":%llu,\"embedding_size\":%u}]}",
                       (long long)server->started, server->n_ctx, server->n_ctx,
                       (unsigned long long)server->info.n_params, server->info.hidden_size);
    return tern_reply_json(x, &body, error);
}
