#include "hub/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "hub/cache.h"

#define FIRST_DELAY 0.5 /* seconds; doubled with each attempt */
#define LONGEST_DELAY 20.0
#define LONGEST_WAIT 300.0 /* that a hub may ask for (Retry-After) */
enum { MAX_REDIRECTS = 8, MAX_ANSWER = 64 << 20 };

/* ------------------------------------------------------------------- addresses */

char *tern_hub_url(const tern_hub *hub, const char *format, ...) {
    va_list arguments;
    char *tail = NULL, *url = NULL;
    va_start(arguments, format);
    int n = vasprintf(&tail, format, arguments);
    va_end(arguments);
    if (n < 0)
        return NULL;
    n = asprintf(&url, "%s%s", hub->endpoint, tail);
    free(tail);
    return n < 0 ? NULL : url;
}

char *tern_hub_escape(const char *text, bool slashes) {
    tern_buffer out = {0};
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c) ||
            (c == '/' && slashes))
            tern_buffer_append(&out, text, 1);
        else
            tern_buffer_printf(&out, "%%%02X", c);
    }
    return tern_buffer_take(&out, NULL);
}

/* The length of "https://host:port" in front of an address. */
static size_t origin_length(const char *url) {
    const char *host = strstr(url, "://");
    return host ? (size_t)(host - url) + 3 + strcspn(host + 3, "/?#") : 0;
}

/* Letter by letter: what is only spelt differently (":443") counts as somebody else, which is the safe mistake. */
static bool is_hub(const tern_hub *hub, const char *url) {
    size_t n = origin_length(hub->endpoint);
    return n && origin_length(url) == n && strncasecmp(url, hub->endpoint, n) == 0;
}

const char *tern_hub_token_for(const tern_hub *hub, const char *url) { return is_hub(hub, url) ? hub->token : NULL; }

bool tern_hub_may_redirect(const char *from, const char *to) {
    bool encrypted = strncasecmp(to, "https://", 8) == 0;
    return encrypted || (strncasecmp(to, "http://", 7) == 0 && strncasecmp(from, "http://", 7) == 0);
}

/* ------------------------------------------------------------------- answers */

bool tern_hub_is_transient(const tern_http_request *request) {
    if (request->failed)
        return !request->hopeless;
    return request->status == 408 || (request->status == 429 && request->retry_after <= LONGEST_WAIT) ||
           request->status >= 500;
}

double tern_hub_delay(const tern_http_request *request, int n) {
    double delay = FIRST_DELAY;
    for (int i = 1; i < n && delay < LONGEST_DELAY; i++)
        delay *= 2;
    if (delay > LONGEST_DELAY)
        delay = LONGEST_DELAY;
    if (!request->failed && request->retry_after > delay)
        delay = request->retry_after <= LONGEST_WAIT ? request->retry_after : LONGEST_WAIT;
    return delay;
}

const char *tern_hub_failure(const tern_http_request *request) {
    if (request->failed)
        return request->what;
    return request->status == 429 ? "the hub has had too many requests (429)" : "the hub is out of order";
}

static bool has_code(const tern_http_request *request, const char *code) {
    return strcasecmp(request->error_code, code) == 0;
}

/* 401 and 403: who asks may not, or there is nothing; the hub does not tell strangers which. */
static tern_status explain_refusal(const tern_hub *hub, const tern_http_request *request, const char *what,
                                   const char *url, tern_error *err) {
    int code = request->status;
    if (has_code(request, "GatedRepo"))
        return tern_fail(err, TERN_ERR_IO,
                         "%s: is gated (%d): accept its conditions at %s in a browser, and set HF_TOKEN to "
                         "a token of the account that did (%s/settings/tokens)",
                         what, code, url, hub->endpoint);
    if (!hub->token)
        return tern_fail(
            err, TERN_ERR_IO,
            "%s: the hub shows this to nobody unknown (%d): there is no such repository, or it is private; "
            "check the name, or set HF_TOKEN to a token of yours (%s/settings/tokens)",
            what, code, hub->endpoint);
    if (code == 401)
        return tern_fail(
            err, TERN_ERR_IO,
            "%s: the hub does not take this token, or there is no such repository (401): check the name, and "
            "HF_TOKEN at %s/settings/tokens",
            what, hub->endpoint);
    return tern_fail(err, TERN_ERR_IO,
                     "%s: this token may not read it (403): ask its owner for access, or let the token read it at "
                     "%s/settings/tokens",
                     what, hub->endpoint);
}

