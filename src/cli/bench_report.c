#include "cli/bench.h"

#include "cli/measure.h"

/* -------------------------------------------------------------------- figures */

static double bytes_per_token(const tern_bench_result *r) { return r->weight_bytes + r->kv_bytes; }
static double achieved(const tern_bench_result *r) { return bytes_per_token(r) * r->decode.median; }

/* ----------------------------------------------------------------------- JSON */

static json_t *spread_json(const tern_spread *spread) {
    if (spread->median == 0)
        return json_null(); /* was not to be measured */
    return json_pack("{s:f, s:f, s:f}", "median", spread->median, "min", spread->min, "max", spread->max);
}

static json_t *result_json(const tern_bench_result *r) {
    json_t *object =
        json_pack("{s:i, s:s, s:s, s:f, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I}", "threads", r->threads, "kernels",
                  r->kernels, "packing", r->packing, "load_seconds", r->load_seconds, "prefill_tokens_per_second",
                  spread_json(&r->prefill), "decode_tokens_per_second", spread_json(&r->decode), "first_token_seconds",
                  spread_json(&r->first_token), "peak_rss_bytes", (json_int_t)r->peak_rss, "loaded_bytes",
                  (json_int_t)r->loaded_bytes, "weight_bytes_per_token", (json_int_t)r->weight_bytes,
                  "kv_bytes_per_token", (json_int_t)r->kv_bytes, "bytes_per_token", (json_int_t)bytes_per_token(r));
    if (object && r->memory_read > 0)
        json_object_set_new(object, "memory_read_bytes_per_second", json_real(r->memory_read));
    if (object && r->memory_read > 0 && r->decode.median > 0) {
        json_object_set_new(object, "achieved_bytes_per_second", json_real(achieved(r)));
        json_object_set_new(object, "achieved_share_of_memory_read", json_real(achieved(r) / r->memory_read));
    }
    return object;
}

int tern_bench_print_json(const tern_bench_report *report) {
    json_t *results = json_array();
    for (size_t i = 0; i < report->n_results; i++)
        json_array_append_new(results, result_json(&report->results[i]));
    return tern_cli_print_json(json_pack(
        "{s:o, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o}", "model", tern_json_text(report->name),
        "arch", report->arch, "weight_type", report->weight_type, "embedding_type", report->embedding_type, "head_type",
        report->head_type, "parameters", (json_int_t)report->n_params, "prompt_tokens", (json_int_t)report->prompt,
        "decode_tokens", (json_int_t)report->decode, "depth_tokens", (json_int_t)report->depth, "runs",
        (json_int_t)report->runs, "chunk_tokens", (json_int_t)report->chunk, "kv_type",
        tern_kv_type_name(report->kv_type), "results", results));
}

/* ---------------------------------------------------------------------- table */

typedef void (*cell_fn)(const tern_bench_result *result, char text[64]);

static void rate_cell(const tern_spread *rate, char text[64]) {
    snprintf(text, 64, rate->median ? "%.1f tok/s" : "-", rate->median);
}
static void rate_spread_cell(const tern_spread *rate, char text[64]) {
    snprintf(text, 64, rate->median ? "%.1f - %.1f tok/s" : "-", rate->min, rate->max);
}
static void prefill(const tern_bench_result *r, char text[64]) { rate_cell(&r->prefill, text); }
static void prefill_spread(const tern_bench_result *r, char text[64]) { rate_spread_cell(&r->prefill, text); }
static void decode(const tern_bench_result *r, char text[64]) { rate_cell(&r->decode, text); }
static void decode_spread(const tern_bench_result *r, char text[64]) { rate_spread_cell(&r->decode, text); }
static void first_token(const tern_bench_result *r, char text[64]) {
    char time[32];
    snprintf(text, 64, "%s", r->first_token.median ? tern_format_seconds(time, r->first_token.median) : "-");
}
static void load(const tern_bench_result *r, char text[64]) {
    char time[32];
    snprintf(text, 64, "%s", tern_format_seconds(time, r->load_seconds));
}
static void peak_rss(const tern_bench_result *r, char text[64]) {
    char bytes[32];
    snprintf(text, 64, "%s", tern_format_bytes(bytes, r->peak_rss));
}
static void token_bytes(const tern_bench_result *r, char text[64]) {
    char bytes[32];
    snprintf(text, 64, "%s", tern_format_bytes(bytes, bytes_per_token(r)));
}
static void token_bytes_kv(const tern_bench_result *r, char text[64]) {
    char bytes[32];
    snprintf(text, 64, "%s", tern_format_bytes(bytes, r->kv_bytes));
}
static void memory_read(const tern_bench_result *r, char text[64]) {
    snprintf(text, 64, r->memory_read ? "%.1f GB/s" : "-", r->memory_read / 1e9);
}
static void memory_used(const tern_bench_result *r, char text[64]) {
    if (r->memory_read && r->decode.median)
        snprintf(text, 64, "%.1f GB/s, %.0f%%", achieved(r) / 1e9, 100 * achieved(r) / r->memory_read);
    else
        snprintf(text, 64, "-");
}
static void kernels(const tern_bench_result *r, char text[64]) { snprintf(text, 64, "%s", r->kernels); }

enum { LABEL_WIDTH = 28, CELL_WIDTH = 26 };

static void print_row(const tern_bench_report *report, const char *label, cell_fn cell) {
    printf("%-*s", LABEL_WIDTH, label);
    for (size_t i = 0; i < report->n_results; i++) {
        char text[64];
        cell(&report->results[i], text);
        printf("%*s", CELL_WIDTH, text);
    }
    putchar('\n');
}

int tern_bench_print_table(const tern_bench_report *report) {
    char count[32], prefill_label[48], decode_label[48];
    printf("%s (%s): %s parameters, %s weights, %s embedding, %s head; KV cache %s\n", report->name, report->arch,
           tern_format_count(count, (double)report->n_params), report->weight_type, report->embedding_type,
           report->head_type, tern_kv_type_name(report->kv_type));
    printf("median of %lld runs and, below it, the slowest and the fastest\n\n", (long long)report->runs);
    printf("%-*s", LABEL_WIDTH, "threads");
    for (size_t i = 0; i < report->n_results; i++)
        printf("%*d", CELL_WIDTH, report->results[i].threads);
    putchar('\n');
    snprintf(prefill_label, sizeof prefill_label, "prefill of %lld tok", (long long)report->prompt);
    snprintf(decode_label, sizeof decode_label, "decode of %lld tok after %lld", (long long)report->decode,
             (long long)report->depth);
    const struct {
        const char *label;
        cell_fn cell;
    } rows[] = {
        {"kernels", kernels},
        {prefill_label, prefill},
        {"", prefill_spread},
        {decode_label, decode},
        {"", decode_spread},
        {"first token after", first_token},
        {"load", load},
        {"peak RSS", peak_rss},
        {"read per token", token_bytes},
        {"  of it KV cache", token_bytes_kv},
        {"memory can be read at", memory_read},
        {"decode reads at", memory_used},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        print_row(report, rows[i].label, rows[i].cell);
    return 0;
}
