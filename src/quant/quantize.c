#include "quant/quantize.h"

#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "model/convert.h"
#include "model/demo.h"
#include "model/keys.h"
#include "model/vocab.h"
#include "quant/passage.h"

/* Tokens of a calibration window, BOS included, or as many as the model's context has. */
enum { WINDOW = 512 };

/* A model of floats, open. */
typedef struct source {
    tern_checkpoint *checkpoint;
    tern_weights weights; /* bound, not loaded */
    const tern_kernels *kernels;
    tern_pool *pool;
    tern_quant_layer layer;
    tern_passage passage; /* through the model; memory NULL: none */
    int32_t *ids;         /* of its text */
    uint32_t index;       /* of the layer under way */
    tern_progress_fn progress;
    void *progress_user;
} source;

static void close_source(source *s) {
    tern_quant_layer_free(&s->layer);
    tern_passage_free(&s->passage);
    free(s->ids);
    tern_weights_free(&s->weights);
    tern_checkpoint_close(s->checkpoint);
    tern_pool_free(s->pool);
}

/* Every matrix holds floats, and the model was not made to be ternary. */
static tern_status check_floats(const source *s, tern_error *err) {
    const tern_weights *weights = &s->weights;
    for (uint32_t i = 0; i < weights->dims.n_layers * TERN_LINEARS_PER_LAYER; i++) {
        const tern_linear *linear = &weights->layers[i / TERN_LINEARS_PER_LAYER].linears[i % TERN_LINEARS_PER_LAYER];
        const tern_codec *codec = tern_codec_of(linear->source->type);
        if (linear->stored || !codec || !codec->decode_row)
            return tern_fail(err, TERN_ERR_UNSUPPORTED,
                             "%s: tensor %s is ternary already (%s); tern convert changes its form without loss",
                             s->checkpoint->path, linear->source->name, linear->source->type_name);
    }
    static const char key[] = "quantization_config";
    for (size_t i = 0; i < s->checkpoint->n_metadata; i++)
        if (strncmp(s->checkpoint->metadata[i].key, key, sizeof key - 1) == 0)
            return tern_fail(err, TERN_ERR_UNSUPPORTED,
                             "%s: was trained to be ternary (config.json has a %s): tern runs it as it is, and tern "
                             "convert changes its form without loss",
                             s->checkpoint->path, key);
    return TERN_OK;
}

static tern_status open_source(const char *path, const tern_quant_scales *scales, int n_threads, source *s,
                               tern_error *err) {
    tern_status status = tern_kernels_choose(NULL, &s->kernels, err);
    if (!status)
        status = tern_pool_create(n_threads > 0 ? n_threads : tern_cpu_count(), &s->pool, err);
    if (!status)
        status = tern_open_model(path, &s->checkpoint, err);
    if (!status)
        status = tern_weights_bind(s->checkpoint, &s->weights, err);
    if (!status)
        status = check_floats(s, err);
    for (int i = 0; !status && scales->group_cols && i < TERN_LINEARS_PER_LAYER; i++) {
        const tern_linear *linear = &s->weights.layers[0].linears[i];
        if (linear->cols % scales->group_cols)
            status = tern_fail(err, TERN_ERR_UNSUPPORTED,
                               "%s: tensor %s has rows of %u weights; scales by group take a multiple of %u", path,
                               linear->source->name, (unsigned)linear->cols, (unsigned)scales->group_cols);
    }
    return status ? status : tern_quant_layer_create(&s->weights, scales, &s->layer, err);
}

/* Within a layer, which may take minutes: so many are done, as before. */
static bool goes_on(void *user) {
    const source *s = user;
    return !s->progress || s->progress(s->progress_user, s->index, s->weights.dims.n_layers);
}

/* At most `most` tokens of the text, in windows, stand before the first layer. */
static tern_status begin_passage(source *s, const char *text, size_t n_bytes, size_t most, uint32_t window, bool int8,
                                 tern_error *err) {
    tern_tokenizer *tokenizer = NULL;
    size_t n_ids = 0;
    tern_status status = tern_vocab_from_checkpoint(s->checkpoint, &tokenizer, err);
    if (status)
        return status;
    int32_t bos = tern_tokenizer_bos(tokenizer);
    status = bos < 0
                 ? tern_fail(err, TERN_ERR_UNSUPPORTED,
                             "%s: the tokenizer has no BOS token, which every window begins with", s->checkpoint->path)
                 : tern_tokenize(tokenizer, text, n_bytes, 0, &s->ids, &n_ids, err);
    tern_tokenizer_free(tokenizer);
    if (status)
        return status;
    if (!n_ids)
        return tern_fail(err, TERN_ERR_ARGUMENT, "the text is empty");
    if (window < 2)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: a context of one token, the BOS, has no room for a text",
                         s->checkpoint->path);
    for (size_t i = 0; i < n_ids; i++)
        if (s->ids[i] < 0 || (uint32_t)s->ids[i] >= s->weights.dims.vocab_size)
            return tern_fail(err, TERN_ERR_FORMAT, "%s: the tokenizer has tokens that the model has not",
                             s->checkpoint->path);
    status = tern_passage_create(&s->weights, s->kernels, s->pool, s->ids, n_ids < most ? n_ids : most, bos, window - 1,
                                 int8, &s->passage, err);
    s->passage.goes_on = goes_on;
    s->passage.user = s;
    return status;
}

