/* tern_http_functions by libcurl. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "hub/http.h"

enum { MAX_REQUESTS = 64, TICK_MS = 100 };

typedef struct transfer {
    CURL *easy;
    struct curl_slist *headers;
    tern_http_request *request;
    double start_at; /* seconds of the clock below; it is not sent before */
    bool waiting, running, answered;
    char why[CURL_ERROR_SIZE], range[48];
    char *location;
} transfer;

typedef struct client {
    CURLM *multi;
    tern_http_settings settings;
    char *agent;
    transfer transfers[MAX_REQUESTS];
} client;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void close_client(void *memory) {
    client *c = memory;
    for (size_t i = 0; i < MAX_REQUESTS; i++) {
        if (c->transfers[i].easy)
            curl_easy_cleanup(c->transfers[i].easy);
        curl_slist_free_all(c->transfers[i].headers);
        free(c->transfers[i].location);
    }
    if (c->multi)
        curl_multi_cleanup(c->multi);
    free(c->agent);
    free(c);
    curl_global_cleanup();
}

static void *open_client(const tern_http_settings *settings, char what[TERN_HTTP_WHAT]) {
    snprintf(what, TERN_HTTP_WHAT, "out of memory for libcurl");
    if (curl_global_init(CURL_GLOBAL_DEFAULT))
        return NULL;
    client *c = calloc(1, sizeof *c);
    if (!c) {
        curl_global_cleanup();
        return NULL;
    }
    c->settings = *settings;
    c->agent = strdup(settings->agent);
    c->multi = curl_multi_init();
    if (c->agent && c->multi)
        return c;
    close_client(c);
    return NULL;
}

/* ------------------------------------------------------------------- the answer */

static void copy_value(char *out, size_t size, const char *value, size_t length) {
    snprintf(out, size, "%.*s", (int)(length < size ? length : size - 1), value);
}

/* "Content-Range: bytes 0-99/1000", the total may be "*". */
static void read_range(tern_http_request *request, const char *value) {
    char *end = NULL;
    if (strncasecmp(value, "bytes ", 6) != 0 || value[6] < '0' || value[6] > '9')
        return;
    request->range_first = strtoull(value + 6, &end, 10);
    request->has_range = *end == '-';
    const char *slash = strchr(end, '/');
    request->range_total = slash && slash[1] >= '0' && slash[1] <= '9' ? strtoull(slash + 1, NULL, 10) : UINT64_MAX;
}

/* One header line, not zero-terminated. */
static size_t on_header(char *line, size_t one, size_t length, void *user) {
    transfer *t = user;
    tern_http_request *request = t->request;
    (void)one;
    if (length >= 5 && memcmp(line, "HTTP/", 5) == 0) { /* an answer begins, perhaps behind a 100 Continue */
        request->has_range = false;
        request->etag[0] = request->linked_etag[0] = request->error_code[0] = request->error_message[0] = 0;
        return length;
    }
    const char *colon = memchr(line, ':', length);
    if (!colon)
        return length;
    const char *value = colon + 1, *end = line + length;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
        end--;
    struct {
        const char *name;
        char *out;
        size_t size;
    } const texts[] = {
        {"etag", request->etag, sizeof request->etag},
        {"x-linked-etag", request->linked_etag, sizeof request->linked_etag},
        {"x-error-code", request->error_code, sizeof request->error_code},
        {"x-error-message", request->error_message, sizeof request->error_message},
    };
    size_t name_length = (size_t)(colon - line);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strlen(texts[i].name) == name_length && strncasecmp(line, texts[i].name, name_length) == 0)
            copy_value(texts[i].out, texts[i].size, value, (size_t)(end - value));
    if (name_length == 13 && strncasecmp(line, "content-range", 13) == 0) {
        char text[80];
        copy_value(text, sizeof text, value, (size_t)(end - value));
        read_range(request, text);
    }
    return length;
}

