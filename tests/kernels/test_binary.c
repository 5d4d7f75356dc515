/* Binary weights: the reference against plain sums over the signs, and every rung of this CPU against the reference,
 * bit for bit, from random shapes to the largest sums. */
#include "kernels/check.h"

#include "base/cpu.h"
#include "kernels/binary.h"

static const tern_kernels *ref;

typedef int sign_pattern(size_t row, size_t column);
static int all_plus(size_t row, size_t column) { return (void)row, (void)column, 1; }
static int all_minus(size_t row, size_t column) { return (void)row, (void)column, -1; }
static int by_column(size_t row, size_t column) { return (void)row, column % 2 ? -1 : 1; }
static int by_four(size_t row, size_t column) { return (void)row, column / 4 % 2 ? -1 : 1; }
static int by_row(size_t row, size_t column) { return (void)column, row % 2 ? -1 : 1; }
static int at_random(size_t row, size_t column) { return (void)row, (void)column, random_below(2) ? -1 : 1; }
static sign_pattern *const patterns[] = {at_random, all_plus, all_minus, by_column, by_four, by_row};

/* Weights [rows][k], and the same packed. */
typedef struct matrix {
    size_t rows, k, k_pad, groups;
    int8_t *trits;
    uint8_t *packed;
} matrix;

static matrix matrix_new(size_t rows, size_t k, sign_pattern *pattern) {
    matrix m = {rows, k, tern_k_pad(&tern_packing_b1r16, k), tern_n_groups(rows), NULL, NULL};
    size_t bytes = tern_group_bytes(&tern_packing_b1r16, k);
    m.trits = input(0, rows * k);
    m.packed = input(1, m.groups * bytes);
    for (size_t i = 0; i < rows * k; i++)
        m.trits[i] = (int8_t)pattern(i / k, i % k);
    for (size_t g = 0; g < m.groups; g++)
        tern_packing_b1r16.pack_group(m.packed + g * bytes, m.trits + g * 16 * k, k,
                                      rows - g * 16 < 16 ? rows - g * 16 : 16, k);
    return m;
}

/* Activations [tokens][ld], zeros in columns k .. k_pad. `extreme`: 127 and -127 only, of the one sign, the other, or
 * either. */
static int8_t *activations(const matrix *m, size_t ld, size_t tokens, int extreme, int32_t *q_sum) {
    int8_t *q = input(2, (tokens - 1) * ld + m->k_pad);
    for (size_t t = 0; t < tokens; t++) {
        q_sum[t] = 0;
        for (size_t i = 0; i < m->k_pad; i++) {
            int value = extreme == 0   ? (int)random_below(255) - 127
                        : extreme == 1 ? 127
                        : extreme == 2 ? -127
                                       : (random_below(2) ? 127 : -127);
            q[t * ld + i] = (int8_t)(i < m->k ? value : 0);
            q_sum[t] += q[t * ld + i];
        }
    }
    return q;
}

/* Signs [tokens][ld] of random values [tokens][k], among them zeros of both signs. */
static uint32_t *random_signs(const matrix *m, size_t ld, size_t tokens, int8_t *plain) {
    uint32_t *signs = input(3, ((tokens - 1) * ld + tern_sign_words(m->k)) * sizeof *signs);
    for (size_t t = 0; t < tokens; t++) {
        float *x = input(4, m->k * sizeof *x);
        for (size_t i = 0; i < m->k; i++) {
            x[i] = random_below(9) ? random_float(PLAIN) : random_below(2) ? 0.0f : -0.0f;
            plain[t * m->k + i] = x[i] < 0 ? -1 : 1;
        }
        tern_pack_signs(x, m->k, signs + t * ld);
    }
    return signs;
}

/* ---- the reference itself ---- */

static void reference_once(size_t rows, size_t k, size_t tokens) {
    matrix m = matrix_new(rows, k, at_random);
    int32_t q_sum[8], acc[8 * 64];
    size_t ld = 16 * m.groups, ld_q = m.k_pad + 3, ld_signs = tern_sign_words(k) + 1;
    int8_t *q = activations(&m, ld_q, tokens, 0, q_sum), *plain = malloc(tokens * k);
    assert_non_null(plain);
    ref->binary->int8.matmul(m.packed, m.k_pad, m.groups, q, ld_q, q_sum, tokens, acc, ld);
    for (size_t i = 0; i < tokens * rows; i++) {
        int64_t sum = 0;
        for (size_t j = 0; j < k; j++)
            sum += m.trits[i % rows * k + j] * q[i / rows * ld_q + j];
        assert_int_equal(acc[i / rows * ld + i % rows], sum);
    }
    uint32_t *signs = random_signs(&m, ld_signs, tokens, plain);
    ref->binary->matmul_signs(m.packed, k, m.groups, signs, ld_signs, tokens, acc, ld);
    for (size_t i = 0; i < tokens * rows; i++) {
        int64_t sum = 0;
        for (size_t j = 0; j < k; j++)
            sum += m.trits[i % rows * k + j] * plain[i / rows * k + j];
        assert_int_equal(acc[i / rows * ld + i % rows], sum);
    }
    free(plain);
}

static void test_reference(void **state) {
    (void)state;
    for (size_t rows = 1; rows <= 50; rows += 7)
        for (size_t k = 1; k <= 300; k += 13)
            reference_once(rows, k, 1 + (rows + k) % 4);
}

