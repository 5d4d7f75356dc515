#include "server/exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <microhttpd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "server/job.h"

tern_exchange *tern_exchange_create(tern_server *server, struct MHD_Connection *connection) {
    tern_exchange *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    if (pthread_mutex_init(&x->mutex, NULL)) {
        free(x);
        return NULL;
    }
    x->server = server;
    x->connection = connection;
    x->references = 1;
    x->arrived = x->written = tern_seconds();
    x->created = (int64_t)time(NULL);
    snprintf(x->id, sizeof x->id, "%llx-%llx", (unsigned long long)server->started,
             (unsigned long long)atomic_fetch_add(&server->next_id, 1));
    return x;
}

static void destroy(tern_work *work) {
    tern_exchange *x = tern_exchange_of(work);
    tern_job_free(x->job);
    json_decref(x->request);
    tern_buffer_free(&x->body);
    tern_buffer_free(&x->ignored);
    tern_buffer_free(&x->out);
    if (!x->reply.is_static)
        free((char *)x->reply.body);
    pthread_mutex_destroy(&x->mutex);
    free(x);
}

void tern_exchange_release(tern_exchange *x) {
    bool last = --x->references == 0;
    pthread_mutex_unlock(&x->mutex);
    if (!last)
        return;
    x->work.run = destroy;
    /* A megabyte of JSON is a hundred thousand blocks to free. */
    if (!x->is_large || !tern_workers_add(&x->server->workers, TERN_LANE_LARGE, &x->work))
        destroy(&x->work);
}

void tern_exchange_wake(tern_exchange *x) {
    if (!x->suspended || x->working || !x->connection)
        return;
    x->suspended = false;
    MHD_resume_connection(x->connection);
}

void tern_exchange_lose(tern_exchange *x, bool stopping) {
    pthread_mutex_lock(&x->mutex);
    if (!x->lost) {
        x->lost = true;
        x->stopping = stopping;
        if (x->job && !x->working)
            tern_job_cancel(x->job);
        tern_exchange_wake(x);
    }
    pthread_mutex_unlock(&x->mutex);
}

void tern_exchange_ping(tern_exchange *x, double seconds) {
    double now = tern_seconds();
    pthread_mutex_lock(&x->mutex);
    bool waits = x->suspended && !x->working && !x->lost && x->job && x->job->stream && x->out.size == x->out_read;
    if (waits && now - x->written >= seconds) {
        tern_buffer_text(&x->out, ": waiting\n\n");
        x->written = now;
        tern_exchange_wake(x);
    }
    pthread_mutex_unlock(&x->mutex);
}

int tern_reply_take(tern_exchange *x, int status, const char *content_type, tern_buffer *body, tern_api_error *error) {
    size_t n_bytes = 0;
    char *bytes = tern_buffer_take(body, &n_bytes);
    if (!bytes)
        return tern_api_fail_memory(error);
    x->reply.status = status;
    x->reply.content_type = content_type;
    x->reply.body = bytes;
    x->reply.n_bytes = n_bytes;
    return 0;
}

int tern_reply_json(tern_exchange *x, tern_buffer *body, tern_api_error *error) {
    return tern_reply_take(x, 200, "application/json", body, error);
}

void tern_reply_file(tern_exchange *x, const char *content_type, const unsigned char *bytes, size_t n_bytes) {
    char tag[24];
    snprintf(tag, sizeof tag, "\"%016llx\"", (unsigned long long)tern_hash_bytes(bytes, n_bytes));
    bool known = x->if_none_match && strstr(x->if_none_match, tag);
    x->reply = (tern_reply){.status = known ? 304 : 200,
                            .content_type = content_type,
                            .body = (const char *)bytes,
                            .n_bytes = known ? 0 : n_bytes,
                            .is_static = true};
    tern_reply_header(&x->reply, "ETag", "%s", tag);
    tern_reply_header(&x->reply, "Cache-Control", "no-cache"); /* ask each time whether it is still this one */
}

void tern_reply_error(tern_exchange *x, const tern_api_error *error) {
    static const char no_memory[] =
        "{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\",\"param\":null,"
        "\"code\":\"out_of_memory\"}}";
    tern_buffer body = {0};
    tern_api_error failed;
    tern_api_error_write(error, &body);
    if (tern_reply_take(x, error->status, "application/json", &body, &failed)) {
        x->reply.status = 500;
        x->reply.content_type = "application/json";
        x->reply.body = no_memory;
        x->reply.n_bytes = sizeof no_memory - 1;
        x->reply.is_static = true;
    }
    x->reply.close = error->close;
    if (error->retry_after)
        tern_reply_header(&x->reply, "Retry-After", "%d", error->retry_after);
    if (error->is_final) /* OpenAI's clients try a 408 again by themselves, unless they are told not to */
        tern_reply_header(&x->reply, "X-Should-Retry", "false");
    if (x->reply.status == 401)
        tern_reply_header(&x->reply, "WWW-Authenticate", "Bearer");
}

void tern_reply_header(tern_reply *reply, const char *name, const char *format, ...) {
    if (reply->n_headers == sizeof reply->headers / sizeof *reply->headers)
        return;
    tern_header *header = &reply->headers[reply->n_headers++];
    header->name = name;
    va_list args;
    va_start(args, format);
    vsnprintf(header->value, sizeof header->value, format, args);
    va_end(args);
}
