/* Every kernel of every rung that this CPU has, against the reference, bit for bit. TERN_CPU does not matter here. */
#include "kernels/check.h"

#include "base/cpu.h"
#include "kernels/head_rows.h"

static const tern_kernels *ref;

static const size_t lengths[] = {
    1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19,  20,  21,  22,  23,   24,   25,  26, 27,
    28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46,  47,  48,  49,  50,   51,   52,  53, 54,
    55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 79, 80, 127, 128, 255, 640, 1001, 2560, 6912};

#define FOR_LENGTHS(n, k)                                                                                              \
    for (size_t i_ = 0; i_ < COUNT(lengths); i_++)                                                                     \
        for (size_t n = lengths[i_], k = 0; k < N_KINDS; k++)

/* ---- BitLinear ---- */

static void quantize_once(const tern_kernels *rung, const float *x, size_t n, size_t n_pad) {
    output q = output_new(n_pad);
    float scale_ref, scale;
    int32_t sum_ref, sum;
    ref->quantize_i8(x, n, n_pad, q.ref, &scale_ref, &sum_ref);
    rung->quantize_i8(x, n, n_pad, q.out, &scale, &sum);
    assert_true(same_float(scale_ref, scale));
    assert_int_equal(sum_ref, sum);
    CHECK_BYTES(q, "%s quantize_i8 n=%zu n_pad=%zu", rung->name, n, n_pad);
}

static void check_quantize(const tern_kernels *rung) {
    FOR_LENGTHS(n, k) {
        float *x = random_floats(0, n, (kind)k);
        quantize_once(rung, x, n, tern_q_pad(n));
        quantize_once(rung, x, n, n);
        quantize_once(rung, x, n, n + 37);
    }
    for (size_t n = 1; n < 600; n += 7) { /* a maximum of 127 makes s = 1: every other value is a tie */
        float *x = random_floats(0, n, PLAIN);
        for (size_t i = 0; i < n; i++)
            x[i] = (float)random_below(508) / 2.0f - 127.0f;
        x[random_below(n)] = 127.0f;
        quantize_once(rung, x, n, tern_q_pad(n));
    }
}

/* The reference's kernels for a packing. */
static const tern_ternary *ref_ternary(const tern_packing *packing) {
    for (const tern_ternary *const *ternary = ref->ternary; *ternary; ternary++)
        if ((*ternary)->packing == packing)
            return *ternary;
    fail_msg("the reference has no kernels for the packing %s", packing->name);
    return NULL;
}

static void matmul_once(const tern_kernels *rung, const tern_ternary *ternary, const uint8_t *w, size_t k_pad,
                        size_t groups, const int8_t *q, size_t ld_q, size_t tokens) {
    int32_t q_sum[40] = {0};
    for (size_t t = 0; t < tokens; t++)
        for (size_t i = 0; i < k_pad; i++)
            q_sum[t] += q[t * ld_q + i];
    size_t ld = 16 * groups + 5;
    output acc = output_new(tokens * ld * sizeof(int32_t));
    ref_ternary(ternary->packing)->matmul(w, k_pad, groups, q, ld_q, q_sum, tokens, acc.ref, ld);
    ternary->matmul(w, k_pad, groups, q, ld_q, q_sum, tokens, acc.out, ld);
    CHECK_BYTES(acc, "%s matmul_i8 %s k_pad=%zu groups=%zu tokens=%zu", rung->name, ternary->packing->name, k_pad,
                groups, tokens);
}

/* Trit of a row and a column. */
typedef int trit_pattern(size_t row, size_t column);
static int all_plus(size_t row, size_t column) { return (void)row, (void)column, 1; }
static int all_minus(size_t row, size_t column) { return (void)row, (void)column, -1; }
static int all_zero(size_t row, size_t column) { return (void)row, (void)column, 0; }
static int plus_minus(size_t row, size_t column) { return (void)row, column % 2 ? -1 : 1; }
static int minus_plus(size_t row, size_t column) { return (void)row, column % 2 ? 1 : -1; }
static int by_four(size_t row, size_t column) { return (void)row, column / 4 % 2 ? -1 : 1; }
static int by_row(size_t row, size_t column) { return (void)column, row % 2 ? -1 : 1; }
static int random_trit(size_t row, size_t column) { return (void)row, (void)column, (int)random_below(3) - 1; }

/* Packed groups whose trits follow the pattern, in columns 0 .. k_pad. */
static uint8_t *packed_groups(int slot, const tern_packing *packing, size_t k_pad, size_t groups,
                              trit_pattern *pattern) {
    size_t bytes = tern_group_bytes(packing, k_pad);
    uint8_t *w = input(slot, groups * bytes);
    int8_t *trits = malloc(TERN_GROUP_ROWS * k_pad);
    assert_non_null(trits);
    for (size_t g = 0; g < groups; g++) {
        for (size_t r = 0; r < TERN_GROUP_ROWS; r++)
            for (size_t i = 0; i < k_pad; i++)
                trits[r * k_pad + i] = (int8_t)pattern(r, i);
        packing->pack_group(w + g * bytes, trits, k_pad, TERN_GROUP_ROWS, k_pad);
    }
    free(trits);
    return w;
}

