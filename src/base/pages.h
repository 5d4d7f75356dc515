/* Where large, long-lived memory lies: huge pages, memory nodes (NUMA), locking. */
#ifndef TERN_BASE_PAGES_H
#define TERN_BASE_PAGES_H

#include <stdbool.h>

#include "base/status.h"

typedef struct tern_pages {
    void *memory; /* aligned to 64 bytes, to 2 MB if it is that large */
    size_t bytes; /* of the mapping */
    bool mapped;  /* a mapping of its own, whose pages a policy may be set for */
} tern_pages;     /* zero-initialised is empty */

typedef enum tern_pages_kind {
    TERN_PAGES_PLAIN,  /* tern_aligned_alloc(): advised huge pages */
    TERN_PAGES_MAPPED, /* the same as a mapping of its own */
    TERN_PAGES_HUGE,   /* reserved huge pages (hugetlbfs): never swapped, split or late */
} tern_pages_kind;

/* `what` ("the weights") stands in the error line; the one about huge pages says how many are missing and how to
 * reserve them. Not zeroed if PLAIN. */
tern_status tern_pages_alloc(tern_pages *pages, size_t bytes, tern_pages_kind kind, const char *what, tern_error *err);
void tern_pages_free(tern_pages *pages);

/* Where the whole pages of [bytes, bytes + n_bytes) of a mapping go when they are touched first: to all nodes in turn,
 * or to one. Only advice: false if the system refuses. */
bool tern_pages_interleave(void *bytes, size_t n_bytes);
bool tern_pages_prefer_node(void *bytes, size_t n_bytes, int node);

/* Bring [bytes, bytes + n_bytes) into memory and keep it there until tern_unlock_memory(). The error line names the
 * limit that stands in the way. */
tern_status tern_lock_memory(const void *bytes, size_t n_bytes, const char *what, tern_error *err);
void tern_unlock_memory(const void *bytes, size_t n_bytes);

/* Bring it into the system's cache, if it is mapped from a file, but not into this process. Only advice. */
void tern_pages_will_need(const void *bytes, size_t n_bytes);
/* Read a byte of each page. */
void tern_touch_pages(const void *bytes, size_t n_bytes);

#endif
