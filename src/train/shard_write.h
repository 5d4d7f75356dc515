/* Writing a shard, document by document; memory only for the index (16 bytes a document). */
#ifndef TERN_TRAIN_SHARD_WRITE_H
#define TERN_TRAIN_SHARD_WRITE_H

#include "train/data.h"

typedef struct tern_shard_writer tern_shard_writer;

typedef struct tern_shard_params {
    tern_shard_kind kind;
    uint32_t vocab_size;
    int32_t bos_id, eos_id;
    uint64_t tokenizer_hash;
} tern_shard_params;

tern_status tern_shard_writer_create(const char *path, const tern_shard_params *params, tern_shard_writer **writer,
                                     tern_error *err);
/* One document: ids [n], mask [n] (NULL for TEXT), made of text_bytes bytes. PAIRS: chosen, then rejected. */
tern_status tern_shard_writer_add(tern_shard_writer *writer, tern_split split, const int32_t *ids, const uint8_t *mask,
                                  size_t n, uint64_t text_bytes, tern_error *err);
uint64_t tern_shard_writer_documents(const tern_shard_writer *writer); /* of both splits */
uint64_t tern_shard_writer_size(const tern_shard_writer *writer); /* bytes of the file if no document came any more */
uint64_t tern_shard_writer_size_of(const tern_shard_writer *writer, size_t n); /* that a document of n tokens adds */
/* The file takes the place of what was at `path`; `info` may be NULL. Frees the writer, also after a failure. */
tern_status tern_shard_writer_finish(tern_shard_writer *writer, tern_shard_info *info, tern_error *err);
/* The same in two parts: all is written, and the rest cannot run out of disk; then it is put in its place, by the name
 * of `path` in the same folder. The latter frees the writer, the former does not. */
tern_status tern_shard_writer_seal(tern_shard_writer *writer, tern_error *err);
tern_status tern_shard_writer_commit(tern_shard_writer *writer, const char *path, tern_shard_info *info,
                                     tern_error *err);
/* Leave no file; frees the writer. NULL is fine. */
void tern_shard_writer_abort(tern_shard_writer *writer);

#endif
