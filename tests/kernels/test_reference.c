/* The reference kernels against straightforward code in double precision or on plain trits, so that the oracle of
 * test_kernels.c is not its own judge; the packing; and the ladder. */
#include "kernels/check.h"

#include "base/cpu.h"
#include "kernels/binary.h"
#include "kernels/head_rows.h"

static const tern_kernels *ref;

static int8_t *random_trits(int slot, size_t n) {
    int8_t *trits = input(slot, n);
    for (size_t i = 0; i < n; i++)
        trits[i] = (int8_t)((int)random_below(3) - 1);
    return trits;
}

/* ---- packing ---- */

/* kernels.h, "Packing t2r16" and "Packing t5r16", word by word: adds a trit to zeroed groups. */
static void add_trit_t2(uint8_t *group, size_t row, size_t column, int trit) {
    size_t b = column / 16, f = column % 16 / 4, j = column % 4;
    group[64 * b + 4 * row + j] |= (uint8_t)((trit + 1) << 2 * f);
}

static void add_trit_t5(uint8_t *group, size_t row, size_t column, int trit) {
    static const unsigned weights[] = {1, 3, 9};
    size_t b = column / 12, f = column % 12 / 4, j = column % 4, bit = 5 * (4 * row + j);
    uint8_t *block = group + 40 * b;
    unsigned code = 0;
    for (size_t i = 0; i < 5; i++)
        code |= (unsigned)(block[(bit + i) / 8] >> (bit + i) % 8 & 1) << i;
    code += (unsigned)(trit + 1) * weights[f];
    for (size_t i = 0; i < 5; i++) {
        block[(bit + i) / 8] &= (uint8_t) ~(1u << (bit + i) % 8);
        block[(bit + i) / 8] |= (uint8_t)((code >> i & 1) << (bit + i) % 8);
    }
}

/* kernels/binary.h. What the matrix does not have comes as 0, and stays without a bit. */
static void add_trit_b1(uint8_t *group, size_t row, size_t column, int trit) {
    size_t b = column / 32, f = column % 32 / 4, j = column % 4;
    if (trit > 0)
        group[64 * b + 4 * row + j] |= (uint8_t)(1u << f);
}

static const struct {
    const tern_packing *packing;
    void (*add_trit)(uint8_t *group, size_t row, size_t column, int trit);
} packings[] = {
    {&tern_packing_t2r16, add_trit_t2}, {&tern_packing_t5r16, add_trit_t5}, {&tern_packing_b1r16, add_trit_b1}};

static void pack_once(size_t index, size_t n_rows, size_t k, size_t ld) {
    const tern_packing *packing = packings[index].packing;
    int8_t *trits = random_trits(0, (n_rows - 1) * ld + k), back[300];
    size_t bytes = tern_group_bytes(packing, tern_k_pad(packing, k));
    for (size_t i = 0; packing->binary && i < (n_rows - 1) * ld + k; i++)
        trits[i] = trits[i] < 0 ? -1 : 1;
    output packed = output_new(bytes);
    packing->pack_group(packed.out, trits, ld, n_rows, k);
    memset(packed.ref, 0, bytes);
    for (size_t row = 0; row < 16; row++)
        for (size_t column = 0; column < tern_k_pad(packing, k); column++)
            packings[index].add_trit(packed.ref, row, column,
                                     row < n_rows && column < k ? trits[row * ld + column] : 0);
    for (size_t row = 0; row < n_rows; row++) {
        memset(back, 99, sizeof back);
        packing->unpack_row(packed.out, row, k, back);
        assert_memory_equal(back, trits + row * ld, k);
        assert_int_equal(back[k], 99);
    }
    CHECK_BYTES(packed, "%s pack_group rows=%zu k=%zu", packing->name, n_rows, k);
}

static void test_packing(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(packings); i++) {
        for (size_t k = 1; k <= 70; k++)
            for (size_t n_rows = 1; n_rows <= 16; n_rows++)
                pack_once(i, n_rows, k, k + n_rows % 3);
        pack_once(i, 16, 256, 256);
        pack_once(i, 7, 299, 299);
    }
}

