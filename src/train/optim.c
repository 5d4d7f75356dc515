/* AdamW as PyTorch's torch.optim.AdamW computes it: decoupled decay first, then the bias-corrected step. */
#include "train/optim.h"

#include <math.h>

/* Values of one task: a few cache lines' worth of every stream, and the same for every number of threads. */
enum { BLOCK = 1 << 14, SUMS = 256 };

static size_t n_blocks(size_t n) { return (n + BLOCK - 1) / BLOCK; }

/* ------------------------------------------------------------------- norm */

typedef struct norm_job {
    const float *grads;
    size_t n, stretch; /* values in all, of one task */
    double sums[SUMS];
} norm_job;

/* Eight sums, because a compiler may not turn one chain of additions into vectors. */
static double sum_of_squares(const float *x, size_t n) {
    double lanes[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int lane = 0; lane < 8; lane++)
            lanes[lane] += (double)x[i + lane] * x[i + lane];
    for (int lane = 0; i < n; i++, lane++)
        lanes[lane] += (double)x[i] * x[i];
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

static void norm_task(void *context, size_t task, int worker) {
    (void)worker;
    norm_job *job = context;
    size_t begin = task * job->stretch, left = job->n - begin;
    job->sums[task] = sum_of_squares(job->grads + begin, left < job->stretch ? left : job->stretch);
}

double tern_grad_norm(tern_pool *pool, const float *grads, size_t n, double scale) {
    norm_job job = {.grads = grads, .n = n};
    if (n == 0)
        return 0;
    job.stretch = (n_blocks(n) + SUMS - 1) / SUMS * BLOCK;
    size_t n_tasks = (n + job.stretch - 1) / job.stretch;
    tern_pool_run(pool, n_tasks, norm_task, &job);
    double sum = 0;
    for (size_t i = 0; i < n_tasks; i++)
        sum += job.sums[i];
    return fabs(scale) * sqrt(sum);
}

/* ------------------------------------------------------------------- step */

typedef struct update_job {
    tern_adam_step step;
    size_t n;
    float keep;      /* 1 - lr * decay */
    float rate;      /* lr / (1 - beta1^t) */
    float root_bias; /* sqrt(1 - beta2^t) */
} update_job;

static void update_task(void *context, size_t task, int worker) {
    (void)worker;
    const update_job *job = context;
    const tern_adam_step *step = &job->step;
    size_t begin = task * BLOCK, end = job->n - begin < BLOCK ? job->n : begin + BLOCK;
    float *restrict values = step->values, *restrict m = step->m, *restrict v = step->v;
    const float *restrict grads = step->grads;
    const float beta1 = step->adam.beta1, beta2 = step->adam.beta2, eps = step->adam.eps;
    const float scale = step->grad_scale, keep = job->keep, rate = job->rate, root_bias = job->root_bias;
    for (size_t i = begin; i < end; i++) {
        float g = grads[i] * scale;
        m[i] = beta1 * m[i] + (1 - beta1) * g;
        v[i] = beta2 * v[i] + (1 - beta2) * g * g;
        values[i] = values[i] * keep - rate * m[i] / (sqrtf(v[i]) / root_bias + eps);
    }
}

void tern_adam_update(tern_pool *pool, const tern_adam_step *step, size_t n, bool decay) {
    double t = (double)step->t, lr = step->lr;
    update_job job = {.step = *step,
                      .n = n,
                      .keep = decay ? (float)(1 - lr * step->weight_decay) : 1,
                      .rate = (float)(lr / (1 - pow(step->adam.beta1, t))),
                      .root_bias = (float)sqrt(1 - pow(step->adam.beta2, t))};
    tern_pool_run(pool, n_blocks(n), update_task, &job);
}

void tern_params_update(tern_pool *pool, tern_params *params, const tern_adam_step *step) {
    for (size_t i = 0; i < params->n; i++) {
        const tern_param *param = &params->list[i];
        tern_adam_step part = *step;
        part.values += param->offset;
        part.grads += param->offset;
        part.m += param->offset;
        part.v += param->offset;
        tern_adam_update(pool, &part, (size_t)param->rows * param->cols, param->decay);
    }
}
