/* Any model that tern loads -> GGUF, in tern's own layout (docs/FORMAT.md) or with tensors of other programs' types, or
 * a Hugging Face folder: what is possible, and in which order it is done. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/cpu.h"
#include "base/file.h"
#include "model/convert_parts.h"
#include "model/demo.h"
#include "model/keys.h"
#include "model/scales.h"
#include "tokenizer/unicode.h"

#define FOLDER_TYPE "hf-packed"

static tern_status convert(tern_conversion *c, tern_error *err) {
    tern_status status = tern_convert_keys(c, err);
    if (!status)
        status = tern_convert_list(c, err);
    if (!status)
        status = tern_gguf_begin_data(c->writer, err);
    return status ? status : tern_convert_data(c, err);
}

/* A LLaMA model is one of floats or a ternary one by the type of its matrices alone: neither can become the other. */
static tern_status check_kind(const tern_conversion *c, tern_error *err) {
    if (c->weights.plain && (!c->matrices || c->matrices->ternary))
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "%s: has weights of floats, which are not ternary: tern quantize makes them so; "
                         "here they can become F16, BF16 or F32",
                         c->checkpoint->path);
    if (!c->weights.plain && c->weights.dims.no_sub_norms && c->matrices && !c->matrices->ternary)
        return tern_fail(
            err, TERN_ERR_UNSUPPORTED,
            "%s: is a ternary model of the LLaMA layout; as %s it would be run as one of floats. Take tern, "
            "I2_S, TQ1_0 or TQ2_0",
            c->checkpoint->path, c->matrices->name);
    return TERN_OK;
}

static bool is_automatic(const char *packing) { return !packing || !*packing || strcmp(packing, "auto") == 0; }

static bool is_folder(const tern_convert_params *params) {
    return params->type && strcasecmp(params->type, FOLDER_TYPE) == 0;
}

static bool is_b1(const char *type) { return type && strcasecmp(type, "b1") == 0; }

/* The packing to write: the one asked for, as when a model is loaded, or (once the model is open) what the best kernels
 * here read first: of a model without zeros, the one for those. */
static tern_status choose_packing(tern_conversion *c, tern_error *err) {
    const char *source = "--packing ";
    bool binary = c->params->binarize;
    c->packing = is_b1(c->params->type) ? tern_packing_b1r16.name : c->params->packing;
    if (is_automatic(c->packing)) {
        c->packing = getenv("TERN_PACKING");
        source = "TERN_PACKING=";
    }
    if (is_automatic(c->packing) && !c->checkpoint)
        return TERN_OK;
    if (is_automatic(c->packing)) {
        tern_status status = binary ? TERN_OK : tern_weights_are_binary(c->checkpoint, c->pool, &binary, err);
        if (status)
            return status;
        c->packing = binary ? tern_packing_b1r16.name : c->kernels->ternary[0]->packing->name;
    }
    if (!tern_form_named(c->packing, 0))
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s%s: is not one of %s", source, c->packing, tern_form_names);
    return TERN_OK;
}

/* What a folder has no place for, and its floats. */
static tern_status check_folder(tern_conversion *c, tern_error *err) {
    const tern_convert_params *params = c->params;
    c->floats = params->dtype ? tern_codec_named(params->dtype) : NULL;
    if (params->dtype && (!c->floats || (c->floats->type != TERN_TYPE_BF16 && c->floats->type != TERN_TYPE_F32)))
        return tern_fail(err, TERN_ERR_ARGUMENT, "dtype '%s' is not one of BF16, F32", params->dtype);
    if (params->name)
        return tern_fail(err, TERN_ERR_ARGUMENT, "a folder's model has the folder's name; it takes no other");
    if (params->embedding_type)
        return tern_fail(
            err, TERN_ERR_ARGUMENT,
            "a folder's embedding is of the type of its other floats, which a dtype says; it takes no other");
    return TERN_OK;
}

/* Of the matrices, and of embedding and head. */
static tern_status choose_types(tern_conversion *c, tern_error *err) {
    const char *type = c->params->type, *embedding = c->params->embedding_type;
    if (type && strcasecmp(type, "hf-master") == 0)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "type 'hf-master': masters are what a model is trained with, and no conversion has them; copy "
                         "the folder that does, or let tern train export one. Take " FOLDER_TYPE
                         " for ternary weights");
    if (type && strcasecmp(type, "tern") != 0 && !is_b1(type)) {
        c->matrices =
            is_folder(c->params) && !c->source ? tern_codec_of(TERN_TYPE_HF_PACKED) : tern_keys_weight_type(type);
        if (!c->matrices)
            return tern_fail(err, TERN_ERR_ARGUMENT, "type '%s' is not one of tern, b1, %s%s", type,
                             tern_keys_weight_types, c->source ? "" : ", " FOLDER_TYPE);
    }
    tern_status status = is_folder(c->params) ? check_folder(c, err) : TERN_OK;
    if (!status && c->params->dtype && !is_folder(c->params))
        status = tern_fail(err, TERN_ERR_ARGUMENT, "a dtype goes with type " FOLDER_TYPE);
    if (status)
        return status;
    if (is_b1(type) && !is_automatic(c->params->packing) && strcmp(c->params->packing, tern_packing_b1r16.name) != 0)
        return tern_fail(err, TERN_ERR_ARGUMENT, "type b1 is packed as %s, not as %s", tern_packing_b1r16.name,
                         c->params->packing);
    if (embedding) {
        c->embedding = tern_keys_embedding_type(embedding);
        if (!c->embedding)
            return tern_fail(err, TERN_ERR_ARGUMENT, "embedding type '%s' is not one of %s", embedding,
                             tern_keys_embedding_types);
        if (!c->matrices) /* its screen would have to be made of the new head */
            return tern_fail(err, TERN_ERR_ARGUMENT,
                             "an embedding type goes with the types %s; tern's own layout can be made from such a file",
                             tern_keys_weight_types);
    }
    if (c->matrices && (c->params->packing || c->params->no_screen))
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s goes with tern's own layout, not with type %s",
                         c->params->packing ? "a packing" : "leaving out the screen", c->matrices->name);
    return TERN_OK;
}

