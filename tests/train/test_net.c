/* The network against PyTorch in double precision (tests/data/train, tools/make_train_golden.py), against central
 * differences, and against itself: checkpointing, threads, micro-batches. */
#include "train_fixture.h"

#include "base/half.h"
#include "golden/golden.h"
#include "train/optim.h"

#define GOLDEN TERN_SOURCE_DIR "/tests/data/train/golden.safetensors"
static const float z_loss = 0.01f;

/* A net, its parameters and its batch. */
typedef struct setup {
    tern_pool *pool;
    tern_params params;
    tern_net *net;
    test_batch b;
} setup;

static void set_up(setup *s, uint64_t seed, int n_threads, const char *cpu, tern_net_params how) {
    tern_dims dims = golden_dims();
    how.max_tokens = N_TOKENS;
    how.cpu = cpu;
    MUST(tern_pool_create(n_threads, &s->pool, err));
    MUST(tern_params_create(&dims, true, &s->params, err));
    fill_params(&s->params, seed);
    make_batch(&s->b, dims.vocab_size, seed);
    MUST(tern_net_create(&s->params, &how, s->pool, &s->net, err));
}

static void tear_down(setup *s) {
    tern_net_free(s->net);
    tern_params_free(&s->params);
    tern_pool_free(s->pool);
}

static void step(setup *s, tern_weight_mode mode, float *nll) {
    assert_null(tern_net_quantize(s->net, mode));
    memset(s->params.grads, 0, s->params.n_values * sizeof(float));
    tern_net_forward(s->net, &s->b.batch);
    tern_net_backward(s->net, &s->b.batch, s->b.weights, z_loss, s->params.grads, nll, NULL, NULL);
}

/* ----------------------------------------------------------------- golden */

/* |a - b| / |b| over n values, of which `a` has every stride-th. */
static double distance(const float *a, size_t stride, const float *b, size_t n) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        difference += pow((double)a[i * stride] - b[i], 2);
        norm += pow((double)b[i], 2);
    }
    return sqrt(difference / norm);
}

static const struct mode {
    tern_weight_mode mode;
    const char *name;
    bool sampled; /* every SHOWN-th gradient is in the file */
} modes[] = {{TERN_WEIGHTS_TERNARY, "ternary", false},
             {TERN_WEIGHTS_BINARY, "binary", true},
             {TERN_WEIGHTS_FLOAT, "float", false}};
enum { SHOWN = 11, STEPS = 3 };

/* Each tensor of `array` against the file's "<mode>.<kind>.<name>"; returns the largest relative distance. */
static double worst_tensor(const golden_file *golden, const struct mode *mode, const char *kind, size_t stride,
                           const tern_params *params, const float *array) {
    double worst = 0;
    for (size_t i = 0; i < params->n; i++) {
        const tern_param *param = &params->list[i];
        char name[160];
        size_t n;
        snprintf(name, sizeof name, "%s.%s.%s", mode->name, kind, param->name);
        float *expected = golden_copy(golden, name, &n);
        assert_int_equal(n, ((size_t)param->rows * param->cols + stride - 1) / stride);
        double d = distance(array + param->offset, stride, expected, n);
        free(expected);
        worst = d > worst ? d : worst;
    }
    return worst;
}

static uint64_t golden_seed(const golden_file *golden, const char *mode) {
    char name[32];
    size_t n;
    snprintf(name, sizeof name, "%s.seed", mode);
    float *seed = golden_copy(golden, name, &n);
    uint64_t value = (uint64_t)*seed;
    free(seed);
    return value;
}

static void check_losses(const golden_file *golden, const char *mode, int at, const float *nll, double bound) {
    char name[32];
    size_t n;
    snprintf(name, sizeof name, "%s.nll%d", mode, at);
    float *expected = golden_copy(golden, name, &n);
    assert_int_equal(n, N_TOKENS);
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)nll[i] - expected[i]) <= bound))
            fail_msg("%s: token %zu has loss %g, expected %g", name, i, (double)nll[i], (double)expected[i]);
    free(expected);
}

