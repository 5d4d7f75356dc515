/* Norm, squared ReLU, embedding and rope: forward bit for bit as the reference kernels, backward against central
 * differences in double precision. */
#include "ops_check.h"

static const tern_dims dims = {.vocab_size = 37,
                               .n_ctx = 80,
                               .hidden_size = 40,
                               .ffn_size = 70,
                               .n_layers = 1,
                               .n_heads = 4,
                               .n_kv_heads = 2,
                               .head_dim = 10,
                               .rms_eps = 1e-5f,
                               .rope_theta = 10000.0f};

static const int thread_counts[] = {1, 3};

/* ---------------------------------------------------------------- norm */

enum { N = 150, K = 70 };

typedef struct norm_case {
    double *x, *gain;
    const float *c;
    size_t n, k;
} norm_case;

/* sum c * rms_norm(x) */
static double norm_loss(void *user) {
    const norm_case *t = user;
    double loss = 0;
    for (size_t i = 0; i < t->n; i++) {
        double squares = 0;
        for (size_t j = 0; j < t->k; j++)
            squares += t->x[i * t->k + j] * t->x[i * t->k + j];
        double r = 1 / sqrt(squares / (double)t->k + (double)dims.rms_eps);
        for (size_t j = 0; j < t->k; j++)
            loss += (double)t->c[i * t->k + j] * t->x[i * t->k + j] * r * t->gain[j];
    }
    return loss;
}

static tern_act act_new(size_t n, size_t k, bool is_float) {
    tern_act act = {.ld = tern_q_pad(k)};
    if (is_float) {
        act.x = zeros(n * k);
        return act;
    }
    act.q = check_alloc(n * act.ld);
    act.scale = zeros(n);
    act.sum = check_alloc(n * sizeof *act.sum);
    return act;
}

static void norm_is_inferences(void **state) {
    (void)state;
    const tern_kernels *ref = tern_kernels_all()[0];
    float *x = normals((size_t)N * K, 1.0), *gain = normals(K, 1.0), *want = zeros(K);
    int8_t *q = check_alloc(tern_q_pad(K));
    FOR_RUNGS(rung) for (size_t c = 0; c < COUNT(thread_counts); c++) {
        tern_ops ops = ops_open(rung->name, &dims, N, thread_counts[c]);
        tern_act act = act_new(N, K, false), values = act_new(N, K, true);
        float *y = zeros((size_t)N * K);
        tern_op_norm(&ops, x, gain, N, K, dims.rms_eps, &act);
        tern_op_norm(&ops, x, gain, N, K, dims.rms_eps, &values);
        tern_op_final_norm(&ops, x, gain, N, K, dims.rms_eps, y);
        for (size_t t = 0; t < N; t++) {
            float scale;
            int32_t sum;
            ref->rms_norm(x + t * K, gain, K, dims.rms_eps, want);
            ref->quantize_i8(want, K, tern_q_pad(K), q, &scale, &sum);
            assert_memory_equal(act.q + t * act.ld, q, tern_q_pad(K));
            check_same_bits("scale", &act.scale[t], &scale, 1);
            assert_int_equal(act.sum[t], sum);
            check_same_bits("float input", values.x + t * K, want, K);
            check_same_bits("last norm", y + t * K, want, K);
        }
        ops_close(&ops);
    }
}

static void norm_gradients(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{1, 16}, {3, 2}, {150, 70}, {5, 33}};
    for (size_t s = 0; s < COUNT(sizes); s++) {
        size_t n = sizes[s][0], k = sizes[s][1];
        float *x = normals(n * k, 1.0), *gain = normals(k, 1.0), *dy = normals(n * k, 1.0);
        norm_case t = {doubles_of(x, n * k), doubles_of(gain, k), dy, n, k};
        FOR_RUNGS(rung) {
            float *dx[2], *dgain[2];
            for (size_t c = 0; c < 2; c++) {
                tern_ops ops = ops_open(rung->name, &dims, n, thread_counts[c]);
                dx[c] = zeros(n * k);
                dgain[c] = zeros(k);
                for (int twice = 0; twice < 2; twice++) /* += */
                    tern_op_norm_backward(&ops, x, gain, dy, n, k, dims.rms_eps, dx[c], dgain[c]);
                ops_close(&ops);
            }
            check_same_bits("dx by threads", dx[1], dx[0], n * k);
            check_same_bits("dgain by threads", dgain[1], dgain[0], k);
            for (size_t i = 0; i < n * k; i++)
                dx[0][i] *= 0.5f;
            for (size_t i = 0; i < k; i++)
                dgain[0][i] *= 0.5f;
            check_gradient("dx", norm_loss, &t, t.x, n * k, n * k / 50 + 1, dx[0], 2e-6);
            check_gradient("dgain", norm_loss, &t, t.gain, k, 1, dgain[0], 2e-6);
        }
    }
}

/* ---------------------------------------------------------------- squared ReLU */

typedef struct relu2_case {
    double *gate, *up;
    const float *c;
    size_t n;
} relu2_case;

static double relu2_loss(void *user) {
    const relu2_case *t = user;
    double loss = 0;
    for (size_t i = 0; i < t->n; i++)
        loss += (double)t->c[i] * pow(fmax(t->gate[i], 0), 2) * t->up[i];
    return loss;
}

