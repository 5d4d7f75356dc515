/* From stored tensors to packed weights: one task a matrix, on all threads. */
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/layout.h"
#include "model/scales.h"

typedef struct load_state {
    const tern_checkpoint *checkpoint;
    tern_weights *weights;
    tern_progress_fn progress;
    void *progress_user;
    tern_linear **linears; /* [n_linears] to be packed */
    size_t n_linears;
    uint64_t total_bytes;
    atomic_uint_fast64_t done_bytes;
    atomic_bool stop;
    pthread_mutex_t lock; /* guards what follows */
    size_t failed_task;   /* the lowest that failed, so that the same file gives the same message */
    tern_error error;
} load_state;

static const tern_form *form_of(const tern_ternary *ternary, const tern_linear *linear) {
    return tern_form_for(ternary, (int)(linear->index % TERN_LINEARS_PER_LAYER));
}

/* Float matrices in a GGUF may already be ternary (converters write T * scale as F16 or F32): then the scale is their
 * one magnitude, where absmean would give something smaller. Masters in a Hugging Face folder always take absmean, as
 * transformers does. */
static bool single_magnitude(const tern_tensor *tensor, float *buffer, float *magnitude) {
    const tern_codec *codec = tern_codec_of(tensor->type);
    float found = 0;
    for (uint64_t row = 0; row < tensor->rows; row++) {
        codec->decode_row(tensor, row, buffer);
        for (uint64_t i = 0; i < tensor->cols; i++) {
            float value = fabsf(buffer[i]);
            if (value == 0)
                continue;
            if (found == 0)
                found = value;
            if (value != found)
                return false;
        }
    }
    *magnitude = found;
    return found > 0 && isfinite(found);
}

/* BitNet's quantiser (Wang et al. 2023, equations 1 to 3; what to multiply with as in numerics.md, training-recipe.md):
 * the mean of the signed weights, around which signs are taken, and that of their magnitudes. */
static tern_status binary_scale(tern_linear *linear, float *buffer, tern_error *err) {
    const tern_tensor *tensor = linear->source;
    const tern_codec *codec = tern_codec_of(tensor->type);
    if (linear->stored || codec->ternary)
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "tensor %s holds quantised weights already; only master weights can be binarised",
                         tensor->name);
    tern_status status = tern_absmean(tensor, buffer, &linear->scale, err);
    double sum = 0;
    for (uint64_t row = 0; !status && row < tensor->rows; row++) {
        double row_sum = 0;
        codec->decode_row(tensor, row, buffer);
        for (uint64_t i = 0; i < tensor->cols; i++)
            row_sum += (double)buffer[i];
        sum += row_sum;
    }
    linear->centre = (float)(sum / ((double)tensor->rows * (double)tensor->cols));
    return status;
}

static tern_status scale_of(const tern_checkpoint *checkpoint, tern_linear *linear, float *buffer, tern_error *err) {
    const tern_tensor *tensor = linear->source;
    const tern_codec *codec = tern_codec_of(tensor->type);
    if (linear->binarize)
        return binary_scale(linear, buffer, err);
    if (linear->stored || linear->own_scales || linear->scale_known)
        return TERN_OK; /* read by tern_layout_scales(), or as tern_scales_find() says */
    if (codec->ternary)
        return codec->scale(tensor, &linear->scale, err);
    if (checkpoint->kind == TERN_CHECKPOINT_GGUF && single_magnitude(tensor, buffer, &linear->scale))
        return TERN_OK;
    return tern_absmean(tensor, buffer, &linear->scale, err);
}

static tern_status fail_own_scales(const tern_linear *linear, const char *type, tern_error *err) {
    return tern_fail(err, TERN_ERR_UNSUPPORTED,
                     "tensor %s has scales by row or group of columns, for which %s has no place; TQ1_0, TQ2_0 and "
                     "tern's own layout have",
                     linear->source->name, type);
}

