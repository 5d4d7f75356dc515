/* The attention kernels: every rung that this CPU has against the reference, bit for bit, and the reference against
 * double. */
#include "kernels/check.h"

#include "base/cpu.h"
#include "kernels/attention.h"

static const tern_attention_kernels *ref;

/* Under an emulator everything is twenty times slower; every fifth shape does there. */
#if defined(TERN_SLOW_TESTS)
enum { BLOCK = TERN_KEY_BLOCK, SHAPE_STEP = 5 };
#else
enum { BLOCK = TERN_KEY_BLOCK, SHAPE_STEP = 1 };
#endif

/* ---- every rung against the reference ---- */

static void softmax_once(const char *name, const tern_attention_kernels *rung, const float *x, size_t n) {
    output e = output_copy(x, n * sizeof(float));
    float max_ref, max, sum_ref = ref->softmax_exp(e.ref, n, &max_ref), sum = rung->softmax_exp(e.out, n, &max);
    assert_true(same_float(sum_ref, sum));
    assert_true(max_ref == max); /* the zeros' signs aside */
    CHECK_FLOATS(e, "%s softmax_exp n=%zu", name, n);
}

static void check_softmax(const char *name, const tern_attention_kernels *rung) {
    for (size_t n = 1; n <= TERN_KEY_SPLIT; n += SHAPE_STEP)
        for (size_t k = 0; k < N_KINDS; k++) {
            float *x = random_floats(0, n, (kind)k);
            softmax_once(name, rung, x, n);
            for (size_t i = 0; i < n; i++) /* the whole range of exp, its lower end included */
                x[i] = (float)(tern_rng_uniform(&random_state) * -95.0);
            softmax_once(name, rung, x, n);
            for (size_t i = 0; i < n; i++)
                x[i] = random_below(2) ? -INFINITY : (float)-(double)random_below(90);
            softmax_once(name, rung, x, n);
            for (size_t i = 0; i < n; i++)
                x[i] = -INFINITY;
            softmax_once(name, rung, x, n);
        }
}

typedef struct attention_shape {
    size_t head_dim, n_q, n_keys, ld;
} attention_shape;

#define SHAPE "head_dim=%zu n_q=%zu n_keys=%zu ld=%zu"
#define SHAPE_OF(s) (s).head_dim, (s).n_q, (s).n_keys, (s).ld

typedef void attention_check(const char *name, const tern_attention_kernels *rung, attention_shape shape, kind k);

static void for_shapes(const char *name, const tern_attention_kernels *rung, attention_check *check) {
    static const size_t head_dims[] = {1,  2,  3,  4,  5,  8,  14, 15, 16, 17, 18, 22, 30, 31, 32,
                                       33, 36, 40, 47, 48, 50, 63, 64, 65, 66, 72, 80, 96, 100};
    static const size_t some_keys[] = {1, 2, 3, 4, 5, 15, 16, 17, 31, 33, 47, 48, 49, 61, 63, 64};
    for (size_t i = 0; i < COUNT(head_dims); i += SHAPE_STEP)
        for (size_t n_q = 1; n_q <= 9; n_q++)
            for (size_t j = i % 3; j < COUNT(some_keys); j += 3)
                check(name, rung, (attention_shape){head_dims[i], n_q, some_keys[j], BLOCK + n_q % 3 * 16},
                      (kind)((n_q + j) % N_KINDS));
    for (size_t n_keys = 1; n_keys <= BLOCK; n_keys += SHAPE_STEP)
        check(name, rung, (attention_shape){128, 4, n_keys, TERN_KEY_SPLIT}, (kind)(n_keys % N_KINDS));
    check(name, rung, (attention_shape){128, 32, 64, TERN_KEY_SPLIT}, PLAIN);
    check(name, rung, (attention_shape){256, 7, 33, TERN_KEY_SPLIT}, WILD);
}

/* An integer other than -128. */
static int8_t *random_q8(int slot, size_t n) {
    int8_t *x = random_bytes(slot, n);
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] == -128 ? 127 : x[i];
    return x;
}

