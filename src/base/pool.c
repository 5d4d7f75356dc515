#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/topology.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define cpu_relax() _mm_pause()
#elif defined(__aarch64__)
#define cpu_relax() __asm__ volatile("yield")
#else
#define cpu_relax() ((void)0)
#endif

/* How long to look before sleeping. By the clock and not by a count, because what cpu_relax() takes differs a
 * hundredfold: 140 cycles on one x86, 10 on another, 1 on most Arm cores. The clock is read every LOOKS looks.
 *
 * HOT covers the gaps inside a token (a norm, a quantisation: some microseconds). From then on the CPU is offered to
 * others before each round of looks: when there are more threads than free CPUs, the one that is waited for is among
 * them. STEP covers the gap between two tokens (sampling, detokenising, the application's callback), which waking a
 * sleeper would add 25 to 50 us to; an idle session burns no more than this once. DONE is for the caller that waits for
 * the others' last tasks: longer than a decode step's tasks take, for if it lasts longer, another one has probably been
 * put aside by the scheduler, which can move it to a CPU that falls idle. */
#define HOT_SECONDS 20e-6
#define STEP_SECONDS 1e-3
#define DONE_SECONDS 50e-6
enum { LOOKS = 32, APART = 128 }; /* APART: two cache lines, because x86 fetches them in pairs */

/* A worker's share of the step under way: tasks [end - left, end), claimed by lowering `left`, first by the worker
 * itself, then by any that has run out of tasks. A claim that found left > 0 keeps the step from ending until its task
 * is counted off `pending`; that is why the other fields, plain as they are, may be read after a claim and only after
 * one, and why a worker that comes late to a step gets a task of the current step or none. */
typedef struct lane {
    _Alignas(APART) atomic_llong left; /* <= 0: none; several late claims may push it below */
    long long end;
    tern_pool_fn fn;
    void *context;
    atomic_bool asleep;  /* the worker; written under sleep_lock */
    pthread_cond_t wake; /* with sleep_lock */
} lane;

struct tern_pool {
    int n_threads;
    pthread_t *threads; /* [n_threads - 1]; worker 0 is the caller */
    int n_started;
    lane *lanes;            /* [n_threads] */
    tern_cpu_place *places; /* [n_threads] where each is pinned; NULL: nowhere */
#ifdef __linux__
    cpu_set_t caller_cpus; /* what the caller may use when it is not between enter and leave */
    bool caller_pinned;
#endif
    pthread_mutex_t run_lock; /* one caller at a time */

    pthread_mutex_t sleep_lock;
    pthread_cond_t done;
    atomic_bool caller_asleep; /* written under sleep_lock */
    atomic_bool quit;

    _Alignas(APART) atomic_llong pending; /* tasks of the step that are not finished */
};

typedef struct worker_start {
    tern_pool *pool;
    int index;
} worker_start;

/* Look at *word until it is positive (or, !positive, until it is not), or *quit is set; false: neither has come about
 * in `limit` seconds. */
static bool look(atomic_llong *word, bool positive, atomic_bool *quit, double limit) {
    for (double start = 0;;) {
        for (int i = 0; i < LOOKS; i++) {
            if ((atomic_load_explicit(word, memory_order_acquire) > 0) == positive)
                return true;
            cpu_relax();
        }
        if (atomic_load_explicit(quit, memory_order_acquire))
            return true;
        double now = tern_seconds();
        if (start == 0)
            start = now;
        else if (now - start >= limit)
            return false;
        else if (now - start >= HOT_SECONDS)
            sched_yield();
    }
}

/* Sleepers and wakers agree by sequentially consistent order: the one raises `asleep` and then looks at the word, the
 * other changes the word and then looks at `asleep`; so one of the two sees the other's write. */

/* Until there are tasks in the lane; false: the pool is to be freed. */
static bool wait_for_tasks(tern_pool *pool, lane *own) {
    if (!look(&own->left, true, &pool->quit, STEP_SECONDS)) {
        pthread_mutex_lock(&pool->sleep_lock);
        atomic_store(&own->asleep, true);
        while (atomic_load(&own->left) <= 0 && !atomic_load(&pool->quit))
            pthread_cond_wait(&own->wake, &pool->sleep_lock);
        atomic_store(&own->asleep, false);
        pthread_mutex_unlock(&pool->sleep_lock);
    }
    return !atomic_load(&pool->quit);
}