tern_status tern_linear_find_scale(const tern_checkpoint *checkpoint, tern_linear *linear, tern_error *err) {
    float *buffer = tern_alloc_array(linear->cols, sizeof *buffer);
    tern_status status = buffer ? scale_of(checkpoint, linear, buffer, err) : tern_fail_memory(err, "a row of weights");
    if (!status && linear->own_scales)
        status = fail_own_scales(linear, "this type", err);
    free(buffer);
    return status;
}

static bool decode_rows(const tern_linear *linear, uint32_t row, uint32_t n_rows, float *buffer, int8_t *trits) {
    const tern_tensor *tensor = linear->source;
    const size_t ld = linear->cols;
    const tern_codec *codec = tern_codec_of(tensor->type);
    bool ok = true;
    if (codec->ternary && !linear->interleaved)
        return codec->decode_trits(tensor, row, n_rows, trits, ld);
    for (uint32_t i = 0; i < n_rows; i++, trits += ld) {
        uint32_t from = tern_linear_source_row(linear, row + i);
        if (codec->ternary) {
            ok &= codec->decode_trits(tensor, from, 1, trits, ld);
            continue;
        }
        codec->decode_row(tensor, from, buffer);
        if (!linear->binarize)
            tern_ternarize_row(buffer, ld, linear->scale, trits);
        for (size_t j = 0; linear->binarize && j < ld; j++)
            trits[j] = buffer[j] >= linear->centre ? 1 : -1;
    }
    return ok;
}

/* The same of a matrix in tern's own layout, or of one in another program's. */
static tern_status read_rows(const tern_linear *linear, uint32_t row, uint32_t n_rows, float *buffer, int8_t *trits,
                             tern_error *err) {
    const tern_tensor *tensor = linear->source;
    bool ok = linear->stored ? tern_form_unpack(linear->stored, tensor->data, linear, row, n_rows, trits)
                             : decode_rows(linear, row, n_rows, buffer, trits);
    return ok ? TERN_OK
              : tern_fail(err, TERN_ERR_FORMAT,
                          "tensor %s holds codes that are no ternary values near row %" PRIu32
                          "; the file is damaged or not of type %s",
                          tensor->name, row, tensor->type_name);
}

static bool has_zero(const int8_t *trits, size_t n) {
    bool zero = false;
    for (size_t i = 0; i < n; i++)
        zero |= trits[i] == 0;
    return zero;
}

/* By its stored form's layout or another's, whichever is in columns (NULL: none). */
static uint32_t strip_rows(const tern_form *form, const tern_form *other) {
    bool columns = (form && form->layout == TERN_LAYOUT_COLUMNS) || (other && other->layout == TERN_LAYOUT_COLUMNS);
    return columns ? TERN_FORM_STRIP : TERN_GROUP_ROWS;
}

/* Unpacking takes the three lowest digits of any code, as the kernels do: only packing again shows what was wrong. */
tern_status tern_check_linear(const tern_linear *linear, tern_error *err) {
    uint32_t strip = strip_rows(linear->stored, NULL);
    const uint8_t *bytes = linear->source->data;
    tern_linear again = *linear;
    tern_form_lay_out(linear->stored, &again);
    uint8_t *packed = tern_calloc_array(again.n_units, again.unit_bytes);
    int8_t *trits = tern_alloc_array(strip, linear->cols);
    tern_status status = packed && trits ? TERN_OK : tern_fail_memory(err, "unpacking a matrix");
    again.packed = packed;
    for (uint32_t row = 0; !status && row < linear->rows; row += strip) {
        uint32_t n_rows = linear->rows - row < strip ? linear->rows - row : strip;
        status = read_rows(linear, row, n_rows, NULL, trits, err);
        if (!status)
            tern_form_pack(linear->stored, &again, row, n_rows, trits);
    }
    if (!status && memcmp(packed, bytes, (size_t)again.n_units * again.unit_bytes) != 0)
        status =
            tern_fail(err, TERN_ERR_FORMAT, "tensor %s holds codes that are no ternary values; the file is damaged",
                      linear->source->name);
    free(trits);
    free(packed);
    return status;
}

