/*
 * What streams cost each other: N requests at once, each with a prompt of its own (behind a common one, if asked for)
 * and an answer of random length around ANSWER tokens, the next one of a stream as soon as its last one is over.
 *
 *     bench_scheduler MODEL [SECONDS [PROMPT [ANSWER [SHARED]]]]
 *
 * For 1, 2, 4, ... 64 streams: tokens of all answers a second, the time to a first token and between two tokens (median
 * and 99th percentile), and the share of prompt tokens that were there already.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/rng.h"
#include "tern/tern.h"

enum { MAX_STREAMS = 64, MAX_SAMPLES = 1 << 20, MAX_PROMPT = 1 << 16 };

typedef struct samples {
    double values[MAX_SAMPLES];
    size_t n;
} samples;

typedef struct stream {
    tern_rng rng;
    double last; /* token */
    bool first, over, failed;
    uint64_t n_prompt, n_cached;
} stream;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static samples first_token, between;

static void add(samples *s, double value) {
    if (s->n < MAX_SAMPLES)
        s->values[s->n++] = value;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(samples *s, double share) {
    qsort(s->values, s->n, sizeof *s->values, compare);
    return s->n ? s->values[(size_t)(share * (double)(s->n - 1))] : 0;
}

static bool on_event(void *user, const tern_request_event *event) {
    stream *s = user;
    double now = tern_seconds();
    (void)event;
    add(s->first ? &first_token : &between, now - s->last);
    s->first = false;
    s->last = now;
    return true;
}

static void on_done(void *user, const tern_request_result *result) {
    stream *s = user;
    pthread_mutex_lock(&lock);
    s->n_prompt += result->n_prompt;
    s->n_cached += result->n_cached;
    s->failed |= result->status != TERN_OK;
    s->over = true;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

typedef struct plan {
    double seconds;
    size_t prompt, answer, shared;
    uint32_t vocab_size;
} plan;

static tern_status next_request(tern_scheduler *scheduler, stream *s, const plan *p, tern_error *err) {
    static int32_t ids[MAX_PROMPT];
    for (size_t i = 0; i < p->prompt; i++)
        ids[i] = (int32_t)(i < p->shared ? i * 31 % p->vocab_size : tern_rng_u64(&s->rng) % p->vocab_size);
    tern_request_params params = {.ids = ids,
                                  .n_ids = p->prompt,
                                  .sampler = tern_sampler_defaults(),
                                  .max_tokens = (int64_t)(p->answer / 2 + tern_rng_u64(&s->rng) % (p->answer + 1)),
                                  .ignore_end = true,
                                  .on_event = on_event,
                                  .on_done = on_done,
                                  .user = s};
    params.max_tokens += params.max_tokens == 0;
    s->first = true;
    s->over = false;
    s->last = tern_seconds();
    return tern_scheduler_submit(scheduler, &params, NULL, err);
}

/* One row of the table. Streams begin their last request before p->seconds are over. */
static tern_status measure(tern_model *model, size_t n_streams, const plan *p, tern_error *err) {
    static stream streams[MAX_STREAMS];
    tern_scheduler_params params = tern_scheduler_defaults();
    tern_scheduler *scheduler = NULL;
    tern_scheduler_stats stats = {0};
    params.max_running = (uint32_t)n_streams;
    tern_status status = tern_scheduler_create(model, &params, &scheduler, err);
    double start = tern_seconds();
    first_token.n = between.n = 0;
    for (size_t i = 0; !status && i < n_streams; i++) {
        streams[i] = (stream){.over = true};
        tern_rng_seed(&streams[i].rng, i);
        status = next_request(scheduler, &streams[i], p, err);
    }
    pthread_mutex_lock(&lock);
    for (size_t n_over = 0; !status && n_over < n_streams;) {
        n_over = 0;
        for (size_t i = 0; !status && i < n_streams; i++) {
            n_over += streams[i].over;
            if (streams[i].over && tern_seconds() - start < p->seconds) {
                n_over--;
                status = next_request(scheduler, &streams[i], p, err);
            }
        }
        if (!status && n_over < n_streams)
            pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
    if (scheduler)
        tern_scheduler_get_stats(scheduler, &stats);
    double seconds = tern_seconds() - start;
    tern_scheduler_free(scheduler);
    uint64_t n_prompt = 0, n_cached = 0;
    for (size_t i = 0; i < n_streams; i++) {
        n_prompt += streams[i].n_prompt;
        n_cached += streams[i].n_cached;
        if (!status && streams[i].failed)
            status = TERN_ERR_FORMAT;
    }
    if (!status)
        printf("%7zu  %7.1f  %9.1f %9.1f  %9.1f %9.1f  %5.1f%%\n", n_streams, (double)stats.generated_tokens / seconds,
               1e3 * percentile(&first_token, 0.5), 1e3 * percentile(&first_token, 0.99),
               1e3 * percentile(&between, 0.5), 1e3 * percentile(&between, 0.99),
               n_prompt ? 100 * (double)n_cached / (double)n_prompt : 0);
    return status;
}

static size_t argument(int argc, char **argv, int i, size_t standard) {
    return i < argc ? (size_t)strtoull(argv[i], NULL, 10) : standard;
}

int main(int argc, char **argv) {
    tern_error err = {.message = "a request failed"};
    tern_model *model = NULL;
    tern_model_info info;
    if (argc < 2 || argc > 6)
        return fprintf(stderr, "usage: bench_scheduler MODEL [SECONDS [PROMPT [ANSWER [SHARED]]]]\n"), 2;
    plan p = {.seconds = (double)argument(argc, argv, 2, 10),
              .prompt = argument(argc, argv, 3, 100),
              .answer = argument(argc, argv, 4, 60),
              .shared = argument(argc, argv, 5, 0)};
    if (p.prompt == 0 || p.prompt > MAX_PROMPT)
        return fprintf(stderr, "bench_scheduler: a prompt is 1 to %d tokens\n", MAX_PROMPT), 2;
    if (tern_model_load(argv[1], NULL, &model, &err))
        return fprintf(stderr, "bench_scheduler: %s\n", err.message), 1;
    tern_model_get_info(model, &info);
    p.vocab_size = info.vocab_size;
    printf("%s, %d threads; prompts of %zu tokens, %zu of them shared; answers of about %zu\n", info.name,
           info.n_threads, p.prompt, p.shared < p.prompt ? p.shared : p.prompt, p.answer);
    printf("streams  token/s  first: p50  p99 [ms]  next: p50  p99 [ms]  cached\n");
    tern_status status = TERN_OK;
    for (size_t n = 1; !status && n <= MAX_STREAMS; n *= 2)
        status = measure(model, n, &p, &err);
    if (status)
        fprintf(stderr, "bench_scheduler: %s\n", err.message);
    tern_model_free(model);
    return status != TERN_OK;
}