/* Scores behind n_keys mean nothing. */
static void forget_rest(output *o, attention_shape s) {
    for (size_t h = 0; h < s.n_q; h++)
        for (size_t j = s.n_keys; j < BLOCK; j++)
            ((float *)o->ref)[h * s.ld + j] = ((float *)o->out)[h * s.ld + j] = 0;
}

static void scores_all(const char *name, const tern_attention_kernels *rung, attention_shape s, kind k) {
    size_t bytes = ((s.n_q - 1) * s.ld + BLOCK) * sizeof(float), padded = tern_kv_pad(s.head_dim);
    float *q = random_floats(0, s.n_q * s.head_dim, k), *keys = random_floats(1, BLOCK * s.head_dim, k);
    uint16_t *halves = random_halves(2, BLOCK * s.head_dim, k);
    int8_t *q8 = random_q8(3, s.n_q * padded), *keys8 = random_q8(4, BLOCK * padded);
    float *q_scale = random_floats(5, s.n_q, k), *k_scale = random_floats(6, BLOCK, k);
    int32_t *q_sum = input(7, s.n_q * sizeof *q_sum);
    if (k == HUGE_) /* the extreme sums */
        memset(q8, 127, s.n_q * padded), memset(keys8, -127, BLOCK * padded);
    for (size_t h = 0; h < s.n_q; h++) {
        q_sum[h] = 0;
        for (size_t d = 0; d < padded; d++) {
            q8[h * padded + d] = d < s.head_dim ? q8[h * padded + d] : 0;
            q_sum[h] += q8[h * padded + d];
        }
    }
    const void *ahead = s.n_keys % 2 ? keys8 : NULL; /* may reach past its end: it is only prefetched */
    output out = output_new(bytes);
    ref->scores_f32(q, s.n_q, keys, s.n_keys, s.head_dim, 0.0884f, out.ref, s.ld, NULL);
    rung->scores_f32(q, s.n_q, keys, s.n_keys, s.head_dim, 0.0884f, out.out, s.ld, ahead);
    forget_rest(&out, s);
    CHECK_FLOATS(out, "%s scores_f32 " SHAPE, name, SHAPE_OF(s));
    out = output_new(bytes);
    ref->scores_f16(q, s.n_q, halves, s.n_keys, s.head_dim, 0.0884f, out.ref, s.ld, NULL);
    rung->scores_f16(q, s.n_q, halves, s.n_keys, s.head_dim, 0.0884f, out.out, s.ld, ahead);
    forget_rest(&out, s);
    CHECK_FLOATS(out, "%s scores_f16 " SHAPE, name, SHAPE_OF(s));
    out = output_new(bytes);
    ref->scores_q8(q8, q_scale, q_sum, s.n_q, keys8, k_scale, s.n_keys, s.head_dim, out.ref, s.ld, NULL);
    rung->scores_q8(q8, q_scale, q_sum, s.n_q, keys8, k_scale, s.n_keys, s.head_dim, out.out, s.ld, ahead);
    forget_rest(&out, s);
    CHECK_FLOATS(out, "%s scores_q8 " SHAPE, name, SHAPE_OF(s));
}

static void values_all(const char *name, const tern_attention_kernels *rung, attention_shape s, kind k) {
    float *p = random_floats(0, (s.n_q - 1) * s.ld + s.n_keys, k), *v = random_floats(1, s.n_keys * s.head_dim, k);
    uint16_t *halves = random_halves(2, s.n_keys * s.head_dim, k);
    int8_t *bytes = random_q8(3, (s.n_keys + 3) / 4 * 4 * s.head_dim);
    float *v_scale = random_floats(4, s.n_keys, k), *start = random_floats(5, s.n_q * s.head_dim, k);
    size_t size = s.n_q * s.head_dim * sizeof(float);
    const void *ahead = s.n_keys % 2 ? bytes : NULL;
    if (k == PLAIN) /* as a softmax gives them, and with the extreme sums */
        for (size_t i = 0; i < (s.n_q - 1) * s.ld + s.n_keys; i++)
            p[i] = s.n_keys % 3 ? fabsf(p[i]) : 1.0f;
    if (k == PLAIN && s.n_keys % 3 == 0)
        memset(bytes, -127, (s.n_keys + 3) / 4 * 4 * s.head_dim);
    output out = output_copy(start, size);
    ref->values_f32(p, s.ld, s.n_q, v, s.n_keys, s.head_dim, out.ref, NULL);
    rung->values_f32(p, s.ld, s.n_q, v, s.n_keys, s.head_dim, out.out, ahead);
    CHECK_FLOATS(out, "%s values_f32 " SHAPE, name, SHAPE_OF(s));
    out = output_copy(start, size);
    ref->values_f16(p, s.ld, s.n_q, halves, s.n_keys, s.head_dim, out.ref, NULL);
    rung->values_f16(p, s.ld, s.n_q, halves, s.n_keys, s.head_dim, out.out, ahead);
    CHECK_FLOATS(out, "%s values_f16 " SHAPE, name, SHAPE_OF(s));
    out = output_copy(start, size);
    ref->values_q8(p, s.ld, s.n_q, bytes, v_scale, s.n_keys, s.head_dim, out.ref, NULL);
    rung->values_q8(p, s.ld, s.n_q, bytes, v_scale, s.n_keys, s.head_dim, out.out, ahead);
    CHECK_FLOATS(out, "%s values_q8 " SHAPE, name, SHAPE_OF(s));
}