/* Three steps of AdamW. The bounds are float32's: what is left apart is the rounding of sums. */
static void check_golden(const golden_file *golden, const struct mode *mode, tern_net_params how) {
    setup s;
    float nll[N_TOKENS];
    set_up(&s, golden_seed(golden, mode->name), 1, "ref", how);
    for (int at = 0; at < STEPS; at++) {
        step(&s, mode->mode, nll);
        check_losses(golden, mode->name, at, nll, 2e-5);
        if (at == 0)
            assert_true(worst_tensor(golden, mode, "grad", mode->sampled ? SHOWN : 1, &s.params, s.params.grads) <
                        1e-5);
        const tern_adam adam = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-3f};
        tern_adam_step update = {s.params.values,  s.params.m, s.params.v, s.params.grads, 0.25f, 1e-3f, 0.1f,
                                 (uint64_t)at + 1, adam};
        tern_params_update(s.pool, &s.params, &update);
    }
    assert_true(worst_tensor(golden, mode, "after", SHOWN, &s.params, s.params.values) < 5e-6);
    tear_down(&s);
}

static void test_golden(void **state) {
    (void)state;
    golden_file golden = golden_open(GOLDEN);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        check_golden(&golden, &modes[i], (tern_net_params){0});
        check_golden(&golden, &modes[i], (tern_net_params){.recompute = true});
    }
    golden_close(&golden);
}

/* This CPU's kernels: the same losses (to float32), gradients to bfloat16 where it multiplies in that. */
static void test_golden_here(void **state) {
    (void)state;
    golden_file golden = golden_open(GOLDEN);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        setup s;
        float nll[N_TOKENS], again[N_TOKENS];
        set_up(&s, golden_seed(&golden, modes[i].name), 2, NULL, (tern_net_params){0});
        step(&s, modes[i].mode, nll);
        check_losses(&golden, modes[i].name, 0, nll, 0.03);
        tern_net_losses(s.net, &s.b.batch, true, again);
        check_losses(&golden, modes[i].name, 0, again, 2e-5);
        double worst =
            worst_tensor(&golden, &modes[i], "grad", modes[i].sampled ? SHOWN : 1, &s.params, s.params.grads);
        assert_true(worst < 0.02);
        tear_down(&s);
    }
    golden_close(&golden);
}

/* A model of another program's making, with the loss and all gradients at a prompt (reference/README.md: 5e-3 each, as
 * matrices are stored in bf16). */
static void test_reference(void **state) {
    (void)state;
    if (access(SHARED "/tiny-b/grad.safetensors", R_OK))
        skip();
    golden_file grads = golden_open(SHARED "/tiny-b/grad.safetensors");
    golden_file golden = golden_open(SHARED "/tiny-b/golden.safetensors");
    tern_checkpoint *checkpoint = NULL;
    tern_weights weights;
    setup s;
    MUST(tern_checkpoint_open(SHARED "/tiny-b/hf-bf16", &checkpoint, err));
    MUST(tern_weights_bind(checkpoint, &weights, err));
    MUST(tern_pool_create(2, &s.pool, err));
    MUST(tern_params_create(&weights.dims, true, &s.params, err));
    MUST(tern_params_load(checkpoint, &s.params, err));
    size_t n, n_losses;
    int32_t *prompt = golden_copy(&golden, "prompt", &n);
    float *loss = golden_copy(&grads, "loss", &n_losses), ones[64], nll[64];
    const uint32_t starts[] = {0, (uint32_t)n - 1};
    const tern_batch batch = {n - 1, prompt, prompt + 1, {starts, 1}};
    const tern_net_params how = {.max_tokens = n, .cpu = "ref"};
    double mean = 0;
    MUST(tern_net_create(&s.params, &how, s.pool, &s.net, err));
    assert_null(tern_net_quantize(s.net, TERN_WEIGHTS_TERNARY));
    for (size_t i = 0; i + 1 < n; i++)
        ones[i] = 1 / (float)(n - 1);
    tern_net_forward(s.net, &batch);
    tern_net_backward(s.net, &batch, ones, 0, s.params.grads, nll, NULL, NULL);
    for (size_t i = 0; i + 1 < n; i++)
        mean += (double)nll[i] / (double)(n - 1);
    assert_true(fabs(mean / *loss - 1) < 1e-5);
    for (size_t i = 0; i < s.params.n; i++) {
        const tern_param *param = &s.params.list[i];
        size_t n_values = (size_t)param->rows * param->cols, words;
        const uint8_t *bytes = golden_find(&grads, param->name, &words);
        float *expected = malloc(n_values * sizeof *expected);
        assert_non_null(expected);
        for (size_t j = 0; j < n_values; j++) {
            uint16_t half;
            memcpy(&half, bytes + 2 * j, sizeof half);
            if (words == n_values)
                memcpy(&expected[j], bytes + 4 * j, sizeof *expected);
            else
                expected[j] = tern_bf16_to_f32(half);
        }
        double d = distance(s.params.grads + param->offset, 1, expected, n_values);
        if (!(d < 5e-3))
            fail_msg("%s: the gradient is %g apart", param->name, d);
        free(expected);
    }
    free(prompt);
    free(loss);
    golden_close(&grads);
    golden_close(&golden);
    tern_weights_free(&weights);
    tern_checkpoint_close(checkpoint);
    tear_down(&s);
}

