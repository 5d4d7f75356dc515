/*
 * Every golden model in every form: logits of all positions, greedy continuation, perplexity.
 *
 * The committed models (tests/data/golden, tools/make_golden.py) are clear of rounding ties, so 1e-4 holds without
 * excuse. Of the larger ones in ../shared/reference, which are used when present, some prompts are not: where an int8
 * value may have fallen on the other side of a tie, the mean and the cosine decide.
 */
#include "golden/golden.h"

/* ---- comparing ---- */

/* `ties_from`: the first position at which a crossed tie is an excuse; n: none. True if no excuse was needed. */
static bool check_exact(const char *what, const float *got, const float *want, size_t n, size_t vocab,
                        size_t ties_from) {
    golden_difference d = golden_compare(got, want, n, vocab);
    print_message("%s: max %.2g mean %.2g cosine 1-%.1g argmax %zu/%zu\n", what, d.max, d.mean, 1 - d.cosine,
                  d.argmax_equal, n);
    if (d.first_above == n)
        return true;
    if (d.first_above < ties_from)
        fail_msg("%s: position %zu differs by more than 1e-4 (largest difference %g)", what, d.first_above, d.max);
    if (!(d.mean <= 0.02) || !(d.cosine >= 0.9999))
        fail_msg("%s: mean difference %g, cosine %g: more than a crossed tie", what, d.mean, d.cosine);
    return false;
}

/* A rounded KV cache (rule 3 of the reference's README): `least_equal` of 48 positions with the same best token. */
static void check_rounded(const char *what, const float *got, const float *want, size_t n, size_t vocab,
                          size_t least_equal) {
    golden_difference d = golden_compare(got, want, n, vocab);
    print_message("%s: max %.2g mean %.2g cosine 1-%.1g argmax %zu/%zu\n", what, d.max, d.mean, 1 - d.cosine,
                  d.argmax_equal, n);
    if (!(d.max <= 1.5) || !(d.mean <= 0.15) || !(d.cosine >= 0.999) || d.argmax_equal * 48 < least_equal * n)
        fail_msg("%s: max %g, mean %g, cosine %g, %zu of %zu best tokens equal", what, d.max, d.mean, d.cosine,
                 d.argmax_equal, n);
}

static float *logits_of(tern_model *model, tern_kv_type kv_type, const int32_t *ids, size_t n) {
    float *logits = malloc(n * golden_vocab(model) * sizeof *logits);
    assert_non_null(logits);
    tern_session *session = golden_session(model, kv_type, 0);
    OK(tern_session_eval_logits(session, ids, n, logits, err));
    tern_session_free(session);
    return logits;
}

/* True if the float32 cache crossed no tie. */
static bool check_logits(tern_model *model, const int32_t *ids, size_t n, const float *want, size_t ties_from,
                         size_t least_equal) {
    static const struct {
        tern_kv_type type;
        const char *name;
    } kv[] = {{TERN_KV_F32, "kv f32"}, {TERN_KV_F16, "kv f16"}, {TERN_KV_Q8, "kv q8"}};
    size_t vocab = golden_vocab(model);
    bool exact = false;
    for (size_t i = 0; i < sizeof kv / sizeof *kv; i++) {
        float *got = logits_of(model, kv[i].type, ids, n);
        if (kv[i].type == TERN_KV_F32)
            exact = check_exact(kv[i].name, got, want, n, vocab, ties_from);
        else
            check_rounded(kv[i].name, got, want, n, vocab, least_equal);
        free(got);
    }
    return exact;
}

/* Greedy continuation of ids [n], token by token through the public sampler. */
static void check_greedy(tern_model *model, tern_kv_type kv_type, const int32_t *ids, size_t n, const int32_t *want,
                         size_t n_want) {
    tern_session *session = golden_session(model, kv_type, 0);
    tern_sampler_params params = tern_sampler_defaults();
    params.temperature = 0;
    tern_sampler *sampler = NULL;
    OK(tern_sampler_create(&params, golden_vocab(model), &sampler, err));
    OK(tern_session_eval(session, ids, n, err));
    for (size_t i = 0; i < n_want; i++) {
        int32_t id = -1;
        OK(tern_sampler_sample(sampler, tern_session_logits(session), &id, err));
        if (id != want[i])
            fail_msg("greedy token %zu is %d, should be %d", i, id, want[i]);
        OK(tern_session_eval(session, &id, 1, err));
    }
    tern_sampler_free(sampler);
    tern_session_free(session);
}

/* Clear of ties the float32 noise is all there is; a long text crosses some: 4 digits, as float64 does (19.3607 for the
 * story model's 19.3624). */
static const double CLEAR = 1e-5, FOUR_DIGITS = 2.5e-4;

static void check_perplexity(double got, double want, double tolerance) {
    print_message("perplexity %.6g, should be %.6g\n", got, want);
    if (!(fabs(got - want) <= tolerance * want))
        fail_msg("perplexity %.8g, should be %.8g", got, want);
}

/* ---- the committed models ---- */

static json_t *committed;
static golden_file committed_logits;

