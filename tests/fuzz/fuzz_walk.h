/* What the fuzzers do with a checkpoint that opened: read every tensor the way the loader would. */
#ifndef TERN_FUZZ_WALK_H
#define TERN_FUZZ_WALK_H

#include <stdlib.h>
#include <string.h>

#include "format/checkpoint.h"
#include "format/codec.h"

enum { WALK_COLS = 1 << 16, WALK_ROWS = 4 };

static void walk_tensor(const tern_tensor *tensor, float *floats, int8_t *trits) {
    const tern_codec *codec = tern_codec_of(tensor->type);
    tern_error err;
    float value;
    if (!codec || tensor->cols > WALK_COLS) {
        /* no type of the model, or too wide for the buffers: the bytes themselves must be there */
        volatile uint8_t sum = 0;
        for (uint64_t i = 0; i < tensor->bytes; i++)
            sum = (uint8_t)(sum + tensor->data[i]);
        return;
    }
    if (!codec->ternary) {
        codec->decode_row(tensor, 0, floats);
        codec->decode_row(tensor, tensor->rows - 1, floats);
        if (tern_absmean(tensor, floats, &value, &err) == TERN_OK)
            tern_ternarize_row(floats, tensor->cols, value, trits);
        return;
    }
    codec->scale(tensor, &value, &err);
    uint64_t n = tensor->rows < WALK_ROWS ? tensor->rows : WALK_ROWS;
    codec->decode_trits(tensor, 0, n, trits, tensor->cols);
    codec->decode_trits(tensor, tensor->rows - n, n, trits, tensor->cols);
}

static void walk_checkpoint(const tern_checkpoint *checkpoint) {
    float *floats = malloc(WALK_COLS * sizeof *floats);
    int8_t *trits = malloc(WALK_COLS * WALK_ROWS);
    for (size_t i = 0; floats && trits && i < checkpoint->n_tensors; i++) {
        const tern_tensor *tensor = &checkpoint->tensors[i];
        if (tern_checkpoint_find(checkpoint, tensor->name) != tensor)
            abort();
        walk_tensor(tensor, floats, trits);
    }
    size_t length = 0;
    for (size_t i = 0; i < checkpoint->n_metadata; i++)
        length += strlen(checkpoint->metadata[i].key) + strlen(checkpoint->metadata[i].value);
    for (size_t i = 0; i < checkpoint->vocab.n_tokens; i++)
        length += checkpoint->vocab.tokens[i].size;
    if (length == SIZE_MAX)
        abort();
    free(floats);
    free(trits);
}

#endif
