#define TERN_GUMBEL_ROWS tern_gumbel_rows_avx512vnni
#include "runtime/gumbel_tmpl.c"
