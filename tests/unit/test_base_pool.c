/* The thread pool: every task once, many small steps, several callers. Run
 * under ThreadSanitizer too (plain, non-atomic counters show a missing order). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/pool.h"

static tern_pool *create(int n_threads) {
    tern_pool *pool = NULL;
    tern_error err;
    if (tern_pool_create(n_threads, &pool, &err))
        fail_msg("%s", err.message);
    assert_int_equal(tern_pool_threads(pool), n_threads);
    return pool;
}

typedef struct step {
    int n_threads;
    unsigned *hits; /* [n_tasks], plain: one task, one writer */
    atomic_int n_bad_worker;
} step;

static void hit(void *context, size_t task, int worker) {
    step *s = context;
    s->hits[task]++;
    if (worker < 0 || worker >= s->n_threads)
        atomic_fetch_add(&s->n_bad_worker, 1);
}

static const int thread_counts[] = {1, 2, 3, 4, 7};
enum { N_THREAD_COUNTS = sizeof thread_counts / sizeof *thread_counts, MAX_TASKS = 1000 };

static void test_each_task_once(void **state) {
    (void)state;
    static const size_t task_counts[] = {0, 1, 2, 3, 7, 8, 64, MAX_TASKS};
    for (size_t t = 0; t < N_THREAD_COUNTS; t++) {
        tern_pool *pool = create(thread_counts[t]);
        for (size_t c = 0; c < sizeof task_counts / sizeof *task_counts; c++) {
            unsigned hits[MAX_TASKS + 1] = {0};
            step s = {.n_threads = thread_counts[t], .hits = hits};
            tern_pool_run(pool, task_counts[c], hit, &s);
            for (size_t i = 0; i <= MAX_TASKS; i++)
                assert_int_equal(hits[i], i < task_counts[c]);
            assert_int_equal(atomic_load(&s.n_bad_worker), 0);
        }
        tern_pool_free(pool);
    }
}

/* What a forward pass does: thousands of steps of microseconds, each reading
 * what the step before wrote, the number of tasks changing all the time. */
enum { WIDTH = 16 };

typedef struct chain {
    unsigned values[2][WIDTH];
    int from;
} chain;

static void advance(void *context, size_t task, int worker) {
    (void)worker;
    chain *c = context;
    const unsigned *old = c->values[c->from];
    c->values[!c->from][task] = old[task] * 3 + old[(task + 1) % WIDTH];
}

static void advance_alone(chain *c) {
    for (size_t task = 0; task < WIDTH; task++)
        advance(c, task, 0);
}

static void run_chain(tern_pool *pool, int n_steps) {
    chain c = {0}, expected = {0};
    for (unsigned i = 0; i < WIDTH; i++)
        c.values[0][i] = expected.values[0][i] = i + 1;
    for (int i = 0; i < n_steps; i++) {
        tern_pool_run(pool, WIDTH, advance, &c);
        c.from = !c.from;
        advance_alone(&expected);
        expected.from = !expected.from;
    }
    assert_memory_equal(c.values, expected.values, sizeof c.values);
}

static void test_many_small_steps(void **state) {
    (void)state;
    for (size_t t = 0; t < N_THREAD_COUNTS; t++) {
        tern_pool *pool = create(thread_counts[t]);
        run_chain(pool, thread_counts[t] <= 2 ? 20000 : 2000); /* more threads than CPUs take turns */
        tern_pool_free(pool);
    }
}

/* Pauses that let the workers fall asleep between steps. */
static void test_steps_after_sleep(void **state) {
    (void)state;
    tern_pool *pool = create(3);
    for (int i = 0; i < 20; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
        run_chain(pool, 3);
    }
    tern_pool_free(pool);
}

/* Tasks of very different length: the caller must sleep until the slowest is done. */
static void slow_or_fast(void *context, size_t task, int worker) {
    (void)worker;
    unsigned *done = context;
    if (task % 5 == 0)
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    done[task] = 1;
}

static void test_uneven_tasks(void **state) {
    (void)state;
    tern_pool *pool = create(4);
    for (int round = 0; round < 10; round++) {
        unsigned done[23] = {0};
        tern_pool_run(pool, 23, slow_or_fast, done);
        for (int i = 0; i < 23; i++)
            assert_int_equal(done[i], 1);
    }
    tern_pool_free(pool);
}

typedef struct caller {
    tern_pool *pool;
    atomic_int *n_inside; /* callers whose step is running: never two */
    atomic_int *n_overlaps;
    unsigned sum;
} caller;

