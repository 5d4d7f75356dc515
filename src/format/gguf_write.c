#include "format/gguf_write.h"

#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "format/codec.h"
#include "format/gguf.h"

enum { DEFAULT_ALIGNMENT = 32, MAX_ALIGNMENT = 4096, VERSION = 3 };

struct tern_gguf_writer {
    tern_writer file;
    tern_buffer keys, list; /* as they will stand in the file */
    uint64_t n_keys, alignment;
    uint64_t *sizes; /* [n_tensors] bytes of each */
    size_t n_tensors, capacity;
    uint64_t data_bytes; /* of the tensors so far, padded */
    bool failed;         /* out of memory while putting */
    char problem[160];   /* the first impossible tensor, or empty */
    size_t current;      /* tensor being written, and what is left of it */
    uint64_t left;
};

tern_status tern_gguf_writer_create(const char *path, tern_gguf_writer **writer, tern_error *err) {
    tern_gguf_writer *made = calloc(1, sizeof *made);
    if (!made)
        return tern_fail_memory(err, path);
    made->alignment = DEFAULT_ALIGNMENT;
    tern_status status = tern_writer_open(path, &made->file, err);
    if (status)
        free(made);
    else
        *writer = made;
    return status;
}

static void free_writer(tern_gguf_writer *writer) {
    tern_buffer_free(&writer->keys);
    tern_buffer_free(&writer->list);
    free(writer->sizes);
    free(writer);
}

void tern_gguf_writer_abort(tern_gguf_writer *writer) {
    if (!writer)
        return;
    tern_writer_abort(&writer->file);
    free_writer(writer);
}

/* ------------------------------------------------------------------- keys */