/* ---------------------------------------------------- central differences */

static double objective(setup *s) {
    float nll[N_TOKENS];
    double sum = 0;
    tern_net_quantize(s->net, TERN_WEIGHTS_FLOAT);
    tern_net_forward(s->net, &s->b.batch);
    tern_net_losses(s->net, &s->b.batch, true, nll);
    for (int t = 0; t < N_TOKENS; t++)
        sum += (double)s->b.weights[t] * (double)nll[t];
    return sum;
}

/* Along the signs of a tensor's gradient, as far as changes the loss by about 0.02: far above float32's noise, and the
 * curvature cancels. */
static void check_direction(setup *s, const tern_param *param, const float *grads) {
    size_t n = (size_t)param->rows * param->cols;
    float *values = s->params.values + param->offset, *kept = malloc(n * sizeof *kept);
    assert_non_null(kept);
    memcpy(kept, values, n * sizeof *kept);
    double slope = 0, sides[2];
    for (size_t i = 0; i < n; i++)
        slope += fabs((double)grads[param->offset + i]);
    double h = 0.01 / slope, moved = 0;
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < n; i++)
            values[i] = kept[i] + (side ? 1.0f : -1.0f) * (float)copysign(h, (double)grads[param->offset + i]);
        sides[side] = objective(s);
    }
    for (size_t i = 0; i < n; i++) { /* the step as float32 has it */
        float step_h = (float)copysign(h, (double)grads[param->offset + i]);
        moved += 0.5 * ((double)(kept[i] + step_h) - (double)(kept[i] - step_h)) * (double)grads[param->offset + i];
    }
    memcpy(values, kept, n * sizeof *kept);
    free(kept);
    double measured = (sides[1] - sides[0]) / 2;
    if (!(fabs(measured / moved - 1) < 0.01))
        fail_msg("%s: the loss changes by %g, the gradient says %g", param->name, measured, moved);
}

static void test_central_differences(void **state) {
    (void)state;
    setup s;
    float nll[N_TOKENS];
    set_up(&s, 77, 1, "ref", (tern_net_params){.weights = TERN_WEIGHTS_FLOAT});
    assert_null(tern_net_quantize(s.net, TERN_WEIGHTS_FLOAT));
    tern_net_forward(s.net, &s.b.batch);
    tern_net_backward(s.net, &s.b.batch, s.b.weights, 0, s.params.grads, nll, NULL, NULL);
    for (size_t i = 0; i < s.params.n; i++)
        check_direction(&s, &s.params.list[i], s.params.grads);
    tear_down(&s);
}

/* ------------------------------------------------------------- the same bits */

static float *gradients(tern_weight_mode mode, int n_threads, tern_net_params how, float *nll, size_t *n) {
    setup s;
    set_up(&s, 5, n_threads, NULL, how);
    step(&s, mode, nll);
    float *copy = malloc(s.params.n_values * sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, s.params.grads, s.params.n_values * sizeof *copy);
    *n = s.params.n_values;
    tear_down(&s);
    return copy;
}

