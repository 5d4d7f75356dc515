/* GGUF v2 and v3, little-endian: header, keys, tensor list, data (numerics.md section 6 and the GGUF specification in
 * ggml's docs/gguf.md). Every byte goes through base/reader.h; memory grows with what was actually read. */
#include <stdlib.h>

#include "format/gguf.h"

enum {
    MIN_KEY_BYTES = 8 + 1 + 4 + 1,            /* length, one letter, type, smallest value */
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8, /* length, one letter, n_dims, one dimension, type, offset */
};

tern_status tern_gguf_fail_cut(const tern_gguf *gguf, const char *where, tern_error *err) {
    return tern_fail(err, TERN_ERR_FORMAT, "truncated or corrupted: %s goes on past the end of the file (%zu bytes)",
                     where, gguf->reader.size);
}

static tern_status check_version(tern_gguf *gguf, tern_error *err) {
    const uint8_t *magic = tern_read_bytes(&gguf->reader, 4);
    if (!magic || memcmp(magic, "GGUF", 4) != 0)
        return tern_fail(err, TERN_ERR_FORMAT, "not a GGUF file (it does not begin with \"GGUF\")");
    gguf->version = tern_read_u32(&gguf->reader);
    if (gguf->reader.failed)
        return tern_gguf_fail_cut(gguf, "the header", err);
    if (gguf->version == 2 || gguf->version == 3)
        return TERN_OK;
    if (gguf->version == 1)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "GGUF version 1 is not supported; convert it to version 3");
    if (gguf->version && !(gguf->version & 0xffff))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "this is a big-endian GGUF; only little-endian is supported");
    return tern_fail(err, TERN_ERR_UNSUPPORTED, "GGUF version %u is not known (2 and 3 are)", gguf->version);
}

static tern_status check_count(const tern_gguf *gguf, uint64_t count, unsigned min_bytes, const char *what,
                               tern_error *err) {
    if (count > tern_reader_left(&gguf->reader) / min_bytes)
        return tern_fail(err, TERN_ERR_FORMAT,
                         "truncated or corrupted: it states %llu %s, more than a file of %zu bytes can hold",
                         (unsigned long long)count, what, gguf->reader.size);
    return TERN_OK;
}

static tern_status read_alignment(tern_gguf *gguf, tern_error *err) {
    uint32_t alignment = 32;
    tern_status status = tern_gguf_get_u32(gguf, "general.alignment", &alignment, err);
    if (status)
        return status;
    if (alignment < 8 || alignment > 65536 || (alignment & (alignment - 1)))
        return tern_fail(err, TERN_ERR_FORMAT, "general.alignment is %u; it must be a power of two from 8 to 65536",
                         alignment);
    gguf->alignment = alignment;
    return TERN_OK;
}

static tern_status read_all(tern_gguf *gguf, tern_error *err) {
    tern_status status = check_version(gguf, err);
    if (status)
        return status;
    uint64_t n_tensors = tern_read_u64(&gguf->reader), n_kvs = tern_read_u64(&gguf->reader);
    if (gguf->reader.failed)
        return tern_gguf_fail_cut(gguf, "the header", err);
    if ((status = check_count(gguf, n_tensors, MIN_TENSOR_BYTES, "tensors", err)) ||
        (status = check_count(gguf, n_kvs, MIN_KEY_BYTES, "keys", err)) ||
        (status = tern_gguf_read_keys(gguf, n_kvs, err)) || (status = read_alignment(gguf, err)) ||
        (status = tern_gguf_read_tensors(gguf, n_tensors, err)) || (status = tern_store_seal(gguf->store, err)) ||
        (status = tern_gguf_keep_keys(gguf, err)) || (status = tern_gguf_describe(gguf, err)) ||
        (status = tern_gguf_read_config(gguf, err)))
        return status;
    return tern_gguf_read_vocab(gguf, err);
}

tern_status tern_gguf_read(tern_store *store, const uint8_t *bytes, size_t n_bytes, tern_error *err) {
    tern_gguf gguf = {.store = store, .reader = {.data = bytes, .size = n_bytes}};
    store->checkpoint.kind = TERN_CHECKPOINT_GGUF;
    tern_status status = read_all(&gguf, err);
    store->checkpoint.format = gguf.version == 2 ? "GGUF v2" : "GGUF v3";
    free(gguf.kvs);
    return status;
}
