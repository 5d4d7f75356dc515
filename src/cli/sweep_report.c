/* tern bench --sweep: a series as a table, CSV, JSON or plot. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/measure.h"
#include "cli/plot.h"
#include "cli/sweep.h"

static const tern_bench_result *result_at(const tern_sweep_series *series, size_t line, size_t value) {
    return &series->results[line * series->n_values + value];
}

static const char *value_text(const tern_sweep_series *series, size_t value, char text[TERN_SWEEP_NAME]) {
    if (series->kind == TERN_SWEEP_SHAPE)
        return series->names[value];
    snprintf(text, TERN_SWEEP_NAME, "%d", (int)series->values[value]);
    return text;
}

/* ---------------------------------------------------------------------- table */

static void put_rate(const tern_spread *spread, double unit, int digits) {
    char text[64] = "-";
    if (spread->median != 0)
        snprintf(text, sizeof text, "%.*f (%.*f - %.*f)", digits, spread->median / unit, digits, spread->min / unit,
                 digits, spread->max / unit);
    printf("  %22s", text);
}

static void put_share(double reached, const tern_spread *share) {
    char text[64] = "-";
    if (share->median != 0)
        snprintf(text, sizeof text, "%.1f, %.0f%%", reached / 1e9, 100 * share->median);
    printf("  %14s", text);
}

static void print_line(const tern_sweep_series *series, size_t line, size_t value) {
    const tern_bench_result *r = result_at(series, line, value);
    char text[TERN_SWEEP_NAME];
    printf("%-9s  %7d", value_text(series, value, text), r->threads);
    put_rate(&r->decode, 1, 1);
    put_share(tern_bench_bytes_per_second(r), &r->decode_share);
    if (series->kind == TERN_SWEEP_BATCH) {
        put_rate(&r->batch, 1, 1);
        put_rate(&r->batch_ratio, 1, 2);
    } else {
        put_rate(&r->prefill, 1, 1);
        put_share(tern_bench_macs_per_second(r), &r->prefill_share);
    }
    putchar('\n');
}

void tern_sweep_print(const tern_sweep_series *series, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const tern_bench_result *first = &series[i].results[0];
        bool batch = series[i].kind == TERN_SWEEP_BATCH;
        printf("%s%s, %s kernels, %s packing; median and spread of %lld runs\n", i ? "\n" : "", first->name,
               first->kernels, first->packing, (long long)first->plan.runs);
        printf("%-9s  %7s  %22s  %14s  %22s  %*s\n", tern_sweep_name(series[i].kind), "threads", "decode tok/s",
               "GB/s of limit", batch ? "all streams tok/s" : "prefill tok/s", batch ? 22 : 14,
               batch ? "times one stream" : "GMAC/s of limit");
        for (size_t line = 0; line < series[i].n_lines; line++)
            for (size_t value = 0; value < series[i].n_values; value++)
                print_line(&series[i], line, value);
    }
}

/* ----------------------------------------------------------------------- JSON */

static json_t *series_json(const tern_sweep_series *series) {
    json_t *results = json_array();
    char text[TERN_SWEEP_NAME];
    for (size_t line = 0; line < series->n_lines; line++)
        for (size_t value = 0; value < series->n_values; value++) {
            const tern_bench_result *r = result_at(series, line, value);
            json_t *object = tern_bench_plan_json(r), *figures = tern_bench_result_json(r);
            if (series->kind == TERN_SWEEP_SHAPE)
                json_object_set_new(object, "value", json_string(value_text(series, value, text)));
            else
                json_object_set_new(object, "value", json_integer(series->values[value]));
            json_object_update(object, figures);
            json_decref(figures);
            json_array_append_new(results, object);
        }
    if (json_array_size(results) != series->n_lines * series->n_values) {
        json_decref(results);
        return NULL;
    }
    return json_pack("{s:s, s:o}", "axis", tern_sweep_name(series->kind), "results", results);
}

json_t *tern_sweep_json(const tern_sweep_series *series, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, series_json(&series[i]));
    if (json_array_size(list) != n) {
        json_decref(list);
        return NULL;
    }
    return json_pack("{s:o}", "sweeps", list);
}

tern_status tern_sweep_write_json(const char *path, const tern_sweep_series *series, size_t n, tern_error *err) {
    tern_writer writer;
    json_t *object = tern_sweep_json(series, n);
    char *text = object ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(object);
    if (!text)
        return tern_fail_memory(err, "the series as JSON");
    tern_status status = tern_writer_open(path, &writer, err);
    if (!status) {
        fprintf(writer.file, "%s\n", text);
        status = tern_writer_commit(&writer, err);
        if (status)
            tern_writer_abort(&writer);
    }
    free(text);
    return status;
}

/* ------------------------------------------------------------------------ CSV */

/* One row a result; a figure that was not measured is empty. */
typedef struct column {
    const char *name;
    size_t spread; /* offset of a tern_spread: three columns, NAME, NAME_min, NAME_max */
} column;