tern_status tern_pack_linear(const tern_checkpoint *checkpoint, const tern_form *form, tern_linear *linear,
                             tern_error *err) {
    if (linear->stored == form && !linear->binarize) {
        memcpy((uint8_t *)linear->packed, linear->source->data, linear->source->bytes);
        return TERN_OK;
    }
    if (linear->own_scales && tern_form_is_binary(form))
        return fail_own_scales(linear, form->name, err);
    uint32_t strip = strip_rows(form, linear->stored);
    float *buffer = tern_alloc_array(linear->cols, sizeof *buffer);
    int8_t *trits = tern_alloc_array(strip, linear->cols);
    tern_status status = buffer && trits ? TERN_OK : tern_fail_memory(err, "unpacking a matrix");
    if (!status)
        status = scale_of(checkpoint, linear, buffer, err);
    for (uint32_t row = 0; !status && row < linear->rows; row += strip) {
        uint32_t n_rows = linear->rows - row < strip ? linear->rows - row : strip;
        status = read_rows(linear, row, n_rows, buffer, trits, err);
        if (!status && tern_form_is_binary(form) && has_zero(trits, (size_t)n_rows * linear->cols))
            status = tern_fail(err, TERN_ERR_UNSUPPORTED,
                               "tensor %s holds zeros: not binary, and %s has no place for them; t5r16 and t2r16 have",
                               linear->source->name, form->name);
        if (!status)
            tern_form_pack(form, linear, row, n_rows, trits);
    }
    free(trits);
    free(buffer);
    return status;
}

/* trits [rows, cols] and the matrix's own scales -> out. */
static tern_status encode_scaled(const tern_codec *codec, const tern_linear *linear, const int8_t *trits, uint8_t *out,
                                 tern_error *err) {
    uint32_t cols = linear->slab_cols ? linear->slab_cols : linear->cols;
    float *scales = tern_alloc_array(tern_n_own_scales(linear), sizeof *scales);
    if (!scales)
        return tern_fail_memory(err, "the scales of a matrix");
    tern_scales_read(linear, scales);
    for (size_t row = 0; row < linear->rows; row++)
        for (size_t slab = 0; slab < tern_n_slabs(linear); slab++) {
            codec->encode_trits(trits, 1, cols, scales[slab * linear->rows + row], out);
            trits += cols;
            out += cols / codec->block_values * codec->block_bytes;
        }
    free(scales);
    return TERN_OK;
}

tern_status tern_encode_linear(const tern_checkpoint *checkpoint, const tern_codec *codec, tern_linear *linear,
                               uint8_t *out, tern_error *err) {
    uint32_t strip = strip_rows(NULL, linear->stored), cols = linear->cols;
    size_t row_bytes = cols / codec->block_values * codec->block_bytes;
    if (linear->own_scales && (!codec->block_scale || linear->slab_cols % codec->block_values))
        return fail_own_scales(linear, codec->name, err);
    float *buffer = tern_alloc_array(cols, sizeof *buffer);
    int8_t *trits = tern_alloc_array(linear->rows, cols);
    tern_status status = buffer && trits ? TERN_OK : tern_fail_memory(err, "unpacking a matrix");
    if (!status)
        status = scale_of(checkpoint, linear, buffer, err);
    for (uint32_t row = 0; !status && row < linear->rows; row += strip) {
        uint32_t n_rows = linear->rows - row < strip ? linear->rows - row : strip;
        status = read_rows(linear, row, n_rows, buffer, trits + (size_t)row * cols, err);
    }
    if (!status && linear->own_scales)
        status = encode_scaled(codec, linear, trits, out, err);
    else if (!status && codec->ternary)
        codec->encode_trits(trits, linear->rows, cols, linear->scale, out);
    for (uint32_t row = 0; !status && !codec->ternary && row < linear->rows; row++) {
        for (uint32_t i = 0; i < cols; i++)
            buffer[i] = (float)trits[(size_t)row * cols + i] * linear->scale;
        codec->encode_row(buffer, cols, out + row * row_bytes);
    }
    free(trits);
    free(buffer);
    return status;
}

