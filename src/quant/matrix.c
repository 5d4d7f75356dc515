#include "quant/matrix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/codec.h"

/* What BitNet's absmean does not go below (docs/MODEL.md). */
#define LEAST_SCALE 1e-5f

/* ---------------------------------------------------------- plain rounding */

/* The columns that share a scale, and the rows. */
static uint32_t scale_cols(const tern_quant_matrix *m) { return m->group_cols ? m->group_cols : m->cols; }
static uint32_t scale_rows(const tern_quant_matrix *m) { return m->row_scales ? 1 : m->rows; }

/* n_rows rows of `cols` columns that lie together from `at` on. */
static tern_tensor view_of(const tern_quant_matrix *m, const float *at, uint32_t n_rows, uint32_t cols) {
    return (tern_tensor){.name = m->name,
                         .type_name = "F32",
                         .type = TERN_TYPE_F32,
                         .n_dims = 2,
                         .rows = n_rows,
                         .cols = cols,
                         .data = (const uint8_t *)at,
                         .bytes = (uint64_t)n_rows * cols * sizeof(float)};
}

/* The absmean of each row or group, or of all as one -> scales. */
static tern_status absmeans(const tern_quant_matrix *m, tern_error *err) {
    float *buffer = tern_alloc_array(m->cols, sizeof *buffer);
    tern_status status = buffer ? TERN_OK : tern_fail_memory(err, "a row of weights");
    uint32_t step = scale_rows(m), cols = scale_cols(m);
    size_t n = (size_t)(m->rows / step) * tern_quant_groups(m);
    for (size_t i = 0; !status && i < n; i++) {
        tern_tensor part = view_of(m, m->w + i * step * cols, step, cols);
        status = tern_absmean(&part, buffer, &m->scales[i], err);
    }
    for (uint32_t i = 1; !status && i < step; i++)
        m->scales[i] = m->scales[0];
    free(buffer);
    return status;
}

static void round_task(void *context, size_t row, int worker) {
    const tern_quant_matrix *m = context;
    (void)worker;
    for (uint32_t at = 0; at < m->cols; at += scale_cols(m))
        tern_ternarize_row(m->w + row * m->cols + at, scale_cols(m), tern_quant_scale(m, row, at),
                           m->trits + row * m->cols + at);
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
    float *e, *t;   /* [cols][ROWS] error and ternary value of each weight so far */
    float *of_t;    /* [groups][ROWS] what the columns behind one add to its ternary value, by their group */
    double *v;      /* [groups][ROWS] the same and the column itself */
    double *normal; /* [ROWS][groups][groups] of several groups: see solve() */
    double *right;  /* [ROWS][groups] */
} scratch;

typedef struct compensate_job {
    const float *factors;
    const tern_quant_matrix *m;
    scratch *workers;     /* [threads] */
    double *along, *size; /* [rows] of the least squares of the outputs with one group: s = along / size */
} compensate_job;

/* What the columns behind k add to column k: of the errors [ROWS], and of the ternary values of each group. */
static void sum_behind(const compensate_job *job, const scratch *s, uint32_t k, float *restrict of_e) {
    const float *factors = job->factors + (size_t)k * job->m->cols;
    float e_sum[ROWS] = {0};
    uint32_t group = scale_cols(job->m), end = k / group * group + group;
    for (uint32_t begin = k + 1, g = k / group; g < tern_quant_groups(job->m); begin = end, end += group, g++) {
        float t_sum[ROWS] = {0};
        for (uint32_t j = begin; j < end; j++) {
            const float factor = factors[j];
            const float *e = s->e + (size_t)j * ROWS, *t = s->t + (size_t)j * ROWS;
            for (uint32_t r = 0; r < ROWS; r++) {
                e_sum[r] += factor * e[r];
                t_sum[r] += factor * t[r];
            }
        }
        memcpy(s->of_t + (size_t)g * ROWS, t_sum, sizeof t_sum);
    }
    memcpy(of_e, e_sum, sizeof e_sum);
}

/* Column k of row r, with d = D_k: with v = (I + L)^T t of each group's t and u = (I + L)^T w, the normal equations of
 * the scales have the sums of d v v^T on the left and of d v u on the right. */
static void add_equations(const tern_quant_matrix *m, const scratch *s, uint32_t k, uint32_t r, double d, double u) {
    uint32_t groups = tern_quant_groups(m), first = k / scale_cols(m); /* nothing is known of those before */
    double *normal = s->normal + (size_t)r * groups * groups, *right = s->right + (size_t)r * groups;
    for (uint32_t g = first; g < groups; g++) {
        double v = d * s->v[(size_t)g * ROWS + r];
        right[g] += v * u;
        for (uint32_t h = g; h < groups; h++)
            normal[(size_t)g * groups + h] += v * s->v[(size_t)h * ROWS + r];
    }
}

