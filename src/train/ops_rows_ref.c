/* Row arithmetic in plain C. */
#include "train/v16_plain.h"

#define ROWS_FEATURES 0

#include "train/ops_rows_tmpl.c"
