/*
 * The head screen: its bounds hold for a million hidden states, ordinary and hostile ones, and what it answers holds
 * every row that is asked for, with the bits of the whole head.
 *
 * TERN_SCREEN_STATES=N in the environment: that many states instead.
 */
#include "kernels/check.h"
#include "kernels/head_rows.h"

#include "base/cpu.h"
#include "base/mem.h"
#include "format/codec.h"
#include "format/store.h"
#include "runtime/cpu_head.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__x86_64__) || !defined(__OPTIMIZE__)
enum { STATES = 20000 };
#else
enum { STATES = 1000000 };
#endif

/* A head in memory with its screen, and what runs it. */
typedef struct fixture {
    tern_store *store;
    tern_tensor tensor;
    tern_weights weights;
    tern_pool *pool;
    const tern_kernels *kernels;
    tern_cpu_head head;
    uint8_t *bytes;
    float *rows; /* [rows, k] decoded */
} fixture;

static const tern_dtype dtypes[TERN_N_HEAD_TYPES] = {TERN_TYPE_F32,  TERN_TYPE_F16,  TERN_TYPE_BF16,
                                                     TERN_TYPE_Q8_0, TERN_TYPE_Q4_0, TERN_TYPE_Q6_K};

static const tern_kernels *best_kernels(void) {
    const tern_kernels *best = tern_kernels_all()[0];
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++)
        if ((*rung)->screen && ((*rung)->features & ~tern_cpu_features()) == 0)
            best = *rung;
    return best;
}

/* A head of ordinary rows with difficult ones among them: equal ones, ones that differ in the last bit, zeros, huge and
 * tiny ones, denormals, one long column; all rows share a pattern. */
static void fill_rows(float *rows, size_t n_rows, size_t k) {
    for (size_t r = 0; r < n_rows; r++) {
        float *row = rows + r * k;
        for (size_t i = 0; i < k; i++)
            row[i] = random_float(PLAIN) + (i % 3 ? 1.0f : -1.0f);
        float factor = 1;
        switch (r % 64) {
        case 5:
            memcpy(row, row - k, k * sizeof *row); /* a tie with the row before */
            break;
        case 6:
            memcpy(row, row - k, k * sizeof *row);
            row[random_below(k)] *= 1 + 0x1p-10f; /* one step of an f16 */
            break;
        case 9:
            factor = 0;
            break;
        case 11:
            factor = 100;
            break;
        case 13:
            factor = 1e-3f;
            break;
        case 15:
            factor = 1e-6f;
            break;
        case 17:
            row[random_below(k)] = 300;
            break;
        default:
            break;
        }
        for (size_t i = 0; i < k; i++)
            row[i] *= factor;
    }
}

static void setup(fixture *f, tern_head_type type, size_t n_rows, size_t k, int n_threads) {
    const tern_codec *codec = tern_codec_of(dtypes[type]);
    tern_error err;
    *f = (fixture){.kernels = best_kernels()};
    assert_int_equal(tern_store_create("a test", &f->store, &err), TERN_OK);
    assert_int_equal(tern_pool_create(n_threads, &f->pool, &err), TERN_OK);
    uint64_t bytes;
    assert_true(tern_codec_bytes(codec, n_rows, k, &bytes));
    f->bytes = malloc(bytes);
    f->rows = malloc(n_rows * k * sizeof *f->rows);
    assert_true(f->bytes && f->rows);
    f->tensor = (tern_tensor){
        .name = "head", .type = dtypes[type], .rows = n_rows, .cols = k, .data = f->bytes, .bytes = bytes};
    fill_rows(f->rows, n_rows, k);
    for (size_t r = 0; r < n_rows; r++) {
        codec->encode_row(f->rows + r * k, k, f->bytes + r * (bytes / n_rows));
        codec->decode_row(&f->tensor, r, f->rows + r * k);
    }
    f->weights.dims.vocab_size = (uint32_t)n_rows;
    f->weights.dims.hidden_size = (uint32_t)k;
    f->weights.head = &f->tensor;
    f->weights.head_type = type;
}

static void build(fixture *f) {
    tern_error err;
    assert_int_equal(
        tern_screen_build(&f->store->checkpoint, &f->tensor, f->kernels->screen, f->pool, &f->weights.screen, &err),
        TERN_OK);
    tern_cpu_head_init(&f->head, &f->weights, f->kernels, f->pool);
}

