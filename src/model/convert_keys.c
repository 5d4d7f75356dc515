/* The metadata of a converted model. */
#include <stdlib.h>
#include <string.h>

#include "model/convert_parts.h"
#include "model/keys.h"
#include "model/scales.h"
#include "model/vocab.h"

#define SOURCE_KEY "tern.layout.source"
#define SOURCE_ALIGNMENT_KEY "tern.layout.source_alignment"
enum {
    ALIGNMENT = 64,       /* of tern's own layout: cache lines */
    MAX_ALIGNMENT = 4096, /* that the writer takes */
    GUESSED_TYPE = 1024   /* llama.cpp's general.file_type for "look at the tensors" */
};

static bool is_key(tern_view key, const char *name) { return tern_view_equal(key, tern_view_of(name)); }

/* Where tensors of the new file begin, if it says so: in tern's own layout at cache lines, else where the source had
 * them before it was in tern's own layout. 0: where GGUF has them by itself. */
static uint32_t alignment_of(const tern_conversion *c) {
    if (!c->matrices)
        return ALIGNMENT;
    uint32_t value =
        tern_keys_find_u32(c->checkpoint, c->checkpoint->layout_version ? SOURCE_ALIGNMENT_KEY : "general.alignment");
    return value <= MAX_ALIGNMENT ? value : 0;
}

/* Those of tern's own layout: written anew. Only what the file was before it was in our layout is known from itself.
 * (The keys tokenizer.tern.* are read from every GGUF, whoever wrote it.) */
static bool is_ours(const tern_conversion *c, tern_view key) {
    static const char prefix[] = "tern.layout.";
    if (!c->matrices && c->checkpoint->layout_version && (is_key(key, SOURCE_KEY) || is_key(key, SOURCE_ALIGNMENT_KEY)))
        return false;
    return key.size >= strlen(prefix) && memcmp(key.bytes, prefix, strlen(prefix)) == 0;
}

/* Whether the file's matrices are of that type already, whatever general.file_type says. */
static bool is_same_type(const tern_conversion *c) {
    const tern_linear *first = &c->weights.layers[0].q;
    return !first->stored && tern_codec_of(first->source->type) == c->matrices;
}

/* Those of a GGUF, in their order; what has another value now stands in its old place. */
static void copy_keys(tern_conversion *c) {
    const tern_checkpoint *checkpoint = c->checkpoint;
    const char *name = c->params->name;
    uint32_t alignment = alignment_of(c);
    bool aligned = tern_keys_find_u32(checkpoint, "general.alignment") != 0, named = false;
    if (alignment && !aligned)
        tern_gguf_set_alignment(c->writer, alignment);
    for (size_t i = 0; i < checkpoint->n_raw_keys; i++) {
        tern_view key = checkpoint->raw_keys[i].key;
        if (is_ours(c, key))
            continue;
        if (is_key(key, "general.alignment")) {
            if (alignment && aligned)
                tern_gguf_set_alignment(c->writer, alignment);
        } else if (is_key(key, "general.file_type") && c->matrices && !is_same_type(c)) {
            tern_keys_put_file_type(c->writer, c->matrices);
        } else if (is_key(key, "general.name") && name) {
            tern_gguf_put_string(c->writer, "general.name", name);
            named = true;
        } else {
            tern_gguf_put_raw(c->writer, checkpoint->raw_keys[i].bytes);
        }
    }
    if (name && !named)
        tern_gguf_put_string(c->writer, "general.name", name);
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

static tern_status make_keys(tern_conversion *c, tern_error *err) {
    const tern_checkpoint *checkpoint = c->checkpoint;
    const char *model_name = c->params->name;
    tern_buffer name = {0};
    tern_view folder = base_name(checkpoint->path);
    if (!tern_buffer_append(&name, folder.bytes, folder.size))
        return tern_fail_memory(err, checkpoint->path);
    if (!model_name)
        model_name = checkpoint->config.name ? checkpoint->config.name : name.bytes;
    if (!c->matrices)
        tern_gguf_set_alignment(c->writer, ALIGNMENT);
    tern_keys_put_model(c->writer, model_name, &c->weights.dims);
    tern_buffer_free(&name);
    tern_status status = put_vocab(checkpoint, c->writer, err);
    if (c->matrices)
        tern_keys_put_file_type(c->writer, c->matrices);
    else
        tern_gguf_put_u32(c->writer, "general.file_type", GUESSED_TYPE);
    return status;
}

/* -------------------------------------------------------------------- all */

tern_status tern_convert_keys(tern_conversion *c, tern_error *err) {
    const tern_checkpoint *checkpoint = c->checkpoint;
    tern_status status = TERN_OK;
    if (checkpoint->kind == TERN_CHECKPOINT_GGUF) {
        status = check_vocab(checkpoint, err);
        copy_keys(c);
    } else {
        status = make_keys(c, err);
    }
    if (c->matrices)
        return status;
    if (!checkpoint->layout_version) {
        uint32_t alignment = tern_keys_find_u32(checkpoint, "general.alignment");
        if (alignment)
            tern_gguf_put_u32(c->writer, SOURCE_ALIGNMENT_KEY, alignment);
        tern_gguf_put_string(c->writer, SOURCE_KEY, c->weights.layers[0].q.source->type_name);
    }
    tern_gguf_put_u32(c->writer, "tern.layout.version",
                      tern_scales_first(&c->weights) ? TERN_LAYOUT_OWN_SCALES : TERN_LAYOUT_ONE_SCALE);
    tern_gguf_put_string(c->writer, "tern.layout.packing", c->packing);
    return status;
}
