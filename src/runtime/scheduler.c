#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "runtime/scheduler_parts.h"
#include "runtime/session.h"

enum {
    DEFAULT_RUNNING = 16,
    DEFAULT_WAITING = 256,
    /* What a running answer waits for beside a prompt; half of what sessions take at once, when nobody waits. */
    DEFAULT_CHUNK = 64,
    DEFAULT_CONTEXTS = 4,
    ANSWER_ROOM = TERN_KV_BLOCK, /* so much of its answer has to fit beside a prompt that is to start */
    MAX_REQUESTS = 1 << 16
};

/* ------------------------------------------------------------- the queue */

static void enqueue(tern_request **queue, tern_request *r) {
    while (*queue && (*queue)->number < r->number)
        queue = &(*queue)->next;
    r->next = *queue;
    *queue = r;
}

static tern_request *dequeue(tern_request **at) {
    tern_request *r = *at;
    *at = r->next;
    r->next = NULL;
    return r;
}

/* Wait for something to do. False: the end has come. */
static bool receive(tern_scheduler *s) {
    pthread_mutex_lock(&s->lock);
    while (!s->stopping && !s->incoming && !s->waiting && s->n_running == 0)
        pthread_cond_wait(&s->submitted, &s->lock);
    tern_request *incoming = s->incoming;
    s->incoming = NULL;
    s->incoming_end = &s->incoming;
    bool stopping = s->stopping;
    pthread_mutex_unlock(&s->lock);
    while (incoming)
        enqueue(&s->waiting, dequeue(&incoming));
    return !stopping;
}

/* --------------------------------------------------------------- who runs */

static void leave_queue(tern_scheduler *s) {
    pthread_mutex_lock(&s->lock);
    s->stats.n_waiting--;
    pthread_mutex_unlock(&s->lock);
}

static tern_request *take_from_running(tern_scheduler *s, uint32_t i) {
    tern_request *r = s->running[i];
    s->n_running--;
    memmove(s->running + i, s->running + i + 1, (s->n_running - i) * sizeof(tern_request *));
    return r;
}

static void put_into_running(tern_scheduler *s, tern_request *r) {
    uint32_t i = s->n_running++;
    for (; i > 0 && s->running[i - 1]->number > r->number; i--)
        s->running[i] = s->running[i - 1];
    s->running[i] = r;
}

/* Its blocks go to others. What of them is published and not taken is found again when it comes back. */
static void put_back(tern_scheduler *s, uint32_t i) {
    tern_request *r = take_from_running(s, i);
    tern_kv_shrink(&r->kv, 0);
    r->n_past = 0;
    enqueue(&s->waiting, r);
    pthread_mutex_lock(&s->lock);
    s->stats.n_waiting++;
    s->stats.n_preempted++;
    pthread_mutex_unlock(&s->lock);
}

bool tern_scheduler_make_room(tern_scheduler *s, uint32_t i) {
    tern_request *r = s->running[i];
    tern_error err = {0};
    while (tern_kv_blocks_for(r->n_tokens) > r->kv.n_blocks + tern_kv_pool_left(&s->pool)) {
        bool itself = i == s->n_running - 1;
        put_back(s, s->n_running - 1);
        if (itself)
            return false;
    }
    if (tern_kv_reserve(&r->kv, r->n_tokens, &err) == TERN_OK)
        return true;
    take_from_running(s, i);
    tern_request_fail(r, &err);
    tern_request_finish(r);
    return false;
}

/* Tokens that both begin with, no more than `most`, in whole blocks. */
static size_t common_blocks(const tern_request *a, const tern_request *b, size_t most) {
    size_t n = 0;
    most = most < a->n_tokens ? most : a->n_tokens;
    while (n + TERN_KV_BLOCK <= most && memcmp(a->tokens + n, b->tokens + n, TERN_KV_BLOCK * sizeof *a->tokens) == 0)
        n += TERN_KV_BLOCK;
    return n;
}

/* Is a running request about to compute more of the first `most` tokens than the `found` that are there? Then it pays
 * to wait for it: n answers to one prompt, or many users behind one long system prompt, compute it once. */
