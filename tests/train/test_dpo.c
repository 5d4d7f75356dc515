/* Direct preference optimisation: the loss of a pair by hand, its gradient as a sum of two answers' gradients, and a
 * model that comes to prefer what it is told to. */
#include "tune_fixture.h"

#include "train/dpo.h"

enum { N_PAIRS = 12 };

/* ------------------------------------------------------------------- one pair, by hand */

static void pair_by_hand(void **state) {
    (void)state;
    /* worked out apart from the program: m, then beta m, log(1 + e^-beta m), beta / (1 + e^beta m) */
    static const struct {
        double logp[2], reference[2], beta, margin, loss, weight;
    } cases[] = {
        {{-10, -12}, {-11, -11}, 0.1, 2, 0.59813886938159189, 0.045016600268752212},
        {{-12, -10}, {-11, -11}, 0.1, -2, 0.79813886938159184, 0.054983399731247794},
        {{-5, -7}, {-5, -7}, 0.1, 0, 0.69314718055994531, 0.05},
        {{-40, -90}, {-70, -60}, 0.5, 60, 9.3576229688397368e-14, 4.6788114844196494e-14},
        {{-3, -1}, {-1, -3}, 1, -4, 4.0181499279178094, 0.98201379003790845},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double loss, margin, weight;
        tern_dpo_pair(cases[i].logp, cases[i].reference, cases[i].beta, &loss, &margin, &weight);
        assert_true(margin == cases[i].margin);
        assert_true(fabs(loss - cases[i].loss) < 1e-12 * cases[i].loss);
        assert_true(fabs(weight - cases[i].weight) < 1e-12 * cases[i].weight);
    }
    /* the weight is -dL/dlogp of the chosen answer: central difference */
    const double reference[2] = {-3, -4}, above[2] = {-2 + 1e-5, -5}, below[2] = {-2 - 1e-5, -5}, at[2] = {-2, -5};
    double loss, high, low, margin, weight;
    tern_dpo_pair(above, reference, 0.3, &high, &margin, &weight);
    tern_dpo_pair(below, reference, 0.3, &low, &margin, &weight);
    tern_dpo_pair(at, reference, 0.3, &loss, &margin, &weight);
    assert_true(fabs(weight + (high - low) / 2e-5) < 1e-9);
    const double far[2] = {0, -1e6}; /* no overflow on either side */
    const double near[2] = {-1e6, 0}, none[2] = {0, 0};
    tern_dpo_pair(far, none, 1, &loss, &margin, &weight);
    assert_true(loss == 0 && weight == 0);
    tern_dpo_pair(near, none, 1, &loss, &margin, &weight);
    assert_true(loss == 1e6 && weight == 1);
}

/* --------------------------------------------------------------------- whole batches */

/* To a word the model is to answer with one that is 16 more, not with one that is 32 more. */
static tern_shard *make_pairs(void) {
    tern_shard_writer *writer = begin_shard(TERN_SHARD_PAIRS);
    for (int32_t word = 0; word < N_PAIRS; word++) {
        const int32_t chosen[2] = {word + 16, word + 17}, rejected[3] = {word + 32, word + 31, word + 30};
        const tern_split splits[] = {TERN_SPLIT_TRAIN, TERN_SPLIT_HELD_OUT};
        for (size_t i = 0; i < (word < 2 ? 2 : 1); i++) {
            add_turn(writer, splits[i], word, chosen, 2);
            add_turn(writer, splits[i], word, rejected, 3);
        }
    }
    return finish_shard(writer);
}

static uint64_t last_done, last_total;
static void on_reference(void *user, uint64_t done, uint64_t total) {
    (void)user;
    assert_true(done > last_done || total != last_total);
    last_done = done;
    last_total = total;
}

static tern_dpo *make_dpo(small_model *m, const tern_shard *shard, double beta) {
    tern_dpo *dpo;
    const tern_dpo_params params = {shard,   &m->config,   beta, m->net, m->params.grads,
                                    m->comm, on_reference, NULL, NULL};
    last_done = last_total = 0;
    MUST(tern_dpo_create(&params, &dpo, err));
    assert_true(last_done == last_total && last_total == 2 * N_PAIRS + 4);
    return dpo;
}