static void teardown(fixture *f) {
    tern_cpu_head_free(&f->head);
    tern_screen_free(&f->weights.screen);
    tern_pool_free(f->pool);
    tern_store_free(f->store);
    free(f->bytes);
    free(f->rows);
}

/* ---- hidden states ---- */

/* What the planes stand for at a row and a column. */
static double value_of(const tern_screen *screen, size_t row, size_t column, bool with_fine) {
    size_t k_pad = screen->k_pad, r = row % 16, block = column / 32;
    const uint8_t *coarse = screen->coarse + row / 16 * tern_screen_coarse_bytes(k_pad);
    const uint8_t *steps = screen->steps + row / 16 * tern_screen_step_bytes(k_pad);
    int h = coarse[column / 8 * 64 + 4 * r + column % 4] >> (column % 8 < 4 ? 0 : 4) & 15;
    int l =
        screen->fine[row / 16 * tern_screen_fine_bytes(k_pad) + block * 64 + 4 * r + column % 4] >> column % 32 / 4 & 1;
    double step = (double)screen->row_steps[row] * steps[block / 4 * 64 + 4 * r + block % 4];
    return (double)screen->centre[column] + step * (2 * h - 15 + (with_fine ? l - 0.5 : 0));
}

/* x [k] number `n`: kinds in turn. */
static void make_state(const fixture *f, size_t n, float *x) {
    const tern_screen *screen = &f->weights.screen;
    size_t k = screen->k, row = random_below(screen->n_rows);
    const float *w = f->rows + row * k;
    float sign = random_below(2) ? 1.0f : -1.0f;
    for (size_t i = 0; i < k; i++) {
        x[i] = random_float(PLAIN);
        switch (n % 16) {
        case 0: /* along the error of a row's coarse or fine plane: the bound of that row is nearly met */
        case 1:
            x[i] = sign * (float)((double)w[i] - value_of(screen, row, i, n % 16 == 1));
            break;
        case 2: /* along a row: it wins, or comes last */
            x[i] = sign * w[i];
            break;
        case 3: /* a row and its error */
            x[i] = w[i] + 20 * (float)((double)w[i] - value_of(screen, row, i, true));
            break;
        case 4: /* every element half a step off, to the side of the row: the state's own error counts fully */
            x[i] = (floorf(x[i] * 1000) + (w[i] > 0 ? 0.49f : -0.49f)) * 2.5e-4f;
            break;
        case 5: /* half a step of the fine digits off */
            x[i] = (floorf(x[i] * 20) + (w[i] > 0 ? 0.49f : -0.49f)) / 20;
            break;
        case 6:
            x[i] = i == row % k ? sign : 0;
            break;
        case 7: /* one element above all others */
            x[i] *= i == row % k ? 1e4f : 1.0f;
            break;
        case 8:
            x[i] *= 1e-28f;
            break;
        case 9:
            x[i] *= 1e13f;
            break;
        case 10: /* wide range */
            x[i] *= expf(8 * random_float(PLAIN));
            break;
        case 11:
            x[i] = sign * (i % 3 ? 1.0f : -1.0f); /* along the common pattern */
            break;
        default:
            break;
        }
    }
    if (n % 16 == 4) /* sets the step to 2.5e-4 */
        x[0] = 2.5e-4f * TERN_SCREEN_X_MAX;
    if (n % 16 == 5)
        x[0] = 127.0f / 20;
}

/* |value - exact| <= bound of every row, in doubles. */
static void check_bounds(const tern_screen *screen, const float *values, const float *exact, const float c[4],
                         size_t state, double *closest) {
    for (size_t r = 0; r < screen->n_rows; r++) {
        double bound = (double)c[3] + (double)screen->norms[r] * (double)c[2] +
                       (double)screen->fine_errors[r] * (double)c[1] + (double)screen->coarse_errors[r] * (double)c[0];
        double off = fabs((double)values[r] - (double)exact[r]);
        if (!(off <= bound))
            fail_msg("state %zu row %zu: off by %g, bound %g", state, r, off, bound);
        if (off / bound > *closest)
            *closest = off / bound;
    }
}

static size_t n_states(void) {
    const char *wish = getenv("TERN_SCREEN_STATES");
    return wish ? strtoull(wish, NULL, 10) : STATES;
}

