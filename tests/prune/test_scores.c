/* The gradient-based score against finite differences of the loss, and the other one against its definition; of a float
 * network, whose loss is smooth. */
#include "train/train_fixture.h"

#include "base/mem.h"
#include "prune/parts.h"

typedef struct fixture {
    tern_pool *pool;
    tern_params params;
    tern_net *net;
    tern_pruner pruner;
    test_batch batch;
    uint32_t starts[2];
    tern_batch one; /* all tokens in one sequence: a sum of absolute values over sequences has one term */
    float *grads, nll[N_TOKENS];
} fixture;

static void make_side(prune_side *side, const tern_dims *dims, int which, uint32_t n_units, uint32_t width) {
    size_t units = (size_t)dims->n_layers * n_units;
    *side = (prune_side){.which = which, .n_units = n_units, .width = width, .n_kept = n_units};
    side->moments = calloc(units, (size_t)width * width * sizeof *side->moments);
    side->taylor = calloc(units, sizeof *side->taylor);
    assert_true(side->moments && side->taylor);
}

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    tern_dims dims = golden_dims();
    dims.n_ctx = N_TOKENS;
    MUST(tern_pool_create(2, &f->pool, err));
    MUST(tern_params_create(&dims, false, &f->params, err));
    fill_params(&f->params, 5);
    make_batch(&f->batch, dims.vocab_size, 5);
    f->starts[1] = N_TOKENS;
    f->one = (tern_batch){N_TOKENS, f->batch.inputs, f->batch.targets, {f->starts, 1}};
    f->pruner = (tern_pruner){.pool = f->pool, .pass = PRUNE_SCORES, .seqs = &f->one.seqs};
    f->pruner.weights.dims = dims;
    f->pruner.inverse = calloc(N_TOKENS, sizeof *f->pruner.inverse);
    make_side(&f->pruner.sides[PRUNE_ATTENTION], &dims, TERN_PARAM_O, dims.n_heads, dims.head_dim);
    make_side(&f->pruner.sides[PRUNE_FFN], &dims, TERN_PARAM_DOWN, dims.ffn_size, 1);
    f->grads = tern_aligned_alloc(f->params.n_values * sizeof *f->grads);
    assert_non_null(f->grads);
    memset(f->grads, 0, f->params.n_values * sizeof *f->grads);
    /* kernels whose gradients are float32, so that bounds can be narrow */
    const tern_net_params how = {.max_tokens = N_TOKENS,
                                 .weights = TERN_WEIGHTS_FLOAT,
                                 .cpu = "ref",
                                 .probe = tern_prune_probe,
                                 .probe_user = &f->pruner};
    MUST(tern_net_create(&f->params, &how, f->pool, &f->net, err));
    assert_null(tern_net_quantize(f->net, TERN_WEIGHTS_FLOAT));
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    for (int i = 0; i < PRUNE_SIDES; i++) {
        free(f->pruner.sides[i].moments);
        free(f->pruner.sides[i].taylor);
    }
    free(f->pruner.inverse);
    tern_aligned_free(f->grads);
    tern_net_free(f->net);
    tern_params_free(&f->params);
    tern_pool_free(f->pool);
    free(f);
    return 0;
}

static double loss(fixture *f) {
    double sum = 0;
    tern_net_forward(f->net, &f->one);
    tern_net_losses(f->net, &f->one, true, f->nll);
    for (int t = 0; t < N_TOKENS; t++)
        sum += (double)f->batch.weights[t] * f->nll[t];
    return sum;
}

