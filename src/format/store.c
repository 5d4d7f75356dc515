#include "format/store.h"

#include <math.h>
#include <stdlib.h>

tern_status tern_store_create(const char *path, tern_store **store, tern_error *err) {
    tern_store *made = calloc(1, sizeof *made);
    if (!made)
        return tern_fail_memory(err, path);
    tern_checkpoint *checkpoint = &made->checkpoint;
    checkpoint->config.rms_eps = NAN;
    checkpoint->config.rope_theta = NAN;
    checkpoint->config.tied_embedding = -1;
    checkpoint->config.bos_id = checkpoint->config.eos_id = -1;
    checkpoint->vocab.bos_id = checkpoint->vocab.eos_id = checkpoint->vocab.add_bos = -1;
    checkpoint->path = tern_arena_copy(&made->arena, path, strlen(path));
    if (!checkpoint->path) {
        tern_store_free(made);
        return tern_fail_memory(err, path);
    }
    *store = made;
    return TERN_OK;
}

void tern_store_free(tern_store *store) {
    if (!store)
        return;
    for (size_t i = 0; i < store->n_maps; i++)
        tern_map_close(&store->maps[i]);
    free(store->maps);
    free(store->tensors);
    free(store->by_name);
    free(store->metadata);
    free(store->tokens);
    free(store->merges);
    free(store->token_types);
    free(store->raw_keys);
    tern_arena_free(&store->arena);
    free(store);
}

tern_status tern_store_map(tern_store *store, const char *path, tern_map *map, tern_error *err) {
    if (!tern_grow_array((void **)&store->maps, &store->map_capacity, store->n_maps + 1, sizeof *store->maps))
        return tern_fail_memory(err, path);
    tern_status status = tern_map_open(path, map, err);
    if (status)
        return status;
    store->maps[store->n_maps++] = *map;
    store->checkpoint.file_bytes += map->size;
    return TERN_OK;
}

tern_status tern_store_set_name(tern_store *store, const char *name, tern_error *err) {
    enum { MAX_NAME = 200 };
    tern_buffer text = {0};
    tern_buffer_append(&text, "", 0); /* makes even an empty name a string */
    tern_render_text(&text, name, strlen(name), MAX_NAME);
    const char *copy = text.failed ? NULL : tern_arena_copy(&store->arena, text.bytes, text.size);
    tern_buffer_free(&text);
    store->checkpoint.config.name = copy;
    return copy ? TERN_OK : tern_fail_memory(err, "the model's name");
}

tern_tensor *tern_store_add_tensor(tern_store *store) {
    if (!tern_grow_array((void **)&store->tensors, &store->tensor_capacity, store->n_tensors + 1,
                         sizeof *store->tensors))
        return NULL;
    tern_tensor *tensor = &store->tensors[store->n_tensors++];
    memset(tensor, 0, sizeof *tensor);
    return tensor;
}

tern_status tern_store_add_metadata(tern_store *store, tern_view key, const char *type, tern_buffer *value,
                                    tern_error *err) {
    tern_buffer_append(value, "", 0); /* makes even an empty value a string */
    tern_metadata line = {.type = type};
    bool ok = !value->failed && tern_grow_array((void **)&store->metadata, &store->metadata_capacity,
                                                store->n_metadata + 1, sizeof *store->metadata);
    if (ok) {
        line.key = tern_arena_copy(&store->arena, key.bytes, key.size);
        line.value = tern_arena_copy(&store->arena, value->bytes, value->size);
    }
    tern_buffer_free(value);
    if (!line.key || !line.value)
        return tern_fail_memory(err, "the metadata");
    store->metadata[store->n_metadata++] = line;
    store->checkpoint.metadata = store->metadata;
    store->checkpoint.n_metadata = store->n_metadata;
    return TERN_OK;
}

bool tern_tensor_set_matrix(tern_tensor *tensor, uint64_t *n_values) {
    uint64_t count = 1;
    for (uint32_t i = 0; i < tensor->n_dims; i++)
        if (!tensor->shape[i] || !tern_mul_u64(count, tensor->shape[i], &count))
            return false;
    tensor->cols = tensor->n_dims ? tensor->shape[tensor->n_dims - 1] : 1;
    tensor->rows = count / tensor->cols;
    *n_values = count;
    return true;
}

static int compare_data(const void *a, const void *b) {
    const tern_tensor *left = *(const tern_tensor *const *)a, *right = *(const tern_tensor *const *)b;
    if (left->data != right->data)
        return left->data < right->data ? -1 : 1;
    return (left->bytes > right->bytes) - (left->bytes < right->bytes);
}

tern_status tern_check_overlap(const tern_tensor *tensors, size_t n, tern_error *err) {
    const tern_tensor **sorted = tern_alloc_array(n, sizeof(tern_tensor *));
    if (!sorted)
        return tern_fail_memory(err, "the tensor list");
    for (size_t i = 0; i < n; i++)
        sorted[i] = &tensors[i];
    qsort(sorted, n, sizeof *sorted, compare_data);
    tern_status status = TERN_OK;
    for (size_t i = 1; i < n && !status; i++)
        if ((uint64_t)(sorted[i]->data - sorted[i - 1]->data) < sorted[i - 1]->bytes)
            status = tern_fail(err, TERN_ERR_FORMAT, "tensors '%s' and '%s' overlap: the file is corrupted",
                               sorted[i - 1]->name, sorted[i]->name);
    free(sorted);
    return status;
}

tern_status tern_check_length(const tern_tensor *tensors, const uint64_t *need, size_t n, uint64_t file_bytes,
                              tern_error *err) {
    size_t last = 0;
    for (size_t i = 1; i < n; i++)
        if (need[i] > need[last])
            last = i;
    if (n && need[last] > file_bytes)
        return tern_fail(
            err, TERN_ERR_FORMAT,
            "truncated: the file has %llu bytes, tensor '%s' needs %llu (%llu are missing); fetch it again",
            (unsigned long long)file_bytes, tensors[last].name, (unsigned long long)need[last],
            (unsigned long long)(need[last] - file_bytes));
    return TERN_OK;
}

static int compare_name(const void *a, const void *b) {
    return strcmp((*(const tern_tensor *const *)a)->name, (*(const tern_tensor *const *)b)->name);
}

tern_status tern_store_seal(tern_store *store, tern_error *err) {
    free(store->by_name);
    store->by_name = tern_alloc_array(store->n_tensors, sizeof *store->by_name);
    if (!store->by_name)
        return tern_fail_memory(err, "the tensor list");
    for (size_t i = 0; i < store->n_tensors; i++)
        store->by_name[i] = &store->tensors[i];
    qsort(store->by_name, store->n_tensors, sizeof *store->by_name, compare_name);
    for (size_t i = 1; i < store->n_tensors; i++)
        if (strcmp(store->by_name[i - 1]->name, store->by_name[i]->name) == 0)
            return tern_fail(err, TERN_ERR_FORMAT, "duplicate tensor '%s'", store->by_name[i]->name);
    store->checkpoint.tensors = store->tensors;
    store->checkpoint.n_tensors = store->n_tensors;
    return TERN_OK;
}

const tern_tensor *tern_checkpoint_find(const tern_checkpoint *checkpoint, const char *name) {
    const tern_store *store = (const tern_store *)checkpoint;
    if (!store->by_name || !store->n_tensors)
        return NULL;
    tern_tensor wanted = {.name = name};
    const tern_tensor *key = &wanted;
    const tern_tensor **found = bsearch(&key, store->by_name, store->n_tensors, sizeof *store->by_name, compare_name);
    return found ? *found : NULL;
}