/* log p of the rejected or chosen answer to a word; gradients of minus that are added to grads, if it is not NULL. */
static double answer(small_model *m, int32_t word, bool rejected, float *grads) {
    int32_t ids[9] = {BOS, USER, word, END_OF_TURN, ASSISTANT, word + 16, word + 17, END_OF_TURN};
    int32_t targets[8];
    uint32_t starts[2] = {0, rejected ? 8 : 7};
    float weight[8] = {0}, nll[8];
    double sum = 0;
    if (rejected) {
        ids[5] = word + 32, ids[6] = word + 31, ids[7] = word + 30;
        ids[8] = END_OF_TURN;
    }
    const tern_batch batch = {starts[1], ids, targets, {starts, 1}};
    for (uint32_t t = 0; t < starts[1]; t++) {
        targets[t] = t < 4 ? -1 : ids[t + 1];
        weight[t] = t >= 4;
    }
    tern_net_forward(m->net, &batch);
    for (uint32_t t = 4; t < starts[1]; t++)
        sum += log_probability(m, t, ids[t + 1]);
    if (grads)
        tern_net_backward(m->net, &batch, weight, 0, grads, nll, NULL, NULL);
    return sum;
}

static void starts_at_zero(void **state) {
    (void)state;
    small_model m;
    tern_shard *shard = make_pairs();
    make_model(&m, 8, 4);
    tern_dpo *dpo = make_dpo(&m, shard, 0.1);
    tern_objective objective = tern_dpo_objective(dpo);
    tern_step_result result = take_gradients(&m, &objective, 0);
    assert_true(objective.loss_divisor == 4 && result.n_losses == 4);
    assert_true(fabs(result.loss_sum - 4 * log(2)) < 1e-12); /* the model is its own reference */
    assert_true(result.extra[0] == 0 && result.extra[1] == 0);
    assert_true(result.extra[2] < 0 && result.extra[3] < 0);
    result = (tern_step_result){0};
    MUST(objective.validate(objective.user, true, &result, err));
    double chosen = answer(&m, 0, false, NULL) + answer(&m, 1, false, NULL);
    double rejected = answer(&m, 0, true, NULL) + answer(&m, 1, true, NULL);
    assert_true(result.n_losses == 2 && fabs(result.loss_sum - 2 * log(2)) < 1e-12);
    assert_true(fabs(result.extra[2] - chosen) < 1e-4 * fabs(chosen));
    assert_true(fabs(result.extra[3] - rejected) < 1e-4 * fabs(rejected));
    result = (tern_step_result){0};
    MUST(objective.validate(objective.user, false, &result, err));
    assert_true(result.n_losses == 1); /* eval_tokens is 1: one pair */
    result = (tern_step_result){0};
    m.config.eval_tokens = 0; /* all */
    MUST(objective.validate(objective.user, false, &result, err));
    assert_true(result.n_losses == 2);
    tern_dpo_free(dpo);
    tern_shard_close(shard);
    free_model(&m);
}

/* After a few steps, when margins are no longer 0: loss and gradient of a batch against the pairs' own. */
static void gradient_is_the_pairs(void **state) {
    (void)state;
    small_model m;
    tern_shard *shard = make_pairs();
    const double beta = 0.7;
    double reference[N_PAIRS][2];
    make_model(&m, 2 * N_PAIRS, 6); /* one step is one epoch: every pair */
    for (int32_t word = 0; word < N_PAIRS; word++)
        for (int i = 0; i < 2; i++)
            reference[word][i] = answer(&m, word, i, NULL);
    tern_dpo *dpo = make_dpo(&m, shard, beta);
    tern_objective objective = tern_dpo_objective(dpo);
    for (uint64_t step = 0; step < 3; step++) {
        take_gradients(&m, &objective, step);
        update(&m, &objective, step, 2e-3f);
    }
    tern_step_result result = take_gradients(&m, &objective, 3);

    size_t n = m.params.n_values;
    double *wanted = calloc(n, sizeof *wanted), loss = 0, margins = 0, n_won = 0, chosen = 0;
    float *grads = malloc(n * sizeof *grads);
    assert_true(wanted && grads);
    for (int32_t word = 0; word < N_PAIRS; word++) {
        double logp[2], slope;
        for (int i = 0; i < 2; i++)
            logp[i] = answer(&m, word, i, NULL);
        double margin = (logp[0] - reference[word][0]) - (logp[1] - reference[word][1]);
        slope = beta / (1 + exp(beta * margin));
        loss += log(1 + exp(-beta * margin));
        margins += margin;
        n_won += margin > 0;
        chosen += logp[0];
        for (int i = 0; i < 2; i++) {
            memset(grads, 0, n * sizeof *grads);
            answer(&m, word, i, grads);
            for (size_t j = 0; j < n; j++)
                wanted[j] += (i ? -slope : slope) * (double)grads[j];
        }
    }
    for (size_t j = 0; j < n; j++)
        grads[j] = (float)wanted[j];
    double distance = relative_distance(m.params.grads, grads, n);
    assert_true(result.n_losses == N_PAIRS && fabs(margins) > 0.1);
    assert_true(fabs(result.loss_sum - loss) < 1e-4 * loss);
    assert_true(fabs(result.extra[1] - margins) < 1e-3 * fabs(margins));
    assert_true(result.extra[0] == n_won);
    assert_true(fabs(result.extra[2] - chosen) < 1e-4 * fabs(chosen));
    if (!(distance < 1e-4))
        fail_msg("gradients differ by %g", distance);
    free(wanted);
    free(grads);
    tern_dpo_free(dpo);
    tern_shard_close(shard);
    free_model(&m);
}

