/*
 * Attention on the CPU over contexts of several splits: against softmax in double, and bit by bit the same however the
 * sequence is cut into batches, on any number of threads, on every instruction set, and beside other sequences.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "base/rng.h"
#include "runtime/cpu_attention.h"

enum { N = 2 * TERN_KEY_SPLIT + 77, LAYER = 1, N_TYPES = 3 };

/* Under ThreadSanitizer and an emulator everything is twenty times slower; fewer shapes do there. */
#if defined(TERN_SLOW_TESTS)
enum { N_SHAPES = 1 };
#else
enum { N_SHAPES = 4 };
#endif

static tern_status alloc(tern_backend *backend, size_t n_bytes, void **memory, tern_error *err) {
    (void)backend, (void)err;
    *memory = tern_aligned_alloc(n_bytes);
    memset(*memory, 0xff, n_bytes); /* NaN in every type: what is not written must have no influence */
    return TERN_OK;
}

static void release(tern_backend *backend, void *memory) {
    (void)backend;
    tern_aligned_free(memory);
}

static const tern_backend_ops ops = {.alloc = alloc, .release = release};
static tern_backend backend = {&ops};

/* A sequence's activations [N][..] and the attention that they give. */
typedef struct sequence {
    tern_dims dims;
    float *q, *k, *v, *out;
} sequence;

static float *floats(size_t n) {
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    return x;
}

static sequence new_sequence(uint32_t heads, uint32_t kv_heads, uint32_t head_dim, uint64_t seed) {
    sequence s = {.dims = {.n_layers = 2,
                           .hidden_size = heads * head_dim,
                           .n_heads = heads,
                           .n_kv_heads = kv_heads,
                           .head_dim = head_dim,
                           .rope_theta = 10000.0f}};
    size_t q_size = (size_t)N * heads * head_dim, kv_size = (size_t)N * kv_heads * head_dim;
    s.q = floats(q_size), s.k = floats(kv_size), s.v = floats(kv_size), s.out = floats(q_size);
    tern_rng rng;
    tern_rng_seed(&rng, seed);
    for (size_t i = 0; i < q_size; i++)
        s.q[i] = 2.0f * (float)tern_rng_normal(&rng);
    for (size_t i = 0; i < kv_size; i++) {
        s.k[i] = (float)tern_rng_normal(&rng);
        s.v[i] = (float)tern_rng_normal(&rng);
    }
    return s;
}

static void free_sequence(sequence *s) { free(s->q), free(s->k), free(s->v), free(s->out); }

typedef struct runner {
    tern_pool *pool;
    tern_cpu_attention attention;
} runner;

static runner new_runner(const tern_dims *dims, const tern_kernels *kernels, int threads) {
    runner r;
    tern_error err;
    assert_int_equal(tern_pool_create(threads, &r.pool, &err), 0);
    tern_cpu_attention_init(&r.attention, dims, kernels, r.pool);
    return r;
}

static void free_runner(runner *r) {
    tern_cpu_attention_free(&r->attention);
    tern_pool_free(r->pool);
}

/* Two sequences in batches of `batch` tokens of each -> out [N][hidden] of the first; the other one may be NULL. */
static void run(const sequence *s, const sequence *other, const tern_kernels *kernels, int threads, tern_kv_type type,
                uint32_t batch, float *out) {
    uint32_t hidden = s->dims.hidden_size, kv_size = (uint32_t)tern_kv_size(&s->dims), n_seq = other ? 2 : 1;
    runner r = new_runner(&s->dims, kernels, threads);
    tern_error err;
    tern_kv kv[2];
    float *q = floats(2 * (size_t)batch * hidden), *o = floats(2 * (size_t)batch * hidden);
    float *k = floats(2 * (size_t)batch * kv_size), *v = floats(2 * (size_t)batch * kv_size);
    tern_slot *slots = calloc(2 * (size_t)batch, sizeof *slots);
    for (uint32_t i = 0; i < n_seq; i++)
        tern_kv_init(&kv[i], &backend, &s->dims, type);
    for (uint32_t start = 0; start < N; start += batch) {
        uint32_t count = N - start < batch ? N - start : batch;
        assert_int_equal(tern_cpu_attention_reserve(&r.attention, start + count, &err), 0); /* grows on the way */
        for (uint32_t i = 0; i < n_seq; i++) {
            const sequence *from = i ? other : s;
            assert_int_equal(tern_kv_reserve(&kv[i], start + count, &err), 0);
            for (uint32_t t = 0; t < count; t++)
                slots[i * count + t] = (tern_slot){0, start + t, &kv[i]};
            memcpy(q + (size_t)i * count * hidden, from->q + (size_t)start * hidden, sizeof *q * count * hidden);
            memcpy(k + (size_t)i * count * kv_size, from->k + (size_t)start * kv_size, sizeof *k * count * kv_size);
            memcpy(v + (size_t)i * count * kv_size, from->v + (size_t)start * kv_size, sizeof *v * count * kv_size);
        }
        tern_cpu_rope_store(&r.attention, slots, n_seq * count, LAYER, q, k, v);
        tern_cpu_attention_run(&r.attention, slots, n_seq * count, LAYER, q, o);
        memcpy(out + (size_t)start * hidden, o, sizeof *o * count * hidden);
    }
    for (uint32_t i = 0; i < n_seq; i++)
        tern_kv_free(&kv[i]);
    free_runner(&r);
    free(q), free(o), free(k), free(v), free(slots);
}

static const tern_kernels *best(void) {
    const tern_kernels *kernels = NULL;
    tern_error err;
    assert_int_equal(tern_kernels_choose(NULL, &kernels, &err), 0);
    return kernels;
}

