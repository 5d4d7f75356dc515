#include "quant/matrix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/codec.h"

/* What BitNet's absmean does not go below (docs/MODEL.md). */
#define LEAST_SCALE 1e-5f

/* ---------------------------------------------------------- plain rounding */

static tern_tensor view_of(const tern_quant_matrix *m, uint32_t row, uint32_t n_rows) {
    const float *at = m->w + (size_t)row * m->cols;
    return (tern_tensor){.name = m->name,
                         .type_name = "F32",
                         .type = TERN_TYPE_F32,
                         .n_dims = 2,
                         .rows = n_rows,
                         .cols = m->cols,
                         .data = (const uint8_t *)at,
                         .bytes = (uint64_t)n_rows * m->cols * sizeof(float)};
}

/* The absmean of each row, or of all as one -> scales. */
static tern_status absmeans(const tern_quant_matrix *m, tern_error *err) {
    float *buffer = tern_alloc_array(m->cols, sizeof *buffer);
    tern_status status = buffer ? TERN_OK : tern_fail_memory(err, "a row of weights");
    uint32_t step = m->row_scales ? 1 : m->rows;
    for (uint32_t row = 0; !status && row < m->rows; row += step) {
        tern_tensor part = view_of(m, row, step);
        status = tern_absmean(&part, buffer, &m->scales[row], err);
        for (uint32_t i = 1; !status && i < step; i++)
            m->scales[row + i] = m->scales[row];
    }
    free(buffer);
    return status;
}

static void round_task(void *context, size_t row, int worker) {
    const tern_quant_matrix *m = context;
    (void)worker;
    tern_ternarize_row(m->w + row * m->cols, m->cols, m->scales[row], m->trits + row * m->cols);
}

tern_status tern_quant_round(tern_pool *pool, const tern_quant_matrix *m, tern_error *err) {
    tern_status status = absmeans(m, err);
    if (!status)
        tern_pool_run(pool, m->rows, round_task, (void *)m);
    return status;
}

/* ---------------------------------------------------------------- Hessian */

/* Rows of h that a task takes: so many times less often x is read. */
enum { H_ROWS = 4 };

typedef struct inputs_job {
    const float *x;
    size_t n_tokens;
    uint32_t n;
    float *h;
} inputs_job;

static void inputs_task(void *context, size_t task, int worker) {
    const inputs_job *job = context;
    (void)worker;
    uint32_t first = (uint32_t)task * H_ROWS, n = job->n, n_rows = n - first < H_ROWS ? n - first : H_ROWS;
    for (size_t t = 0; t < job->n_tokens; t++) {
        const float *x = job->x + t * n;
        for (uint32_t i = first; i < first + n_rows; i++) {
            float *row = job->h + (size_t)i * n;
            for (uint32_t j = i; j < n; j++)
                row[j] += x[i] * x[j];
        }
    }
}

void tern_quant_add_inputs(tern_pool *pool, const float *x, size_t n_tokens, uint32_t n, float *h) {
    inputs_job job = {x, n_tokens, n, h};
    tern_pool_run(pool, (n + H_ROWS - 1) / H_ROWS, inputs_task, &job);
}

/* Rows of a panel of the factorisation: what lies below it is updated with all of them at once. */
enum { PANEL = 64 };

typedef struct panel_job {
    float *h;
    uint32_t n, begin, end; /* rows of the panel */
} panel_job;

/* row i of the rest -= what the panel's rows k take from it */
static void panel_task(void *context, size_t task, int worker) {
    const panel_job *job = context;
    (void)worker;
    uint32_t n = job->n, i = job->end + (uint32_t)task;
    float *row = job->h + (size_t)i * n;
    for (uint32_t k = job->begin; k < job->end; k++) {
        const float *u = job->h + (size_t)k * n;
        float factor = u[i];
        for (uint32_t j = i; j < n; j++)
            row[j] -= factor * u[j];
    }
}

/* Cholesky of h = U^T U, in place in the upper triangle. A pivot that rounding has made smaller than `least` counts as
 * that much. */
