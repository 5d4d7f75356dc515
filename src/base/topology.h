/* Which CPUs this process may use, in the order that threads should take them,
 * and which memory nodes (NUMA) the machine has. */
#ifndef TERN_BASE_TOPOLOGY_H
#define TERN_BASE_TOPOLOGY_H

#include <stddef.h>

enum { TERN_MAX_CPUS = 1024 }; /* what a cpu_set_t of the C library holds */

typedef struct tern_cpu_place {
    int cpu;     /* the system's number */
    int node;    /* of memory; 0 if the system does not say */
    int sibling; /* 0: the first allowed hardware thread of its core, 1: the second, ... */
} tern_cpu_place;

/* The CPUs that the calling thread may run on -> places [up to max], first one of each core, alternating between the
 * memory nodes, then the cores' second threads, and so on. Their number; 0 where the system has no such thing
 * (pinning is Linux only). */
size_t tern_allowed_cpus(tern_cpu_place *places, size_t max);

/* Number of the memory nodes that have CPUs or memory: 1 on a machine that is not NUMA. */
int tern_memory_nodes(void);

/* The two with another root than "/sys/devices/system", and a list like "0-3,8" of CPUs that may be used; for tests. */
size_t tern_allowed_cpus_in(const char *root, const char *allowed, tern_cpu_place *places, size_t max);
int tern_memory_nodes_in(const char *root);

#endif
