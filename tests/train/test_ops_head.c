/* Cross entropy with the LM head against central differences in double precision. */
#include "ops_check.h"

typedef struct head_case {
    double *h, *e;
    const int32_t *targets;
    const float *weight;
    double z_loss;
    size_t n, k, vocab;
    double *nll;
} head_case;

static double head_loss(void *user) {
    const head_case *t = user;
    double loss = 0, logits[300];
    for (size_t i = 0; i < t->n; i++) {
        t->nll[i] = 0;
        if (t->targets[i] < 0)
            continue;
        double most = -1e300, sum = 0;
        for (size_t v = 0; v < t->vocab; v++) {
            logits[v] = 0;
            for (size_t j = 0; j < t->k; j++)
                logits[v] += t->h[i * t->k + j] * t->e[v * t->k + j];
            most = logits[v] > most ? logits[v] : most;
        }
        for (size_t v = 0; v < t->vocab; v++)
            sum += exp(logits[v] - most);
        double lse = most + log(sum);
        t->nll[i] = lse - logits[t->targets[i]];
        loss += (double)t->weight[i] * (t->nll[i] + t->z_loss * lse * lse);
    }
    return loss;
}

static void check_case(size_t n, size_t k, size_t vocab, float z_loss) {
    const tern_dims dims = {.vocab_size = (uint32_t)vocab,
                            .n_ctx = 8,
                            .hidden_size = (uint32_t)k,
                            .ffn_size = (uint32_t)k,
                            .n_heads = 1,
                            .n_kv_heads = 1,
                            .head_dim = 8};
    float *h = normals(n * k, 1.0), *e = normals(vocab * k, 0.5), *weight = normals(n, 1.0);
    int32_t *targets = check_alloc(n * sizeof *targets);
    for (size_t i = 0; i < n; i++)
        targets[i] = i % 5 == 3 ? -1 : (int32_t)(tern_rng_u64(&check_rng) % vocab);
    weight[n / 2] = 0.0f;
    head_case t = {doubles_of(h, n * k), doubles_of(e, vocab * k), targets, weight, (double)z_loss, n, k, vocab, NULL};
    t.nll = check_alloc(n * sizeof(double));
    head_loss(&t);
    double *want = memcpy(check_alloc(n * sizeof *want), t.nll, n * sizeof *want);
    FOR_RUNGS(rung) {
        float *nll[2], *exact[2], *dh[2], *de[2], *fast = zeros(n);
        double tolerance = 0;
        for (int c = 0; c < 2; c++) {
            tern_ops ops = ops_open(rung->name, &dims, n, c ? 3 : 1);
            nll[c] = normals(n, 1.0), exact[c] = normals(n, 1.0), dh[c] = normals(n * k, 1.0), de[c] = zeros(vocab * k);
            tern_op_head_loss(&ops, h, e, targets, n, k, vocab, true, exact[c]);
            tern_op_head_loss(&ops, h, e, targets, n, k, vocab, false, fast);
            tern_op_head_loss_backward(&ops, h, e, targets, weight, z_loss, n, k, vocab, nll[c], dh[c], de[c]);
            tern_op_head_loss_backward(&ops, h, e, targets, weight, z_loss, n, k, vocab, nll[c], dh[c], NULL);
            check_same_bits("nll of both functions", nll[c], fast, n);
            tolerance = ops.gemm == ops.gemm->exact ? 5e-6 : 2e-2;
            ops_close(&ops);
        }
        check_close("exact nll", exact[0], want, n, 2e-6);
        check_close("nll", nll[0], want, n, tolerance);
        check_gradient("dh", head_loss, &t, t.h, n * k, n * k / 30 + 1, dh[0], tolerance);
        check_gradient("de", head_loss, &t, t.e, vocab * k, vocab * k / 30 + 1, de[0], tolerance);
        check_same_bits("nll by threads", nll[1], nll[0], n);
        check_same_bits("exact nll by threads", exact[1], exact[0], n);
        check_same_bits("dh by threads", dh[1], dh[0], n * k);
        check_same_bits("de by threads", de[1], de[0], vocab * k);
    }
}

static void losses(void **state) {
    (void)state;
    check_case(1, 16, 16, 0.0f);
    check_case(7, 33, 37, 0.0f);
    check_case(40, 40, 131, 0.01f);
    check_case(130, 20, 300, 1e-4f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(losses, check_free_all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
