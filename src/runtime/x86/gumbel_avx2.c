#define TERN_GUMBEL_ROWS tern_gumbel_rows_avx2
#include "runtime/gumbel_tmpl.c"
