/* The tensor list of a GGUF and the checks that make it safe to use. */
#include <stdio.h>
#include <stdlib.h>

#include "format/codec.h"
#include "format/gguf.h"

enum { MAX_DIMS = 4 };

/* Types that tern does not run but can name and, where block_values is set, measure (`tern inspect`). Numbers 37 and
 * up mean different things to different forks. */
typedef struct other_type {
    uint32_t gguf_type;
    const char *name;
    uint16_t block_values, block_bytes;
} other_type;

static const other_type other_types[] = {
    {3, "Q4_1", 32, 20},      {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},     {9, "Q8_1", 32, 36},
    {10, "Q2_K", 256, 84},    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},  {13, "Q5_K", 256, 176},
    {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74}, {18, "IQ3_XXS", 256, 98},
    {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110}, {22, "IQ2_S", 256, 82},
    {23, "IQ4_XS", 256, 136}, {25, "I16", 1, 2},        {26, "I32", 1, 4},       {27, "I64", 1, 8},
    {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},   {37, "I8_S", 0, 0},      {38, "TL1", 0, 0},
    {39, "TL2", 0, 0},
};

/* Fill in type and size. An unknown size stays 0. */
static tern_status set_type(tern_gguf *gguf, tern_tensor *tensor, uint32_t type, uint64_t n_values, tern_error *err) {
    const tern_codec *codec = tern_codec_of_gguf(type);
    if (codec) {
        tensor->type = codec->type;
        tensor->type_name = codec->name;
        if (!tern_codec_bytes(codec, tensor->rows, tensor->cols, &tensor->bytes))
            return tern_fail(err, TERN_ERR_FORMAT,
                             "tensor '%s' of %llu rows by %llu columns cannot be of type %s (blocks of %u values)",
                             tensor->name, (unsigned long long)tensor->rows, (unsigned long long)tensor->cols,
                             codec->name, codec->block_values);
        return TERN_OK;
    }
    tensor->type = TERN_TYPE_OTHER;
    for (size_t i = 0; i < sizeof other_types / sizeof other_types[0]; i++) {
        const other_type *other = &other_types[i];
        if (other->gguf_type != type)
            continue;
        tensor->type_name = other->name;
        if (other->block_values && (tensor->cols % other->block_values ||
                                    !tern_mul_u64(n_values / other->block_values, other->block_bytes, &tensor->bytes)))
            return tern_fail(err, TERN_ERR_FORMAT,
                             "tensor '%s' of type %s has rows of %llu values, not of whole blocks", tensor->name,
                             other->name, (unsigned long long)tensor->cols);
        return TERN_OK;
    }
    char name[32];
    int n = snprintf(name, sizeof name, "type %u", type);
    tensor->type_name = tern_arena_copy(&gguf->store->arena, name, (size_t)n);
    return tensor->type_name ? TERN_OK : tern_fail_memory(err, "the tensor list");
}

static tern_status read_tensor(tern_gguf *gguf, size_t index, tern_tensor *tensor, uint64_t *offset, tern_error *err) {
    tern_reader *reader = &gguf->reader;
    tern_view name = tern_gguf_string(reader);
    tensor->n_dims = tern_read_u32(reader);
    if (reader->failed)
        return tern_gguf_fail_cut(gguf, "the tensor list", err);
    if (!tern_name_is_clean(name.bytes, name.size))
        return tern_fail(err, TERN_ERR_FORMAT, "tensor number %zu has an unreadable name: the file is corrupted",
                         index);
    tensor->name = tern_arena_copy(&gguf->store->arena, name.bytes, name.size);
    if (!tensor->name)
        return tern_fail_memory(err, "the tensor list");
    if (tensor->n_dims < 1 || tensor->n_dims > MAX_DIMS)
        return tern_fail(err, TERN_ERR_FORMAT, "tensor '%s' has %u dimensions; 1 to 4 are possible", tensor->name,
                         tensor->n_dims);
    for (uint32_t i = 0; i < tensor->n_dims; i++) /* GGUF has the innermost first */
        tensor->shape[tensor->n_dims - 1 - i] = tern_read_u64(reader);
    uint32_t type = tern_read_u32(reader);
    *offset = tern_read_u64(reader);
    if (reader->failed)
        return tern_gguf_fail_cut(gguf, "the tensor list", err);
    uint64_t n_values;
    if (!tern_tensor_set_matrix(tensor, &n_values))
        return tern_fail(err, TERN_ERR_FORMAT, "tensor '%s' has an impossible shape (a dimension of 0, or too large)",
                         tensor->name);
    if (*offset % gguf->alignment)
        return tern_fail(err, TERN_ERR_FORMAT, "tensor '%s' lies at offset %llu, no multiple of the alignment %llu",
                         tensor->name, (unsigned long long)*offset, (unsigned long long)gguf->alignment);
    return set_type(gguf, tensor, type, n_values, err);
}

/* Offsets count from the data section, the first multiple of the alignment behind the list. */
static tern_status place_tensors(tern_gguf *gguf, uint64_t *offsets, tern_error *err) {
    tern_store *store = gguf->store;
    uint64_t size = gguf->reader.size;
    uint64_t start = (gguf->reader.pos + gguf->alignment - 1) / gguf->alignment * gguf->alignment;
    for (size_t i = 0; i < store->n_tensors; i++) {
        tern_tensor *tensor = &store->tensors[i];
        uint64_t end;
        if (!tern_add_u64(start, offsets[i], &offsets[i]) || !tern_add_u64(offsets[i], tensor->bytes, &end))
            return tern_fail(err, TERN_ERR_FORMAT, "tensor '%s' has an offset that overflows: the file is corrupted",
                             tensor->name);
        /* meaningless but harmless until tern_check_length has passed: nothing reads it before */
        tensor->data = gguf->reader.data + (offsets[i] <= size ? offsets[i] : size);
        offsets[i] = end;
    }
    tern_status status = tern_check_length(store->tensors, offsets, store->n_tensors, size, err);
    return status ? status : tern_check_overlap(store->tensors, store->n_tensors, err);
}

tern_status tern_gguf_read_tensors(tern_gguf *gguf, uint64_t n_tensors, tern_error *err) {
    uint64_t *offsets = tern_alloc_array((size_t)n_tensors, sizeof *offsets);
    if (!offsets)
        return tern_fail_memory(err, "the tensor list");
    tern_status status = TERN_OK;
    for (size_t i = 0; i < n_tensors && !status; i++) {
        tern_tensor *tensor = tern_store_add_tensor(gguf->store);
        status = tensor ? read_tensor(gguf, i, tensor, &offsets[i], err) : tern_fail_memory(err, "the tensor list");
    }
    if (!status)
        status = place_tensors(gguf, offsets, err);
    free(offsets);
    return status;
}
