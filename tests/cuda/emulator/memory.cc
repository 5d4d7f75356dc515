#include "memory.h"

#include <errno.h>
#include <map>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fibers.h"

namespace emulator {

enum { RUBBISH = 0xff };
static const size_t ALIGNMENT = 256, MOST_RUBBISH = 64 << 20;

/* Stacks, heaps and libraries lie above; below, pairs of small numbers, which are no addresses, and
 * AddressSanitizer's tables. */
#ifdef __x86_64__
static const uintptr_t LOWEST = (uintptr_t)1 << 44;
#else
static const uintptr_t LOWEST = (uintptr_t)1 << 36;
#endif

struct Allocation {
    size_t bytes;  /* asked for */
    size_t padded; /* to ALIGNMENT: it ends where its pages do */
    char *pages;   /* with the two that nobody may touch */
    size_t mapped;
};
static std::map<uintptr_t, Allocation> allocations; /* by their address */
static std::map<uintptr_t, size_t> pinned;          /* bytes, by address */
static size_t used;

size_t memory_total() {
    const char *bytes = getenv("TERN_EMULATOR_MEMORY");
    return bytes ? (size_t)strtoull(bytes, nullptr, 10) : (size_t)4 << 30;
}
size_t memory_free() { return used < memory_total() ? memory_total() - used : 0; }

void *take_memory(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (bytes > memory_free() || bytes > SIZE_MAX / 2)
        return nullptr;
    Allocation a = {bytes, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT, nullptr, 0};
    size_t inner = (a.padded + page - 1) / page * page;
    a.mapped = inner + 2 * page;
    a.pages = (char *)mmap(nullptr, a.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (a.pages == MAP_FAILED)
        return nullptr;
    if (mprotect(a.pages + page, inner, PROT_READ | PROT_WRITE)) {
        munmap(a.pages, a.mapped);
        return nullptr;
    }
    char *memory = a.pages + page + inner - a.padded;
    memset(memory, RUBBISH, a.padded < MOST_RUBBISH ? a.padded : MOST_RUBBISH);
    memset(memory + bytes, RUBBISH, a.padded - bytes);
    allocations[(uintptr_t)memory] = a;
    used += a.padded;
    return memory;
}

static void check(uintptr_t at, const Allocation &a) {
    const unsigned char *end = (const unsigned char *)at + a.bytes;
    for (size_t i = 0; i < a.padded - a.bytes; i++)
        if (end[i] != RUBBISH)
            die({}, "wrote %zu bytes behind the end of an allocation of %zu bytes", i, a.bytes);
}

void check_memory() {
    for (const auto &each : allocations)
        check(each.first, each.second);
}

bool give_memory(void *memory) {
    auto found = allocations.find((uintptr_t)memory);
    if (found == allocations.end())
        return false;
    check(found->first, found->second);
    used -= found->second.padded;
    munmap(found->second.pages, found->second.mapped);
    allocations.erase(found);
    return true;
}

/* The allocation that begins at or before an address. */
static const std::pair<const uintptr_t, Allocation> *before(const void *at) {
    auto next = allocations.upper_bound((uintptr_t)at);
    return next == allocations.begin() ? nullptr : &*std::prev(next);
}

bool is_device_memory(const void *at, size_t bytes) {
    const auto *found = before(at);
    return found && (uintptr_t)at - found->first <= found->second.bytes &&
           bytes <= found->second.bytes - ((uintptr_t)at - found->first);
}

bool is_host_memory(const void *at) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = (uintptr_t)at / page * page;
    const auto *found = before(at);
    unsigned char in_core;
    if (found && (uintptr_t)at <= (uintptr_t)found->second.pages + found->second.mapped)
        return false;
    if (first < LOWEST || first >= (uintptr_t)1 << 48)
        return false;
    return mincore((void *)first, 1, &in_core) == 0;
}

void describe_address(const void *at, char *text, size_t size) {
    auto next = allocations.upper_bound((uintptr_t)at);
    const auto *found = before(at);
    if (found && (const char *)at < found->second.pages + found->second.mapped)
        snprintf(text, size, "byte %zu of an allocation of %zu bytes", (size_t)((uintptr_t)at - found->first),
                 found->second.bytes);
    else if (next != allocations.end() && next->first - (uintptr_t)at < (size_t)sysconf(_SC_PAGESIZE) * 2)
        snprintf(text, size, "%zu bytes before an allocation of %zu bytes", (size_t)(next->first - (uintptr_t)at),
                 next->second.bytes);
    else
        snprintf(text, size, "which is not memory of the device");
}

void *take_pinned(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    if (memory) {
        memset(memory, RUBBISH, bytes);
        pinned[(uintptr_t)memory] = bytes;
    }
    return memory;
}

bool give_pinned(void *memory) {
    if (!pinned.erase((uintptr_t)memory))
        return false;
    free(memory);
    return true;
}

size_t things_left() { return allocations.size() + pinned.size(); }

bool is_pinned(const void *at, size_t bytes) {
    auto next = pinned.upper_bound((uintptr_t)at);
    if (next == pinned.begin())
        return false;
    auto found = std::prev(next);
    return (uintptr_t)at + bytes <= found->first + found->second;
}

} // namespace emulator
