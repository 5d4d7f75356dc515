/*
 * The bit-identity rule: logits do not depend on how a sequence is cut into calls and chunks, on the number of
 * threads, on the instruction set, or on what else happened on the timeline or beside it. Everything here compares
 * with memcmp.
 */
#include "golden/golden.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/cpu.h"
#include "base/rng.h"
#include "kernels/kernels.h"

/* Under ThreadSanitizer and an emulator everything is twenty times slower; fewer combinations do there. */
#if defined(TERN_SLOW_TESTS)
enum { MAX_TOKENS = 40, N_CHUNKS = 2, N_THREAD_COUNTS = 3 };
#else
enum { MAX_TOKENS = 180, N_CHUNKS = 6, N_THREAD_COUNTS = 5 };
#endif

/* One model's sequence and what it must give: made once with the defaults (best rung, one thread). */
typedef struct fixture {
    const char *path;
    size_t n, vocab;
    int32_t ids[MAX_TOKENS];
    float *logits[3]; /* by tern_kv_type: [n, vocab] */
} fixture;

/* A plain model, one with odd shapes, and one whose context spans several blocks of everything. */
static fixture fixtures[] = {{.path = COMMITTED "/plain/model-i2_s.gguf", .n = MAX_TOKENS < 60 ? 36 : 60},
                             {.path = COMMITTED "/odd/hf-packed", .n = MAX_TOKENS < 60 ? 36 : 60},
                             {.path = "demo", .n = MAX_TOKENS}};
enum { N_FIXTURES = sizeof fixtures / sizeof *fixtures };

/* Evaluate fixture.ids in calls of split[0], split[1], ... tokens (the last repeats). */
static void eval_split(const fixture *f, tern_session *session, const size_t *split, size_t n_split, float *logits) {
    size_t call = 0;
    for (size_t start = 0; start < f->n; call++) {
        size_t want = split[call < n_split ? call : n_split - 1], left = f->n - start;
        size_t count = want < left ? want : left;
        OK(tern_session_eval_logits(session, f->ids + start, count, logits + start * f->vocab, err));
        start += count;
    }
}

static float *new_logits(const fixture *f) {
    float *logits = calloc(f->n * f->vocab, sizeof *logits);
    assert_non_null(logits);
    return logits;
}

static void must_equal(const char *what, const fixture *f, tern_kv_type kv, const float *logits) {
    for (size_t t = 0; t < f->n; t++)
        if (memcmp(logits + t * f->vocab, f->logits[kv] + t * f->vocab, f->vocab * sizeof *logits))
            fail_msg("%s, %s, kv type %d: position %zu has other bits", what, f->path, (int)kv, t);
}

static void check_run(const char *what, const fixture *f, tern_model *model, tern_kv_type kv, uint32_t chunk,
                      const size_t *split, size_t n_split) {
    float *logits = new_logits(f);
    tern_session *session = golden_session(model, kv, chunk);
    eval_split(f, session, split, n_split, logits);
    must_equal(what, f, kv, logits);
    const float *last = tern_session_logits(session);
    assert_non_null(last);
    if (memcmp(last, f->logits[kv] + (f->n - 1) * f->vocab, f->vocab * sizeof *last))
        fail_msg("%s, %s: tern_session_logits() has other bits", what, f->path);
    tern_session_free(session);
    free(logits);
}

