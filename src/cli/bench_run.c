/* tern bench: measuring one model with one number of threads. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cli/bench.h"

enum { WARM_UP_TOKENS = 8 };

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

tern_spread tern_spread_of(double *values, size_t n) {
    qsort(values, n, sizeof *values, compare_doubles);
    double median = n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
    return (tern_spread){median, values[0], values[n - 1]};
}

double tern_bench_bytes_per_token(const tern_bench_result *r) { return r->weight_bytes + r->kv_bytes; }
double tern_bench_bytes_per_second(const tern_bench_result *r) {
    return tern_bench_bytes_per_token(r) * r->decode.median;
}
double tern_bench_macs_per_second(const tern_bench_result *r) { return (double)r->n_ternary * r->prefill.median; }

/* ------------------------------------------------------------------- opening */

/* Linux: the highest RSS from now on, not of models that were there before. Elsewhere it stays the highest of all. */
static void reset_peak_rss(void) {
    FILE *file = fopen("/proc/self/clear_refs", "we");
    if (!file)
        return;
    fputs("5", file);
    fclose(file);
}

int tern_bench_open(const char *path, int threads, const tern_bench_load *load, tern_bench_model *bench) {
    tern_error err;
    char *found;
    memset(bench, 0, sizeof *bench);
    tern_shape shape;
    int status = tern_cli_find_model(path, &found);
    if (status)
        return status;
    if (tern_shape_of(found, &shape, &err)) { /* a bad file is told at once, not when the limits are measured */
        free(found);
        return tern_cli_error(&err);
    }
    if (tern_meter_create(threads, NULL, &bench->meter, &err)) { /* before the counters: its threads do not count */
        bench->meter = NULL;
        if (err.status != TERN_ERR_MEMORY) {
            free(found);
            return tern_cli_error(&err);
        }
        tern_cli_warn("the machine's limits are not measured: %s", err.message);
    }
    reset_peak_rss();
    tern_counters_open(&bench->counters);
    tern_model_params params = tern_model_defaults();
    params.n_threads = threads;
    params.packing = load->packing;
    params.dense_ffn = load->dense_ffn;
    params.exact_head = load->exact_head;
    params.act = (tern_act_type)load->act;
    tern_cli_place(&load->placement, &params);
    double start = tern_seconds();
    tern_status failed = tern_model_load(found, &params, &bench->model, &err);
    free(found);
    if (failed) {
        tern_bench_close(bench);
        return tern_cli_error(&err);
    }
    bench->load_seconds = tern_seconds() - start;
    tern_model_get_info(bench->model, &bench->info);
    tern_cli_warn_placement(&load->placement, bench->model);
    return 0;
}

void tern_bench_close(tern_bench_model *bench) {
    tern_model_free(bench->model);
    tern_counters_close(&bench->counters);
    tern_meter_free(bench->meter);
    memset(bench, 0, sizeof *bench);
}

/* -------------------------------------------------------------------- memory */

/* Of this process, the meter's block left out. */
static double own_peak_rss(const tern_bench_model *bench) {
    double peak = (double)tern_peak_rss(), block = bench->meter ? (double)tern_meter_bytes(bench->meter) : 0;
    return peak > block ? peak - block : 0;
}

/* Memory that no other process shares and that cannot be dropped and read again from a file; 0: not known. */
static double own_private_bytes(const tern_bench_model *bench) {
    char line[128];
    double kib = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "RssAnon:", 8) == 0)
            kib = strtod(line + 8, NULL);
    if (file)
        fclose(file);
    double block = bench->meter ? (double)tern_meter_bytes(bench->meter) : 0, bytes = kib * 1024;
    return bytes > block ? bytes - block : 0;
}

/* ----------------------------------------------------------------- measuring */

/* What the runs share. */
typedef struct runner {
    const tern_bench_model *bench;
    const tern_bench_plan *plan;
    tern_session **sessions; /* [n_sessions], the first one also for one stream */
    tern_sampler **samplers; /* [n_sessions], greedy */
    size_t n_sessions;
    const int32_t **positions; /* [n_sessions] into ids */
    size_t *ones;              /* [n_sessions] */
    int32_t *ids, *sampled;    /* [n_ids], [n_sessions] */
    tern_counts prefill_counts, decode_counts;
    tern_model_stats decode_reads; /* of the decode runs */
    tern_energy *energy;           /* NULL: not asked for, or nothing to read */
    tern_bench_energy *measured;
} runner;

