/*
 * A screen from a file: one that a builder makes is taken, one with any number that no builder makes is refused. And
 * whatever a screen's floats are, a search stays inside its arrays and answers with rows of the head.
 */
#include "kernels/check.h"

#include "base/cpu.h"
#include "base/mem.h"
#include "format/store.h"
#include "runtime/cpu_head.h"

/* Five rows pad the last group, 32 columns the rows. */
enum { ROWS = 4091, K = 96, PADDED = 4096, K_PAD = 128 };

/* A head in memory, its screen, and a checkpoint that holds copies of the screen's arrays. */
typedef struct fixture {
    const tern_kernels *kernels;
    tern_store *store;
    tern_tensor head;
    float *rows; /* [ROWS, K] */
    tern_weights weights;
    tern_pool *pool;
    uint8_t *copies[TERN_SCREEN_ARRAYS]; /* exactly as large as the arrays: sanitizers watch the ends */
} fixture;

static tern_error err;

static void add_copies(fixture *f) {
    tern_screen_array arrays[TERN_SCREEN_ARRAYS];
    tern_screen_arrays(&f->weights.screen, arrays);
    for (size_t i = 0; i < TERN_SCREEN_ARRAYS; i++) {
        const tern_screen_array *array = &arrays[i];
        size_t bytes = array->rows * array->cols * (array->is_float ? sizeof(float) : 1);
        f->copies[i] = tern_aligned_alloc(bytes);
        tern_tensor *tensor = tern_store_add_tensor(f->store);
        assert_true(f->copies[i] && tensor);
        memcpy(f->copies[i], array->is_float ? (const void *)*array->at.floats : *array->at.bytes, bytes);
        *tensor = (tern_tensor){.name = array->name,
                                .type = array->is_float ? TERN_TYPE_F32 : TERN_TYPE_I8,
                                .type_name = array->is_float ? "F32" : "I8",
                                .rows = array->rows,
                                .cols = array->cols,
                                .data = f->copies[i],
                                .bytes = bytes};
    }
    assert_int_equal(tern_store_seal(f->store, &err), TERN_OK);
    f->store->checkpoint.layout_version = 1;
}

static void setup(fixture *f, const tern_kernels *kernels) {
    *f = (fixture){.kernels = kernels, .rows = malloc(sizeof(float) * ROWS * K)};
    assert_non_null(f->rows);
    for (size_t i = 0; i < (size_t)ROWS * K; i++)
        f->rows[i] = random_float(PLAIN);
    f->head = (tern_tensor){.name = "head",
                            .type = TERN_TYPE_F32,
                            .rows = ROWS,
                            .cols = K,
                            .data = (const uint8_t *)f->rows,
                            .bytes = sizeof(float) * ROWS * K};
    f->weights.dims.vocab_size = ROWS;
    f->weights.dims.hidden_size = K;
    f->weights.head = &f->head;
    f->weights.head_type = TERN_HEAD_F32;
    assert_int_equal(tern_store_create("a test", &f->store, &err), TERN_OK);
    assert_int_equal(tern_pool_create(2, &f->pool, &err), TERN_OK);
    assert_int_equal(
        tern_screen_build(&f->store->checkpoint, &f->head, kernels->screen, f->pool, &f->weights.screen, &err),
        TERN_OK);
    add_copies(f);
}

static void teardown(fixture *f) {
    for (size_t i = 0; i < TERN_SCREEN_ARRAYS; i++)
        tern_aligned_free(f->copies[i]);
    tern_screen_free(&f->weights.screen);
    tern_pool_free(f->pool);
    tern_store_free(f->store);
    free(f->rows);
}

/* --------------------------------------------------------------------- files */

static size_t array_named(const char *name) {
    tern_screen none = {0};
    tern_screen_array arrays[TERN_SCREEN_ARRAYS];
    tern_screen_arrays(&none, arrays);
    size_t i = 0;
    while (i < TERN_SCREEN_ARRAYS && strcmp(arrays[i].name, name) != 0)
        i++;
    assert_true(i < TERN_SCREEN_ARRAYS);
    return i;
}

static tern_status load(const fixture *f, tern_screen *screen) {
    bool found = false;
    tern_status status = tern_screen_from_file(&f->store->checkpoint, &f->head, screen, &found, &err);
    assert_int_equal(found, status == TERN_OK);
    return status;
}

