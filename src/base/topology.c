#include "base/topology.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __linux__
#include <sched.h>
#endif

enum { MAX_NODES = 1024 };

typedef struct id_set {
    bool has[TERN_MAX_CPUS];
} id_set;

/* "0-3,8,10-11" -> set; what is no such list ends it. */
static void parse_list(const char *text, id_set *set) {
    *set = (id_set){{false}};
    for (char *end;; text = end + 1) {
        long first = strtol(text, &end, 10), last = first;
        if (end == text || first < 0)
            return;
        if (*end == '-')
            last = strtol(end + 1, &end, 10);
        for (long i = first; i <= last && i < TERN_MAX_CPUS; i++)
            set->has[i] = true;
        if (*end != ',')
            return;
    }
}

/* The list in a file of sysfs; false: there is no such file. */
static bool read_list(const char *root, const char *name, id_set *set) {
    char path[512], text[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", root, name) >= sizeof path)
        return false;
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool ok = fgets(text, sizeof text, file) != NULL;
    fclose(file);
    if (ok)
        parse_list(text, set);
    return ok;
}

static void find_nodes(const char *root, int node_of[TERN_MAX_CPUS]) {
    id_set nodes, cpus;
    memset(node_of, 0, TERN_MAX_CPUS * sizeof *node_of);
    if (!read_list(root, "node/online", &nodes))
        return;
    for (int node = 0; node < MAX_NODES; node++) {
        char name[64];
        snprintf(name, sizeof name, "node/node%d/cpulist", node);
        if (!nodes.has[node] || !read_list(root, name, &cpus))
            continue;
        for (int cpu = 0; cpu < TERN_MAX_CPUS; cpu++)
            if (cpus.has[cpu])
                node_of[cpu] = node;
    }
}

/* How many allowed hardware threads of the same core come before this one. */
static int sibling_rank(const char *root, const id_set *allowed, int cpu) {
    id_set siblings;
    char name[64];
    int rank = 0;
    snprintf(name, sizeof name, "cpu/cpu%d/topology/thread_siblings_list", cpu);
    if (read_list(root, name, &siblings))
        for (int i = 0; i < cpu; i++)
            rank += siblings.has[i] && allowed->has[i];
    return rank;
}

typedef struct ranked {
    tern_cpu_place place;
    int turn; /* how many of its node and sibling rank come before it */
} ranked;

static int compare(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->place.sibling != y->place.sibling)
        return x->place.sibling < y->place.sibling ? -1 : 1;
    if (x->turn != y->turn)
        return x->turn < y->turn ? -1 : 1;
    return (x->place.cpu > y->place.cpu) - (x->place.cpu < y->place.cpu);
}

static size_t order(const char *root, const id_set *allowed, tern_cpu_place *places, size_t max) {
    int node_of[TERN_MAX_CPUS];
    ranked all[TERN_MAX_CPUS];
    size_t n = 0;
    find_nodes(root, node_of);
    for (int cpu = 0; cpu < TERN_MAX_CPUS; cpu++) {
        if (!allowed->has[cpu])
            continue;
        ranked next = {{cpu, node_of[cpu], sibling_rank(root, allowed, cpu)}, 0};
        for (size_t i = 0; i < n; i++)
            next.turn += all[i].place.node == next.place.node && all[i].place.sibling == next.place.sibling;
        all[n++] = next;
    }
    qsort(all, n, sizeof *all, compare);
    if (n > max)
        n = max;
    for (size_t i = 0; i < n; i++)
        places[i] = all[i].place;
    return n;
}

size_t tern_allowed_cpus_in(const char *root, const char *allowed, tern_cpu_place *places, size_t max) {
    id_set set;
    parse_list(allowed, &set);
    return order(root, &set, places, max);
}

size_t tern_allowed_cpus(tern_cpu_place *places, size_t max) {
#ifdef __linux__
    cpu_set_t mask;
    if (sched_getaffinity(0, sizeof mask, &mask))
        return 0;
    id_set set = {{false}};
    for (int cpu = 0; cpu < TERN_MAX_CPUS; cpu++)
        set.has[cpu] = CPU_ISSET(cpu, &mask);
    return order("/sys/devices/system", &set, places, max);
#else
    (void)places, (void)max;
    return 0;
#endif
}

int tern_memory_nodes_in(const char *root) {
    id_set nodes;
    int n = 0;
    if (read_list(root, "node/has_memory", &nodes) || read_list(root, "node/online", &nodes))
        for (int i = 0; i < MAX_NODES; i++)
            n += nodes.has[i];
    return n ? n : 1;
}

int tern_memory_nodes(void) { return tern_memory_nodes_in("/sys/devices/system"); }