static void relu2(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {7, 70}, {300, 70}};
    for (size_t s = 0; s < COUNT(sizes); s++) {
        size_t n = sizes[s][0] * sizes[s][1];
        float *gate = normals(n, 1.0), *up = normals(n, 1.0), *dh = normals(n, 1.0), *want = zeros(n);
        relu2_case t = {doubles_of(gate, n), doubles_of(up, n), dh, n};
        tern_kernels_all()[0]->relu2_mul(gate, up, n, want);
        FOR_RUNGS(rung) for (size_t c = 0; c < 2; c++) {
            tern_ops ops = ops_open(rung->name, &dims, sizes[s][0], thread_counts[c]);
            float *h = zeros(n), *dgate = copy_of(dh, n), *dup = zeros(n);
            tern_op_relu2(&ops, gate, up, sizes[s][0], sizes[s][1], h);
            check_same_bits("h", h, want, n);
            tern_op_relu2_backward(&ops, gate, up, dgate, sizes[s][0], sizes[s][1], dgate, dup); /* in place */
            check_gradient("dgate", relu2_loss, &t, t.gate, n, n / 40 + 1, dgate, 1e-6);
            check_gradient("dup", relu2_loss, &t, t.up, n, n / 40 + 1, dup, 1e-6);
            ops_close(&ops);
        }
    }
}

/* ---------------------------------------------------------------- embedding */

static void embedding(void **state) {
    (void)state;
    enum { TOKENS = 77, HIDDEN = 40 };
    float *table = normals(37 * HIDDEN, 1.0), *dx = normals(TOKENS * HIDDEN, 1.0), *want = normals(37 * HIDDEN, 1.0);
    float *before = copy_of(want, 37 * HIDDEN);
    int32_t ids[TOKENS];
    for (size_t t = 0; t < TOKENS; t++) {
        ids[t] = (int32_t)(tern_rng_u64(&check_rng) % (t < 20 ? 2 : 37));
        for (size_t j = 0; j < HIDDEN; j++)
            want[ids[t] * HIDDEN + (int32_t)j] += dx[t * HIDDEN + j];
    }
    FOR_RUNGS(rung) for (size_t c = 0; c < 2; c++) {
        tern_ops ops = ops_open(rung->name, &dims, TOKENS, thread_counts[c]);
        float *x = zeros(TOKENS * HIDDEN), *dtable = copy_of(before, 37 * HIDDEN);
        tern_op_embed(&ops, table, ids, TOKENS, HIDDEN, x);
        for (size_t t = 0; t < TOKENS; t++)
            check_same_bits("row", x + t * HIDDEN, table + ids[t] * HIDDEN, HIDDEN);
        tern_op_embed_backward(&ops, ids, dx, TOKENS, HIDDEN, dtable);
        check_same_bits("dtable", dtable, want, 37 * HIDDEN);
        ops_close(&ops);
    }
}

/* ---------------------------------------------------------------- rope */

static void rope(void **state) {
    (void)state;
    static const uint32_t start[] = {0, 1, 71, 71, 76, 140};
    enum { TOKENS = 140, HALF = 5 };
    const tern_sequences seqs = {start, COUNT(start) - 1};
    float *cosines = zeros(80 * HALF), *sines = zeros(80 * HALF);
    tern_rope_tables(&dims, cosines, sines);
    for (size_t p = 0; p < 80; p++)
        for (size_t i = 0; i < HALF; i++) {
            double angle = (double)p * pow(10000.0, -2.0 * (double)i / 10.0);
            assert_true(fabs((double)cosines[p * HALF + i] - cos(angle)) < 1e-5);
            assert_true(fabs((double)sines[p * HALF + i] - sin(angle)) < 1e-5);
        }
    float *q = normals(TOKENS * 40, 1.0), *k = normals(TOKENS * 20, 1.0);
    float *want_q = copy_of(q, TOKENS * 40), *want_k = copy_of(k, TOKENS * 20);
    for (size_t s = 0; s < seqs.n; s++)
        for (size_t t = start[s]; t < start[s + 1]; t++) {
            const float *c = cosines + (t - start[s]) * HALF, *sine = sines + (t - start[s]) * HALF;
            tern_kernels_all()[0]->rope(want_q + t * 40, 4, 10, c, sine);
            tern_kernels_all()[0]->rope(want_k + t * 20, 2, 10, c, sine);
        }
    double *back_q = doubles_of(q, TOKENS * 40), *back_k = doubles_of(k, TOKENS * 20);
    FOR_RUNGS(rung) for (size_t c = 0; c < 2; c++) {
        tern_ops ops = ops_open(rung->name, &dims, TOKENS, thread_counts[c]);
        float *at_q = copy_of(q, TOKENS * 40), *at_k = copy_of(k, TOKENS * 20);
        tern_op_rope(&ops, &seqs, &dims, cosines, sines, false, at_q, at_k);
        check_same_bits("q", at_q, want_q, TOKENS * 40);
        check_same_bits("k", at_k, want_k, TOKENS * 20);
        /* a rotation's gradient is the rotation back */
        tern_op_rope(&ops, &seqs, &dims, cosines, sines, true, at_q, at_k);
        check_close("q and back", at_q, back_q, TOKENS * 40, 1e-6);
        check_close("k and back", at_k, back_k, TOKENS * 20, 1e-6);
        ops_close(&ops);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(norm_is_inferences, check_free_all),
        cmocka_unit_test_teardown(norm_gradients, check_free_all),
        cmocka_unit_test_teardown(relu2, check_free_all),
        cmocka_unit_test_teardown(embedding, check_free_all),
        cmocka_unit_test_teardown(rope, check_free_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
