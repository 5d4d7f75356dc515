/*
 * What guessing from repetitions brings on a given text: every pass through the model is made as tern_generate() makes
 * it, guesses, logits and rejections included, only the tokens are the text's and not the model's. So a model with
 * random weights shows the speed of one that would have written the text.
 *
 *     bench_speculation MODEL TEXT PROMPT N [DRAFT [TOKENIZER]]
 *
 * TEXT is a file, or "random" for random tokens; its first PROMPT tokens are the prompt, the next N are what is
 * generated. Plain and guessing runs take turns; printed are the medians. TOKENIZER: another one than the model's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "model_handle.h"
#include "runtime/lookup.h"
#include "runtime/sampler.h"

enum { REPEATS = 5, MAX_DRAFT = 64 };

typedef struct bench {
    tern_session *session;
    tern_sampler *sampler;
    int32_t *ids; /* [n_ids] */
    size_t n_prompt, n_ids;
    float *hidden; /* [1 + MAX_DRAFT, hidden] */
    tern_candidates candidates[1 + MAX_DRAFT];
} bench;

typedef struct outcome {
    double seconds;
    size_t n_steps, n_drafted, n_accepted;
} outcome;

static tern_status step(bench *b, const int32_t *ids, uint32_t n, tern_error *err) {
    tern_head_query queries[1 + MAX_DRAFT];
    tern_status status = tern_session_eval_hidden(b->session, ids, n, b->hidden, err);
    if (!status)
        status = tern_sampler_queries(b->sampler, ids + 1, n, queries, err);
    if (!status)
        status = tern_engine_candidates(tern_session_engine(b->session), b->hidden, n, queries, b->candidates, err);
    return status;
}

