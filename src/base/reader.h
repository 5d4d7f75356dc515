/* The one cursor through which bytes from outside are read: every read is
 * checked against the end; after the first that does not fit, `failed` is set
 * and all reads give zero. Little-endian, any alignment. */
#ifndef TERN_BASE_READER_H
#define TERN_BASE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tern_reader {
    const uint8_t *data;
    size_t size, pos;
    bool failed;
} tern_reader;

uint8_t tern_read_u8(tern_reader *reader);
uint16_t tern_read_u16(tern_reader *reader);
uint32_t tern_read_u32(tern_reader *reader);
uint64_t tern_read_u64(tern_reader *reader);
float tern_read_f32(tern_reader *reader);
double tern_read_f64(tern_reader *reader);
/* A pointer to the next n_bytes, which are skipped; NULL if there are fewer. */
const uint8_t *tern_read_bytes(tern_reader *reader, uint64_t n_bytes);
static inline size_t tern_reader_left(const tern_reader *reader) { return reader->size - reader->pos; }

#endif