/* What stands for NaN, and for zeros, is part of the contract. */
static void test_signs(void **state) {
    (void)state;
    const float x[] = {1.5f, -1.5f, 0.0f, -0.0f, NAN, -INFINITY, INFINITY, -1e-45f};
    uint32_t word;
    tern_pack_signs(x, COUNT(x), &word);
    /* value i = 4f + j is bit 8j + f */
    const uint32_t set = 1u << 0 | 1u << 16 | 1u << 24 | 1u << 1 | 1u << 17;
    assert_int_equal(word, set);
}

/* ---- every rung ---- */

static void int8_once(const tern_kernels *rung, const matrix *m, size_t tokens, int extreme) {
    int32_t q_sum[300];
    size_t ld = 16 * m->groups + 5, ld_q = m->k_pad + random_below(3);
    int8_t *q = activations(m, ld_q, tokens, extreme, q_sum);
    output acc = output_new(tokens * ld * sizeof(int32_t));
    ref->binary->int8.matmul(m->packed, m->k_pad, m->groups, q, ld_q, q_sum, tokens, acc.ref, ld);
    rung->binary->int8.matmul(m->packed, m->k_pad, m->groups, q, ld_q, q_sum, tokens, acc.out, ld);
    /* rows beyond the matrix are nobody's: the contract lets them be nonsense, if the same */
    CHECK_BYTES(acc, "%s matmul_i8 b1 rows=%zu k=%zu tokens=%zu", rung->name, m->rows, m->k, tokens);
}

static void signs_once(const tern_kernels *rung, const matrix *m, size_t tokens) {
    size_t ld = 16 * m->groups + 3, ld_signs = tern_sign_words(m->k) + random_below(3);
    int8_t *plain = malloc(tokens * m->k);
    assert_non_null(plain);
    uint32_t *signs = random_signs(m, ld_signs, tokens, plain);
    free(plain);
    output acc = output_new(tokens * ld * sizeof(int32_t));
    ref->binary->matmul_signs(m->packed, m->k, m->groups, signs, ld_signs, tokens, acc.ref, ld);
    rung->binary->matmul_signs(m->packed, m->k, m->groups, signs, ld_signs, tokens, acc.out, ld);
    CHECK_BYTES(acc, "%s matmul_signs b1 rows=%zu k=%zu tokens=%zu", rung->name, m->rows, m->k, tokens);
}

static void check_shapes(const tern_kernels *rung) {
    assert_non_null(rung->binary);
    assert_ptr_equal(rung->binary->int8.packing, &tern_packing_b1r16);
    for (size_t i = 0; i < 300; i++) {
        matrix m = matrix_new(1 + random_below(90), 1 + random_below(i % 10 ? 400 : 3000), at_random);
        size_t tokens = i % 2 ? 1 : 1 + random_below(20);
        int8_once(rung, &m, tokens, 0);
        signs_once(rung, &m, tokens);
    }
}

/* Pieces of many columns and many tokens, the largest sums, and the spans in which narrow sums are kept. */
static void check_extremes(const tern_kernels *rung) {
    static const size_t sizes[] = {255, 256, 257, 512, 992, 1000, 2048, 2049, 4128, 6912};
    for (size_t s = 0; s < COUNT(sizes); s++)
        for (size_t p = 0; p < COUNT(patterns); p++) {
            matrix m = matrix_new(17, sizes[s], patterns[p]);
            for (int extreme = 1; extreme < 4; extreme++) {
                int8_once(rung, &m, 1, extreme);
                int8_once(rung, &m, 2 + (s + p) % 5, extreme);
            }
            signs_once(rung, &m, 1 + p);
        }
    matrix many = matrix_new(40, 2100, at_random);
    int8_once(rung, &many, 131, 3);
    matrix wide = matrix_new(16, 28672, all_plus);
    int8_once(rung, &wide, 1, 1);
    int8_once(rung, &wide, 3, 2);
}

static void for_rungs(void (*check)(const tern_kernels *rung)) {
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++)
        if (((*rung)->features & ~tern_cpu_features()) == 0)
            check(*rung);
}

static void test_shapes(void **state) {
    (void)state;
    for_rungs(check_shapes);
}
static void test_extremes(void **state) {
    (void)state;
    for_rungs(check_extremes);
}

/* The limit of the contract, for the sums of rungs that weigh their bits: one row of TERN_BINARY_MAX ones. */
static void check_longest(const tern_kernels *rung) {
    size_t bytes = tern_group_bytes(&tern_packing_b1r16, TERN_BINARY_MAX);
    uint8_t *w = input(0, bytes);
    int8_t *q = input(1, TERN_BINARY_MAX);
    memset(w, 255, bytes);
    memset(q, -127, TERN_BINARY_MAX);
    int32_t q_sum = -127 * TERN_BINARY_MAX, acc[16];
    rung->binary->int8.matmul(w, TERN_BINARY_MAX, 1, q, TERN_BINARY_MAX, &q_sum, 1, acc, 16);
    for (int r = 0; r < 16; r++)
        assert_int_equal(acc[r], q_sum);
}
static void test_longest(void **state) {
    (void)state;
    for_rungs(check_longest);
}

int main(void) {
    ref = tern_kernels_all()[0];
    tern_rng_seed(&random_state, 2310);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference), cmocka_unit_test(test_signs),   cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_extremes),  cmocka_unit_test(test_longest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
