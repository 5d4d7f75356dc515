/*
 * One matrix of floats -> ternary values and scales, with what the rounding costs.
 *
 * Plain rounding is BitNet's absmean. Error-compensating rounding is GPTQ (Frantar et al. 2022, arXiv 2210.17323), in
 * the form of Chee et al. 2023 (QuIP, arXiv 2307.13304, section 3), which gives the same values without an inverse:
 * with H = X^T X of the layer's inputs and H = (I + L) D (I + L)^T, L strictly lower triangular, a row's columns are
 * rounded from the last to the first, each after L has added to it what the errors of those behind it call for.
 *
 * Results do not depend on the number of threads.
 */
#ifndef TERN_QUANT_MATRIX_H
#define TERN_QUANT_MATRIX_H

#include "base/pool.h"
#include "base/status.h"

typedef struct tern_quant_matrix {
    const char *name; /* for messages */
    uint32_t rows, cols;
    const float *w;      /* [rows, cols] */
    int8_t *trits;       /* [rows, cols] of -1, 0, 1 */
    float *scales;       /* [rows][tern_quant_groups()] */
    bool row_scales;     /* each row has its own; else all are the same */
    uint32_t group_cols; /* each group of so many columns of a row has its own, too; 0: one for all columns */
} tern_quant_matrix;

static inline uint32_t tern_quant_groups(const tern_quant_matrix *m) {
    return m->group_cols ? m->cols / m->group_cols : 1;
}
static inline float tern_quant_scale(const tern_quant_matrix *m, size_t row, uint32_t col) {
    return m->scales[row * tern_quant_groups(m) + (m->group_cols ? col / m->group_cols : 0)];
}

/* Absmean (docs/MODEL.md) -> trits, scales: of the whole matrix as tern_absmean() has it, or of each row or group. NaN
 * or infinity among the weights is TERN_ERR_FORMAT. */
tern_status tern_quant_round(tern_pool *pool, const tern_quant_matrix *m, tern_error *err);

/* h [n, n] += x^T x of x [n_tokens, n]; only the upper triangle (column >= row) is used, here and below. */
void tern_quant_add_inputs(tern_pool *pool, const float *x, size_t n_tokens, uint32_t n, float *h);
/* h -> its factors, in place: D on the diagonal, L^T above it. A hundredth of the mean of the diagonal is added to it
 * first, as GPTQ does. TERN_ERR_FORMAT if h is not finite. */
tern_status tern_quant_factor(tern_pool *pool, float *h, uint32_t n, tern_error *err);
/* Error-compensating rounding with the factors of tern_quant_factor() -> trits, scales. Scales begin as those of least
 * squared error of the weights and end as those of least squared error of the layer's outputs; those of a row's groups
 * together. */
tern_status tern_quant_compensate(tern_pool *pool, const float *factors, const tern_quant_matrix *m, tern_error *err);

/* Sum over rows of (w - s t) H (w - s t)^T: the squared error of the outputs, with h as tern_quant_add_inputs() left
 * it. */
double tern_quant_error(const float *h, const tern_quant_matrix *m);

#endif