/* The rows of a plain matrix in the order of the model. */
static void copy_plain(const tern_linear *linear) {
    for (uint32_t row = 0; row < linear->rows; row++)
        memcpy((uint8_t *)linear->packed + row * linear->unit_bytes,
               linear->source->data + tern_linear_source_row(linear, row) * linear->unit_bytes, linear->unit_bytes);
}

/* ------------------------------------------------------------------ binary */

typedef struct zero_search {
    const tern_checkpoint *checkpoint;
    tern_weights *weights;
    size_t first;      /* matrix of the first task */
    atomic_bool found; /* or failed: the search is over */
    pthread_mutex_t lock;
    tern_status status;
    tern_error error;
} zero_search;

static tern_status search_matrix(zero_search *search, tern_linear *linear, tern_error *err) {
    uint32_t strip = strip_rows(NULL, linear->stored);
    if (linear->stored && tern_form_is_binary(linear->stored))
        return TERN_OK;
    float *buffer = tern_alloc_array(linear->cols, sizeof *buffer);
    int8_t *trits = tern_alloc_array(strip, linear->cols);
    tern_status status = buffer && trits ? TERN_OK : tern_fail_memory(err, "looking for zeros");
    if (!status)
        status = scale_of(search->checkpoint, linear, buffer, err);
    for (uint32_t row = 0; !status && row < linear->rows && !atomic_load(&search->found); row += strip) {
        uint32_t n_rows = linear->rows - row < strip ? linear->rows - row : strip;
        status = read_rows(linear, row, n_rows, buffer, trits, err);
        if (!status && has_zero(trits, (size_t)n_rows * linear->cols))
            atomic_store(&search->found, true);
    }
    free(trits);
    free(buffer);
    return status;
}

static void search_task(void *context, size_t task, int worker) {
    (void)worker;
    zero_search *search = context;
    if (atomic_load(&search->found))
        return;
    tern_error err;
    task += search->first;
    tern_linear *linear =
        &search->weights->layers[task / TERN_LINEARS_PER_LAYER].linears[task % TERN_LINEARS_PER_LAYER];
    tern_status status = search_matrix(search, linear, &err);
    tern_checkpoint_release(search->checkpoint, linear->source);
    if (!status)
        return;
    atomic_store(&search->found, true);
    pthread_mutex_lock(&search->lock);
    search->status = status;
    search->error = err;
    pthread_mutex_unlock(&search->lock);
}

tern_status tern_weights_are_binary(const tern_checkpoint *checkpoint, tern_pool *pool, bool *binary, tern_error *err) {
    tern_weights weights;
    tern_status status = tern_weights_bind(checkpoint, &weights, err);
    if (status)
        return status;
    if (weights.plain) { /* floats as they are: no BitLinears */
        tern_weights_free(&weights);
        *binary = false;
        return TERN_OK;
    }
    zero_search search = {.checkpoint = checkpoint, .weights = &weights};
    pthread_mutex_init(&search.lock, NULL);
    search_task(&search, 0, 0); /* ternary models end here, in its first rows */
    search.first = 1;
    if (!atomic_load(&search.found))
        tern_pool_run(pool, (size_t)weights.dims.n_layers * TERN_LINEARS_PER_LAYER - 1, search_task, &search);
    pthread_mutex_destroy(&search.lock);
    tern_weights_free(&weights);
    /* What is wrong with a damaged matrix is said by whoever packs it: always the same one of several. */
    if (search.status == TERN_ERR_MEMORY)
        return tern_fail(err, search.status, "%s", search.error.message);
    *binary = !atomic_load(&search.found);
    return TERN_OK;
}

/* -------------------------------------------------------------------- loading */