static const column columns[] = {
    {"decode_tokens_per_second", offsetof(tern_bench_result, decode)},
    {"decode_share_of_memory_read", offsetof(tern_bench_result, decode_share)},
    {"memory_read_bytes_per_second", offsetof(tern_bench_result, memory_read)},
    {"prefill_tokens_per_second", offsetof(tern_bench_result, prefill)},
    {"prefill_share_of_peak", offsetof(tern_bench_result, prefill_share)},
    {"peak_macs_per_second", offsetof(tern_bench_result, macs)},
    {"batch_tokens_per_second", offsetof(tern_bench_result, batch)},
    {"batch_ratio_to_one_stream", offsetof(tern_bench_result, batch_ratio)},
};
enum { N_COLUMNS = sizeof columns / sizeof *columns };

static void put_csv_text(FILE *file, const char *text) {
    fputc('"', file);
    for (; *text; text++) {
        if (*text == '"')
            fputc('"', file);
        fputc((unsigned char)*text < 0x20 ? ' ' : *text, file);
    }
    fputc('"', file);
}

static void put_csv_row(FILE *file, const tern_sweep_series *series, size_t line, size_t value) {
    const tern_bench_result *r = result_at(series, line, value);
    char text[TERN_SWEEP_NAME];
    fprintf(file, "%s,%s,%d,", tern_sweep_name(series->kind), value_text(series, value, text), r->threads);
    put_csv_text(file, r->name);
    fprintf(file, ",%s,%s,%s,%lld,%lld,%lld,%lld,%lld", r->kernels, r->packing,
            tern_kv_type_name(r->plan.session.kv_type), (long long)r->plan.prompt, (long long)r->plan.depth,
            (long long)r->plan.decode, (long long)r->plan.batch, (long long)r->plan.runs);
    fprintf(file, ",%.0f,%.0f", tern_bench_bytes_per_token(r), r->peak_rss);
    for (size_t i = 0; i < N_COLUMNS; i++) {
        tern_spread spread;
        memcpy(&spread, (const char *)r + columns[i].spread, sizeof spread);
        if (spread.median != 0)
            fprintf(file, ",%.6g,%.6g,%.6g", spread.median, spread.min, spread.max);
        else
            fputs(",,,", file);
    }
    fputc('\n', file);
}

tern_status tern_sweep_write_csv(const char *path, const tern_sweep_series *series, size_t n, tern_error *err) {
    tern_writer writer;
    tern_status status = tern_writer_open(path, &writer, err);
    if (status)
        return status;
    fputs(
        "axis,value,threads,model,kernels,packing,kv_type,prompt_tokens,depth_tokens,decode_tokens,batch_streams,runs,"
        "bytes_per_token,peak_rss_bytes",
        writer.file);
    for (size_t i = 0; i < N_COLUMNS; i++)
        fprintf(writer.file, ",%s,%s_min,%s_max", columns[i].name, columns[i].name, columns[i].name);
    fputc('\n', writer.file);
    for (size_t i = 0; i < n; i++)
        for (size_t line = 0; line < series[i].n_lines; line++)
            for (size_t value = 0; value < series[i].n_values; value++)
                put_csv_row(writer.file, &series[i], line, value);
    status = tern_writer_commit(&writer, err);
    if (status)
        tern_writer_abort(&writer);
    return status;
}

/* ----------------------------------------------------------------------- plot */

/* A figure of a result that is drawn. False: not measured. */
typedef bool (*figure_fn)(const tern_bench_result *r, tern_plot_point *point);

static bool spread_point(const tern_spread *spread, double factor, tern_plot_point *point) {
    point->y = spread->median * factor;
    point->low = spread->min * factor;
    point->high = spread->max * factor;
    return spread->median != 0;
}
static bool decode(const tern_bench_result *r, tern_plot_point *point) { return spread_point(&r->decode, 1, point); }
static bool prefill(const tern_bench_result *r, tern_plot_point *point) { return spread_point(&r->prefill, 1, point); }
static bool decode_limit(const tern_bench_result *r, tern_plot_point *point) {
    return r->decode.median != 0 && spread_point(&r->memory_read, 1 / tern_bench_bytes_per_token(r), point);
}
static bool prefill_limit(const tern_bench_result *r, tern_plot_point *point) {
    return r->prefill.median != 0 && r->n_ternary && spread_point(&r->macs, 1 / (double)r->n_ternary, point);
}
/* A batch of one is the one stream. */
static bool batch(const tern_bench_result *r, tern_plot_point *point) {
    return spread_point(r->plan.batch > 1 ? &r->batch : &r->decode, 1, point);
}
static bool batch_ratio(const tern_bench_result *r, tern_plot_point *point) {
    const tern_spread one = {1, 1, 1};
    return spread_point(r->plan.batch > 1 ? &r->batch_ratio : &one, 1, point);
}
static bool decode_share(const tern_bench_result *r, tern_plot_point *point) {
    return spread_point(&r->decode_share, 100, point);
}
static bool prefill_share(const tern_bench_result *r, tern_plot_point *point) {
    return spread_point(&r->prefill_share, 100, point);
}