/* Every packing of every rung is among those tested here, and the reference has kernels for each. */
static void test_packings_known(void **state) {
    (void)state;
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++) {
        assert_non_null((*rung)->ternary[0]);
        for (const tern_ternary *const *ternary = (*rung)->ternary; *ternary; ternary++) {
            bool tested = false, in_ref = false;
            for (size_t i = 0; i < COUNT(packings); i++)
                tested |= packings[i].packing == (*ternary)->packing;
            for (const tern_ternary *const *other = ref->ternary; *other; other++)
                in_ref |= (*other)->packing == (*ternary)->packing;
            assert_true(tested && in_ref);
            assert_int_equal(TERN_Q_PAD % (*ternary)->packing->cols, 0);
            assert_false((*ternary)->packing->binary);
        }
        assert_ptr_equal((*rung)->binary->int8.packing, &tern_packing_b1r16);
        assert_int_equal(TERN_Q_PAD % tern_packing_b1r16.cols, 0);
    }
}

static void matmul_once(const tern_ternary *ternary, size_t rows, size_t k) {
    enum { TOKENS = 3 };
    const tern_packing *packing = ternary->packing;
    size_t k_pad = tern_k_pad(packing, k), groups = tern_n_groups(rows), ld_acc = 16 * groups;
    int8_t *trits = random_trits(0, rows * k), *q = input(1, TOKENS * k_pad);
    uint8_t *w = input(2, groups * tern_group_bytes(packing, k_pad));
    for (size_t g = 0; g < groups; g++)
        packing->pack_group(w + g * tern_group_bytes(packing, k_pad), trits + g * 16 * k, k,
                            rows - g * 16 < 16 ? rows - g * 16 : 16, k);
    int32_t q_sum[TOKENS] = {0}, acc[TOKENS * 64];
    for (size_t t = 0; t < TOKENS; t++)
        for (size_t i = 0; i < k_pad; i++) {
            q[t * k_pad + i] = (int8_t)(i < k ? (int)random_below(255) - 127 : 0);
            q_sum[t] += q[t * k_pad + i];
        }
    ternary->matmul(w, k_pad, groups, q, k_pad, q_sum, TOKENS, acc, ld_acc);
    for (size_t t = 0; t < TOKENS; t++)
        for (size_t r = 0; r < 16 * groups; r++) {
            int64_t sum = 0;
            for (size_t i = 0; r < rows && i < k; i++)
                sum += trits[r * k + i] * q[t * k_pad + i];
            assert_int_equal(acc[t * ld_acc + r], sum);
        }
}

static void test_matmul(void **state) {
    (void)state;
    for (const tern_ternary *const *ternary = ref->ternary; *ternary; ternary++)
        for (size_t rows = 1; rows <= 50; rows += 7)
            for (size_t k = 1; k <= 600; k += 37)
                matmul_once(*ternary, rows, k);
}

/* ---- floats ---- */

static void test_quantize(void **state) {
    (void)state;
    for (size_t n = 1; n <= 200; n++) {
        float *x = random_floats(0, n, (kind)(n % 3)), scale;
        int8_t q[200 + TERN_Q_PAD];
        int32_t sum;
        ref->quantize_i8(x, n, tern_q_pad(n), q, &scale, &sum);
        double largest = 1e-5;
        for (size_t i = 0; i < n; i++)
            if (fabs((double)x[i]) > largest)
                largest = fabs((double)x[i]);
        assert_true(fabs(scale * largest / 127 - 1) < 1e-7); /* one rounding, and the float 1e-5 */
        int32_t expected_sum = 0;
        for (size_t i = 0; i < n; i++) {
            /* within half a step of the exact quotient; the two float roundings move x * s by less than 127 * 2^-22 */
            assert_true(fabs(q[i] - 127 * (double)x[i] / largest) < 0.5 + 4e-5);
            expected_sum += q[i];
        }
        assert_int_equal(sum, expected_sum);
        for (size_t i = n; i < tern_q_pad(n); i++)
            assert_int_equal(q[i], 0);
    }
}

