/* tern bench: the figures of one model as a table or as JSON. */
#include <string.h>

#include "cli/bench.h"
#include "cli/measure.h"

/* ----------------------------------------------------------------------- JSON */

static json_t *spread_json(const tern_spread *spread) {
    if (spread->median == 0)
        return json_null(); /* was not to be measured */
    return json_pack("{s:f, s:f, s:f}", "median", spread->median, "min", spread->min, "max", spread->max);
}

static void set_spread(json_t *object, const char *key, const tern_spread *spread) {
    if (spread->median != 0)
        json_object_set_new(object, key, spread_json(spread));
}

static json_t *counts_json(const tern_counts *counts) {
    json_t *object = json_object();
    char key[64];
    for (int i = 0; i < TERN_N_COUNTERS; i++) {
        snprintf(key, sizeof key, "%s_per_token", tern_counter_name((tern_counter)i));
        json_object_set_new(object, key, counts->values[i] < 0 ? json_null() : json_real(counts->values[i]));
    }
    const double *values = counts->values;
    if (values[TERN_COUNTER_CYCLES] > 0 && values[TERN_COUNTER_INSTRUCTIONS] >= 0)
        json_object_set_new(object, "instructions_per_cycle",
                            json_real(values[TERN_COUNTER_INSTRUCTIONS] / values[TERN_COUNTER_CYCLES]));
    return object;
}

static void add_limits(const tern_bench_result *r, json_t *object) {
    if (r->memory_read.median > 0)
        json_object_set_new(object, "memory_read_bytes_per_second", json_real(r->memory_read.median));
    set_spread(object, "memory_read_spread_bytes_per_second", &r->memory_read);
    if (r->memory_read.median > 0 && r->decode.median > 0) {
        json_object_set_new(object, "achieved_bytes_per_second", json_real(tern_bench_bytes_per_second(r)));
        json_object_set_new(object, "achieved_share_of_memory_read", json_real(r->decode_share.median));
    }
    set_spread(object, "decode_share_of_memory_read", &r->decode_share);
    set_spread(object, "peak_macs_per_second", &r->macs);
    if (r->macs.median > 0)
        json_object_set_new(object, "peak_instruction", json_string(r->instruction));
    if (r->prefill.median > 0)
        json_object_set_new(object, "prefill_macs_per_second", json_real(tern_bench_macs_per_second(r)));
    set_spread(object, "prefill_share_of_peak", &r->prefill_share);
}

static void add_counters(const tern_bench_result *r, json_t *object) {
    if (!r->plan.counters)
        return;
    if (r->plan.prompt)
        json_object_set_new(object, "prefill_counters", counts_json(&r->prefill_counts));
    if (r->plan.decode)
        json_object_set_new(object, "decode_counters", counts_json(&r->decode_counts));
    json_object_set_new(object, "counters_unavailable", r->no_counters[0] ? json_string(r->no_counters) : json_null());
}

json_t *tern_bench_result_json(const tern_bench_result *r) {
    json_t *object = json_pack(
        "{s:i, s:s, s:s, s:f, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:f, s:f}", "threads", r->threads, "kernels",
        r->kernels, "packing", r->packing, "load_seconds", r->load_seconds, "prefill_tokens_per_second",
        spread_json(&r->prefill), "decode_tokens_per_second", spread_json(&r->decode), "first_token_seconds",
        spread_json(&r->first_token), "peak_rss_bytes", (json_int_t)r->peak_rss, "loaded_bytes",
        (json_int_t)r->loaded_bytes, "weight_bytes_per_token", (json_int_t)r->weight_bytes, "kv_bytes_per_token",
        (json_int_t)r->kv_bytes, "bytes_per_token", (json_int_t)tern_bench_bytes_per_token(r), "ffn_up_share_read",
        r->ffn_up_share, "ffn_down_share_read", r->ffn_down_share);
    if (!object)
        return NULL;
    if (r->private_bytes > 0)
        json_object_set_new(object, "private_bytes", json_integer((json_int_t)r->private_bytes));
    add_limits(r, object);
    if (r->plan.batch > 1) {
        json_object_set_new(object, "batch_streams", json_integer(r->plan.batch));
        json_object_set_new(object, "batch_tokens_per_second", spread_json(&r->batch));
        json_object_set_new(object, "batch_ratio_to_one_stream", spread_json(&r->batch_ratio));
    }
    add_counters(r, object);
    if (r->plan.energy)
        tern_bench_add_energy(r, object);
    return object;
}

