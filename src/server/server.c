#include "server/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/nvml.h"
#include "server/exchange.h"
#include "server/log.h"

tern_server_config tern_server_defaults(void) {
    return (tern_server_config){.host = "127.0.0.1",
                                .port = 8080,
                                .max_body = 4 << 20,
                                .max_header = 16 << 10,
                                .max_connections = 1024,
                                .max_choices = 1024,
                                .read_timeout = 30,
                                .timeout = 600,
                                .ping = 10,
                                .sysfs = "/sys",
                                .nvml = TERN_NVML_LIBRARY,
                                .scheduler = tern_scheduler_defaults()};
}

/* A wrong guess would wake a client that waits for its keys' comparison; so they are copied, not referred to. */
static tern_status copy_config(tern_server *server, const tern_server_config *config, tern_error *err) {
    server->config = *config;
    server->config.api_keys = NULL;
    server->config.n_api_keys = 0;
    server->config.host = strdup(config->host);
    server->config.cors = config->cors ? strdup(config->cors) : NULL;
    server->keys = tern_calloc_array(config->n_api_keys + 1, sizeof *server->keys);
    if (!server->config.host || !server->keys || (config->cors && !server->config.cors))
        return tern_fail_memory(err, "the server's settings");
    for (size_t i = 0; i < config->n_api_keys; i++) {
        server->keys[i] = strdup(config->api_keys[i]);
        if (!server->keys[i])
            return tern_fail_memory(err, "the server's settings");
        server->config.n_api_keys++;
    }
    snprintf(server->model_name, sizeof server->model_name, "%s",
             config->model_name ? config->model_name : server->info.name);
    server->config.model_name = server->model_name;
    if (!server->config.scheduler.max_running)
        server->config.scheduler.max_running = 16;
    if (!server->config.scheduler.max_waiting)
        server->config.scheduler.max_waiting = 256;
    return TERN_OK;
}

/* For /metrics. Without sources there is nothing to keep. */
static tern_status find_energy(tern_server *server, const tern_server_config *config, tern_error *err) {
    tern_status status = config->sysfs ? tern_energy_open(config->sysfs, config->nvml, &server->energy, err) : TERN_OK;
    server->config.sysfs = server->config.nvml = NULL; /* not copied: nobody needs them any more */
    if (status || !server->energy)
        return status;
    if (tern_energy_n_sources(server->energy))
        return tern_energy_start(server->energy) ? TERN_OK : tern_fail_memory(err, "the thread that reads sensors");
    tern_energy_close(server->energy);
    server->energy = NULL;
    return TERN_OK;
}

static tern_status start(tern_server *server, const tern_server_config *config, tern_error *err) {
    tern_status status = copy_config(server, config, err);
    if (status)
        return status;
    if (!tern_metrics_init(&server->metrics, tern_n_routes))
        return tern_fail_memory(err, "the server's metrics");
    if (pthread_mutex_init(&server->links_mutex, NULL))
        return tern_fail_memory(err, "the server's connections");
    server->has_links_mutex = true;
    status = tern_listen(server, err); /* first: a port that is taken is told before memory is */
    if (!status)
        status = find_energy(server, config, err);
    if (!status)
        status = tern_scheduler_create(server->model, &server->config.scheduler, &server->scheduler, err);
    if (!status)
        status = tern_watch_start(server, err);
    if (!status)
        status = tern_workers_start(&server->workers, err);
    return status ? status : tern_http_start(server, err);
}

tern_status tern_server_start(tern_model *model, const tern_server_config *config, tern_server **server,
                              tern_error *err) {
    tern_server *made = calloc(1, sizeof *made);
    if (!made)
        return tern_fail_memory(err, "the server");
    made->model = model;
    made->tokenizer = tern_model_tokenizer(model);
    made->listener = made->poll_fd = -1;
    made->started = (int64_t)time(NULL);
    tern_model_get_info(model, &made->info);
    made->n_ctx = config->scheduler.n_ctx ? config->scheduler.n_ctx : made->info.n_ctx;
    tern_status status = start(made, config, err);
    if (status) {
        tern_server_stop(made);
        return status;
    }
    *server = made;
    return TERN_OK;
}

const char *tern_server_url(const tern_server *server) { return server->url; }
const char *tern_server_model_name(const tern_server *server) { return server->model_name; }
uint32_t tern_server_n_ctx(const tern_server *server) { return server->n_ctx; }

void tern_server_drain(tern_server *server) { atomic_store(&server->draining, true); }

unsigned tern_server_active(tern_server *server) { return atomic_load(&server->active); }

/* Answers that are cut short still have to be written: wait a little until they are. */
static void finish_active(tern_server *server) {
    enum { PATIENCE_MS = 3000, STEP_MS = 10 };
    for (int waited = 0; tern_server_active(server) && waited < PATIENCE_MS; waited += STEP_MS) {
        tern_links_lose_all(server);
        usleep(STEP_MS * 1000);
    }
}

void tern_server_stop(tern_server *server) {
    if (!server)
        return;
    atomic_store(&server->draining, true);
    if (server->daemon)
        finish_active(server);
    tern_watch_stop(server);
    tern_workers_stop(&server->workers); /* libmicrohttpd must not stop with connections that nobody will resume */
    tern_http_stop(server);
    tern_scheduler_free(server->scheduler); /* no handler is left that could hand in something */
    tern_workers_free(&server->workers);
    if (server->listener >= 0)
        close(server->listener);
    if (server->has_links_mutex)
        pthread_mutex_destroy(&server->links_mutex);
    tern_metrics_free(&server->metrics);
    tern_energy_close(server->energy);
    for (size_t i = 0; i < server->config.n_api_keys; i++)
        free(server->keys[i]);
    free(server->keys);
    free((char *)server->config.host);
    free((char *)server->config.cors);
    free(server);
}
