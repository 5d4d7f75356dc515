/* tern train plot: the logs of runs as one SVG, drawn by gnuplot. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/compressed.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/command.h"
#include "cli/gnuplot.h"

/* A curve of more points than pixels is drawn as means of neighbours. */
enum { MAX_POINTS = 1000, MAX_LOG_BYTES = 1 << 30 };

typedef struct settings {
    const char *out, *title;
    int64_t from;
    int by;
} settings;

enum { BY_STEP, BY_TOKENS };
static const tern_choice by_choices[] = {{"step", BY_STEP, false}, {"tokens", BY_TOKENS, false}, {NULL, 0, false}};

static const tern_option options[] = {
    {"out", 'o', TERN_OPTION_FILE, offsetof(settings, out), "FILE", "the SVG to write", 0, 0, NULL, NULL},
    {"title", 0, TERN_OPTION_STRING, offsetof(settings, title), "TEXT", "above the panels", 0, 0, NULL,
     "the first log"},
    {"from", 0, TERN_OPTION_INT, offsetof(settings, from), "N", "leave out the steps before N", 0, 1e15, NULL, NULL},
    {"by", 0, TERN_OPTION_ENUM, offsetof(settings, by), "WHAT", "the axis: step or tokens", 0, 0, by_choices, NULL},
    {0},
};

/* What is drawn of a log's lines, and in which panel. */
enum curve { LOSS, VALIDATION, RATE, NORM, SPEED, N_CURVES };
static const char *const fields[N_CURVES] = {"loss", "validation", "lr", "grad_norm", "tokens_per_second"};

typedef struct point {
    double x, y;
} point;

typedef struct curve_points {
    point *points; /* [n], owned */
    size_t n, capacity;
} curve_points;

typedef struct run_log {
    char name[64]; /* in the legend */
    curve_points curves[N_CURVES];
} run_log;

/* -------------------------------------------------------------------- reading */

/* The folder of the run that a log is of, else the file: "runs/a/log.jsonl" -> "a". */
static void name_of(const char *path, char name[64]) {
    const char *slash = strrchr(path, '/'), *begin = slash;
    if (!slash || strcmp(slash, "/log.jsonl") != 0) {
        snprintf(name, 64, "%.63s", slash ? slash + 1 : path);
        return;
    }
    while (begin > path && begin[-1] != '/')
        begin--;
    snprintf(name, 64, "%.*s", slash - begin < 63 ? (int)(slash - begin) : 63, begin);
}

/* gnuplot knows no larger numbers, and a run that is worth a plot has none. */
static bool is_drawable(double value) { return fabs(value) < 1e300; }

static bool add_line(const settings *s, const json_t *line, run_log *log) {
    double step = json_number_value(json_object_get(line, "step"));
    double x = s->by == BY_TOKENS ? json_number_value(json_object_get(line, "tokens")) : step;
    if (step < (double)s->from)
        return true;
    for (int i = 0; i < N_CURVES; i++) {
        const json_t *value = json_object_get(line, fields[i]);
        curve_points *curve = &log->curves[i];
        if (!json_is_number(value) || !is_drawable(json_number_value(value)) || !is_drawable(x))
            continue;
        if (!tern_grow_array((void **)&curve->points, &curve->capacity, curve->n + 1, sizeof *curve->points))
            return false;
        curve->points[curve->n++] = (point){x, json_number_value(value)};
    }
    return true;
}

static tern_status read_log(const settings *s, const char *operand, run_log *log, tern_error *err) {
    char path[1024], *text;
    size_t n_bytes;
    int length = snprintf(path, sizeof path, "%s%s", operand, tern_is_directory(operand) ? "/log.jsonl" : "");
    if (length < 0 || (size_t)length >= sizeof path)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: the name is too long", operand);
    const char *const input = path;
    tern_status status = tern_check_output(s->out, &input, 1, err);
    if (!status)
        status = tern_read_file(path, MAX_LOG_BYTES, &text, &n_bytes, err);
    if (status)
        return status;
    const char *tool = tern_unpacker_of(text, n_bytes);
    if (tool) {
        free(text);
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: is compressed; unpack it first: %s -d %s", path, tool, path);
    }
    name_of(path, log->name);
    size_t number = 1;
    for (char *line = text, *end; !status && *line; line = end, number++) {
        json_error_t where;
        end = strchrnul(line, '\n');
        bool whole = *end == '\n'; /* a run that is writing right now may have got half a line out */
        json_t *object = tern_json_load(line, (size_t)(end - line), 0, &where);
        if (object && !json_is_object(object))
            status = tern_fail(err, TERN_ERR_FORMAT, "%s: line %zu is no log of training", path, number);
        else if (object && !add_line(s, object, log))
            status = tern_fail_memory(err, path);
        else if (!object && whole)
            status = tern_fail(err, TERN_ERR_FORMAT, "%s: line %zu: %s", path, number, where.text);
        json_decref(object);
        end += whole;
    }
    free(text);
    if (!status && !log->curves[LOSS].n)
        status = tern_fail(err, TERN_ERR_FORMAT, "%s: no losses to draw", path);
    return status;
}

/* -------------------------------------------------------------------- drawing */

