/* tern bench --sweep: which series, and measuring them. */
#include "cli/sweep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/file.h"
#include "base/mem.h"
#include "cli/measure.h"

enum { MAX_PATH = 4096 };

static const char *const names[TERN_N_SWEEP_KINDS] = {"threads", "context", "batch", "shape"};
/* What is measured when no list is given; of threads: 1, 2, 4 ... all CPUs. */
static const char *const default_values[TERN_N_SWEEP_KINDS] = {NULL, "16,128,512,1024,2048", "1,2,4,8",
                                                               "0.7b,2b4t,3b,8b"};

const char *tern_sweep_name(tern_sweep_kind kind) { return names[kind]; }

/* As of the single options: --threads, --depth, --batch. */
static const int32_t most[TERN_N_SWEEP_KINDS] = {1024, 1 << 20, 256, 0};

/* ------------------------------------------------------------------- reading */

static int bad_list(const tern_sweep_series *series, const char *list, const char *what) {
    return tern_cli_usage("bench", "--sweep %s: '%s' %s", names[series->kind], list, what);
}

static int parse_numbers(const char *list, tern_sweep_series *series) {
    int32_t *values;
    size_t n;
    const char *bad;
    if (!tern_parse_int_list(list, 1, most[series->kind], &values, &n, &bad))
        return tern_cli_usage("bench", "--sweep %s: '%s' is no list like 1,2,4 of numbers up to %d",
                              names[series->kind], list, (int)most[series->kind]);
    bool fits = n > 0 && n <= TERN_SWEEP_MAX_VALUES;
    for (size_t i = 0; fits && i < n; i++)
        series->values[i] = values[i];
    series->n_values = n;
    free(values);
    for (size_t i = 1; fits && i < n; i++)
        if (series->values[i] <= series->values[i - 1])
            return bad_list(series, list, "does not rise");
    return fits ? 0 : bad_list(series, list, "holds no numbers, or more than 32");
}

static int parse_shapes(const char *list, tern_sweep_series *series) {
    tern_synth_params params;
    tern_error err;
    for (const char *at = list; *at;) {
        size_t length = strcspn(at, ",");
        if (length == 0 || length >= TERN_SWEEP_NAME || series->n_values == TERN_SWEEP_MAX_VALUES)
            return bad_list(series, list, "is no list of shapes like 0.7b,2b4t");
        char *name = series->names[series->n_values];
        memcpy(name, at, length);
        name[length] = 0;
        if (tern_synth_shape(name, &params, &err))
            return tern_cli_usage("bench", "--sweep shape: %s", err.message);
        series->values[series->n_values] = (int32_t)series->n_values;
        series->n_values++;
        at += length + (at[length] == ',');
    }
    return series->n_values ? 0 : bad_list(series, list, "is empty");
}

static void all_threads(tern_sweep_series *series) {
    int all = tern_cpu_count();
    for (int n = 1; n < all && series->n_values + 1 < TERN_SWEEP_MAX_VALUES; n *= 2)
        series->values[series->n_values++] = n;
    series->values[series->n_values++] = all;
}

/* "context" or "context=16,512" */
static int parse_series(const char *text, const tern_sweep_request *request, tern_sweep_series *series) {
    size_t length = strcspn(text, "=");
    int kind = 0;
    while (kind < TERN_N_SWEEP_KINDS && (strlen(names[kind]) != length || memcmp(names[kind], text, length) != 0))
        kind++;
    if (kind == TERN_N_SWEEP_KINDS)
        return tern_cli_usage("bench", "--sweep: '%s' does not begin with threads, context, batch or shape", text);
    series->kind = (tern_sweep_kind)kind;
    series->n_lines = kind == TERN_SWEEP_THREADS ? 1 : request->n_threads;
    const char *list = text[length] ? text + length + 1 : default_values[kind];
    if (list && !*list)
        return bad_list(series, list, "is empty");
    if (!list)
        all_threads(series);
    else if (kind == TERN_SWEEP_SHAPE)
        return parse_shapes(list, series);
    else
        return parse_numbers(list, series);
    return 0;
}

static bool has_ending(const char *path, const char *ending) {
    size_t length = strlen(path), n = strlen(ending);
    return length > n && strcmp(path + length - n, ending) == 0;
}