static void merge_once(const char *name, const tern_attention_kernels *rung, attention_shape s, kind k) {
    size_t n = s.n_q * s.head_dim;
    float *max = random_floats(0, s.n_q, k), *sum = random_floats(1, s.n_q, k), *out = random_floats(2, n, k);
    float *max_i = random_floats(3, s.n_q, k), *sum_i = random_floats(4, s.n_q, k), *out_i = random_floats(5, n, k);
    for (size_t h = 0; h < s.n_q; h++) /* a maximum is never NaN */
        max[h] = isnan(max[h]) ? -INFINITY : max[h], max_i[h] = isnan(max_i[h]) ? -INFINITY : max_i[h];
    output maxes = output_copy(max, s.n_q * sizeof *max), sums = output_copy(sum, s.n_q * sizeof *sum);
    output outs = output_copy(out, n * sizeof *out);
    ref->merge(maxes.ref, sums.ref, outs.ref, max_i, sum_i, out_i, s.n_q, s.head_dim);
    rung->merge(maxes.out, sums.out, outs.out, max_i, sum_i, out_i, s.n_q, s.head_dim);
    CHECK_FLOATS(maxes, "%s merge: max " SHAPE, name, SHAPE_OF(s));
    CHECK_FLOATS(sums, "%s merge: sum " SHAPE, name, SHAPE_OF(s));
    CHECK_FLOATS(outs, "%s merge: out " SHAPE, name, SHAPE_OF(s));
}

static void for_rungs(void (*check)(const char *name, const tern_attention_kernels *rung)) {
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++)
        if (((*rung)->features & ~tern_cpu_features()) == 0)
            check((*rung)->name, (*rung)->attention);
}

static void check_scores(const char *name, const tern_attention_kernels *rung) { for_shapes(name, rung, scores_all); }
static void check_values(const char *name, const tern_attention_kernels *rung) { for_shapes(name, rung, values_all); }
static void check_merge(const char *name, const tern_attention_kernels *rung) { for_shapes(name, rung, merge_once); }

#define TEST(name)                                                                                                     \
    static void test_##name(void **state) {                                                                            \
        (void)state;                                                                                                   \
        for_rungs(check_##name);                                                                                       \
    }
TEST(softmax)
TEST(scores)
TEST(values)
TEST(merge)

/* ---- the reference against double ---- */

/* Less than one unit in the last place over the whole range, and the ends of it. */
static void test_exp(void **state) {
    (void)state;
    enum { N = 4096 };
    double worst = 0;
    float max;
    for (int round = 0; round < 64; round++) {
        float x[N], e[N];
        x[0] = e[0] = 0;
        for (size_t i = 1; i < N; i++)
            x[i] = e[i] = (float)(-87.0 * tern_rng_uniform(&random_state) * (round % 2 ? 1.0 : 0.02));
        ref->softmax_exp(e, N, &max);
        assert_true(max == 0.0f && e[0] == 1.0f);
        for (size_t i = 1; i < N; i++) {
            double exact = exp((double)x[i]), ulp = ldexp(1.0, ilogb(exact) - 23);
            worst = fmax(worst, fabs(e[i] - exact) / ulp);
        }
    }
    printf("exp: worst error %.3f ulp\n", worst);
    assert_true(worst < 1.0);
    float ends[] = {0.0f, -INFINITY, -87.01f, -1e30f, -86.99f, NAN};
    ref->softmax_exp(ends, COUNT(ends), &max);
    assert_true(ends[0] == 1.0f && ends[1] == 0.0f && ends[2] == 0.0f && ends[3] == 0.0f);
    assert_true(ends[4] > 0.0f && isnan(ends[5]));
}

