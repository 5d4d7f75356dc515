/* Adapters in training: their layout and files; gradients of the whole network against central differences; merged and
 * beside the model they are the same; and what training sees is what `tern run --lora` computes. */
#include "train_fixture.h"

#include <unistd.h>

#include "base/rng.h"
#include "tern/tern.h"
#include "train/merge.h"

#define MODEL TERN_SOURCE_DIR "/tests/data/golden/small/hf-bf16"
enum { RANK = 3, ALL = (1 << TERN_LINEARS_PER_LAYER) - 1 };

static tern_error problem;
static char folder[] = "/tmp/tern-lora-XXXXXX";

static void fill_lora(tern_lora *lora, uint64_t seed) {
    tern_rng rng;
    tern_rng_seed(&rng, seed);
    for (size_t i = 0; i < lora->n; i++)
        for (size_t j = 0; j < (size_t)lora->list[i].rows * lora->list[i].cols; j++)
            lora->values[lora->list[i].offset + j] = 0.2f * (float)tern_rng_normal(&rng);
}

/* ------------------------------------------------------------------ layout and files */

static void lays_out(void **state) {
    (void)state;
    const tern_dims dims = golden_dims();
    tern_lora lora;
    unsigned targets = 1 << TERN_PARAM_K | 1 << TERN_PARAM_DOWN;
    MUST(tern_lora_create(&dims, RANK, 6, targets, &lora, err));
    assert_int_equal(lora.n, dims.n_layers * 4);
    size_t end = 0;
    for (size_t i = 0; i < lora.n; i++) {
        assert_true(lora.list[i].offset >= end && lora.list[i].offset % 16 == 0);
        end = lora.list[i].offset + (size_t)lora.list[i].rows * lora.list[i].cols;
        assert_string_equal(tern_lora_name_of(&lora, end - 1), lora.list[i].name);
    }
    assert_true(lora.n_values >= end);
    const float *a, *b;
    assert_false(tern_lora_find(&lora, lora.values, 1, TERN_PARAM_Q, &a, &b));
    assert_true(tern_lora_find(&lora, lora.values, 1, TERN_PARAM_DOWN, &a, &b));
    assert_ptr_equal(a, lora.values + lora.list[6].offset);
    assert_ptr_equal(b, lora.values + lora.list[7].offset);
    assert_string_equal(lora.list[6].name, "model.layers.1.mlp.down_proj.lora_A");
    assert_int_equal(lora.list[6].cols, dims.ffn_size);
    assert_int_equal(lora.list[7].rows, dims.hidden_size);

    tern_lora_init(&lora, 1);
    double squares = 0;
    size_t n = 0;
    for (size_t i = 0; i < lora.n; i++)
        for (size_t j = 0; j < (size_t)lora.list[i].rows * lora.list[i].cols; j++) {
            double value = lora.values[lora.list[i].offset + j];
            if (i % 2)
                assert_true(value == 0);
            else
                squares += value * value * lora.list[i].cols, n++;
        }
    assert_true(fabs(squares / (double)n - 1) < 0.15); /* A ~ N(0, 1 / in) */
    tern_lora other;                                   /* the same A, whatever else is adapted */
    MUST(tern_lora_create(&dims, RANK, 6, ALL, &other, err));
    tern_lora_init(&other, 1);
    const tern_param *mine = tern_lora_param(&lora, 1, TERN_PARAM_DOWN, false);
    assert_memory_equal(lora.values + mine->offset,
                        other.values + tern_lora_param(&other, 1, TERN_PARAM_DOWN, false)->offset,
                        (size_t)mine->rows * mine->cols * sizeof(float));
    tern_lora_free(&other);
    tern_lora_free(&lora);
    assert_int_equal(tern_lora_create(&dims, 0, 1, ALL, &lora, &problem), TERN_ERR_ARGUMENT);
    assert_int_equal(tern_lora_create(&dims, 1, 1, 0, &lora, &problem), TERN_ERR_ARGUMENT);
    assert_int_equal(tern_lora_create(&dims, 1000, 1, ALL, &lora, &problem), TERN_ERR_ARGUMENT);
}

