/* Supervised fine-tuning: losses of answers alone, summed, whatever the micro-batches; and a toy chat that is learnt.
 */
#include "tune_fixture.h"

#include "train/sft.h"

enum { N_WORDS = 16 };

/* What the assistant is to answer to a word. */
static void answer_to(int32_t word, int32_t answer[2]) {
    answer[0] = 16 + (word * 5 + 3) % 16;
    answer[1] = 32 + (word * 7 + 1) % 16;
}

static tern_shard *make_chats(void) {
    tern_shard_writer *writer = begin_shard(TERN_SHARD_CHAT);
    for (int32_t word = 0; word < N_WORDS; word++) {
        int32_t answer[2];
        answer_to(word, answer);
        add_turn(writer, TERN_SPLIT_TRAIN, word, answer, 2);
        if (word < 3)
            add_turn(writer, TERN_SPLIT_HELD_OUT, word, answer, 2);
    }
    return finish_shard(writer);
}

static tern_sft *make_sft(small_model *m, const tern_shard *shard) {
    tern_sft *sft;
    const tern_sft_params params = {shard, &m->config, m->net, m->params.grads, m->comm};
    MUST(tern_sft_create(&params, &sft, err));
    return sft;
}

/* Every conversation: BOS, USER, word, END, ASSISTANT, two words, END. */
static double answer_loss(small_model *m, int32_t word, bool *right) {
    int32_t ids[8] = {BOS, USER, word, END_OF_TURN, ASSISTANT, 0, 0, END_OF_TURN};
    uint32_t starts[2] = {0, 7};
    answer_to(word, ids + 5);
    const tern_batch batch = {7, ids, ids + 1, {starts, 1}};
    double loss = 0;
    tern_net_forward(m->net, &batch);
    *right = true;
    for (size_t t = 4; t < 7; t++) {
        double mine = log_probability(m, t, ids[t + 1]);
        loss -= mine;
        for (int32_t v = 0; v < VOCAB; v++)
            *right &= v == ids[t + 1] || log_probability(m, t, v) < mine;
    }
    return loss;
}

static void sums_answers_only(void **state) {
    (void)state;
    small_model m;
    tern_shard *shard = make_chats();
    make_model(&m, N_WORDS, 4);
    tern_sft *sft = make_sft(&m, shard);
    tern_objective objective = tern_sft_objective(sft);
    /* an epoch's losses over its rows, times the rows of a batch */
    double rows = ceil(N_WORDS / 2.0);
    assert_true(fabs(objective.loss_divisor - 3.0 * N_WORDS / rows * N_WORDS) < 1e-9);
    assert_int_equal(objective.data_hash, tern_shard_describe(shard)->hash);

    tern_step_result result = {0};
    MUST(objective.validate(objective.user, true, &result, err));
    double wanted = 0;
    bool right;
    for (int32_t word = 0; word < 3; word++)
        wanted += answer_loss(&m, word, &right);
    assert_true(result.n_losses == 9 && result.n_tokens == 21);
    assert_true(fabs(result.loss_sum - wanted) < 1e-5 * wanted);
    result = (tern_step_result){0};
    m.config.eval_tokens = 0; /* all of them on the way, too */
    MUST(objective.validate(objective.user, false, &result, err));
    assert_true(result.n_losses == 9);

    result = take_gradients(&m, &objective, 0); /* two epochs' worth of rows: every conversation twice */
    wanted = 0;
    for (int32_t word = 0; word < N_WORDS; word++)
        wanted += 2 * answer_loss(&m, word, &right);
    assert_true(result.n_losses == 6 * N_WORDS);
    assert_true(fabs(result.loss_sum - wanted) < 1e-5 * wanted);
    tern_sft_free(sft);
    tern_shard_close(shard);
    free_model(&m);
}

