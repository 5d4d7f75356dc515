/* tern serve: models behind OpenAI's HTTP interface (docs/SERVER.md).
 *
 * Threads: libmicrohttpd's one moves bytes of requests and answers; two workers (workers.h) run the endpoints, which
 * parse and tokenize, and write long answers; the scheduler's one computes and appends what it made to the exchanges it
 * belongs to; the watcher looks for clients that left and for those that take too long. */
#ifndef TERN_SERVER_SERVER_H
#define TERN_SERVER_SERVER_H

#include "base/status.h"

typedef struct tern_server tern_server;

typedef struct tern_server_config {
    const char *host;            /* name or address to listen on */
    int port;                    /* 0: any free one */
    const char *const *api_keys; /* [n_api_keys], copied; none: everybody may ask */
    size_t n_api_keys;
    const char *cors;            /* origin of pages that may ask, "*": of all; NULL: none but the server's own */
    const char *model_name;      /* for /v1/models; NULL: the model's own name */
    size_t max_body, max_header; /* bytes of a request */
    uint32_t max_connections;    /* further ones are answered with 503 */
    uint32_t max_choices;        /* answers of one request: prompts times n */
    double read_timeout;         /* seconds within which a request must have arrived */
    double ping;                 /* seconds after which a stream that has nothing to say gets a comment; 0: never */
    double timeout;              /* seconds that a request may take, waiting included */
    bool log_prompts;
    const char *sysfs; /* where the system shows its sensors of energy, for /metrics; NULL: do not look */
    const char *nvml;  /* with it: the library that knows NVIDIA's cards; NULL: do not look for any */
    tern_scheduler_params scheduler;
} tern_server_config;

tern_server_config tern_server_defaults(void);

/* Listen and answer, in threads of its own. The model must outlive the server. */
tern_status tern_server_start(tern_model *model, const tern_server_config *config, tern_server **server,
                              tern_error *err);
/* "http://127.0.0.1:8080"; belongs to the server. */
const char *tern_server_url(const tern_server *server);
/* What clients call the model, and tokens of a request. */
const char *tern_server_model_name(const tern_server *server);
uint32_t tern_server_n_ctx(const tern_server *server);
/* From now on new requests are refused with 503; those that are being answered go on. */
void tern_server_drain(tern_server *server);
/* How many are being answered. */
unsigned tern_server_active(tern_server *server);
/* Cut what still runs, end all threads, free. NULL is fine. */
void tern_server_stop(tern_server *server);

/* Whether `host` names only this machine itself: who else could connect? */
bool tern_server_is_loopback(const char *host);

#endif