/* Samples of a run; the limits before and after what they hold for. */
typedef struct sample {
    double prefill, decode, batch; /* seconds */
    double macs, memory;           /* per second; 0: no meter */
} sample;

/* The next token, which is thrown away: every run evaluates the same ones. */
static tern_status next_token(const runner *r, tern_error *err) {
    if (!r->plan->all_logits)
        return tern_session_sample(r->sessions[0], r->samplers[0], r->sampled, err);
    return tern_session_logits(r->sessions[0]) ? TERN_OK : tern_fail(err, TERN_ERR_MEMORY, "no logits");
}

static double memory_limit(const runner *r) { return r->bench->meter ? tern_meter_memory(r->bench->meter) : 0; }
static double macs_limit(const runner *r) { return r->bench->meter ? tern_meter_macs(r->bench->meter) : 0; }

static tern_status run_prefill(runner *r, sample *out, tern_error *err) {
    tern_counts before, after;
    tern_energy_reading energy;
    size_t n = (size_t)r->plan->prompt;
    tern_status status = tern_session_truncate(r->sessions[0], 0, err);
    double limit = macs_limit(r);
    tern_counters_read(&r->bench->counters, &before);
    tern_bench_energy_begin(r->energy, &energy);
    double start = tern_seconds();
    if (!status)
        status = tern_session_eval(r->sessions[0], r->ids, n, err);
    if (!status)
        status = next_token(r, err);
    out->prefill = tern_seconds() - start;
    tern_bench_energy_end(r->energy, &energy, TERN_ENERGY_PREFILL, (double)n, r->measured);
    tern_counters_read(&r->bench->counters, &after);
    tern_counts_add(&r->prefill_counts, &before, &after);
    out->macs = (limit + macs_limit(r)) / 2;
    return status;
}

/* `depth` tokens in session i, as cheaply as possible. */
static tern_status fill_context(const runner *r, size_t i, tern_error *err) {
    uint32_t depth = (uint32_t)r->plan->depth, past = tern_session_n_past(r->sessions[i]);
    if (past > depth)
        return tern_session_truncate(r->sessions[i], depth, err);
    return past < depth ? tern_session_eval(r->sessions[i], r->ids + past, depth - past, err) : TERN_OK;
}

static void add_reads(tern_model_stats *sum, const tern_model_stats *before, const tern_model_stats *after) {
    sum->ffn_up_rows += after->ffn_up_rows - before->ffn_up_rows;
    sum->ffn_up_rows_all += after->ffn_up_rows_all - before->ffn_up_rows_all;
    sum->ffn_down_columns += after->ffn_down_columns - before->ffn_down_columns;
    sum->ffn_down_columns_all += after->ffn_down_columns_all - before->ffn_down_columns_all;
    sum->screen_extra_bytes += after->screen_extra_bytes - before->screen_extra_bytes;
}

static tern_status run_decode(runner *r, size_t n_tokens, sample *out, tern_error *err) {
    tern_counts before, after;
    tern_energy_reading energy;
    tern_model_stats reads_before, reads_after;
    tern_status status = fill_context(r, 0, err);
    double limit = memory_limit(r);
    tern_model_get_stats(r->bench->model, &reads_before);
    tern_counters_read(&r->bench->counters, &before);
    tern_bench_energy_begin(r->energy, &energy);
    double start = tern_seconds();
    for (size_t i = 0; !status && i < n_tokens; i++) {
        status = tern_session_eval(r->sessions[0], r->ids + r->plan->depth + i, 1, err);
        if (!status)
            status = next_token(r, err);
    }
    out->decode = tern_seconds() - start;
    tern_bench_energy_end(r->energy, &energy, TERN_ENERGY_DECODE, (double)n_tokens, r->measured);
    tern_counters_read(&r->bench->counters, &after);
    tern_counts_add(&r->decode_counts, &before, &after);
    tern_model_get_stats(r->bench->model, &reads_after);
    add_reads(&r->decode_reads, &reads_before, &reads_after);
    out->memory = (limit + memory_limit(r)) / 2;
    return status;
}

