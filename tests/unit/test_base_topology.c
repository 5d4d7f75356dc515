/* The order in which threads take CPUs, on made-up machines, and this one's. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/topology.h"

static char root[] = "/tmp/tern-topology-XXXXXX";

/* Write a file below the root and make the folders on the way. */
static void put(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        mkdir(path, 0700);
        *at = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "%s\n", text);
    fclose(file);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)info, (void)kind, (void)where;
    return remove(path);
}

static void clear(void) {
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    mkdir(root, 0700);
}

static int make_root(void **state) {
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state) {
    (void)state;
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* places as "cpu cpu cpu " */
static const char *cpus_of(const char *allowed, size_t max) {
    static char text[512];
    tern_cpu_place places[64];
    size_t n = tern_allowed_cpus_in(root, allowed, places, max);
    *text = 0;
    for (size_t i = 0; i < n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%d ", places[i].cpu);
    return text;
}

/* Two nodes of two cores of two threads: core c has CPUs c and c + 4. */
static void two_nodes(void) {
    clear();
    put("node/online", "0-1");
    put("node/has_memory", "0-1");
    put("node/node0/cpulist", "0-1,4-5");
    put("node/node1/cpulist", "2-3,6-7");
    for (int cpu = 0; cpu < 8; cpu++) {
        char name[64], siblings[16];
        snprintf(name, sizeof name, "cpu/cpu%d/topology/thread_siblings_list", cpu);
        snprintf(siblings, sizeof siblings, "%d,%d", cpu % 4, cpu % 4 + 4);
        put(name, siblings);
    }
}

static void test_two_nodes(void **state) {
    (void)state;
    two_nodes();
    assert_string_equal(cpus_of("0-7", 64), "0 2 1 3 4 6 5 7 "); /* cores first, nodes in turn */
    assert_string_equal(cpus_of("0-7", 3), "0 2 1 ");
    assert_string_equal(cpus_of("4-7", 64), "4 6 5 7 "); /* each is the only allowed thread of its core */
    assert_string_equal(cpus_of("0,4,5", 64), "0 5 4 ");
    assert_string_equal(cpus_of("2", 64), "2 ");
    assert_int_equal(tern_memory_nodes_in(root), 2);
    tern_cpu_place places[8];
    assert_int_equal(tern_allowed_cpus_in(root, "0-7", places, 8), 8);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(places[i].node, places[i].cpu % 4 / 2);
        assert_int_equal(places[i].sibling, places[i].cpu / 4);
    }
}

static void test_one_node(void **state) {
    (void)state;
    clear();
    put("node/online", "0");
    put("node/node0/cpulist", "0-3");
    for (int cpu = 0; cpu < 4; cpu++) { /* neighbours share a core */
        char name[64];
        snprintf(name, sizeof name, "cpu/cpu%d/topology/thread_siblings_list", cpu);
        put(name, cpu < 2 ? "0-1" : "2-3");
    }
    assert_string_equal(cpus_of("0-3", 64), "0 2 1 3 ");
    assert_int_equal(tern_memory_nodes_in(root), 1);
}

/* A system that says nothing, or nonsense: the CPUs in their order. */
static void test_silence(void **state) {
    (void)state;
    clear();
    assert_string_equal(cpus_of("0-2,5", 64), "0 1 2 5 ");
    assert_string_equal(cpus_of("", 64), "");
    assert_string_equal(cpus_of("x", 64), "");
    assert_string_equal(cpus_of("3-1", 64), "");
    assert_string_equal(cpus_of("1023-99999999", 64), "1023 ");
    assert_int_equal(tern_memory_nodes_in(root), 1);
    put("node/online", "garbage");
    assert_int_equal(tern_memory_nodes_in(root), 1);
}

static void test_this_machine(void **state) {
    (void)state;
    static tern_cpu_place places[TERN_MAX_CPUS];
    size_t n = tern_allowed_cpus(places, TERN_MAX_CPUS);
    assert_true(tern_memory_nodes() >= 1);
    for (size_t i = 0; i < n; i++) {
        assert_in_range(places[i].cpu, 0, TERN_MAX_CPUS - 1);
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(places[i].cpu, places[j].cpu);
    }
#ifdef __linux__
    assert_true(n >= (size_t)tern_cpu_count()); /* which a container's quota may lower */
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_nodes),
        cmocka_unit_test(test_one_node),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_this_machine),
    };
    return cmocka_run_group_tests_name("topology", tests, make_root, remove_root);
}