/* The loss with the gains of one unit times `factor`: with its output times that. */
static double loss_with(fixture *f, int side, uint32_t layer, uint32_t unit, float factor) {
    const prune_side *s = &f->pruner.sides[side];
    const tern_param *param =
        tern_param_of(&f->params, layer, side == PRUNE_ATTENTION ? TERN_PARAM_ATTN_SUB_NORM : TERN_PARAM_FFN_SUB_NORM);
    float *gains = f->params.values + param->offset + (size_t)unit * s->width, was[64];
    memcpy(was, gains, s->width * sizeof *was);
    for (uint32_t i = 0; i < s->width; i++)
        gains[i] *= factor;
    double result = loss(f);
    memcpy(gains, was, s->width * sizeof *was);
    return result;
}

static void test_taylor(void **state) {
    fixture *f = *state;
    tern_net_forward(f->net, &f->one);
    tern_net_backward(f->net, &f->one, f->batch.weights, 0, f->grads, f->nll, NULL, NULL);
    double scores[PRUNE_SIDES][2][80];
    for (int side = 0; side < PRUNE_SIDES; side++)
        for (uint32_t i = 0; i < 2 * f->pruner.sides[side].n_units; i++)
            scores[side][i / f->pruner.sides[side].n_units][i % f->pruner.sides[side].n_units] =
                f->pruner.sides[side].taylor[i];
    for (int side = 0; side < PRUNE_SIDES; side++)
        for (uint32_t layer = 0; layer < 2; layer++) {
            double most = 0;
            uint32_t n_units = f->pruner.sides[side].n_units;
            for (uint32_t unit = 0; unit < n_units; unit++)
                most = fmax(most, scores[side][layer][unit]);
            assert_true(most > 0);
            for (uint32_t unit = 0; unit < n_units; unit += side == PRUNE_FFN ? 7 : 1) {
                const float step = 0.02f;
                double slope = (loss_with(f, side, layer, unit, 1 + step) - loss_with(f, side, layer, unit, 1 - step)) /
                               (2 * (double)step);
                if (fabs(fabs(slope) - scores[side][layer][unit]) > 0.01 * most)
                    fail_msg("side %d, layer %u, unit %u: score %g, slope %g", side, layer, unit,
                             scores[side][layer][unit], slope);
            }
        }
}

/* The moments are those of what the SubLN gives. */
static void test_moments(void **state) {
    fixture *f = *state;
    const tern_dims *dims = &f->params.dims;
    const prune_side *ffn = &f->pruner.sides[PRUNE_FFN], *heads = &f->pruner.sides[PRUNE_ATTENTION];
    tern_net_forward(f->net, &f->one);
    for (uint32_t layer = 0; layer < dims->n_layers; layer++) {
        /* sum of (y / gain)^2 over channels is the number of channels, of each token */
        double ffn_sum = 0, head_sum = 0;
        const float *gains = f->params.values + tern_param_of(&f->params, layer, TERN_PARAM_FFN_SUB_NORM)->offset;
        for (uint32_t i = 0; i < dims->ffn_size; i++)
            ffn_sum += ffn->moments[layer * dims->ffn_size + i] / ((double)gains[i] * gains[i]);
        gains = f->params.values + tern_param_of(&f->params, layer, TERN_PARAM_ATTN_SUB_NORM)->offset;
        for (uint32_t h = 0; h < dims->n_heads; h++) {
            const double *moments = heads->moments + (size_t)(layer * dims->n_heads + h) * 64;
            for (uint32_t i = 0; i < 8; i++) {
                double gain = gains[h * 8 + i];
                head_sum += moments[i * 8 + i] / (gain * gain);
                for (uint32_t j = 0; j < i; j++)
                    assert_true(fabs(moments[i * 8 + j] - moments[j * 8 + i]) <= 1e-6 * (1 + fabs(moments[i * 8 + j])));
            }
        }
        /* a little less than that, by what eps adds to the mean square */
        assert_true(ffn_sum < 1.001 * N_TOKENS * dims->ffn_size && ffn_sum > 0.8 * N_TOKENS * dims->ffn_size);
        assert_true(head_sum < 1.001 * N_TOKENS * 32 && head_sum > 0.8 * N_TOKENS * 32);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_taylor, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_moments, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