static void bounds_of(tern_head_type type, size_t n_rows, size_t k, size_t states) {
    fixture f;
    setup(&f, type, n_rows, k, 1);
    build(&f);
    const tern_screen *screen = &f.weights.screen;
    size_t k_pad = screen->k_pad, padded = (size_t)screen->n_groups * 16;
    float *x = malloc(k * sizeof *x), *values = malloc(padded * sizeof *values),
          *exact = malloc(n_rows * sizeof *exact);
    tern_screen_state state = {.memory = tern_aligned_alloc(tern_screen_state_bytes(screen))};
    double closest[3] = {0};
    size_t n_screened = 0;
    assert_true(x && values && exact && state.memory);
    for (size_t n = 0; n < states; n++) {
        make_state(&f, n, x);
        if (!tern_screen_prepare(screen, x, &state))
            continue;
        n_screened++;
        f.kernels->head[type](f.bytes, screen->row_bytes, n_rows, x, k, 1, exact, n_rows);
        f.kernels->screen->coarse(screen->coarse, screen->steps, screen->row_steps, k_pad, screen->n_groups, &state.x,
                                  1, values, padded);
        check_bounds(screen, values, exact, state.coarse, n, &closest[0]);
        for (size_t g = 0; g < screen->n_groups; g++) {
            float *at = values + g * 16;
            f.kernels->screen->fine(screen->fine + g * tern_screen_fine_bytes(k_pad),
                                    screen->steps + g * tern_screen_step_bytes(k_pad), screen->row_steps + g * 16,
                                    k_pad, &state.x, 1, &at);
        }
        check_bounds(screen, values, exact, state.fine, n, &closest[1]);
        f.kernels->screen->both(screen->coarse, screen->fine, screen->steps, screen->row_steps, k_pad, screen->n_groups,
                                &state.x, 1, values, padded);
        check_bounds(screen, values, exact, state.both, n, &closest[2]);
    }
    printf("%s %zu x %zu: %zu states, nearest to the bound %.4f (coarse), %.4f (fine), %.4f (both)\n", head_names[type],
           n_rows, k, n_screened, closest[0], closest[1], closest[2]);
    assert_true(n_screened >= states / 2);
    assert_true(closest[0] > 0.9 && closest[1] > 0.9 && closest[2] > 0.9); /* the hostile states are hostile */
    tern_aligned_free(state.memory);
    free(x);
    free(values);
    free(exact);
    teardown(&f);
}

static void test_bounds(void **unused) {
    (void)unused;
    bounds_of(TERN_HEAD_F32, 64, 96, n_states() / 2);
    bounds_of(TERN_HEAD_F16, 128, 64, n_states() / 4);
    bounds_of(TERN_HEAD_BF16, 75, 32, n_states() / 4);
    bounds_of(TERN_HEAD_Q8_0, 64, 320, n_states() / 64);
    bounds_of(TERN_HEAD_Q4_0, 64, 160, n_states() / 64);
    bounds_of(TERN_HEAD_Q6_K, 33, 512, n_states() / 64);
}

/* ---- answers ---- */

/* What the screen is built from is what the head kernel multiplies with. */
static void test_rows(void **unused) {
    (void)unused;
    for (int type = 0; type < TERN_N_HEAD_TYPES; type++) {
        enum { ROWS = 16, K = 256 };
        fixture f;
        setup(&f, (tern_head_type)type, ROWS, K, 1);
        for (size_t i = 0; i < K; i++) {
            float x[K] = {0}, y[ROWS];
            x[i] = 1;
            f.kernels->head[type](f.bytes, f.tensor.bytes / ROWS, ROWS, x, K, 1, y, ROWS);
            for (size_t r = 0; r < ROWS; r++)
                assert_true(y[r] == f.rows[r * K + i]);
        }
        teardown(&f);
    }
}

static double score_of(const tern_head_query *query, float logit, size_t row) {
    return query->want == TERN_HEAD_GUMBEL
               ? (double)logit / query->temperature + (double)tern_gumbel(query->seed, query->counter, (uint32_t)row)
               : (double)logit;
}

static bool is_forced(const tern_head_query *query, size_t row) {
    for (size_t i = 0; i < query->n_forced; i++)
        if ((size_t)query->forced[i] == row)
            return true;
    return false;
}

typedef struct ranked {
    double score;
    size_t row;
} ranked;

static int by_rank(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->row < y->row ? -1 : 1;
}

