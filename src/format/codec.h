/*
 * Codecs: stored bytes <-> numbers, one file and one table row per weight type.
 * The code here is plain C; what has to be fast at run time is in kernels/.
 */
#ifndef TERN_FORMAT_CODEC_H
#define TERN_FORMAT_CODEC_H

#include "format/tensor.h"

typedef struct tern_codec {
    tern_dtype type;
    const char *name;      /* "I2_S" */
    uint32_t gguf_type;    /* GGUF type number; UINT32_MAX: not in GGUF */
    uint32_t block_values; /* cols must be a multiple of this ... */
    uint32_t block_bytes;  /* ... and each block takes this many bytes */
    uint32_t tail_bytes;   /* behind the whole matrix (I2_S: 32) */
    bool ternary;          /* stores trits and a scale */

    /* Float types: row [cols] of floats. NULL for ternary ones. */
    void (*decode_row)(const tern_tensor *tensor, uint64_t row, float *out);

    /* Ternary types: rows [row, row + n_rows) -> trits [n_rows][ld] of -1, 0, 1 (ld >= cols).
     * False if a stored code is no trit. NULL for float types. */
    bool (*decode_trits)(const tern_tensor *tensor, uint64_t row, uint64_t n_rows, int8_t *trits, size_t ld);
    /* Ternary types: the one scale of the tensor (multiplies). An error if it is not finite and positive, or
     * if blocks disagree about it. A tensor of zeros only may have scale 0. */
    tern_status (*scale)(const tern_tensor *tensor, float *scale, tern_error *err);

    /* Ternary types that may have a scale for each block of a row: that of one, as it is stored; NULL: there is one for
     * the tensor. A block of scale 0 holds zeros. */
    float (*block_scale)(const tern_tensor *tensor, uint64_t row, uint64_t block);

    /* The other direction, for writing files (synth, convert): whole tensor [rows][cols] of trits row by row,
     * or of floats, -> bytes [tern_codec_bytes()]. NULL where writing is not offered. */
    void (*encode_trits)(const int8_t *trits, uint64_t rows, uint64_t cols, float scale, uint8_t *out);
    void (*encode_row)(const float *values, uint64_t cols, uint8_t *out);
} tern_codec;

/* NULL for TERN_TYPE_OTHER. */
const tern_codec *tern_codec_of(tern_dtype type);
/* By GGUF type number or by name (case-insensitive); NULL if there is none. */
const tern_codec *tern_codec_of_gguf(uint32_t gguf_type);
const tern_codec *tern_codec_named(const char *name);
/* Bytes of a rows x cols tensor; false if that overflows or cols does not divide into blocks
 * (I2_S: rows * cols must be a multiple of 128; HF_PACKED: rows a multiple of 4). */
bool tern_codec_bytes(const tern_codec *codec, uint64_t rows, uint64_t cols, uint64_t *bytes);

/* Ternarise a float tensor (numerics.md section 2): absmean, and a row's trits for that mean.
 * NaN or infinity among the weights is an error. `buffer` [cols] is scratch. */
tern_status tern_absmean(const tern_tensor *tensor, float *buffer, float *mean, tern_error *err);
void tern_ternarize_row(const float *weights, uint64_t n, float mean, int8_t *trits);

#endif