static void load_task(void *context, size_t task, int worker) {
    load_state *state = context;
    if (atomic_load(&state->stop))
        return;
    tern_linear *linear = state->linears[task];
    tern_error err;
    tern_status status = TERN_OK;
    if (linear->layout == TERN_LAYOUT_PLAIN)
        copy_plain(linear);
    else
        status = tern_pack_linear(state->checkpoint, form_of(state->weights->ternary, linear), linear, &err);
    tern_checkpoint_release(state->checkpoint, linear->source);
    uint64_t done = atomic_fetch_add(&state->done_bytes, linear->source->bytes) + linear->source->bytes;
    /* worker 0 is the caller's own thread: its callback is never called from another */
    if (!status && worker == 0 && state->progress && !state->progress(state->progress_user, done, state->total_bytes))
        status = tern_fail(&err, TERN_ERR_CANCELLED, "loading was cancelled");
    if (status) {
        atomic_store(&state->stop, true);
        pthread_mutex_lock(&state->lock);
        if (!state->error.status || task < state->failed_task) {
            state->failed_task = task;
            state->error = err;
        }
        pthread_mutex_unlock(&state->lock);
    }
}

tern_status tern_norm_load(const tern_checkpoint *checkpoint, uint32_t layer, tern_norm norm, uint32_t size, float *out,
                           tern_error *err) {
    char buffer[128];
    const char *name = tern_norm_name(checkpoint, buffer, layer, norm);
    const tern_tensor *tensor = tern_checkpoint_find(checkpoint, name);
    if (!tensor)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: tensor %s is missing", checkpoint->path, name);
    if (tensor->rows != 1 || tensor->cols != size)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: norm %s has %" PRIu64 " values where %" PRIu32 " are wanted",
                         checkpoint->path, name, tensor->rows * tensor->cols, size);
    const tern_codec *codec = tern_codec_of(tensor->type);
    if (tensor->type != TERN_TYPE_F32 && tensor->type != TERN_TYPE_F16 && tensor->type != TERN_TYPE_BF16)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: norm %s has type %s; tern can use F32, F16 and BF16 there",
                         checkpoint->path, name, tensor->type_name);
    codec->decode_row(tensor, 0, out);
    for (uint32_t i = 0; i < size; i++)
        if (!isfinite(out[i]))
            return tern_fail(err, TERN_ERR_FORMAT, "%s: norm %s holds a value that is not finite; the file is damaged",
                             checkpoint->path, name);
    return TERN_OK;
}

/* A row of floats rounded up to a cache line, so that every norm starts aligned. */
static size_t norm_floats(uint32_t n) { return ((size_t)n + 15) / 16 * 16; }

uint64_t tern_norm_bytes(const tern_dims *dims) {
    size_t hidden = norm_floats(dims->hidden_size);
    size_t sub = dims->no_sub_norms ? 0 : norm_floats(tern_q_size(dims)) + norm_floats(dims->ffn_size);
    return sizeof(float) * (dims->n_layers * (2 * hidden + sub) + hidden);
}

static tern_status load_norms(const tern_checkpoint *checkpoint, tern_weights *weights, float *at, tern_error *err) {
    const tern_dims *dims = &weights->dims;
    for (uint32_t i = 0; i < dims->n_layers; i++) {
        tern_layer *layer = &weights->layers[i];
        const struct {
            tern_norm norm;
            uint32_t size;
            const float **out;
            bool sub;
        } norms[] = {
            {TERN_NORM_ATTN, dims->hidden_size, &layer->attn_norm, false},
            {TERN_NORM_ATTN_SUB, tern_q_size(dims), &layer->attn_sub_norm, true},
            {TERN_NORM_FFN, dims->hidden_size, &layer->ffn_norm, false},
            {TERN_NORM_FFN_SUB, dims->ffn_size, &layer->ffn_sub_norm, true},
        };
        for (size_t j = 0; j < sizeof norms / sizeof *norms; j++) {
            if (norms[j].sub && dims->no_sub_norms)
                continue;
            tern_status status = tern_norm_load(checkpoint, i, norms[j].norm, norms[j].size, at, err);
            if (status)
                return status;
            *norms[j].out = at;
            at += norm_floats(norms[j].size);
        }
    }
    weights->output_norm = at;
    return tern_norm_load(checkpoint, 0, TERN_NORM_OUTPUT, dims->hidden_size, at, err);
}