/* wanted[row] = 1 for the rows that the query asks for, by the definitions in runtime/head.h. */
static void mark_wanted(const tern_head_query *query, const float *logits, size_t n_rows, uint8_t *marks) {
    ranked *rows = malloc(n_rows * sizeof *rows);
    size_t n = 0, top = query->want == TERN_HEAD_TOP ? query->top_k : query->want == TERN_HEAD_GUMBEL ? 1 : n_rows;
    assert_non_null(rows);
    for (size_t r = 0; r < n_rows; r++) {
        marks[r] = query->want == TERN_HEAD_ALL || is_forced(query, r);
        if (!is_forced(query, r))
            rows[n++] = (ranked){score_of(query, logits[r], r), r};
    }
    qsort(rows, n, sizeof *rows, by_rank);
    for (size_t i = 0; i < n && i < top; i++)
        if (query->want != TERN_HEAD_NEAR || rows[i].score >= rows[0].score - (double)query->margin)
            marks[rows[i].row] = 1;
    free(rows);
}

static void check_answer(const tern_head_query *query, const float *logits, size_t n_rows,
                         const tern_candidates *answer) {
    uint8_t *marks = calloc(n_rows, 1);
    bool nan = false;
    assert_non_null(marks);
    for (size_t i = 0; i < n_rows; i++)
        nan |= isnan(logits[i]) != 0;
    if (nan)
        memset(marks, 1, n_rows);
    else
        mark_wanted(query, logits, n_rows, marks);
    for (size_t i = 0; i < answer->n; i++) {
        assert_in_range(answer->ids[i], 0, n_rows - 1);
        assert_true(i == 0 || answer->ids[i] > answer->ids[i - 1]);
        assert_true(same_float(answer->logits[i], logits[answer->ids[i]]));
        marks[answer->ids[i]] = 0;
    }
    for (size_t r = 0; r < n_rows; r++)
        if (marks[r])
            fail_msg("row %zu is missing (logit %g)", r, (double)logits[r]);
    free(marks);
}

static tern_head_query random_query(size_t n, size_t n_rows, int32_t *forced) {
    tern_head_query query = {.want = (tern_head_want)(1 + n % 3), .forced = forced};
    static const float margins[] = {0, 0.5f, 3};
    query.top_k = (uint32_t)(random_below(2) ? 1 : 1 + random_below(20));
    query.margin = margins[random_below(3)];
    query.temperature = 0.2 + 2 * tern_rng_uniform(&random_state);
    query.seed = tern_rng_u64(&random_state);
    query.counter = random_below(1000);
    query.n_forced = random_below(3) ? 0 : random_below(8);
    for (size_t i = 0; i < query.n_forced; i++)
        forced[i] = (int32_t)(random_below(n_rows / 8) * 8 + i);
    return query;
}

/* Batches of every size against the whole head. */
static void answers_of(tern_head_type type, size_t n_rows, size_t k, size_t rounds, int n_threads) {
    enum { MOST = 19 };
    fixture f;
    setup(&f, type, n_rows, k, n_threads);
    build(&f);
    float *x = malloc(MOST * k * sizeof *x), *logits = malloc(MOST * n_rows * sizeof *logits);
    static int32_t forced[MOST][8];
    tern_candidates answers[MOST] = {{0}};
    tern_head_query queries[MOST];
    tern_error err;
    assert_true(x && logits);
    for (size_t round = 0, state = 0; round < rounds; round++) {
        uint32_t n = (uint32_t)(random_below(2) ? 1 : 1 + random_below(MOST));
        for (uint32_t i = 0; i < n; i++, state++) {
            make_state(&f, random_below(2) ? state : 12, x + i * k);
            queries[i] = random_query(random_below(3), n_rows, forced[i]);
            if (random_below(40) == 0)
                queries[i].want = TERN_HEAD_ALL;
            if (random_below(40) == 0)
                x[i * k + random_below(k)] = random_below(2) ? NAN : INFINITY;
        }
        if (random_below(4) == 0) /* either way of searching, whatever was left before */
            f.head.screen.together = random_below(2) ? 1 + random_below(3) : 0;
        tern_cpu_head_logits(&f.head, x, n, logits);
        assert_int_equal(tern_cpu_head_candidates(&f.head, x, n, queries, answers, &err), TERN_OK);
        for (uint32_t i = 0; i < n; i++)
            check_answer(&queries[i], logits + i * n_rows, n_rows, &answers[i]);
    }
    const tern_screen_counts *counts = &f.head.screen.counts;
    printf("%s %zu x %zu: %llu states, %llu by the whole head, %.0f rows left by the coarse plane, %.1f by both\n",
           head_names[type], n_rows, k, (unsigned long long)counts->tokens, (unsigned long long)counts->refused,
           (double)counts->coarse / (double)counts->tokens, (double)counts->fine / (double)counts->tokens);
    assert_true(counts->refused * 2 < counts->tokens); /* it is the screen that was tested */
    assert_in_range(counts->together, rounds / 8, rounds - rounds / 8);
    for (size_t i = 0; i < MOST; i++)
        tern_candidates_free(&answers[i]);
    free(x);
    free(logits);
    teardown(&f);
}

