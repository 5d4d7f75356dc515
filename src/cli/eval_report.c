/* What tern eval shows: scores beside the published ones, and the list of tasks. */
#include "cli/eval.h"

#include <math.h>
#include <string.h>

#include "cli/measure.h"

/* "49.91 %" for a share, "12.345" for a perplexity; "-" where there is nothing. */
static const char *format_value(char text[32], double value, bool is_share) {
    if (!isfinite(value))
        snprintf(text, 32, "-");
    else if (is_share)
        snprintf(text, 32, "%.2f %%", 100 * value);
    else
        snprintf(text, 32, "%.3f", value);
    return text;
}

static const char *format_published(char text[32], const tern_tally *tally, size_t column) {
    if (strcmp(tally->published_metric, tally->columns[column]) != 0)
        snprintf(text, 32, "-");
    else if (!tern_tally_is_share(tally, column))
        snprintf(text, 32, "%.2f points", tally->published);
    else if (tally->published_shots != tally->n_shots)
        snprintf(text, 32, "%.2f %% (%zu shots)", tally->published, tally->published_shots);
    else
        snprintf(text, 32, "%.2f %%", tally->published);
    return text;
}

/* What nothing here can decide is no wrong answer, and no right one: ", 31 undecided: 8.33 % to 37.50 %". */
static const char *format_undecided(char text[120], const tern_tally_mean *mean) {
    char least[32], most[32];
    text[0] = '\0';
    if (mean->n_undecided)
        snprintf(text, 120, ", %zu undecided: %s to %s", mean->n_undecided, format_value(least, mean->least, true),
                 format_value(most, mean->most, true));
    return text;
}

static void print_sources(const tern_results *results) {
    for (size_t i = 0; i < results->n; i++) {
        const char *source = results->tallies[i].published_source;
        bool known = !*source;
        for (size_t k = 0; k < i && !known; k++)
            known = strcmp(results->tallies[k].published_source, source) == 0;
        if (!known)
            printf("published: %s\n", source);
    }
}

/* Those of which nothing can be decided. */
static void print_left_out(const tern_results *results, const tern_eval_report *report) {
    for (size_t i = 0; i < results->n; i++) {
        const tern_tally *tally = &results->tallies[i];
        size_t n = strstr(tally->columns[0], "_level_") ? tern_tally_n_left_out(tally, report->limit) : 0;
        if (n)
            printf("%s: %zu record%s left out, without any verdict (docs/EVAL.md)\n", tally->name, n,
                   n == 1 ? " is" : "s are");
    }
}

/* What a regular expression needs too many steps for counts as not found, which may be unjust. */
static void print_given_up(const tern_results *results, const tern_eval_report *report) {
    for (size_t i = 0; i < results->n; i++) {
        size_t n = tern_tally_n_gave_up(&results->tallies[i], report->limit);
        if (n)
            printf("%s: on %zu answer%s an expression gave up after too many steps; it counts as not found there\n",
                   results->tallies[i].name, n, n == 1 ? "" : "s");
    }
}

/* An answer that was not finished is mostly counted as wrong. */
static void print_cut(const tern_results *results, const tern_eval_report *report) {
    for (size_t i = 0; i < results->n; i++) {
        size_t n = tern_tally_n_cut(&results->tallies[i], report->limit);
        if (n)
            printf("%s: %zu answers were cut off at the limit of tokens (--max-tokens)\n", results->tallies[i].name, n);
    }
}

/* As the report's last row: percents and, of MT-bench, points as they are. */
typedef struct average {
    double ours, published;
    size_t n; /* of the tasks that have both */
} average;

static average average_of(const tern_results *results, const tern_eval_report *report) {
    average sum = {0, 0, 0};
    for (size_t i = 0; i < results->n; i++) {
        const tern_tally *tally = &results->tallies[i];
        for (size_t c = 0; c < tally->n_columns; c++) {
            tern_tally_mean mean = tern_tally_mean_of(tally, c, report->limit);
            if (strcmp(tally->published_metric, tally->columns[c]) != 0 || !isfinite(mean.value))
                continue;
            sum.ours += mean.value * (tern_tally_is_share(tally, c) ? 100 : 1);
            sum.published += tally->published;
            sum.n++;
        }
    }
    return (average){sum.ours / (double)sum.n, sum.published / (double)sum.n, sum.n};
}

static void print_average(const tern_results *results, const tern_eval_report *report, int width) {
    char metric[40];
    average mean = average_of(results, report);
    if (mean.n < 2)
        return;
    snprintf(metric, sizeof metric, "of %zu published ones", mean.n);
    printf("%-*s  %-28s %8.2f   %11s %8s %6s  %.2f\n", width, "average", metric, mean.ours, "-", "-", "-",
           mean.published);
}