/* Two panels for each kind of series. */
static const struct {
    const char *x_label;
    struct {
        const char *title, *y_label;
        figure_fn figure, limit; /* limit NULL: none is drawn */
    } panels[2];
} drawings[TERN_N_SWEEP_KINDS] = {
    [TERN_SWEEP_THREADS] = {"threads",
                            {{"decode", "tokens per second", decode, decode_limit},
                             {"prefill", "tokens per second", prefill, prefill_limit}}},
    [TERN_SWEEP_CONTEXT] = {"tokens in the context",
                            {{"decode after the context", "tokens per second", decode, decode_limit},
                             {"prefill of the context", "tokens per second", prefill, prefill_limit}}},
    [TERN_SWEEP_BATCH] = {"streams",
                          {{"decode, all streams together", "tokens per second", batch, NULL},
                           {"times one stream", "ratio", batch_ratio, NULL}}},
    [TERN_SWEEP_SHAPE] = {"shape",
                          {{"decode", "% of measured memory bandwidth", decode_share, NULL},
                           {"prefill", "% of measured int8 peak", prefill_share, NULL}}},
};

enum { MAX_SERIES = 2 * TERN_SWEEP_MAX_LINES };

/* What the panels point into. */
typedef struct drawing {
    tern_plot_series lines[2][MAX_SERIES];
    const char *names[TERN_SWEEP_MAX_VALUES];
    tern_plot_point points[2][MAX_SERIES][TERN_SWEEP_MAX_VALUES];
} drawing;

static size_t draw_line(const tern_sweep_series *series, size_t line, figure_fn figure, tern_plot_point *points) {
    size_t n = 0;
    for (size_t i = 0; i < series->n_values; i++) {
        points[n].x = series->values[i];
        if (series->kind == TERN_SWEEP_SHAPE) /* side by side, not one upon the other */
            points[n].x += 0.08 * ((double)line - (double)(series->n_lines - 1) / 2);
        n += figure(result_at(series, line, i), &points[n]);
    }
    return n;
}

static void draw_panel(const tern_sweep_series *series, int side, drawing *d, tern_plot_panel *panel) {
    size_t n = 0;
    for (size_t line = 0; line < series->n_lines; line++)
        for (int limit = 0; limit < 2; limit++) {
            figure_fn figure =
                limit ? drawings[series->kind].panels[side].limit : drawings[series->kind].panels[side].figure;
            tern_plot_series *drawn = &d->lines[side][n];
            if (!figure)
                continue;
            drawn->points = d->points[side][n];
            drawn->n = draw_line(series, line, figure, d->points[side][n]);
            drawn->colour = (int)line;
            drawn->limit = limit;
            char threads[32] = "";
            if (series->kind != TERN_SWEEP_THREADS)
                snprintf(threads, sizeof threads, ", %d thread%s", result_at(series, line, 0)->threads,
                         result_at(series, line, 0)->threads == 1 ? "" : "s");
            snprintf(drawn->name, sizeof drawn->name, "%s%s", limit ? "measured limit" : "tern", threads);
            n += drawn->n > 0;
        }
    *panel = (tern_plot_panel){.title = drawings[series->kind].panels[side].title,
                               .x_label = drawings[series->kind].x_label,
                               .y_label = drawings[series->kind].panels[side].y_label,
                               .names = series->kind == TERN_SWEEP_SHAPE ? d->names : NULL,
                               .n_names = series->n_values,
                               .series = d->lines[side],
                               .n_series = n};
}

tern_status tern_sweep_write_svg(const char *path, const tern_sweep_series *series, size_t n, tern_error *err) {
    const tern_bench_result *first = &series[0].results[0];
    char title[128], subtitle[160];
    tern_plot_panel *panels = tern_calloc_array(n, 2 * sizeof *panels);
    drawing *d = tern_calloc_array(n, sizeof *d);
    tern_status status;
    if (!panels || !d) {
        status = tern_fail_memory(err, "the plot");
    } else {
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < series[i].n_values; j++)
                d[i].names[j] = series[i].names[j];
            for (int side = 0; side < 2; side++)
                draw_panel(&series[i], side, &d[i], &panels[2 * i + (size_t)side]);
        }
        snprintf(title, sizeof title, "tern %s: %s", tern_version(),
                 series[0].kind == TERN_SWEEP_SHAPE && n == 1 ? "models of several shapes" : first->name);
        snprintf(subtitle, sizeof subtitle,
                 "%s kernels, %s packing, KV cache %s; median of %lld runs, bars from the slowest to the fastest",
                 first->kernels, first->packing, tern_kv_type_name(first->plan.session.kv_type),
                 (long long)first->plan.runs);
        status = tern_plot_write(path, title, subtitle, panels, 2 * n, err);
    }
    free(d);
    free(panels);
    return status;
}
