/*
 * What a parallel step costs: the time of steps with nothing to do, and how much longer than its share steps of a fixed
 * length take, back to back and after pauses.
 *
 *     bench_pool [-r RUNS] [THREADS...]
 *
 * Medians with the best and the worst of several runs. A decode step of BitNet b1.58 2B4T is about 200 steps in 13 ms:
 * each microsecond is 1.5%.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/pool.h"

enum { MAX_RUNS = 99, MAX_THREADS = 256, TASKS_PER_THREAD = 4 };

typedef struct job {
    size_t n_tasks;
    double task_seconds; /* how long each task keeps its CPU busy */
    double gap_seconds;  /* serial time between two steps */
    int n_steps;
} job;

static int n_runs = 7;

static void spin(double seconds) {
    for (double end = tern_seconds() + seconds; tern_seconds() < end;)
        ;
}

static void task(void *context, size_t index, int worker) {
    (void)index, (void)worker;
    const job *j = context;
    if (j->task_seconds > 0)
        spin(j->task_seconds);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of one step, the gap not counted. */
static void measure(tern_pool *pool, const char *name, job *j) {
    double seconds[MAX_RUNS];
    for (int r = -1; r < n_runs; r++) { /* the first is not counted */
        double total = 0;
        for (int i = 0; i < j->n_steps; i++) {
            if (j->gap_seconds > 0)
                spin(j->gap_seconds);
            double start = tern_seconds();
            tern_pool_run(pool, j->n_tasks, task, j);
            total += tern_seconds() - start;
        }
        if (r >= 0)
            seconds[r] = total / j->n_steps;
    }
    qsort(seconds, (size_t)n_runs, sizeof *seconds, by_value);
    double alone = j->task_seconds * (double)j->n_tasks / tern_pool_threads(pool);
    printf("%3d threads  %-34s %9.2f us a step (%.2f to %.2f), %.2f us over its share\n", tern_pool_threads(pool), name,
           seconds[n_runs / 2] * 1e6, seconds[0] * 1e6, seconds[n_runs - 1] * 1e6, (seconds[n_runs / 2] - alone) * 1e6);
}

static int bench(int n_threads) {
    tern_error err;
    tern_pool *pool;
    if (tern_pool_create(n_threads, &pool, &err))
        return fprintf(stderr, "bench_pool: %s\n", err.message), 1;
    size_t n = (size_t)n_threads;
    measure(pool, "nothing, a task a thread", &(job){n, 0, 0, 2000});
    measure(pool, "nothing, 4 tasks a thread", &(job){n * TASKS_PER_THREAD, 0, 0, 2000});
    measure(pool, "5 us of work, a task a thread", &(job){n, 5e-6, 0, 1000});
    measure(pool, "20 us of work, 4 tasks a thread", &(job){n * TASKS_PER_THREAD, 5e-6, 0, 500});
    measure(pool, "the same, 3 us apart", &(job){n * TASKS_PER_THREAD, 5e-6, 3e-6, 500});
    measure(pool, "the same, 100 us apart", &(job){n * TASKS_PER_THREAD, 5e-6, 100e-6, 100});
    measure(pool, "the same, 500 us apart", &(job){n * TASKS_PER_THREAD, 5e-6, 500e-6, 50});
    measure(pool, "the same, 5 ms apart", &(job){n * TASKS_PER_THREAD, 5e-6, 5e-3, 10});
    tern_pool_free(pool);
    return 0;
}

int main(int argc, char **argv) {
    int given = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-r") == 0 && i + 1 < argc) {
            n_runs = (int)strtol(argv[++i], NULL, 10);
            if (n_runs < 1 || n_runs > MAX_RUNS)
                return fprintf(stderr, "bench_pool: -r must be 1 to %d\n", MAX_RUNS), 2;
            continue;
        }
        int n_threads = (int)strtol(argv[i], NULL, 10);
        if (n_threads < 1 || n_threads > MAX_THREADS)
            return fprintf(stderr, "usage: bench_pool [-r RUNS] [THREADS...], 1 to %d threads\n", MAX_THREADS), 2;
        if (bench(n_threads))
            return 1;
        given++;
    }
    return given ? 0 : bench(tern_cpu_count());
}