/* The text behind the prompt, with guesses of at most max_draft tokens. */
static tern_status replay(bench *b, uint32_t max_draft, outcome *out, tern_error *err) {
    tern_lookup *lookup = NULL;
    tern_status status = tern_session_truncate(b->session, (uint32_t)b->n_prompt, err);
    if (!status)
        status = tern_lookup_create(b->n_ids, max_draft ? max_draft : 1, true, &lookup, err);
    for (size_t i = 0; !status && i <= b->n_prompt;
         i++) /* the first token behind the prompt is drawn from its logits */
        tern_lookup_append(lookup, b->ids[i], i == b->n_prompt);
    *out = (outcome){.seconds = tern_seconds()};
    for (size_t at = b->n_prompt; !status && at + 1 < b->n_ids;) {
        int32_t ids[1 + MAX_DRAFT] = {b->ids[at]};
        size_t left = b->n_ids - at - 2; /* behind the token that the step brings anyway */
        uint32_t limit = left < max_draft ? (uint32_t)left : max_draft;
        uint32_t n = tern_lookup_draft(lookup, limit, ids + 1), kept = 1;
        double start = tern_seconds();
        status = step(b, ids, n + 1, err);
        tern_lookup_timed(lookup, n + 1, tern_seconds() - start);
        tern_lookup_append(lookup, b->ids[++at], true);
        while (kept <= n && ids[kept] == b->ids[at]) {
            kept++;
            tern_lookup_append(lookup, b->ids[++at], true);
        }
        if (!status && kept <= n)
            tern_session_rewind(b->session, tern_session_n_past(b->session) - (n + 1 - kept),
                                b->hidden + (kept - 1) * tern_session_engine(b->session)->weights->dims.hidden_size);
        out->n_steps++;
        out->n_drafted += n;
        out->n_accepted += kept - 1;
    }
    out->seconds = tern_seconds() - out->seconds;
    tern_lookup_free(lookup);
    return status;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static tern_status measure(bench *b, const char *name, uint32_t draft, tern_error *err) {
    double plain[REPEATS], guessing[REPEATS], ratio[REPEATS];
    outcome out;
    tern_status status = tern_session_eval(b->session, b->ids, b->n_prompt, err);
    for (int i = 0; !status && i < REPEATS; i++) {
        status = replay(b, 0, &out, err);
        plain[i] = out.seconds;
        if (!status)
            status = replay(b, draft, &out, err);
        guessing[i] = out.seconds;
        ratio[i] = plain[i] / guessing[i];
    }
    if (status)
        return status;
    qsort(plain, REPEATS, sizeof *plain, by_value);
    qsort(guessing, REPEATS, sizeof *guessing, by_value);
    qsort(ratio, REPEATS, sizeof *ratio, by_value);
    double n = (double)(b->n_ids - 1 - b->n_prompt);
    printf("%-24s plain %7.2f tok/s, guessing %7.2f tok/s, %.2fx (%.2f to %.2f); %zu tokens in %zu steps, %zu of %zu "
           "guesses right\n",
           name, n / plain[REPEATS / 2], n / guessing[REPEATS / 2], ratio[REPEATS / 2], ratio[0], ratio[REPEATS - 1],
           b->n_ids - 1 - b->n_prompt, out.n_steps, out.n_accepted, out.n_drafted);
    return TERN_OK;
}

static int32_t *random_ids(size_t n, size_t vocab_size) {
    int32_t *ids = malloc(n * sizeof *ids);
    tern_rng rng;
    tern_rng_seed(&rng, 1);
    for (size_t i = 0; ids && i < n; i++)
        ids[i] = (int32_t)(tern_rng_u64(&rng) % vocab_size);
    return ids;
}

/* The file's first n tokens, or n random ones; free(). */
static int32_t *read_ids(const char *path, const tern_tokenizer *tokenizer, size_t n, size_t vocab_size) {
    static char text[1 << 20];
    int32_t *ids = NULL;
    size_t n_ids = 0;
    if (strcmp(path, "random") == 0)
        return random_ids(n, vocab_size);
    FILE *file = fopen(path, "rb");
    size_t n_bytes = file ? fread(text, 1, sizeof text, file) : 0;
    if (file)
        fclose(file);
    tern_error err;
    if (tern_tokenize(tokenizer, text, n_bytes, 0, &ids, &n_ids, &err) || n_ids < n) {
        fprintf(stderr, "bench_speculation: %s: has %zu tokens, but %zu are needed\n", path, n_ids, n);
        tern_free(ids);
        return NULL;
    }
    return ids;
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fputs("usage: bench_speculation MODEL TEXT|random PROMPT N [DRAFT [TOKENIZER]]\n", stderr);
        return 2;
    }
    static bench b;
    tern_error err = {0};
    tern_model *model = NULL;
    tern_tokenizer *tokenizer = NULL;
    tern_model_info info = {0};
    tern_sampler_params greedy = tern_sampler_defaults();
    greedy.temperature = 0;
    b.n_prompt = strtoul(argv[3], NULL, 10);
    b.n_ids = b.n_prompt + strtoul(argv[4], NULL, 10) + 1;
    uint32_t draft = argc > 5 ? (uint32_t)strtoul(argv[5], NULL, 10) : 7;
    tern_status status = tern_model_load(argv[1], NULL, &model, &err);
    if (!status && argc > 6)
        status = tern_tokenizer_load(argv[6], &tokenizer, &err);
    if (!status)
        status = tern_session_create(model, NULL, &b.session, &err);
    if (!status) {
        tern_model_get_info(model, &info);
        status = tern_sampler_create(&greedy, info.vocab_size, &b.sampler, &err);
        b.ids = read_ids(argv[2], tokenizer ? tokenizer : tern_model_tokenizer(model), b.n_ids, info.vocab_size);
        b.hidden = malloc((1 + MAX_DRAFT) * info.hidden_size * sizeof *b.hidden);
    }
    if (!status && b.ids && b.hidden)
        status = measure(&b, argv[2], draft < MAX_DRAFT ? draft : MAX_DRAFT, &err);
    if (status)
        fprintf(stderr, "bench_speculation: %s\n", err.message);
    bool ok = !status && b.ids && b.hidden;
    for (size_t i = 0; i <= MAX_DRAFT; i++)
        tern_candidates_free(&b.candidates[i]);
    free(b.hidden);
    free(b.ids);
    tern_sampler_free(b.sampler);
    tern_session_free(b.session);
    tern_tokenizer_free(tokenizer);
    tern_model_free(model);
    return ok ? 0 : 1;
}
