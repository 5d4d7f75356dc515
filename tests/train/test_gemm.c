/* Every set of float products that this CPU has, against double precision within its bound. */
#include "ops_check.h"
#include "train/gemm.h"

/* A factor of a product, and its values [n, k] in double. */
typedef struct factor {
    tern_operand operand;
    double *values;
} factor;

static factor floats(size_t n, size_t k, bool k_major, bool divided) {
    size_t ld = (k_major ? n : k) + 3; /* rows may lie apart */
    factor f = {{.k_major = k_major, .ld = ld}, check_alloc(n * k * sizeof(double))};
    float *data = normals((k_major ? k : n) * ld, 1.0), *divide = normals(k, 1.0);
    for (size_t j = 0; j < k; j++)
        divide[j] = 0.5f + divide[j] * divide[j];
    f.operand.data = data;
    f.operand.divide = divided ? divide : NULL;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < k; j++)
            f.values[i * k + j] = (double)data[k_major ? j * ld + i : i * ld + j] / (divided ? (double)divide[j] : 1.0);
    return f;
}

static factor bytes(size_t n, size_t k, bool k_major) {
    size_t ld = (k_major ? n : k) + 5, size = (k_major ? k : n) * ld;
    factor f = {{.type = TERN_OPERAND_I8, .k_major = k_major, .ld = ld}, check_alloc(n * k * sizeof(double))};
    int8_t *data = check_alloc(size);
    for (size_t i = 0; i < size; i++)
        data[i] = (int8_t)(tern_rng_u64(&check_rng) % 255 - 127);
    f.operand.data = data;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < k; j++)
            f.values[i * k + j] = data[k_major ? j * ld + i : i * ld + j];
    return f;
}

/* A matrix [k, n]: the summed index are its rows. */
static factor trits(size_t n, size_t k) {
    const tern_packing *packing = &tern_packing_t2r16;
    factor f = {{.type = TERN_OPERAND_TRITS, .k_major = true, .ld = n}, check_alloc(n * k * sizeof(double))};
    uint8_t *packed = check_alloc(tern_n_groups(k) * tern_group_bytes(packing, n));
    int8_t *rows = check_alloc(k * n);
    for (size_t i = 0; i < k * n; i++)
        rows[i] = (int8_t)(tern_rng_u64(&check_rng) % 3 - 1);
    for (size_t row = 0; row < k; row += TERN_GROUP_ROWS)
        packing->pack_group(packed + row / TERN_GROUP_ROWS * tern_group_bytes(packing, n), rows + row * n, n,
                            k - row < TERN_GROUP_ROWS ? k - row : TERN_GROUP_ROWS, n);
    f.operand.data = packed;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < k; j++)
            f.values[i * k + j] = rows[j * n + i];
    return f;
}

static int bits_of(const tern_gemm *gemm) { return gemm->unit == 2 ? 8 : 24; }

/* An element is off by at most the operands' rounding (each a relative 2^-bits) and that of k additions, of the sum of
 * the products' sizes. int8 and ternary values do not round. */
static void check_product(const tern_gemm *gemm, tern_pool *pool, const tern_product *p, const factor *a,
                          const factor *b, const float *before, void *scratch) {
    double rounding = (a->operand.type == TERN_OPERAND_F32) + (b->operand.type == TERN_OPERAND_F32);
    double bound = rounding * 1.01 * ldexp(1, -bits_of(gemm)) + (2.0 * (double)p->k + 4) * ldexp(1, -24);
    tern_gemm_run(gemm, pool, p, scratch);
    for (size_t i = 0; i < p->m; i++) {
        for (size_t j = 0; j < p->n; j++) {
            double sum = 0, size = 0, old = p->add ? (double)before[i * p->ldc + j] : 0;
            for (size_t k = 0; k < p->k; k++) {
                double term = a->values[i * p->k + k] * b->values[j * p->k + k];
                sum += term;
                size += fabs(term);
            }
            double want = old + (double)p->alpha * sum, got = (double)p->c[i * p->ldc + j];
            if (!(fabs(got - want) <= bound * fabs((double)p->alpha) * size + 2e-7 * (fabs(old) + fabs(want)) + 1e-30))
                fail_msg("%s: %zux%zux%zu: element %zu, %zu is %.9g, should be %.9g within %.2g", gemm->name, p->m,
                         p->n, p->k, i, j, got, want, bound * size);
        }
        for (size_t j = p->n; j < p->ldc; j++) /* what lies between the rows stays */
            check_same_bits("behind a row", &p->c[i * p->ldc + j], &before[i * p->ldc + j], 1);
    }
}