static const struct {
    const char *ending;
    tern_status (*write)(const char *path, const tern_sweep_series *series, size_t n, tern_error *err);
} formats[] = {{".svg", tern_sweep_write_svg}, {".csv", tern_sweep_write_csv}, {".json", tern_sweep_write_json}};
enum { N_FORMATS = sizeof formats / sizeof *formats };

static size_t format_of(const char *path) {
    size_t i = 0;
    while (i < N_FORMATS && !has_ending(path, formats[i].ending))
        i++;
    return i;
}

/* ----------------------------------------------------------------- measuring */

/* How far the whole is. */
typedef struct state {
    const tern_sweep_request *request;
    tern_progress progress;
    int64_t done, total; /* runs */
} state;

static int measure(state *s, const tern_bench_model *model, const tern_bench_plan *plan, tern_bench_result *result) {
    return tern_bench_measure(model, plan, &s->progress, &s->done, s->total, result);
}

/* Each number of threads needs the model loaded anew. */
static int sweep_threads(state *s, tern_sweep_series *series) {
    tern_bench_model model;
    for (size_t i = 0; i < series->n_values; i++) {
        int status = tern_bench_open(s->request->path, series->values[i], &s->request->plan->load, &model);
        if (status)
            return status;
        status = measure(s, &model, s->request->plan, &series->results[i]);
        tern_bench_close(&model);
        if (status)
            return status;
    }
    return 0;
}

/* All values of one line with one loaded model: context and batch. */
static int sweep_line(state *s, tern_sweep_series *series, const tern_bench_model *model, tern_bench_result *results) {
    int status = 0;
    for (size_t i = 0; i < series->n_values && !status; i++) {
        tern_bench_plan plan = *s->request->plan;
        if (series->kind == TERN_SWEEP_CONTEXT) {
            plan.depth = series->values[i];
            plan.prompt = plan.prompt ? plan.depth : 0;
        } else {
            plan.batch = series->values[i];
            plan.prompt = 0; /* which does not depend on the batch */
        }
        status = measure(s, model, &plan, &results[i]);
    }
    return status;
}

static int sweep_plan(state *s, tern_sweep_series *series) {
    tern_bench_model model;
    int status = 0;
    for (size_t line = 0; line < series->n_lines && !status; line++) {
        status = tern_bench_open(s->request->path, s->request->threads[line], &s->request->plan->load, &model);
        if (status)
            break;
        status = sweep_line(s, series, &model, series->results + line * series->n_values);
        tern_bench_close(&model);
    }
    return status;
}

static int measure_shape(state *s, const char *path, tern_sweep_series *series, size_t value) {
    tern_bench_model model;
    int status = 0;
    for (size_t line = 0; line < series->n_lines && !status; line++) {
        tern_bench_result *result = &series->results[line * series->n_values + value];
        status = tern_bench_open(path, s->request->threads[line], &s->request->plan->load, &model);
        if (status)
            break;
        status = measure(s, &model, s->request->plan, result);
        snprintf(result->name, sizeof result->name, "%s", series->names[value]);
        tern_bench_close(&model);
    }
    return status;
}

static bool go_on(void *user, uint64_t done, uint64_t total) {
    (void)user, (void)done, (void)total;
    return !tern_interrupted();
}

/* One model at a time is on the disk, in a folder of its own, which goes with it. tern_synth() refuses what the disk
 * cannot hold before it writes. */
static int sweep_shapes(state *s, tern_sweep_series *series) {
    const char *parent = s->request->temporary ? s->request->temporary : getenv("TMPDIR");
    char folder[MAX_PATH], path[MAX_PATH + 16];
    int n = snprintf(folder, sizeof folder, "%s/tern-bench-XXXXXX", parent && *parent ? parent : "/tmp");
    if (n < 0 || (size_t)n >= sizeof folder)
        return tern_cli_fail("--tmp: the path is too long");
    tern_interrupt_watch(NULL); /* first: from here on there is something to clear up */
    if (!mkdtemp(folder))
        return tern_cli_fail("%s: cannot make a folder for models there: %s; name another one with --tmp",
                             parent && *parent ? parent : "/tmp", strerror(errno));
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    int status = 0;
    for (size_t i = 0; i < series->n_values && !status; i++) {
        tern_error err;
        tern_synth_params params;
        if (tern_synth_shape(series->names[i], &params, &err)) {
            status = tern_cli_error(&err);
            break;
        }
        params.weight_type = "I2_S";
        params.embedding_type = "F16"; /* the types of the published 2B4T */
        params.seed = 1;
        params.progress = go_on;
        status = tern_synth(path, &params, &err) ? tern_cli_error(&err) : measure_shape(s, path, series, i);
        unlink(path);
    }
    rmdir(folder);
    return status;
}