static int setup(void **state) {
    (void)state;
    tern_rng rng;
    tern_rng_seed(&rng, 1);
    for (size_t i = 0; i < N_FIXTURES; i++) {
        fixture *f = &fixtures[i];
        tern_model *model = golden_load(f->path, NULL, 1);
        f->vocab = golden_vocab(model);
        f->ids[0] = tern_tokenizer_bos(tern_model_tokenizer(model));
        for (size_t t = 1; t < f->n; t++)
            f->ids[t] = (int32_t)(tern_rng_u64(&rng) % (f->vocab - 12));
        for (int kv = 0; kv < 3; kv++) {
            f->logits[kv] = new_logits(f);
            tern_session *session = golden_session(model, (tern_kv_type)kv, 0);
            OK(tern_session_eval_logits(session, f->ids, f->n, f->logits[kv], err));
            tern_session_free(session);
        }
        /* the three caches round differently: if they did not, the tests below would compare too little */
        assert_memory_not_equal(f->logits[TERN_KV_F32], f->logits[TERN_KV_F16], f->n * f->vocab * sizeof(float));
        assert_memory_not_equal(f->logits[TERN_KV_F16], f->logits[TERN_KV_Q8], f->n * f->vocab * sizeof(float));
        tern_model_free(model);
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    for (size_t i = 0; i < N_FIXTURES; i++)
        for (int kv = 0; kv < 3; kv++)
            free(fixtures[i].logits[kv]);
    return 0;
}

static void test_chunks(void **state) {
    (void)state;
    static const uint32_t chunks[] = {7, 1, 2, 3, 16, 48};
    const size_t whole = MAX_TOKENS;
    for (size_t i = 0; i < N_FIXTURES; i++) {
        tern_model *model = golden_load(fixtures[i].path, NULL, 2);
        for (size_t c = 0; c < N_CHUNKS; c++)
            for (int kv = 0; kv < 3; kv++)
                check_run("chunks", &fixtures[i], model, (tern_kv_type)kv, chunks[c], &whole, 1);
        tern_model_free(model);
    }
}

static void test_splits(void **state) {
    (void)state;
    const size_t one[] = {1}, prompt_then_one[] = {37, 1}, ragged[] = {1, 2, 3, 17, 5, 16, 1, 48};
    for (size_t i = 0; i < N_FIXTURES; i++) {
        tern_model *model = golden_load(fixtures[i].path, NULL, 2);
        for (int kv = 0; kv < 3; kv++) {
            check_run("one by one", &fixtures[i], model, (tern_kv_type)kv, 0, one, 1);
            check_run("prompt, then one by one", &fixtures[i], model, (tern_kv_type)kv, 0, prompt_then_one, 2);
            check_run("ragged", &fixtures[i], model, (tern_kv_type)kv, 7, ragged, 8);
        }
        tern_model_free(model);
    }
}

static void test_threads(void **state) {
    (void)state;
    static const int counts[] = {1, 3, 4, 2, 8};
    const size_t split[] = {29, 1, 1, 11};
    for (size_t i = 0; i < N_FIXTURES; i++)
        for (size_t c = 0; c < N_THREAD_COUNTS; c++) {
            tern_model *model = golden_load(fixtures[i].path, NULL, counts[c]);
            for (int kv = 0; kv < 3; kv++)
                check_run("threads", &fixtures[i], model, (tern_kv_type)kv, 16, split, 4);
            tern_model_free(model);
        }
}

/* Every rung that this CPU can run; the first is always the reference. */
static void test_rungs(void **state) {
    (void)state;
    const size_t split[] = {41, 1, 1, 16};
    size_t n_rungs = 0;
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++) {
        if (((*rung)->features & tern_cpu_features()) != (*rung)->features) {
            print_message("not on this CPU: %s\n", (*rung)->name);
            continue;
        }
        n_rungs++;
        for (size_t i = 0; i < N_FIXTURES; i++) {
            tern_model *model = golden_load(fixtures[i].path, (*rung)->name, 2);
            for (int kv = 0; kv < 3; kv++)
                check_run((*rung)->name, &fixtures[i], model, (tern_kv_type)kv, 16, split, 4);
            tern_model_free(model);
        }
    }
    assert_true(n_rungs >= 1);
}

static void test_truncate(void **state) {
    (void)state;
    for (size_t i = 0; i < N_FIXTURES; i++) {
        const fixture *f = &fixtures[i];
        tern_model *model = golden_load(f->path, NULL, 2);
        float *logits = new_logits(f);
        for (int kv = 0; kv < 3; kv++) {
            tern_session *session = golden_session(model, (tern_kv_type)kv, 0);
            OK(tern_session_eval(session, f->ids, f->n, err));
            static const uint32_t back_to[] = {35, 31, 16, 1, 0};
            for (size_t k = 0; k < sizeof back_to / sizeof *back_to; k++) {
                uint32_t past = back_to[k];
                /* leave other tokens' traces behind the cut, then come back */
                OK(tern_session_truncate(session, past, err));
                OK(tern_session_eval(session, f->ids, 5, err));
                OK(tern_session_truncate(session, past, err));
                assert_int_equal(tern_session_n_past(session), past);
                memcpy(logits, f->logits[kv], past * f->vocab * sizeof *logits);
                OK(tern_session_eval_logits(session, f->ids + past, f->n - past, logits + past * f->vocab, err));
                must_equal("truncate", f, (tern_kv_type)kv, logits);
            }
            assert_memory_equal(tern_session_tokens(session), f->ids, f->n * sizeof *f->ids);
            tern_session_free(session);
        }
        free(logits);
        tern_model_free(model);
    }
}

