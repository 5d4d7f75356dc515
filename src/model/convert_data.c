/* The tensors of a converted model's file, one behind the other. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "model/convert_parts.h"

tern_status tern_convert_bytes(tern_conversion *c, const void *bytes, size_t n_bytes, tern_error *err) {
    tern_status status = tern_gguf_write_data(c->writer, bytes, n_bytes, err);
    c->done_bytes += n_bytes;
    if (!status && c->progress && !c->progress(c->progress_user, c->done_bytes, c->total_bytes))
        status = tern_fail(err, TERN_ERR_CANCELLED, "the conversion was cancelled");
    return status;
}

/* In pieces: for the progress, and because pages that are written need not stay. */
static tern_status write_same(tern_conversion *c, const tern_tensor *tensor, tern_error *err) {
    enum { PIECE = 8 << 20 };
    tern_status status = TERN_OK;
    for (uint64_t at = 0; !status && at < tensor->bytes; at += PIECE) {
        tern_tensor piece = *tensor;
        piece.data += at;
        piece.bytes = tensor->bytes - at < PIECE ? tensor->bytes - at : PIECE;
        status = tern_convert_bytes(c, piece.data, (size_t)piece.bytes, err);
        tern_checkpoint_release(c->checkpoint, &piece);
    }
    return status;
}

/* Row by row into another type. */
static tern_status write_encoded(tern_conversion *c, const tern_tensor *tensor, const tern_codec *codec,
                                 tern_error *err) {
    const tern_codec *source = tern_codec_of(tensor->type);
    size_t row_bytes = (size_t)tensor->cols / codec->block_values * codec->block_bytes;
    float *values = tern_alloc_array((size_t)tensor->cols, sizeof *values);
    uint8_t *bytes = malloc(row_bytes);
    tern_status status = values && bytes ? TERN_OK : tern_fail_memory(err, tensor->name);
    for (uint64_t row = 0; !status && row < tensor->rows; row++) {
        source->decode_row(tensor, row, values);
        bool finite = true;
        for (uint64_t i = 0; i < tensor->cols; i++)
            finite &= isfinite(values[i]);
        if (!finite) {
            status = tern_fail(err, TERN_ERR_FORMAT, "%s: %s holds a value that is not finite, in row %" PRIu64,
                               c->checkpoint->path, tensor->name, row);
            break;
        }
        codec->encode_row(values, tensor->cols, bytes);
        status = tern_convert_bytes(c, bytes, row_bytes, err);
        convert_release_read(c->checkpoint, tensor, row);
    }
    tern_checkpoint_release(c->checkpoint, tensor);
    free(bytes);
    free(values);
    return status;
}

static tern_status write_floats(tern_conversion *c, const convert_item *item, tern_error *err) {
    return item->codec && item->codec->type != item->tensor->type ? write_encoded(c, item->tensor, item->codec, err)
                                                                  : write_same(c, item->tensor, err);
}

/* The one thing that is made whole before it is written: a third of a 16-bit head. */
static tern_status write_screen(tern_conversion *c, tern_error *err) {
    tern_screen_array arrays[TERN_SCREEN_ARRAYS];
    tern_screen screen;
    tern_status status = tern_screen_build(c->checkpoint, c->weights.head, c->kernels->screen, c->pool, &screen, err);
    if (status)
        return status;
    tern_screen_arrays(&screen, arrays);
    for (size_t i = 0; !status && i < TERN_SCREEN_ARRAYS; i++) {
        const void *bytes = arrays[i].is_float ? (const void *)*arrays[i].at.floats : *arrays[i].at.bytes;
        status = tern_convert_bytes(c, bytes,
                                    arrays[i].rows * arrays[i].cols * (arrays[i].is_float ? sizeof(float) : 1), err);
    }
    tern_screen_free(&screen);
    return status;
}

static tern_status write_item(tern_conversion *c, const convert_item *item, tern_error *err) {
    const tern_dims *dims = &c->weights.dims;
    switch (item->kind) {
    case CONVERT_EMBEDDING:
    case CONVERT_HEAD:
    case CONVERT_NORM:
        return write_floats(c, item, err);
    case CONVERT_MATRIX:
        return tern_convert_matrix(c, item, err);
    case CONVERT_ROPE:
        return tern_convert_bytes(c, c->weights.rope_divisors, dims->head_dim / 2 * sizeof(float), err);
    case CONVERT_SCREEN:
        return write_screen(c, err);
    case CONVERT_SCALES:
        return tern_convert_bytes(c, c->scales, (size_t)dims->n_layers * TERN_LINEARS_PER_LAYER * sizeof *c->scales,
                                  err);
    }
    return TERN_OK;
}

/* Matrices are encoded so many at a time, one a thread. */
typedef struct chunk {
    const convert_item *items[TERN_LINEARS_PER_LAYER];
    int n;
    size_t bytes;
} chunk;

/* The next ones from item `at` on. */
static chunk next_chunk(const tern_conversion *c, size_t at) {
    chunk next = {.n = 0};
    for (; at < c->n_items && next.n < TERN_LINEARS_PER_LAYER; at++) {
        if (c->items[at].kind != CONVERT_MATRIX)
            continue;
        const tern_linear *linear = convert_linear(c, &c->items[at]);
        next.items[next.n++] = &c->items[at];
        next.bytes += (size_t)linear->n_units * linear->unit_bytes;
    }
    return next;
}

static void release(const tern_conversion *c, const chunk *done) {
    for (int i = 0; i < done->n; i++)
        tern_checkpoint_release(c->checkpoint, convert_linear(c, done->items[i])->source);
}

static size_t most_bytes(const tern_conversion *c) {
    size_t most = 0;
    int n = 0;
    for (size_t i = 0; i < c->n_items; i++)
        if (c->items[i].kind == CONVERT_MATRIX && n++ % TERN_LINEARS_PER_LAYER == 0) {
            chunk next = next_chunk(c, i);
            most = next.bytes > most ? next.bytes : most;
        }
    return most;
}

static tern_status write_items(tern_conversion *c, uint8_t *memory, tern_error *err) {
    chunk current = {.n = 0};
    int written = 0; /* of its matrices */
    tern_status status = TERN_OK;
    for (size_t i = 0; !status && i < c->n_items; i++) {
        bool is_matrix = c->items[i].kind == CONVERT_MATRIX;
        if (is_matrix && written == current.n) {
            release(c, &current); /* what was read between them mapped their pages again */
            current = next_chunk(c, i);
            written = 0;
            status = tern_convert_encode(c, current.items, current.n, memory, err);
        }
        written += is_matrix;
        if (!status)
            status = write_item(c, &c->items[i], err);
    }
    release(c, &current);
    return status;
}

tern_status tern_convert_data(tern_conversion *c, tern_error *err) {
    c->scales = tern_alloc_array((size_t)c->weights.dims.n_layers * TERN_LINEARS_PER_LAYER, sizeof *c->scales);
    uint8_t *memory = tern_aligned_alloc(most_bytes(c));
    tern_status status = memory && c->scales ? TERN_OK : tern_fail_memory(err, "packing matrices");
    if (!status)
        status = write_items(c, memory, err);
    tern_aligned_free(memory);
    free(c->scales);
    c->scales = NULL;
    return status;
}