static void test_quantize_rules(void **state) {
    (void)state;
    float ties[] = {127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f, -126.5f, -127.0f}, scale;
    int8_t expected[] = {127, 0, 2, 2, 0, -2, -2, 126, -126, -127}, q[16];
    int32_t sum;
    ref->quantize_i8(ties, COUNT(ties), 16, q, &scale, &sum);
    assert_memory_equal(q, expected, sizeof expected);
    assert_true(scale == 1.0f);

    float vanishing[] = {1e-34f, -1e-34f, 1e-6f, 0.0f}; /* the maximum counts as 1e-5 at least */
    ref->quantize_i8(vanishing, 4, 16, q, &scale, &sum);
    assert_int_equal(q[0], 0);
    assert_int_equal(q[2], 13);
    assert_true(scale == 127.0f / 1e-5f);

    float nan[] = {NAN, 2.0f, -1.0f};
    ref->quantize_i8(nan, 3, 16, q, &scale, &sum);
    assert_int_equal(q[0], 0);
    assert_int_equal(q[1], 127);
    assert_int_equal(q[2], -64); /* -63.5, to even */
    assert_int_equal(sum, 63);

    float infinite[] = {INFINITY, 2.0f, -INFINITY};
    ref->quantize_i8(infinite, 3, 16, q, &scale, &sum);
    assert_int_equal(q[0] | q[1] | q[2], 0);
    assert_true(scale == 0.0f);
}

static void test_rms_norm(void **state) {
    (void)state;
    for (size_t n = 1; n <= 7000; n = n * 3 / 2 + 1) {
        float *x = random_floats(0, n, PLAIN), *gain = random_floats(1, n, PLAIN);
        float *out = input(2, n * sizeof *out);
        ref->rms_norm(x, gain, n, 1e-5f, out);
        double squares = 0;
        for (size_t i = 0; i < n; i++)
            squares += (double)x[i] * x[i];
        double r = 1 / sqrt(squares / (double)n + 1e-5);
        /* Relative error: n/16 + 4 additions halved by the square root, and 6 operations more, 2^-24 each. */
        double bound = ((double)n / 32 + 8) * 0x1p-24;
        for (size_t i = 0; i < n; i++) {
            double expected = x[i] * r * gain[i];
            assert_true(fabs(out[i] - expected) <= bound * fabs(expected) + 1e-44);
        }
    }
}

static void test_small_operations(void **state) {
    (void)state;
    enum { N = 37 };
    float *x = random_floats(0, N, PLAIN), *y = random_floats(1, N, PLAIN), out[N];
    ref->relu2_mul(x, y, N, out);
    for (size_t i = 0; i < N; i++) {
        double g = x[i] > 0 ? x[i] : 0, expected = g * g * y[i];
        assert_true(fabs(out[i] - expected) <= 0x1p-23 * fabs(expected));
    }
    ref->silu_mul(x, y, N, out);
    for (size_t i = 0; i < N; i++) { /* an ulp of exp, whose share is at most half of 1 + e, and five roundings */
        double expected = x[i] / (1 + exp(-(double)x[i])) * y[i];
        assert_true(fabs(out[i] - expected) <= 8 * 0x1p-24 * fabs(expected));
    }
    float gates[] = {100, -100, INFINITY, 0, -0.0f, NAN, -20}, ups[] = {3, 3, 3, 3, 3, 3, 1};
    ref->silu_mul(gates, ups, 7, out);
    assert_true(out[0] == 300.0f && out[1] == 0.0f && out[2] == INFINITY && out[3] == 0.0f && out[4] == 0.0f);
    assert_true(isnan(out[5]) && fabs(out[6] + 20 * exp(-20.0)) < 1e-14);

    x[0] = NAN;
    x[1] = -1;
    y[1] = -INFINITY; /* a gate that is shut lets nothing through: `up` need not even be computed */
    ref->relu2_mul(x, y, 2, out);
    assert_true(out[0] == 0.0f && out[1] == 0.0f && !signbit(out[1]));

    int32_t acc[] = {0, 1, -7, 877824};
    ref->dequantize(acc, 4, 3.0f, 0.5f, out);
    for (size_t i = 0; i < 4; i++)
        assert_true(out[i] == (float)acc[i] / 3.0f * 0.5f);

    const float row_scales[] = {0.5f, 0.25f, 3.0f, 0.1f};
    float sums[] = {1, 2, 3, 4};
    ref->dequantize_rows(acc, 4, 3.0f, row_scales, out);
    ref->add_scaled(acc, 4, row_scales, sums);
    for (size_t i = 0; i < 4; i++) {
        assert_true(out[i] == (float)acc[i] / 3.0f * row_scales[i]);
        assert_true(sums[i] == (float)((double)acc[i] * (double)row_scales[i] + (double)i + 1));
    }

    float a[] = {1, 2, 3}, b[] = {10, 20, 40};
    ref->add(a, b, 3);
    assert_true(a[0] == 11 && a[1] == 22 && a[2] == 43);
    ref->divide(a, 3, 4.0f);
    assert_true(a[0] == 2.75f && a[1] == 5.5f && a[2] == 10.75f);

    float angle = 0.7f, v[] = {3, 5, 4, 6}, cosine[] = {cosf(angle), 0},
          sine[] = {sinf(angle), 1}; /* pairs 0,2 and 1,3 */
    ref->rope(v, 1, 4, cosine, sine);
    assert_true(fabs(v[0] - (3 * cos(0.7f) - 4 * sin(0.7f))) < 1e-6);
    assert_true(fabs(v[2] - (4 * cos(0.7f) + 3 * sin(0.7f))) < 1e-6);
    assert_true(v[1] == -6 && v[3] == 5);

    float halves_in[] = {1.0f, -2.0f, 65504.0f, 65520.0f, 0x1p-25f, 0x1.8p-24f, 1.0f + 0x1p-11f};
    uint16_t halves[7], expected[] = {0x3c00, 0xc000, 0x7bff, 0x7c00, 0, 2, 0x3c00};
    ref->f32_to_f16(halves_in, 7, halves);
    assert_memory_equal(halves, expected, sizeof expected);
}

