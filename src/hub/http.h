/* HTTP for the hub: several GET or HEAD requests at once, redirects left to the caller (who knows which host may see
 * the token). What does the work is libcurl, in a module of its own, tern_curl.so, that is loaded when it is needed:
 * linked with libcurl, every `tern run` would load its two dozen libraries. Where programs do not find their own folder
 * (not Linux) it is linked. */
#ifndef TERN_HUB_HTTP_H
#define TERN_HUB_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { TERN_HTTP_WHAT = 256 };

typedef struct tern_http_request tern_http_request;
struct tern_http_request {
    /* What is asked; the strings belong to the caller. */
    const char *url, *token; /* "Authorization: Bearer TOKEN"; NULL: none */
    bool head;               /* HEAD instead of GET */
    bool ranged;             /* only bytes first ... last, both included */
    uint64_t first, last;
    double delay; /* seconds to wait before it is sent */
    void *user;
    /* All may be NULL. The header lines are there; false ends the request. */
    bool (*on_answer)(tern_http_request *request);
    /* The next bytes of the body of an answer 2xx (other bodies are dropped); false ends the request. */
    bool (*on_bytes)(tern_http_request *request, const void *bytes, size_t n_bytes);
    /* It is over, well or badly. True: send it (again) as it is now. */
    bool (*on_end)(tern_http_request *request);

    /* What came. */
    int status;                                /* 200; 0: no answer */
    bool failed;                               /* no answer, or not all of it; `what` says why */
    bool hopeless;                             /* and trying again will not help: certificates, a bad address */
    bool unreachable;                          /* nobody was there to ask: no such host, no connection */
    char what[TERN_HTTP_WHAT];                 /* "Couldn't connect to server" */
    char *location;                            /* of a redirect, absolute; the module's, until the next run */
    bool has_length, has_range;                /* of the body; Content-Range */
    uint64_t length, range_first, range_total; /* range_total: of the whole file; UINT64_MAX: not said */
    double retry_after;                        /* seconds; 0: not said */
    char etag[128], linked_etag[128];          /* ETag, X-Linked-ETag */
    char error_code[64], error_message[256];   /* X-Error-Code, X-Error-Message */
};

typedef struct tern_http_settings {
    const char *agent;
    double stall_seconds; /* a connection over which nothing comes for so long is given up */
} tern_http_settings;

enum { TERN_HTTP_VERSION = 2 };

/* What the module exports, as tern_http_module. */
typedef struct tern_http_functions {
    uint32_t version;                                                             /* TERN_HTTP_VERSION */
    void *(*open)(const tern_http_settings *settings, char what[TERN_HTTP_WHAT]); /* NULL: `what` says why */
    void (*close)(void *client);
    /* All requests [n], until each has ended. tick(user) is called ten times a second at least; when it returns false
     * all are left as they are, without on_end. False: the client itself failed, `what` says why. */
    bool (*run)(void *client, tern_http_request *requests, size_t n, bool (*tick)(void *user), void *user,
                char what[TERN_HTTP_WHAT]);
} tern_http_functions;

/* TERN_ERR_UNSUPPORTED: built without libcurl, or the module is not where it belongs. */
tern_status tern_http_load(const tern_http_functions **functions, tern_error *err);

#endif
