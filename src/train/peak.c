#include "train/peak.h"

#include "base/clock.h"
#include "base/cpu.h"
#include "base/mem.h"

/* A unit of B is at most a few cache lines: 32 of them stay in L1. A pass has so many tiles that it takes from some
 * tenths of a millisecond to 5 ms, and the best of all that fit into a while counts: on a machine that has other work,
 * or is only about to raise its frequency, a few passes alone came out up to two times too low. */
enum { UNITS = 32, TILES = 2000, MIN_PASSES = 5, B_FLOATS = 32 * 256, C_FLOATS = 4096 };
#define SECONDS 0.15

typedef struct peak_job {
    const tern_gemm *gemm;
    float *operands, *c;
} peak_job;

static void peak_task(void *context, size_t task, int worker) {
    const peak_job *job = context;
    const tern_gemm *gemm = job->gemm;
    (void)task;
    float *c = job->c + (size_t)worker * C_FLOATS;
    for (int i = 0; i < TILES; i++)
        gemm->tile(UNITS, job->operands, gemm->unit_bytes, 0, job->operands, c, gemm->nr, gemm->mr, gemm->nr, 1.0f,
                   false);
}

double tern_fp32_peak(tern_pool *pool) {
    int n_threads = tern_pool_threads(pool);
    peak_job job = {.gemm = tern_gemm_choose(tern_cpu_features())->exact,
                    .operands = tern_aligned_alloc(B_FLOATS * sizeof(float)),
                    .c = tern_aligned_alloc((size_t)n_threads * C_FLOATS * sizeof(float))};
    double best = 0;
    size_t mr = job.gemm->mr, nr = job.gemm->nr, unit = job.gemm->unit;
    if (job.operands && job.c && mr * nr <= C_FLOATS && UNITS * nr * unit <= B_FLOATS) {
        for (size_t i = 0; i < B_FLOATS; i++)
            job.operands[i] = 1.0f / 3;
        double end = tern_seconds() + SECONDS;
        for (int pass = 0; pass < MIN_PASSES || tern_seconds() < end; pass++) {
            double begin = tern_seconds();
            tern_pool_run(pool, (size_t)n_threads, peak_task, &job);
            double rate = 2.0 * (double)(mr * nr * unit) * UNITS * TILES * n_threads / (tern_seconds() - begin);
            best = rate > best ? rate : best;
        }
    }
    tern_aligned_free(job.operands);
    tern_aligned_free(job.c);
    return best;
}