/* What does not fit changes nothing. */
static void test_overflow(void **state) {
    (void)state;
    const fixture *f = &fixtures[0];
    tern_model *model = golden_load(f->path, NULL, 1);
    tern_session_params params = {.n_ctx = 32, .kv_type = TERN_KV_F32};
    tern_session *session = NULL;
    OK(tern_session_create(model, &params, &session, err));
    OK(tern_session_eval(session, f->ids, 20, err));
    tern_error error = {0};
    assert_int_equal(tern_session_eval(session, f->ids + 20, 13, &error), TERN_ERR_CONTEXT);
    assert_true(error.message[0] != 0);
    assert_int_equal(tern_session_n_past(session), 20);
    const int32_t bad[] = {3, (int32_t)f->vocab};
    assert_int_equal(tern_session_eval(session, bad, 2, &error), TERN_ERR_ARGUMENT);
    assert_int_equal(tern_session_n_past(session), 20);
    OK(tern_session_eval(session, f->ids + 20, 12, err));
    assert_memory_equal(tern_session_logits(session), f->logits[TERN_KV_F32] + 31 * f->vocab, f->vocab * sizeof(float));
    tern_session_free(session);
    tern_model_free(model);
}

/* ---- what decode leaves out of the FFN ---- */

/* Logits [n, vocab] of `ids`, evaluated one by one, and what that has read. */
static float *decode_all(const char *path, const tern_model_params *params, const int32_t *ids, size_t n,
                         tern_model_stats *stats) {
    tern_model *model = NULL;
    OK(tern_model_load(path, params, &model, err));
    size_t vocab = golden_vocab(model);
    float *logits = calloc(n * vocab, sizeof *logits);
    assert_non_null(logits);
    tern_session *session = golden_session(model, TERN_KV_F16, 0);
    for (size_t t = 0; t < n; t++)
        OK(tern_session_eval_logits(session, ids + t, 1, logits + t * vocab, err));
    tern_model_get_stats(model, stats);
    tern_session_free(session);
    tern_model_free(model);
    return logits;
}

/* Gates of zero and zeros before `down` are skipped where the packing has lines (t5r16): the same bits from fewer
 * rows and columns. most: the share of `down`'s columns that may be read. */
static void check_sparse(const char *path, const char *cpu, size_t vocab, double most) {
    enum { N = 12 };
    int32_t ids[N];
    tern_model_params params = tern_model_defaults();
    params.cpu = cpu;
    params.packing = "t5r16";
    params.n_threads = 2;
    tern_model_stats sparse, dense;
    for (size_t t = 0; t < N; t++)
        ids[t] = (int32_t)((t * 7919 + 3) % (vocab - 12));
    float *fewer = decode_all(path, &params, ids, N, &sparse);
    params.dense_ffn = true;
    float *all = decode_all(path, &params, ids, N, &dense);
    if (memcmp(fewer, all, N * vocab * sizeof *all))
        fail_msg("%s, %s: the sparse FFN gives other bits than the dense one", path, cpu);
    assert_int_equal(dense.ffn_up_rows, dense.ffn_up_rows_all);
    assert_int_equal(dense.ffn_down_columns, dense.ffn_down_columns_all);
    assert_int_equal(sparse.ffn_up_rows_all, dense.ffn_up_rows_all);
    assert_int_equal(sparse.ffn_down_columns_all, dense.ffn_down_columns_all);
    assert_true(sparse.ffn_up_rows > 0 && sparse.ffn_up_rows < sparse.ffn_up_rows_all);
    assert_true(sparse.ffn_down_columns > 0);
    assert_true((double)sparse.ffn_down_columns < most * (double)sparse.ffn_down_columns_all);
    free(fewer);
    free(all);
}

