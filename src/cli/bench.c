/* tern bench: how fast a model runs here, and how near the limit that is. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cli/bandwidth.h"
#include "cli/bench.h"
#include "cli/measure.h"
#include "cli/progress.h"

enum { MAX_THREADS = 1024, MAX_RUNS = 1000, MAX_TOKENS = 1 << 20, WARM_UP_TOKENS = 8 };

typedef struct settings {
    const char *threads;
    tern_session_options session;
    int64_t prompt, decode, depth, runs;
    bool json;
} settings;

static const tern_option options[] = {
    {"prompt", 'p', TERN_OPTION_INT, offsetof(settings, prompt), "N",
     "prefill: evaluate a prompt of N tokens in an empty context;\n0: skip", 0, MAX_TOKENS, NULL, NULL},
    {"decode", 'n', TERN_OPTION_INT, offsetof(settings, decode), "N", "decode: evaluate N tokens one by one; 0: skip",
     0, MAX_TOKENS, NULL, NULL},
    {"depth", 'd', TERN_OPTION_INT, offsetof(settings, depth), "N",
     "tokens that are already in the context when decode begins", 1, MAX_TOKENS, NULL, NULL},
    {"runs", 'r', TERN_OPTION_INT, offsetof(settings, runs), "N",
     "measured runs, after one that is not; median and spread", 1, MAX_RUNS, NULL, NULL},
    {"threads", 't', TERN_OPTION_STRING, offsetof(settings, threads), "LIST",
     "numbers of CPU threads to measure with: 1,2,4", 0, 0, NULL, "all CPUs"},
    {"json", 0, TERN_OPTION_FLAG, offsetof(settings, json), NULL, "one JSON object; units stand in the names", 0, 0,
     NULL, NULL},
    {0},
};

static const tern_option session_options[] = {
    {"kv-type", 0, TERN_OPTION_ENUM, offsetof(tern_session_options, kv_type), "TYPE",
     "numbers in the KV cache: f32, f16 or q8 (8 bits)", 0, 0, tern_kv_choices, "$BITNET_KV_CACHE_DTYPE or f16"},
    {"chunk", 0, TERN_OPTION_INT, offsetof(tern_session_options, chunk), "N", "prompt tokens evaluated at once", 1,
     MAX_TOKENS, NULL, "$BITNET_CHUNK_SIZE or automatic"},
    {0},
};

/* One run's figures. */
typedef struct timing {
    double prefill, decode; /* seconds */
} timing;

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of values [n], which are sorted. */
static tern_spread spread_of(double *values, size_t n) {
    qsort(values, n, sizeof *values, compare_doubles);
    double median = n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
    return (tern_spread){median, values[0], values[n - 1]};
}

/* ----------------------------------------------------------------- measuring */

/* Bytes of keys and values that one decode step reads when `position` tokens are in the cache. */
static double kv_bytes(const tern_model_info *info, tern_kv_type type, double position) {
    double head = info->head_dim * (type == TERN_KV_F32 ? 4.0 : type == TERN_KV_F16 ? 2.0 : 1.0);
    if (type == TERN_KV_Q8)
        head += 4; /* the scale of each vector */
    return 2.0 * info->n_layers * info->n_kv_heads * head * position;
}

static tern_status eval_to_logits(tern_session *session, const int32_t *ids, size_t n, tern_error *err) {
    tern_status status = tern_session_eval(session, ids, n, err);
    if (!status && !tern_session_logits(session)) /* a lazily computed head belongs into the time */
        status = tern_fail(err, TERN_ERR_MEMORY, "no logits");
    return status;
}

/* Prefill from an empty context, then decode behind `depth` tokens. */
static tern_status run_once(tern_session *session, const int32_t *ids, size_t n_prompt, size_t depth, size_t n_decode,
                            timing *time, tern_error *err) {
    tern_status status = tern_session_truncate(session, 0, err);
    double start = tern_seconds();
    if (!status && n_prompt)
        status = eval_to_logits(session, ids, n_prompt, err);
    time->prefill = tern_seconds() - start;
    if (!status && n_decode)
        status = tern_session_truncate(session, 0, err);
    if (!status && n_decode)
        status = tern_session_eval(session, ids, depth, err);
    start = tern_seconds();
    for (size_t i = 0; !status && i < n_decode; i++)
        status = eval_to_logits(session, ids + depth + i, 1, err);
    time->decode = tern_seconds() - start;
    return status;
}

