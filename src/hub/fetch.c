/* One file: its chunks over several connections, gone on with after failures, checked against its digest. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "hub/cache.h"
#include "hub/client.h"
#include "hub/part.h"

#define SMALLEST_CHUNK (UINT64_C(256) << 10)
#define LARGEST_CHUNK (UINT64_C(32) << 20)
#define PROGRESS_BYTES (UINT64_C(64) << 10) /* after so many a failure is the first one again */
enum { MAX_SLOTS = 16, MAX_REDIRECTS = 8, NO_CHUNK = -1 };

typedef struct fetch fetch;

/* One connection, and the chunk it is at. */
typedef struct slot {
    fetch *owner;
    long chunk;
    char *url; /* the request's */
    uint64_t since_failure;
    int failures, redirects;
} slot;

struct fetch {
    tern_hub *hub;
    tern_hub_file *file;
    char *what;   /* "REPO:FILE" */
    char *origin; /* where the hub says it is, */
    char *target; /* and where that led */
    tern_part part;
    slot slots[MAX_SLOTS];
    tern_http_request requests[MAX_SLOTS];
    int n_slots;
    bool *taken; /* [part.n_chunks] */
    bool whole;  /* ranges do not work here: one request for all of it */
    /* why the requests were left */
    bool stop, expired, no_ranges;
    int expirations;
    tern_status status;
    tern_error *err;
};

/* ------------------------------------------------------------------- chunks */

static uint64_t chunk_bytes(const fetch *f) {
    uint64_t bytes = f->file->size / (4 * (uint64_t)f->hub->settings.connections);
    bytes = (bytes + SMALLEST_CHUNK - 1) / SMALLEST_CHUNK * SMALLEST_CHUNK; /* a few for each connection */
    return bytes < SMALLEST_CHUNK ? SMALLEST_CHUNK : bytes > LARGEST_CHUNK ? LARGEST_CHUNK : bytes;
}

static bool set_url(slot *s, tern_http_request *request, const char *url) {
    char *copy = strdup(url);
    if (!copy) {
        s->owner->status = tern_fail_memory(s->owner->err, s->owner->what);
        s->owner->stop = true;
        return false;
    }
    free(s->url);
    s->url = copy;
    request->url = copy;
    request->token = tern_hub_token_for(s->owner->hub, copy);
    return true;
}

/* What is missing of the slot's chunk is what it asks for. */
static bool aim(slot *s, tern_http_request *request) {
    fetch *f = s->owner;
    uint64_t begin = (uint64_t)s->chunk * f->part.chunk_bytes;
    request->ranged = !f->whole;
    request->first = begin + f->part.come[s->chunk];
    request->last = begin + tern_part_chunk_size(&f->part, (size_t)s->chunk) - 1;
    s->redirects = 0;
    return set_url(s, request, f->target);
}

/* The next chunk that nobody has begun. False: there is none. */
static bool take_chunk(slot *s, tern_http_request *request) {
    fetch *f = s->owner;
    for (size_t i = 0; i < f->part.n_chunks; i++)
        if (!f->taken[i] && f->part.come[i] < tern_part_chunk_size(&f->part, i)) {
            f->taken[i] = true;
            s->chunk = (long)i;
            return aim(s, request);
        }
    s->chunk = NO_CHUNK;
    return false;
}

/* ------------------------------------------------------------------- what comes */

static bool stop_with(fetch *f, tern_status status) {
    f->status = status;
    f->stop = true;
    return false;
}

static bool fail_size(fetch *f, uint64_t there) {
    return stop_with(
        f, tern_fail(f->err, TERN_ERR_FORMAT,
                     "%s: has %llu bytes, but the hub's list says %llu: pull again, and if that does not help "
                     "the repository is damaged",
                     f->what, (unsigned long long)there, (unsigned long long)f->file->size));
}

static bool on_answer(tern_http_request *request) {
    slot *s = request->user;
    fetch *f = s->owner;
    if (request->status == 200 && request->has_length && request->length != f->file->size)
        return fail_size(f, request->length);
    if (request->status == 206 && request->has_range && request->range_total != UINT64_MAX &&
        request->range_total != f->file->size)
        return fail_size(f, request->range_total);
    bool other = request->status == 206 && (!request->has_range || request->range_first != request->first);
    if (request->ranged && (other || (request->status == 200 && (request->first || f->part.n_chunks > 1)))) {
        f->no_ranges = f->stop = true; /* ranges are ignored, or others come than were asked for */
        return false;
    }
    return true;
}

