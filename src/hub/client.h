/* Inside the hub room: who asks the hub, and what its answers mean. */
#ifndef TERN_HUB_CLIENT_H
#define TERN_HUB_CLIENT_H

#include "base/str.h"
#include "hub/http.h"
#include "hub/hub.h"
#include "hub/listing.h"

struct tern_hub {
    tern_hub_settings settings;
    bool offline;
    char *endpoint; /* "https://huggingface.co", no slash at the end */
    char *cache, *token;
    bool answered;                   /* somebody was there */
    bool fetching;                   /* contents are on their way into the cache */
    const tern_http_functions *http; /* NULL until somebody is asked */
    void *client;
};

struct tern_hub_plan {
    tern_hub_name name;
    tern_hub_listing listing;
    size_t *chosen, n_chosen; /* indices into listing.files */
    bool folder;
    uint64_t missing_bytes;
};

/* TERN_ERR_ARGUMENT when offline. */
tern_status tern_hub_connect(tern_hub *hub, tern_error *err);

/* ENDPOINT + the formatted path, to be freed; "%s" arguments must be escaped already. */
char *tern_hub_url(const tern_hub *hub, const char *format, ...) TERN_PRINTF(2, 3);
/* Percent-escapes all but letters, digits, "-._~" and, with `slashes`, "/"; to be freed. */
char *tern_hub_escape(const char *text, bool slashes);
/* The token if the hub itself is asked, else NULL: nobody else is to see it. */
const char *tern_hub_token_for(const tern_hub *hub, const char *url);
/* A redirect may lead there: http or https, and not from encrypted to plain. */
bool tern_hub_may_redirect(const char *from, const char *to);

/* A request has failed, but may work when it is sent again: no answer, 408, 429, 5xx. */
bool tern_hub_is_transient(const tern_http_request *request);
/* Seconds to wait before attempt `n` (1, 2, ...) after that. */
double tern_hub_delay(const tern_http_request *request, int n);
/* What went wrong, in a few words. */
const char *tern_hub_failure(const tern_http_request *request);
/* The one line about a request that has failed for good; `what` is "REPO" or "REPO:FILE". */
tern_status tern_hub_explain(const tern_hub *hub, const tern_http_request *request, const char *what, tern_error *err);

typedef struct tern_hub_answer {
    tern_buffer body;                 /* freed by the caller */
    char *where;                      /* the address at which the redirects ended; freed by the caller */
    char linked_etag[128], etag[128]; /* the hub's own, wherever its redirects led */
} tern_hub_answer;

/* One request for `url`, sent again after failures that may pass, and followed through redirects: GET anywhere, HEAD
 * only on the hub itself, so that `where` may be another host that nobody has asked yet. The answer is good (2xx, or
 * such a redirect) or the error says why not. */
tern_status tern_hub_ask(tern_hub *hub, const char *url, bool head, const char *what, tern_hub_answer *answer,
                         tern_error *err);

/* Have the contents of one file of the plan in blobs/, unless they are there. Size and digest are filled in if the list
 * did not say them. */
tern_status tern_hub_fetch(tern_hub *hub, const tern_hub_plan *plan, tern_hub_file *file, tern_error *err);

/* The progress function, if there is one. */
bool tern_hub_progress(const tern_hub *hub, const char *file, tern_hub_phase phase, uint64_t done, uint64_t total);
void tern_hub_note(const tern_hub *hub, const char *format, ...) TERN_PRINTF(2, 3);

#endif
