#include "train/shard_write.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "train/shard_layout.h"

struct tern_shard_writer {
    tern_writer file;
    tern_shard_info info;
    uint32_t id_bytes;
    bool masked;
    uint64_t at; /* in the file */
    tern_hash hasher;
    uint8_t *index[TERN_N_SPLITS]; /* entries */
    size_t capacity[TERN_N_SPLITS];
    uint8_t *scratch; /* of one document */
    size_t scratch_size;
};

static tern_status put(tern_shard_writer *writer, const void *bytes, size_t n_bytes, tern_error *err) {
    if (n_bytes && fwrite(bytes, 1, n_bytes, writer->file.file) != n_bytes)
        return tern_fail(err, TERN_ERR_IO, "%s: cannot write: %s", writer->file.path, strerror(errno));
    tern_hash_add(&writer->hasher, bytes, n_bytes);
    writer->at += n_bytes;
    return TERN_OK;
}

static void free_memory(tern_shard_writer *writer) {
    void **const all[] = {(void **)&writer->index[0], (void **)&writer->index[1], (void **)&writer->scratch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(*all[i]);
        *all[i] = NULL;
    }
}

tern_status tern_shard_writer_create(const char *path, const tern_shard_params *params, tern_shard_writer **writer,
                                     tern_error *err) {
    uint8_t header[TERN_SHARD_HEADER] = {0}; /* until the end a shard that nobody opens */
    tern_shard_writer *made = calloc(1, sizeof *made);
    if (!made)
        return tern_fail_memory(err, "the shard");
    made->info = (tern_shard_info){.kind = params->kind,
                                   .vocab_size = params->vocab_size,
                                   .bos_id = params->bos_id,
                                   .eos_id = params->eos_id,
                                   .tokenizer_hash = params->tokenizer_hash};
    made->id_bytes = params->vocab_size <= 65536 ? 2 : 4;
    made->masked = params->kind != TERN_SHARD_TEXT;
    tern_status status = tern_writer_open(path, &made->file, err);
    if (status) {
        free(made);
        return status;
    }
    status = put(made, header, sizeof header, err);
    tern_hash_start(&made->hasher);
    if (status)
        tern_shard_writer_abort(made);
    else
        *writer = made;
    return status;
}

void tern_shard_writer_abort(tern_shard_writer *writer) {
    if (!writer)
        return;
    tern_writer_abort(&writer->file);
    free_memory(writer);
    free(writer);
}

tern_status tern_shard_writer_add(tern_shard_writer *writer, tern_split split, const int32_t *ids, const uint8_t *mask,
                                  size_t n, uint64_t text_bytes, tern_error *err) {
    uint64_t entry = writer->info.n_documents[split] * TERN_SHARD_ENTRY;
    size_t bytes;
    if (!tern_mul_size(n, writer->id_bytes + 2, &bytes) ||
        !tern_grow_array((void **)&writer->scratch, &writer->scratch_size, bytes + 8, 1) ||
        !tern_grow_array((void **)&writer->index[split], &writer->capacity[split], entry + TERN_SHARD_ENTRY, 1))
        return tern_fail_memory(err, "a document");
    bytes = (size_t)tern_shard_padded(n, writer->id_bytes, writer->masked);
    for (size_t i = 0; i < n; i++)
        tern_shard_put(writer->scratch + i * writer->id_bytes, (uint32_t)ids[i], writer->id_bytes);
    size_t used = n * writer->id_bytes;
    if (writer->masked) {
        memcpy(writer->scratch + used, mask, n);
        used += n;
    }
    memset(writer->scratch + used, 0, bytes - used);
    tern_shard_put(writer->index[split] + entry, writer->at, 8);
    tern_shard_put(writer->index[split] + entry + 8, n, 8);
    writer->info.n_documents[split]++;
    writer->info.n_tokens[split] += n;
    writer->info.text_bytes[split] += text_bytes;
    return put(writer, writer->scratch, bytes, err);
}

static void make_header(const tern_shard_writer *writer, uint64_t index, uint8_t *header) {
    const tern_shard_info *info = &writer->info;
    const struct {
        uint64_t value;
        unsigned n_bytes;
    } fields[] = {
        {TERN_SHARD_VERSION, 4},
        {info->kind, 4},
        {writer->id_bytes, 4},
        {info->vocab_size, 4},
        {info->tokenizer_hash, 8},
        {(uint32_t)info->bos_id, 4},
        {(uint32_t)info->eos_id, 4},
        {info->n_documents[0], 8},
        {info->n_documents[1], 8},
        {info->n_tokens[0], 8},
        {info->n_tokens[1], 8},
        {info->text_bytes[0], 8},
        {info->text_bytes[1], 8},
        {writer->at, 8},
        {index, 8},
        {info->hash, 8},
        {0, 8},
    };
    memcpy(header, TERN_SHARD_MAGIC, 8);
    uint8_t *p = header + TERN_SHARD_AT_VERSION;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        tern_shard_put(p, fields[i].value, fields[i].n_bytes);
        p += fields[i].n_bytes;
    }
    tern_shard_put(p, tern_hash_bytes(header, TERN_SHARD_AT_HEAD_HASH), 8);
}

uint64_t tern_shard_writer_documents(const tern_shard_writer *writer) {
    return writer->info.n_documents[0] + writer->info.n_documents[1];
}

uint64_t tern_shard_writer_size(const tern_shard_writer *writer) {
    return writer->at + tern_shard_writer_documents(writer) * TERN_SHARD_ENTRY;
}

uint64_t tern_shard_writer_size_of(const tern_shard_writer *writer, size_t n) {
    return tern_shard_padded(n, writer->id_bytes, writer->masked) + TERN_SHARD_ENTRY;
}

tern_status tern_shard_writer_seal(tern_shard_writer *writer, tern_error *err) {
    uint64_t index = writer->at;
    uint8_t header[TERN_SHARD_HEADER];
    FILE *file = writer->file.file;
    tern_status status = TERN_OK;
    for (int split = 0; !status && split < TERN_N_SPLITS; split++)
        status = put(writer, writer->index[split], (size_t)writer->info.n_documents[split] * TERN_SHARD_ENTRY, err);
    if (status)
        return status;
    writer->info.hash = tern_hash_value(&writer->hasher);
    make_header(writer, index, header);
    if (fseek(file, 0, SEEK_SET) || fwrite(header, 1, sizeof header, file) != sizeof header || fflush(file) ||
        (writer->file.temporary && fsync(fileno(file))))
        return tern_fail(err, TERN_ERR_IO, "%s: cannot write: %s", writer->file.path, strerror(errno));
    free_memory(writer); /* many sealed ones may wait for the last one */
    return TERN_OK;
}

tern_status tern_shard_writer_commit(tern_shard_writer *writer, const char *path, tern_shard_info *info,
                                     tern_error *err) {
    tern_status status = path ? tern_writer_rename(&writer->file, path, err) : TERN_OK;
    if (!status)
        status = tern_writer_commit(&writer->file, err);
    if (!status && info)
        *info = writer->info;
    tern_shard_writer_abort(writer);
    return status;
}

tern_status tern_shard_writer_finish(tern_shard_writer *writer, tern_shard_info *info, tern_error *err) {
    tern_status status = tern_shard_writer_seal(writer, err);
    if (!status)
        return tern_shard_writer_commit(writer, NULL, info, err);
    tern_shard_writer_abort(writer);
    return status;
}
