/* One request and its answer, from the first header to the last byte; and the server it came to. Private to the room.
 */
#ifndef TERN_SERVER_EXCHANGE_H
#define TERN_SERVER_EXCHANGE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "server/error.h"
#include "server/json.h"
#include "server/metrics.h"
#include "server/server.h"
#include "server/workers.h"

struct MHD_Connection;
struct MHD_Daemon;

typedef struct tern_exchange tern_exchange;
typedef struct tern_job tern_job;
typedef struct tern_link tern_link;

typedef struct tern_route {
    const char *method, *path; /* "/v1/models/{model}": what the path ends with is for the handler */
    /* Answer: fill x->reply or leave a job in x->job. 0, or the status of *error. In a worker's thread if the route has
     * a body, else in the HTTP thread, where it must not take long. */
    int (*handler)(tern_exchange *x, tern_api_error *error);
    bool needs_key; /* when there are keys at all */
    bool has_body;  /* a JSON object, parsed into x->request */
    bool quiet;     /* not logged when it succeeds */
} tern_route;

/* A connection: what the watcher has to know of it. All guarded by server->links_mutex. */
struct tern_link {
    tern_link *next, *previous;
    uint64_t serial; /* never used again, unlike a descriptor */
    int fd;
    enum { TERN_LINK_IDLE = 0, TERN_LINK_READING, TERN_LINK_BUSY } state;
    double since; /* of this state, tern_seconds() */
    bool shut;    /* given up: its socket is shut down, libmicrohttpd will notice */
    bool spare;   /* there were max_connections when it came: told so, and closed, unless there is room by then */
    tern_exchange *exchange;
};

struct tern_server {
    tern_model *model;
    tern_model_info info;
    const tern_tokenizer *tokenizer;
    tern_scheduler *scheduler;
    tern_workers workers;
    tern_server_config config; /* strings and keys are copies */
    char **keys;
    char url[300], model_name[256];
    int64_t started; /* Unix time */
    uint32_t n_ctx;  /* tokens of a request */
    tern_metrics metrics;
    tern_energy *energy; /* NULL: nothing to read */

    struct MHD_Daemon *daemon;
    int listener; /* until the daemon has it; then -1 */
    atomic_bool draining;
    atomic_uint active; /* exchanges between the last byte of the request and the last one of the answer */
    _Atomic uint64_t next_id;
    _Atomic uint64_t answer_us; /* microseconds that one takes, on the average; 0: not known yet */

    pthread_mutex_t links_mutex;
    tern_link *links;
    uint64_t next_serial;
    uint32_t n_links;
    pthread_t watcher;
    bool has_links_mutex, has_watcher;
    atomic_bool stopping;
    atomic_bool stuck; /* requests are there, and nothing is computed */
    int poll_fd;       /* epoll of busy connections; -1 where there is none */
};

typedef struct tern_header {
    const char *name; /* static */
    char value[512];
} tern_header;

typedef struct tern_reply {
    int status;               /* 0: none yet */
    const char *content_type; /* static */
    const char *body;         /* [n_bytes] */
    size_t n_bytes;
    bool is_static; /* body is not for free() */
    bool close;     /* the connection, behind it */
    tern_header headers[4];
    size_t n_headers;
} tern_reply;

struct tern_exchange {
    tern_server *server;
    const tern_route *route; /* NULL: there is none */
    tern_link *link;
    const char *method, *path; /* libmicrohttpd's, while connection is not NULL */
    const char *if_none_match;
    char id[32];
    double arrived;  /* tern_seconds() */
    size_t key;      /* whose it is: the number of the key, from 1; 0: there are none */
    int64_t created; /* Unix time */

    /* The request; the HTTP thread's, a worker's while it is working. */
    tern_buffer body;
    bool too_large, has_all;
    bool is_large;          /* its body is, so that all it takes is done in the large lane */
    tern_api_error refusal; /* by the headers alone; told when the body has passed by */
    tern_api_error failure; /* what a worker found wrong */
    json_t *request;
    tern_buffer ignored; /* names of its fields that nobody knows, as JSON; the first of n_ignored */
    size_t n_ignored;
    tern_reply reply;
    tern_work work;