static void count_inside(void *context, size_t task, int worker) {
    (void)worker;
    caller *c = context;
    if (task == 0) {
        if (atomic_fetch_add(c->n_inside, 1) != 0)
            atomic_fetch_add(c->n_overlaps, 1);
        c->sum++;
        atomic_fetch_sub(c->n_inside, 1);
    }
}

static void *call_often(void *argument) {
    caller *c = argument;
    for (int i = 0; i < 1500; i++)
        tern_pool_run(c->pool, (size_t)(1 + i % 5), count_inside, c);
    return NULL;
}

static void test_several_callers(void **state) {
    (void)state;
    enum { N_CALLERS = 4 };
    for (int n_threads = 1; n_threads <= 3; n_threads++) {
        tern_pool *pool = create(n_threads);
        atomic_int n_inside = 0, n_overlaps = 0;
        caller callers[N_CALLERS];
        pthread_t threads[N_CALLERS];
        for (int i = 0; i < N_CALLERS; i++) {
            callers[i] = (caller){pool, &n_inside, &n_overlaps, 0};
            assert_int_equal(pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
        }
        for (int i = 0; i < N_CALLERS; i++) {
            pthread_join(threads[i], NULL);
            assert_int_equal(callers[i].sum, 1500);
        }
        assert_int_equal(atomic_load(&n_overlaps), 0); /* they take turns */
        tern_pool_free(pool);
    }
}

static void test_create_and_free(void **state) {
    (void)state;
    for (int i = 0; i < 50; i++) /* freed while the workers are still starting */
        tern_pool_free(create(1 + i % 5));
    tern_pool_free(NULL);
    tern_pool *pool = NULL;
    tern_error err;
    static const int bad[] = {0, -1, 4097};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(tern_pool_create(bad[i], &pool, &err), TERN_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "1 to 4096"));
        assert_null(pool);
    }
}

/* Many more threads than CPUs, and every step another function with another context: a worker that comes late must
 * never take a task of a newer step with what it remembers of an older one. */
typedef struct labelled {
    unsigned step;
    unsigned seen[WIDTH]; /* plain: one task, one writer */
} labelled;

static void label_even(void *context, size_t task, int worker) {
    (void)worker;
    labelled *l = context;
    l->seen[task] += l->step * 2;
}

static void label_odd(void *context, size_t task, int worker) {
    (void)worker;
    labelled *l = context;
    l->seen[task] += l->step * 2 + 1;
}

static void test_late_workers(void **state) {
    (void)state;
    static const int many[] = {2, 8, 64};
    for (size_t t = 0; t < sizeof many / sizeof *many; t++) {
        tern_pool *pool = create(many[t]);
        for (unsigned number = 1; number <= 2000; number++) {
            size_t n = 2 + number % (WIDTH - 1);
            labelled l = {.step = number};
            tern_pool_run(pool, n, number % 2 ? label_odd : label_even, &l);
            for (size_t i = 0; i < WIDTH; i++)
                assert_int_equal(l.seen[i], i < n ? number * 2 + number % 2 : 0);
        }
        tern_pool_free(pool);
    }
}

/* A worker that the scheduler has put aside in a task must not hold up the tasks that were meant for it. */
enum { STALL_TASKS = 8 };

typedef struct stall {
    atomic_int n_done;
    atomic_bool stalled, gave_up;
} stall;

static void stall_once(void *context, size_t task, int worker) {
    (void)task, (void)worker;
    stall *s = context;
    if (!atomic_exchange(&s->stalled, true)) { /* the first task waits for all the others */
        for (int i = 0; i < 10000 && atomic_load(&s->n_done) < STALL_TASKS - 1; i++)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        if (atomic_load(&s->n_done) < STALL_TASKS - 1)
            atomic_store(&s->gave_up, true);
    }
    atomic_fetch_add(&s->n_done, 1);
}

static void test_stalled_worker(void **state) {
    (void)state;
    for (int n_threads = 2; n_threads <= 3; n_threads++) {
        tern_pool *pool = create(n_threads);
        for (int round = 0; round < 20; round++) {
            stall s = {0};
            tern_pool_run(pool, STALL_TASKS, stall_once, &s);
            assert_false(atomic_load(&s.gave_up));
            assert_int_equal(atomic_load(&s.n_done), STALL_TASKS);
        }
        tern_pool_free(pool);
    }
}

