/* The transport: libmicrohttpd's callbacks. Its one thread runs them all; a connection whose request is being read or
 * whose answer is being computed or written is suspended, and resumed by workers and by the scheduler's callbacks
 * (tern_exchange_wake). */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include <microhttpd.h>

#include "base/clock.h"
#include "server/auth.h"
#include "server/job.h"
#include "server/limits.h"
#include "server/log.h"

static const char *header_of(struct MHD_Connection *connection, const char *name) {
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

/* ------------------------------------------------------------------ answering */

/* The page's origin that may read this answer; NULL: none. */
static const char *allowed_origin(const tern_exchange *x) {
    const char *allowed = x->server->config.cors, *origin = allowed ? header_of(x->connection, "Origin") : NULL;
    return origin && (strcmp(allowed, "*") == 0 || strcmp(allowed, origin) == 0) ? allowed : NULL;
}

/* False: no memory. Without its headers an answer is not sent: the connection is closed. */
static bool add_headers(tern_exchange *x, struct MHD_Response *response, const char *content_type) {
    const char *origin = allowed_origin(x);
    bool closes = x->reply.close || atomic_load(&x->server->draining), cacheable = false, added = true;
    for (size_t i = 0; i < x->reply.n_headers; i++)
        cacheable |= strcasecmp(x->reply.headers[i].name, "Cache-Control") == 0;
    const struct {
        const char *name, *value; /* NULL: not this one */
    } rows[] = {
        {"Content-Type", content_type},
        {"X-Content-Type-Options", "nosniff"},
        {"X-Request-Id", x->id},
        {"Vary", x->server->config.cors ? "Origin" : NULL},
        {"Access-Control-Allow-Origin", origin},
        {"Access-Control-Expose-Headers", origin ? "Retry-After, X-Request-Id, X-Should-Retry" : NULL},
        {"Connection", closes ? "close" : NULL},
        {"Cache-Control", cacheable ? NULL : "no-store"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        added &= !rows[i].value || MHD_add_response_header(response, rows[i].name, rows[i].value) == MHD_YES;
    for (size_t i = 0; i < x->reply.n_headers; i++)
        added &= MHD_add_response_header(response, x->reply.headers[i].name, x->reply.headers[i].value) == MHD_YES;
    return added;
}

/* Send x->reply, whose body lives as long as the exchange: longer than the response. */
static enum MHD_Result send_reply(tern_exchange *x) {
    struct MHD_Response *response =
        MHD_create_response_from_buffer(x->reply.n_bytes, (void *)x->reply.body, MHD_RESPMEM_PERSISTENT);
    if (!response)
        return MHD_NO;
    enum MHD_Result result = MHD_NO;
    if (add_headers(x, response, x->reply.content_type))
        result = MHD_queue_response(x->connection, (unsigned)x->reply.status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result send_error(tern_exchange *x, const tern_api_error *error) {
    tern_reply_error(x, error);
    return send_reply(x);
}

/* libmicrohttpd wants the next bytes of a stream. */
static ssize_t read_stream(void *user, uint64_t position, char *bytes, size_t max) {
    (void)position;
    tern_exchange *x = user;
    ssize_t result = 0;
    pthread_mutex_lock(&x->mutex);
    tern_job_pump(x->job);
    tern_job_settle(x->job);
    size_t left = x->out.size - x->out_read, n = left < max ? left : max;
    if (x->job->ended && n == 0 && !x->out.failed) { /* what has a piece missing must not look complete */
        result = MHD_CONTENT_READER_END_OF_STREAM;
    } else if (x->lost || x->out.failed) {
        result = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (n) {
        memcpy(bytes, x->out.bytes + x->out_read, n);
        x->out_read += n;
        if (x->out_read == x->out.size)
            x->out_read = x->out.size = 0;
        result = (ssize_t)n;
    } else {
        x->suspended = true;
        MHD_suspend_connection(x->connection);
    }
    pthread_mutex_unlock(&x->mutex);
    return result;
}

static enum MHD_Result send_stream(tern_exchange *x) {
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, read_stream, x, NULL);
    if (!response)
        return MHD_NO;
    x->reply.status = 200;
    tern_reply_header(&x->reply, "X-Accel-Buffering", "no"); /* nginx passes it on as it comes */
    enum MHD_Result result = MHD_NO;
    if (add_headers(x, response, "text/event-stream; charset=utf-8"))
        result = MHD_queue_response(x->connection, 200, response);
    MHD_destroy_response(response);
    return result;
}

/* Have a worker go on with it; the HTTP thread will be back in go_on(). */
static enum MHD_Result hand_over(tern_exchange *x, void (*run)(tern_work *work), bool is_large) {
    pthread_mutex_lock(&x->mutex);
    x->working = x->suspended = true;
    x->references++;
    MHD_suspend_connection(x->connection);
    pthread_mutex_unlock(&x->mutex);
    x->work.run = run;
    if (!tern_workers_add(&x->server->workers, is_large ? TERN_LANE_LARGE : TERN_LANE_SMALL, &x->work))
        run(&x->work); /* the server stops */
    return MHD_YES;
}

static void hand_back(tern_exchange *x) {
    pthread_mutex_lock(&x->mutex);
    x->working = false;
    tern_exchange_wake(x);
    tern_exchange_release(x);
}

/* A worker: the answer as a whole. */
static void write_whole(tern_work *work) {
    tern_exchange *x = tern_exchange_of(work);
    tern_buffer body = {0};
    x->job->ops->whole(x->job, &body);
    tern_reply_json(x, &body, &x->failure);
    hand_back(x);
}

/* What still runs need not be waited for: its callbacks hold references. */
static enum MHD_Result give_up(tern_exchange *x) {
    tern_api_error error = {0};
    if (x->stopping)
        tern_api_fail(&error, 503, NULL, "stopping", "the server was stopped before the answer was complete");
    else
        tern_api_fail(&error, 499, NULL, "client_closed", "the client closed the connection");
    return send_error(x, &error);
}

/* A job is under way: hand in more of it, then answer or wait. */
static enum MHD_Result advance(tern_exchange *x) {
    tern_job *job = x->job;
    tern_api_error error = {0};
    pthread_mutex_lock(&x->mutex);
    bool lost = x->lost;
    if (lost) {
        pthread_mutex_unlock(&x->mutex);
        return give_up(x);
    }
    tern_job_pump(job);
    bool over = tern_job_over(job), failed = false, begin = job->stream && x->out.size > 0;
    if (over && job->error.status) {
        failed = true;
        error = job->error;
    } else if (begin || over) {
        x->streaming = job->stream;
    } else {
        x->suspended = true;
        MHD_suspend_connection(x->connection);
    }
    bool waits = x->suspended;
    pthread_mutex_unlock(&x->mutex);
    if (waits)
        return MHD_YES;
    if (failed)
        return send_error(x, &error);
    if (x->streaming)
        return send_stream(x);
    return hand_over(x, write_whole, x->is_large || job->n_choices > 1 || job->logprobs);
}

/* Resumed: a worker is done with it, or its job got further. */
static enum MHD_Result go_on(tern_exchange *x) {
    if (x->failure.status)
        return send_error(x, &x->failure);
    if (x->reply.status)
        return send_reply(x);
    return advance(x);
}

/* ------------------------------------------------------------------ admitting */

/* A page whose name its owner has pointed to this machine is to the browser a page of this server, and need not say
 * whose it is; the name by which it asks tells. */
static int check_host(tern_exchange *x, tern_api_error *error) {
    const tern_server_config *config = &x->server->config;
    const char *host = header_of(x->connection, "Host");
    if (config->n_api_keys || !tern_auth_host_is_public(host) || tern_auth_same_host(host, config->host) ||
        (config->cors && (strcmp(config->cors, "*") == 0 || tern_auth_same_host(host, config->cors))))
        return 0;
    return tern_api_fail(error, 403, NULL, "forbidden_host",
                         "this server is not asked for by the name %.100s; start it with --api-key, or with --host or "
                         "--cors and that name",
                         host);
}

static int check_origin(tern_exchange *x, tern_api_error *error) {
    /* A key cannot be guessed by a page; without one, what the browser says of the page has to do. */
    const char *origin = header_of(x->connection, "Origin");
    if (x->server->config.n_api_keys || tern_auth_origin_is_local(origin) || allowed_origin(x))
        return 0;
    return tern_api_fail(error, 403, NULL, "forbidden_origin",
                         "pages of %.100s may not use this server; start it with --cors %.100s, or with --api-key",
                         origin, origin);
}

/* Of the names of headers (RFC 9110, section 5.6.2). */
#define TOKEN_CHARACTERS "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

/* What servers and proxies read differently, so that one takes for a request what to the other was a body (request
 * smuggling; RFC 9112, sections 5.1 and 6.3): libmicrohttpd lets some of it through. */
typedef struct framing {
    unsigned n; /* headers that say where the body ends */
    bool wrong;
} framing;

static enum MHD_Result note_header(void *user, enum MHD_ValueKind kind, const char *name, const char *value) {
    framing *f = user;
    bool is_length = strcasecmp(name, "Content-Length") == 0, is_encoding = strcasecmp(name, "Transfer-Encoding") == 0;
    (void)kind;
    value = value ? value : "";
    f->n += is_length || is_encoding;
    f->wrong |= !*name || name[strspn(name, TOKEN_CHARACTERS)];
    f->wrong |= is_length && (!*value || value[strspn(value, "0123456789")]);
    f->wrong |= is_encoding && strcasecmp(value, "chunked") != 0;
    return MHD_YES;
}

static int check_framing(tern_exchange *x, tern_api_error *error) {
    framing f = {0};
    MHD_get_connection_values(x->connection, MHD_HEADER_KIND, note_header, &f);
    if (!f.wrong && f.n <= 1)
        return 0;
    tern_api_fail(error, 400, NULL, "bad_headers",
                  "a header's name is malformed, or the headers do not say once and clearly how long the body is");
    error->close = true; /* where the next request would begin is a guess */
    return error->status;
}

static int check_body_headers(tern_exchange *x, tern_api_error *error) {
    static const char json[] = "application/json";
    const char *type = header_of(x->connection, "Content-Type"),
               *encoding = header_of(x->connection, "Content-Encoding");
    size_t n = sizeof json - 1;
    if (!type || strncasecmp(type, json, n) != 0 || (type[n] && !strchr("; \t", type[n])))
        return tern_api_fail(error, 415, NULL, "unsupported_media_type",
                             "send the body as JSON, with the header Content-Type: application/json");
    if (encoding && strcasecmp(encoding, "identity") != 0)
        return tern_api_fail(error, 415, NULL, "unsupported_media_type", "send the body without Content-Encoding");
    return 0;
}

static int too_large(const tern_exchange *x, tern_api_error *error) {
    return tern_api_fail(error, 413, NULL, "body_too_large",
                         "the body is larger than the %zu bytes that this server takes (--max-body)",
                         x->server->config.max_body);
}

/* What the request line and the headers say. 0 or the status of *error. */
static int admit(tern_exchange *x, tern_api_error *error) {
    tern_server *server = x->server;
    char allowed[64];
    const union MHD_ConnectionInfo *size =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    x->route = tern_route_find(x->method, x->path, allowed);
    if (size && size->header_size > server->config.max_header)
        return tern_api_fail(error, 431, NULL, "headers_too_large",
                             "the headers are larger than the %zu bytes that this server takes (--max-header)",
                             server->config.max_header);
    if (!tern_link_has_room(server, x->link)) {
        tern_api_fail(error, 503, NULL, "too_many_connections", "the server has no connection left; try again later");
        error->retry_after = 1;
        error->close = true;
        return 503;
    }
    if (check_host(x, error) || check_origin(x, error))
        return error->status;
    if (!x->route && allowed[0]) {
        tern_reply_header(&x->reply, "Allow", "%s", allowed);
        return tern_api_fail(error, 405, NULL, "method_not_allowed", "%.20s is not a method of %.100s; allowed: %s",
                             x->method, x->path, allowed);
    }
    const char *like = x->route ? NULL : tern_route_like(x->path);
    if (!x->route)
        return tern_api_fail(error, 404, NULL, "unknown_url",
                             "there is no %.20s %.100s here%s%s; /openapi.json and docs/SERVER.md list what is",
                             x->method, x->path, like ? ", but " : "", like ? like : "");
    x->key = tern_auth_find(header_of(x->connection, "Authorization"), server->keys, server->config.n_api_keys);
    if (x->route->needs_key && server->config.n_api_keys && !x->key)
        return tern_api_fail(error, 401, NULL, "invalid_api_key",
                             "wrong or no API key; send the header Authorization: Bearer KEY");
    if (x->route->has_body && check_body_headers(x, error))
        return error->status;
    const char *length = header_of(x->connection, "Content-Length");
    if (length && strtoull(length, NULL, 10) > server->config.max_body)
        return too_large(x, error);
    return 0;
}

/* CORS preflight: what a browser asks before a page's request. Without --cors it is a method that there is not. */
static bool is_preflight(const tern_exchange *x) {
    return strcmp(x->method, "OPTIONS") == 0 && allowed_origin(x) &&
           header_of(x->connection, "Access-Control-Request-Method");
}

/* A page that may ask may send any header: what it names, if these are names of headers. */
static const char *allowed_headers(const tern_exchange *x) {
    static const char usual[] = "authorization, content-type";
    const char *asked = header_of(x->connection, "Access-Control-Request-Headers");
    if (!asked || !*asked || asked[strspn(asked, TOKEN_CHARACTERS ", ")])
        return usual;
    return strlen(asked) < sizeof x->reply.headers[0].value ? asked : usual;
}

static enum MHD_Result answer_preflight(tern_exchange *x) {
    x->reply = (tern_reply){.status = 204, .body = "", .is_static = true};
    tern_reply_header(&x->reply, "Access-Control-Allow-Methods", "GET, POST");
    tern_reply_header(&x->reply, "Access-Control-Allow-Headers", "%s", allowed_headers(x));
    tern_reply_header(&x->reply, "Access-Control-Max-Age", "600");
    return send_reply(x);
}

/* ------------------------------------------------------------------- handling */

/* A worker: have the endpoint answer. */
static void handle(tern_work *work) {
    tern_exchange *x = tern_exchange_of(work);
    pthread_mutex_lock(&x->mutex);
    bool lost = x->lost;
    pthread_mutex_unlock(&x->mutex);
    if (!lost && !tern_json_parse(x->body.bytes, x->body.size, &x->request, &x->failure))
        x->route->handler(x, &x->failure);
    if (!x->server->config.log_prompts)
        tern_buffer_free(&x->body);
    hand_back(x);
}

/* The request is here as a whole. 0, or the status of *error, with which it is refused. */
static int check_whole(tern_exchange *x, tern_api_error *error) {
    tern_server *server = x->server;
    if (x->refusal.status) {
        *error = x->refusal;
        return error->status;
    }
    if (x->too_large)
        return too_large(x, error);
    if (atomic_load(&server->draining) && x->route->has_body) {
        tern_api_fail(error, 503, NULL, "draining", "the server is shutting down; try another one, or later");
        error->retry_after = 5;
        return 503;
    }
    return x->body.failed ? tern_api_fail_memory(error) : 0;
}

static enum MHD_Result begin(tern_exchange *x) {
    tern_api_error error = {0};
    x->has_all = true;
    atomic_fetch_add(&x->server->active, 1); /* before it looks whether the server drains */
    tern_link_set(x->server, x->link, TERN_LINK_BUSY, NULL);
    if (!x->refusal.status && !x->too_large && is_preflight(x))
        return answer_preflight(x);
    if (check_whole(x, &error))
        return send_error(x, &error);
    if (x->route->has_body) {
        x->is_large = x->body.size > TERN_LARGE_BODY;
        tern_link_set(x->server, x->link, TERN_LINK_BUSY, x);
        return hand_over(x, handle, x->is_large);
    }
    return x->route->handler(x, &error) ? send_error(x, &error) : send_reply(x);
}

static void take_body(tern_exchange *x, const char *bytes, size_t n_bytes) {
    /* What is refused is read all the same, and dropped: a client that is still sending would not see the answer. */
    if (x->refusal.status || x->too_large)
        return;
    if (n_bytes > x->server->config.max_body - x->body.size) {
        x->too_large = true;
        tern_buffer_free(&x->body);
        return;
    }
    tern_buffer_append(&x->body, bytes, n_bytes);
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *n_upload, void **state) {
    (void)version;
    tern_server *server = user;
    tern_exchange *x = *state;
    if (!x) {
        x = tern_exchange_create(server, connection);
        if (!x)
            return MHD_NO;
        *state = x;
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        x->link = info ? info->socket_context : NULL;
        x->method = method;
        x->path = url;
        x->if_none_match = header_of(connection, "If-None-Match");
        if (!check_framing(x, &x->refusal) && !is_preflight(x))
            admit(x, &x->refusal);
        /* A client that asks before it sends need not send. */
        if (x->refusal.status && header_of(connection, "Expect"))
            return begin(x);
        return MHD_YES;
    }
    if (*n_upload) {
        take_body(x, upload, *n_upload);
        *n_upload = 0;
        return MHD_YES;
    }
    if (!x->has_all)
        return begin(x);
    return go_on(x);
}

/* "client": its address. */
static void log_client(tern_log_line *line, struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    char host[64];
    if (!info || !info->client_addr)
        return;
    socklen_t size =
        info->client_addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (getnameinfo(info->client_addr, size, host, sizeof host, NULL, 0, NI_NUMERICHOST) == 0)
        tern_log_text(line, "client", host);
}

/* What a worker found wrong; without the message, which may hold a piece of the request. */
static void log_failure(tern_log_line *line, const tern_api_error *failure) {
    if (failure->code)
        tern_log_text(line, "code", failure->code);
    if (failure->param[0])
        tern_log_text(line, "param", failure->param);
}

static void log_exchange(const tern_exchange *x, bool complete) {
    const tern_job *job = x->job;
    int status = complete ? x->reply.status : 499;
    if (x->route && x->route->quiet && status < 400)
        return;
    tern_log_line line;
    tern_log_begin(&line, status >= 500 ? "error" : status >= 400 ? "warning" : "info", "request");
    tern_log_text(&line, "id", x->id);
    log_client(&line, x->connection);
    if (x->key)
        tern_log_int(&line, "key", (int64_t)x->key);
    tern_log_text(&line, "method", x->method);
    tern_log_text(&line, "path", x->path);
    tern_log_int(&line, "status", status);
    tern_log_ms(&line, "total_ms", tern_seconds() - x->arrived);
    if (job) {
        uint64_t prompt = 0, cached = 0, generated = 0;
        for (size_t i = 0; i < job->n_prompts; i++) {
            prompt += job->prompts[i].n_ids;
            cached += job->prompts[i].n_cached;
        }
        for (size_t i = 0; i < job->n_choices; i++)
            generated += job->choices[i].n_generated;
        tern_log_int(&line, "prompt_tokens", (int64_t)prompt);
        tern_log_int(&line, "cached_tokens", (int64_t)cached);
        tern_log_int(&line, "completion_tokens", (int64_t)generated);
        if (job->queue_seconds >= 0)
            tern_log_ms(&line, "queue_ms", job->queue_seconds);
        if (job->has_tokens)
            tern_log_ms(&line, "first_token_ms", job->first_token_seconds);
        if (job->error.status)
            tern_log_text(&line, "error", job->error.message);
    } else if (x->refusal.status) {
        tern_log_text(&line, "error", x->refusal.message);
    }
    if (x->failure.status)
        log_failure(&line, &x->failure);
    if (x->ignored.size && !x->ignored.failed)
        tern_buffer_printf(&line.text, ",\"ignored\":[%s]", x->ignored.bytes);
    if (x->server->config.log_prompts) {
        tern_log_bytes(&line, "request", x->body.bytes ? x->body.bytes : "", x->body.size);
        if (!x->streaming && x->reply.body && job)
            tern_log_bytes(&line, "answer", x->reply.body, x->reply.n_bytes);
    }
    tern_log_end(&line);
}

static void on_completed(void *user, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code) {
    (void)connection;
    tern_server *server = user;
    tern_exchange *x = *state;
    if (!x)
        return;
    *state = NULL;
    tern_link_set(server, x->link, TERN_LINK_IDLE, NULL); /* from now on the watcher does not know it */
    pthread_mutex_lock(&x->mutex);
    bool complete = code == MHD_REQUEST_TERMINATED_COMPLETED_OK;
    if (!complete) {
        x->lost = true;
        if (x->job && !x->working)
            tern_job_cancel(x->job);
        atomic_fetch_add(&server->metrics.disconnects, 1);
    }
    log_exchange(x, complete);
    tern_metrics_count(&server->metrics, x->route ? (size_t)(x->route - tern_routes) : tern_n_routes,
                       complete ? x->reply.status : 499);
    if (complete && x->job) /* what is told at once would hide how long the rest takes */
        tern_metrics_observe(&server->metrics.request_time, tern_seconds() - x->arrived);
    x->connection = NULL;
    x->link = NULL;
    if (x->has_all)
        atomic_fetch_sub(&server->active, 1);
    tern_exchange_release(x);
}

/* ------------------------------------------------------------------ connections */

static void on_connection(void *user, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code) {
    tern_server *server = user;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        int size = TERN_SEND_BUFFER;
        if (info) /* the system would let a client that does not read hold megabytes */
            setsockopt(info->connect_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        *context = info ? tern_link_open(server, (int)info->connect_fd) : NULL;
    } else {
        tern_link_close(server, *context);
        *context = NULL;
    }
}

/* The request line is here: from now on its time runs. */
static void *on_uri(void *user, const char *uri, struct MHD_Connection *connection) {
    (void)uri;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    tern_link_set(user, info ? info->socket_context : NULL, TERN_LINK_READING, NULL);
    return NULL;
}

static void ignore_log(void *user, const char *format, va_list args) { (void)user, (void)format, (void)args; }

tern_status tern_http_start(tern_server *server, tern_error *err) {
    const tern_server_config *config = &server->config;
    /* Room for a refused header that is larger than allowed, and for reading and writing bodies in good pieces. */
    size_t memory = config->max_header + config->max_header / 2 + 32768;
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG;
#if defined(__linux__)
    flags |= MHD_USE_EPOLL;
#else
    flags |= MHD_USE_POLL;
#endif
    server->daemon =
        MHD_start_daemon(flags, 0, NULL, NULL, on_request, server, MHD_OPTION_EXTERNAL_LOGGER, ignore_log, NULL,
                         MHD_OPTION_LISTEN_SOCKET, server->listener, MHD_OPTION_NOTIFY_COMPLETED, on_completed, server,
                         MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_URI_LOG_CALLBACK, on_uri,
                         server, MHD_OPTION_CONNECTION_LIMIT, config->max_connections + TERN_SPARE_CONNECTIONS,
                         MHD_OPTION_CONNECTION_MEMORY_LIMIT, memory, MHD_OPTION_CONNECTION_TIMEOUT,
                         (unsigned)(config->read_timeout + 1), MHD_OPTION_END);
    if (!server->daemon)
        return tern_fail(err, TERN_ERR_IO, "cannot start the HTTP server: %s", strerror(errno));
    server->listener = -1; /* the daemon's now */
    return TERN_OK;
}

void tern_http_stop(tern_server *server) {
    if (server->daemon)
        MHD_stop_daemon(server->daemon);
    server->daemon = NULL;
}
