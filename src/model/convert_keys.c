/* The metadata of a converted model. */
#include <stdlib.h>
#include <string.h>

#include "model/convert_parts.h"
#include "model/keys.h"
#include "model/scales.h"
#include "model/vocab.h"

#define SOURCE_KEY "tern.layout.source"

/* Ours are written anew; only what the matrices once were is known from the file, if that is in our layout. (The keys
 * tokenizer.tern.* are read from every GGUF, whoever wrote it.) */
static bool is_ours(const tern_checkpoint *checkpoint, const tern_codec *matrices, tern_view key) {
    static const char prefix[] = "tern.";
    if (!matrices && checkpoint->layout_version && tern_view_equal(key, tern_view_of(SOURCE_KEY)))
        return false;
    if (matrices && tern_view_equal(key, tern_view_of("general.file_type")))
        return true;
    return tern_view_equal(key, tern_view_of("general.alignment")) ||
           (key.size >= strlen(prefix) && memcmp(key.bytes, prefix, strlen(prefix)) == 0);
}

static void copy_keys(const tern_checkpoint *checkpoint, const char *model_name, const tern_codec *matrices,
                      tern_gguf_writer *writer) {
    static const char name_key[] = "general.name";
    for (size_t i = 0; i < checkpoint->n_raw_keys; i++) {
        tern_view key = checkpoint->raw_keys[i].key;
        bool renamed = model_name && tern_view_equal(key, tern_view_of(name_key));
        if (!renamed && !is_ours(checkpoint, matrices, key))
            tern_gguf_put_raw(writer, checkpoint->raw_keys[i].bytes);
    }
    if (model_name)
        tern_gguf_put_string(writer, name_key, model_name);
}

/* ---------------------------------------------------- Hugging Face folders */

/* The last part of a path: "models/story/" -> "story". */
static tern_view base_name(const char *path) {
    size_t end = strlen(path), begin;
    while (end > 1 && path[end - 1] == '/')
        end--;
    for (begin = end; begin > 0 && path[begin - 1] != '/'; begin--) {
    }
    return (tern_view){path + begin, end - begin};
}

static tern_status put_vocab(const tern_checkpoint *checkpoint, tern_gguf_writer *writer, tern_error *err) {
    tern_tokenizer *tokenizer = NULL;
    tern_status status = tern_vocab_from_checkpoint(checkpoint, &tokenizer, err);
    if (!status)
        status = tern_keys_put_vocab(writer, tokenizer, 0, checkpoint->chat_template, err);
    tern_tokenizer_free(tokenizer);
    return status;
}

/* What is copied as it is must load, as what is made anew does. */
static tern_status check_vocab(const tern_checkpoint *checkpoint, tern_error *err) {
    tern_tokenizer *tokenizer = NULL;
    tern_status status = tern_vocab_from_checkpoint(checkpoint, &tokenizer, err);
    tern_tokenizer_free(tokenizer);
    return status;
}

static tern_status make_keys(const tern_checkpoint *checkpoint, const char *model_name, const tern_dims *dims,
                             tern_gguf_writer *writer, tern_error *err) {
    tern_buffer name = {0};
    tern_view folder = base_name(checkpoint->path);
    if (!tern_buffer_append(&name, folder.bytes, folder.size))
        return tern_fail_memory(err, checkpoint->path);
    if (!model_name)
        model_name = checkpoint->config.name ? checkpoint->config.name : name.bytes;
    tern_keys_put_model(writer, model_name, dims);
    tern_buffer_free(&name);
    return put_vocab(checkpoint, writer, err);
}

/* -------------------------------------------------------------------- all */

tern_status tern_convert_keys(const tern_checkpoint *checkpoint, const tern_weights *weights, const char *model_name,
                              const char *packing, const tern_codec *matrices, tern_gguf_writer *writer,
                              tern_error *err) {
    tern_status status = TERN_OK;
    if (checkpoint->kind == TERN_CHECKPOINT_GGUF) {
        status = check_vocab(checkpoint, err);
        copy_keys(checkpoint, model_name, matrices, writer);
    } else {
        status = make_keys(checkpoint, model_name, &weights->dims, writer, err);
    }
    if (matrices) {
        tern_keys_put_file_type(writer, matrices);
        return status;
    }
    if (!checkpoint->layout_version)
        tern_gguf_put_string(writer, SOURCE_KEY, weights->layers[0].q.source->type_name);
    tern_gguf_put_u32(writer, "tern.layout.version",
                      tern_scales_first(weights) ? TERN_LAYOUT_OWN_SCALES : TERN_LAYOUT_ONE_SCALE);
    tern_gguf_put_string(writer, "tern.layout.packing", packing);
    return status;
}