static tern_status run_batch(runner *r, size_t n_tokens, sample *out, tern_error *err) {
    tern_energy_reading energy;
    tern_status status = TERN_OK;
    for (size_t i = 0; !status && i < r->n_sessions; i++)
        status = fill_context(r, i, err);
    tern_bench_energy_begin(r->energy, &energy);
    double start = tern_seconds();
    for (size_t t = 0; !status && t < n_tokens; t++) {
        /* each stream its own token, so that no two compute the same */
        for (size_t i = 0; i < r->n_sessions; i++)
            r->positions[i] = r->ids + r->plan->depth + (t + i) % n_tokens;
        status = tern_batch_eval(r->sessions, r->positions, r->ones, r->n_sessions, err);
        if (!status)
            status = tern_batch_sample(r->sessions, r->samplers, r->n_sessions, r->sampled, err);
    }
    out->batch = tern_seconds() - start;
    tern_bench_energy_end(r->energy, &energy, TERN_ENERGY_BATCH, (double)(n_tokens * r->n_sessions), r->measured);
    return status;
}

static tern_status run_once(runner *r, size_t n_decode, sample *out, tern_error *err) {
    memset(out, 0, sizeof *out);
    tern_status status = TERN_OK;
    if (r->plan->prompt)
        status = run_prefill(r, out, err);
    if (!status && n_decode)
        status = run_decode(r, n_decode, out, err);
    if (!status && n_decode && r->n_sessions > 1)
        status = run_batch(r, n_decode, out, err);
    return status;
}

/* ------------------------------------------------------------------- results */

enum { PREFILL, FIRST_TOKEN, MACS, PREFILL_SHARE, DECODE, MEMORY, DECODE_SHARE, BATCH, BATCH_RATIO, N_FIGURES };

/* figures [N_FIGURES][runs] */
static void keep(const runner *r, const tern_bench_result *result, const sample *s, double *figures, size_t run) {
    size_t n = (size_t)r->plan->runs;
    double decode = (double)r->plan->decode, prompt = (double)r->plan->prompt;
    figures[PREFILL * n + run] = s->prefill > 0 ? prompt / s->prefill : 0;
    figures[FIRST_TOKEN * n + run] = s->prefill;
    figures[MACS * n + run] = s->macs;
    figures[PREFILL_SHARE * n + run] = s->macs > 0 ? (double)result->n_ternary * prompt / s->prefill / s->macs : 0;
    figures[DECODE * n + run] = s->decode > 0 ? decode / s->decode : 0;
    figures[MEMORY * n + run] = s->memory;
    figures[DECODE_SHARE * n + run] = s->memory > 0 ? decode / s->decode / s->memory : 0; /* bytes: known at the end */
    figures[BATCH * n + run] = s->batch > 0 ? decode * (double)r->n_sessions / s->batch : 0;
    figures[BATCH_RATIO * n + run] = s->batch > 0 ? s->decode * (double)r->n_sessions / s->batch : 0;
}

static void per_token(tern_counts *counts, double tokens) {
    for (int i = 0; i < TERN_N_COUNTERS; i++)
        if (counts->values[i] > 0 && tokens > 0)
            counts->values[i] /= tokens;
}

/* The bytes of `up` and `down` that no token of the decode runs needed were not read; what the head's screen left open
 * was, on top of its first plane. */
