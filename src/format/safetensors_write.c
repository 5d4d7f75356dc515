#include "format/safetensors_write.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/str.h"

struct tern_safetensors_writer {
    tern_writer file;
    tern_buffer list;    /* the header so far, without its closing brace */
    uint64_t data_bytes; /* of the tensors that were put; given so far */
    uint64_t written;
    char problem[160]; /* the first impossible tensor, or empty */
};

static const struct {
    const char *name;
    unsigned bytes;
} types[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}, {"I8", 1}, {"U8", 1}};

tern_status tern_safetensors_writer_create(const char *path, tern_safetensors_writer **writer, tern_error *err) {
    tern_safetensors_writer *made = calloc(1, sizeof *made);
    if (!made)
        return tern_fail_memory(err, path);
    tern_status status = tern_writer_open(path, &made->file, err);
    if (status) {
        free(made);
        return status;
    }
    tern_buffer_text(&made->list, "{\"__metadata__\":{\"format\":\"pt\"}"); /* transformers asks for it */
    *writer = made;
    return TERN_OK;
}

static void free_writer(tern_safetensors_writer *writer) {
    tern_buffer_free(&writer->list);
    free(writer);
}

void tern_safetensors_writer_abort(tern_safetensors_writer *writer) {
    if (!writer)
        return;
    tern_writer_abort(&writer->file);
    free_writer(writer);
}

/* Nothing that JSON would have to escape. */
static bool is_plain(const char *name) {
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return n > 0 && name[n] == 0;
}

static bool tensor_bytes(const char *type, const uint64_t *shape, size_t n_dims, uint64_t *bytes) {
    *bytes = 0;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, type) == 0)
            *bytes = types[i].bytes;
    for (size_t i = 0; i < n_dims; i++)
        if (!tern_mul_u64(*bytes, shape[i], bytes))
            return false;
    return *bytes > 0;
}

void tern_safetensors_put_tensor(tern_safetensors_writer *writer, const char *name, const char *type,
                                 const uint64_t *shape, size_t n_dims) {
    uint64_t bytes, end;
    if (!is_plain(name) || !tensor_bytes(type, shape, n_dims, &bytes) ||
        !tern_add_u64(writer->data_bytes, bytes, &end)) {
        if (!writer->problem[0])
            snprintf(writer->problem, sizeof writer->problem, "tensor '%.80s' of type %.20s cannot be written", name,
                     type);
        return;
    }
    tern_buffer *list = &writer->list;
    tern_buffer_printf(list, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", name, type);
    for (size_t i = 0; i < n_dims; i++)
        tern_buffer_printf(list, i ? ",%" PRIu64 : "%" PRIu64, shape[i]);
    tern_buffer_printf(list, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", writer->data_bytes, end);
    writer->data_bytes = end;
}

static tern_status write_bytes(tern_safetensors_writer *writer, const void *bytes, size_t n_bytes, tern_error *err) {
    errno = 0;
    if (n_bytes && fwrite(bytes, 1, n_bytes, writer->file.file) != n_bytes)
        return tern_fail(err, TERN_ERR_IO, "%s: cannot write: %s", writer->file.path,
                         errno ? strerror(errno) : "write failed");
    return TERN_OK;
}

tern_status tern_safetensors_begin_data(tern_safetensors_writer *writer, tern_error *err) {
    tern_buffer *list = &writer->list;
    uint8_t length[8];
    tern_buffer_text(list, "}");
    while (list->size % 8 && !list->failed) /* so that the data is aligned */
        tern_buffer_text(list, " ");
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)list->size >> (8 * i));
    if (writer->problem[0])
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: %s", writer->file.path, writer->problem);
    if (list->failed)
        return tern_fail_memory(err, writer->file.path);
    tern_status status = tern_writer_check_space(&writer->file, writer->data_bytes, err);
    if (!status)
        status = write_bytes(writer, length, sizeof length, err);
    return status ? status : write_bytes(writer, list->bytes, list->size, err);
}

tern_status tern_safetensors_write_data(tern_safetensors_writer *writer, const void *bytes, size_t n_bytes,
                                        tern_error *err) {
    if (n_bytes > writer->data_bytes - writer->written)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: more data than the tensors take", writer->file.path);
    writer->written += n_bytes;
    tern_status status = write_bytes(writer, bytes, n_bytes, err);
    /* a disk that is full shows here, before anything is replaced */
    if (!status && writer->written == writer->data_bytes && fflush(writer->file.file))
        status = tern_fail(err, TERN_ERR_IO, "%s: cannot write: %s", writer->file.path, strerror(errno));
    return status;
}

tern_status tern_safetensors_writer_finish(tern_safetensors_writer *writer, tern_error *err) {
    if (writer->written != writer->data_bytes) {
        tern_status status = tern_fail(err, TERN_ERR_ARGUMENT, "%s: data for a tensor is missing", writer->file.path);
        tern_safetensors_writer_abort(writer);
        return status;
    }
    tern_status status = tern_writer_commit(&writer->file, err);
    free_writer(writer);
    return status;
}