tern_status tern_hub_explain(const tern_hub *hub, const tern_http_request *request, const char *what, tern_error *err) {
    char page[512];
    int code = request->status;
    const char *later = hub->fetching ? "try again later, what has come stays" : "try again later";
    if (request->failed && request->unreachable)
        return tern_fail(err, TERN_ERR_IO, "%s: %.*s cannot be reached: %s; is there a network? %s", what,
                         (int)origin_length(request->url), request->url, request->what, later);
    if (request->failed)
        return tern_fail(err, TERN_ERR_IO, "%s: no whole answer from %.*s: %s%s%s", what,
                         (int)origin_length(request->url), request->url, request->what, request->hopeless ? "" : "; ",
                         request->hopeless ? "" : later);
    if (!is_hub(hub, request->url) && code < 500 && code != 429)
        return tern_fail(err, TERN_ERR_IO, "%s: %.*s, where the hub keeps it, answers %d: %s", what,
                         (int)origin_length(request->url), request->url, code, later);
    snprintf(page, sizeof page, "%s/%.*s", hub->endpoint, (int)strcspn(what, ":@"), what);
    if (code == 401 || code == 403)
        return explain_refusal(hub, request, what, page, err);
    if (code == 404 && has_code(request, "RevisionNotFound"))
        return tern_fail(err, TERN_ERR_IO, "%s: has no such revision (404); %s/tree/main shows those it has", what,
                         page);
    if (code == 404)
        return tern_fail(err, TERN_ERR_IO, "%s: the hub has nothing of that name (404); check it at %s", what, page);
    if (code == 429 && request->retry_after > 0)
        return tern_fail(err, TERN_ERR_IO,
                         "%s: the hub has had too many requests from here (429): try again in %.0f s%s", what,
                         request->retry_after, hub->token ? "" : ", or set HF_TOKEN, for which it allows more");
    if (code == 429)
        return tern_fail(err, TERN_ERR_IO, "%s: the hub has had too many requests from here (429): try again later%s",
                         what, hub->token ? "" : ", or set HF_TOKEN, for which it allows more");
    if (code >= 500)
        return tern_fail(err, TERN_ERR_IO, "%s: the hub is out of order (%d): %s", what, code, later);
    return tern_fail(err, TERN_ERR_IO, "%s: the hub answers %d%s%s", what, code, request->error_message[0] ? ": " : "",
                     request->error_message);
}

/* ------------------------------------------------------------------- one request */

bool tern_hub_progress(const tern_hub *hub, const char *file, tern_hub_phase phase, uint64_t done, uint64_t total) {
    return !hub->settings.progress || hub->settings.progress(hub->settings.user, file, phase, done, total);
}

void tern_hub_note(const tern_hub *hub, const char *format, ...) {
    char text[600];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (hub->settings.note)
        hub->settings.note(hub->settings.user, text);
}

tern_status tern_hub_connect(tern_hub *hub, tern_error *err) {
    const tern_http_settings settings = {.agent = "tern/" TERN_VERSION, .stall_seconds = hub->settings.timeout};
    char what[TERN_HTTP_WHAT];
    if (hub->client)
        return TERN_OK;
    tern_status status = tern_http_load(&hub->http, err);
    if (!status && !(hub->client = hub->http->open(&settings, what)))
        status = tern_fail(err, TERN_ERR_MEMORY, "%s", what);
    return status;
}