static void test_same_bits(void **state) {
    (void)state;
    const struct {
        int n_threads;
        tern_net_params how;
    } others[] = {{1, {.recompute = true}}, {3, {0}}, {3, {.recompute = true}}, {2, {.sparsity = true}}};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        float nll[N_TOKENS], other_nll[N_TOKENS];
        size_t n;
        float *grads = gradients(modes[i].mode, 1, (tern_net_params){0}, nll, &n);
        for (size_t j = 0; j < sizeof others / sizeof *others; j++) {
            float *other = gradients(modes[i].mode, others[j].n_threads, others[j].how, other_nll, &n);
            assert_memory_equal(grads, other, n * sizeof *grads);
            assert_memory_equal(nll, other_nll, sizeof nll);
            free(other);
        }
        free(grads);
    }
}

/* Sequences 0, 1 and then 2, 3: the same losses, and gradients that differ by the rounding of sums only. */
static void test_micro_batches(void **state) {
    (void)state;
    float nll[N_TOKENS], parts_nll[N_TOKENS];
    size_t n;
    float *whole = gradients(TERN_WEIGHTS_TERNARY, 2, (tern_net_params){0}, nll, &n);
    setup s;
    set_up(&s, 5, 2, NULL, (tern_net_params){0});
    assert_null(tern_net_quantize(s.net, TERN_WEIGHTS_TERNARY));
    for (int half = 0; half < 2; half++) {
        uint32_t first = s.b.starts[2 * half], starts[3];
        for (int i = 0; i < 3; i++)
            starts[i] = s.b.starts[2 * half + i] - first;
        tern_batch part = {starts[2], s.b.inputs + first, s.b.targets + first, {starts, 2}};
        tern_net_forward(s.net, &part);
        tern_net_backward(s.net, &part, s.b.weights + first, z_loss, s.params.grads, parts_nll + first, NULL, NULL);
    }
    assert_memory_equal(nll, parts_nll, sizeof nll);
    for (size_t i = 0; i < s.params.n; i++) {
        const tern_param *param = &s.params.list[i];
        assert_true(distance(s.params.grads + param->offset, 1, whole + param->offset,
                             (size_t)param->rows * param->cols) < 1e-5);
    }
    tear_down(&s);
    free(whole);
}

/* Tokens without a target are as those with weight 0, for all but their own loss; in whatever number. */
static void test_answers_only(void **state) {
    (void)state;
    for (int share = 1; share <= 4; share++) {
        float *grads[2], nll[2][N_TOKENS], losses[N_TOKENS];
        size_t n = 0;
        for (int masked = 0; masked < 2; masked++) {
            setup s;
            set_up(&s, 5, 1, "ref", (tern_net_params){0});
            for (int t = 0; t < N_TOKENS; t++) {
                s.b.targets[t] = t % 5;
                if (t % 4 >= 4 - share) {
                    s.b.weights[t] = 0;
                    s.b.targets[t] = masked ? -1 : t % 5;
                }
            }
            step(&s, TERN_WEIGHTS_TERNARY, nll[masked]);
            tern_net_losses(s.net, &s.b.batch, true, losses);
            for (int t = 0; t < N_TOKENS; t++)
                assert_true(fabs((double)losses[t] - nll[masked][t]) < 1e-6);
            n = s.params.n_values;
            grads[masked] = malloc(n * sizeof(float));
            assert_non_null(grads[masked]);
            memcpy(grads[masked], s.params.grads, n * sizeof(float));
            tear_down(&s);
        }
        for (int t = 0; t < N_TOKENS; t++)
            assert_true(nll[1][t] == (t % 4 >= 4 - share ? 0 : nll[0][t]));
        if (share < 4)
            assert_true(distance(grads[1], 1, grads[0], n) < 1e-6);
        for (size_t i = 0; share == 4 && i < n; i++)
            assert_true(grads[1][i] == 0);
        free(grads[0]);
        free(grads[1]);
    }
}

