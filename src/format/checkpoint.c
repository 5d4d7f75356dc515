#include "format/checkpoint.h"

#include <stdlib.h>

#include "format/store.h"

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), n = strlen(end);
    return length >= n && strcmp(text + length - n, end) == 0;
}

static tern_status read_file(tern_store *store, const char *path, tern_error *err) {
    tern_map map;
    tern_status status = tern_store_map(store, path, &map, err);
    if (status)
        return status;
    if (map.size >= 4 && memcmp(map.data, "GGUF", 4) == 0)
        status = tern_gguf_read(store, map.data, map.size, err);
    else if (ends_with(path, ".safetensors") || ends_with(path, ".json"))
        status = tern_fail(err, TERN_ERR_ARGUMENT,
                           "this is one file of a Hugging Face model; give the folder that holds it and config.json");
    else
        status = tern_fail(err, TERN_ERR_FORMAT, "not a GGUF file; give a .gguf file or a Hugging Face folder");
    if (status)
        tern_error_prefix(err, "%s", path);
    return status;
}

tern_status tern_checkpoint_open(const char *path, tern_checkpoint **checkpoint, tern_error *err) {
    if (tern_is_directory(path))
        return tern_hf_open(path, checkpoint, err);
    tern_store *store = NULL;
    tern_status status = tern_store_create(path, &store, err);
    if (status)
        return status;
    status = read_file(store, path, err);
    if (status)
        tern_store_free(store);
    else
        *checkpoint = &store->checkpoint;
    return status;
}

tern_status tern_checkpoint_open_memory(const char *name, const uint8_t *bytes, size_t n_bytes,
                                        tern_checkpoint **checkpoint, tern_error *err) {
    tern_store *store = NULL;
    tern_status status = tern_store_create(name, &store, err);
    if (status)
        return status;
    store->checkpoint.file_bytes = n_bytes;
    status = tern_gguf_read(store, bytes, n_bytes, err);
    if (status) {
        tern_error_prefix(err, "%s", name);
        tern_store_free(store);
    } else {
        *checkpoint = &store->checkpoint;
    }
    return status;
}

void tern_checkpoint_close(tern_checkpoint *checkpoint) { tern_store_free((tern_store *)checkpoint); }

void tern_checkpoint_release(const tern_checkpoint *checkpoint, const tern_tensor *tensor) {
    const tern_store *store = (const tern_store *)checkpoint;
    if (store->n_maps) /* somebody else's memory would not come back: dropped anonymous pages read as zeros */
        tern_map_release(tensor->data, tensor->bytes);
}

void tern_checkpoint_drop_vocab(tern_checkpoint *checkpoint) {
    tern_store *store = (tern_store *)checkpoint;
    tern_gguf_vocab *vocab = &checkpoint->vocab;
    for (size_t i = 0; store->n_maps && i < checkpoint->n_raw_keys; i++)
        tern_map_release(checkpoint->raw_keys[i].bytes.bytes, checkpoint->raw_keys[i].bytes.size);
    free(store->tokens);
    free(store->merges);
    free(store->token_types);
    store->tokens = store->merges = NULL;
    store->token_types = NULL;
    vocab->tokens = vocab->merges = NULL;
    vocab->types = NULL;
    vocab->n_tokens = vocab->n_merges = 0;
}

bool tern_checkpoint_read(const tern_checkpoint *checkpoint, const tern_tensor *tensor, uint64_t offset, size_t n_bytes,
                          void *buffer) {
    const tern_store *store = (const tern_store *)checkpoint;
    const uint8_t *from = tensor->data + offset;
    for (size_t i = 0; i < store->n_maps; i++) {
        uintptr_t at = (uintptr_t)from - (uintptr_t)store->maps[i].data; /* huge if the map lies behind */
        if (at < store->maps[i].size)
            return tern_map_read(&store->maps[i], at, n_bytes, buffer);
    }
    memcpy(buffer, from, n_bytes);
    return true;
}