    /* The answer under way. */
    pthread_mutex_t mutex;             /* guards all below; taken after links_mutex, before the scheduler's */
    struct MHD_Connection *connection; /* NULL: libmicrohttpd is done with it */
    unsigned references;               /* libmicrohttpd's and one for each request that is scheduled */
    tern_job *job;
    bool suspended, streaming;
    bool working;    /* a worker has it: nobody else looks at request, reply and job */
    bool lost;       /* the client is gone, or reads too slowly, or the server stops: no more answer */
    bool stopping;   /* ... the latter */
    tern_buffer out; /* of a stream: [out_read, size) is not yet sent */
    size_t out_read;
    double written; /* tern_seconds() when something was last appended to it */
};

/* ------------------------------------------------------------------- exchange */

/* Whose work it is. */
static inline tern_exchange *tern_exchange_of(tern_work *work) {
    return (tern_exchange *)((char *)work - offsetof(tern_exchange, work));
}

/* NULL: no memory. One reference. */
tern_exchange *tern_exchange_create(tern_server *server, struct MHD_Connection *connection);
/* With the mutex held, which is released; the last one frees. */
void tern_exchange_release(tern_exchange *x);
/* With the mutex held: have the HTTP thread look at it again, unless a worker has it, who will say so himself. */
void tern_exchange_wake(tern_exchange *x);
/* Give up: cancels its job. `stopping`: not because of the client. Takes the mutex. */
void tern_exchange_lose(tern_exchange *x, bool stopping);

/* Whether a stream has had nothing for its client for `seconds`; then it gets a comment. Takes the mutex. */
void tern_exchange_ping(tern_exchange *x, double seconds);

/* x->reply: takes body's bytes. 500 in *error if an append to it had failed. */
int tern_reply_take(tern_exchange *x, int status, const char *content_type, tern_buffer *body, tern_api_error *error);
/* A JSON body. */
int tern_reply_json(tern_exchange *x, tern_buffer *body, tern_api_error *error);
/* A file of the program, which clients may keep as long as it is still this one; 304 if they have it. */
void tern_reply_file(tern_exchange *x, const char *content_type, const unsigned char *bytes, size_t n_bytes);
void tern_reply_error(tern_exchange *x, const tern_api_error *error);
void tern_reply_header(tern_reply *reply, const char *name, const char *format, ...) TERN_PRINTF(3, 4);

/* -------------------------------------------------------------------- routes */

extern const tern_route tern_routes[];
extern const size_t tern_n_routes;
/* The row for a path and a method (HEAD counts as GET). NULL with *allowed empty: no such path; else the methods that
 * the path has, "GET, POST". */
const tern_route *tern_route_find(const char *method, const char *path, char allowed[64]);
/* The path that was meant, perhaps: "/chat/completions" and "/v1/v1/models" have lost or won a part. NULL: none. */
const char *tern_route_like(const char *path);

/* ------------------------------------------------------------------ transport */

tern_status tern_http_start(tern_server *server, tern_error *err);
void tern_http_stop(tern_server *server);
/* A listening socket -> server->listener, server->url. */
tern_status tern_listen(tern_server *server, tern_error *err);

tern_status tern_watch_start(tern_server *server, tern_error *err);
void tern_watch_stop(tern_server *server);
/* NULL: no memory. */
tern_link *tern_link_open(tern_server *server, int fd);
void tern_link_close(tern_server *server, tern_link *link);
/* Whether there is room for a request of it: those that came too late must not shut out those that were there. */
bool tern_link_has_room(tern_server *server, tern_link *link);
/* `exchange`: whose client is watched from now on, in state BUSY; else NULL. */
void tern_link_set(tern_server *server, tern_link *link, int state, tern_exchange *exchange);
/* Lose the exchanges of all connections. */
void tern_links_lose_all(tern_server *server);

#endif