static void reads_what_it_saved(void **state) {
    (void)state;
    const tern_dims dims = golden_dims();
    tern_lora lora, again;
    MUST(tern_lora_create(&dims, RANK, 6.5f, 1 << TERN_PARAM_V | 1 << TERN_PARAM_UP, &lora, err));
    fill_lora(&lora, 4);
    MUST(tern_lora_save(&lora, folder, err));
    MUST(tern_lora_read(folder, &dims, &again, err));
    assert_int_equal(again.r, lora.r);
    assert_int_equal(again.targets, lora.targets);
    assert_true(fabsf(again.alpha - lora.alpha) < 1e-6f);
    assert_int_equal(again.n_values, lora.n_values);
    assert_memory_equal(again.values, lora.values, lora.n_values * sizeof(float));
    tern_lora_free(&again);
    tern_lora_free(&lora);
}

static void reads_targets(void **state) {
    (void)state;
    unsigned targets = 0;
    MUST(tern_lora_targets("all", &targets, err));
    assert_int_equal(targets, ALL);
    MUST(tern_lora_targets("q,down", &targets, err));
    assert_int_equal(targets, 1 << TERN_PARAM_Q | 1 << TERN_PARAM_DOWN);
    static const char *const bad[] = {"", "q,", ",q", "x", "q;v", "qq"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(tern_lora_targets(bad[i], &targets, &problem), TERN_ERR_ARGUMENT);
}

/* --------------------------------------------------------------------------- gradients */

typedef struct setup {
    tern_dims dims;
    tern_pool *pool;
    tern_params params;
    tern_lora lora;
    tern_net *net; /* adapters beside the masters */
    test_batch b;
    float nll[N_TOKENS];
} setup;

static void set_up(setup *s, tern_weight_mode mode) {
    s->dims = golden_dims();
    MUST(tern_pool_create(2, &s->pool, err));
    MUST(tern_params_create(&s->dims, false, &s->params, err));
    MUST(tern_lora_create(&s->dims, RANK, 4, ALL, &s->lora, err));
    fill_params(&s->params, 5);
    fill_lora(&s->lora, 6);
    make_batch(&s->b, s->dims.vocab_size, 5);
    const tern_net_params how = {
        .max_tokens = N_TOKENS, .weights = mode, .lora = &s->lora, .cpu = "ref"}; /* no bfloat16 */
    MUST(tern_net_create(&s->params, &how, s->pool, &s->net, err));
    assert_null(tern_net_quantize(s->net, mode));
}

static void tear_down(setup *s) {
    tern_net_free(s->net);
    tern_lora_free(&s->lora);
    tern_params_free(&s->params);
    tern_pool_free(s->pool);
}

static double loss_of(setup *s, tern_net *net) {
    double sum = 0;
    tern_net_forward(net, &s->b.batch);
    tern_net_losses(net, &s->b.batch, true, s->nll);
    for (int t = 0; t < N_TOKENS; t++)
        sum += s->b.targets[t] < 0 ? 0 : (double)s->b.weights[t] * s->nll[t];
    return sum;
}

/* Without the quantisers (a float model) the loss is smooth. float32's noise bounds how well this can agree. */
static void agrees_with_central_differences(void **state) {
    (void)state;
    setup s;
    set_up(&s, TERN_WEIGHTS_FLOAT);
    memset(s.lora.grads, 0, s.lora.n_values * sizeof(float));
    tern_net_forward(s.net, &s.b.batch);
    tern_net_backward(s.net, &s.b.batch, s.b.weights, 0, s.lora.grads, s.nll, NULL, NULL);
    double squares = 0, errors = 0;
    size_t checked = 0;
    for (size_t i = 0; i < s.lora.n; i++)
        for (size_t j = 0; j < (size_t)s.lora.list[i].rows * s.lora.list[i].cols; j += 37) {
            float *value = s.lora.values + s.lora.list[i].offset + j, was = *value, step = 1e-2f;
            *value = was + step;
            double above = loss_of(&s, s.net), distance = (double)*value;
            *value = was - step;
            double below = loss_of(&s, s.net);
            distance -= (double)*value;
            *value = was;
            double slope = (above - below) / distance;
            errors += pow(slope - (double)s.lora.grads[s.lora.list[i].offset + j], 2);
            squares += slope * slope;
            checked++;
        }
    assert_true(checked > 100 && squares > 0);
    if (!(sqrt(errors / squares) < 1e-2))
        fail_msg("adapters' gradients differ by %g of their norm", sqrt(errors / squares));
    tear_down(&s);
}

/* In a float model W + (alpha / r) B A is the same function, whether the products are added or the matrices. */
static void merged_is_the_same(void **state) {
    (void)state;
    setup s;
    tern_merge merge;
    tern_net *net;
    set_up(&s, TERN_WEIGHTS_FLOAT);
    MUST(tern_merge_create(&s.params, &s.lora, s.pool, &merge, err));
    const tern_net_params how = {.max_tokens = N_TOKENS, .weights = TERN_WEIGHTS_FLOAT, .cpu = "ref"};
    MUST(tern_net_create(&merge.merged, &how, s.pool, &net, err));
    assert_null(tern_net_quantize(net, TERN_WEIGHTS_FLOAT));
    double beside = loss_of(&s, s.net), merged = loss_of(&s, net);
    assert_true(fabs(beside - merged) < 1e-5 * fabs(beside));

    float *grads = malloc(s.lora.n_values * sizeof *grads);
    assert_non_null(grads);
    memset(s.lora.grads, 0, s.lora.n_values * sizeof(float));
    tern_net_forward(s.net, &s.b.batch);
    tern_net_backward(s.net, &s.b.batch, s.b.weights, 0, s.lora.grads, s.nll, NULL, NULL);
    memcpy(grads, s.lora.grads, s.lora.n_values * sizeof(float));
    memset(s.lora.grads, 0, s.lora.n_values * sizeof(float));
    tern_net_forward(net, &s.b.batch);
    tern_net_backward(net, &s.b.batch, s.b.weights, 0, merge.merged.grads, s.nll, NULL, NULL);
    tern_merge_backward(&merge);
    double squares = 0, errors = 0;
    for (size_t i = 0; i < s.lora.n_values; i++) {
        squares += pow((double)grads[i], 2);
        errors += pow((double)grads[i] - (double)s.lora.grads[i], 2);
    }
    if (!(sqrt(errors / squares) < 1e-4))
        fail_msg("gradients through the merged matrices differ by %g", sqrt(errors / squares));
    for (size_t i = 0; i < merge.merged.n_values; i++)
        assert_true(merge.merged.grads[i] == 0);
    memset(s.lora.values, 0, s.lora.n_values * sizeof(float)); /* no adapter: the masters */
    tern_merge_apply(&merge);
    assert_memory_equal(merge.merged.values, s.params.values, s.params.n_values * sizeof(float));
    free(grads);
    tern_net_free(net);
    tern_merge_free(&merge);
    tear_down(&s);
}

/* ----------------------------------------------------------------- a model's file and the run */

enum { N_IDS = 60, VOCAB = 277 };

typedef struct frozen {
    tern_pool *pool;
    tern_checkpoint *checkpoint;
    tern_weights weights;
    tern_lora lora;
    tern_net *net;
    int32_t ids[N_IDS + 1];
    uint32_t starts[2];
    tern_batch batch;
    float weight[N_IDS], nll[N_IDS];
} frozen;

static void load_frozen(frozen *f) {
    const tern_ternary *ternary;
    *f = (frozen){.starts = {0, N_IDS}};
    for (int i = 0; i <= N_IDS; i++)
        f->ids[i] = (i * 37 + 11) % 260;
    f->batch = (tern_batch){N_IDS, f->ids, f->ids + 1, {f->starts, 1}};
    for (int i = 0; i < N_IDS; i++)
        f->weight[i] = 1;
    MUST(tern_pool_create(2, &f->pool, err));
    MUST(tern_checkpoint_open(MODEL, &f->checkpoint, err));
    MUST(tern_net_ternary(NULL, &ternary, err));
    MUST(tern_weights_load(f->checkpoint, ternary, f->pool, NULL, &f->weights, err));
    MUST(tern_lora_create(&f->weights.dims, 4, 8, ALL, &f->lora, err));
    const tern_net_params how = {.max_tokens = N_IDS, .lora = &f->lora};
    MUST(tern_net_create_frozen(&f->weights, &how, f->pool, &f->net, err));
}

static void free_frozen(frozen *f) {
    tern_net_free(f->net);
    tern_lora_free(&f->lora);
    tern_weights_free(&f->weights);
    tern_checkpoint_close(f->checkpoint);
    tern_pool_free(f->pool);
}

static double mean_loss(frozen *f) {
    double sum = 0;
    tern_net_forward(f->net, &f->batch);
    tern_net_losses(f->net, &f->batch, true, f->nll);
    for (int i = 0; i < N_IDS; i++)
        sum += (double)f->nll[i];
    return sum / N_IDS;
}

/* Of the same tokens through the public interface. */
static double mean_loss_of_run(const frozen *f, const char *adapter) {
    tern_model_params params = tern_model_defaults();
    tern_session_params session_params = {.kv_type = TERN_KV_F32};
    tern_model *model;
    tern_session *session;
    static float logits[N_IDS * VOCAB];
    params.lora = adapter;
    MUST(tern_model_load(MODEL, &params, &model, err));
    MUST(tern_session_create(model, &session_params, &session, err));
    MUST(tern_session_eval_logits(session, f->ids, N_IDS, logits, err));
    double sum = 0;
    for (int i = 0; i < N_IDS; i++) {
        double total = 0, largest = -1e30;
        for (int j = 0; j < VOCAB; j++)
            largest = (double)logits[i * VOCAB + j] > largest ? (double)logits[i * VOCAB + j] : largest;
        for (int j = 0; j < VOCAB; j++)
            total += exp((double)logits[i * VOCAB + j] - largest);
        sum += log(total) + largest - (double)logits[i * VOCAB + f->ids[i + 1]];
    }
    tern_session_free(session);
    tern_model_free(model);
    return sum / N_IDS;
}

/* Adapters of a frozen ternary model learn a text by heart, and the model that runs with them knows it as well. */
static void trains_and_runs(void **state) {
    (void)state;
    frozen f;
    load_frozen(&f);
    tern_lora_init(&f.lora, 3);
    double before = mean_loss(&f), loss = before;
    assert_true(fabs(before - mean_loss_of_run(&f, NULL)) < 1e-4); /* B is zero */
    for (uint64_t t = 1; t <= 60; t++) {
        memset(f.lora.grads, 0, f.lora.n_values * sizeof(float));
        tern_net_forward(f.net, &f.batch);
        tern_net_backward(f.net, &f.batch, f.weight, 0, f.lora.grads, f.nll, NULL, NULL);
        tern_adam_update(f.pool,
                         &(tern_adam_step){.values = f.lora.values,
                                           .m = f.lora.m,
                                           .v = f.lora.v,
                                           .grads = f.lora.grads,
                                           .grad_scale = 1.0f / N_IDS,
                                           .lr = 1e-2f,
                                           .t = t,
                                           .adam = {0.9f, 0.95f, 1e-8f, 0}},
                         f.lora.n_values, true);
    }
    loss = mean_loss(&f);
    MUST(tern_lora_save(&f.lora, folder, err));
    double run = mean_loss_of_run(&f, folder);
    if (!(loss < before / 2 && fabs(loss - run) < 1e-4 * fmax(loss, 1)))
        fail_msg("%.6f nats before, %.6f after, %.6f when run", before, loss, run);
    free_frozen(&f);
}

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    char path[96];
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    unlink(path);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lays_out),           cmocka_unit_test(reads_what_it_saved),
        cmocka_unit_test(reads_targets),      cmocka_unit_test(agrees_with_central_differences),
        cmocka_unit_test(merged_is_the_same), cmocka_unit_test(trains_and_runs),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