static int8_t *random_activations(int slot, size_t n) {
    int8_t *q = input(slot, n);
    for (size_t i = 0; i < n; i++)
        q[i] = (int8_t)((int)random_below(255) - 127);
    return q;
}

static void matmul_random(const tern_kernels *rung, const tern_ternary *ternary, size_t k_pad, size_t groups,
                          size_t tokens) {
    size_t ld_q = k_pad + random_below(3);
    uint8_t *w = packed_groups(0, ternary->packing, k_pad, groups, random_trit);
    int8_t *q = random_activations(1, (tokens - 1) * ld_q + k_pad);
    matmul_once(rung, ternary, w, k_pad, groups, q, ld_q, tokens);
    /* t5r16 says what codes that pack_group never writes mean: a damaged file gives the same nonsense everywhere */
    if (ternary->packing == &tern_packing_t5r16) {
        for (size_t i = 0; i < groups * tern_group_bytes(ternary->packing, k_pad); i++)
            w[i] = (uint8_t)random_below(256);
        matmul_once(rung, ternary, w, k_pad, groups, q, ld_q, tokens);
    }
}

#define FOR_TERNARY(rung, ternary)                                                                                     \
    for (const tern_ternary *const *p_ = (rung)->ternary, *ternary; (ternary = *p_) != NULL; p_++)

static void check_matmul(const tern_kernels *rung) {
    static const size_t some_tokens[] = {1, 2, 7, 12, 13}, some_blocks[] = {1, 3, 17};
    FOR_TERNARY(rung, ternary) {
        size_t cols = ternary->packing->cols;
        for (size_t tokens = 1; tokens <= 30; tokens++)
            for (size_t groups = 1; groups <= 9; groups++)
                matmul_random(rung, ternary, some_blocks[(tokens + groups) % COUNT(some_blocks)] * cols, groups,
                              tokens);
        for (size_t blocks = 1; blocks <= 432; blocks += blocks < 40 ? 1 : 97)
            for (size_t i = 0; i < COUNT(some_tokens); i++)
                matmul_random(rung, ternary, blocks * cols, 1 + (blocks + i) % 5, some_tokens[i]);
        matmul_random(rung, ternary, 6912, 2, 13);
    }
}

/* Sums that leave 16 bits as fast as possible, and the largest 32-bit ones: all weights alike times all activations
 * alike, alternating signs, and random weights with activations at the ends of their range. */
static void check_matmul_extremes(const tern_kernels *rung) {
    static trit_pattern *const patterns[] = {all_plus,   all_minus, all_zero, plus_minus,
                                             minus_plus, by_four,   by_row,   random_trit};
    static const size_t sizes[] = {256, 272, 6912, 28672};
    static const size_t some_tokens[] = {1, 2, 3, 13};
    enum { GROUPS = 2 };
    FOR_TERNARY(rung, ternary) {
        for (size_t s = 0; s < COUNT(sizes); s++) {
            size_t k = tern_k_pad(ternary->packing, sizes[s]);
            for (size_t p = 0; p < COUNT(patterns); p++) {
                uint8_t *w = packed_groups(0, ternary->packing, k, GROUPS, patterns[p]);
                for (int signs = 0; signs < 4; signs++) {
                    int8_t *q = input(1, 13 * k);
                    for (size_t i = 0; i < 13 * k; i++)
                        q[i] = signs == 0   ? 127
                               : signs == 1 ? -127
                               : signs == 2 ? (i % 2 ? 127 : -127)
                                            : (random_below(2) ? 127 : -127);
                    size_t tokens = some_tokens[(p + (size_t)signs) % COUNT(some_tokens)];
                    matmul_once(rung, ternary, w, k, GROUPS, q, k, tokens);
                    matmul_once(rung, ternary, w, k, GROUPS, q, k, 1);
                }
            }
        }
    }
}

static void check_dequantize(const tern_kernels *rung) {
    FOR_LENGTHS(n, k) {
        int32_t *acc = input(0, n * sizeof *acc);
        for (size_t i = 0; i < n; i++)
            acc[i] = k == PLAIN ? (int32_t)random_below(1800000) - 900000 : (int32_t)tern_rng_u64(&random_state);
        float s = k == PLAIN ? 23.7f : fabsf(random_float((kind)k)), scale = random_float((kind)k);
        output y = output_new(n * sizeof(float));
        ref->dequantize(acc, n, s, scale, y.ref);
        rung->dequantize(acc, n, s, scale, y.out);
        CHECK_FLOATS(y, "%s dequantize n=%zu", rung->name, n);
    }
}