static void test_sparse_ffn(void **state) {
    (void)state;
    char path[] = "/tmp/tern-bits-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    tern_synth_params synth;
    OK(tern_synth_shape("tiny", &synth, err));
    synth.n_layers = 2;
    synth.ffn_sparsity = 0.8f;
    OK(tern_synth(path, &synth, err));
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++) {
        bool has_lines = false;
        for (size_t i = 0; (*rung)->ternary[i]; i++)
            has_lines |= (*rung)->ternary[i]->lines != NULL;
        if (!has_lines || ((*rung)->features & tern_cpu_features()) != (*rung)->features)
            continue;
        print_message("dense and sparse on %s\n", (*rung)->name);
        for (size_t i = 0; i < N_FIXTURES; i++)
            check_sparse(fixtures[i].path, (*rung)->name, fixtures[i].vocab, 1);
        check_sparse(path, (*rung)->name, synth.vocab_size, 0.35); /* 0.2 of them are not zero */
    }
    unlink(path);
}

/* Logits of 7 tokens with steps of `chunk` tokens. */
static float *logits_in_steps(const char *path, const char *cpu, uint32_t chunk, size_t vocab) {
    enum { N = 7 };
    static const int32_t ids[N] = {1, 20, 300, 4, 50, 60, 7};
    tern_model_params params = tern_model_defaults();
    tern_session_params session_params = tern_session_defaults();
    params.cpu = cpu;
    params.packing = "t5r16";
    params.n_threads = 2;
    session_params.chunk = chunk;
    tern_model *model;
    tern_session *session;
    float *logits = malloc(N * vocab * sizeof *logits);
    assert_non_null(logits);
    OK(tern_model_load(path, &params, &model, err));
    OK(tern_session_create(model, &session_params, &session, err));
    OK(tern_session_eval_logits(session, ids, N, logits, err));
    tern_session_free(session);
    tern_model_free(model);
    return logits;
}

/* Steps of few tokens give the bits of steps of one, where `down` is [hidden, ffn_size], on every rung with lines. */
static void check_steps(uint32_t ffn_size) {
    char path[] = "/tmp/tern-bits-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    tern_synth_params synth;
    OK(tern_synth_shape("tiny", &synth, err));
    synth.n_layers = 2;
    synth.ffn_size = ffn_size;
    OK(tern_synth(path, &synth, err));
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++) {
        static const uint32_t chunks[] = {8, 3, 2};
        bool has_lines = false;
        for (size_t i = 0; (*rung)->ternary[i]; i++)
            has_lines |= (*rung)->ternary[i]->lines != NULL;
        if (!has_lines || ((*rung)->features & tern_cpu_features()) != (*rung)->features)
            continue;
        float *one = logits_in_steps(path, (*rung)->name, 1, synth.vocab_size);
        for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
            float *all = logits_in_steps(path, (*rung)->name, chunks[i], synth.vocab_size);
            if (memcmp(one, all, 7 * synth.vocab_size * sizeof *all))
                fail_msg("%s: steps of %u tokens give other bits than steps of 1", (*rung)->name, chunks[i]);
            free(all);
        }
        free(one);
    }
    unlink(path);
}

/* A `down` that is too small to be shared by threads, but of more rows than the scratch of a short step holds at
 * once: its tasks must still begin at whole blocks of its lines. */
static void test_narrow_ffn(void **state) {
    (void)state;
    check_steps(128);
}

/* One of which the threads take a part of the columns each, the last one fewer. */
static void test_shared_down(void **state) {
    (void)state;
    check_steps(1664);
}

/* ---- cancellation ---- */

typedef struct canceller {
    tern_session *session;
    atomic_bool started;
} canceller;

static void *cancel_soon(void *context) {
    canceller *c = context;
    while (!atomic_load(&c->started))
        usleep(50);
    usleep(2000); /* by now the evaluation is under way; if not, the next one is cancelled, and that counts too */
    tern_session_cancel(c->session);
    return NULL;
}