static void cholesky(tern_pool *pool, float *h, uint32_t n, float least) {
    for (uint32_t begin = 0; begin < n; begin += PANEL) {
        uint32_t end = n - begin < PANEL ? n : begin + PANEL;
        for (uint32_t k = begin; k < end; k++) {
            float *row = h + (size_t)k * n;
            for (uint32_t i = begin; i < k; i++) {
                const float *u = h + (size_t)i * n;
                float factor = u[k];
                for (uint32_t j = k; j < n; j++)
                    row[j] -= factor * u[j];
            }
            float pivot = sqrtf(row[k] > least ? row[k] : least);
            for (uint32_t j = k; j < n; j++)
                row[j] /= pivot;
            row[k] = pivot;
        }
        panel_job job = {h, n, begin, end};
        tern_pool_run(pool, n - end, panel_task, &job);
    }
}

tern_status tern_quant_factor(tern_pool *pool, float *h, uint32_t n, tern_error *err) {
    double trace = 0;
    bool finite = true;
    for (size_t i = 0; i < n; i++) {
        trace += h[i * n + i];
        for (size_t j = i; j < n; j++)
            finite &= isfinite(h[i * n + j]);
    }
    if (!finite || !isfinite(trace))
        return tern_fail(err, TERN_ERR_FORMAT, "the inputs of a layer are not finite; the model is damaged");
    float damp = trace > 0 ? (float)(0.01 * trace / n) : 1; /* no input was ever other than 0: plain rounding */
    for (size_t i = 0; i < n; i++)
        h[i * n + i] += damp;
    cholesky(pool, h, n, 0.01f * damp);
    for (size_t i = 0; i < n; i++) { /* U = sqrt(D) (I + L)^T */
        float pivot = h[i * n + i];
        for (size_t j = i + 1; j < n; j++)
            h[i * n + j] /= pivot;
        h[i * n + i] = pivot * pivot;
    }
    return TERN_OK;
}

/* ------------------------------------------------- compensating rounding */

/* Rows that are rounded together, a vector or two. */
enum { ROWS = 16 };

typedef struct scratch {
    float *e, *t; /* [cols][ROWS] error and ternary value of each weight so far */
} scratch;

typedef struct compensate_job {
    const float *factors;
    const tern_quant_matrix *m;
    scratch *workers;     /* [threads] */
    double *along, *size; /* [rows] of the least squares of the outputs: s = along / size */
} compensate_job;

/* sums [2][ROWS] = what the columns behind k add to column k: of the errors, and of the ternary values */
static void sum_behind(const float *factors, const scratch *s, uint32_t k, uint32_t n, float *restrict of_e,
                       float *restrict of_t) {
    float e_sum[ROWS] = {0}, t_sum[ROWS] = {0};
    for (uint32_t j = k + 1; j < n; j++) {
        const float factor = factors[j];
        const float *e = s->e + (size_t)j * ROWS, *t = s->t + (size_t)j * ROWS;
        for (uint32_t r = 0; r < ROWS; r++) {
            e_sum[r] += factor * e[r];
            t_sum[r] += factor * t[r];
        }
    }
    memcpy(of_e, e_sum, sizeof e_sum);
    memcpy(of_t, t_sum, sizeof t_sum);
}

static void compensate_task(void *context, size_t task, int worker) {
    const compensate_job *job = context;
    const tern_quant_matrix *m = job->m;
    const scratch *s = &job->workers[worker];
    uint32_t first = (uint32_t)task * ROWS, n_rows = m->rows - first < ROWS ? m->rows - first : ROWS, n = m->cols;
    double along[ROWS] = {0}, size[ROWS] = {0};
    for (uint32_t k = n; k-- > 0;) {
        const float *factors = job->factors + (size_t)k * n;
        float *e = s->e + (size_t)k * ROWS, *t = s->t + (size_t)k * ROWS, of_e[ROWS], of_t[ROWS];
        sum_behind(factors, s, k, n, of_e, of_t);
        for (uint32_t r = 0; r < ROWS; r++)
            e[r] = t[r] = 0;
        for (uint32_t r = 0; r < n_rows; r++) {
            size_t at = (size_t)(first + r) * n + k;
            float scale = m->scales[first + r], wanted = m->w[at] + of_e[r];
            int trit = (wanted > 0.5f * scale) - (wanted < -0.5f * scale);
            t[r] = (float)trit;
            e[r] = m->w[at] - scale * t[r];
            m->trits[at] = (int8_t)trit;
            /* with v = (I + L)^T t and u = (I + L)^T w: t H t = sum of d v^2, t H w = sum of d v u */
            double v = (double)t[r] + (double)of_t[r], u = (double)e[r] + (double)of_e[r] + (double)scale * v;
            along[r] += (double)factors[k] * v * u;
            size[r] += (double)factors[k] * v * v;
        }
    }
    memcpy(job->along + first, along, n_rows * sizeof *along);
    memcpy(job->size + first, size, n_rows * sizeof *size);
}