enum { HEADS = 3, KEYS = 11, DIM = 42, PADDED = 44 };

/* Keys and values in the layouts of attention.h, and one by one. */
typedef struct small_cache {
    float k[KEYS][DIM], v[KEYS][DIM], k_scale[BLOCK], v_scale[BLOCK];
    int8_t k8[KEYS][DIM], v8[KEYS][DIM];
    float keys[DIM * BLOCK], values[BLOCK * DIM];
    uint16_t half_keys[DIM * BLOCK], half_values[BLOCK * DIM];
    int8_t int_keys[PADDED * BLOCK], int_values[BLOCK * DIM];
} small_cache;

static void fill_cache(small_cache *c) {
    for (size_t j = 0; j < KEYS; j++) {
        c->k_scale[j] = fabsf(random_float(PLAIN));
        c->v_scale[j] = fabsf(random_float(PLAIN));
        for (size_t d = 0; d < DIM; d++) {
            c->k[j][d] = random_float(PLAIN);
            c->v[j][d] = random_float(PLAIN);
            c->k8[j][d] = (int8_t)((int)random_below(255) - 127);
            c->v8[j][d] = (int8_t)((int)random_below(255) - 127);
            c->keys[d * BLOCK + j] = c->k[j][d];
            c->values[j * DIM + d] = c->v[j][d];
            c->half_keys[d * BLOCK + j] = tern_f32_to_f16(c->k[j][d]);
            c->half_values[j * DIM + d] = tern_f32_to_f16(c->v[j][d]);
            c->int_keys[d / 4 * 4 * BLOCK + 4 * j + d % 4] = c->k8[j][d];
            c->int_values[j / 4 * 4 * DIM + 4 * d + j % 4] = c->v8[j][d];
        }
    }
}

static void test_reference_scores(void **state) {
    (void)state;
    static small_cache c;
    fill_cache(&c);
    const float *q = random_floats(0, HEADS * DIM, PLAIN), *q_scale = random_floats(1, HEADS, PLAIN);
    int8_t q8[HEADS][PADDED] = {{0}};
    int32_t q_sum[HEADS] = {0};
    static float out[3][HEADS * BLOCK];
    for (size_t h = 0; h < HEADS; h++)
        for (size_t d = 0; d < DIM; d++)
            q_sum[h] += q8[h][d] = (int8_t)((int)random_below(255) - 127);
    ref->scores_f32(q, HEADS, c.keys, KEYS, DIM, 0.5f, out[0], BLOCK, NULL);
    ref->scores_f16(q, HEADS, c.half_keys, KEYS, DIM, 0.5f, out[1], BLOCK, NULL);
    ref->scores_q8(q8[0], q_scale, q_sum, HEADS, c.int_keys, c.k_scale, KEYS, DIM, out[2], BLOCK, NULL);
    for (size_t h = 0; h < HEADS; h++)
        for (size_t j = 0; j < KEYS; j++) {
            double exact[3] = {0}, bound = 0;
            for (size_t d = 0; d < DIM; d++) {
                double query = q[h * DIM + d];
                exact[0] += query * c.k[j][d] * 0.5;
                exact[1] += query * tern_f16_to_f32(c.half_keys[d * BLOCK + j]) * 0.5;
                exact[2] += (double)q8[h][d] * c.k8[j][d] * q_scale[h] * c.k_scale[j];
                bound += fabs(query * c.k[j][d]) * (DIM + 1) * 0x1p-24;
            }
            assert_true(fabs(out[0][h * BLOCK + j] - exact[0]) <= bound);
            assert_true(fabs(out[1][h * BLOCK + j] - exact[1]) <= bound);
            assert_true(fabs(out[2][h * BLOCK + j] - exact[2]) <= 3 * 0x1p-24 * fabs(exact[2]));
        }
}