static bool on_bytes(tern_http_request *request, const void *bytes, size_t n_bytes) {
    slot *s = request->user;
    fetch *f = s->owner;
    size_t chunk = (size_t)s->chunk;
    uint64_t left = tern_part_chunk_size(&f->part, chunk) - f->part.come[chunk];
    if (f->stop)
        return false;
    if (n_bytes > left)
        return stop_with(
            f, tern_fail(f->err, TERN_ERR_FORMAT,
                         "%s: more bytes come than the hub's list says; pull again, and if that does not help "
                         "the repository is damaged",
                         f->what));
    tern_status status = tern_part_write(&f->part, chunk, bytes, n_bytes, f->err);
    if (status)
        return stop_with(f, status);
    s->since_failure += n_bytes;
    return true;
}

/* Once more from where it broke, if it may help; `what went wrong` is the request's. */
static bool try_again(slot *s, tern_http_request *request) {
    fetch *f = s->owner;
    if (s->since_failure >= PROGRESS_BYTES)
        s->failures = 0;
    s->since_failure = 0;
    if (!tern_hub_is_transient(request) || s->failures >= f->hub->settings.retries)
        return stop_with(f, tern_hub_explain(f->hub, request, f->what, f->err));
    double delay = tern_hub_delay(request, ++s->failures);
    tern_hub_note(f->hub, "%s: %s, going on in %.1f s", f->what, tern_hub_failure(request), delay);
    if (f->whole)
        f->part.come[0] = 0; /* without ranges it begins at the beginning */
    if (!aim(s, request))
        return false;
    request->delay = delay;
    return true;
}

static bool follow(slot *s, tern_http_request *request) {
    fetch *f = s->owner;
    if (request->location && tern_hub_may_redirect(request->url, request->location) && s->redirects++ < MAX_REDIRECTS)
        return set_url(s, request, request->location);
    return stop_with(f,
                     tern_fail(f->err, TERN_ERR_IO,
                               "%s: the hub redirects in a circle, or to an address that is not encrypted", f->what));
}

static bool on_end(tern_http_request *request) {
    slot *s = request->user;
    fetch *f = s->owner;
    size_t chunk = (size_t)s->chunk;
    if (f->stop)
        return false;
    if (f->part.come[chunk] == tern_part_chunk_size(&f->part, chunk)) {
        s->failures = 0;
        return take_chunk(s, request);
    }
    if (!request->failed && request->status / 100 == 3)
        return follow(s, request);
    if (!request->failed && request->status / 100 == 4 && request->status != 408 && request->status != 429 &&
        request->status != 416 && f->expirations < f->hub->settings.retries && strcmp(f->target, f->origin) != 0) {
        f->expired = f->stop = true; /* the store's addresses are good for an hour: ask the hub for another */
        return false;
    }
    if (!request->failed && request->status / 100 == 2) { /* a polite end, but too early */
        request->failed = true;
        snprintf(request->what, sizeof request->what, "the connection ended too early");
    }
    return try_again(s, request);
}

static bool on_tick(void *user) {
    fetch *f = user;
    if (!f->stop &&
        !tern_hub_progress(f->hub, f->file->path, TERN_HUB_FETCHING, tern_part_done(&f->part), f->file->size))
        stop_with(f, tern_fail(f->err, TERN_ERR_CANCELLED, "%s: cancelled; what has come stays", f->what));
    return !f->stop;
}

/* ------------------------------------------------------------------- the transfer */

/* "W/\"abc\"" -> abc */
static void take_etag(const char *etag, char digest[TERN_DIGEST_HEX]) {
    if (strncmp(etag, "W/", 2) == 0)
        etag += 2;
    if (*etag == '"')
        etag++;
    snprintf(digest, TERN_DIGEST_HEX, "%.*s", (int)strcspn(etag, "\""), etag);
    if (!tern_hub_is_hex(digest, 64) && !tern_hub_is_hex(digest, 40))
        digest[0] = 0;
}

