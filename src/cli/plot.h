/* Plots as SVG: a grid of panels, each with lines over a number or a name, readable on light and dark pages. */
#ifndef TERN_CLI_PLOT_H
#define TERN_CLI_PLOT_H

#include "base/status.h"

typedef struct tern_plot_point {
    double x, y, low, high; /* low and high: the spread, drawn as a bar where they differ */
} tern_plot_point;

typedef struct tern_plot_series {
    char name[48];                 /* in the legend */
    const tern_plot_point *points; /* [n] in order of x */
    size_t n;
    int colour; /* series of one colour belong together */
    bool limit; /* dashed, without marks: what cannot be surpassed */
} tern_plot_series;

typedef struct tern_plot_panel {
    const char *title, *x_label, *y_label; /* with units */
    const char *const *names;              /* [n_names] at x = 0, 1, ...; NULL: x is a number */
    size_t n_names;
    const tern_plot_series *series; /* [n_series] */
    size_t n_series;
} tern_plot_panel;

/* Two panels a row. The texts are escaped. */
tern_status tern_plot_write(const char *path, const char *title, const char *subtitle, const tern_plot_panel *panels,
                            size_t n_panels, tern_error *err);

#endif
