#include "fault/failing.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
int __real_posix_memalign(void **memory, size_t alignment, size_t size);

/* Atomic, because matrices are unpacked on all threads and each needs buffers. */
static atomic_long n_allocations;
static atomic_long fail_at = -1; /* the number of the allocation that fails; -1: none */
static atomic_bool failed;

static bool fails(void) {
    if (atomic_fetch_add(&n_allocations, 1) != atomic_load(&fail_at))
        return false;
    failed = true;
    return true;
}

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);

void *__wrap_malloc(size_t size) { return fails() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t count, size_t size) { return fails() ? NULL : __real_calloc(count, size); }
void *__wrap_realloc(void *memory, size_t size) { return fails() ? NULL : __real_realloc(memory, size); }
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size) {
    return fails() ? 12 /* ENOMEM */ : __real_posix_memalign(memory, alignment, size);
}

void tern_fault_arm(long n) {
    failed = false;
    n_allocations = 0;
    fail_at = n;
}

long tern_fault_count(void) { return n_allocations; }
bool tern_fault_disarm(void) {
    fail_at = -1;
    return failed;
}

int tern_fault_run(tern_fault_scenario *scenario, const char *path, long most) {
    tern_fault_arm(-1);
    tern_error err = {0};
    if (scenario(path, &err)) {
        fprintf(stderr, "alloc_fault: %s\n", err.message);
        return 1;
    }
    const char *wanted = getenv("TERN_FAULT_STEP");
    long total = n_allocations, tolerated = 0, n_failed = 0;
    long step = wanted ? strtol(wanted, NULL, 10) : most ? total / most + 1 : 1;
    step = step < 1 ? 1 : step;
    for (long n = 0; n < total; n += step, n_failed++) {
        err = (tern_error){0};
        tern_fault_arm(n);
        tern_status status = scenario(path, &err);
        if (!tern_fault_disarm()) {
            fprintf(stderr, "alloc_fault: allocation %ld of %ld did not come\n", n, total);
            return 1;
        }
        if (status == TERN_OK) { /* it can live without that one (say, a look at a file that may be missing) */
            tolerated++;
        } else if (status != TERN_ERR_MEMORY || err.status != status || !err.message[0] || strchr(err.message, '\n')) {
            fprintf(stderr, "alloc_fault: %s: allocation %ld of %ld failed: status %d, message \"%s\"\n",
                    path ? path : "demo", n, total, (int)status, err.message);
            return 1;
        }
    }
    printf("%s: %ld allocations, %ld failed once; %ld without consequence\n", path ? path : "demo", total, n_failed,
           tolerated);
    return 0;
}