/* Kernels may load whole vectors of packed groups: those want a cache line's alignment, which our converter gives.
 * Rows of floats may lie anywhere. */
static bool usable_in_place(const tern_linear *linear, const tern_form *form) {
    if (linear->layout == TERN_LAYOUT_PLAIN)
        return !linear->interleaved;
    return linear->stored == form && (uintptr_t)linear->source->data % 64 == 0;
}

uint64_t tern_packed_bytes(const tern_linear *linear) {
    return ((uint64_t)linear->n_units * linear->unit_bytes + 63) / 64 * 64;
}

/* Where each matrix will lie: in the file, or at an offset of weights->memory, for which linear->packed is still NULL
 * and which are listed. Returns the bytes of memory they need. */
static uint64_t lay_out_all(load_state *state, bool copy) {
    tern_weights *weights = state->weights;
    uint64_t bytes = 0;
    for (size_t i = 0; i < (size_t)weights->dims.n_layers * TERN_LINEARS_PER_LAYER; i++) {
        tern_linear *linear = &weights->layers[i / TERN_LINEARS_PER_LAYER].linears[i % TERN_LINEARS_PER_LAYER];
        const tern_form *form = form_of(weights->ternary, linear);
        if (linear->layout != TERN_LAYOUT_PLAIN)
            tern_form_lay_out(form, linear);
        weights->scale_bytes += tern_n_own_scales(linear) * sizeof(float);
        weights->packed_bytes += tern_packed_bytes(linear) + tern_n_own_scales(linear) * sizeof(float);
        if (!copy && usable_in_place(linear, form)) {
            linear->packed = linear->source->data;
            continue;
        }
        bytes += tern_packed_bytes(linear);
        state->total_bytes += linear->source->bytes;
        state->linears[state->n_linears++] = linear;
    }
    return bytes;
}

/* Each worker begins a step with its own stretch of the tasks (base/pool.h), so stretches of a matrix, or of the three
 * that one step multiplies with, lie on the node of the worker that will read them. All matrices are in memory. */
static void place_local(const tern_weights *weights, const tern_pool *pool) {
    size_t threads = (size_t)tern_pool_threads(pool);
    for (uint32_t i = 0; i < weights->dims.n_layers; i++) {
        const tern_layer *layer = &weights->layers[i];
        const tern_linear *const firsts[] = {&layer->q, &layer->o, &layer->gate, &layer->up, &layer->down};
        const tern_linear *const lasts[] = {&layer->v, &layer->o, &layer->gate, &layer->up, &layer->down};
        for (size_t j = 0; j < sizeof firsts / sizeof *firsts; j++) {
            uint8_t *begin = (uint8_t *)firsts[j]->packed;
            size_t n_bytes = (size_t)(lasts[j]->packed + tern_packed_bytes(lasts[j]) - begin);
            for (size_t w = 0; w < threads; w++) {
                size_t from = n_bytes / threads * w, to = w + 1 == threads ? n_bytes : n_bytes / threads * (w + 1);
                tern_pages_prefer_node(begin + from, to - from, tern_pool_node(pool, (int)w));
            }
        }
    }
}