/* Everything that libcurl knows when the header lines are through. */
static void note_answer(transfer *t) {
    tern_http_request *request = t->request;
    long status = 0;
    curl_off_t length = -1, wait = 0;
    char *location = NULL;
    t->answered = true;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &wait);
    curl_easy_getinfo(t->easy, CURLINFO_REDIRECT_URL, &location);
    request->status = (int)status;
    request->has_length = length >= 0;
    request->length = length >= 0 ? (uint64_t)length : 0;
    request->retry_after = wait > 0 ? (double)wait : 0;
    free(t->location);
    t->location = location ? strdup(location) : NULL; /* none left: the caller misses where it leads */
    request->location = t->location;
}

static size_t on_body(char *bytes, size_t one, size_t n_bytes, void *user) {
    transfer *t = user;
    tern_http_request *request = t->request;
    (void)one;
    if (!t->answered) {
        note_answer(t);
        if (request->on_answer && !request->on_answer(request))
            return 0;
    }
    if (request->status < 200 || request->status > 299 || !request->on_bytes)
        return n_bytes;
    return request->on_bytes(request, bytes, n_bytes) ? n_bytes : 0;
}

/* ------------------------------------------------------------------- requests */

static bool hopeless(CURLcode code) {
    static const CURLcode codes[] = {
        CURLE_UNSUPPORTED_PROTOCOL, CURLE_URL_MALFORMAT,         CURLE_PEER_FAILED_VERIFICATION,
        CURLE_SSL_CERTPROBLEM,      CURLE_SSL_CACERT_BADFILE,    CURLE_OUT_OF_MEMORY,
        CURLE_FAILED_INIT,          CURLE_BAD_FUNCTION_ARGUMENT, CURLE_WRITE_ERROR};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (code == codes[i])
            return true;
    return false;
}

static bool unreachable(CURLcode code) {
    return code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY || code == CURLE_COULDNT_CONNECT;
}

/* The options that no request changes. */
static bool set_up(client *c, transfer *t) {
    CURL *easy = t->easy;
    long stall = c->settings.stall_seconds < 1 ? 1 : (long)c->settings.stall_seconds;
    bool good = curl_easy_setopt(easy, CURLOPT_USERAGENT, c->agent) == CURLE_OK;
    good &= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    good &= curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK;
#if LIBCURL_VERSION_NUM >= 0x075500
    good &= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
#else
    good &= curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS)) == CURLE_OK;
#endif
    /* one connection a request: over HTTP/2 all would share one, and its speed */
    good &= curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK;
    good &= curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, stall) == CURLE_OK;
    good &= curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L) == CURLE_OK;
    good &= curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, stall) == CURLE_OK;
    good &= curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L << 10) == CURLE_OK;
    good &= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->why) == CURLE_OK;
    good &= curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK;
    good &= curl_easy_setopt(easy, CURLOPT_HEADERDATA, t) == CURLE_OK;
    good &= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK;
    good &= curl_easy_setopt(easy, CURLOPT_WRITEDATA, t) == CURLE_OK;
    good &= curl_easy_setopt(easy, CURLOPT_PRIVATE, t) == CURLE_OK;
    return good;
}

static bool set_token(transfer *t, const char *token) {
    curl_slist_free_all(t->headers);
    t->headers = NULL;
    if (token) {
        char *line = NULL;
        if (asprintf(&line, "Authorization: Bearer %s", token) < 0)
            return false;
        t->headers = curl_slist_append(NULL, line);
        free(line);
        if (!t->headers)
            return false;
    }
    return curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers) == CURLE_OK;
}

