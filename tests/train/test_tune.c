/* Whole runs that begin with a model: what they leave gives the loss that training reported, they go on where they were
 * stopped, and they refuse what cannot be. */
#include "train_fixture.h"

#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "tern/tern.h"
#include "train/lora.h"
#include "train/shard_write.h"
#include "train/tune.h"

#define TOKENIZER TERN_SOURCE_DIR "/tests/data/golden/small/hf-bf16/tokenizer.json"
enum { VOCAB = 277, BOS = 265, EOS = 266, N_CTX = 32, N_DOCUMENTS = 24, HELD_OUT_EVERY = 6 };

static char folder[] = "/tmp/tern-tune-XXXXXX";

/* A path in the test's folder, one of the last 32. */
static const char *at(const char *name) {
    static char paths[32][256];
    static int next;
    char *path = paths[next++ % 32];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* Document i, or the rejected answer of pair i: BOS, a question of three tokens, an answer of seven. */
static size_t document(int i, bool rejected, int32_t ids[16], uint8_t mask[16]) {
    size_t n = 0;
    ids[n] = BOS, mask[n++] = 0;
    for (int j = 0; j < 3; j++)
        ids[n] = 60 + (i * 3 + j) % 40, mask[n++] = 0;
    for (int j = 0; j < 7; j++)
        ids[n] = rejected ? 180 + (i + j) % 20 : 100 + (i * 3 + j) % 40, mask[n++] = 1;
    return n;
}

static void write_shard(const char *name, tern_shard_kind kind) {
    char *text;
    size_t n_bytes;
    tern_shard_writer *writer;
    MUST(tern_read_file(TOKENIZER, 1 << 20, &text, &n_bytes, err));
    const tern_shard_params params = {kind, VOCAB, BOS, EOS, tern_hash_bytes(text, n_bytes)};
    free(text);
    MUST(tern_shard_writer_create(at(name), &params, &writer, err));
    for (int i = 0; i < N_DOCUMENTS; i++)
        for (int r = 0; r < (kind == TERN_SHARD_PAIRS ? 2 : 1); r++) {
            int32_t ids[16];
            uint8_t mask[16];
            size_t n = document(i, r, ids, mask);
            tern_split split = i % HELD_OUT_EVERY ? TERN_SPLIT_TRAIN : TERN_SPLIT_HELD_OUT;
            if (kind == TERN_SHARD_TEXT)
                ids[n] = EOS, mask[n++] = 1;
            MUST(tern_shard_writer_add(writer, split, ids, kind ? mask : NULL, n, n, err));
        }
    MUST(tern_shard_writer_finish(writer, NULL, err));
}

/* ---------------------------------------------------------------------------- runs */

typedef struct watch {
    double validation, first_loss, last_loss;
    const char *shard;
    uint64_t stop_after; /* steps; 0: never */
    uint64_t steps;
    bool planned;
    int exported;
    uint64_t planned_weights, planned_steps; /* bytes; steps */
    char warning[256];
} watch;

static void on_warn(void *user, const char *message) {
    snprintf(((watch *)user)->warning, sizeof((watch *)user)->warning, "%s", message);
}

static void on_progress(void *user, const tern_loop_report *report) {
    watch *w = user;
    if (w->steps++ == 0)
        w->first_loss = report->loss;
    w->last_loss = report->loss;
}

static tern_status on_finished(void *user, const tern_loop_report *last, tern_error *err) {
    (void)err;
    ((watch *)user)->validation = last->validation;
    return TERN_OK;
}

static bool on_go_on(void *user) {
    const watch *w = user;
    return !w->stop_after || w->steps + 1 < w->stop_after;
}

static void on_plan(void *user, const tern_plan *plan, const tern_train_config *config) {
    assert_true(plan->fits && plan->micro == config->micro);
    watch *w = user;
    w->planned = true;
    w->planned_weights = plan->weights;
    w->planned_steps = config->schedule.n_steps;
}

static void on_export(void *user, const char *path) {
    assert_true(tern_file_exists(path) || tern_is_directory(path));
    ((watch *)user)->exported++;
}

static tern_tune_params params_of(watch *w, tern_tune_kind kind, const char *model, const char *shard,
                                  const char *out) {
    *w = (watch){.shard = shard};
    return (tern_tune_params){
        .kind = kind,
        .model = model,
        .shards = &w->shard,
        .n_shards = 1,
        .out = out,
        .tokenizer = TOKENIZER,
        .n_ctx = N_CTX,
        .batch = 8,
        .micro = 4,
        .n_steps = 40,
        .lr = 3e-3f,
        .clip = 1,
        .seed = 1,
        .eval_tokens = 1000,
        .rank = 4,
        .n_threads = 2,
        .hooks = {.user = w, .warn = on_warn, .progress = on_progress, .go_on = on_go_on, .finished = on_finished},
        .user = w,
        .on_plan = on_plan,
        .on_export = on_export};
}

/* Mean loss of the held-out documents' learnt tokens, of a model on disk. */
static double loss_of(const char *model_path, const char *adapter) {
    tern_model_params params = tern_model_defaults();
    tern_session_params session_params = {.kv_type = TERN_KV_F32};
    tern_model *model;
    tern_session *session;
    double sum = 0;
    size_t n_losses = 0;
    params.lora = adapter;
    params.n_threads = 2;
    MUST(tern_model_load(model_path, &params, &model, err));
    MUST(tern_session_create(model, &session_params, &session, err));
    for (int i = 0; i < N_DOCUMENTS; i += HELD_OUT_EVERY) {
        static float logits[16 * VOCAB];
        int32_t ids[16];
        uint8_t mask[16];
        size_t n = document(i, false, ids, mask);
        MUST(tern_session_truncate(session, 0, err));
        MUST(tern_session_eval_logits(session, ids, n, logits, err));
        for (size_t t = 1; t < n; t++) {
            const float *row = logits + (t - 1) * VOCAB;
            double total = 0;
            if (!mask[t])
                continue;
            for (int v = 0; v < VOCAB; v++)
                total += exp((double)row[v]);
            sum += log(total) - (double)row[ids[t]];
            n_losses++;
        }
    }
    tern_session_free(session);
    tern_model_free(model);
    return sum / (double)n_losses;
}

static void assert_same_loss(double reported, double measured) {
    if (!(fabs(reported - measured) < 1e-5 * fmax(1, fabs(reported))))
        fail_msg("training reported %.6f nats, the model on disk has %.6f", reported, measured);
}

static void sft_leaves_what_it_trained(void **state) {
    (void)state;
    watch w;
    tern_tune_params params = params_of(&w, TERN_TUNE_SFT, at("base.gguf"), at("chat"), at("sft"));
    MUST(tern_tune(&params, err));
    assert_true(w.planned && w.exported == 3 && w.steps == 40);
    assert_true(w.last_loss < w.first_loss / 4);
    assert_same_loss(w.validation, loss_of(at("sft/model.gguf"), NULL));
    assert_true(fabs(w.validation - loss_of(at("sft/packed"), NULL)) < 0.1); /* its scales are bfloat16 */
    /* once more: the run is over, its end is made again */
    double validation = w.validation;
    params = params_of(&w, TERN_TUNE_SFT, at("base.gguf"), at("chat"), at("sft"));
    MUST(tern_tune(&params, err));
    assert_true(w.steps == 0 && w.validation == validation);
}

static void others_begin_where_it_ended(void **state) {
    (void)state;
    watch w;
    tern_tune_params params = params_of(&w, TERN_TUNE_DPO, at("sft"), at("pairs"), at("dpo")); /* from a run's state */
    params.lr = 2e-4f;
    MUST(tern_tune(&params, err));
    assert_true(fabs(w.first_loss - log(2)) < 1e-9 && w.last_loss < 0.6 && w.exported == 3);
    params = params_of(&w, TERN_TUNE_CONTINUE, at("sft/master"), at("text"), at("continue")); /* from bf16 masters */
    params.tokenizer = NULL;                                                                  /* the folder's own */
    MUST(tern_tune(&params, err));
    assert_true(w.last_loss < w.first_loss && w.exported == 3);
}

static void adapters_are_applied_as_trained(void **state) {
    (void)state;
    watch w;
    tern_tune_params params = params_of(&w, TERN_TUNE_LORA, at("base-i2.gguf"), at("chat"), at("lora"));
    params.tokenizer = NULL;
    MUST(tern_tune(&params, err));
    double before = loss_of(at("base-i2.gguf"), NULL), after = loss_of(at("base-i2.gguf"), at("lora"));
    assert_true(w.exported == 1 && after < before / 2);
    assert_same_loss(w.validation, after);
    /* pairs; the adapter that there is goes on */
    params = params_of(&w, TERN_TUNE_LORA, at("base-i2.gguf"), at("pairs"), at("lora-dpo"));
    params.adapter = at("lora");
    MUST(tern_tune(&params, err));
    assert_true(fabs(w.first_loss - log(2)) < 1e-9 && w.last_loss < 0.5);
}

static void merged_model_is_what_was_trained(void **state) {
    (void)state;
    watch w;
    tern_tune_params params = params_of(&w, TERN_TUNE_MERGE, at("base.gguf"), at("chat"), at("merged"));
    params.targets = 1 << TERN_PARAM_V | 1 << TERN_PARAM_O | 1 << TERN_PARAM_UP | 1 << TERN_PARAM_DOWN;
    MUST(tern_tune(&params, err));
    if (!(w.exported == 3 && w.last_loss < w.first_loss - 2))
        fail_msg("%d files, from %.3f to %.3f nats", w.exported, w.first_loss, w.last_loss);
    assert_same_loss(w.validation, loss_of(at("merged/model.gguf"), NULL));
}

/* Stopped twice, it ends with the adapter that an unbroken run ends with, bit by bit. */
static void goes_on(void **state) {
    (void)state;
    watch w;
    tern_error problem;
    const char *shards[] = {"chat", "pairs"};
    for (int s = 0; s < 2; s++) {
        char whole[2][64], *text[2];
        size_t n_bytes[2];
        for (int broken = 0; broken < 2; broken++) {
            snprintf(whole[broken], sizeof whole[broken], "%s-%d", shards[s], broken);
            tern_tune_params params =
                params_of(&w, TERN_TUNE_LORA, at("base-i2.gguf"), at(shards[s]), at(whole[broken]));
            params.n_steps = 12;
            for (uint64_t stop = broken ? 5 : 0; broken && stop < 10; stop += 3) {
                w.stop_after = w.steps + stop - (stop > 5 ? 4 : 0);
                assert_int_equal(tern_tune(&params, &problem), TERN_ERR_CANCELLED);
            }
            w.stop_after = 0;
            MUST(tern_tune(&params, err));
            snprintf(whole[broken] + strlen(whole[broken]), 40, "/adapter_model.safetensors");
            MUST(tern_read_file(at(whole[broken]), 1 << 24, &text[broken], &n_bytes[broken], err));
        }
        assert_int_equal(n_bytes[0], n_bytes[1]);
        assert_memory_equal(text[0], text[1], n_bytes[0]);
        free(text[0]);
        free(text[1]);
    }
}

/* ------------------------------------------------------------------------ refusals */

static void refuses(tern_tune_params params, tern_status status, const char *part) {
    tern_error problem = {0};
    tern_status got = tern_tune(&params, &problem);
    if (got != status || !strstr(problem.message, part) || strchr(problem.message, '\n'))
        fail_msg("status %d, '%s' does not hold '%s'", got, problem.message, part);
}

static void refuses_what_cannot_be(void **state) {
    (void)state;
    watch w;
    const char *base = at("base.gguf"), *chat = at("chat"), *out = at("never");
    tern_tune_params params = params_of(&w, TERN_TUNE_DPO, base, chat, out);
    refuses(params, TERN_ERR_ARGUMENT, "learns from preference pairs");
    params = params_of(&w, TERN_TUNE_CONTINUE, base, chat, out);
    refuses(params, TERN_ERR_ARGUMENT, "learns from text");
    params = params_of(&w, TERN_TUNE_SFT, base, chat, out);
    params.n_ctx = 4096;
    refuses(params, TERN_ERR_ARGUMENT, "more than the model's");
    params = params_of(&w, TERN_TUNE_SFT, base, chat, out);
    params.tokenizer = NULL;
    refuses(params, TERN_ERR_ARGUMENT, "--tokenizer");
    params.tokenizer = TERN_SOURCE_DIR "/tests/data/tokenizer/small.json";
    refuses(params, TERN_ERR_ARGUMENT, "was not made with the tokenizer");
    refuses(params_of(&w, TERN_TUNE_SFT, at("base-i2.gguf"), chat, out), TERN_ERR_UNSUPPORTED, "no master weight");
    refuses(params_of(&w, TERN_TUNE_SFT, "demo", chat, out), TERN_ERR_ARGUMENT, "vocabulary");
    refuses(params_of(&w, TERN_TUNE_SFT, base, chat, base), TERN_ERR_ARGUMENT, "give another folder");
    refuses(params_of(&w, TERN_TUNE_LORA, at("sft"), chat, out), TERN_ERR_ARGUMENT, "--merge");
    refuses(params_of(&w, TERN_TUNE_SFT, at("none"), chat, out), TERN_ERR_IO, "none");
    params = params_of(&w, TERN_TUNE_SFT, base, chat, out);
    params.plan_only = true;
    MUST(tern_tune(&params, err));
    assert_true(w.planned && w.steps == 0);
    assert_false(tern_file_exists(out));
    /* a run that was begun beside another model, and one of another rank */
    refuses(params_of(&w, TERN_TUNE_LORA, "other.gguf", chat, at("lora")), TERN_ERR_IO, "other.gguf");
    refuses(params_of(&w, TERN_TUNE_LORA, at("base.gguf"), chat, at("lora")), TERN_ERR_ARGUMENT, "another model");
    params = params_of(&w, TERN_TUNE_LORA, at("base-i2.gguf"), chat, at("lora"));
    params.rank = 8;
    refuses(params, TERN_ERR_ARGUMENT, "adapter settings");
}

static tern_tune_params short_run(watch *w, tern_tune_kind kind, const char *model, const char *shard,
                                  const char *out) {
    tern_tune_params params = params_of(w, kind, model, shard, out);
    params.n_steps = 2;
    return params;
}

/* What the configuration does not say must be as it was, too: a run does not go on with another model to begin with,
 * other adapters, another beta, even where the numbers of values are the same. */
static void goes_on_with_the_same_only(void **state) {
    (void)state;
    watch w;
    const char *packed = at("base-i2.gguf"), *base = at("base.gguf");
    tern_tune_params lora = short_run(&w, TERN_TUNE_LORA, packed, at("chat"), "");
    char out[2][128];
    snprintf(out[0], sizeof out[0], "%s", at("same-lora"));
    snprintf(out[1], sizeof out[1], "%s", at("same/a/dpo")); /* with the folders above it */
    lora.out = out[0];
    lora.targets = 1 << TERN_PARAM_Q;
    MUST(tern_tune(&lora, err));
    tern_tune_params other = lora;
    other.targets = 1 << TERN_PARAM_O;
    refuses(other, TERN_ERR_ARGUMENT, "adapter settings");
    other = lora;
    other.alpha = 64;
    refuses(other, TERN_ERR_ARGUMENT, "adapter settings");
    other = lora;
    other.model = base;
    refuses(other, TERN_ERR_ARGUMENT, "another model to begin with");
    char from[128];
    snprintf(from, sizeof from, "%s", out[0]);
    other = lora;
    other.out = at("same-from");
    other.adapter = from;
    MUST(tern_tune(&other, err));
    other.adapter = NULL;
    refuses(other, TERN_ERR_ARGUMENT, "adapter settings");
    MUST(tern_tune(&lora, err));

    tern_tune_params dpo = short_run(&w, TERN_TUNE_DPO, base, at("pairs"), out[1]);
    MUST(tern_tune(&dpo, err));
    other = dpo;
    other.beta = 0.5;
    refuses(other, TERN_ERR_ARGUMENT, "beta");
    other = dpo;
    other.model = at("sft");
    refuses(other, TERN_ERR_ARGUMENT, "another model to begin with");
    MUST(tern_tune(&dpo, err));
}

/* A command that is refused leaves the run as it is. */
static void a_refusal_changes_nothing(void **state) {
    (void)state;
    watch w;
    char out[128], slash[160];
    snprintf(out, sizeof out, "%s", at("unharmed"));
    tern_tune_params params = short_run(&w, TERN_TUNE_SFT, at("base.gguf"), at("chat"), out), other = params;
    params.micro = 0;
    MUST(tern_tune(&params, err));
    other.micro = 2;
    refuses(other, TERN_ERR_ARGUMENT, "micro_batch");
    MUST(tern_tune(&params, err));
    /* its own folder under another name; --restart would remove what it begins with */
    snprintf(slash, sizeof slash, "%s/", out);
    other = params;
    other.model = slash;
    other.hooks.restart = true;
    refuses(other, TERN_ERR_ARGUMENT, "give another folder");
    MUST(tern_tune(&params, err));
}

/* What a run says before it begins: the plan is of the adapter that there is, pairs have DPO's epochs, and what the
 * context has no room for is told. */
static void plans_what_it_will_do(void **state) {
    (void)state;
    watch w;
    const char *packed = at("base-i2.gguf");
    tern_tune_params params = params_of(&w, TERN_TUNE_LORA, packed, at("pairs"), at("never"));
    params.plan_only = true;
    params.n_steps = 0;
    params.rank = 16;
    MUST(tern_tune(&params, err));
    assert_int_equal(w.planned_steps, 2 * 2 * (N_DOCUMENTS - N_DOCUMENTS / HELD_OUT_EVERY) / 8);
    uint64_t of_rank_16 = w.planned_weights;
    params.adapter = at("lora"); /* of rank 4 */
    MUST(tern_tune(&params, err));
    assert_true(w.planned_weights < of_rank_16);
    params.rank = 4;
    params.adapter = NULL;
    uint64_t of_adapter = w.planned_weights;
    MUST(tern_tune(&params, err));
    assert_int_equal(w.planned_weights, of_adapter);
    assert_string_equal(w.warning, "");
    params.n_ctx = 8;
    MUST(tern_tune(&params, err));
    assert_string_equal(w.warning, "of 40 answers of pairs, 0 have no answer within 8 tokens and are left out, and 40 "
                                   "are cut");
}

/* An adapter's shard is compared with the model's own tokenizer, where it has one. */
static void adapters_have_the_models_tokenizer(void **state) {
    (void)state;
    watch w;
    tern_tune_params params = short_run(&w, TERN_TUNE_LORA, at("sft/packed"), at("chat"), at("right-tokens"));
    params.tokenizer = NULL;
    MUST(tern_tune(&params, err));
    params.out = at("never");
    params.tokenizer = TERN_SOURCE_DIR "/tests/data/tokenizer/small.json";
    refuses(params, TERN_ERR_ARGUMENT, "was not made with the tokenizer");
}

static char *template_of(const char *name) {
    tern_checkpoint *checkpoint;
    MUST(tern_checkpoint_open(at(name), &checkpoint, err));
    assert_non_null(checkpoint->chat_template);
    char *text = strdup(checkpoint->chat_template);
    tern_checkpoint_close(checkpoint);
    return text;
}

/* From a folder with a template of its own, by a run's state, to the next run's model. */
static void keeps_the_chat_template(void **state) {
    (void)state;
    watch w;
    FILE *file = fopen(at("sft/master/chat_template.jinja"), "w");
    assert_non_null(file);
    fputs("{% for message in messages %}<{{ message['content'] }}>{% endfor %}", file);
    assert_int_equal(fclose(file), 0);
    char *own = template_of("sft/master"), *kept;
    assert_non_null(strstr(own, "<{{ message"));
    tern_tune_params params = short_run(&w, TERN_TUNE_SFT, at("sft/master"), at("chat"), at("template-1"));
    MUST(tern_tune(&params, err));
    params = short_run(&w, TERN_TUNE_SFT, at("template-1"), at("chat"), at("template-2"));
    MUST(tern_tune(&params, err));
    kept = template_of("template-2/model.gguf");
    assert_string_equal(kept, own);
    free(kept);
    free(own);
}

static int make_files(void **state) {
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    const struct { const char *name, *type; } bases[] = {{"base.gguf", "F32"}, {"base-i2.gguf", "I2_S"}};
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        tern_synth_params synth;
        MUST(tern_synth_shape("tiny", &synth, err));
        synth.vocab_size = VOCAB;
        synth.n_ctx = 64;
        synth.hidden_size = synth.ffn_size = 128;
        synth.n_layers = 2;
        synth.n_heads = 2;
        synth.n_kv_heads = 1;
        synth.weight_type = bases[i].type;
        synth.embedding_type = "F32";
        synth.tokenizer = TOKENIZER;
        MUST(tern_synth(at(bases[i].name), &synth, err));
    }
    write_shard("chat", TERN_SHARD_CHAT);
    write_shard("pairs", TERN_SHARD_PAIRS);
    write_shard("text", TERN_SHARD_TEXT);
    return 0;
}

static int remove_files(void **state) {
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sft_leaves_what_it_trained),
        cmocka_unit_test(others_begin_where_it_ended),
        cmocka_unit_test(adapters_are_applied_as_trained),
        cmocka_unit_test(merged_model_is_what_was_trained),
        cmocka_unit_test(goes_on),
        cmocka_unit_test(refuses_what_cannot_be),
        cmocka_unit_test(goes_on_with_the_same_only),
        cmocka_unit_test(a_refusal_changes_nothing),
        cmocka_unit_test(plans_what_it_will_do),
        cmocka_unit_test(adapters_have_the_models_tokenizer),
        cmocka_unit_test(keeps_the_chat_template),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