static void wake_worker(tern_pool *pool, lane *worker) {
    if (!atomic_load(&worker->asleep))
        return;
    pthread_mutex_lock(&pool->sleep_lock);
    pthread_cond_signal(&worker->wake);
    pthread_mutex_unlock(&pool->sleep_lock);
}

static void wait_until_done(tern_pool *pool) {
    if (look(&pool->pending, false, &pool->quit, DONE_SECONDS))
        return;
    pthread_mutex_lock(&pool->sleep_lock);
    atomic_store(&pool->caller_asleep, true);
    while (atomic_load(&pool->pending) > 0)
        pthread_cond_wait(&pool->done, &pool->sleep_lock);
    atomic_store(&pool->caller_asleep, false);
    pthread_mutex_unlock(&pool->sleep_lock);
}

/* Claim and do tasks of a lane until none is left there. */
static void empty_lane(tern_pool *pool, lane *from, int worker) {
    long long n = 0;
    while (atomic_load_explicit(&from->left, memory_order_relaxed) > 0) {
        long long left = atomic_fetch_sub_explicit(&from->left, 1, memory_order_acquire);
        if (left <= 0)
            break;
        from->fn(from->context, (size_t)(from->end - left), worker);
        n++;
    }
    if (n == 0 || atomic_fetch_sub(&pool->pending, n) != n || !atomic_load(&pool->caller_asleep))
        return;
    pthread_mutex_lock(&pool->sleep_lock);
    pthread_cond_signal(&pool->done);
    pthread_mutex_unlock(&pool->sleep_lock);
}

/* The worker's own tasks, then what others have not come to. */
static void work(tern_pool *pool, int worker) {
    for (int i = 0; i < pool->n_threads; i++)
        empty_lane(pool, &pool->lanes[(worker + i) % pool->n_threads], worker);
}

static void *worker_main(void *argument) {
    worker_start start = *(worker_start *)argument;
    free(argument);
    while (wait_for_tasks(start.pool, &start.pool->lanes[start.index]))
        work(start.pool, start.index);
    return NULL;
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

/* Memory, locks and threads; what is missing after a failure is NULL or not counted in n_started. */
static bool set_up(tern_pool *pool) {
    pthread_mutex_init(&pool->run_lock, NULL);
    pthread_mutex_init(&pool->sleep_lock, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->threads = calloc((size_t)pool->n_threads, sizeof *pool->threads);
    void *lanes = NULL;
    if (!pool->threads || posix_memalign(&lanes, APART, (size_t)pool->n_threads * sizeof *pool->lanes))
        return false;
    pool->lanes = lanes;
    for (int i = 0; i < pool->n_threads; i++) {
        pool->lanes[i] = (lane){0};
        pthread_cond_init(&pool->lanes[i].wake, NULL);
    }
    sigset_t old = block_signals(); /* threads inherit the mask of the one that creates them */
    bool ok = start_workers(pool);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return ok;
}

tern_status tern_pool_create(int n_threads, tern_pool **out, tern_error *err) {
    if (n_threads < 1 || n_threads > 4096)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%d threads: the number of threads must be 1 to 4096", n_threads);
    void *memory = NULL;
    if (posix_memalign(&memory, APART, sizeof(tern_pool)))
        return tern_fail_memory(err, "the thread pool");
    tern_pool *pool = memory;
    *pool = (tern_pool){.n_threads = n_threads};
    if (!set_up(pool)) {
        tern_pool_free(pool);
        return tern_fail(err, TERN_ERR_MEMORY, "cannot start %d threads", n_threads);
    }
    *out = pool;
    return TERN_OK;
}

void tern_pool_free(tern_pool *pool) {
    if (!pool)
        return;
    atomic_store(&pool->quit, true);
    for (int i = 1; i <= pool->n_started; i++)
        wake_worker(pool, &pool->lanes[i]);
    for (int i = 0; i < pool->n_started; i++)
        pthread_join(pool->threads[i], NULL);
    for (int i = 0; pool->lanes && i < pool->n_threads; i++)
        pthread_cond_destroy(&pool->lanes[i].wake);
    pthread_cond_destroy(&pool->done);
    pthread_mutex_destroy(&pool->sleep_lock);
    pthread_mutex_destroy(&pool->run_lock);
    free(pool->lanes);
    free(pool->places);
    free(pool->threads);
    free(pool);
}

int tern_pool_threads(const tern_pool *pool) { return pool->n_threads; }
int tern_pool_node(const tern_pool *pool, int worker) { return pool->places ? pool->places[worker].node : 0; }

/* ------------------------------------------------------------------ pinning */

#ifdef __linux__
static bool pin_thread(pthread_t thread, int cpu) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    return pthread_setaffinity_np(thread, sizeof one, &one) == 0;
}

tern_status tern_pool_pin(tern_pool *pool, tern_error *err) {
    size_t n = (size_t)pool->n_threads;
    tern_cpu_place *places = malloc((n > TERN_MAX_CPUS ? n : TERN_MAX_CPUS) * sizeof *places);
    if (!places)
        return tern_fail_memory(err, "pinning threads");
    size_t n_cpus = tern_allowed_cpus(places, TERN_MAX_CPUS);
    bool ok = n_cpus > 0;
    for (size_t i = n_cpus; ok && i < n; i++)
        places[i] = places[i - n_cpus];
    for (size_t i = 1; ok && i < n; i++)
        ok = pin_thread(pool->threads[i - 1], places[i].cpu);
    if (!ok) {
        free(places);
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "the system refuses to keep threads on a CPU each");
    }
    free(pool->places);
    pool->places = places;
    return TERN_OK;
}

