/* Out of memory inside a library that does not look: jansson up to 2.14 ignores that it has no room for the next
 * character of a string, then reads and writes behind what it has. Under a guard such a call is left at once, by a
 * jump, and what it had allocated is freed. The library has to allocate by the functions below; whose process it is has
 * jansson do so:
 *
 *     json_set_alloc_funcs(tern_guard_malloc, tern_guard_free);
 */
#ifndef TERN_BASE_GUARD_H
#define TERN_BASE_GUARD_H

#include <stdbool.h>
#include <stddef.h>

/* Calls f(user), which frees nothing but what it allocated itself by tern_guard_malloc(). False if there was no memory
 * for that: then f did not return, so it must own nothing else and hold no lock. Does not nest. */
bool tern_guarded(void (*f)(void *user), void *user);

/* malloc() and free() when the thread is under no guard; blocks may cross over. */
void *tern_guard_malloc(size_t bytes);
void tern_guard_free(void *memory);

#endif