static void test_cancel(void **state) {
    (void)state;
    const fixture *f = &fixtures[2];
    /* one thread: the canceller must find a free CPU even where nothing takes turns (real-time scheduling) */
    tern_model *model = golden_load(f->path, NULL, 1);
    tern_session *session = golden_session(model, TERN_KV_F16, 1); /* chunks of one: many places to stop at */
    float *logits = new_logits(f);
    const size_t known = 20;
    tern_error error;
    OK(tern_session_eval_logits(session, f->ids, known, logits, err));

    /* asked for before: the next evaluation stops, the one after it does not */
    tern_session_cancel(session);
    assert_int_equal(tern_session_eval(session, f->ids + known, f->n - known, &error), TERN_ERR_CANCELLED);
    assert_int_equal(tern_session_n_past(session), known);

    size_t n_cancelled = 0;
    for (size_t attempt = 0; attempt < 30 && n_cancelled < 3; attempt++) {
        canceller c = {.session = session};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &c), 0);
        atomic_store(&c.started, true);
        tern_status status = tern_session_eval(session, f->ids + known, f->n - known, &error);
        pthread_join(thread, NULL);
        if (status == TERN_ERR_CANCELLED) {
            n_cancelled++;
            assert_int_equal(tern_session_n_past(session), known);
            assert_memory_equal(tern_session_tokens(session), f->ids, known * sizeof *f->ids);
            assert_memory_equal(tern_session_logits(session), f->logits[TERN_KV_F16] + (known - 1) * f->vocab,
                                f->vocab * sizeof *logits);
        } else { /* done before the request: that one hits the next evaluation */
            assert_int_equal(status, TERN_OK);
            OK(tern_session_truncate(session, (uint32_t)known, err));
            status = tern_session_eval(session, f->ids + known, 1, &error);
            assert_true(status == TERN_ERR_CANCELLED || status == TERN_OK);
            /* logits for the next attempt to come back to: a truncate leaves none */
            OK(tern_session_truncate(session, (uint32_t)known - 1, err));
            OK(tern_session_eval(session, f->ids + known - 1, 1, err));
        }
    }
    assert_true(n_cancelled > 0);
    OK(tern_session_eval_logits(session, f->ids + known, f->n - known, logits + known * f->vocab, err));
    must_equal("after cancelling", f, TERN_KV_F16, logits);
    free(logits);
    tern_session_free(session);
    tern_model_free(model);
}

/* ---- two timelines of one model ---- */

typedef struct timeline {
    tern_model *model;
    tern_kv_type kv;
    float *logits;
} timeline;

static void *run_timeline(void *context) {
    timeline *t = context;
    const fixture *f = &fixtures[1];
    tern_session_params params = {.kv_type = t->kv, .chunk = 5};
    tern_session *session = NULL;
    tern_error error; /* cmocka's assertions belong to the main thread */
    if (tern_session_create(t->model, &params, &session, &error))
        return (void *)"no session";
    for (size_t start = 0; start < f->n; start += 6)
        if (tern_session_eval_logits(session, f->ids + start, 6, t->logits + start * f->vocab, &error))
            return (void *)"no logits";
    tern_session_free(session);
    return NULL;
}

static void test_two_sessions(void **state) {
    (void)state;
    const fixture *f = &fixtures[1];
    assert_int_equal(f->n % 6, 0);
    tern_model *model = golden_load(f->path, NULL, 2);
    timeline lines[] = {{model, TERN_KV_F16, new_logits(f)}, {model, TERN_KV_Q8, new_logits(f)}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_timeline, &lines[i]), 0);
    for (int i = 0; i < 2; i++) {
        void *failure = NULL;
        pthread_join(threads[i], &failure);
        if (failure)
            fail_msg("%s", (const char *)failure);
        must_equal("two sessions at once", f, lines[i].kv, lines[i].logits);
        free(lines[i].logits);
    }
    tern_model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks),     cmocka_unit_test(test_splits),       cmocka_unit_test(test_threads),
        cmocka_unit_test(test_rungs),      cmocka_unit_test(test_truncate),     cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_cancel),     cmocka_unit_test(test_two_sessions), cmocka_unit_test(test_sparse_ffn),
        cmocka_unit_test(test_narrow_ffn), cmocka_unit_test(test_shared_down),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
