/*
 * The command with allocations that fail when they are told to, for tests/server/test_memory.py: linked before what
 * makes build/tern. $TERN_FAULT_CONTROL names a file of four int64_t that this process and the test both map: how many
 * allocations there were, the number of the first one that fails (-1: none), how many do, and how many have.
 *
 * Functions of a program stand before those of the C library, so this reaches the libraries' allocations, too. Under a
 * sanitizer, which has put its own there, the linker's --wrap has to do: then only tern's calls are reached, and
 * jansson's by way of tern.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static struct control { _Atomic int64_t count, first, n, failed; } * control;

__attribute__((constructor)) static void map_control(void) {
    const char *path = getenv("TERN_FAULT_CONTROL");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *mapped = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED)
        _exit(70);
    close(fd);
    control = mapped;
}

static bool fails(void) {
    if (!control)
        return false;
    int64_t number = atomic_fetch_add(&control->count, 1), first = atomic_load(&control->first);
    if (first < 0 || number < first || number - first >= atomic_load(&control->n))
        return false;
    atomic_fetch_add(&control->failed, 1);
    errno = ENOMEM;
    return true;
}

#ifdef TERN_SANITIZED
#define OURS(name) __wrap_##name
#define REAL(name) __real_##name
#else
#define OURS(name) name
#define REAL(name) __libc_##name
void *__libc_memalign(size_t alignment, size_t size);
#endif

void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t count, size_t size);
void *REAL(realloc)(void *memory, size_t size);

#define EXPORT __attribute__((visibility("default")))
EXPORT void *OURS(malloc)(size_t size);
EXPORT void *OURS(calloc)(size_t count, size_t size);
EXPORT void *OURS(realloc)(void *memory, size_t size);
EXPORT int OURS(posix_memalign)(void **memory, size_t alignment, size_t size);

void *OURS(malloc)(size_t size) { return fails() ? NULL : REAL(malloc)(size); }
void *OURS(calloc)(size_t count, size_t size) { return fails() ? NULL : REAL(calloc)(count, size); }
void *OURS(realloc)(void *memory, size_t size) { return fails() ? NULL : REAL(realloc)(memory, size); }

#ifdef TERN_SANITIZED
int __real_posix_memalign(void **memory, size_t alignment, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size) {
    return fails() ? ENOMEM : __real_posix_memalign(memory, alignment, size);
}
#else
int posix_memalign(void **memory, size_t alignment, size_t size) {
    *memory = fails() ? NULL : __libc_memalign(alignment, size);
    return *memory ? 0 : ENOMEM;
}
#endif