static void comes_to_prefer(void **state) {
    (void)state;
    small_model m;
    tern_shard *shard = make_pairs();
    make_model(&m, 2 * N_PAIRS, 8);
    tern_dpo *dpo = make_dpo(&m, shard, 0.1);
    tern_objective objective = tern_dpo_objective(dpo);
    tern_step_result first = {0}, last = {0};
    for (uint64_t step = 0; step < 40; step++) {
        last = take_gradients(&m, &objective, step);
        if (step == 0)
            first = last;
        update(&m, &objective, step, 2e-3f);
    }
    if (!(last.extra[0] >= N_PAIRS - 1 && last.extra[1] > N_PAIRS && last.loss_sum < 0.8 * first.loss_sum))
        fail_msg("%.0f of %d pairs, margin %.3f, loss %.4f", last.extra[0], N_PAIRS, last.extra[1] / N_PAIRS,
                 last.loss_sum / N_PAIRS);
    tern_dpo_free(dpo);
    tern_shard_close(shard);
    free_model(&m);
}

static void refuses_odd_batches(void **state) {
    (void)state;
    small_model m;
    tern_error problem = {0};
    tern_dpo *dpo = NULL;
    tern_shard *shard = make_pairs();
    make_model(&m, 8, 4);
    tern_dpo_params params = {shard, &m.config, 0.1, m.net, m.params.grads, m.comm, NULL, NULL, NULL};
    m.config.batch = 7;
    assert_int_equal(tern_dpo_create(&params, &dpo, &problem), TERN_ERR_ARGUMENT);
    m.config.batch = 8;
    m.config.micro = 3;
    assert_int_equal(tern_dpo_create(&params, &dpo, &problem), TERN_ERR_ARGUMENT);
    m.config.micro = 4;
    tern_shard_close(shard);
    tern_shard_writer *writer = begin_shard(TERN_SHARD_CHAT);
    const int32_t words[1] = {3};
    add_turn(writer, TERN_SPLIT_TRAIN, 1, words, 1);
    params.shard = shard = finish_shard(writer);
    assert_int_equal(tern_dpo_create(&params, &dpo, &problem), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(problem.message, "preference pairs"));
    tern_shard_close(shard);
    free_model(&m);
}

static bool go_on_once(void *user) { return ++*(int *)user < 2; }

/* The reference pass can be stopped, and finds a damaged model; a step that goes wrong is left to the loop. */
static void reference_and_steps_that_fail(void **state) {
    (void)state;
    small_model m;
    tern_error problem = {0};
    tern_dpo *dpo = NULL;
    int asked = 0;
    tern_shard *shard = make_pairs();
    make_model(&m, 8, 4);
    tern_dpo_params params = {shard, &m.config, 0.1, m.net, m.params.grads, m.comm, NULL, go_on_once, &asked};
    assert_int_equal(tern_dpo_create(&params, &dpo, &problem), TERN_ERR_CANCELLED);
    assert_int_equal(asked, 2); /* of seven */
    params.go_on = NULL;
    MUST(tern_dpo_create(&params, &dpo, err));
    tern_objective objective = tern_dpo_objective(dpo);
    float *table = m.params.values + tern_param_embedding(&m.params)->offset;
    for (int i = 0; i < VOCAB; i++)
        table[(size_t)i * m.config.dims.hidden_size] = NAN;
    tern_step_result result = take_gradients(&m, &objective, 0);
    assert_true(isnan(result.loss_sum));
    tern_dpo_free(dpo);
    assert_int_equal(tern_dpo_create(&params, &dpo, &problem), TERN_ERR_FORMAT);
    assert_non_null(strstr(problem.message, "damaged"));
    tern_shard_close(shard);
    free_model(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pair_by_hand),          cmocka_unit_test(starts_at_zero),
        cmocka_unit_test(gradient_is_the_pairs), cmocka_unit_test(comes_to_prefer),
        cmocka_unit_test(refuses_odd_batches),   cmocka_unit_test(reference_and_steps_that_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