json_t *tern_bench_plan_json(const tern_bench_result *r) {
    return json_pack("{s:o, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:b}", "model",
                     tern_json_text(r->name), "arch", r->arch, "weight_type", r->weight_type, "embedding_type",
                     r->embedding_type, "head_type", r->head_type, "parameters", (json_int_t)r->n_params,
                     "ternary_weights", (json_int_t)r->n_ternary, "prompt_tokens", (json_int_t)r->plan.prompt,
                     "decode_tokens", (json_int_t)r->plan.decode, "depth_tokens", (json_int_t)r->plan.depth, "runs",
                     (json_int_t)r->plan.runs, "chunk_tokens", (json_int_t)r->plan.session.chunk, "kv_type",
                     tern_kv_type_name(r->plan.session.kv_type), "all_logits", r->plan.all_logits);
}

int tern_bench_print_json(const tern_bench_result *results, size_t n) {
    json_t *object = tern_bench_plan_json(&results[0]), *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, tern_bench_result_json(&results[i]));
    if (json_array_size(list) != n || json_object_set_new(object, "results", list)) {
        json_decref(object);
        object = NULL;
    }
    return tern_cli_print_json(object);
}

/* ---------------------------------------------------------------------- table */

enum { LABEL_WIDTH = 28, CELL_WIDTH = 26, CELL = 64 };

typedef void (*cell_fn)(const tern_bench_result *result, char text[CELL]);

static void rate_cell(const tern_spread *rate, char text[CELL]) {
    snprintf(text, CELL, rate->median ? "%.1f tok/s" : "-", rate->median);
}
static void rate_spread_cell(const tern_spread *rate, char text[CELL]) {
    snprintf(text, CELL, rate->median ? "%.1f - %.1f tok/s" : "-", rate->min, rate->max);
}
static void bytes_cell(double bytes, char text[CELL]) {
    char formatted[32];
    snprintf(text, CELL, "%s", tern_format_bytes(formatted, bytes));
}
static void limit_cell(const tern_spread *limit, double unit, const char *format, char text[CELL]) {
    if (limit->median)
        snprintf(text, CELL, format, limit->median / unit, limit->min / unit, limit->max / unit);
    else
        snprintf(text, CELL, "-");
}
/* What was reached, and its share of the limit around each run. */
static void share_cell(double reached, double unit, const char *name, const tern_spread *share, char text[CELL]) {
    if (reached > 0 && share->median)
        snprintf(text, CELL, "%.1f %s, %.0f%%", reached / unit, name, 100 * share->median);
    else
        snprintf(text, CELL, "-");
}

static void prefill(const tern_bench_result *r, char text[CELL]) { rate_cell(&r->prefill, text); }
static void prefill_spread(const tern_bench_result *r, char text[CELL]) { rate_spread_cell(&r->prefill, text); }
static void decode(const tern_bench_result *r, char text[CELL]) { rate_cell(&r->decode, text); }
static void decode_spread(const tern_bench_result *r, char text[CELL]) { rate_spread_cell(&r->decode, text); }
static void batch(const tern_bench_result *r, char text[CELL]) { rate_cell(&r->batch, text); }
static void batch_spread(const tern_bench_result *r, char text[CELL]) { rate_spread_cell(&r->batch, text); }
static void batch_ratio(const tern_bench_result *r, char text[CELL]) {
    limit_cell(&r->batch_ratio, 1, "%.2f (%.2f - %.2f)", text);
}
static void first_token(const tern_bench_result *r, char text[CELL]) {
    char time[32];
    snprintf(text, CELL, "%s", r->first_token.median ? tern_format_seconds(time, r->first_token.median) : "-");
}
static void load(const tern_bench_result *r, char text[CELL]) {
    char time[32];
    snprintf(text, CELL, "%s", tern_format_seconds(time, r->load_seconds));
}
static void peak_rss(const tern_bench_result *r, char text[CELL]) { bytes_cell(r->peak_rss, text); }
static void private_memory(const tern_bench_result *r, char text[CELL]) {
    if (r->private_bytes > 0)
        bytes_cell(r->private_bytes, text);
    else
        snprintf(text, CELL, "-");
}
static void token_bytes(const tern_bench_result *r, char text[CELL]) {
    bytes_cell(tern_bench_bytes_per_token(r), text);
}
static void token_bytes_kv(const tern_bench_result *r, char text[CELL]) { bytes_cell(r->kv_bytes, text); }
static void ffn_read(const tern_bench_result *r, char text[CELL]) {
    snprintf(text, CELL, "%.0f%%, %.0f%%", 100 * r->ffn_up_share, 100 * r->ffn_down_share);
}
static void memory_read(const tern_bench_result *r, char text[CELL]) {
    limit_cell(&r->memory_read, 1e9, "%.1f (%.1f - %.1f) GB/s", text);
}
static void memory_used(const tern_bench_result *r, char text[CELL]) {
    share_cell(tern_bench_bytes_per_second(r), 1e9, "GB/s", &r->decode_share, text);
}
static void peak(const tern_bench_result *r, char text[CELL]) {
    limit_cell(&r->macs, 1e9, "%.0f (%.0f - %.0f) GMAC/s", text);
}
static void peak_used(const tern_bench_result *r, char text[CELL]) {
    share_cell(tern_bench_macs_per_second(r), 1e9, "GMAC/s", &r->prefill_share, text);
}
static void kernels(const tern_bench_result *r, char text[CELL]) { snprintf(text, CELL, "%s", r->kernels); }
static void packing(const tern_bench_result *r, char text[CELL]) { snprintf(text, CELL, "%s", r->packing); }