static void print_table(const tern_results *results, const tern_eval_report *report) {
    int width = 7; /* "average" */
    for (size_t i = 0; i < results->n; i++)
        width = (int)strlen(results->tallies[i].name) > width ? (int)strlen(results->tallies[i].name) : width;
    printf("%-*s  %-28s %10s %11s %8s %6s  %s\n", width, "task", "metric", "value", "std. error", "records", "shots",
           "published");
    for (size_t i = 0; i < results->n; i++) {
        const tern_tally *tally = &results->tallies[i];
        for (size_t c = 0; c < tally->n_columns; c++) {
            char value[32], error[32], published[32], undecided[120];
            bool is_share = tern_tally_is_share(tally, c);
            tern_tally_mean mean = tern_tally_mean_of(tally, c, report->limit);
            printf("%-*s  %-28s %10s %11s %8zu %6zu  %s%s\n", width, c ? "" : tally->name, tally->columns[c],
                   format_value(value, mean.value, is_share), format_value(error, mean.standard_error, is_share),
                   mean.n, tally->n_shots, format_published(published, tally, c), format_undecided(undecided, &mean));
        }
    }
    print_average(results, report, width);
    print_left_out(results, report);
    print_given_up(results, report);
    print_cut(results, report);
    print_sources(results);
}

static json_t *json_value(double value) { return isfinite(value) ? json_real(value) : json_null(); }

/* Of value, error and published value. */
static const char *unit_of(const tern_tally *tally, size_t column) {
    if (tern_tally_is_share(tally, column))
        return "share";
    return strcmp(tally->columns[column], "score") == 0 ? "points" : "perplexity";
}

static json_t *describe(const tern_tally *tally, const tern_eval_report *report) {
    json_t *metrics = json_array();
    for (size_t c = 0; c < tally->n_columns; c++) {
        tern_tally_mean mean = tern_tally_mean_of(tally, c, report->limit);
        bool published = strcmp(tally->published_metric, tally->columns[c]) == 0;
        double scale = tern_tally_is_share(tally, c) ? 100 : 1; /* shares of 1; points are points */
        json_t *metric =
            json_pack("{s:s, s:s, s:o, s:o, s:I, s:o*}", "metric", tally->columns[c], "unit", unit_of(tally, c),
                      "value", json_value(mean.value), "standard_error", json_value(mean.standard_error), "n",
                      (json_int_t)mean.n, "published", published ? json_real(tally->published / scale) : NULL);
        if (metric && mean.n_undecided)
            json_object_update_new(metric, json_pack("{s:I, s:f, s:f}", "undecided", (json_int_t)mean.n_undecided,
                                                     "least", mean.least, "most", mean.most));
        json_array_append_new(metrics, metric);
    }
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:o}", "task", tally->name, "title", tally->title,
                     "shots", (json_int_t)tally->n_shots, "records", (json_int_t)tally->n_records, "not_judged",
                     (json_int_t)tern_tally_n_left_out(tally, report->limit), "gave_up",
                     (json_int_t)tern_tally_n_gave_up(tally, report->limit), "cut",
                     (json_int_t)tern_tally_n_cut(tally, report->limit), "config", tally->config, "metrics", metrics);
}

static int print_json(const tern_results *results, const tern_eval_report *report) {
    json_t *tasks = json_array();
    for (size_t i = 0; i < results->n; i++)
        json_array_append_new(tasks, describe(&results->tallies[i], report));
    json_t *object =
        json_pack("{s:o, s:o}", "model", tern_json_text(results->n ? results->tallies[0].model : ""), "tasks", tasks);
    average mean = average_of(results, report);
    if (object && mean.n >= 2)
        json_object_set_new(
            object, "average",
            json_pack("{s:I, s:f, s:f}", "tasks", (json_int_t)mean.n, "value", mean.ours, "published", mean.published));
    if (object && report->stats)
        json_object_set_new(object, "run",
                            json_pack("{s:I, s:I, s:I, s:f}", "tokens", (json_int_t)report->stats->n_tokens,
                                      "evaluated_tokens", (json_int_t)report->stats->n_evaluated, "truncated",
                                      (json_int_t)report->stats->n_truncated, "seconds", report->seconds));
    return tern_cli_print_json(object);
}

int tern_eval_print(const tern_results *results, const tern_eval_report *report) {
    if (report->json)
        return print_json(results, report);
    print_table(results, report);
    return 0;
}

int tern_eval_print_tasks(const tern_task *tasks, size_t n_tasks, bool json) {
    json_t *list = json_array();
    if (!json)
        printf("%-16s %-18s %-26s %s\n", "task", "benchmark", "data", "shots");
    for (size_t i = 0; i < n_tasks; i++) {
        const tern_task *task = &tasks[i];
        if (!json)
            printf("%-16s %-18s %-26s %5zu\n", task->name, task->title, task->data, task->n_shots);
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s*, s:I, s:s*}", "task", task->name, "title",
                                              task->title, "data", task->data, "shots_data", task->shots_data, "shots",
                                              (json_int_t)task->n_shots, "notes", task->notes));
    }
    if (json)
        return tern_cli_print_json(json_pack("{s:o}", "tasks", list));
    printf("%-16s all of them that the technical report of BitNet b1.58 2B4T has a score of, with its shots\n",
           "report");
    json_decref(list);
    return 0;
}