/* "$name << EOD": the curve, thinned. */
static void put_data(tern_buffer *script, size_t log, int which, const curve_points *curve) {
    size_t bin = (curve->n + MAX_POINTS - 1) / MAX_POINTS;
    tern_buffer_printf(script, "$d%zu_%d << EOD\n", log, which);
    for (size_t i = 0; i < curve->n; i += bin) {
        size_t n = curve->n - i < bin ? curve->n - i : bin;
        double x = 0, y = 0;
        for (size_t k = i; k < i + n; k++) {
            x += curve->points[k].x / (double)n;
            y += curve->points[k].y / (double)n;
        }
        tern_buffer_printf(script, "%.10g %.8g\n", x, y);
    }
    tern_buffer_text(script, "EOD\n");
}

typedef struct panel {
    const char *label;
    int curves[2], n;
} panel;

static void put_panel(tern_buffer *script, const panel *p, const run_log *logs, size_t n_logs) {
    /* told apart by the colour-blind (Okabe and Ito 2008) */
    static const char *const colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#555555", "#e69f00", "#56b4e9"};
    bool any = false;
    for (size_t i = 0; i < n_logs; i++)
        for (int k = 0; k < p->n; k++)
            any |= logs[i].curves[p->curves[k]].n > 0;
    if (!any) { /* none of the logs has it */
        tern_buffer_text(script, "set multiplot next\n");
        return;
    }
    any = false;
    tern_buffer_printf(script, "set ylabel '%s'\nplot ", p->label);
    for (size_t i = 0; i < n_logs; i++)
        for (int k = 0; k < p->n; k++) {
            int which = p->curves[k];
            const char *colour = colours[i % (sizeof colours / sizeof *colours)];
            if (!logs[i].curves[which].n)
                continue;
            tern_buffer_printf(script, "%s$d%zu_%d using 1:2 ", any ? ", " : "", i, which);
            if (which == VALIDATION)
                tern_buffer_printf(script, "with points pt 7 ps 0.5 lc rgb '%s' notitle", colour);
            else {
                tern_buffer_printf(script, "with lines lw 1.3 lc rgb '%s' title ", colour);
                tern_gnuplot_quote(script, logs[i].name);
            }
            any = true;
        }
    tern_buffer_text(script, "\n");
}

static char *make_script(const settings *s, const run_log *logs, size_t n_logs) {
    static const panel panels[] = {
        {"loss, nats a token (points: validation)", {LOSS, VALIDATION}, 2},
        {"learning rate", {RATE}, 1},
        {"tokens a second", {SPEED}, 1},
        {"norm of the gradient", {NORM}, 1},
    };
    tern_buffer script = {0};
    tern_buffer_text(&script, "set terminal svg size 1000,720 dynamic background rgb 'white' noenhanced\n"
                              "set encoding utf8\nset grid lc rgb '#dddddd'\nset key top right\n");
    for (size_t i = 0; i < n_logs; i++)
        for (int k = 0; k < N_CURVES; k++)
            put_data(&script, i, k, &logs[i].curves[k]);
    tern_buffer_printf(&script, "set format x '%s'\n", s->by == BY_TOKENS ? "%.1s%c" : "%g");
    tern_buffer_printf(&script, "set xlabel '%s'\nset multiplot layout 2,2 title ", by_choices[s->by].name);
    tern_gnuplot_quote(&script, s->title ? s->title : logs[0].name);
    tern_buffer_text(&script, "\n");
    for (size_t i = 0; i < sizeof panels / sizeof *panels; i++)
        put_panel(&script, &panels[i], logs, n_logs);
    tern_buffer_text(&script, "unset multiplot\n");
    return tern_buffer_take(&script, NULL);
}

static int write_plot(const settings *s, const run_log *logs, size_t n_logs) {
    char *script = make_script(s, logs, n_logs);
    int status = script ? tern_gnuplot(script, s->out) : tern_cli_fail("out of memory");
    free(script);
    return status;
}

static int run(void *parsed, const char *const *operands, size_t n_operands) {
    const settings *s = parsed;
    run_log *logs = calloc(n_operands, sizeof *logs);
    tern_error err;
    int status = logs ? 0 : tern_cli_fail("out of memory");
    for (size_t i = 0; !status && i < n_operands; i++)
        if (read_log(s, operands[i], &logs[i], &err))
            status = tern_cli_error(&err);
    if (!status)
        status = write_plot(s, logs, n_operands);
    for (size_t i = 0; logs && i < n_operands; i++)
        for (int k = 0; k < N_CURVES; k++)
            free(logs[i].curves[k].points);
    free(logs);
    return status;
}

static const settings defaults = {.out = "loss.svg"};

const tern_command tern_command_train_plot = {
    .name = "train plot",
    .operands = "LOG...",
    .summary = "draw loss, learning rate and throughput of runs (needs gnuplot)",
    .example = "tern train plot run/log.jsonl -o loss.svg\n"
               "tern train plot ternary full-precision --by tokens --title \"What ternary weights cost\"\n",
    .notes = "LOG is a log.jsonl or the folder of a run. Several are drawn over each other.\n",
    .min_operands = 1,
    .max_operands = 16,
    .groups = {{"Options", options, 0}},
    .options_size = sizeof(settings),
    .defaults = &defaults,
    .run = run,
};
