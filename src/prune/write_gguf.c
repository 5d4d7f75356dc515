/* The pruned model as a GGUF: the keys as they were but for the sizes that are new, the tensors in the same order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/gguf_write.h"
#include "model/keys.h"
#include "prune/parts.h"

enum { MAX_ALIGNMENT = 4096 }; /* that the writer takes */
enum { HEADS, KV_HEADS, KEY_LENGTH, VALUE_LENGTH, FFN_LENGTH, N_SIZES };

/* Behind the architecture's name. */
static const char *const size_keys[N_SIZES] = {
    [HEADS] = "attention.head_count",      [KV_HEADS] = "attention.head_count_kv",
    [KEY_LENGTH] = "attention.key_length", [VALUE_LENGTH] = "attention.value_length",
    [FFN_LENGTH] = "feed_forward_length",
};

static const char *full_key(char key[static 128], const char *arch, int which) {
    snprintf(key, 128, "%s.%s", arch, size_keys[which]);
    return key;
}

/* Which size a key holds; N_SIZES: none. */
static int which_size(const char *arch, tern_view key) {
    char name[128];
    int which = 0;
    while (which < N_SIZES && !tern_view_equal(key, tern_view_of(full_key(name, arch, which))))
        which++;
    return which;
}

/* One that may no longer be true. */
static bool is_dropped(tern_view key) { return tern_view_equal(key, tern_view_of("general.parameter_count")); }

static void put_keys(const tern_pruner *pruner, tern_gguf_writer *writer) {
    const tern_checkpoint *checkpoint = pruner->checkpoint;
    const char *arch = checkpoint->config.arch;
    const tern_dims *dims = &pruner->after;
    const uint32_t values[N_SIZES] = {[HEADS] = dims->n_heads,
                                      [KV_HEADS] = dims->n_kv_heads,
                                      [KEY_LENGTH] = dims->head_dim,
                                      [VALUE_LENGTH] = dims->head_dim,
                                      [FFN_LENGTH] = dims->ffn_size};
    bool put[N_SIZES] = {0};
    char name[128];
    for (size_t i = 0; i < checkpoint->n_raw_keys; i++) {
        tern_view key = checkpoint->raw_keys[i].key;
        int which = which_size(arch, key);
        if (which < N_SIZES) {
            tern_gguf_put_u32(writer, full_key(name, arch, which), values[which]);
            put[which] = true;
        } else if (tern_view_equal(key, tern_view_of("general.alignment"))) {
            uint32_t alignment = tern_keys_find_u32(checkpoint, "general.alignment");
            if (alignment && alignment <= MAX_ALIGNMENT) /* else the writer's own */
                tern_gguf_set_alignment(writer, alignment);
        } else if (!is_dropped(key)) {
            tern_gguf_put_raw(writer, checkpoint->raw_keys[i].bytes);
        }
    }
    /* readers that are not told a head's width divide the hidden size by the heads */
    bool told = tern_q_size(dims) == dims->hidden_size;
    for (int which = 0; which < N_SIZES; which++)
        if (!put[which] && !(told && (which == KEY_LENGTH || which == VALUE_LENGTH)))
            tern_gguf_put_u32(writer, full_key(name, arch, which), values[which]);
}

static tern_status put_tensors(const tern_pruner *pruner, tern_gguf_writer *writer, uint64_t *most, tern_error *err) {
    const tern_checkpoint *checkpoint = pruner->checkpoint;
    for (size_t i = 0; i < checkpoint->n_tensors; i++) {
        const tern_tensor *tensor = &checkpoint->tensors[i];
        const tern_codec *codec = tern_codec_of(tensor->type);
        prune_cut cut = tern_prune_cut_of(pruner, tensor);
        uint64_t bytes;
        if (!codec || codec->gguf_type == UINT32_MAX || tensor->n_dims > 2)
            return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: tensor %s of type %s cannot be copied", checkpoint->path,
                             tensor->name, tensor->type_name);
        tern_status status = tern_prune_bytes(pruner, tensor, &cut, &bytes, err);
        if (status)
            return status;
        uint64_t rows = cut.n_rows, cols = cut.n_cols;
        if (cut.stored) {
            tern_linear linear = tern_prune_laid_out(&cut);
            rows = linear.n_units;
            cols = linear.unit_bytes;
        }
        tern_gguf_put_tensor(writer, tensor->name, codec->gguf_type, rows, cols, tensor->n_dims < 2, bytes);
        *most = bytes > *most ? bytes : *most;
    }
    return tern_gguf_begin_data(writer, err);
}

static tern_status write_tensors(const tern_pruner *pruner, tern_gguf_writer *writer, uint64_t most, tern_error *err) {
    const tern_checkpoint *checkpoint = pruner->checkpoint;
    uint8_t *bytes = tern_alloc_array(most, 1);
    tern_status status = bytes ? TERN_OK : tern_fail_memory(err, "a tensor");
    for (size_t i = 0; !status && i < checkpoint->n_tensors; i++) {
        const tern_tensor *tensor = &checkpoint->tensors[i];
        prune_cut cut = tern_prune_cut_of(pruner, tensor);
        uint64_t n_bytes;
        status = tern_prune_bytes(pruner, tensor, &cut, &n_bytes, err);
        if (!status)
            status = tern_prune_make(pruner, tensor, &cut, bytes, err);
        if (!status)
            status = tern_gguf_write_data(writer, bytes, (size_t)n_bytes, err);
        tern_checkpoint_release(checkpoint, tensor);
    }
    free(bytes);
    return status;
}

tern_status tern_prune_write_gguf(const tern_pruner *pruner, const char *path, tern_error *err) {
    tern_gguf_writer *writer;
    uint64_t most = 0;
    tern_status status = tern_gguf_writer_create(path, &writer, err);
    if (status)
        return status;
    put_keys(pruner, writer);
    status = put_tensors(pruner, writer, &most, err);
    if (!status)
        status = write_tensors(pruner, writer, most, err);
    if (!status)
        return tern_gguf_writer_finish(writer, err);
    tern_gguf_writer_abort(writer);
    return status;
}