/* The block for norms and matrices, and in it each listed matrix's place. */
static tern_status make_room(load_state *state, const tern_load_params *params, const tern_pool *pool,
                             tern_error *err) {
    tern_weights *weights = state->weights;
    tern_pages_kind kind = params->huge_pages ? TERN_PAGES_HUGE : params->numa ? TERN_PAGES_MAPPED : TERN_PAGES_PLAIN;
    tern_status status = tern_pages_alloc(&weights->pages, weights->memory_bytes, kind, "the weights", err);
    if (status && !params->huge_pages)
        return tern_fail(err, TERN_ERR_MEMORY, "%s: out of memory: the weights need %" PRIu64 " MB",
                         state->checkpoint->path, weights->memory_bytes >> 20);
    if (status) {
        tern_error_prefix(err, "%s", state->checkpoint->path);
        return status;
    }
    uint8_t *at = weights->memory = weights->pages.memory;
    for (size_t i = 0; i < state->n_linears; i++) {
        state->linears[i]->packed = at;
        at += tern_packed_bytes(state->linears[i]);
    }
    if (params->numa == TERN_NUMA_INTERLEAVE)
        tern_pages_interleave(weights->pages.memory, weights->pages.bytes);
    else if (params->numa == TERN_NUMA_LOCAL)
        place_local(weights, pool);
    return TERN_OK;
}

typedef struct scales_job {
    tern_weights *weights;
    float *at; /* of the first matrix */
} scales_job;

static void scales_task(void *context, size_t layer, int worker) {
    const scales_job *job = context;
    float *at = job->at;
    (void)worker;
    for (size_t i = 0; i < (layer + 1) * TERN_LINEARS_PER_LAYER; i++) {
        tern_linear *linear = &job->weights->layers[i / TERN_LINEARS_PER_LAYER].linears[i % TERN_LINEARS_PER_LAYER];
        if (i >= layer * TERN_LINEARS_PER_LAYER && linear->own_scales) {
            tern_scales_read(linear, at);
            linear->scales = at;
        }
        at += tern_n_own_scales(linear);
    }
}

static tern_status pack_all(load_state *state, tern_pool *pool, tern_error *err) {
    pthread_mutex_init(&state->lock, NULL);
    tern_pool_run(pool, state->n_linears, load_task, state);
    pthread_mutex_destroy(&state->lock);
    if (!state->error.status)
        return TERN_OK;
    tern_fail(err, state->error.status, "%s", state->error.message);
    tern_error_prefix(err, "%s", state->checkpoint->path);
    return state->error.status;
}

static tern_status load_all(load_state *state, const tern_load_params *params, tern_pool *pool, tern_error *err) {
    tern_weights *weights = state->weights;
    tern_status status = tern_scales_find(state->checkpoint, pool, weights, err);
    if (status)
        return status;
    uint64_t in_memory = lay_out_all(state, params->huge_pages || params->numa);
    weights->norm_bytes = tern_norm_bytes(&weights->dims);
    weights->memory_bytes = in_memory + weights->norm_bytes + weights->scale_bytes;
    status = make_room(state, params, pool, err);
    if (status)
        return status;
    float *norms = (float *)((uint8_t *)weights->memory + in_memory); /* behind whole cache lines: aligned */
    status = load_norms(state->checkpoint, weights, norms, err);
    if (!status && weights->scale_bytes) {
        scales_job job = {weights, norms + weights->norm_bytes / sizeof *norms};
        tern_pool_run(pool, weights->dims.n_layers, scales_task, &job);
    }
    return status ? status : pack_all(state, pool, err);
}

tern_status tern_weights_load(const tern_checkpoint *checkpoint, const tern_ternary *ternary, tern_pool *pool,
                              const tern_load_params *params, tern_weights *weights, tern_error *err) {
    static const tern_load_params defaults = {0};
    params = params ? params : &defaults;
    tern_status status = tern_weights_bind(checkpoint, weights, err);
    if (status)
        return status;
    weights->ternary = ternary;
    load_state state = {.checkpoint = checkpoint,
                        .weights = weights,
                        .progress = params->progress,
                        .progress_user = params->progress_user};
    state.linears = tern_alloc_array((size_t)weights->dims.n_layers * TERN_LINEARS_PER_LAYER, sizeof *state.linears);
    status = state.linears ? load_all(&state, params, pool, err) : tern_fail_memory(err, "the list of matrices");
    free(state.linears);
    if (status)
        tern_weights_free(weights);
    return status;
}