static void check_scaled_rows(const tern_kernels *rung) {
    FOR_LENGTHS(n, k) {
        int32_t *acc = input(0, n * sizeof *acc);
        float *scales = input(1, n * sizeof *scales), s = k == PLAIN ? 23.7f : fabsf(random_float((kind)k));
        output y = output_new(n * sizeof(float)), sum = output_new(n * sizeof(float));
        for (size_t i = 0; i < n; i++) {
            acc[i] = k == PLAIN ? (int32_t)random_below(1800000) - 900000 : (int32_t)tern_rng_u64(&random_state);
            scales[i] = random_float((kind)k);
            ((float *)sum.ref)[i] = ((float *)sum.out)[i] = random_float((kind)k);
        }
        ref->dequantize_rows(acc, n, s, scales, y.ref);
        rung->dequantize_rows(acc, n, s, scales, y.out);
        CHECK_FLOATS(y, "%s dequantize_rows n=%zu", rung->name, n);
        ref->add_scaled(acc, n, scales, sum.ref);
        rung->add_scaled(acc, n, scales, sum.out);
        CHECK_FLOATS(sum, "%s add_scaled n=%zu", rung->name, n);
    }
}

/* ---- element by element ---- */

static void check_rms_norm(const tern_kernels *rung) {
    FOR_LENGTHS(n, k) {
        float *x = random_floats(0, n, (kind)k), *gain = random_floats(1, n, k == WILD ? WILD : PLAIN);
        output out = output_new(n * sizeof(float));
        ref->rms_norm(x, gain, n, 1e-5f, out.ref);
        rung->rms_norm(x, gain, n, 1e-5f, out.out);
        CHECK_FLOATS(out, "%s rms_norm n=%zu kind=%zu", rung->name, n, k);
        output in_place = output_copy(x, n * sizeof(float));
        ref->rms_norm(in_place.ref, gain, n, 1e-5f, in_place.ref);
        rung->rms_norm(in_place.out, gain, n, 1e-5f, in_place.out);
        CHECK_FLOATS(in_place, "%s rms_norm in place n=%zu kind=%zu", rung->name, n, k);
    }
}

static void check_elementwise(const tern_kernels *rung) {
    FOR_LENGTHS(n, k) {
        float *x = random_floats(0, n, (kind)k), *y = random_floats(1, n, (kind)k), d = random_float((kind)k);
        output sum = output_copy(x, n * sizeof(float));
        ref->add(sum.ref, y, n);
        rung->add(sum.out, y, n);
        CHECK_FLOATS(sum, "%s add n=%zu", rung->name, n);

        output gated = output_new(n * sizeof(float));
        ref->relu2_mul(x, y, n, gated.ref);
        rung->relu2_mul(x, y, n, gated.out);
        CHECK_FLOATS(gated, "%s relu2_mul n=%zu", rung->name, n);
        output in_place = output_copy(x, n * sizeof(float));
        ref->relu2_mul(in_place.ref, y, n, in_place.ref);
        rung->relu2_mul(in_place.out, y, n, in_place.out);
        CHECK_FLOATS(in_place, "%s relu2_mul in place n=%zu", rung->name, n);

        gated = output_new(n * sizeof(float));
        ref->silu_mul(x, y, n, gated.ref);
        rung->silu_mul(x, y, n, gated.out);
        CHECK_FLOATS(gated, "%s silu_mul n=%zu", rung->name, n);
        in_place = output_copy(x, n * sizeof(float));
        ref->silu_mul(in_place.ref, y, n, in_place.ref);
        rung->silu_mul(in_place.out, y, n, in_place.out);
        CHECK_FLOATS(in_place, "%s silu_mul in place n=%zu", rung->name, n);

        output divided = output_copy(x, n * sizeof(float));
        ref->divide(divided.ref, n, d);
        rung->divide(divided.out, n, d);
        CHECK_FLOATS(divided, "%s divide n=%zu", rung->name, n);
    }
}

static void check_f32_to_f16(const tern_kernels *rung) {
    FOR_LENGTHS(n, k) {
        float *x = random_floats(0, n, (kind)k);
        for (size_t i = 0; i < n; i++) { /* most within the range of f16, many exact ties; NaN is no matter here */
            if (random_below(2))
                x[i] = tern_f32_from_bits((uint32_t)(0x33000000 + random_below(0x15000000)) & 0xfffff000u);
            if (isnan(x[i]))
                x[i] = -INFINITY;
        }
        output out = output_new(n * sizeof(uint16_t));
        ref->f32_to_f16(x, n, out.ref);
        rung->f32_to_f16(x, n, out.out);
        CHECK_BYTES(out, "%s f32_to_f16 n=%zu", rung->name, n);
    }
    float *nans = input(0, 16 * sizeof(float));
    for (size_t i = 0; i < 16; i++)
        nans[i] = NAN;
    uint16_t halves[16];
    rung->f32_to_f16(nans, 16, halves);
    for (size_t i = 0; i < 16; i++)
        assert_true(isnan(tern_f16_to_f32(halves[i])));
}