static void put_le(tern_buffer *out, uint64_t value, int n_bytes) {
    uint8_t bytes[8];
    for (int i = 0; i < n_bytes; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    tern_buffer_append(out, bytes, (size_t)n_bytes);
}

static void put_text(tern_buffer *out, tern_view text) {
    put_le(out, text.size, 8);
    tern_buffer_append(out, text.bytes, text.size);
}

static tern_buffer *begin_key(tern_gguf_writer *writer, const char *key, uint32_t type) {
    put_text(&writer->keys, tern_view_of(key));
    put_le(&writer->keys, type, 4);
    writer->n_keys++;
    return &writer->keys;
}

static tern_buffer *begin_array(tern_gguf_writer *writer, const char *key, uint32_t item_type, size_t n) {
    tern_buffer *out = begin_key(writer, key, GGUF_ARRAY);
    put_le(out, item_type, 4);
    put_le(out, n, 8);
    return out;
}

static uint32_t float_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

void tern_gguf_set_alignment(tern_gguf_writer *writer, uint32_t alignment) {
    if (alignment < 8 || alignment > MAX_ALIGNMENT || (alignment & (alignment - 1)) || writer->n_tensors) {
        snprintf(writer->problem, sizeof writer->problem, "an alignment of %u cannot be set here", alignment);
        return;
    }
    writer->alignment = alignment;
    tern_gguf_put_u32(writer, "general.alignment", alignment);
}

void tern_gguf_put_raw(tern_gguf_writer *writer, tern_view bytes) {
    tern_buffer_append(&writer->keys, bytes.bytes, bytes.size);
    writer->n_keys++;
}

void tern_gguf_put_u32(tern_gguf_writer *writer, const char *key, uint32_t value) {
    put_le(begin_key(writer, key, GGUF_U32), value, 4);
}

void tern_gguf_put_f32(tern_gguf_writer *writer, const char *key, float value) {
    put_le(begin_key(writer, key, GGUF_F32), float_bits(value), 4);
}

void tern_gguf_put_bool(tern_gguf_writer *writer, const char *key, bool value) {
    put_le(begin_key(writer, key, GGUF_BOOL), value, 1);
}

void tern_gguf_put_string(tern_gguf_writer *writer, const char *key, const char *value) {
    put_text(begin_key(writer, key, GGUF_STRING), tern_view_of(value));
}

void tern_gguf_put_strings(tern_gguf_writer *writer, const char *key, const tern_view *values, size_t n) {
    tern_buffer *out = begin_array(writer, key, GGUF_STRING, n);
    for (size_t i = 0; i < n; i++)
        put_text(out, values[i]);
}

void tern_gguf_put_i32s(tern_gguf_writer *writer, const char *key, const int32_t *values, size_t n) {
    tern_buffer *out = begin_array(writer, key, GGUF_I32, n);
    for (size_t i = 0; i < n; i++)
        put_le(out, (uint32_t)values[i], 4);
}

void tern_gguf_put_f32s(tern_gguf_writer *writer, const char *key, const float *values, size_t n) {
    tern_buffer *out = begin_array(writer, key, GGUF_F32, n);
    for (size_t i = 0; i < n; i++)
        put_le(out, float_bits(values[i]), 4);
}

/* ---------------------------------------------------------------- tensors */

static uint64_t padded(const tern_gguf_writer *writer, uint64_t bytes) {
    return (bytes + writer->alignment - 1) / writer->alignment * writer->alignment;
}

void tern_gguf_put_tensor(tern_gguf_writer *writer, const char *name, uint32_t gguf_type, uint64_t rows, uint64_t cols,
                          bool vector, uint64_t bytes) {
    const tern_codec *codec = tern_codec_of_gguf(gguf_type);
    uint64_t expected;
    bool fits = codec && tern_codec_bytes(codec, rows, cols, &expected) && expected == bytes && (!vector || rows == 1);
    if (!fits && !writer->problem[0])
        snprintf(writer->problem, sizeof writer->problem,
                 "tensor '%.60s' of %llu x %llu cannot be written as type %u in %llu bytes", name,
                 (unsigned long long)rows, (unsigned long long)cols, gguf_type, (unsigned long long)bytes);
    if (!fits)
        return;
    if (!tern_grow_array((void **)&writer->sizes, &writer->capacity, writer->n_tensors + 1, sizeof *writer->sizes)) {
        writer->failed = true;
        return;
    }
    put_text(&writer->list, tern_view_of(name));
    put_le(&writer->list, vector ? 1 : 2, 4);
    put_le(&writer->list, cols, 8); /* innermost first */
    if (!vector)
        put_le(&writer->list, rows, 8);
    put_le(&writer->list, gguf_type, 4);
    put_le(&writer->list, writer->data_bytes, 8);
    writer->sizes[writer->n_tensors++] = bytes;
    writer->data_bytes += padded(writer, bytes);
}

/* ------------------------------------------------------------------- data */

static tern_status write_bytes(tern_gguf_writer *writer, const void *bytes, size_t n_bytes, tern_error *err) {
    errno = 0;
    if (n_bytes && fwrite(bytes, 1, n_bytes, writer->file.file) != n_bytes)
        return tern_fail(err, TERN_ERR_IO, "%s: cannot write: %s", writer->file.path,
                         errno ? strerror(errno) : "write failed");
    return TERN_OK;
}

static tern_status write_padding(tern_gguf_writer *writer, uint64_t behind, tern_error *err) {
    static const uint8_t zeros[MAX_ALIGNMENT];
    return write_bytes(writer, zeros, (size_t)(padded(writer, behind) - behind), err);
}

tern_status tern_gguf_begin_data(tern_gguf_writer *writer, tern_error *err) {
    tern_buffer head = {0};
    tern_buffer_text(&head, "GGUF");
    put_le(&head, VERSION, 4);
    put_le(&head, writer->n_tensors, 8);
    put_le(&head, writer->n_keys, 8);
    tern_status status = TERN_OK;
    if (writer->problem[0])
        status = tern_fail(err, TERN_ERR_ARGUMENT, "%s: %s", writer->file.path, writer->problem);
    else if (writer->failed || head.failed || writer->keys.failed || writer->list.failed)
        status = tern_fail_memory(err, writer->file.path);
    else if (!(status = tern_writer_check_space(&writer->file, writer->data_bytes, err)) &&
             !(status = write_bytes(writer, head.bytes, head.size, err)) &&
             !(status = write_bytes(writer, writer->keys.bytes, writer->keys.size, err)) &&
             !(status = write_bytes(writer, writer->list.bytes, writer->list.size, err)))
        status = write_padding(writer, head.size + writer->keys.size + writer->list.size, err);
    tern_buffer_free(&head);
    writer->left = writer->n_tensors ? writer->sizes[0] : 0;
    return status;
}

tern_status tern_gguf_write_data(tern_gguf_writer *writer, const void *bytes, size_t n_bytes, tern_error *err) {
    const uint8_t *from = bytes;
    while (n_bytes) {
        if (writer->current == writer->n_tensors)
            return tern_fail(err, TERN_ERR_ARGUMENT, "%s: more data than the tensors hold", writer->file.path);
        size_t part = n_bytes < writer->left ? n_bytes : (size_t)writer->left;
        tern_status status = write_bytes(writer, from, part, err);
        if (status)
            return status;
        from += part;
        n_bytes -= part;
        writer->left -= part;
        if (writer->left)
            continue;
        status = write_padding(writer, writer->sizes[writer->current], err);
        if (status)
            return status;
        if (++writer->current < writer->n_tensors)
            writer->left = writer->sizes[writer->current];
    }
    return TERN_OK;
}

tern_status tern_gguf_writer_finish(tern_gguf_writer *writer, tern_error *err) {
    tern_status status;
    if (writer->current < writer->n_tensors) {
        status = tern_fail(err, TERN_ERR_ARGUMENT, "%s: %zu of %zu tensors were written", writer->file.path,
                           writer->current, writer->n_tensors);
        tern_gguf_writer_abort(writer);
        return status;
    }
    status = tern_writer_commit(&writer->file, err);
    free_writer(writer);
    return status;
}
