#include "base/reader.h"

#include <string.h>

const uint8_t *tern_read_bytes(tern_reader *reader, uint64_t n_bytes) {
    if (reader->failed || n_bytes > reader->size - reader->pos) {
        reader->failed = true;
        return NULL;
    }
    const uint8_t *bytes = reader->data + reader->pos;
    reader->pos += (size_t)n_bytes;
    return bytes;
}

static uint64_t read_little_endian(tern_reader *reader, unsigned n_bytes) {
    const uint8_t *bytes = tern_read_bytes(reader, n_bytes);
    uint64_t value = 0;
    for (unsigned i = 0; bytes && i < n_bytes; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

uint8_t tern_read_u8(tern_reader *reader) { return (uint8_t)read_little_endian(reader, 1); }
uint16_t tern_read_u16(tern_reader *reader) { return (uint16_t)read_little_endian(reader, 2); }
uint32_t tern_read_u32(tern_reader *reader) { return (uint32_t)read_little_endian(reader, 4); }
uint64_t tern_read_u64(tern_reader *reader) { return read_little_endian(reader, 8); }

float tern_read_f32(tern_reader *reader) {
    uint32_t bits = tern_read_u32(reader);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

double tern_read_f64(tern_reader *reader) {
    uint64_t bits = tern_read_u64(reader);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