/* ---- against double ---- */

static void rotate(const sequence *s, const float *x, uint32_t position, double *out) {
    uint32_t half = s->dims.head_dim / 2;
    for (uint32_t i = 0; i < half; i++) {
        double angle = position * pow((double)s->dims.rope_theta, -2.0 * i / s->dims.head_dim);
        out[i] = x[i] * cos(angle) - x[i + half] * sin(angle);
        out[i + half] = x[i + half] * cos(angle) + x[i] * sin(angle);
    }
}

/* Largest and mean difference of row `position`. */
static void compare_row(const sequence *s, uint32_t position, double *largest, double *mean) {
    enum { MAX_DIM = 64 };
    uint32_t dim = s->dims.head_dim, group = s->dims.n_heads / s->dims.n_kv_heads;
    double *weights = calloc(N, sizeof *weights), total = 0;
    for (uint32_t head = 0; head < s->dims.n_heads; head++) {
        double q[MAX_DIM], k[MAX_DIM], sum = 0;
        size_t at = ((size_t)position * s->dims.n_heads + head) * dim;
        rotate(s, s->q + at, position, q);
        for (uint32_t j = 0; j <= position; j++) {
            double score = 0;
            rotate(s, s->k + ((size_t)j * s->dims.n_kv_heads + head / group) * dim, j, k);
            for (uint32_t d = 0; d < dim; d++)
                score += q[d] * k[d];
            sum += weights[j] = exp(score / sqrt(dim));
        }
        for (uint32_t d = 0; d < dim; d++) {
            double want = 0;
            for (uint32_t j = 0; j <= position; j++)
                want += weights[j] / sum * s->v[((size_t)j * s->dims.n_kv_heads + head / group) * dim + d];
            double difference = fabs(s->out[at + d] - want);
            *largest = fmax(*largest, difference);
            total += difference;
        }
    }
    *mean = fmax(*mean, total / s->dims.hidden_size);
    free(weights);
}

static void test_against_double(void **state) {
    (void)state;
    static const uint32_t shapes[4][3] = {{6, 2, 20}, {3, 3, 64}, {40, 1, 6}, {4, 1, 34}};
    static const uint32_t positions[] = {0, 1, 63, 64, 100, 255, 256, 300, 511, 512, 513, N - 1};
    static const double most[N_TYPES][2] = {
        [TERN_KV_F32] = {2e-5, 3e-6}, [TERN_KV_F16] = {5e-3, 5e-4}, [TERN_KV_Q8] = {8e-2, 1e-2}};
    for (size_t i = 0; i < N_SHAPES; i++) {
        sequence s = new_sequence(shapes[i][0], shapes[i][1], shapes[i][2], i);
        for (int type = 0; type < N_TYPES; type++) {
            run(&s, NULL, best(), 2, (tern_kv_type)type, 64, s.out);
            double largest = 0, mean = 0;
            for (size_t p = 0; p < sizeof positions / sizeof *positions; p++)
                compare_row(&s, positions[p], &largest, &mean);
            print_message("%u heads of %u on %u, kv type %d: largest difference %.2g, mean %.2g\n", shapes[i][0],
                          shapes[i][2], shapes[i][1], type, largest, mean);
            assert_true(largest <= most[type][0] && mean <= most[type][1]);
        }
        free_sequence(&s);
    }
}

/* ---- bit identity ---- */

static void must_equal(const char *what, const sequence *s, const float *out, int type) {
    size_t hidden = s->dims.hidden_size;
    for (size_t t = 0; t < N; t++)
        if (memcmp(out + t * hidden, s->out + t * hidden, hidden * sizeof *out))
            fail_msg("%s, %u heads on %u, kv type %d: position %zu has other bits", what, s->dims.n_heads,
                     s->dims.n_kv_heads, type, t);
}

static void check_bits(sequence *s, const sequence *other, tern_kv_type type) {
    static const uint32_t batches[] = {1, 2, 3, 8, 9, 31, 100, N};
    static const int threads[] = {1, 3, 7};
    float *out = floats((size_t)N * s->dims.hidden_size);
    run(s, NULL, best(), 1, type, 64, s->out);
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        run(s, NULL, best(), 2, type, batches[i], out);
        must_equal("batches", s, out, (int)type);
    }
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        run(s, NULL, best(), threads[i], type, 5, out);
        must_equal("threads, few tokens", s, out, (int)type);
        run(s, NULL, best(), threads[i], type, 70, out);
        must_equal("threads, many tokens", s, out, (int)type);
    }
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++)
        if (((*rung)->features & ~tern_cpu_features()) == 0) {
            run(s, NULL, *rung, 2, type, 90, out);
            must_equal((*rung)->name, s, out, (int)type);
        }
    run(s, other, best(), 2, type, 3, out);
    must_equal("beside another sequence, few tokens", s, out, (int)type);
    run(s, other, best(), 2, type, 50, out);
    must_equal("beside another sequence, many tokens", s, out, (int)type);
    free(out);
}

static void test_bits(void **state) {
    (void)state;
    static const uint32_t shapes[4][3] = {{8, 2, 16}, {6, 2, 20}, {3, 3, 6}, {40, 1, 4}};
    for (size_t i = 0; i < N_SHAPES; i++) {
        sequence s = new_sequence(shapes[i][0], shapes[i][1], shapes[i][2], i);
        sequence other = new_sequence(shapes[i][0], shapes[i][1], shapes[i][2], 100 + i);
        for (int type = 0; type < N_TYPES; type++)
            check_bits(&s, &other, (tern_kv_type)type);
        free_sequence(&s);
        free_sequence(&other);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_double),
        cmocka_unit_test(test_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