/* Ask the hub where the contents are, and compare its digest with the list's. */
static tern_status resolve(fetch *f) {
    tern_hub_answer answer;
    char digest[TERN_DIGEST_HEX];
    tern_status status = tern_hub_ask(f->hub, f->origin, true, f->what, &answer, f->err);
    if (!status) {
        take_etag(answer.linked_etag[0] ? answer.linked_etag : answer.etag, digest);
        if (answer.linked_etag[0] && f->file->digest[0] && digest[0] && strcmp(digest, f->file->digest) != 0)
            status =
                tern_fail(f->err, TERN_ERR_FORMAT,
                          "%s: the hub's list and its file have different digests (%.12s and %.12s): pull again later",
                          f->what, f->file->digest, digest);
        else if (!f->file->digest[0] && !digest[0])
            status = tern_fail(f->err, TERN_ERR_FORMAT,
                               "%s: the hub says no digest of it, so that it cannot be checked", f->what);
        else if (!f->file->digest[0])
            memcpy(f->file->digest, digest, sizeof digest);
    }
    tern_buffer_free(&answer.body);
    free(f->target);
    f->target = answer.where;
    return status;
}

/* All that is missing, until it has come or the requests are left for one of the reasons in fetch. */
static tern_status run_requests(fetch *f) {
    char why[TERN_HTTP_WHAT];
    int wanted = f->whole ? 1 : f->hub->settings.connections < MAX_SLOTS ? f->hub->settings.connections : MAX_SLOTS;
    f->stop = f->expired = f->no_ranges = false;
    free(f->taken);
    f->taken = calloc(f->part.n_chunks + 1, sizeof *f->taken);
    if (!f->taken)
        return tern_fail_memory(f->err, f->what);
    for (f->n_slots = 0; f->n_slots < wanted; f->n_slots++) {
        slot *s = &f->slots[f->n_slots];
        tern_http_request *request = &f->requests[f->n_slots];
        *request = (tern_http_request){.on_answer = on_answer, .on_bytes = on_bytes, .on_end = on_end, .user = s};
        s->owner = f;
        s->since_failure = 0;
        if (!take_chunk(s, request))
            break;
    }
    if (f->status || f->n_slots == 0)
        return f->status;
    if (!f->hub->http->run(f->hub->client, f->requests, (size_t)f->n_slots, on_tick, f, why) && !f->stop)
        return tern_fail(f->err, TERN_ERR_IO, "%s: %s", f->what, why);
    return f->status;
}

static tern_status transfer(fetch *f) {
    while (tern_part_done(&f->part) < f->file->size) {
        tern_status status = f->target && !f->expired ? TERN_OK : resolve(f);
        uint64_t before = tern_part_done(&f->part);
        if (!status)
            status = run_requests(f);
        if (!status && f->no_ranges) {
            tern_hub_note(f->hub, "%s: no ranges to be had here, fetching it in one piece", f->what);
            f->whole = true;
            status = tern_part_restart(&f->part, f->file->size, f->err);
        } else if (f->expired) {
            f->expirations = tern_part_done(&f->part) > before ? 1 : f->expirations + 1;
        }
        if (status)
            return status;
    }
    return TERN_OK;
}

/* ------------------------------------------------------------------- the check */

/* The digest of what has come -> hex. Also the id of a git blob, which is the SHA-1 of "blob SIZE\0" and the contents.
 */
static tern_status digest_part(const fetch *f, char hex[TERN_DIGEST_HEX]) {
    enum { PIECE = 1 << 20 };
    char head[40], *piece = malloc(PIECE);
    bool git = strlen(f->file->digest) == 40;
    tern_digest digest;
    tern_status status = piece ? TERN_OK : tern_fail_memory(f->err, f->what);
    tern_digest_start(&digest, git ? TERN_SHA1 : TERN_SHA256);
    if (git)
        tern_digest_add(&digest, head,
                        (size_t)snprintf(head, sizeof head, "blob %llu", (unsigned long long)f->file->size) + 1);
    for (uint64_t at = 0; !status && at < f->file->size;) {
        size_t n = f->file->size - at < PIECE ? (size_t)(f->file->size - at) : PIECE;
        ssize_t got = pread(f->part.fd, piece, n, (off_t)at);
        if (got <= 0)
            status = tern_fail(f->err, TERN_ERR_IO, "%s: cannot read: %s", f->part.path,
                               got ? strerror(errno) : "it has become shorter");
        else if (!tern_hub_progress(f->hub, f->file->path, TERN_HUB_CHECKING, at, f->file->size))
            status = tern_fail(f->err, TERN_ERR_CANCELLED, "%s: cancelled; what has come stays", f->what);
        else {
            tern_digest_add(&digest, piece, (size_t)got);
            at += (uint64_t)got;
        }
    }
    free(piece);
    tern_digest_end(&digest, hex);
    return status;
}

