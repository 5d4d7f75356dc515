/* Memory: overflow-checked sizes, aligned blocks, and an arena for the many
 * small strings that live as long as one owner. */
#ifndef TERN_BASE_MEM_H
#define TERN_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A model's sizes are computed in size_t once its dimensions are checked (model/bind.c), and files are mapped whole. */
_Static_assert(sizeof(size_t) >= 8, "tern needs a 64-bit address space");

/* False if a * b does not fit. */
bool tern_mul_size(size_t a, size_t b, size_t *product);
bool tern_mul_u64(uint64_t a, uint64_t b, uint64_t *product);
bool tern_add_u64(uint64_t a, uint64_t b, uint64_t *sum);

/* malloc(count * size); NULL when that overflows or there is no memory. */
void *tern_alloc_array(size_t count, size_t size);
void *tern_calloc_array(size_t count, size_t size);

/* Aligned to 64 bytes (a cache line and the widest vector), NOT zeroed; free
 * with tern_aligned_free(). Blocks of 2 MB and more ask for huge pages. */
void *tern_aligned_alloc(size_t bytes);
void tern_aligned_free(void *memory);

/* Grow *array (count elements of `size`) to hold at least `want`; keeps
 * *capacity. False, with nothing changed, when there is no memory. */
bool tern_grow_array(void **array, size_t *capacity, size_t want, size_t size);

typedef struct tern_arena {
    struct tern_arena_chunk *chunks;
    size_t used, size;
} tern_arena; /* zero-initialised is empty */

/* `bytes` of memory aligned to 16, freed all together; NULL: no memory. */
void *tern_arena_alloc(tern_arena *arena, size_t bytes);
/* A zero-terminated copy. */
char *tern_arena_copy(tern_arena *arena, const char *text, size_t n_bytes);
void tern_arena_free(tern_arena *arena);

#endif