/* The gradient of a batch is the sum over its answers' tokens, however it is cut. */
static void micro_batches_add_up(void **state) {
    (void)state;
    small_model m[2];
    tern_shard *shard = make_chats();
    tern_step_result results[2];
    for (int i = 0; i < 2; i++) {
        make_model(&m[i], 8, i ? 1 : 8);
        tern_sft *sft = make_sft(&m[i], shard);
        tern_objective objective = tern_sft_objective(sft);
        results[i] = take_gradients(&m[i], &objective, 1);
        tern_sft_free(sft);
    }
    assert_true(results[0].n_losses == results[1].n_losses && results[0].n_losses > 0);
    assert_true(fabs(results[0].loss_sum - results[1].loss_sum) < 1e-5 * results[0].loss_sum);
    double distance = relative_distance(m[1].params.grads, m[0].params.grads, m[0].params.n_values);
    if (!(distance < 1e-5))
        fail_msg("gradients differ by %g", distance);
    /* and it is that of the batch's rows in one forward and backward pass */
    tern_feed *feed;
    tern_rows rows;
    float weight[8 * N_CTX], nll[8 * N_CTX];
    float *together = malloc(m[0].params.n_values * sizeof *together);
    assert_non_null(together);
    memcpy(together, m[0].params.grads, m[0].params.n_values * sizeof(float));
    MUST(tern_feed_create(shard, N_CTX, 8, m[0].config.seed, &feed, err));
    MUST(tern_rows_create(8, N_CTX, &rows, err));
    MUST(tern_feed_rows(feed, 1, 0, 8, &rows, err));
    for (size_t t = 0; t < rows.batch.n_tokens; t++)
        weight[t] = rows.targets[t] >= 0;
    memset(m[0].params.grads, 0, m[0].params.n_values * sizeof(float));
    tern_net_forward(m[0].net, &rows.batch);
    tern_net_backward(m[0].net, &rows.batch, weight, 0, m[0].params.grads, nll, NULL, NULL);
    assert_memory_equal(together, m[0].params.grads, m[0].params.n_values * sizeof(float));
    free(together);
    tern_rows_free(&rows);
    tern_feed_free(feed);
    free_model(&m[0]);
    free_model(&m[1]);
    tern_shard_close(shard);
}

static void learns_a_toy_chat(void **state) {
    (void)state;
    small_model m;
    tern_shard *shard = make_chats();
    make_model(&m, 8, 8);
    tern_sft *sft = make_sft(&m, shard);
    tern_objective objective = tern_sft_objective(sft);
    int n_right = 0;
    double before = 0, after = 0;
    bool right;
    for (int32_t word = 0; word < N_WORDS; word++)
        before += answer_loss(&m, word, &right);
    for (uint64_t step = 0; step < 400; step++) {
        take_gradients(&m, &objective, step);
        update(&m, &objective, step, 5e-3f * (1 - (float)step / 400));
    }
    for (int32_t word = 0; word < N_WORDS; word++) {
        after += answer_loss(&m, word, &right);
        n_right += right;
    }
    if (!(n_right >= N_WORDS - 1 && after < before / 20))
        fail_msg("%d of %d answers are right; %.3f nats before, %.3f after", n_right, N_WORDS, before, after);
    tern_sft_free(sft);
    tern_shard_close(shard);
    free_model(&m);
}

static void refuses_other_shards(void **state) {
    (void)state;
    small_model m;
    tern_error problem = {0};
    tern_sft *sft = NULL;
    const int32_t answer[2] = {1, 2};
    make_model(&m, 2, 1);
    tern_shard_writer *writer = begin_shard(TERN_SHARD_PAIRS);
    add_turn(writer, TERN_SPLIT_TRAIN, 1, answer, 2);
    add_turn(writer, TERN_SPLIT_TRAIN, 1, answer, 1);
    tern_shard *shard = finish_shard(writer);
    const tern_sft_params params = {shard, &m.config, m.net, m.params.grads, m.comm};
    assert_int_equal(tern_sft_create(&params, &sft, &problem), TERN_ERR_ARGUMENT);
    assert_non_null(strstr(problem.message, "tern train dpo"));
    tern_shard_close(shard);
    free_model(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_answers_only),
        cmocka_unit_test(micro_batches_add_up),
        cmocka_unit_test(learns_a_toy_chat),
        cmocka_unit_test(refuses_other_shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
