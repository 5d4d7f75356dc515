#include "cli/plot.h"

#include <math.h>

#include "base/file.h"

/* Lengths in pixels. */
enum {
    COLUMNS = 2,
    PANEL_WIDTH = 460,
    PANEL_HEIGHT = 330,
    HEADER = 62, /* above the panels: title and subtitle */
    LEFT = 62,   /* of a panel's frame */
    RIGHT = 18,
    TOP = 34,
    BOTTOM = 46,
    LEGEND_LINE = 17,
    N_COLOURS = 5
};

/* Blue, orange, green, purple, grey: told apart by the colour-blind (Okabe and Ito 2008), with a lighter shade for
 * dark pages. */
static const struct {
    const char *light, *dark;
} colours[N_COLOURS] = {{"#0072b2", "#56b4e9"},
                        {"#d55e00", "#ff9d4d"},
                        {"#00795a", "#2fd3a3"},
                        {"#a8478a", "#e59acb"},
                        {"#555555", "#bbbbbb"}};

/* A panel's frame on the page and its axes. */
typedef struct frame {
    double x0, y0, width, height; /* pixels */
    double x_min, x_max, y_max, x_step, y_step;
} frame;

static double at_x(const frame *f, double x) { return f->x0 + (x - f->x_min) / (f->x_max - f->x_min) * f->width; }
static double at_y(const frame *f, double y) { return f->y0 + f->height - y / f->y_max * f->height; }

static void put_text(FILE *file, const char *text) {
    for (; *text; text++)
        switch (*text) {
        case '<':
            fputs("&lt;", file);
            break;
        case '>':
            fputs("&gt;", file);
            break;
        case '&':
            fputs("&amp;", file);
            break;
        case '"':
            fputs("&quot;", file);
            break;
        default:
            fputc((unsigned char)*text < 0x20 ? ' ' : *text, file);
        }
}

/* anchor: "start", "middle", "end" */
static void label(FILE *file, double x, double y, const char *anchor, const char *class, const char *text) {
    fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">", x, y, anchor, class);
    put_text(file, text);
    fputs("</text>\n", file);
}

static void line(FILE *file, double x1, double y1, double x2, double y2, const char *class) {
    fprintf(file, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n", x1, y1, x2, y2, class);
}

/* 1, 2 or 5 times a power of ten, so that `span` has at most `most` steps. */
static double nice_step(double span, int most) {
    double rough = span / most, power = pow(10, floor(log10(rough)));
    static const double factors[] = {1, 2, 5};
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++)
        if (factors[i] * power >= rough * (1 - 1e-9))
            return factors[i] * power;
    return 10 * power;
}

static void set_axes(const tern_plot_panel *panel, frame *f) {
    double y_max = 0;
    f->x_min = HUGE_VAL;
    f->x_max = -HUGE_VAL;
    for (size_t s = 0; s < panel->n_series; s++)
        for (size_t i = 0; i < panel->series[s].n; i++) {
            const tern_plot_point *point = &panel->series[s].points[i];
            y_max = fmax(y_max, fmax(point->y, point->high));
            f->x_min = fmin(f->x_min, point->x);
            f->x_max = fmax(f->x_max, point->x);
        }
    y_max = y_max > 0 ? y_max : 1;
    f->y_step = nice_step(y_max, 6);
    f->y_max = ceil(y_max / f->y_step + 0.15) * f->y_step; /* some room for the legend */
    if (panel->names) {
        f->x_min = -0.5;
        f->x_max = (double)panel->n_names - 0.5;
        return;
    }
    if (!(f->x_min <= f->x_max)) /* nothing was measured */
        f->x_min = f->x_max = 0;
    f->x_min = 0;
    f->x_max = f->x_max > 0 ? f->x_max * 1.05 : 1;
    f->x_step = fmax(nice_step(f->x_max, 8), 1);
}

static void draw_axes(FILE *file, const tern_plot_panel *panel, const frame *f) {
    char text[32];
    for (int i = 0; i * f->y_step <= f->y_max * (1 + 1e-9); i++) {
        double y = at_y(f, i * f->y_step);
        line(file, f->x0, y, f->x0 + f->width, y, "grid");
        snprintf(text, sizeof text, "%g", i * f->y_step);
        label(file, f->x0 - 6, y + 4, "end", "tick", text);
    }
    double below = f->y0 + f->height;
    if (panel->names)
        for (size_t i = 0; i < panel->n_names; i++)
            label(file, at_x(f, (double)i), below + 17, "middle", "tick", panel->names[i]);
    else
        for (int i = 0; i * f->x_step <= f->x_max; i++) {
            double x = at_x(f, i * f->x_step);
            line(file, x, below, x, below + 4, "axis");
            snprintf(text, sizeof text, "%g", i * f->x_step);
            label(file, x, below + 17, "middle", "tick", text);
        }
    line(file, f->x0, below, f->x0 + f->width, below, "axis");
    line(file, f->x0, f->y0, f->x0, below, "axis");
    label(file, f->x0 + f->width / 2, below + 36, "middle", "name", panel->x_label);
    label(file, f->x0 - LEFT + 12, f->y0 - 12, "start", "name", panel->y_label);
    label(file, f->x0 + f->width, f->y0 - 12, "end", "panel", panel->title);
}