static void test_answers(void **unused) {
    (void)unused;
    size_t rounds = 20 + (size_t)(STATES / 8000);
    answers_of(TERN_HEAD_F16, 6000, 64, rounds, 2);
    answers_of(TERN_HEAD_F32, 6001, 96, rounds, 1);
    answers_of(TERN_HEAD_BF16, 5000, 160, rounds, 3);
    answers_of(TERN_HEAD_Q8_0, 5120, 128, rounds, 2);
    answers_of(TERN_HEAD_Q4_0, 5113, 64, rounds, 2);
    answers_of(TERN_HEAD_Q6_K, 5000, 256, rounds, 2);
}

/* Rows that are not finite, or beyond what is screened, are never lost: a NaN among the logits gives every row. */
static void test_wild_rows(void **unused) {
    (void)unused;
    enum { ROWS = 4096, K = 64 };
    static float x[K], logits[ROWS];
    for (int round = 0; round < 60; round++) {
        static const float wild[] = {INFINITY, NAN, 1e20f, -1e30f, 3e38f, 1e-40f};
        fixture f;
        setup(&f, TERN_HEAD_F32, ROWS, K, 2);
        float *rows = (float *)(void *)f.bytes;
        for (int i = 0; i < 3; i++)
            rows[random_below(ROWS) * K + random_below(K)] = wild[round % 6];
        build(&f);
        for (int n = 0; n < 30; n++) {
            int32_t forced[8];
            tern_candidates answer = {0};
            tern_error err;
            make_state(&f, (size_t)n, x);
            tern_head_query query = random_query((size_t)n, ROWS, forced);
            tern_cpu_head_logits(&f.head, x, 1, logits);
            assert_int_equal(tern_cpu_head_candidates(&f.head, x, 1, &query, &answer, &err), TERN_OK);
            check_answer(&query, logits, ROWS, &answer);
            tern_candidates_free(&answer);
        }
        teardown(&f);
    }
}

/* When nothing can be ruled out (all rows alike), the whole head answers. */
static void test_fallback(void **unused) {
    (void)unused;
    enum { ROWS = 4096, K = 64 };
    static float x[K], logits[ROWS];
    fixture f;
    setup(&f, TERN_HEAD_F32, ROWS, K, 2);
    float *rows = (float *)(void *)f.bytes;
    for (size_t r = 1; r < ROWS; r++)
        memcpy(rows + r * K, rows, K * sizeof *rows);
    build(&f);
    make_state(&f, 12, x);
    tern_cpu_head_logits(&f.head, x, 1, logits);
    const tern_head_query queries[] = {{.want = TERN_HEAD_TOP, .top_k = 3},
                                       {.want = TERN_HEAD_NEAR, .margin = 1},
                                       {.want = TERN_HEAD_TOP, .top_k = ROWS},
                                       {.want = TERN_HEAD_TOP, .top_k = 0},
                                       {.want = TERN_HEAD_NEAR, .margin = INFINITY}};
    for (size_t i = 0; i < COUNT(queries); i++) {
        tern_candidates answer = {0};
        tern_error err;
        assert_int_equal(tern_cpu_head_candidates(&f.head, x, 1, &queries[i], &answer, &err), TERN_OK);
        check_answer(&queries[i], logits, ROWS, &answer);
        assert_int_equal(f.head.screen.counts.refused, i + 1);
        tern_candidates_free(&answer);
    }
    teardown(&f);
}

int main(void) {
    tern_rng_seed(&random_state, 99);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),      cmocka_unit_test(test_bounds),   cmocka_unit_test(test_answers),
        cmocka_unit_test(test_wild_rows), cmocka_unit_test(test_fallback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