static tern_status run_all(const settings *s, tern_session *session, const int32_t *ids, double *values,
                           tern_progress *progress, int64_t *done, int64_t total, tern_bench_result *result,
                           tern_error *err) {
    size_t n = (size_t)s->runs, prompt = (size_t)s->prompt, decode = (size_t)s->decode, depth = (size_t)s->depth;
    double *prefill_rates = values, *decode_rates = values + n, *first = values + 2 * n;
    timing time;
    tern_status status =
        run_once(session, ids, prompt, depth, decode < WARM_UP_TOKENS ? decode : WARM_UP_TOKENS, &time, err);
    for (size_t i = 0; !status && i < n; i++) {
        status = run_once(session, ids, prompt, depth, decode, &time, err);
        prefill_rates[i] = (double)prompt / time.prefill;
        decode_rates[i] = (double)decode / time.decode;
        first[i] = time.prefill;
        tern_progress_update(progress, (uint64_t)++ * done, (uint64_t)total);
    }
    if (!status && prompt) {
        result->prefill = spread_of(prefill_rates, n);
        result->first_token = spread_of(first, n);
    }
    if (!status && decode)
        result->decode = spread_of(decode_rates, n);
    return status;
}

/* Random ordinary tokens, the same for everybody: BOS first. */
static void fill_ids(const tern_model *model, int32_t *ids, size_t n) {
    const tern_tokenizer *tokenizer = tern_model_tokenizer(model);
    size_t vocab_size = tern_tokenizer_vocab_size(tokenizer);
    tern_rng rng;
    tern_rng_seed(&rng, 1);
    for (size_t i = 0; i < n; i++) {
        int32_t id = 0;
        for (int attempt = 0; attempt < 100; attempt++) { /* a vocabulary of special tokens only would go on for ever */
            id = (int32_t)(tern_rng_u64(&rng) % vocab_size);
            if (!tern_tokenizer_is_special(tokenizer, id))
                break;
        }
        ids[i] = id;
    }
    if (n && tern_tokenizer_bos(tokenizer) >= 0)
        ids[0] = tern_tokenizer_bos(tokenizer);
}

static int measure_model(const settings *s, tern_model *model, const tern_session_params *params,
                         tern_progress *progress, int64_t *done, int64_t total, tern_bench_result *result) {
    size_t n_ids = (size_t)(s->prompt > s->depth + s->decode ? s->prompt : s->depth + s->decode);
    double *values = tern_alloc_array((size_t)s->runs, 3 * sizeof *values);
    int32_t *ids = tern_alloc_array(n_ids, sizeof *ids);
    tern_session *session = NULL;
    tern_error err;
    tern_status status;
    if (!values || !ids) {
        status = tern_fail_memory(&err, "the results");
    } else if (!(status = tern_session_create(model, params, &session, &err))) {
        fill_ids(model, ids, n_ids);
        tern_interrupt_watch(session);
        status = run_all(s, session, ids, values, progress, done, total, result, &err);
        tern_interrupt_watch(NULL);
    }
    tern_session_free(session);
    free(ids);
    free(values);
    return status ? tern_cli_error(&err) : 0;
}

static void describe(const settings *s, const tern_model_info *info, tern_bench_report *report) {
    tern_session_params params;
    tern_cli_session_params(&s->session, &params); /* has been checked */
    snprintf(report->name, sizeof report->name, "%s", info->name);
    snprintf(report->arch, sizeof report->arch, "%s", info->arch);
    snprintf(report->weight_type, sizeof report->weight_type, "%s", info->weight_type);
    snprintf(report->embedding_type, sizeof report->embedding_type, "%s", info->embedding_type);
    snprintf(report->head_type, sizeof report->head_type, "%s", info->head_type);
    report->n_params = info->n_params;
    report->prompt = s->prompt;
    report->decode = s->decode;
    report->depth = s->depth;
    report->runs = s->runs;
    report->chunk = params.chunk;
    report->kv_type = params.kv_type;
}

