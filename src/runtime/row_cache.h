/* Rows of a screen's stored head that were read lately. The words a model hesitates between come again and again, and a
 * row from here costs a copy where one from the file costs a system call as well, while the mapped file would make 64
 * KB around every row resident. */
#ifndef TERN_RUNTIME_ROW_CACHE_H
#define TERN_RUNTIME_ROW_CACHE_H

#include "model/screen.h"

typedef struct tern_row_cache tern_row_cache;

/* Of about n_bytes, at least a few rows; NULL: out of memory. */
tern_row_cache *tern_row_cache_create(const tern_screen *screen, size_t n_bytes);
void tern_row_cache_free(tern_row_cache *cache);
/* Row -> buffer [bytes of a row], from any thread. False: the file could not be read. */
bool tern_row_cache_read(tern_row_cache *cache, uint32_t row, void *buffer);

#endif