static bool is_under_way(const tern_scheduler *s, const tern_request *r, size_t most, size_t found) {
    if (s->params.no_prefix_cache)
        return false;
    for (uint32_t i = 0; i < s->n_running; i++) {
        const tern_request *other = s->running[i];
        if (other->n_past / TERN_KV_BLOCK == other->n_tokens / TERN_KV_BLOCK) /* it is about to fill none */
            continue;
        size_t common = common_blocks(other, r, most);
        if (common > found && common > other->n_past)
            return true;
    }
    return false;
}

typedef enum start_result { STARTED, FULL, LATER, FAILED } start_result;

/* Take what is there of its tokens, and blocks for the rest. Alone, it always fits: no request is longer than the
 * context, for which there are blocks. */
static start_result start(tern_scheduler *s, tern_request *r, tern_error *err) {
    size_t most = r->n_tokens - 1; /* the last one's hidden state is needed */
    if (tern_request_needs_all(r) && r->n_read < most)
        most = r->n_read;
    size_t found = s->params.no_prefix_cache ? 0 : tern_kv_match(&r->kv, r->tokens, most);
    size_t end = r->n_tokens + ANSWER_ROOM < r->capacity ? r->n_tokens + ANSWER_ROOM : r->capacity;
    size_t wanted = tern_kv_blocks_for(end < s->params.n_ctx ? end : s->params.n_ctx) - r->kv.n_blocks;
    start_result result = STARTED;
    if (is_under_way(s, r, most, found))
        result = LATER;
    else if (s->n_running > 0 && wanted + s->n_running > tern_kv_pool_left(&s->pool)) /* each may soon need one more */
        result = FULL;
    else if (tern_kv_reserve(&r->kv, r->n_tokens, err))
        result = FAILED;
    if (result != STARTED) {
        tern_kv_shrink(&r->kv, 0);
        return result;
    }
    r->n_past = found;
    return STARTED;
}

/* What it found that it never had before. */
static void count_cached(tern_scheduler *s, tern_request *r) {
    if (r->n_past <= r->n_covered)
        return;
    uint64_t n = r->n_past - r->n_covered;
    r->n_covered = r->n_past;
    r->result.n_cached += n;
    pthread_mutex_lock(&s->lock);
    s->stats.cached_tokens += n;
    pthread_mutex_unlock(&s->lock);
}

static void admit(tern_scheduler *s) {
    for (tern_request **at = &s->waiting; *at && s->n_running < s->params.max_running;) {
        tern_error err = {0};
        start_result result = start(s, *at, &err);
        if (result == FULL) /* those behind it may not overtake it: it would never start */
            return;
        if (result == LATER) {
            at = &(*at)->next;
            continue;
        }
        tern_request *r = dequeue(at);
        leave_queue(s);
        count_cached(s, r);
        if (result == FAILED) {
            tern_request_fail(r, &err);
            tern_request_finish(r);
            continue;
        }
        if (isnan(r->result.queue_seconds))
            r->result.queue_seconds = tern_seconds() - r->submitted;
        put_into_running(s, r);
    }
}

/* True: it was cancelled or is too late. */
static bool has_to_end(tern_request *r, double now) {
    if (atomic_load(&r->cancel) || now >= r->deadline) {
        r->result.timed_out = !atomic_load(&r->cancel);
        tern_request_end(r, TERN_STOP_CANCELLED);
    }
    return r->over;
}

static void end_cancelled(tern_scheduler *s) {
    double now = tern_seconds();
    for (uint32_t i = s->n_running; i-- > 0;)
        if (has_to_end(s->running[i], now))
            tern_request_finish(take_from_running(s, i));
    for (tern_request **at = &s->waiting; *at;) {
        if (!has_to_end(*at, now)) {
            at = &(*at)->next;
            continue;
        }
        leave_queue(s);
        tern_request_finish(dequeue(at));
    }
}

static void end_all(tern_scheduler *s) {
    for (uint32_t i = 0; i < s->n_running; i++)
        atomic_store(&s->running[i]->cancel, true);
    for (tern_request *r = s->waiting; r; r = r->next)
        atomic_store(&r->cancel, true);
    end_cancelled(s);
}