static void check_shape(size_t m, size_t n, size_t k) {
    const factor as[] = {floats(m, k, false, false), floats(m, k, true, false), floats(m, k, true, true),
                         bytes(m, k, false), bytes(m, k, true)};
    const factor bs[] = {floats(n, k, false, false), floats(n, k, true, false), floats(n, k, true, true),
                         bytes(n, k, true), trits(n, k)};
    size_t ldc = n + 7;
    float *before = normals(m * ldc, 1.0), *first = zeros(m * ldc), *c = zeros(m * ldc);
    void *scratch = check_alloc(tern_gemm_scratch(m > n ? m : n, 3));
    for (const tern_gemm *const *gemm = tern_gemm_all(); *gemm; gemm++) {
        if ((*gemm)->features & ~tern_cpu_features())
            continue;
        tern_pool *pools[2];
        assert_int_equal(tern_pool_create(1, &pools[0], NULL), TERN_OK);
        assert_int_equal(tern_pool_create(3, &pools[1], NULL), TERN_OK);
        for (size_t i = 0; i < COUNT(as) * COUNT(bs); i++) {
            const factor *a = &as[i % COUNT(as)], *b = &bs[i / COUNT(as)];
            tern_product p = {m, n, k, a->operand, b->operand, i % 2 ? 1.0f : -0.37f, i % 3 == 0, c, ldc};
            for (size_t t = 0; t < 2; t++) {
                memcpy(c, before, m * ldc * sizeof *c);
                check_product(*gemm, pools[t], &p, a, b, before, scratch);
                if (t)
                    check_same_bits("by threads", c, first, m * ldc);
                memcpy(first, c, m * ldc * sizeof *c);
            }
        }
        tern_pool_free(pools[0]);
        tern_pool_free(pools[1]);
    }
}

static void all_kinds_of_operands(void **state) {
    (void)state;
    check_shape(1, 1, 1);
    check_shape(7, 65, 3);
    check_shape(13, 33, 50);
    check_shape(101, 70, 49);
}

/* More than one stretch of k. */
static void long_sums(void **state) {
    (void)state;
    check_shape(14, 66, TERN_GEMM_KC + 1);
    check_shape(3, 17, 2 * TERN_GEMM_KC + 35);
}

/* More columns, or rows of a k_major A, than are packed at a time. */
static void wide(void **state) {
    (void)state;
    check_shape(2, TERN_GEMM_NC + 5, 5);
    check_shape(TERN_GEMM_SHARED_M + 5, 2, 5);
}

static void choice(void **state) {
    (void)state;
    assert_string_equal(tern_gemm_choose(0)->name, "ref");
    for (const tern_gemm *const *gemm = tern_gemm_all(); *gemm; gemm++) {
        assert_ptr_equal(tern_gemm_choose((*gemm)->features), *gemm);
        assert_true((*gemm)->exact->unit == 1);
    }
#if defined(__x86_64__)
    const tern_dims dims = {.vocab_size = 16, .n_ctx = 16, .hidden_size = 16, .ffn_size = 16, .head_dim = 16};
    FOR_RUNGS(rung) { /* products use no more than the kernels that were asked for */
        tern_ops ops = ops_open(rung->name, &dims, 16, 1);
        if (!(rung->features & TERN_CPU_AVX512))
            assert_string_equal(ops.gemm->name, rung->features & TERN_CPU_AVX2 ? "avx2" : "ref");
        ops_close(&ops);
    }
#endif
}

/* A sanitizer's allocator ends the program instead of saying no. */
#if defined(__has_feature)
#define SANITIZER __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#else
#define SANITIZER 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || SANITIZER
enum { ASK_SYSTEM = 0 };
#else
enum { ASK_SYSTEM = 1 };
#endif

/* More memory than the system has, or than there are addresses, is an error, not a crash. */
static void too_much_memory(void **state) {
    (void)state;
    const tern_dims dims = {
        .vocab_size = 1 << 20, .n_ctx = 4096, .hidden_size = 1 << 20, .ffn_size = 1 << 20, .head_dim = 128};
    static const size_t tokens[] = {SIZE_MAX, SIZE_MAX / 2, (size_t)1 << 36};
    tern_pool *pool;
    assert_int_equal(tern_pool_create(1, &pool, NULL), TERN_OK);
    for (size_t i = 0; i < COUNT(tokens) - !ASK_SYSTEM; i++) {
        tern_ops ops;
        tern_error error;
        assert_int_equal(tern_ops_create(NULL, &dims, tokens[i], pool, &ops, &error), TERN_ERR_MEMORY);
        assert_non_null(strstr(error.message, "smaller micro batch"));
        assert_null(ops.scratch);
        tern_ops_free(&ops);
    }
    tern_pool_free(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(all_kinds_of_operands, check_free_all),
        cmocka_unit_test_teardown(long_sums, check_free_all),
        cmocka_unit_test_teardown(wide, check_free_all),
        cmocka_unit_test_teardown(choice, check_free_all),
        cmocka_unit_test_teardown(too_much_memory, check_free_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
