#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGNMENT = 64, HUGE_PAGE = 2 << 20, ARENA_CHUNK = 64 << 10, ARENA_ALIGNMENT = 16 };

bool tern_mul_size(size_t a, size_t b, size_t *product) { return !__builtin_mul_overflow(a, b, product); }
bool tern_mul_u64(uint64_t a, uint64_t b, uint64_t *product) { return !__builtin_mul_overflow(a, b, product); }
bool tern_add_u64(uint64_t a, uint64_t b, uint64_t *sum) { return !__builtin_add_overflow(a, b, sum); }

void *tern_alloc_array(size_t count, size_t size) {
    size_t bytes;
    if (!tern_mul_size(count, size, &bytes))
        return NULL;
    return malloc(bytes ? bytes : 1);
}

void *tern_calloc_array(size_t count, size_t size) { return calloc(count ? count : 1, size ? size : 1); }

void *tern_aligned_alloc(size_t bytes) {
    bool huge = bytes >= HUGE_PAGE;
    void *memory = NULL;
    if (bytes > SIZE_MAX - HUGE_PAGE || posix_memalign(&memory, huge ? HUGE_PAGE : ALIGNMENT, bytes ? bytes : 1))
        return NULL;
#ifdef MADV_HUGEPAGE
    if (huge)
        madvise(memory, bytes, MADV_HUGEPAGE); /* only advice: streaming weights saves TLB misses */
#endif
    return memory;
}

void tern_aligned_free(void *memory) { free(memory); }

bool tern_grow_array(void **array, size_t *capacity, size_t want, size_t size) {
    if (want <= *capacity)
        return true;
    size_t next = *capacity ? *capacity : 16, bytes;
    while (next < want)
        if (!tern_mul_size(next, 2, &next))
            return false;
    if (!tern_mul_size(next, size, &bytes))
        return false;
    void *grown = realloc(*array, bytes);
    if (!grown)
        return false;
    *array = grown;
    *capacity = next;
    return true;
}

struct tern_arena_chunk {
    struct tern_arena_chunk *next;
    _Alignas(ARENA_ALIGNMENT) unsigned char bytes[];
};

void *tern_arena_alloc(tern_arena *arena, size_t bytes) {
    if (bytes > SIZE_MAX / 2)
        return NULL;
    bytes = (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
    if (!arena->chunks || arena->size - arena->used < bytes) {
        size_t size = bytes > ARENA_CHUNK ? bytes : ARENA_CHUNK;
        struct tern_arena_chunk *chunk = malloc(sizeof *chunk + size);
        if (!chunk)
            return NULL;
        chunk->next = arena->chunks;
        arena->chunks = chunk;
        arena->used = 0;
        arena->size = size;
    }
    void *memory = arena->chunks->bytes + arena->used;
    arena->used += bytes;
    return memory;
}

char *tern_arena_copy(tern_arena *arena, const char *text, size_t n_bytes) {
    char *copy = n_bytes < SIZE_MAX ? tern_arena_alloc(arena, n_bytes + 1) : NULL;
    if (!copy)
        return NULL;
    if (n_bytes)
        memcpy(copy, text, n_bytes);
    copy[n_bytes] = 0;
    return copy;
}

void tern_arena_free(tern_arena *arena) {
    while (arena->chunks) {
        struct tern_arena_chunk *next = arena->chunks->next;
        free(arena->chunks);
        arena->chunks = next;
    }
    arena->used = arena->size = 0;
}
