/* Attention's two passes against plain softmax attention in double precision and its central differences, and RoPE and
 * the forward pass bit for bit against inference. */
#include "ops_check.h"
#include "runtime/cpu_attention.h"

typedef struct attention_case {
    tern_dims dims;
    tern_sequences seqs;
    double *q, *k, *v;
    const float *c; /* the loss is sum c * out */
    double *out, *lse;
} attention_case;

/* One head of one token: its output and log-sum-exp. */
static void attend(const attention_case *t, size_t first, size_t token, size_t head, double *out, double *lse) {
    size_t d = t->dims.head_dim, kv_heads = t->dims.n_kv_heads, heads = t->dims.n_heads;
    size_t kv = head / (heads / kv_heads);
    const double *q = t->q + (token * heads + head) * d;
    double scores[512], most = -1e300, sum = 0;
    for (size_t j = first; j <= token; j++) {
        double score = 0;
        for (size_t i = 0; i < d; i++)
            score += q[i] * t->k[(j * kv_heads + kv) * d + i];
        scores[j - first] = score / sqrt((double)d);
        most = scores[j - first] > most ? scores[j - first] : most;
    }
    for (size_t j = first; j <= token; j++)
        sum += scores[j - first] = exp(scores[j - first] - most);
    for (size_t i = 0; i < d; i++)
        out[i] = 0;
    for (size_t j = first; j <= token; j++)
        for (size_t i = 0; i < d; i++)
            out[i] += scores[j - first] / sum * t->v[(j * kv_heads + kv) * d + i];
    *lse = most + log(sum);
}

static double attention_loss(void *user) {
    const attention_case *t = user;
    size_t d = t->dims.head_dim, heads = t->dims.n_heads;
    double loss = 0;
    for (size_t s = 0; s < t->seqs.n; s++)
        for (size_t token = t->seqs.start[s]; token < t->seqs.start[s + 1]; token++)
            for (size_t head = 0; head < heads; head++) {
                size_t at = token * heads + head;
                attend(t, t->seqs.start[s], token, head, t->out + at * d, &t->lse[at]);
                for (size_t i = 0; i < d; i++)
                    loss += (double)t->c[at * d + i] * t->out[at * d + i];
            }
    return loss;
}

static void check_case(const tern_dims *dims, const uint32_t *start, size_t n_sequences, size_t n_checked) {
    size_t n = start[n_sequences], nq = n * dims->n_heads * dims->head_dim, nk = n * tern_kv_size(dims);
    float *q = normals(nq, 1.5), *k = normals(nk, 1.5), *v = normals(nk, 1.0), *dout = normals(nq, 1.0);
    attention_case t = {*dims,
                        {start, n_sequences},
                        doubles_of(q, nq),
                        doubles_of(k, nk),
                        doubles_of(v, nk),
                        dout,
                        doubles_of(q, nq),
                        doubles_of(q, n * dims->n_heads)};
    attention_loss(&t);
    FOR_RUNGS(rung) {
        float *out[2], *lse[2], *dq[2], *dk[2], *dv[2];
        double tolerance = 0; /* of gradients: of float32 sums, or products of bfloat16 */
        for (int c = 0; c < 2; c++) {
            tern_ops ops = ops_open(rung->name, dims, n, c ? 3 : 1);
            out[c] = zeros(nq), lse[c] = zeros(n * dims->n_heads);
            dq[c] = normals(nq, 1.0), dk[c] = normals(nk, 1.0), dv[c] = normals(nk, 1.0); /* set, not added to */
            tern_op_attention(&ops, &t.seqs, dims, q, k, v, out[c], lse[c]);
            tern_op_attention_backward(&ops, &t.seqs, dims, q, k, v, out[c], lse[c], dout, dq[c], dk[c], dv[c]);
            tolerance = ops.gemm == ops.gemm->exact ? 5e-6 : 1e-2;
            ops_close(&ops);
        }
        check_same_bits("out by threads", out[1], out[0], nq);
        check_same_bits("lse by threads", lse[1], lse[0], n * dims->n_heads);
        check_same_bits("dq by threads", dq[1], dq[0], nq);
        check_same_bits("dk by threads", dk[1], dk[0], nk);
        check_same_bits("dv by threads", dv[1], dv[0], nk);
        check_close("out", out[0], t.out, nq, 2e-6);
        check_close("lse", lse[0], t.lse, n * dims->n_heads, 2e-6);
        check_gradient("dq", attention_loss, &t, t.q, nq, nq / n_checked + 1, dq[0], tolerance);
        check_gradient("dk", attention_loss, &t, t.k, nk, nk / n_checked + 1, dk[0], tolerance);
        check_gradient("dv", attention_loss, &t, t.v, nk, nk / n_checked + 1, dv[0], tolerance);
        attention_loss(&t);
    }
}

