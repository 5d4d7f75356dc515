/* Large memory: alignment, huge pages or the line that says how to get them, NUMA policies, locking and its limit. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/pages.h"

static const size_t sizes[] = {1, 64, 4097, (2 << 20) - 1, 2 << 20, (5 << 20) + 12345};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

/* A number of a file of /proc, "VmLck:  12 kB"; -1: no such line. */
static long long proc_number(const char *path, const char *key) {
    char line[256];
    long long value = -1;
    FILE *file = fopen(path, "r");
    if (!file)
        return -1;
    while (fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':')
            sscanf(line + strlen(key) + 1, "%lld", &value);
    fclose(file);
    return value;
}

static void test_plain_and_mapped(void **state) {
    (void)state;
    static const tern_pages_kind kinds[] = {TERN_PAGES_PLAIN, TERN_PAGES_MAPPED};
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < N_SIZES; i++) {
            tern_pages pages = {0};
            tern_error err;
            assert_int_equal(tern_pages_alloc(&pages, sizes[i], kinds[k], "a block", &err), TERN_OK);
            assert_true(pages.bytes >= sizes[i]);
            assert_int_equal((uintptr_t)pages.memory % (sizes[i] >= 2 << 20 ? 2 << 20 : 64), 0);
            memset(pages.memory, 0x5a, sizes[i]);
            tern_touch_pages(pages.memory, sizes[i]);
            tern_pages_free(&pages);
            assert_null(pages.memory);
        }
    tern_touch_pages(NULL, 0);
    tern_pages_will_need(NULL, 0);
    tern_pages_will_need("static", 6);
    tern_pages none = {0};
    tern_pages_free(&none);
}

static void test_too_large(void **state) {
    (void)state;
    for (int kind = TERN_PAGES_PLAIN; kind <= TERN_PAGES_HUGE; kind++) {
        tern_pages pages = {0};
        tern_error err;
        assert_int_not_equal(tern_pages_alloc(&pages, SIZE_MAX - 100, (tern_pages_kind)kind, "a block", &err), TERN_OK);
        assert_null(pages.memory);
        assert_non_null(strstr(err.message, "a block"));
    }
}

/* Either the system has them, or the message says how many and how to reserve them. */
static void test_huge(void **state) {
    (void)state;
    tern_pages pages = {0};
    tern_error err;
    long long n_free = proc_number("/proc/meminfo", "HugePages_Free"),
              kb = proc_number("/proc/meminfo", "Hugepagesize");
    size_t bytes = kb > 0 ? (size_t)kb * 1024 * 2 + 1 : 1; /* three pages */
    if (tern_pages_alloc(&pages, bytes, TERN_PAGES_HUGE, "the weights", &err) == TERN_OK) {
        assert_true(n_free >= 3);
        assert_int_equal(pages.bytes, (size_t)kb * 1024 * 3);
        memset(pages.memory, 1, bytes);
        tern_pages_free(&pages);
    } else if (kb > 0) {
        assert_int_equal(err.status, TERN_ERR_MEMORY);
        assert_non_null(strstr(err.message, "the weights: 3 huge pages of"));
        assert_non_null(strstr(err.message, "sysctl vm.nr_hugepages="));
    } else {
        assert_int_equal(err.status, TERN_ERR_UNSUPPORTED);
    }
}

/* On any Linux these are allowed for a mapping of one's own; what they change shows only on a machine with nodes. */
static void test_policies(void **state) {
    (void)state;
#ifdef __linux__
    tern_pages pages = {0};
    tern_error err;
    assert_int_equal(tern_pages_alloc(&pages, 6 << 20, TERN_PAGES_MAPPED, "a block", &err), TERN_OK);
    if (!tern_pages_interleave(pages.memory, pages.bytes)) {
        tern_pages_free(&pages);
        print_message("this system has no memory policies\n");
        skip();
    }
    assert_true(tern_pages_prefer_node((char *)pages.memory + 100, 1 << 20, 0));
    assert_true(tern_pages_prefer_node(pages.memory, 10, 0)); /* no whole page: nothing to do */
    assert_false(tern_pages_prefer_node(pages.memory, pages.bytes, -1));
    assert_false(tern_pages_prefer_node(pages.memory, pages.bytes, 1 << 20));
    memset(pages.memory, 7, pages.bytes);
    tern_pages_free(&pages);
#else
    skip();
#endif
}

/* The sanitizers replace mlock() by a function that does nothing. */
#if defined(__has_feature)
#define HAS_FEATURE(name) __has_feature(name)
#else
#define HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || HAS_FEATURE(address_sanitizer) ||                 \
    HAS_FEATURE(thread_sanitizer) || HAS_FEATURE(memory_sanitizer)
enum { LOCKS = 0 };
#else
enum { LOCKS = 1 };
#endif

static void test_lock(void **state) {
    (void)state;
    if (!LOCKS)
        skip();
    enum { BYTES = 32 << 10 };
    tern_pages pages = {0};
    tern_error err;
    assert_int_equal(tern_pages_alloc(&pages, BYTES, TERN_PAGES_MAPPED, "a block", &err), TERN_OK);
    long long before = proc_number("/proc/self/status", "VmLck");
    if (tern_lock_memory(pages.memory, BYTES, "a block", &err)) {
        tern_pages_free(&pages);
        print_message("not allowed here: %s\n", err.message);
        skip();
    }
    if (before >= 0)
        assert_int_equal(proc_number("/proc/self/status", "VmLck"), before + BYTES / 1024);
    tern_unlock_memory(pages.memory, BYTES);
    if (before >= 0)
        assert_int_equal(proc_number("/proc/self/status", "VmLck"), before);
    assert_int_equal(tern_lock_memory(NULL, 0, "nothing", &err), TERN_OK);
    tern_pages_free(&pages);
}

/* In a child without privileges that may lock nothing: 0 if the message is right. */
static int refused_lock(void *memory, size_t n_bytes) {
    tern_error err;
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_MEMLOCK, &none) || (geteuid() == 0 && setuid(65534)))
        return 77;
    if (tern_lock_memory(memory, n_bytes, "the model", &err) != TERN_ERR_MEMORY)
        return 1;
    return strstr(err.message, "the model: cannot lock 64 kB") && strstr(err.message, "may lock 0 kB") &&
                   strstr(err.message, "ulimit -l")
               ? 0
               : 2;
}

static void test_lock_refused(void **state) {
    (void)state;
    if (!LOCKS)
        skip();
    tern_pages pages = {0};
    tern_error err;
    int status = 0;
    assert_int_equal(tern_pages_alloc(&pages, 64 << 10, TERN_PAGES_MAPPED, "a block", &err), TERN_OK);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(refused_lock(pages.memory, 64 << 10));
    assert_int_equal(waitpid(child, &status, 0), child);
    tern_pages_free(&pages);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_and_mapped), cmocka_unit_test(test_too_large), cmocka_unit_test(test_huge),
        cmocka_unit_test(test_policies),         cmocka_unit_test(test_lock),      cmocka_unit_test(test_lock_refused),
    };
    return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