static void test_forward_only(void **state) {
    (void)state;
    float losses[2][N_TOKENS];
    for (int i = 0; i < 2; i++) {
        setup s;
        set_up(&s, 9, 2, NULL, (tern_net_params){.forward_only = i});
        assert_null(tern_net_quantize(s.net, TERN_WEIGHTS_TERNARY));
        tern_net_forward(s.net, &s.b.batch);
        tern_net_losses(s.net, &s.b.batch, true, losses[i]);
        for (int t = 0; t < N_TOKENS; t++)
            assert_true(s.b.targets[t] < 0 ? losses[i][t] == 0 : losses[i][t] > 0);
        tear_down(&s);
    }
    assert_memory_equal(losses[0], losses[1], sizeof losses[0]);
}

/* ------------------------------------------------------------------ ready */

typedef struct watch {
    const tern_params *params;
    float *seen; /* gradients when they were called ready */
    size_t end, n_calls;
} watch;

/* Layers come from the last to the first, then the rest; each stretch begins where the one above it ended. */
static void on_ready(void *user, size_t offset, size_t n) {
    watch *w = user;
    size_t n_layers = w->params->dims.n_layers;
    const tern_param *first = w->n_calls < n_layers ? tern_param_of(w->params, (uint32_t)(n_layers - 1 - w->n_calls), 0)
                                                    : tern_param_embedding(w->params);
    size_t end = w->n_calls == 0          ? tern_param_embedding(w->params)->offset
                 : w->n_calls == n_layers ? w->params->n_values
                                          : w->end;
    assert_int_equal(offset, first->offset);
    assert_int_equal(offset + n, end);
    memcpy(w->seen + offset, w->params->grads + offset, n * sizeof(float));
    w->end = offset;
    w->n_calls++;
}

static void test_ready(void **state) {
    (void)state;
    setup s;
    float nll[N_TOKENS];
    set_up(&s, 11, 2, NULL, (tern_net_params){0});
    watch w = {.params = &s.params, .seen = calloc(s.params.n_values, sizeof(float))};
    assert_non_null(w.seen);
    assert_null(tern_net_quantize(s.net, TERN_WEIGHTS_TERNARY));
    tern_net_forward(s.net, &s.b.batch);
    tern_net_backward(s.net, &s.b.batch, s.b.weights, z_loss, s.params.grads, nll, on_ready, &w);
    assert_int_equal(w.n_calls, s.params.dims.n_layers + 1);
    assert_memory_equal(w.seen, s.params.grads, s.params.n_values * sizeof(float));
    free(w.seen);
    tear_down(&s);
}

/* ------------------------------------------------------------------- rest */

static void test_not_finite(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    setup s;
    set_up(&s, 3, 2, NULL, (tern_net_params){0});
    for (size_t i = 0; i < s.params.n; i++) {
        const tern_param *param = &s.params.list[i];
        float *value = s.params.values + param->offset + (size_t)param->rows * param->cols - 1, kept = *value;
        *value = bad[i % 3];
        for (size_t j = 0; j < sizeof modes / sizeof *modes; j++)
            assert_ptr_equal(tern_net_quantize(s.net, modes[j].mode), param);
        *value = kept;
    }
    assert_null(tern_net_quantize(s.net, TERN_WEIGHTS_TERNARY));
    tear_down(&s);
}

/* Gates that are all 0 are closed, and with them the down projection's inputs are 0; random ones are about half. */
static void test_sparsity(void **state) {
    (void)state;
    for (size_t j = 0; j < sizeof modes / sizeof *modes; j++) {
        setup s;
        double zeros, closed;
        set_up(&s, 21, 2, NULL, (tern_net_params){.sparsity = true, .forward_only = true});
        const tern_param *gate = tern_param_of(&s.params, 1, TERN_PARAM_GATE);
        if (modes[j].mode != TERN_WEIGHTS_BINARY)
            memset(s.params.values + gate->offset, 0, (size_t)gate->rows * gate->cols * sizeof(float));
        tern_net_quantize(s.net, modes[j].mode);
        tern_net_forward(s.net, &s.b.batch);
        tern_net_sparsity(s.net, 0, &zeros, &closed);
        assert_true(closed > 0.3 && closed < 0.7 && zeros >= closed && zeros < 0.95);
        tern_net_sparsity(s.net, 1, &zeros, &closed);
        if (modes[j].mode != TERN_WEIGHTS_BINARY)
            assert_true(zeros == 1 && closed == 1);
        tear_down(&s);
    }
}

