/* GET /health and GET /metrics */
#include <string.h>

#include "server/endpoints.h"

int tern_endpoint_health(tern_exchange *x, tern_api_error *error) {
    tern_buffer body = {0};
    /* So that a load balancer turns to others. */
    const char *status = atomic_load(&x->server->draining) ? "draining"
                         : atomic_load(&x->server->stuck)  ? "stuck"
                                                           : "ok";
    tern_buffer_printf(&body, "{\"status\":\"%s\"}", status);
    return tern_reply_take(x, strcmp(status, "ok") == 0 ? 200 : 503, "application/json", &body, error);
}

int tern_endpoint_metrics(tern_exchange *x, tern_api_error *error) {
    const char *paths[16];
    tern_scheduler_stats stats;
    tern_buffer body = {0};
    for (size_t i = 0; i < tern_n_routes && i < sizeof paths / sizeof *paths; i++)
        paths[i] = tern_routes[i].path;
    tern_scheduler_get_stats(x->server->scheduler, &stats);
    tern_metrics_write(&x->server->metrics, paths, &body);
    tern_metrics_write_scheduler(&stats, &body);
    tern_metrics_write_energy(x->server->energy, &stats, &body);
    return tern_reply_take(x, 200, "text/plain; version=0.0.4; charset=utf-8", &body, error);
}