/* The floats of an array with one of them changed: refused, or not. */
static void try_float(fixture *f, const char *name, size_t at, float value, bool fine) {
    float *floats = (float *)(void *)f->copies[array_named(name)], before = floats[at];
    tern_screen screen;
    floats[at] = value;
    tern_status status = load(f, &screen);
    if (status != (fine ? TERN_OK : TERN_ERR_FORMAT))
        fail_msg("%s[%zu] = %g: status %d", name, at, (double)value, (int)status);
    if (!fine && (!strstr(err.message, name) || !strstr(err.message, "a test") || strchr(err.message, '\n')))
        fail_msg("%s[%zu] = %g: '%s'", name, at, (double)value, err.message);
    floats[at] = before;
}

static void test_floats(void **unused) {
    (void)unused;
    static const struct {
        const char *name;
        size_t used, padded;
        float wrong[8], right[4];
    } cases[] = {
        {"screen.row_steps", ROWS, PADDED, {NAN, -NAN, INFINITY, -INFINITY, -1, -1e-40f, 3e38f, 1e13f}, {0, 1, 1e11f}},
        {"screen.coarse_errors", ROWS, PADDED, {NAN, -NAN, -INFINITY, -1, -1e-40f, -3e38f, NAN, NAN}, {0, 1, INFINITY}},
        {"screen.fine_errors", ROWS, PADDED, {NAN, -NAN, -INFINITY, -1, -1e-40f, -3e38f, NAN, NAN}, {0, 1, INFINITY}},
        {"screen.norms", ROWS, PADDED, {NAN, -NAN, -INFINITY, -1, -1e-40f, -3e38f, NAN, NAN}, {0, 1, INFINITY}},
        {"screen.centre", K, K_PAD, {NAN, -NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e11f, -1e11f}, {0, 1, -1e10f}},
    };
    static const float no_padding[] = {NAN, INFINITY, -INFINITY, 1, -1, 1e-40f};
    fixture f;
    setup(&f, tern_kernels_all()[0]);
    tern_screen screen;
    assert_int_equal(load(&f, &screen), TERN_OK);
    for (size_t c = 0; c < COUNT(cases); c++) {
        const size_t places[] = {0, 17, cases[c].used - 1};
        for (size_t p = 0; p < COUNT(places); p++) {
            for (size_t i = 0; i < COUNT(cases[c].wrong); i++)
                try_float(&f, cases[c].name, places[p], cases[c].wrong[i], false);
            for (size_t i = 0; i < COUNT(cases[c].right); i++)
                try_float(&f, cases[c].name, places[p], cases[c].right[i], true);
        }
        for (size_t i = 0; i < COUNT(no_padding); i++) {
            try_float(&f, cases[c].name, cases[c].used, no_padding[i], false);
            try_float(&f, cases[c].name, cases[c].padded - 1, no_padding[i], false);
        }
    }
    assert_int_equal(load(&f, &screen), TERN_OK);
    teardown(&f);
}

static void test_steps(void **unused) {
    (void)unused;
    fixture f;
    setup(&f, tern_kernels_all()[0]);
    uint8_t *steps = f.copies[array_named("screen.steps")];
    size_t n = PADDED / TERN_SCREEN_ROWS * tern_screen_step_bytes(K_PAD);
    const size_t places[] = {0, 5, n / 2 + 3, n - 1};
    tern_screen screen;
    for (size_t i = 0; i < COUNT(places); i++) {
        uint8_t before = steps[places[i]];
        for (int value = 126; value < 256; value++) {
            steps[places[i]] = (uint8_t)value;
            assert_int_equal(load(&f, &screen), value <= 127 ? TERN_OK : TERN_ERR_FORMAT);
            assert_true(value <= 127 || strstr(err.message, "screen.steps"));
        }
        steps[places[i]] = before;
    }
    assert_int_equal(load(&f, &screen), TERN_OK);
    teardown(&f);
}

/* More columns than the kernels' integers have room for are not screened. */
static void test_pays(void **unused) {
    (void)unused;
    tern_tensor head = {.rows = 1000, .cols = 1 << 17, .bytes = (uint64_t)2000 << 17};
    assert_true(tern_screen_pays(&head));
    head.cols++;
    assert_false(tern_screen_pays(&head));
    head.cols = 1 << 20;
    assert_false(tern_screen_pays(&head));
}

/* ---------------------------------------------------------------- the search */

static float garbage(void) {
    static const float values[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, -1, 0, 1e-40f, 1e15f, -NAN};
    return values[random_below(COUNT(values))];
}