enum { SIGNAL_THREADS = 4 };
static const int user_signals[] = {SIGINT, SIGTERM, SIGUSR1, SIGALRM, SIGCHLD};

typedef struct signal_step {
    atomic_int n_inside;
    atomic_bool blocked[SIGNAL_THREADS]; /* all of user_signals */
} signal_step;

static void look_at_mask(void *context, size_t task, int worker) {
    (void)task;
    signal_step *s = context;
    sigset_t mask;
    bool all = pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0;
    for (size_t i = 0; i < sizeof user_signals / sizeof *user_signals; i++)
        all = all && sigismember(&mask, user_signals[i]) == 1;
    atomic_store(&s->blocked[worker], all);
    atomic_fetch_add(&s->n_inside, 1);
    while (atomic_load(&s->n_inside) < SIGNAL_THREADS) /* one task each, so that every worker gets one */
        sched_yield();
}

/* An application's handlers run on its own threads: the workers block signals, the caller's mask stays. */
static void test_workers_take_no_signals(void **state) {
    (void)state;
    sigset_t before, after;
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &before), 0);
    tern_pool *pool = create(SIGNAL_THREADS);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &after), 0);
    for (size_t i = 0; i < sizeof user_signals / sizeof *user_signals; i++)
        assert_int_equal(sigismember(&after, user_signals[i]), sigismember(&before, user_signals[i]));
    assert_int_equal(sigismember(&after, SIGINT), 0);
    signal_step s = {0};
    tern_pool_run(pool, SIGNAL_THREADS, look_at_mask, &s);
    assert_false(atomic_load(&s.blocked[0])); /* the caller */
    for (int i = 1; i < SIGNAL_THREADS; i++)
        assert_true(atomic_load(&s.blocked[i]));
    tern_pool_free(pool);
}

#ifdef __linux__
enum { PINNED_THREADS = 3 };

typedef struct pin_step {
    atomic_int n_inside;
    cpu_set_t cpus[PINNED_THREADS];
} pin_step;

static void look_at_cpus(void *context, size_t task, int worker) {
    (void)task;
    pin_step *s = context;
    pthread_getaffinity_np(pthread_self(), sizeof s->cpus[worker], &s->cpus[worker]);
    atomic_fetch_add(&s->n_inside, 1);
    while (atomic_load(&s->n_inside) < PINNED_THREADS)
        sched_yield();
}

/* Workers have a CPU each; the caller has its own only between enter and leave. */
static void test_pinning(void **state) {
    (void)state;
    tern_error err;
    cpu_set_t before, after;
    assert_int_equal(pthread_getaffinity_np(pthread_self(), sizeof before, &before), 0);
    tern_pool *pool = create(PINNED_THREADS);
    tern_pool_enter(pool); /* not pinned: nothing happens */
    assert_int_equal(pthread_getaffinity_np(pthread_self(), sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&before, &after));
    tern_pool_leave(pool);
    tern_pool_enter(NULL);
    tern_pool_leave(NULL);
    if (tern_pool_pin(pool, &err)) {
        tern_pool_free(pool);
        print_message("%s\n", err.message);
        skip();
    }
    for (int round = 0; round < 2; round++) {
        pin_step s = {0};
        tern_pool_enter(pool);
        tern_pool_run(pool, PINNED_THREADS, look_at_cpus, &s);
        tern_pool_leave(pool);
        for (int i = 0; i < PINNED_THREADS; i++) {
            assert_int_equal(CPU_COUNT(&s.cpus[i]), 1);
            for (int j = 0; j < i && i < CPU_COUNT(&before); j++)
                assert_false(CPU_EQUAL(&s.cpus[i], &s.cpus[j]));
            assert_true(tern_pool_node(pool, i) >= 0);
        }
        assert_int_equal(pthread_getaffinity_np(pthread_self(), sizeof after, &after), 0);
        assert_true(CPU_EQUAL(&before, &after));
    }
    tern_pool_free(pool);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_task_once),
        cmocka_unit_test(test_many_small_steps),
        cmocka_unit_test(test_steps_after_sleep),
        cmocka_unit_test(test_uneven_tasks),
        cmocka_unit_test(test_several_callers),
        cmocka_unit_test(test_create_and_free),
        cmocka_unit_test(test_late_workers),
        cmocka_unit_test(test_stalled_worker),
        cmocka_unit_test(test_workers_take_no_signals),
#ifdef __linux__
        cmocka_unit_test(test_pinning),
#endif
    };
    return cmocka_run_group_tests_name("thread pool", tests, NULL, NULL);
}