typedef struct ask {
    tern_hub *hub;
    const char *what;
    tern_hub_answer *answer;
    int attempts, redirects;
    bool cancelled, bad_redirect, no_memory, too_long;
} ask;

static bool ask_tick(void *user) {
    ask *a = user;
    a->cancelled |= !tern_hub_progress(a->hub, NULL, TERN_HUB_FETCHING, 0, 0);
    return !a->cancelled;
}

static bool ask_bytes(tern_http_request *request, const void *bytes, size_t n_bytes) {
    ask *a = request->user;
    a->too_long |= a->answer->body.size + n_bytes > MAX_ANSWER;
    a->no_memory |= !a->too_long && !tern_buffer_append(&a->answer->body, bytes, n_bytes);
    return !a->too_long && !a->no_memory;
}

static void keep_etags(ask *a, const tern_http_request *request) {
    if (is_hub(a->hub, request->url) && request->linked_etag[0])
        memcpy(a->answer->linked_etag, request->linked_etag, sizeof request->linked_etag);
    if (is_hub(a->hub, request->url) && request->etag[0])
        memcpy(a->answer->etag, request->etag, sizeof request->etag);
}

/* Go to where a redirect leads. False: that is for the caller, or not allowed. */
static bool follow(ask *a, tern_http_request *request) {
    const char *to = request->location;
    char *url = to && tern_hub_may_redirect(request->url, to) && a->redirects++ < MAX_REDIRECTS ? strdup(to) : NULL;
    a->bad_redirect = !url;
    if (!url)
        return false;
    free(a->answer->where);
    a->answer->where = url;
    request->url = url;
    request->token = tern_hub_token_for(a->hub, url);
    return !request->head || is_hub(a->hub, url);
}

static bool ask_end(tern_http_request *request) {
    ask *a = request->user;
    keep_etags(a, request);
    a->hub->answered |= !request->unreachable;
    if (request->failed && a->hub->settings.at_once && !a->hub->answered)
        return false;
    if (!request->failed && request->status >= 300 && request->status < 400)
        return follow(a, request);
    if (!tern_hub_is_transient(request) || a->attempts >= a->hub->settings.retries)
        return false;
    a->answer->body.size = 0;
    request->delay = tern_hub_delay(request, ++a->attempts);
    tern_hub_note(a->hub, "%s: %s, trying again in %.1f s", a->what, tern_hub_failure(request), request->delay);
    return true;
}

tern_status tern_hub_ask(tern_hub *hub, const char *url, bool head, const char *what, tern_hub_answer *answer,
                         tern_error *err) {
    char why[TERN_HTTP_WHAT];
    ask a = {.hub = hub, .what = what, .answer = answer};
    *answer = (tern_hub_answer){.where = strdup(url)};
    if (!answer->where)
        return tern_fail_memory(err, what);
    tern_http_request request = {.url = answer->where,
                                 .token = tern_hub_token_for(hub, url),
                                 .head = head,
                                 .on_bytes = ask_bytes,
                                 .on_end = ask_end,
                                 .user = &a};
    bool ran = hub->http->run(hub->client, &request, 1, ask_tick, &a, why);
    int status = request.status;
    if (a.cancelled)
        return tern_fail(err, TERN_ERR_CANCELLED, "%s: cancelled", what);
    if (!ran)
        return tern_fail(err, TERN_ERR_IO, "%s: %s", what, why);
    if (a.no_memory)
        return tern_fail_memory(err, what);
    if (a.too_long)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: the hub's answer is longer than %d MB", what, MAX_ANSWER >> 20);
    if (a.bad_redirect)
        return tern_fail(err, TERN_ERR_IO, "%s: the hub redirects in a circle, or to an address that is not encrypted",
                         what);
    if (!request.failed && (status / 100 == 2 || (head && status / 100 == 3)))
        return TERN_OK;
    return tern_hub_explain(hub, &request, what, err);
}