static const size_t head_dims[] = {2,  4,  6,  8,  14, 16, 18, 22, 30, 32,  34,  36,  40,
                                   46, 48, 50, 62, 64, 66, 72, 80, 96, 100, 112, 128, 130};

static void check_rope(const tern_kernels *rung) {
    for (size_t i = 0; i < COUNT(head_dims); i++)
        for (size_t n_heads = 1; n_heads <= 5; n_heads++)
            for (size_t k = 0; k < N_KINDS; k++) {
                size_t dim = head_dims[i];
                float *x = random_floats(0, n_heads * dim, (kind)k);
                float *cos = random_floats(1, dim / 2, PLAIN), *sin = random_floats(2, dim / 2, PLAIN);
                output out = output_copy(x, n_heads * dim * sizeof(float));
                ref->rope(out.ref, n_heads, dim, cos, sin);
                rung->rope(out.out, n_heads, dim, cos, sin);
                CHECK_FLOATS(out, "%s rope heads=%zu dim=%zu", rung->name, n_heads, dim);
            }
}

/* ---- LM head ---- */

static void head_once(const tern_kernels *rung, tern_head_type type, size_t k, size_t n_rows, size_t n_tokens,
                      kind values) {
    size_t row_bytes = head_row_bytes(type, k) + 3 * (n_rows % 2), ld = n_rows + n_tokens % 3; /* odd: rows unaligned */
    uint8_t *rows = input(0, (n_rows - 1) * row_bytes + head_row_bytes(type, k));
    for (size_t r = 0; r < n_rows; r++)
        random_head_row(type, rows + r * row_bytes, k, values);
    float *x = random_floats(1, n_tokens * k, values);
    output y = output_new(n_tokens * ld * sizeof(float));
    ref->head[type](rows, row_bytes, n_rows, x, k, n_tokens, y.ref, ld);
    rung->head[type](rows, row_bytes, n_rows, x, k, n_tokens, y.out, ld);
    CHECK_FLOATS(y, "%s head %s k=%zu rows=%zu tokens=%zu", rung->name, head_names[type], k, n_rows, n_tokens);
}

static void check_head(const tern_kernels *rung) {
    static const size_t some_tokens[] = {1, 2, 3, 4, 5, 8, 15, 16, 17, 33};
    for (int type = 0; type < TERN_N_HEAD_TYPES; type++) {
        size_t block = head_blocks[type].values;
        for (size_t i = 0; i < COUNT(lengths) && lengths[i] * block < 3000; i++)
            head_once(rung, (tern_head_type)type, lengths[i] * block, 1 + i % 9, 1 + i % 6, (kind)(i % N_KINDS));
        for (size_t i = 0; i < COUNT(some_tokens); i++)
            for (size_t n_rows = 1; n_rows <= 9; n_rows++)
                head_once(rung, (tern_head_type)type, block == 1 ? 70 + n_rows : block * (i % 3 + 1), n_rows,
                          some_tokens[i], PLAIN);
        head_once(rung, (tern_head_type)type, 2560, 13, 3, PLAIN);
    }
}

/* ---- running ---- */

static void for_rungs(void (*check)(const tern_kernels *rung)) {
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++)
        if (((*rung)->features & ~tern_cpu_features()) == 0)
            check(*rung);
}

#define TEST(name)                                                                                                     \
    static void test_##name(void **state) {                                                                            \
        (void)state;                                                                                                   \
        for_rungs(check_##name);                                                                                       \
    }
TEST(quantize)
TEST(matmul)
TEST(matmul_extremes)
TEST(dequantize)
TEST(scaled_rows)
TEST(rms_norm)
TEST(elementwise)
TEST(f32_to_f16)
TEST(rope)
TEST(head)

int main(void) {
    ref = tern_kernels_all()[0];
    tern_rng_seed(&random_state, 2024);
    printf("rungs checked:");
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++)
        printf(" %s%s", (*rung)->name,
               ((*rung)->features & ~tern_cpu_features()) == 0 ? "" : " (skipped: not on this CPU)");
    printf("\n");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantize),    cmocka_unit_test(test_matmul),      cmocka_unit_test(test_matmul_extremes),
        cmocka_unit_test(test_dequantize),  cmocka_unit_test(test_scaled_rows), cmocka_unit_test(test_rms_norm),
        cmocka_unit_test(test_elementwise), cmocka_unit_test(test_f32_to_f16),  cmocka_unit_test(test_rope),
        cmocka_unit_test(test_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