static bool start(client *c, transfer *t) {
    tern_http_request *request = t->request;
    if (!t->easy && (!(t->easy = curl_easy_init()) || !set_up(c, t)))
        return false;
    request->status = 0;
    request->failed = request->hopeless = request->unreachable = request->has_length = request->has_range = false;
    request->retry_after = 0;
    request->what[0] = t->why[0] = 0;
    t->waiting = t->answered = false;
    snprintf(t->range, sizeof t->range, "%llu-%llu", (unsigned long long)request->first,
             (unsigned long long)request->last);
    bool good = curl_easy_setopt(t->easy, CURLOPT_URL, request->url) == CURLE_OK && set_token(t, request->token);
    good = good && curl_easy_setopt(t->easy, CURLOPT_NOBODY, request->head ? 1L : 0L) == CURLE_OK;
    if (!request->head)
        good = good && curl_easy_setopt(t->easy, CURLOPT_HTTPGET, 1L) == CURLE_OK;
    good = good && curl_easy_setopt(t->easy, CURLOPT_RANGE, request->ranged ? t->range : NULL) == CURLE_OK;
    t->running = good && curl_multi_add_handle(c->multi, t->easy) == CURLM_OK;
    return t->running;
}

/* Have the request wait for its time. */
static void queue(transfer *t) {
    t->start_at = now() + t->request->delay;
    t->request->delay = 0;
    t->waiting = true;
}

static void finish(client *c, transfer *t, CURLcode code) {
    tern_http_request *request = t->request;
    curl_multi_remove_handle(c->multi, t->easy);
    t->running = false;
    if (!t->answered) {
        note_answer(t);
        if (code == CURLE_OK && request->on_answer)
            request->on_answer(request);
    }
    if (code != CURLE_OK) {
        request->failed = true;
        request->hopeless = hopeless(code);
        request->unreachable = unreachable(code);
        snprintf(request->what, sizeof request->what, "%s", t->why[0] ? t->why : curl_easy_strerror(code));
    }
    if (request->on_end && request->on_end(request))
        queue(t);
}

static void finish_ended(client *c) {
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(c->multi, &left)))
        if (message->msg == CURLMSG_DONE) {
            transfer *t = NULL;
            CURLcode code = message->data.result; /* the message goes with its handle */
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t);
            finish(c, t, code);
        }
}

/* Send what waits and is due. -1: it cannot be sent; else how many are left. */
static int send_due(client *c, size_t n) {
    int left = 0;
    double time = now();
    for (size_t i = 0; i < n; i++) {
        transfer *t = &c->transfers[i];
        if (t->waiting && t->start_at <= time && !start(c, t))
            return -1;
        left += t->waiting || t->running;
    }
    return left;
}

static bool run(void *memory, tern_http_request *requests, size_t n, bool (*tick)(void *user), void *user,
                char what[TERN_HTTP_WHAT]) {
    client *c = memory;
    bool good = n <= MAX_REQUESTS;
    snprintf(what, TERN_HTTP_WHAT, "libcurl cannot begin a transfer");
    for (size_t i = 0; good && i < n; i++) {
        c->transfers[i].request = &requests[i];
        queue(&c->transfers[i]);
    }
    while (good) {
        int left = send_due(c, n), running;
        good = left >= 0;
        if (left <= 0)
            break;
        CURLMcode code = curl_multi_perform(c->multi, &running);
        if (code == CURLM_OK)
            code = curl_multi_poll(c->multi, NULL, 0, running ? TICK_MS : TICK_MS / 5, NULL);
        if (code != CURLM_OK) {
            snprintf(what, TERN_HTTP_WHAT, "%s", curl_multi_strerror(code));
            good = false;
        }
        if (tick && !tick(user))
            break;
        finish_ended(c);
        if (tick && !tick(user)) /* what has ended may be a reason to end */
            break;
    }
    for (size_t i = 0; i < n && i < MAX_REQUESTS; i++) { /* those that were left */
        transfer *t = &c->transfers[i];
        if (t->running)
            curl_multi_remove_handle(c->multi, t->easy);
        t->running = t->waiting = false;
    }
    return good;
}

__attribute__((visibility("default"))) extern const tern_http_functions tern_http_module;
const tern_http_functions tern_http_module = {
    .version = TERN_HTTP_VERSION,
    .open = open_client,
    .close = close_client,
    .run = run,
};