/* Counts go on until a backward pass: those of a validation in two batches are the whole batch's. */
static void test_sparsity_sums(void **state) {
    (void)state;
    setup s;
    double whole[2], half[2], both[2], anew[2];
    float nll[N_TOKENS];
    set_up(&s, 21, 2, NULL, (tern_net_params){.sparsity = true});
    tern_net_quantize(s.net, TERN_WEIGHTS_TERNARY);
    uint32_t cut = s.b.starts[2], ends[] = {0, s.b.starts[3] - cut, s.b.starts[4] - cut};
    const tern_batch begin = {cut, s.b.inputs, s.b.targets, {s.b.starts, 2}};
    const tern_batch end = {ends[2], s.b.inputs + cut, s.b.targets + cut, {ends, 2}};
    tern_net_forward(s.net, &s.b.batch);
    tern_net_sparsity(s.net, 0, &whole[0], &whole[1]);
    tern_net_backward(s.net, &s.b.batch, s.b.weights, 0, s.params.grads, nll, NULL, NULL);
    tern_net_forward(s.net, &begin);
    tern_net_sparsity(s.net, 0, &half[0], &half[1]);
    tern_net_forward(s.net, &end);
    tern_net_sparsity(s.net, 0, &both[0], &both[1]);
    tern_net_backward(s.net, &end, s.b.weights, 0, s.params.grads, nll, NULL, NULL);
    tern_net_forward(s.net, &begin);
    tern_net_sparsity(s.net, 0, &anew[0], &anew[1]);
    assert_true(half[0] != whole[0] && half[1] != whole[1]);
    assert_memory_equal(both, whole, sizeof both);
    assert_memory_equal(anew, half, sizeof anew);
    tear_down(&s);
}

static void test_memory(void **state) {
    (void)state;
    const tern_dims dims = {.vocab_size = 128256,
                            .n_ctx = 4096,
                            .hidden_size = 2560,
                            .ffn_size = 6912,
                            .n_layers = 30,
                            .n_heads = 20,
                            .n_kv_heads = 5,
                            .head_dim = 128,
                            .rms_eps = 1e-5f,
                            .rope_theta = 5e5f};
    tern_net_params how = {.max_tokens = 1024, .n_threads = 2};
    uint64_t whole = tern_net_bytes(&dims, &how);
    how.recompute = true;
    uint64_t recomputed = tern_net_bytes(&dims, &how), frozen = tern_net_frozen_bytes(&dims, &how);
    how.forward_only = true;
    uint64_t forward = tern_net_bytes(&dims, &how);
    uint64_t packed = UINT64_C(2084044800) / 4; /* all ternary weights at two bits */
    assert_true(forward > packed && forward < recomputed && recomputed < whole / 3);
    assert_true(frozen + packed / 2 < recomputed);
    how.max_tokens = SIZE_MAX / 2;
    assert_true(tern_net_bytes(&dims, &how) == UINT64_MAX);

    setup s;
    tern_net *net = NULL;
    tern_error error;
    set_up(&s, 1, 1, NULL, (tern_net_params){0});
    assert_int_equal(tern_net_create(&s.params, &how, s.pool, &net, &error), TERN_ERR_MEMORY);
    assert_non_null(strstr(error.message, "micro-batch"));
    how.max_tokens = 0;
    assert_int_equal(tern_net_create(&s.params, &how, s.pool, &net, &error), TERN_ERR_ARGUMENT);
    tear_down(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),       cmocka_unit_test(test_golden_here),
        cmocka_unit_test(test_reference),    cmocka_unit_test(test_central_differences),
        cmocka_unit_test(test_same_bits),    cmocka_unit_test(test_micro_batches),
        cmocka_unit_test(test_answers_only), cmocka_unit_test(test_forward_only),
        cmocka_unit_test(test_ready),        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_sparsity),     cmocka_unit_test(test_sparsity_sums),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