static void *run(void *context) {
    tern_scheduler *s = context;
    while (receive(s)) {
        end_cancelled(s);
        admit(s);
        tern_scheduler_publish(s);
        if (s->n_running > 0)
            tern_scheduler_step(s);
        for (uint32_t i = s->n_running; i-- > 0;)
            if (s->running[i]->over)
                tern_request_finish(take_from_running(s, i));
        tern_scheduler_publish(s);
    }
    end_all(s);
    return NULL;
}

/* --------------------------------------------------------------- creation */

tern_scheduler_params tern_scheduler_defaults(void) { return (tern_scheduler_params){.kv_type = TERN_KV_Q8}; }

/* Four contexts, unless that is much for the machine; one at least. */
static uint64_t default_kv_bytes(uint64_t context_bytes) {
    long n_pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t eighth = n_pages > 0 && page > 0 ? (uint64_t)n_pages * (uint64_t)page / 8 : UINT64_MAX;
    uint64_t bytes = DEFAULT_CONTEXTS * context_bytes;
    bytes = bytes < eighth ? bytes : eighth;
    return bytes > context_bytes ? bytes : context_bytes;
}

/* The defaults for zeros -> s->params; kv_bytes is whole blocks. */
static tern_status complete(tern_scheduler *s, const tern_scheduler_params *given, tern_error *err) {
    const tern_dims *dims = &s->engine->weights->dims;
    tern_scheduler_params *p = &s->params;
    *p = given ? *given : tern_scheduler_defaults();
    tern_session_params session = {
        .n_ctx = p->n_ctx, .chunk = p->chunk ? p->chunk : DEFAULT_CHUNK, .kv_type = p->kv_type};
    tern_status status = tern_session_complete(dims, &session, err);
    if (status)
        return status;
    p->n_ctx = session.n_ctx;
    p->chunk = session.chunk;
    p->max_running = p->max_running ? p->max_running : DEFAULT_RUNNING;
    p->max_waiting = p->max_waiting ? p->max_waiting : DEFAULT_WAITING;
    if (p->max_running > MAX_REQUESTS || p->max_waiting > MAX_REQUESTS)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%u requests running and %u waiting are too many: at most %d each",
                         p->max_running, p->max_waiting, MAX_REQUESTS);
    uint64_t block_bytes = tern_kv_layout_of(dims, p->kv_type).block_bytes;
    uint64_t context_bytes = tern_kv_blocks_for(p->n_ctx) * block_bytes;
    p->kv_bytes = p->kv_bytes ? p->kv_bytes : default_kv_bytes(context_bytes);
    if (p->kv_bytes < context_bytes)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "%.1f MB are too little for KV caches: a context of %u tokens takes %.1f MB; give more or use "
                         "a smaller context",
                         (double)p->kv_bytes / 1e6, p->n_ctx, (double)context_bytes / 1e6);
    if (p->kv_bytes / block_bytes >= TERN_KV_NO_BLOCK)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%.0f MB of KV caches are too much", (double)p->kv_bytes / 1e6);
    p->kv_bytes -= p->kv_bytes % block_bytes;
    return TERN_OK;
}

