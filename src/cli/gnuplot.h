/* Pictures by gnuplot, which is run as a program and need not be there. */
#ifndef TERN_CLI_GNUPLOT_H
#define TERN_CLI_GNUPLOT_H

#include "base/str.h"

/* Append '...': the text as gnuplot reads it. Without control characters, and in UTF-8, as an SVG has to be; a name
 * that is none loses the bytes in question. gnuplot 5.4 does not take '...' that begins with a doubled quote, so a
 * quote becomes a typographic one. */
void tern_gnuplot_quote(tern_buffer *script, const char *text);

/* What gnuplot makes of the script, an SVG -> the file, whole or not at all. The exit status, after a message. */
int tern_gnuplot(const char *script, const char *out);

#endif
