#include "base/pages.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#endif

#include "base/mem.h"

enum { ADVISED_PAGE = 2 << 20 };

/* A number of /proc/meminfo, "HugePages_Free:  12"; 0 if there is none. */
static unsigned long long memory_info(const char *key) {
    unsigned long long value = 0;
    char line[128];
    size_t length = strlen(key);
    FILE *file = fopen("/proc/meminfo", "re");
    if (!file)
        return 0;
    while (fgets(line, sizeof line, file))
        if (strncmp(line, key, length) == 0 && line[length] == ':')
            value = strtoull(line + length + 1, NULL, 10);
    fclose(file);
    return value;
}

/* An anonymous mapping that begins where a huge page may; NULL: no memory. */
static void *map_aligned(size_t bytes) {
    if (bytes > SIZE_MAX - ADVISED_PAGE)
        return NULL;
    char *memory = mmap(NULL, bytes + ADVISED_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    size_t before = (ADVISED_PAGE - (uintptr_t)memory % ADVISED_PAGE) % ADVISED_PAGE;
    if (before)
        munmap(memory, before);
    munmap(memory + before + bytes, ADVISED_PAGE - before);
#ifdef MADV_HUGEPAGE
    madvise(memory + before, bytes, MADV_HUGEPAGE);
#endif
    return memory + before;
}

static bool round_up(size_t bytes, size_t unit, size_t *rounded) {
    if (bytes > SIZE_MAX - unit)
        return false;
    *rounded = (bytes + unit - 1) / unit * unit;
    return true;
}

static tern_status map_huge(tern_pages *pages, size_t bytes, const char *what, tern_error *err) {
#ifdef MAP_HUGETLB
    unsigned long long page_kb = memory_info("Hugepagesize"), n_free = memory_info("HugePages_Free"),
                       n_reserved = memory_info("HugePages_Rsvd"), n_total = memory_info("HugePages_Total");
    size_t rounded;
    if (page_kb == 0)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: this system has no huge pages that can be reserved", what);
    if (!round_up(bytes, (size_t)page_kb << 10, &rounded))
        return tern_fail_memory(err, what);
    void *memory = mmap(NULL, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    if (memory != MAP_FAILED) {
        *pages = (tern_pages){memory, rounded, true};
        return TERN_OK;
    }
    unsigned long long wanted = rounded / ((size_t)page_kb << 10),
                       usable = n_free > n_reserved ? n_free - n_reserved : 0;
    return tern_fail(err, TERN_ERR_MEMORY,
                     "%s: %llu huge page%s of %llu kB needed, but %llu free; reserve them with: sysctl "
                     "vm.nr_hugepages=%llu",
                     what, wanted, wanted == 1 ? "" : "s", page_kb, usable, n_total - usable + wanted);
#else
    (void)pages, (void)bytes;
    return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: this system has no huge pages that can be reserved", what);
#endif
}

tern_status tern_pages_alloc(tern_pages *pages, size_t bytes, tern_pages_kind kind, const char *what, tern_error *err) {
    if (bytes == 0)
        bytes = 1;
    if (kind == TERN_PAGES_HUGE)
        return map_huge(pages, bytes, what, err);
    size_t rounded = bytes;
    void *memory = NULL;
    if (kind == TERN_PAGES_PLAIN)
        memory = tern_aligned_alloc(bytes);
    else if (round_up(bytes, (size_t)sysconf(_SC_PAGESIZE), &rounded))
        memory = map_aligned(rounded);
    if (!memory)
        return tern_fail_memory(err, what);
    *pages = (tern_pages){memory, rounded, kind != TERN_PAGES_PLAIN};
    return TERN_OK;
}

void tern_pages_free(tern_pages *pages) {
    if (pages->mapped)
        munmap(pages->memory, pages->bytes);
    else
        tern_aligned_free(pages->memory);
    *pages = (tern_pages){0};
}

#ifdef __linux__
/* The C library has no mbind(); libnuma's is this system call. */
static bool set_policy(void *bytes, size_t n_bytes, int mode, const unsigned long *nodes, unsigned long n_bits) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)bytes + page - 1) / page * page, end = ((uintptr_t)bytes + n_bytes) / page * page;
    return begin >= end || syscall(SYS_mbind, begin, end - begin, mode, nodes, n_bits + 1, 0) == 0;
}

bool tern_pages_interleave(void *bytes, size_t n_bytes) {
    enum { MAX_NODES = 1024, WORD = 8 * sizeof(unsigned long) };
    unsigned long allowed[MAX_NODES / WORD] = {0};
    if (syscall(SYS_get_mempolicy, NULL, allowed, (unsigned long)MAX_NODES, NULL, MPOL_F_MEMS_ALLOWED))
        return false;
    return set_policy(bytes, n_bytes, MPOL_INTERLEAVE, allowed, MAX_NODES);
}

bool tern_pages_prefer_node(void *bytes, size_t n_bytes, int node) {
    enum { MAX_NODES = 1024, WORD = 8 * sizeof(unsigned long) };
    unsigned long one[MAX_NODES / WORD] = {0};
    if (node < 0 || node >= MAX_NODES)
        return false;
    one[(size_t)node / WORD] = 1ul << (size_t)node % WORD;
    return set_policy(bytes, n_bytes, MPOL_PREFERRED, one, MAX_NODES);
}
#else
bool tern_pages_interleave(void *bytes, size_t n_bytes) { return (void)bytes, (void)n_bytes, false; }
bool tern_pages_prefer_node(void *bytes, size_t n_bytes, int node) {
    return (void)bytes, (void)n_bytes, (void)node, false;
}
#endif

tern_status tern_lock_memory(const void *bytes, size_t n_bytes, const char *what, tern_error *err) {
    if (n_bytes == 0 || mlock(bytes, n_bytes) == 0)
        return TERN_OK;
    int code = errno;
    struct rlimit limit;
    if ((code == ENOMEM || code == EPERM || code == EAGAIN) && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
        limit.rlim_cur != RLIM_INFINITY)
        return tern_fail(err, TERN_ERR_MEMORY,
                         "%s: cannot lock %zu kB in memory: this process may lock %llu kB in all; raise that with "
                         "ulimit -l (or LimitMEMLOCK= of a service)",
                         what, (n_bytes + 1023) / 1024, (unsigned long long)limit.rlim_cur / 1024);
    return tern_fail(err, TERN_ERR_MEMORY, "%s: cannot lock %zu kB in memory: %s", what, (n_bytes + 1023) / 1024,
                     strerror(code));
}

void tern_unlock_memory(const void *bytes, size_t n_bytes) {
    if (n_bytes)
        munlock(bytes, n_bytes);
}

void tern_pages_will_need(const void *bytes, size_t n_bytes) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)bytes / page * page;
    if (n_bytes)
        madvise((void *)begin, (uintptr_t)bytes + n_bytes - begin, MADV_WILLNEED);
}

void tern_touch_pages(const void *bytes, size_t n_bytes) {
    const volatile uint8_t *at = bytes;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < n_bytes; i += page)
        (void)at[i];
    if (n_bytes)
        (void)at[n_bytes - 1];
}
