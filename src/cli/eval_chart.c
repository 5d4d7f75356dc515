/* tern eval --chart: bars. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/eval.h"
#include "cli/gnuplot.h"

enum { BAR_WIDTH = 70, MARGINS = 160, HEIGHT = 420, MOST_POINTS = 10 /* of a judge */ };

static bool is_score(const tern_tally *tally, int column) {
    return column >= 0 && strcmp(tally->columns[column], "score") == 0;
}

/* The column that something is published about, else the first one in percent or points; -1: there is none. */
static int column_of(const tern_tally *tally) {
    int first = -1;
    for (size_t c = tally->n_columns; c-- > 0;) {
        if (strcmp(tally->columns[c], tally->published_metric) == 0)
            return (int)c;
        first = tern_tally_is_share(tally, c) || is_score(tally, (int)c) ? (int)c : first;
    }
    return first;
}

/* "name" score error published, in percent; of a judge's points, which have an axis of their own at the right, the
 * height that they have in percent of 10. -> how many bars */
static size_t put_data(tern_buffer *script, const tern_results *results, const tern_eval_report *report,
                       bool *any_score) {
    size_t n = 0;
    *any_score = false;
    tern_buffer_text(script, "$d << EOD\n");
    for (size_t i = 0; i < results->n; i++) {
        const tern_tally *tally = &results->tallies[i];
        int c = column_of(tally);
        tern_tally_mean mean = c < 0 ? (tern_tally_mean){.n = 0} : tern_tally_mean_of(tally, (size_t)c, report->limit);
        if (mean.n == 0)
            continue;
        const bool score = is_score(tally, c), is_published = strcmp(tally->published_metric, tally->columns[c]) == 0;
        const double scale = score ? 100.0 / MOST_POINTS : 100;
        tern_buffer_printf(script, "\"%s%s\" %.3f %.3f ", tally->name, score ? " (right)" : "", scale * mean.value,
                           isfinite(mean.standard_error) ? scale * mean.standard_error : 0);
        tern_buffer_printf(script, is_published ? "%.3f\n" : "?\n", tally->published * (score ? scale : 1));
        *any_score |= score;
        n++;
    }
    tern_buffer_text(script, "EOD\n");
    return n;
}

int tern_eval_chart(const tern_results *results, const tern_eval_report *report, const char *path) {
    tern_buffer script = {0}, data = {0};
    bool any_score;
    size_t n = put_data(&data, results, report, &any_score);
    tern_buffer_printf(&script, "set terminal svg size %zu,%d dynamic background rgb 'white' noenhanced\n",
                       MARGINS + BAR_WIDTH * (n < 4 ? 4 : n), (int)HEIGHT);
    tern_buffer_text(&script,
                     "set encoding utf8\nset datafile missing '?'\nset grid ytics lc rgb '#dddddd'\n"
                     "set key top right\nset style fill solid 0.9\nset boxwidth 0.38\nset yrange [0:100]\n"
                     "set ylabel 'score in percent; lines: standard error'\nset xtics rotate by -35 nomirror\n");
    if (any_score)
        tern_buffer_printf(&script,
                           "set ytics nomirror\nset y2range [0:%d]\nset y2tics\nset y2label 'score in points'\n",
                           (int)MOST_POINTS);
    tern_buffer_printf(&script, "set xrange [-0.6:%zu.6]\nset title ", n ? n - 1 : 0);
    tern_gnuplot_quote(&script, results->n ? results->tallies[0].model : "");
    tern_buffer_text(&script, "\n");
    tern_buffer_append(&script, data.bytes ? data.bytes : "", data.size);
    tern_buffer_text(&script, "plot $d using ($0-0.2):2:xtic(1) with boxes lc rgb '#0072b2' title 'this model', "
                              "'' using ($0-0.2):($2-$3):(0):(2*$3) with vectors nohead lw 2 lc rgb '#333333' notitle, "
                              "'' using ($0+0.2):4 with boxes lc rgb '#d55e00' title 'published, BitNet b1.58 2B4T'\n");
    tern_buffer_free(&data);
    char *text = tern_buffer_take(&script, NULL);
    int status = !text    ? tern_cli_fail("out of memory")
                 : n == 0 ? tern_cli_fail("there is no score to draw")
                          : tern_gnuplot(text, path);
    free(text);
    return status;
}