static void compensate_column(const compensate_job *job, const scratch *s, uint32_t first, uint32_t n_rows, uint32_t k,
                              double *along, double *size) {
    const tern_quant_matrix *m = job->m;
    uint32_t groups = tern_quant_groups(m), group = k / scale_cols(m);
    float *e = s->e + (size_t)k * ROWS, *t = s->t + (size_t)k * ROWS, of_e[ROWS];
    double d = (double)job->factors[(size_t)k * m->cols + k];
    sum_behind(job, s, k, of_e);
    for (uint32_t r = 0; r < ROWS; r++)
        e[r] = t[r] = 0;
    for (uint32_t r = 0; r < n_rows; r++) {
        size_t at = (size_t)(first + r) * m->cols + k;
        const float *scales = m->scales + (size_t)(first + r) * groups;
        float scale = scales[group], wanted = m->w[at] + of_e[r];
        int trit = (wanted > 0.5f * scale) - (wanted < -0.5f * scale);
        t[r] = (float)trit;
        e[r] = m->w[at] - scale * t[r];
        m->trits[at] = (int8_t)trit;
        double u = (double)e[r] + (double)of_e[r];
        for (uint32_t g = group; g < groups; g++) {
            double v = (double)(g == group ? t[r] : 0) + (double)s->of_t[(size_t)g * ROWS + r];
            s->v[(size_t)g * ROWS + r] = v;
            u += (double)scales[g] * v;
        }
        if (groups > 1) {
            add_equations(m, s, k, r, d, u);
            continue;
        }
        along[r] += d * s->v[r] * u;
        size[r] += d * s->v[r] * s->v[r];
    }
}

/* The scales of a row's groups from the normal equations, of which the upper triangle is filled: one after the other
 * made the best beside the others (Gauss and Seidel), for they have to stay positive, which the exact solution of
 * inputs that mostly agree need not be. A group without any ternary value but 0 keeps its scale. */
static void solve(const double *normal, const double *right, uint32_t n, float *scales) {
    enum { SWEEPS = 200 };
    bool moved = true;
    for (int sweep = 0; sweep < SWEEPS && moved; sweep++) {
        moved = false;
        for (uint32_t g = 0; g < n; g++) {
            double sum = right[g], own = normal[(size_t)g * n + g];
            if (!(own > 0))
                continue;
            for (uint32_t h = 0; h < n; h++)
                if (h != g)
                    sum -= (double)scales[h] * normal[h < g ? (size_t)h * n + g : (size_t)g * n + h];
            float least = LEAST_SCALE, best = (float)(sum / own);
            best = best > least ? best : least;
            moved |= fabsf(best - scales[g]) > 1e-6f * scales[g];
            scales[g] = best;
        }
    }
}

static void compensate_task(void *context, size_t task, int worker) {
    const compensate_job *job = context;
    const tern_quant_matrix *m = job->m;
    const scratch *s = &job->workers[worker];
    uint32_t first = (uint32_t)task * ROWS, n_rows = m->rows - first < ROWS ? m->rows - first : ROWS;
    size_t groups = tern_quant_groups(m);
    double along[ROWS] = {0}, size[ROWS] = {0};
    if (groups > 1) {
        memset(s->normal, 0, ROWS * groups * groups * sizeof *s->normal);
        memset(s->right, 0, ROWS * groups * sizeof *s->right);
    }
    for (uint32_t k = m->cols; k-- > 0;)
        compensate_column(job, s, first, n_rows, k, along, size);
    for (uint32_t r = 0; r < n_rows && groups > 1; r++)
        solve(s->normal + r * groups * groups, s->right + r * groups, (uint32_t)groups,
              m->scales + (first + r) * groups);
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
    size_t step = scale_rows(m), n = step * scale_cols(m), n_scales = m->rows / step * tern_quant_groups(m);
    for (size_t i = 0; i < n_scales; i++) {
        float scale = m->scales[i];
        for (int turn = 0; turn < TURNS; turn++) {
            double sum = 0;
            size_t count = 0;
            add_large(m->w + i * n, n, 0.5f * scale, &sum, &count);
            if (count)
                scale = (float)(sum / (double)count);
        }
        m->scales[i] = scale > LEAST_SCALE ? scale : LEAST_SCALE;
    }
    for (size_t i = 1; i < step; i++)
        m->scales[i] = m->scales[0];
}

/* The scales of least squares of the outputs, of these trits; with several groups they are known. */
static void fit_outputs(const compensate_job *job) {
    const tern_quant_matrix *m = job->m;
    uint32_t step = scale_rows(m);
    for (uint32_t row = 0; row < m->rows && tern_quant_groups(m) == 1; row += step) {
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

static void free_scratch(scratch *s) {
    free(s->e);
    free(s->t);
    free(s->of_t);
    free(s->v);
    free(s->normal);
    free(s->right);
}

tern_status tern_quant_compensate(tern_pool *pool, const float *factors, const tern_quant_matrix *m, tern_error *err) {
    int threads = tern_pool_threads(pool);
    size_t groups = tern_quant_groups(m);
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
        s->of_t = tern_alloc_array(groups * ROWS, sizeof *s->of_t);
        s->v = tern_alloc_array(groups * ROWS, sizeof *s->v);
        s->normal = tern_alloc_array(groups * groups * ROWS, sizeof *s->normal);
        s->right = tern_alloc_array(groups * ROWS, sizeof *s->right);
        if (!s->e || !s->t || !s->of_t || !s->v || !s->normal || !s->right)
            status = tern_fail_memory(err, m->name);
    }
    if (!status) {
        fit_scales(m);
        tern_pool_run(pool, (m->rows + ROWS - 1) / ROWS, compensate_task, &job);
        fit_outputs(&job);
    }
    for (int i = 0; job.workers && i < threads; i++)
        free_scratch(&job.workers[i]);
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
            double e = (double)w[i] - (double)tern_quant_scale(m, row, (uint32_t)i) * t[i],
                   sum = 0.5 * (double)h_row[i] * e;
            for (size_t j = i + 1; j < m->cols; j++)
                sum += (double)h_row[j] * ((double)w[j] - (double)tern_quant_scale(m, row, (uint32_t)j) * t[j]);
            total += 2 * e * sum;
        }
    return total;
}