static tern_status check_name(const char *name, tern_error *err) {
    size_t n = name ? strlen(name) : 0;
    if (name && !n)
        return tern_fail(err, TERN_ERR_ARGUMENT, "the model's new name is empty");
    for (size_t at = 0; at < n;) {
        uint32_t c;
        at += tern_utf8_decode((const uint8_t *)name + at, n - at, &c);
        if (c == TERN_BAD_CHAR || c < ' ')
            return tern_fail(err, TERN_ERR_ARGUMENT, "the model's new name is not one line of UTF-8");
    }
    return TERN_OK;
}

static tern_status check_target(const char *in, const char *out, tern_error *err) {
    struct stat a, b;
    if (!out)
        return tern_fail(err, TERN_ERR_ARGUMENT, "tern_convert needs a path to write to");
    if (in && stat(in, &a) == 0 && stat(out, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: is the model that is to be converted; write to another file",
                         out);
    return TERN_OK;
}

static tern_status convert_file(tern_conversion *c, const char *out, tern_error *err) {
    tern_status status = tern_gguf_writer_create(out, &c->writer, err);
    if (!status)
        status = convert(c, err);
    if (!status)
        return tern_gguf_writer_finish(c->writer, err);
    tern_gguf_writer_abort(c->writer);
    return status;
}

static tern_status convert_folder(tern_conversion *c, const char *out, tern_error *err) {
    const tern_folder_params params = {
        .floats = c->floats, .pool = c->pool, .progress = c->progress, .progress_user = c->progress_user};
    return tern_convert_folder(c->checkpoint, &c->weights, out, &params, err);
}

tern_status tern_convert_with(const char *in, const char *out, const tern_convert_params *params,
                              const tern_matrix_source *source, tern_error *err) {
    static const tern_convert_params defaults = {0};
    tern_checkpoint *checkpoint = NULL;
    params = params ? params : &defaults;
    tern_conversion c = {
        .params = params, .source = source, .progress = params->progress, .progress_user = params->progress_user};
    tern_status status = check_target(in, out, err);
    if (!status)
        status = check_name(params->name, err);
    if (!status)
        status = choose_types(&c, err);
    if (!status && !c.matrices)
        status = tern_kernels_choose(NULL, &c.kernels, err);
    if (!status && !c.matrices) /* what is wrong with a name is known before anything is opened */
        status = choose_packing(&c, err);
    if (!status)
        status = tern_pool_create(params->n_threads > 0 ? params->n_threads : tern_cpu_count(), &c.pool, err);
    if (!status)
        status = tern_open_model(in, &checkpoint, err);
    c.checkpoint = checkpoint;
    if (!status)
        status = tern_weights_bind(checkpoint, &c.weights, err);
    if (!status && params->only_tern)
        *params->only_tern =
            c.matrices && !c.weights.dims.no_sub_norms && tern_q_size(&c.weights.dims) != c.weights.dims.hidden_size;
    if (!status && !source)
        status = check_kind(&c, err);
    if (!status && !source)
        status = tern_scales_find(checkpoint, c.pool, &c.weights, err);
    for (uint32_t i = 0; !status && params->binarize && i < c.weights.dims.n_layers; i++)
        for (int j = 0; j < TERN_LINEARS_PER_LAYER; j++)
            c.weights.layers[i].linears[j].binarize = true;
    if (!status && !c.matrices)
        status = choose_packing(&c, err);
    if (!status)
        status = is_folder(params) ? convert_folder(&c, out, err) : convert_file(&c, out, err);
    if (!status && !c.matrices)
        tern_file_reread(out); /* it will be used where it is mapped */
    free(c.items);
    tern_weights_free(&c.weights);
    tern_checkpoint_close(checkpoint);
    tern_pool_free(c.pool);
    return status;
}

tern_status tern_convert(const char *in, const char *out, const tern_convert_params *params, tern_error *err) {
    return tern_convert_with(in, out, params, NULL, err);
}