static int sweep(state *s, tern_sweep_series *series) {
    static int (*const sweeps[TERN_N_SWEEP_KINDS])(state *, tern_sweep_series *) = {
        [TERN_SWEEP_THREADS] = sweep_threads,
        [TERN_SWEEP_CONTEXT] = sweep_plan,
        [TERN_SWEEP_BATCH] = sweep_plan,
        [TERN_SWEEP_SHAPE] = sweep_shapes,
    };
    return sweeps[series->kind](s, series);
}

/* ----------------------------------------------------------------- the whole */

static int check(const tern_sweep_request *request, tern_sweep_series *series) {
    int status = 0;
    if (request->n_threads > TERN_SWEEP_MAX_LINES)
        return tern_cli_usage("bench", "--threads: at most %d lines can be drawn", TERN_SWEEP_MAX_LINES);
    for (size_t i = 0; i < request->outputs->count; i++)
        if (format_of(request->outputs->items[i]) == N_FORMATS)
            return tern_cli_usage("bench", "--output: '%s' ends neither in .svg nor in .csv nor in .json",
                                  request->outputs->items[i]);
    for (size_t i = 0; i < request->sweeps->count && !status; i++) {
        status = parse_series(request->sweeps->items[i], request, &series[i]);
        if (!status && series[i].kind == TERN_SWEEP_BATCH && !request->plan->decode)
            status = tern_cli_usage("bench", "--sweep batch: --decode is 0");
    }
    return status;
}

static int write_outputs(const tern_sweep_request *request, const tern_sweep_series *series) {
    size_t n = request->sweeps->count;
    tern_error err;
    for (size_t i = 0; i < request->outputs->count; i++) {
        const char *path = request->outputs->items[i];
        if (formats[format_of(path)].write(path, series, n, &err))
            return tern_cli_error(&err);
    }
    return 0;
}

/* Before hours of measuring: what could not be written at their end. */
static int check_outputs(const tern_sweep_request *request) {
    tern_error err;
    for (size_t i = 0; i < request->outputs->count; i++) {
        const char *path = request->outputs->items[i];
        struct stat info;
        tern_writer writer;
        bool exists = stat(path, &info) == 0;
        if (exists && S_ISDIR(info.st_mode))
            return tern_cli_fail("%s: is a directory; name a file", path);
        if (exists && !S_ISREG(info.st_mode))
            continue; /* opening a pipe would be seen by its reader */
        if (tern_writer_open(path, &writer, &err))
            return tern_cli_error(&err);
        tern_writer_abort(&writer);
    }
    return 0;
}

static int measure_all(const tern_sweep_request *request, tern_sweep_series *series) {
    size_t n = request->sweeps->count;
    int status = 0;
    state s = {.request = request};
    for (size_t i = 0; i < n; i++) {
        size_t n_results = series[i].n_values * series[i].n_lines;
        s.total += (int64_t)n_results * request->plan->runs;
        series[i].results = tern_calloc_array(n_results, sizeof *series[i].results);
        if (!series[i].results)
            return tern_cli_fail("out of memory");
    }
    tern_progress_start(&s.progress, "bench", TERN_PROGRESS_RUNS);
    for (size_t i = 0; i < n && !status; i++)
        status = sweep(&s, &series[i]);
    tern_progress_end(&s.progress);
    return status;
}

int tern_sweep(const tern_sweep_request *request) {
    size_t n = request->sweeps->count;
    tern_sweep_series *series = tern_calloc_array(n, sizeof *series);
    if (!series)
        return tern_cli_fail("out of memory");
    int status = check(request, series);
    if (!status)
        status = check_outputs(request);
    if (!status)
        status = measure_all(request, series);
    if (!status && request->json)
        status = tern_cli_print_json(tern_sweep_json(series, n));
    else if (!status)
        tern_sweep_print(series, n);
    if (!status)
        status = write_outputs(request, series);
    for (size_t i = 0; i < n; i++)
        free(series[i].results);
    free(series);
    return status;
}