/* Layer `index` was done. */
static tern_status count_layer(const source *s, uint32_t index, tern_error *err) {
    if (!s->progress || s->progress(s->progress_user, index + 1, s->weights.dims.n_layers))
        return TERN_OK;
    return tern_fail(err, TERN_ERR_CANCELLED, "cancelled");
}

/* ------------------------------------------------------------------- loss */

tern_status tern_float_loss(const char *path, const char *text, size_t n_bytes, uint32_t n_window, int n_threads,
                            tern_progress_fn progress, void *progress_user, double *mean_nll, uint64_t *n_tokens,
                            tern_error *err) {
    source s = {.progress = progress, .progress_user = progress_user};
    const tern_quant_scales none = {0};
    tern_status status = open_source(path, &none, n_threads, &s, err);
    if (!status && (n_window < 2 || n_window > s.weights.dims.n_ctx))
        status = tern_fail(err, TERN_ERR_ARGUMENT, "a window of %u tokens: the model's context has 2 to %u",
                           (unsigned)n_window, (unsigned)s.weights.dims.n_ctx);
    if (!status)
        status = begin_passage(&s, text, n_bytes, SIZE_MAX, n_window, false, err);
    for (uint32_t i = 0; !status && i < s.weights.dims.n_layers; i++) {
        s.index = i;
        status = tern_quant_layer_load(&s.weights, s.pool, i, &s.layer, err);
        if (!status)
            status = tern_passage_layer(&s.passage, &s.layer, err);
        if (!status)
            status = count_layer(&s, i, err);
    }
    if (!status)
        status = tern_passage_loss(&s.passage, mean_nll, err);
    if (!status && n_tokens)
        *n_tokens = s.passage.n_tokens;
    close_source(&s);
    return status;
}

/* --------------------------------------------------------------- quantise */

/* A layer's matrices, for the converter. */
static tern_status make_layer(void *user, uint32_t index, const int8_t *trits[TERN_LINEARS_PER_LAYER],
                              const float *scales[TERN_LINEARS_PER_LAYER], tern_error *err) {
    source *s = user;
    s->index = index;
    tern_status status = tern_quant_layer_load(&s->weights, s->pool, index, &s->layer, err);
    if (!status && s->passage.memory)
        status = tern_passage_quantize(&s->passage, &s->layer, err);
    for (int i = 0; !status && i < TERN_LINEARS_PER_LAYER; i++) {
        const tern_quant_matrix *m = &s->layer.matrices[i];
        if (!s->passage.memory)
            status = tern_quant_round(s->pool, m, err);
        trits[i] = m->trits;
        scales[i] = m->scales;
    }
    return status ? status : count_layer(s, index, err);
}

/* Files of a Hugging Face folder, such as the one that is being read. */
static bool is_model_file(const char *path) {
    static const char *const ends[] = {".safetensors", ".json"};
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (length >= strlen(ends[i]) && strcmp(path + length - strlen(ends[i]), ends[i]) == 0)
            return true;
    return false;
}

static tern_status check_output(const source *s, const char *path, const char *type, tern_quantize_scale scale,
                                tern_error *err) {
    const tern_codec *codec = tern_keys_weight_type(type);
    if (is_model_file(path))
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: the new model is a GGUF; a name that ends so is of another kind",
                         path);
    if (!codec)
        return tern_fail(err, TERN_ERR_ARGUMENT, "type '%s' is not one of %s", type ? type : "",
                         tern_keys_weight_types);
    if (scale != TERN_QUANTIZE_BY_TENSOR && !codec->block_scale)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "type '%s' has no place for scales by row or group; TQ1_0 and TQ2_0 have one for each %d "
                         "weights",
                         type, TERN_QUANTIZE_GROUP);
    if (s->weights.dims.no_sub_norms && !codec->ternary)
        return tern_fail(
            err, TERN_ERR_ARGUMENT,
            "type '%s': ternary matrices of a LLaMA model are told from floats by their type, which must be "
            "I2_S, TQ1_0 or TQ2_0",
            type);
    return TERN_OK;
}

tern_status tern_quantize(const char *in, const char *out, const tern_quantize_params *params, size_t *n_calibrated,
                          tern_error *err) {
    source s = {.progress = params->progress, .progress_user = params->progress_user};
    const char *types[] = {"I2_S", "TQ2_0", "TQ2_0"}, *type = params->type ? params->type : types[params->scale];
    const tern_quant_scales scales = {.by_row = params->scale != TERN_QUANTIZE_BY_TENSOR,
                                      .group_cols = params->scale == TERN_QUANTIZE_BY_GROUP ? TERN_QUANTIZE_GROUP : 0};
    const tern_matrix_source matrices = {make_layer, &s, scales.group_cols};
    const tern_convert_params convert = {
        .type = type, .embedding_type = params->embedding_type, .name = params->name, .n_threads = params->n_threads};
    tern_status status = open_source(in, &scales, params->n_threads, &s, err);
    if (!status)
        status = check_output(&s, out, type, params->scale, err);
    uint32_t n_ctx = s.weights.dims.n_ctx;
    if (!status && params->calibration)
        status = begin_passage(&s, params->calibration, params->calibration_bytes, params->calibration_tokens,
                               n_ctx < WINDOW ? n_ctx : WINDOW, true, err);
    if (!status)
        status = tern_convert_with(in, out, &convert, &matrices, err);
    if (!status && n_calibrated)
        *n_calibrated = s.passage.n_tokens;
    close_source(&s);
    return status;
}