void tern_pool_enter(tern_pool *pool) {
    if (pool && pool->places)
        pool->caller_pinned =
            pthread_getaffinity_np(pthread_self(), sizeof pool->caller_cpus, &pool->caller_cpus) == 0 &&
            pin_thread(pthread_self(), pool->places[0].cpu);
}

void tern_pool_leave(tern_pool *pool) {
    if (pool && pool->places && pool->caller_pinned)
        pthread_setaffinity_np(pthread_self(), sizeof pool->caller_cpus, &pool->caller_cpus);
    if (pool)
        pool->caller_pinned = false; /* the mask is that thread's, at that time */
}
#else
tern_status tern_pool_pin(tern_pool *pool, tern_error *err) {
    (void)pool;
    return tern_fail(err, TERN_ERR_UNSUPPORTED, "this system cannot keep threads on a CPU each");
}

void tern_pool_enter(tern_pool *pool) { (void)pool; }
void tern_pool_leave(tern_pool *pool) { (void)pool; }
#endif

/* ------------------------------------------------------------------ running */

/* Give each lane its stretch of the tasks; from then on its worker and all others may claim them. */
static void hand_out(tern_pool *pool, size_t n_tasks, tern_pool_fn fn, void *context) {
    size_t n_lanes = n_tasks < (size_t)pool->n_threads ? n_tasks : (size_t)pool->n_threads;
    size_t share = n_tasks / n_lanes, longer = n_tasks % n_lanes; /* the first `longer` lanes get one more */
    atomic_store_explicit(&pool->pending, (long long)n_tasks, memory_order_relaxed);
    for (size_t i = n_lanes, end = n_tasks; i-- > 0;) { /* the caller's own last */
        size_t n = share + (i < longer);
        lane *to = &pool->lanes[i];
        to->end = (long long)end;
        to->fn = fn;
        to->context = context;
        atomic_store(&to->left, (long long)n);
        if (i > 0)
            wake_worker(pool, to);
        end -= n;
    }
}

void tern_pool_run(tern_pool *pool, size_t n_tasks, tern_pool_fn fn, void *context) {
    pthread_mutex_lock(&pool->run_lock);
    if (pool->n_threads == 1 || n_tasks <= 1) {
        for (size_t task = 0; task < n_tasks; task++)
            fn(context, task, 0);
    } else {
        hand_out(pool, n_tasks, fn, context);
        work(pool, 0);
        wait_until_done(pool);
    }
    pthread_mutex_unlock(&pool->run_lock);
}