static void test_committed(void **state) {
    const char *key = *state;
    json_t *form = json_object_get(committed, key);
    char path[4096];
    snprintf(path, sizeof path, COMMITTED "/%s", key);
    tern_model *model = golden_load(path, NULL, 2);
    size_t n, n_greedy, n_logits, n_ids, vocab = golden_vocab(model);
    int32_t *prompt = golden_ids(json_object_get(form, "prompt"), &n);
    int32_t *greedy = golden_ids(json_object_get(form, "greedy"), &n_greedy);
    float *want = golden_copy(&committed_logits, key, &n_logits);
    assert_int_equal(n_logits, n * vocab);
    assert_true(n_greedy > 0);

    assert_true(check_logits(model, prompt, n, want, n, 40));
    check_greedy(model, TERN_KV_F32, prompt, n, greedy, n_greedy);

    const char *text = json_string_value(json_object_get(form, "text"));
    int32_t *ids = NULL;
    OK(tern_tokenize(tern_model_tokenizer(model), text, strlen(text), 0, &ids, &n_ids, err));
    assert_int_equal(n_ids, json_integer_value(json_object_get(form, "tokens")));
    size_t context = (size_t)json_integer_value(json_object_get(form, "context"));
    check_perplexity(golden_perplexity(model, ids, n_ids, context),
                     json_real_value(json_object_get(form, "perplexity")), CLEAR);
    tern_free(ids);
    free(want);
    free(greedy);
    free(prompt);
    tern_model_free(model);
}

/* ---- the larger ones, if present ---- */

static const struct shared_form {
    const char *folder, *form;
    const char *logits;     /* tensor of golden.safetensors */
    const char *greedy;     /* the same; NULL: golden.json's */
    const char *perplexity; /* key in golden.json; NULL: from the logits tensor */
} shared_forms[] = {
    {"tiny-a", "hf-bf16", "logits.master", "greedy.master", NULL},
    {"tiny-a", "hf-packed", "logits.packed", "greedy.packed", NULL},
    {"tiny-a", "model-i2_s.gguf", "logits.i2_s", "greedy.master", NULL},
    {"tiny-a", "model-tq1_0.gguf", "logits.tq2_0", "greedy.master", NULL},
    {"tiny-a", "model-tq2_0.gguf", "logits.tq2_0", "greedy.master", NULL},
    {"tiny-b", "hf-bf16", "logits.master", "greedy.master", NULL},
    {"tiny-b", "hf-packed", "logits.packed", "greedy.packed", NULL},
    {"tiny-b", "model-i2_s.gguf", "logits.i2_s", "greedy.master", NULL},
    {"tiny-c", "hf-bf16", "logits.master", "greedy.master", NULL},
    {"tiny-c", "hf-packed", "logits.packed", "greedy.packed", NULL},
    {"tiny-c", "model-i2_s.gguf", "logits.i2_s", "greedy.master", NULL},
    {"story", "hf-bf16", "logits.master", NULL, "master"},
    {"story", "hf-packed", "logits.packed", NULL, "packed"},
    {"story", "model-i2_s.gguf", "logits.i2_s", NULL, "i2_s"},
    {"story", "model-tq1_0.gguf", "logits.tq2_0", NULL, "tq2_0"},
    {"story", "model-tq2_0.gguf", "logits.tq2_0", NULL, "tq2_0"},
};
enum { N_SHARED = sizeof shared_forms / sizeof *shared_forms };

/* The first position at which, or before which, some value lies within 3e-5 of a tie: tie_distance [layers, 4, n]. */
static size_t ties_from(const golden_file *golden, const char *name, size_t n) {
    if (!golden_has(golden, name))
        return 0; /* not recorded for this form */
    size_t count, first = n;
    float *distance = golden_copy(golden, name, &count);
    for (size_t i = 0; i < count; i++)
        if (distance[i] < 3e-5f && i % n < first)
            first = i % n;
    free(distance);
    return first;
}

/* Logits against the tensor of that name; where no tie was crossed also the perplexity that they mean for the prompt.
 */
static void check_shared_logits(tern_model *model, const golden_file *golden, const char *prompt_name,
                                const char *logits_name, const char *tie_name, size_t least_equal) {
    size_t n, n_logits, vocab = golden_vocab(model);
    int32_t *prompt = golden_copy(golden, prompt_name, &n);
    float *want = golden_copy(golden, logits_name, &n_logits);
    assert_int_equal(n_logits, n * vocab);
    bool exact = check_logits(model, prompt, n, want, ties_from(golden, tie_name, n), least_equal);

    float *got = logits_of(model, TERN_KV_F32, prompt, n);
    double sum_got = 0, sum_want = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        sum_got += golden_nll(got + i * vocab, vocab, prompt[i + 1]);
        sum_want += golden_nll(want + i * vocab, vocab, prompt[i + 1]);
    }
    if (exact)
        check_perplexity(exp(sum_got / (double)(n - 1)), exp(sum_want / (double)(n - 1)), CLEAR);
    free(got);
    free(want);
    free(prompt);
}