static void count_what_was_read(const runner *r, tern_bench_result *result) {
    const tern_model_info *info = &r->bench->info;
    const tern_model_stats *reads = &r->decode_reads;
    double matrices = (double)info->n_layers * info->hidden_size * info->ffn_size; /* weights: all `up` or all `down` */
    double bytes = info->n_ternary ? matrices * (double)info->weight_bytes / (double)info->n_ternary : 0;
    result->ffn_up_share = reads->ffn_up_rows_all ? (double)reads->ffn_up_rows / (double)reads->ffn_up_rows_all : 1;
    result->ffn_down_share =
        reads->ffn_down_columns_all ? (double)reads->ffn_down_columns / (double)reads->ffn_down_columns_all : 1;
    result->weight_bytes -= bytes * (2 - result->ffn_up_share - result->ffn_down_share);
    double tokens = (double)r->plan->decode * (double)r->plan->runs;
    result->weight_bytes += tokens > 0 ? (double)reads->screen_extra_bytes / tokens : 0;
}

static void summarise(const runner *r, double *figures, tern_bench_result *result) {
    size_t n = (size_t)r->plan->runs;
    count_what_was_read(r, result);
    for (size_t i = 0; i < n; i++)
        figures[DECODE_SHARE * n + i] *= tern_bench_bytes_per_token(result);
    tern_spread *spreads[N_FIGURES] = {[PREFILL] = &result->prefill,
                                       [FIRST_TOKEN] = &result->first_token,
                                       [MACS] = &result->macs,
                                       [PREFILL_SHARE] = &result->prefill_share,
                                       [DECODE] = &result->decode,
                                       [MEMORY] = &result->memory_read,
                                       [DECODE_SHARE] = &result->decode_share,
                                       [BATCH] = &result->batch,
                                       [BATCH_RATIO] = &result->batch_ratio};
    for (int i = 0; i < N_FIGURES; i++)
        *spreads[i] = tern_spread_of(figures + (size_t)i * n, n);
    result->prefill_counts = r->prefill_counts;
    result->decode_counts = r->decode_counts;
    per_token(&result->prefill_counts, (double)(r->plan->prompt * r->plan->runs));
    per_token(&result->decode_counts, (double)(r->plan->decode * r->plan->runs));
}

static tern_status run_all(runner *r, tern_progress *progress, int64_t *done, int64_t total, tern_bench_result *result,
                           tern_error *err) {
    size_t n = (size_t)r->plan->runs, decode = (size_t)r->plan->decode;
    sample s;
    double *figures = tern_calloc_array(n, N_FIGURES * sizeof *figures);
    if (!figures)
        return tern_fail_memory(err, "the results");
    tern_status status = run_once(r, decode < WARM_UP_TOKENS ? decode : WARM_UP_TOKENS, &s, err);
    memset(&r->prefill_counts, 0, sizeof r->prefill_counts);
    memset(&r->decode_counts, 0, sizeof r->decode_counts);
    memset(&r->decode_reads, 0, sizeof r->decode_reads);
    tern_bench_energy_reset(r->measured);
    for (size_t i = 0; !status && i < n; i++) {
        status = run_once(r, decode, &s, err);
        keep(r, result, &s, figures, i);
        tern_progress_update(progress, (uint64_t)++ * done, (uint64_t)total);
    }
    if (!status)
        summarise(r, figures, result);
    free(figures);
    return status;
}

/* ------------------------------------------------------------------- setting up */

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

static tern_status set_up(runner *r, tern_error *err) {
    const tern_bench_plan *plan = r->plan;
    tern_sampler_params greedy = tern_sampler_defaults();
    greedy.temperature = 0;
    size_t n = r->n_sessions, n_ids = (size_t)(plan->depth + plan->decode);
    n_ids = n_ids < (size_t)plan->prompt ? (size_t)plan->prompt : n_ids;
    r->sessions = tern_calloc_array(n, sizeof(tern_session *));
    r->samplers = tern_calloc_array(n, sizeof(tern_sampler *));
    r->positions = tern_calloc_array(n, sizeof(int32_t *));
    r->ones = tern_calloc_array(n, sizeof *r->ones);
    r->sampled = tern_calloc_array(n, sizeof *r->sampled);
    r->ids = tern_alloc_array(n_ids, sizeof *r->ids);
    if (!r->sessions || !r->samplers || !r->positions || !r->ones || !r->sampled || !r->ids)
        return tern_fail_memory(err, "the measurement");
    fill_ids(r->bench->model, r->ids, n_ids);
    tern_status status = TERN_OK;
    for (size_t i = 0; i < n && !status; i++) {
        r->ones[i] = 1;
        status = tern_session_create(r->bench->model, &plan->session, &r->sessions[i], err);
        if (!status)
            status = tern_sampler_create(&greedy, r->bench->info.vocab_size, &r->samplers[i], err);
    }
    return status;
}

