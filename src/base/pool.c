#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define cpu_relax() _mm_pause()
#elif defined(__aarch64__)
#define cpu_relax() __asm__ volatile("yield")
#else
#define cpu_relax() ((void)0)
#endif

/* How long to spin before sleeping: longer than the serial gap between two steps,
 * far shorter than a scheduler tick. By the clock and not by a count, because what
 * cpu_relax() takes differs a hundredfold: 140 cycles on one x86, 10 on another, 1
 * on most Arm cores. The clock is read every SPINS_A_LOOK looks. */
#define SPIN_SECONDS 50e-6
enum { SPINS_A_LOOK = 32 };

struct tern_pool {
    int n_threads;
    pthread_t *threads; /* [n_threads - 1]; worker 0 is the caller */
    int n_started;
    pthread_mutex_t run_lock; /* one caller at a time */

    /* the step under way; written by the caller before `generation` is raised */
    tern_pool_fn fn;
    void *context;
    size_t n_tasks;

    _Alignas(64) atomic_size_t next_task;
    _Alignas(64) atomic_uint generation; /* raised for every step; workers wait for it to change */
    _Alignas(64) atomic_uint n_busy;     /* workers that have not finished this step */

    pthread_mutex_t sleep_lock;
    pthread_cond_t wake, done;
    int n_sleeping;       /* guarded by sleep_lock */
    bool caller_sleeping; /* guarded by sleep_lock */
    atomic_bool quit;
};

typedef struct worker_start {
    tern_pool *pool;
    int index;
} worker_start;

static void do_tasks(tern_pool *pool, int worker) {
    for (;;) {
        size_t task = atomic_fetch_add_explicit(&pool->next_task, 1, memory_order_relaxed);
        if (task >= pool->n_tasks)
            return;
        pool->fn(pool->context, task, worker);
    }
}

/* Spin until `(*word == value) == equal`; false: it has not come about in time. */
static bool spin_until(atomic_uint *word, unsigned value, bool equal) {
    for (double end = 0;;) {
        for (int i = 0; i < SPINS_A_LOOK; i++) {
            if ((atomic_load_explicit(word, memory_order_acquire) == value) == equal)
                return true;
            cpu_relax();
        }
        double now = tern_seconds();
        if (end == 0)
            end = now + SPIN_SECONDS;
        else if (now >= end)
            return false;
    }
}

/* Wait until the generation is no longer `seen`; the new one. */
static unsigned wait_for_step(tern_pool *pool, unsigned seen) {
    if (spin_until(&pool->generation, seen, false))
        return atomic_load_explicit(&pool->generation, memory_order_acquire);
    pthread_mutex_lock(&pool->sleep_lock);
    pool->n_sleeping++;
    unsigned now;
    while ((now = atomic_load_explicit(&pool->generation, memory_order_acquire)) == seen)
        pthread_cond_wait(&pool->wake, &pool->sleep_lock);
    pool->n_sleeping--;
    pthread_mutex_unlock(&pool->sleep_lock);
    return now;
}

static void *worker_main(void *argument) {
    worker_start start = *(worker_start *)argument;
    free(argument);
    tern_pool *pool = start.pool;
    unsigned seen = 0;
    for (;;) {
        seen = wait_for_step(pool, seen);
        if (atomic_load(&pool->quit))
            return NULL;
        do_tasks(pool, start.index);
        if (atomic_fetch_sub_explicit(&pool->n_busy, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&pool->sleep_lock);
            if (pool->caller_sleeping)
                pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->sleep_lock);
        }
    }
}

/* The application's signals belong to its own threads: a handler that runs on a worker could still be at work when the
 * thread that set it up has gone on and freed what it uses. Only what a thread does to itself, and what debuggers and
 * profilers send, stays open. Returns the mask to go back to. */
static sigset_t block_signals(void) {
    static const int open[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPROF};
    sigset_t all, old;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof open / sizeof *open; i++)
        sigdelset(&all, open[i]);
    sigemptyset(&old);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    return old;
}

/* Workers 1 .. n_threads - 1; false: at least one is missing. */
static bool start_workers(tern_pool *pool) {
    for (int i = 1; i < pool->n_threads; i++) {
        worker_start *start = malloc(sizeof *start);
        if (!start)
            return false;
        *start = (worker_start){pool, i};
        if (pthread_create(&pool->threads[i - 1], NULL, worker_main, start)) {
            free(start);
            return false;
        }
        pool->n_started++;
    }
    return true;
}

tern_status tern_pool_create(int n_threads, tern_pool **out, tern_error *err) {
    if (n_threads < 1 || n_threads > 4096)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%d threads: the number of threads must be 1 to 4096", n_threads);
    void *memory = NULL;
    if (posix_memalign(&memory, 64, sizeof(tern_pool)))
        return tern_fail_memory(err, "the thread pool");
    tern_pool *pool = memory;
    *pool = (tern_pool){.n_threads = n_threads};
    pthread_mutex_init(&pool->run_lock, NULL);
    pthread_mutex_init(&pool->sleep_lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->threads = calloc((size_t)n_threads, sizeof *pool->threads);
    sigset_t old = block_signals(); /* threads inherit the mask of the one that creates them */
    bool ok = pool->threads && start_workers(pool);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!ok) {
        tern_pool_free(pool);
        return tern_fail(err, TERN_ERR_MEMORY, "cannot start %d threads", n_threads);
    }
    *out = pool;
    return TERN_OK;
}

static void raise_generation(tern_pool *pool) {
    atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
    pthread_mutex_lock(&pool->sleep_lock);
    if (pool->n_sleeping)
        pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->sleep_lock);
}

void tern_pool_free(tern_pool *pool) {
    if (!pool)
        return;
    atomic_store(&pool->quit, true);
    raise_generation(pool);
    for (int i = 0; i < pool->n_started; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->sleep_lock);
    pthread_mutex_destroy(&pool->run_lock);
    free(pool->threads);
    free(pool);
}

int tern_pool_threads(const tern_pool *pool) { return pool->n_threads; }

static void wait_until_done(tern_pool *pool) {
    if (spin_until(&pool->n_busy, 0, true))
        return;
    pthread_mutex_lock(&pool->sleep_lock);
    pool->caller_sleeping = true;
    while (atomic_load_explicit(&pool->n_busy, memory_order_acquire) != 0)
        pthread_cond_wait(&pool->done, &pool->sleep_lock);
    pool->caller_sleeping = false;
    pthread_mutex_unlock(&pool->sleep_lock);
}

void tern_pool_run(tern_pool *pool, size_t n_tasks, tern_pool_fn fn, void *context) {
    pthread_mutex_lock(&pool->run_lock);
    if (pool->n_threads == 1 || n_tasks <= 1) {
        for (size_t task = 0; task < n_tasks; task++)
            fn(context, task, 0);
    } else {
        pool->fn = fn;
        pool->context = context;
        pool->n_tasks = n_tasks;
        atomic_store_explicit(&pool->next_task, 0, memory_order_relaxed);
        atomic_store_explicit(&pool->n_busy, (unsigned)pool->n_threads - 1, memory_order_relaxed);
        raise_generation(pool);
        do_tasks(pool, 0);
        wait_until_done(pool);
    }
    pthread_mutex_unlock(&pool->run_lock);
}