/* Weights of n whose magnitude passes `least`: their number and the sum of their magnitudes. */
static void add_large(const float *w, size_t n, float least, double *sum, size_t *count) {
    for (size_t i = 0; i < n; i++) {
        float magnitude = fabsf(w[i]);
        if (magnitude > least) {
            *sum += (double)magnitude;
            ++*count;
        }
    }
}

/* From the absmean to a scale of least squares of the weights, by turns: the mean of those that do not become 0. */
static void fit_scales(const tern_quant_matrix *m) {
    enum { TURNS = 12 };
    uint32_t step = m->row_scales ? 1 : m->rows;
    for (uint32_t row = 0; row < m->rows; row += step) {
        float scale = m->scales[row];
        for (int turn = 0; turn < TURNS; turn++) {
            double sum = 0;
            size_t count = 0;
            add_large(m->w + (size_t)row * m->cols, (size_t)step * m->cols, 0.5f * scale, &sum, &count);
            if (count)
                scale = (float)(sum / (double)count);
        }
        for (uint32_t i = 0; i < step; i++)
            m->scales[row + i] = scale > LEAST_SCALE ? scale : LEAST_SCALE;
    }
}

/* The scales of least squares of the outputs, of these trits. */
static void fit_outputs(const compensate_job *job) {
    const tern_quant_matrix *m = job->m;
    uint32_t step = m->row_scales ? 1 : m->rows;
    for (uint32_t row = 0; row < m->rows; row += step) {
        double along = 0, size = 0;
        for (uint32_t i = 0; i < step; i++) {
            along += job->along[row + i];
            size += job->size[row + i];
        }
        float scale = size > 0 ? (float)(along / size) : 0;
        for (uint32_t i = 0; i < step && scale > 0; i++)
            m->scales[row + i] = scale;
    }
}

tern_status tern_quant_compensate(tern_pool *pool, const float *factors, const tern_quant_matrix *m, tern_error *err) {
    int threads = tern_pool_threads(pool);
    compensate_job job = {.factors = factors,
                          .m = m,
                          .workers = tern_calloc_array((size_t)threads, sizeof *job.workers),
                          .along = tern_alloc_array(m->rows, sizeof *job.along),
                          .size = tern_alloc_array(m->rows, sizeof *job.size)};
    tern_status status = job.workers && job.along && job.size ? absmeans(m, err) : tern_fail_memory(err, m->name);
    for (int i = 0; !status && i < threads; i++) {
        scratch *s = &job.workers[i];
        s->e = tern_alloc_array((size_t)m->cols * ROWS, sizeof *s->e);
        s->t = tern_alloc_array((size_t)m->cols * ROWS, sizeof *s->t);
        if (!s->e || !s->t)
            status = tern_fail_memory(err, m->name);
    }
    if (!status) {
        fit_scales(m);
        tern_pool_run(pool, (m->rows + ROWS - 1) / ROWS, compensate_task, &job);
        fit_outputs(&job);
    }
    for (int i = 0; job.workers && i < threads; i++) {
        free(job.workers[i].e);
        free(job.workers[i].t);
    }
    free(job.workers);
    free(job.along);
    free(job.size);
    return status;
}

double tern_quant_error(const float *h, const tern_quant_matrix *m) {
    double total = 0;
    for (size_t row = 0; row < m->rows; row++)
        for (size_t i = 0; i < m->cols; i++) {
            const float *w = m->w + row * m->cols, *h_row = h + i * m->cols;
            const int8_t *t = m->trits + row * m->cols;
            double e = (double)w[i] - (double)m->scales[row] * t[i], sum = 0.5 * (double)h_row[i] * e;
            for (size_t j = i + 1; j < m->cols; j++)
                sum += (double)h_row[j] * ((double)w[j] - (double)m->scales[row] * t[j]);
            total += 2 * e * sum;
        }
    return total;
}