/* ---- the head, in double ---- */

/* Value i of a row, decoded by its own lines: ggml's layouts as kernels.h has them. */
static double head_value(tern_head_type type, const uint8_t *row, size_t i) {
    uint16_t half;
    float x;
    const uint8_t *block = row + i / head_blocks[type].values * head_blocks[type].bytes;
    if (head_blocks[type].scale_at >= 0)
        memcpy(&half, block + head_blocks[type].scale_at, 2);
    else
        memcpy(&half, block, 2);
    double d = tern_f16_to_f32(half);
    switch (type) {
    case TERN_HEAD_F32:
        memcpy(&x, block, 4);
        return x;
    case TERN_HEAD_F16:
        return d;
    case TERN_HEAD_BF16:
        return tern_bf16_to_f32(half);
    case TERN_HEAD_Q8_0:
        return d * (int8_t)block[2 + i % 32];
    case TERN_HEAD_Q4_0:
        return d * ((i % 32 < 16 ? block[2 + i % 32] % 16 : block[2 + i % 32 - 16] / 16) - 8);
    default:
        break;
    }
    const uint8_t *ql = block, *qh = block + 128;
    const int8_t *scales = (const int8_t *)block + 192;
    for (size_t n = 0; n < 256; n += 128, ql += 64, qh += 32, scales += 8) /* in the order ggml writes it */
        for (size_t l = 0; l < 32; l++) {
            if (n + l == i % 256)
                return d * scales[l / 16] * (((ql[l] & 15) | (qh[l] & 3) << 4) - 32);
            if (n + l + 32 == i % 256)
                return d * scales[l / 16 + 2] * (((ql[l + 32] & 15) | (qh[l] >> 2 & 3) << 4) - 32);
            if (n + l + 64 == i % 256)
                return d * scales[l / 16 + 4] * ((ql[l] >> 4 | (qh[l] >> 4 & 3) << 4) - 32);
            if (n + l + 96 == i % 256)
                return d * scales[l / 16 + 6] * ((ql[l + 32] >> 4 | (qh[l] >> 6 & 3) << 4) - 32);
        }
    return NAN;
}

static void test_head(void **state) {
    (void)state;
    for (int t = 0; t < TERN_N_HEAD_TYPES; t++) {
        tern_head_type type = (tern_head_type)t;
        enum { ROWS = 3, TOKENS = 2 };
        size_t k = head_blocks[type].values == 1 ? 301 : 512, row_bytes = head_row_bytes(type, k);
        uint8_t *rows = input(0, ROWS * row_bytes);
        for (size_t r = 0; r < ROWS; r++)
            random_head_row(type, rows + r * row_bytes, k, PLAIN);
        float *x = random_floats(1, TOKENS * k, PLAIN), y[TOKENS * ROWS];
        ref->head[type](rows, row_bytes, ROWS, x, k, TOKENS, y, ROWS);
        for (size_t r = 0; r < ROWS; r++)
            for (size_t token = 0; token < TOKENS; token++) {
                double exact = 0, bound = 0;
                for (size_t i = 0; i < k; i++) {
                    double product = head_value(type, rows + r * row_bytes, i) * x[token * k + i];
                    exact += product;
                    bound += fabs(product) * ((double)k / 16 + 8) * 0x1p-24;
                }
                if (!(fabs(y[token * ROWS + r] - exact) <= bound))
                    fail_msg("head %s row %zu token %zu: %g, exact %g", head_names[type], r, token,
                             (double)y[token * ROWS + r], exact);
            }
    }
}