/* Everything that is missing, checked. *wrong: what came is something else; it has to go. */
static tern_status transfer_and_check(fetch *f, bool *wrong) {
    char hex[TERN_DIGEST_HEX];
    bool again;
    do {
        again = false;
        tern_status status = transfer(f);
        if (!status)
            status = digest_part(f, hex);
        if (status)
            return status;
        *wrong = strcmp(hex, f->file->digest) != 0;
        if (*wrong && f->part.resumed) { /* what an earlier process left may be what is wrong: all of it once more */
            tern_hub_note(f->hub, "%s: what an earlier pull left is damaged, beginning again", f->what);
            status = tern_part_restart(&f->part, f->whole ? f->file->size : chunk_bytes(f), f->err);
            again = !status;
        }
        if (status)
            return status;
    } while (again);
    if (*wrong)
        return tern_fail(f->err, TERN_ERR_FORMAT,
                         "%s: what came has the digest %.12s, but the hub says %.12s: it is thrown away, pull again",
                         f->what, hex, f->file->digest);
    return TERN_OK;
}

/* ------------------------------------------------------------------- the file */

/* The lock on the contents, sooner or later. */
static tern_status wait_for_lock(fetch *f, const char *repo, int *lock) {
    bool busy, told = false;
    for (;;) {
        tern_status status = tern_cache_lock(f->hub->cache, repo, f->file->digest, lock, &busy, f->err);
        if (status || !busy)
            return status;
        if (!told)
            tern_hub_note(f->hub, "%s: another process fetches it, waiting for that", f->what);
        told = true;
        if (!tern_hub_progress(f->hub, f->file->path, TERN_HUB_WAITING, 0, 0))
            return tern_fail(f->err, TERN_ERR_CANCELLED, "%s: cancelled", f->what);
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
}

static bool is_there(const char *path, uint64_t size) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) && (uint64_t)info.st_size == size;
}

/* With the lock held. */
static tern_status fetch_blob(fetch *f, const char *blob) {
    char *path = NULL;
    bool wrong = false;
    if (is_there(blob, f->file->size)) /* whoever had the lock before has fetched it */
        return TERN_OK;
    if (asprintf(&path, "%s.tern-part", blob) < 0)
        return tern_fail_memory(f->err, f->what);
    tern_status status = tern_cache_make_parents(path, f->err);
    if (!status)
        status = tern_part_open(path, f->file->size, chunk_bytes(f), &f->part, f->err);
    free(path);
    if (status)
        return status;
    if (f->part.resumed)
        tern_hub_note(f->hub, "%s: going on at %.0f%%", f->what,
                      100.0 * (double)tern_part_done(&f->part) / (double)f->file->size);
    status = transfer_and_check(f, &wrong);
    if (!status)
        status = tern_part_commit(&f->part, blob, f->err);
    tern_part_close(&f->part, wrong);
    return status;
}

tern_status tern_hub_fetch(tern_hub *hub, const tern_hub_plan *plan, tern_hub_file *file, tern_error *err) {
    fetch *f = calloc(1, sizeof *f);
    char *escaped = tern_hub_escape(file->path, true), *blob = NULL;
    int lock = -1;
    tern_status status = TERN_OK;
    if (f) {
        *f = (fetch){.hub = hub, .file = file, .err = err, .part.fd = -1};
        if (escaped)
            f->origin = tern_hub_url(hub, "/%s/resolve/%s/%s", plan->name.repo, plan->listing.commit, escaped);
        if (asprintf(&f->what, "%s:%s", plan->name.repo, file->path) < 0)
            f->what = NULL;
    }
    if (!f || !escaped || !f->origin || !f->what)
        status = tern_fail_memory(err, file->path);
    else if (file->size == UINT64_MAX)
        status = tern_fail(err, TERN_ERR_FORMAT, "%s: the hub's list does not say its size", f->what);
    if (!status && !file->digest[0])
        status = resolve(f);
    if (!status)
        status = wait_for_lock(f, plan->name.repo, &lock);
    if (!status && !(blob = tern_cache_path(hub->cache, plan->name.repo, "blobs/%s", file->digest)))
        status = tern_fail_memory(err, file->path);
    if (!status)
        status = fetch_blob(f, blob);
    if (lock >= 0)
        close(lock);
    free(blob);
    free(escaped);
    if (f) {
        for (int i = 0; i < MAX_SLOTS; i++)
            free(f->slots[i].url);
        free(f->taken);
        free(f->origin);
        free(f->target);
        free(f->what);
    }
    free(f);
    return status;
}
