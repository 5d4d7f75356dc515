/* The handlers of the routes. */
#ifndef TERN_SERVER_ENDPOINTS_H
#define TERN_SERVER_ENDPOINTS_H

#include "server/exchange.h"

int tern_endpoint_chat(tern_exchange *x, tern_api_error *error);
int tern_endpoint_completions(tern_exchange *x, tern_api_error *error);
int tern_endpoint_embeddings(tern_exchange *x, tern_api_error *error);
int tern_endpoint_models(tern_exchange *x, tern_api_error *error);
int tern_endpoint_model(tern_exchange *x, tern_api_error *error);
int tern_endpoint_tokenize(tern_exchange *x, tern_api_error *error);
int tern_endpoint_detokenize(tern_exchange *x, tern_api_error *error);
int tern_endpoint_tokenizer_info(tern_exchange *x, tern_api_error *error);
int tern_endpoint_health(tern_exchange *x, tern_api_error *error);
int tern_endpoint_metrics(tern_exchange *x, tern_api_error *error);
int tern_endpoint_openapi(tern_exchange *x, tern_api_error *error);
int tern_endpoint_page(tern_exchange *x, tern_api_error *error);

#endif