/* Some of the arrays with garbage in padding only, in few rows too, or everywhere. */
static void spoil(fixture *f, const tern_screen *good) {
    tern_screen source = *good;
    tern_screen_array arrays[TERN_SCREEN_ARRAYS];
    tern_screen_arrays(&source, arrays);
    size_t extent = random_below(3), removal = random_below(2);
    for (size_t i = 0; i < TERN_SCREEN_ARRAYS; i++) {
        if (!arrays[i].is_float)
            continue;
        float *floats = (float *)(void *)f->copies[i];
        size_t n = arrays[i].rows * arrays[i].cols;
        memcpy(floats, *arrays[i].at.floats, n * sizeof *floats);
        bool is_rows = arrays[i].rows > 1, is_steps = i == array_named("screen.row_steps");
        if (removal && is_rows) /* a fine value that undoes a row's removal, and bounds that let it pass */
            for (size_t r = extent == 2 ? 0 : ROWS; r < PADDED; r++)
                floats[r] = is_steps ? NAN : INFINITY;
        if (!is_rows && random_below(4))
            continue;
        for (size_t r = 0; !removal && r < n; r++)
            if (r >= arrays[i].n_used || extent == 2 || (extent == 1 && random_below(200) == 0))
                floats[r] = garbage();
    }
}

static tern_head_query make_query(int32_t *forced, size_t *n_forced) {
    tern_head_query query = {.want = (tern_head_want)(TERN_HEAD_TOP + random_below(3)),
                             .top_k = 1 + (uint32_t)random_below(8),
                             .margin = 0.5f,
                             .temperature = 0.7,
                             .seed = random_below(1000),
                             .forced = forced};
    *n_forced = random_below(2) * 8;
    for (size_t i = 0; i < *n_forced; i++)
        forced[i] = (int32_t)(random_below(ROWS / 8) * 8 + i);
    query.n_forced = *n_forced;
    return query;
}

/* Ids of the head, each once, with its bits. */
static void check_answer(const tern_candidates *answer, const float *logits) {
    assert_true(answer->n <= ROWS);
    for (size_t i = 0; i < answer->n; i++) {
        assert_in_range(answer->ids[i], 0, ROWS - 1);
        assert_true(i == 0 || answer->ids[i] > answer->ids[i - 1]);
        assert_true(same_float(answer->logits[i], logits[answer->ids[i]]));
    }
}

static void search_garbage(const tern_kernels *kernels) {
    enum { ROUNDS = 150, TOKENS = 3 };
    static float x[TOKENS * K], logits[TOKENS * ROWS];
    fixture f;
    setup(&f, kernels);
    tern_screen good = f.weights.screen, spoilt = good;
    tern_screen_array arrays[TERN_SCREEN_ARRAYS];
    tern_screen_arrays(&spoilt, arrays);
    for (size_t i = 0; i < TERN_SCREEN_ARRAYS; i++)
        if (arrays[i].is_float)
            *arrays[i].at.floats = (const float *)(const void *)f.copies[i];
        else
            *arrays[i].at.bytes = f.copies[i];
    tern_candidates answers[TOKENS] = {{0}};
    tern_cpu_head head;
    f.weights.screen = spoilt;
    tern_cpu_head_init(&head, &f.weights, kernels, f.pool);
    for (size_t round = 0; round < ROUNDS; round++) {
        int32_t forced[TOKENS][8];
        tern_head_query queries[TOKENS];
        size_t n_forced;
        spoil(&f, &good);
        for (size_t t = 0; t < TOKENS; t++)
            queries[t] = make_query(forced[t], &n_forced);
        for (size_t i = 0; i < COUNT(x); i++)
            x[i] = random_float(PLAIN);
        memset(head.screen.pauses, 0, sizeof head.screen.pauses);
        uint32_t n = 1 + (uint32_t)random_below(TOKENS);
        tern_cpu_head_logits(&head, x, n, logits);
        assert_int_equal(tern_cpu_head_candidates(&head, x, n, queries, answers, &err), TERN_OK);
        for (uint32_t t = 0; t < n; t++)
            check_answer(&answers[t], logits + (size_t)t * ROWS);
    }
    const tern_screen_counts *counts = &head.screen.counts;
    printf("%s: %llu searches, %llu by the whole head\n", kernels->name, (unsigned long long)counts->tokens,
           (unsigned long long)counts->refused);
    assert_true(counts->refused > 0 && counts->refused * 10 < counts->tokens * 9); /* both ways */
    for (size_t t = 0; t < TOKENS; t++)
        tern_candidates_free(&answers[t]);
    tern_cpu_head_free(&head);
    f.weights.screen = good;
    teardown(&f);
}

static void test_garbage(void **unused) {
    (void)unused;
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++)
        if ((*rung)->screen && !((*rung)->features & ~tern_cpu_features()))
            search_garbage(*rung);
}

int main(void) {
    tern_rng_seed(&random_state, 5);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_floats),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_pays),
        cmocka_unit_test(test_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