/* The canonical order itself: values chosen so that any other order of the additions gives another sum. */
static void test_order(void **state) {
    (void)state;
    enum { N = 45 };
    float *x = random_floats(0, N, PLAIN), *k = random_floats(1, N, PLAIN), score, r[16] = {0};
    for (size_t i = 0; i < N; i++)
        x[i] *= i % 3 ? 1.0f : 4096.0f;
    ref->head[TERN_HEAD_F32]((const uint8_t *)k, N * sizeof *k, 1, x, N, 1, &score, 1);
    for (size_t i = 0; i < N; i++)
        r[i % 16] = fmaf(x[i], k[i], r[i % 16]);
    float r8[8], r4[4];
    for (size_t j = 0; j < 8; j++)
        r8[j] = r[j] + r[j + 8];
    for (size_t j = 0; j < 4; j++)
        r4[j] = r8[j] + r8[j + 4];
    assert_true(score == (r4[0] + r4[2]) + (r4[1] + r4[3]));
}

/* ---- the ladder ---- */

static void test_ladder(void **state) {
    (void)state;
    const tern_kernels *chosen = NULL, *best = NULL;
    tern_error err;
    unsetenv("TERN_CPU");
    for (const tern_kernels *const *rung = tern_kernels_all(); *rung; rung++) {
        bool runs = ((*rung)->features & ~tern_cpu_features()) == 0;
        chosen = NULL;
        assert_int_equal(tern_kernels_choose((*rung)->name, &chosen, &err), runs ? TERN_OK : TERN_ERR_ARGUMENT);
        assert_ptr_equal(chosen, runs ? *rung : NULL);
        best = runs ? *rung : best;
    }
    assert_non_null(best);
    assert_int_equal(tern_kernels_choose(NULL, &chosen, &err), TERN_OK);
    assert_ptr_equal(chosen, best);
    assert_int_equal(tern_kernels_choose("", &chosen, &err), TERN_OK);
    assert_ptr_equal(chosen, best);

    setenv("TERN_CPU", "ref", 1);
    assert_int_equal(tern_kernels_choose(NULL, &chosen, &err), TERN_OK);
    assert_ptr_equal(chosen, ref);
    assert_int_equal(tern_kernels_choose(best->name, &chosen, &err), TERN_OK); /* the argument comes first */
    assert_ptr_equal(chosen, best);
    setenv("TERN_CPU", "", 1);
    assert_int_equal(tern_kernels_choose(NULL, &chosen, &err), TERN_OK);
    assert_ptr_equal(chosen, best);
    setenv("TERN_CPU", "mmx", 1);
    chosen = NULL;
    assert_int_equal(tern_kernels_choose(NULL, &chosen, &err), TERN_ERR_ARGUMENT);
    assert_null(chosen);
    assert_non_null(strstr(err.message, "TERN_CPU=mmx"));
    assert_non_null(strstr(err.message, "use one of: ref"));
    assert_non_null(strstr(err.message, best->name));
    assert_int_equal(tern_kernels_choose("sse9", &chosen, NULL), TERN_ERR_ARGUMENT);
    unsetenv("TERN_CPU");
}

int main(void) {
    ref = tern_kernels_all()[0];
    tern_rng_seed(&random_state, 1958);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packing),          cmocka_unit_test(test_packings_known), cmocka_unit_test(test_matmul),
        cmocka_unit_test(test_quantize),         cmocka_unit_test(test_quantize_rules), cmocka_unit_test(test_rms_norm),
        cmocka_unit_test(test_small_operations), cmocka_unit_test(test_head),           cmocka_unit_test(test_order),
        cmocka_unit_test(test_ladder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