static tern_status make_scratch(tern_scheduler *s, tern_error *err) {
    const tern_dims *dims = &s->engine->weights->dims;
    size_t n_running = s->params.max_running, n_hidden, n_logits;
    s->max_rows = s->params.chunk + s->params.max_running;
    bool fits = tern_mul_size(s->max_rows, dims->hidden_size, &n_hidden) &&
                tern_mul_size(TERN_LOGIT_ROWS, dims->vocab_size, &n_logits);
    s->running = tern_alloc_array(n_running, sizeof(tern_request *));
    s->slots = tern_alloc_array(s->max_rows, sizeof *s->slots);
    s->hidden = fits ? tern_alloc_array(n_hidden, sizeof *s->hidden) : NULL;
    s->gathered = fits ? tern_alloc_array(n_hidden, sizeof *s->gathered) : NULL;
    s->jobs = tern_alloc_array(s->max_rows, sizeof *s->jobs);
    s->queries = tern_alloc_array(n_running, sizeof *s->queries);
    s->candidates = tern_calloc_array(n_running, sizeof *s->candidates);
    s->logits = fits ? tern_alloc_array(n_logits, sizeof *s->logits) : NULL;
    s->keys = tern_alloc_array(dims->vocab_size, sizeof *s->keys);
    if (!s->running || !s->slots || !s->hidden || !s->gathered || !s->jobs || !s->queries || !s->candidates ||
        !s->logits || !s->keys)
        return tern_fail_memory(err, "the scheduler");
    return tern_engine_reserve(s->engine, s->max_rows > TERN_LOGIT_ROWS ? s->max_rows : TERN_LOGIT_ROWS,
                               s->params.n_ctx, err);
}

static tern_status make_pool(tern_scheduler *s, tern_error *err) {
    const tern_dims *dims = &s->engine->weights->dims;
    uint64_t n_blocks = s->params.kv_bytes / tern_kv_layout_of(dims, s->params.kv_type).block_bytes;
    return tern_kv_pool_init(&s->pool, s->engine->backend, dims, s->params.kv_type, (uint32_t)n_blocks, err);
}

static void release(tern_scheduler *s) {
    for (uint32_t i = 0; s->candidates && i < s->params.max_running; i++)
        tern_candidates_free(&s->candidates[i]);
    tern_kv_pool_free(&s->pool);
    free(s->running);
    free(s->slots);
    free(s->hidden);
    free(s->gathered);
    free(s->jobs);
    free(s->queries);
    free(s->candidates);
    free(s->logits);
    free(s->keys);
    free(s);
}

/* The application's signals are for its own threads, as with those of base/pool.c. */
static int start_thread(tern_scheduler *s) {
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPROF};
    sigset_t all, before;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        sigdelset(&all, own[i]);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int failure = pthread_create(&s->thread, NULL, run, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failure;
}

tern_status tern_scheduler_open(tern_engine *engine, const tern_tokenizer *tokenizer,
                                const tern_scheduler_params *params, tern_scheduler **out, tern_error *err) {
    tern_scheduler *s = calloc(1, sizeof *s);
    if (!s)
        return tern_fail_memory(err, "the scheduler");
    s->engine = engine;
    s->tokenizer = tokenizer;
    s->incoming_end = &s->incoming;
    tern_status status = complete(s, params, err);
    if (!status)
        status = make_scratch(s, err);
    if (!status)
        status = make_pool(s, err);
    if (status) {
        release(s);
        return status;
    }
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->submitted, NULL);
    tern_scheduler_publish(s);
    if (start_thread(s)) {
        pthread_mutex_destroy(&s->lock);
        pthread_cond_destroy(&s->submitted);
        release(s);
        return tern_fail(err, TERN_ERR_MEMORY, "the system gives no thread for the scheduler");
    }
    *out = s;
    return TERN_OK;
}

void tern_scheduler_free(tern_scheduler *s) {
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_signal(&s->submitted);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->submitted);
    release(s);
}

/* ------------------------------------------------------------------ stats */

void tern_scheduler_publish(tern_scheduler *s) {
    const tern_kv_pool *pool = &s->pool;
    pthread_mutex_lock(&s->lock);
    s->stats.n_running = s->n_running;
    s->stats.kv_blocks = pool->n_blocks;
    s->stats.kv_blocks_used = pool->n_blocks - tern_kv_pool_left(pool);
    s->stats.kv_blocks_cached = pool->n_kept;
    s->stats.kv_block_tokens = TERN_KV_BLOCK;
    s->stats.kv_bytes = pool->n_blocks * (uint64_t)pool->layout.block_bytes;
    pthread_mutex_unlock(&s->lock);
}

void tern_scheduler_get_stats(tern_scheduler *s, tern_scheduler_stats *stats) {
    pthread_mutex_lock(&s->lock);
    *stats = s->stats;
    pthread_mutex_unlock(&s->lock);
}
