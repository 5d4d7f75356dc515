/* What there is to ask for: a row for each endpoint, which has a file of its own. */
#include <stdio.h>
#include <string.h>

#include "server/endpoints.h"
#include "server/web/assets.h"

const tern_route tern_routes[] = {
    /* method, path, handler, needs_key, has_body, quiet */
    {"POST", "/v1/chat/completions", tern_endpoint_chat, true, true, false},
    {"POST", "/v1/completions", tern_endpoint_completions, true, true, false},
    {"POST", "/v1/embeddings", tern_endpoint_embeddings, true, true, false},
    {"GET", "/v1/models", tern_endpoint_models, true, false, false},
    {"GET", "/v1/models/{model}", tern_endpoint_model, true, false, false},
    {"POST", "/tokenize", tern_endpoint_tokenize, true, true, false},
    {"POST", "/detokenize", tern_endpoint_detokenize, true, true, false},
    {"GET", "/tokenizer_info", tern_endpoint_tokenizer_info, true, false, false},
    {"GET", "/health", tern_endpoint_health, false, false, true},
    {"GET", "/metrics", tern_endpoint_metrics, true, false, true},
    {"GET", "/openapi.json", tern_endpoint_openapi, false, false, true},
    {"GET", "/", tern_endpoint_page, false, false, true}, /* and the page's other files */
};
const size_t tern_n_routes = sizeof tern_routes / sizeof *tern_routes;

/* A pattern ends with a parameter, which may be anything but nothing ("org/name"), or has none. */
static bool fits(const char *pattern, const char *path) {
    size_t fixed = strcspn(pattern, "{");
    if (!pattern[fixed])
        return strcmp(pattern, path) == 0;
    return strncmp(pattern, path, fixed) == 0 && path[fixed];
}

const tern_route *tern_route_find(const char *method, const char *path, char allowed[64]) {
    allowed[0] = 0;
    tern_web_asset asset;
    if (strcmp(method, "HEAD") == 0)
        method = "GET";
    if (tern_web_find(path, &asset))
        path = "/";
    for (size_t i = 0; i < tern_n_routes; i++) {
        const tern_route *route = &tern_routes[i];
        if (!fits(route->path, path))
            continue;
        if (strcmp(method, route->method) == 0)
            return route;
        size_t used = strlen(allowed);
        snprintf(allowed + used, 64 - used, "%s%s", used ? ", " : "", route->method);
    }
    return NULL;
}

static bool ends_with(const char *text, size_t n_text, const char *end, size_t n_end) {
    return n_text >= n_end && memcmp(text + n_text - n_end, end, n_end) == 0;
}

const char *tern_route_like(const char *path) {
    const char *best = NULL;
    size_t n = strlen(path);
    while (n && path[n - 1] == '/')
        n--;
    for (size_t i = 0; n && i < tern_n_routes; i++) {
        const char *known = tern_routes[i].path;
        size_t n_known = strlen(known);
        bool like = n_known > 1 && (ends_with(path, n, known, n_known) || ends_with(known, n_known, path, n));
        if (like && (!best || n_known < strlen(best)))
            best = known;
    }
    return best;
}