static void check_shared_greedy(tern_model *model, const golden_file *golden, const struct shared_form *form) {
    size_t n, n_greedy;
    int32_t *prompt = golden_copy(golden, "prompt", &n), *greedy = golden_copy(golden, form->greedy, &n_greedy);
    /* each precision gives the same ids */
    check_greedy(model, TERN_KV_F32, prompt, n, greedy, n_greedy);
    check_greedy(model, TERN_KV_F16, prompt, n, greedy, n_greedy);
    check_greedy(model, TERN_KV_Q8, prompt, n, greedy, n_greedy);
    free(prompt);
    free(greedy);
}

/* The story model: its own greedy prompt, and the perplexity of the held-out stories. */
static void check_story(tern_model *model, const char *perplexity_key) {
    json_t *golden = golden_json(SHARED "/story/golden.json");
    size_t n, n_greedy, n_sure = 0, n_bytes = 0;
    int32_t *prompt = golden_ids(json_object_get(golden, "prompt"), &n);
    int32_t *greedy = golden_ids(json_object_get(golden, "greedy"), &n_greedy);
    /* The ids are those of the packed form; behind a choice with hardly a margin another implementation may part. The
     * other forms have scales that differ in the third digit and need more of one (a float64 computation of the master
     * form parts at a margin of 0.07, too). */
    json_t *margins = json_object_get(golden, "greedy_margin");
    double least = strcmp(perplexity_key, "packed") == 0 ? 0.05 : 0.1;
    while (n_sure < n_greedy && json_real_value(json_array_get(margins, n_sure)) >= least)
        n_sure++;
    assert_true(n_sure > 10);
    check_greedy(model, TERN_KV_F32, prompt, n, greedy, n_sure);
    free(greedy);
    free(prompt);

#if defined(TERN_SLOW_TESTS) /* 15,000 tokens take minutes there; the committed models' perplexity has to do */
    json_decref(golden);
    return;
#endif
    FILE *file = fopen(SHARED "/story/heldout.txt", "rb");
    assert_non_null(file);
    static char text[1 << 20];
    n_bytes = fread(text, 1, sizeof text, file);
    fclose(file);
    int32_t *ids = NULL;
    OK(tern_tokenize(tern_model_tokenizer(model), text, n_bytes, 0, &ids, &n, err));
    assert_int_equal(n, json_integer_value(json_object_get(golden, "tokens")));
    json_t *want = json_object_get(json_object_get(golden, "perplexity"), perplexity_key);
    check_perplexity(golden_perplexity(model, ids, n, (size_t)json_integer_value(json_object_get(golden, "context"))),
                     json_real_value(json_object_get(want, "perplexity")), FOUR_DIGITS);
    tern_free(ids);
    json_decref(golden);
}

static void test_shared(void **state) {
    const struct shared_form *form = *state;
    char path[4096];
    snprintf(path, sizeof path, SHARED "/%s/%s", form->folder, form->form);
    if (access(path, R_OK)) {
        print_message("skipped: no %s\n", path);
        skip();
    }
    tern_model *model = golden_load(path, NULL, 2);
    snprintf(path, sizeof path, SHARED "/%s/golden.safetensors", form->folder);
    golden_file golden = golden_open(path);
    bool master = strcmp(form->logits, "logits.master") == 0;
    check_shared_logits(model, &golden, "prompt", form->logits, master ? "tie_distance.master" : "", 43);
    if (master && golden_has(&golden, "random.prompt"))
        check_shared_logits(model, &golden, "random.prompt", "random.logits.master", "random.tie_distance.master", 43);
    if (form->greedy)
        check_shared_greedy(model, &golden, form);
    else
        check_story(model, form->perplexity);
    golden_close(&golden);
    tern_model_free(model);
}

/* ---- main ---- */

enum { MAX_TESTS = 64 };

int main(void) {
    static struct CMUnitTest tests[MAX_TESTS];
    static char names[N_SHARED][128];
    size_t n = 0;
    const char *key;
    json_t *form;
    committed = json_load_file(COMMITTED "/golden.json", 0, NULL);
    if (json_object_size(committed) < 10 || json_object_size(committed) + N_SHARED > MAX_TESTS) {
        fprintf(stderr, "test_golden: " COMMITTED "/golden.json is missing or has an unlikely number of forms\n");
        return 1;
    }
    committed_logits = golden_open(COMMITTED "/golden.safetensors");
    json_object_foreach(committed, key, form) tests[n++] =
        (struct CMUnitTest){key, test_committed, NULL, NULL, (void *)key};
    bool only_committed = getenv("TERN_GOLDEN_COMMITTED") != NULL; /* where a model takes its time */
    for (size_t i = 0; i < N_SHARED && !only_committed; i++) {
        snprintf(names[i], sizeof names[i], "shared %s/%s", shared_forms[i].folder, shared_forms[i].form);
        tests[n++] = (struct CMUnitTest){names[i], test_shared, NULL, NULL, (void *)&shared_forms[i]};
    }
    int failed = _cmocka_run_group_tests("golden", tests, n, NULL, NULL);
    golden_close(&committed_logits);
    json_decref(committed);
    return failed;
}