static void print_row(const tern_bench_result *results, size_t n, const char *text, cell_fn cell) {
    printf("%-*s", LABEL_WIDTH, text);
    for (size_t i = 0; i < n; i++) {
        char value[CELL];
        cell(&results[i], value);
        printf("%*s", CELL_WIDTH, value);
    }
    putchar('\n');
}

static void print_counters(const tern_bench_result *r) {
    const struct {
        const char *name;
        const tern_counts *counts;
        int64_t tokens;
    } parts[] = {{"prefill", &r->prefill_counts, r->plan.prompt}, {"decode", &r->decode_counts, r->plan.decode}};
    char count[32];
    if (r->no_counters[0])
        printf("%s\n", r->no_counters);
    for (size_t part = 0; part < 2; part++) {
        const double *values = parts[part].counts->values;
        if (!parts[part].tokens)
            continue;
        printf("%-8s %d thread%s, per token:", parts[part].name, r->threads, r->threads == 1 ? "" : "s");
        for (int i = 0; i < TERN_N_COUNTERS; i++)
            if (values[i] >= 0)
                printf(" %s %s,",
                       values[i] < 1000 ? (snprintf(count, sizeof count, "%.3g", values[i]), count)
                                        : tern_format_count(count, values[i]),
                       tern_counter_name((tern_counter)i));
        if (values[TERN_COUNTER_CYCLES] > 0 && values[TERN_COUNTER_INSTRUCTIONS] >= 0)
            printf(" %.2f instructions per cycle", values[TERN_COUNTER_INSTRUCTIONS] / values[TERN_COUNTER_CYCLES]);
        printf("\n");
    }
}

typedef struct row {
    const char *label;
    cell_fn cell;
    bool shown;
} row;

static void print_rows(const tern_bench_result *results, size_t n) {
    const tern_bench_plan *plan = &results[0].plan;
    char prefill_label[48], decode_label[48], batch_label[48];
    bool sparse = results[0].ffn_up_share < 1 || results[0].ffn_down_share < 1;
    snprintf(prefill_label, sizeof prefill_label, "prefill of %lld tok", (long long)plan->prompt);
    snprintf(decode_label, sizeof decode_label, "decode of %lld tok after %lld", (long long)plan->decode,
             (long long)plan->depth);
    snprintf(batch_label, sizeof batch_label, "decode of %lld streams", (long long)plan->batch);
    const row rows[] = {
        {"kernels", kernels, true},
        {"packing", packing, true},
        {prefill_label, prefill, true},
        {"", prefill_spread, true},
        {decode_label, decode, true},
        {"", decode_spread, true},
        {batch_label, batch, plan->batch > 1},
        {"", batch_spread, plan->batch > 1},
        {"  times one stream", batch_ratio, plan->batch > 1},
        {"first token after", first_token, true},
        {"load", load, true},
        {"peak RSS", peak_rss, true},
        {"  of it private at the end", private_memory, true},
        {"read per token", token_bytes, plan->decode > 0},
        {"  of it KV cache", token_bytes_kv, plan->decode > 0},
        {"  of FFN up, down", ffn_read, sparse},
        {"memory can be read at", memory_read, plan->decode > 0},
        {"decode reads at", memory_used, plan->decode > 0},
        {"dot products can do", peak, plan->prompt > 0},
        {"prefill does", peak_used, plan->prompt > 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].shown)
            print_row(results, n, rows[i].label, rows[i].cell);
}

int tern_bench_print_table(const tern_bench_result *results, size_t n) {
    const tern_bench_result *first = &results[0];
    char count[32];
    printf("%s (%s): %s parameters, %s weights, %s embedding, %s head; KV cache %s\n", first->name, first->arch,
           tern_format_count(count, (double)first->n_params), first->weight_type, first->embedding_type,
           first->head_type, tern_kv_type_name(first->plan.session.kv_type));
    printf("median of %lld runs and, below it or in brackets, the slowest and the fastest\n\n",
           (long long)first->plan.runs);
    printf("%-*s", LABEL_WIDTH, "threads");
    for (size_t i = 0; i < n; i++)
        printf("%*d", CELL_WIDTH, results[i].threads);
    putchar('\n');
    print_rows(results, n);
    if (first->plan.counters) {
        putchar('\n');
        for (size_t i = 0; i < n; i++)
            print_counters(&results[i]);
    }
    if (first->plan.energy)
        tern_bench_print_energy(results, n);
    return 0;
}