/* Load with this many threads (0: all) and measure. */
static int measure(const settings *s, const char *path, int threads, tern_progress *progress, int64_t *done,
                   int64_t total, tern_bench_report *report, tern_bench_result *result) {
    tern_error err;
    tern_model_info info;
    tern_model *model;
    tern_session_params params;
    tern_model_params load = tern_model_defaults();
    int status = tern_cli_session_params(&s->session, &params);
    if (status)
        return status;
    load.n_threads = threads;
    double start = tern_seconds();
    if (tern_model_load(path, &load, &model, &err))
        return tern_cli_error(&err);
    result->load_seconds = tern_seconds() - start;
    tern_model_get_info(model, &info);
    describe(s, &info, report);
    result->threads = info.n_threads;
    snprintf(result->kernels, sizeof result->kernels, "%s", info.kernels);
    snprintf(result->packing, sizeof result->packing, "%s", info.packing);
    result->weight_bytes = (double)info.bytes_per_token;
    /* step i reads the keys and values of depth + i + 1 tokens, its own included */
    result->kv_bytes = kv_bytes(&info, params.kv_type, (double)s->depth + ((double)s->decode + 1) / 2);
    result->loaded_bytes = (double)info.loaded_bytes;
    if (s->prompt > info.n_ctx || (s->decode && s->depth + s->decode > info.n_ctx))
        status = tern_cli_usage("bench",
                                "the model's context is %u tokens: --prompt %lld and --depth %lld + --decode %lld "
                                "must fit into it",
                                info.n_ctx, (long long)s->prompt, (long long)s->depth, (long long)s->decode);
    else
        status = measure_model(s, model, &params, progress, done, total, result);
    result->peak_rss = (double)tern_peak_rss();
    tern_model_free(model);
    return status;
}

/* The block of memory is allocated only now, so that it is not in the models' peak RSS. */
static void measure_bandwidths(tern_bench_result *results, size_t n) {
    tern_error err;
    for (size_t i = 0; i < n; i++)
        if (tern_measure_bandwidth(results[i].threads, &results[i].memory_read, &err))
            tern_cli_warn("memory bandwidth not measured: %s", err.message);
}

static int bench(const settings *s, const char *path, const int32_t *threads, size_t n, tern_bench_result *results) {
    tern_bench_report report = {.results = results, .n_results = n};
    tern_progress progress;
    int64_t done = 0, total = (int64_t)n * s->runs;
    int status = 0;
    tern_progress_start(&progress, "bench", TERN_PROGRESS_RUNS);
    for (size_t i = 0; i < n && !status; i++)
        status = measure(s, path, threads[i], &progress, &done, total, &report, &results[i]);
    tern_progress_end(&progress);
    if (status)
        return status;
    measure_bandwidths(results, n);
    return s->json ? tern_bench_print_json(&report) : tern_bench_print_table(&report);
}

static int run(void *parsed, const char *const *operands, size_t n_operands) {
    const settings *s = parsed;
    int32_t *threads = NULL;
    size_t n = 0;
    const char *bad;
    if (s->prompt == 0 && s->decode == 0)
        return tern_cli_usage("bench", "nothing to measure: --prompt and --decode are both 0");
    if (!tern_parse_int_list(s->threads, 0, MAX_THREADS, &threads, &n, &bad) || n == 0)
        return tern_cli_usage("bench", "--threads: '%s' is no list like 1,2,4 of numbers up to %d", s->threads,
                              MAX_THREADS);
    tern_bench_result *results = tern_calloc_array(n, sizeof *results);
    int status =
        results ? bench(s, n_operands ? operands[0] : NULL, threads, n, results) : tern_cli_fail("out of memory");
    free(results);
    free(threads);
    return status;
}

static const settings defaults = {
    .threads = "0", .session = TERN_SESSION_OPTIONS_DEFAULT, .prompt = 512, .decode = 128, .depth = 16, .runs = 5};

const tern_command tern_command_bench = {
    .name = "bench",
    .operands = "[MODEL]",
    .summary = "measure the speed of prefill and decode, and how near the memory limit it is",
    .example = "tern bench model.gguf\n"
               "tern bench model.gguf -p 512 -n 128 -t 1,2 -r 5 --json\n"
               "tern bench model.gguf -p 0 -d 2048                    # decode in a long context\n",
    .notes = "Prefill evaluates random tokens (the same in every run) from an empty context; the time to the first\n"
             "token is that of the whole prompt and the logits of its last token. Decode evaluates token by token,\n"
             "logits each time. Bytes per token: packed weights and head, and the mean of what is read of\n"
             "the KV cache. Memory read is measured by summing 768 MB with the same number of threads.\n",
    .min_operands = 0,
    .max_operands = 1,
    .groups = {{"Options", options, 0}, {"Evaluation", session_options, offsetof(settings, session)}},
    .options_size = sizeof(settings),
    .defaults = &defaults,
    .run = run,
};