static void test_reference_values(void **state) {
    (void)state;
    static small_cache c;
    fill_cache(&c);
    float *p = random_floats(0, HEADS * BLOCK, PLAIN), sums[3][HEADS * DIM] = {{0}};
    for (size_t i = 0; i < HEADS * BLOCK; i++)
        p[i] = expf(p[i]);
    ref->values_f32(p, BLOCK, HEADS, c.values, KEYS, DIM, sums[0], NULL);
    ref->values_f16(p, BLOCK, HEADS, c.half_values, KEYS, DIM, sums[1], NULL);
    ref->values_q8(p, BLOCK, HEADS, c.int_values, c.v_scale, KEYS, DIM, sums[2], NULL);
    for (size_t h = 0; h < HEADS; h++)
        for (size_t d = 0; d < DIM; d++) {
            double exact[3] = {0}, bound = 0, bound_q8 = 0, largest = 0;
            for (size_t j = 0; j < KEYS; j++) {
                double weight = p[h * BLOCK + j];
                exact[0] += weight * c.v[j][d];
                exact[1] += weight * tern_f16_to_f32(c.half_values[j * DIM + d]);
                exact[2] += weight * c.v_scale[j] * c.v8[j][d];
                bound += fabs(weight * c.v[j][d]) * (KEYS + 1) * 0x1p-24;
                largest = fmax(largest, weight * c.v_scale[j]);
            }
            for (size_t j = 0; j < KEYS; j++) /* half a step a weight, and a little rounding */
                bound_q8 += abs(c.v8[j][d]) * largest / TERN_WEIGHT_MAX * 0.502;
            assert_true(fabs(sums[0][h * DIM + d] - exact[0]) <= bound);
            assert_true(fabs(sums[1][h * DIM + d] - exact[1]) <= bound);
            assert_true(fabs(sums[2][h * DIM + d] - exact[2]) <= bound_q8);
        }
}

/* Softmax in two splits, merged, is the softmax of both. */
static void test_reference_merge(void **state) {
    (void)state;
    enum { N = 40, FIRST = 23 };
    for (size_t round = 0; round < 200; round++) {
        float scores[N], e[N], v[N], max[2], sum[2], out[2] = {0, 0};
        for (size_t j = 0; j < N; j++) {
            scores[j] = e[j] = random_float(PLAIN) * (round % 2 ? 3.0f : 20.0f);
            v[j] = random_float(PLAIN);
        }
        sum[0] = ref->softmax_exp(e, FIRST, &max[0]);
        sum[1] = ref->softmax_exp(e + FIRST, N - FIRST, &max[1]);
        ref->values_f32(e, BLOCK, 1, v, FIRST, 1, &out[0], NULL);
        ref->values_f32(e + FIRST, BLOCK, 1, v + FIRST, N - FIRST, 1, &out[1], NULL);
        double largest = fmaxf(max[0], max[1]), exact_sum = 0, exact_out = 0, size = 0;
        for (size_t j = 0; j < N; j++) {
            exact_sum += exp(scores[j] - largest);
            exact_out += exp(scores[j] - largest) * v[j];
            size += exp(scores[j] - largest) * fabs((double)v[j]);
        }
        ref->merge(&max[0], &sum[0], &out[0], &max[1], &sum[1], &out[1], 1, 1);
        assert_true(max[0] == (float)largest);
        assert_true(fabs(sum[0] - exact_sum) <= 1e-5 * exact_sum);
        assert_true(fabs(out[0] - exact_out) <= 1e-5 * size);
    }
}

int main(void) {
    ref = tern_kernels_all()[0]->attention;
    tern_rng_seed(&random_state, 2024);
    printf("rungs checked:");
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++)
        printf(" %s%s", (*rung)->name,
               ((*rung)->features & ~tern_cpu_features()) == 0 ? "" : " (skipped: not on this CPU)");
    printf("\n");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_exp),
        cmocka_unit_test(test_reference_scores),
        cmocka_unit_test(test_reference_values),
        cmocka_unit_test(test_reference_merge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