static void tear_down(runner *r) {
    for (size_t i = 0; i < r->n_sessions; i++) {
        if (r->sessions)
            tern_session_free(r->sessions[i]);
        if (r->samplers)
            tern_sampler_free(r->samplers[i]);
    }
    free(r->sessions);
    free(r->samplers);
    free(r->positions);
    free(r->ones);
    free(r->sampled);
    free(r->ids);
}

static void describe(const tern_bench_model *bench, const tern_bench_plan *plan, tern_bench_result *result) {
    const tern_model_info *info = &bench->info;
    memset(result, 0, sizeof *result);
    snprintf(result->name, sizeof result->name, "%s", info->name);
    snprintf(result->arch, sizeof result->arch, "%s", info->arch);
    snprintf(result->weight_type, sizeof result->weight_type, "%s", info->weight_type);
    snprintf(result->embedding_type, sizeof result->embedding_type, "%s", info->embedding_type);
    snprintf(result->head_type, sizeof result->head_type, "%s", info->head_type);
    snprintf(result->kernels, sizeof result->kernels, "%s", info->kernels);
    snprintf(result->packing, sizeof result->packing, "%s", info->packing);
    snprintf(result->no_counters, sizeof result->no_counters, "%s", bench->counters.missing);
    if (bench->meter)
        snprintf(result->instruction, sizeof result->instruction, "%s", tern_meter_instruction(bench->meter));
    result->plan = *plan;
    result->threads = info->n_threads;
    result->n_params = info->n_params;
    result->n_ternary = info->n_ternary;
    result->load_seconds = bench->load_seconds;
    result->weight_bytes = (double)info->bytes_per_token;
    /* step i reads the keys and values of depth + i + 1 tokens, its own included */
    result->shape = (tern_shape){.vocab_size = info->vocab_size,
                                 .hidden_size = info->hidden_size,
                                 .ffn_size = info->ffn_size,
                                 .n_layers = info->n_layers,
                                 .n_heads = info->n_heads,
                                 .n_kv_heads = info->n_kv_heads,
                                 .head_dim = info->head_dim};
    result->kv_bytes = tern_shape_kv_bytes(&result->shape, plan->session.kv_type,
                                           (double)plan->depth + ((double)plan->decode + 1) / 2);
    result->loaded_bytes = (double)info->loaded_bytes;
}

int tern_bench_measure(const tern_bench_model *bench, const tern_bench_plan *plan, tern_progress *progress,
                       int64_t *done, int64_t total, tern_bench_result *result) {
    tern_error err;
    runner r = {.bench = bench, .plan = plan, .n_sessions = plan->batch > 1 ? (size_t)plan->batch : 1};
    if (plan->prompt > bench->info.n_ctx || (plan->decode && plan->depth + plan->decode > bench->info.n_ctx))
        return tern_cli_usage("bench",
                              "the model's context is %u tokens: --prompt %lld and --depth %lld + --decode %lld "
                              "must fit into it",
                              bench->info.n_ctx, (long long)plan->prompt, (long long)plan->depth,
                              (long long)plan->decode);
    describe(bench, plan, result);
    r.measured = &result->energy;
    tern_status status = set_up(&r, &err);
    if (!status && plan->energy)
        r.energy = tern_bench_energy_open(plan, &result->energy);
    if (!status) {
        tern_interrupt_watch(r.sessions[0]);
        status = run_all(&r, progress, done, total, result, &err);
        tern_interrupt_watch(NULL);
    }
    result->peak_rss = own_peak_rss(bench);
    result->private_bytes = own_private_bytes(bench);
    if (r.energy)
        tern_bench_energy_summarise(r.energy, &result->energy);
    tern_energy_close(r.energy);
    tear_down(&r);
    return status ? tern_cli_error(&err) : 0;
}