static void draw_series(FILE *file, const tern_plot_series *series, const frame *f) {
    char class[16];
    snprintf(class, sizeof class, "%s%d", series->limit ? "l" : "c", series->colour % N_COLOURS);
    if (series->n > 1) {
        fprintf(file, "<polyline class=\"%s\" points=\"", class);
        for (size_t i = 0; i < series->n; i++)
            fprintf(file, "%.1f,%.1f ", at_x(f, series->points[i].x), at_y(f, series->points[i].y));
        fputs("\"/>\n", file);
    }
    for (size_t i = 0; i < series->n; i++) {
        const tern_plot_point *point = &series->points[i];
        double x = at_x(f, point->x), y = at_y(f, point->y), low = at_y(f, point->low), high = at_y(f, point->high);
        if (series->limit) { /* one value alone still shows as a short dash */
            if (series->n == 1)
                line(file, x - 25, y, x + 25, y, class);
            continue;
        }
        if (point->high > point->low) {
            line(file, x, low, x, high, class);
            line(file, x - 4, low, x + 4, low, class);
            line(file, x - 4, high, x + 4, high, class);
        }
        fprintf(
            file,
            "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.6\" class=\"m%d\"><title>%g: %.4g (%.4g - %.4g)</title></circle>\n",
            x, y, series->colour % N_COLOURS, point->x, point->y, point->low, point->high);
    }
}

/* Under the panels' frames there is no room that curves do not need: the legend stands below the axis labels. */
static void draw_legend(FILE *file, const tern_plot_panel *panel, const frame *f) {
    for (size_t s = 0; s < panel->n_series; s++) {
        const tern_plot_series *series = &panel->series[s];
        char class[16];
        size_t column = s % 2, below = s / 2;
        double x = f->x0 + (double)column * f->width / 2;
        double y = f->y0 + f->height + BOTTOM + 6 + LEGEND_LINE * (double)below;
        snprintf(class, sizeof class, "%s%d", series->limit ? "l" : "c", series->colour % N_COLOURS);
        line(file, x, y, x + 24, y, class);
        if (!series->limit)
            fprintf(file, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.6\" class=\"m%d\"/>\n", x + 12, y,
                    series->colour % N_COLOURS);
        label(file, x + 30, y + 4, "start", "tick", series->name);
    }
}

static void draw_style(FILE *file) {
    static const char *const head[] = {"", "@media (prefers-color-scheme: dark) {\n"};
    static const char *const paper[] = {"#ffffff", "#0d1117"}, *const ink[] = {"#1f2328", "#e6edf3"},
                             *const faint[] = {"#d8dee4", "#30363d"};
    fputs("<style>\ntext { font-family: system-ui, \"DejaVu Sans\", sans-serif; font-size: 12px }\n"
          ".title { font-size: 17px; font-weight: bold }\n.panel { font-weight: bold }\n"
          "polyline { fill: none }\n",
          file);
    for (int dark = 0; dark < 2; dark++) {
        fprintf(file, "%s.paper { fill: %s }\ntext { fill: %s }\n.axis { stroke: %s }\n.grid { stroke: %s }\n",
                head[dark], paper[dark], ink[dark], ink[dark], faint[dark]);
        for (int i = 0; i < N_COLOURS; i++) {
            const char *colour = dark ? colours[i].dark : colours[i].light;
            fprintf(file,
                    ".c%d { stroke: %s; stroke-width: 2 }\n.m%d { fill: %s }\n"
                    ".l%d { stroke: %s; stroke-width: 1.5; stroke-dasharray: 6 4 }\n",
                    i, colour, i, colour, i, colour);
        }
        fputs(dark ? "}\n" : "", file);
    }
    fputs("</style>\n", file);
}

static size_t legend_lines(const tern_plot_panel *panels, size_t n) {
    size_t most = 0;
    for (size_t i = 0; i < n; i++)
        most = panels[i].n_series > most ? panels[i].n_series : most;
    return (most + 1) / 2;
}

tern_status tern_plot_write(const char *path, const char *title, const char *subtitle, const tern_plot_panel *panels,
                            size_t n_panels, tern_error *err) {
    tern_writer writer;
    tern_status status = tern_writer_open(path, &writer, err);
    if (status)
        return status;
    FILE *file = writer.file;
    size_t n_rows = (n_panels + COLUMNS - 1) / COLUMNS;
    double row_height = PANEL_HEIGHT + LEGEND_LINE * (double)legend_lines(panels, n_panels);
    double width = COLUMNS * PANEL_WIDTH, height = HEADER + row_height * (double)n_rows;
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
            "role=\"img\">\n<title>",
            width, height, width, height);
    put_text(file, title);
    fputs("</title>\n", file);
    draw_style(file);
    fputs("<rect width=\"100%\" height=\"100%\" class=\"paper\"/>\n", file);
    label(file, 14, 26, "start", "title", title);
    label(file, 14, 46, "start", "tick", subtitle);
    for (size_t i = 0; i < n_panels; i++) {
        size_t column = i % COLUMNS, above = i / COLUMNS;
        frame f = {.x0 = LEFT + (double)column * PANEL_WIDTH,
                   .y0 = HEADER + TOP + (double)above * row_height,
                   .width = PANEL_WIDTH - LEFT - RIGHT,
                   .height = PANEL_HEIGHT - TOP - BOTTOM - LEGEND_LINE};
        set_axes(&panels[i], &f);
        draw_axes(file, &panels[i], &f);
        for (size_t s = 0; s < panels[i].n_series; s++)
            draw_series(file, &panels[i].series[s], &f);
        draw_legend(file, &panels[i], &f);
    }
    fputs("</svg>\n", file);
    status = tern_writer_commit(&writer, err);
    if (status)
        tern_writer_abort(&writer);
    return status;
}