/* Ragged sequences, empty ones too, groups of 1, 2 and 5 query heads, odd head sizes. */
static void short_sequences(void **state) {
    (void)state;
    static const uint32_t start[] = {0, 1, 1, 6, 76, 140};
    const tern_dims grouped = {.n_ctx = 80, .n_heads = 4, .n_kv_heads = 2, .head_dim = 18, .hidden_size = 72};
    const tern_dims single = {.n_ctx = 70, .n_heads = 2, .n_kv_heads = 2, .head_dim = 16, .hidden_size = 32};
    const tern_dims five = {.n_ctx = 80, .n_heads = 5, .n_kv_heads = 1, .head_dim = 64, .hidden_size = 320};
    check_case(&grouped, start, COUNT(start) - 1, 12);
    check_case(&single, start, COUNT(start) - 1, 12);
    check_case(&five, start, 4, 6);
}

/* Longer than a split of the softmax (kernels/attention.h). */
static void long_sequences(void **state) {
    (void)state;
    static const uint32_t start[] = {0, 300, 557};
    const tern_dims dims = {.n_ctx = 300, .n_heads = 2, .n_kv_heads = 1, .head_dim = 8, .hidden_size = 16};
    check_case(&dims, start, COUNT(start) - 1, 3);
}

/* ---------------------------------------------------------------- inference */

static tern_status kv_alloc(tern_backend *backend, size_t n_bytes, void **memory, tern_error *err) {
    (void)backend, (void)err;
    *memory = check_alloc(n_bytes);
    return TERN_OK;
}
static void kv_release(tern_backend *backend, void *memory) { (void)backend, (void)memory; } /* check_free_all() does */

/* One sequence's rope and attention as `tern run --kv-type f32` does them, in batches of 100 tokens. */
static void infer(const tern_ops *ops, const tern_dims *dims, size_t n, float *q, float *k, const float *v,
                  float *out) {
    static const tern_backend_ops memory = {.alloc = kv_alloc, .release = kv_release};
    tern_backend backend = {&memory};
    tern_cpu_attention attention;
    tern_kv kv;
    tern_slot slots[100];
    size_t q_size = dims->hidden_size, k_size = tern_kv_size(dims);
    tern_cpu_attention_init(&attention, dims, ops->kernels, ops->pool);
    tern_kv_init(&kv, &backend, dims, TERN_KV_F32);
    assert_int_equal(tern_cpu_attention_reserve(&attention, (uint32_t)n, NULL), TERN_OK);
    assert_int_equal(tern_kv_reserve(&kv, n, NULL), TERN_OK);
    for (size_t at = 0; at < n; at += COUNT(slots)) {
        uint32_t count = (uint32_t)(n - at < COUNT(slots) ? n - at : COUNT(slots));
        for (uint32_t t = 0; t < count; t++)
            slots[t] = (tern_slot){0, (uint32_t)at + t, &kv};
        tern_cpu_rope_store(&attention, slots, count, 0, q + at * q_size, k + at * k_size, v + at * k_size);
        tern_cpu_attention_run(&attention, slots, count, 0, q + at * q_size, out + at * q_size);
    }
    tern_kv_free(&kv);
    tern_cpu_attention_free(&attention);
}

static void forward_is_inferences(void **state) {
    (void)state;
    enum { N = 357 }; /* two splits, the last block not whole */
    static const uint32_t start[] = {0, N};
    const tern_sequences seqs = {start, 1};
    const tern_dims dims = {.n_layers = 1,
                            .n_ctx = 400,
                            .n_heads = 4,
                            .n_kv_heads = 2,
                            .head_dim = 24,
                            .hidden_size = 96,
                            .rope_theta = 10000.0f};
    size_t nq = (size_t)N * 96, nk = (size_t)N * 48;
    float *q = normals(nq, 1.5), *k = normals(nk, 1.5), *v = normals(nk, 1.0);
    float *cosines = zeros((size_t)400 * 12), *sines = zeros((size_t)400 * 12);
    tern_rope_tables(&dims, cosines, sines);
    FOR_RUNGS(rung) {
        tern_ops ops = ops_open(rung->name, &dims, N, 3);
        float *want_q = copy_of(q, nq), *want_k = copy_of(k, nk), *want = zeros(nq), *out = zeros(nq);
        float *here_q = copy_of(q, nq), *here_k = copy_of(k, nk), *lse = zeros((size_t)N * 4);
        infer(&ops, &dims, N, want_q, want_k, v, want);
        tern_op_rope(&ops, &seqs, &dims, cosines, sines, false, here_q, here_k);
        tern_op_attention(&ops, &seqs, &dims, here_q, here_k, v, out, lse);
        check_same_bits("rotated q", here_q, want_q, nq);
        check_same_bits("rotated k", here_k, want_k, nk);
        check_same_bits("out", out, want, nq);
        ops_close(&ops);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(short_sequences, check_free_all),
        cmocka_unit_test_teardown(long_sequences, check_free_all),
        cmocka_unit_test_teardown(forward_is_inferences, check_free_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
