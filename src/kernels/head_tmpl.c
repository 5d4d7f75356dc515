/*
 * The LM head, part of float_tmpl.c. HEAD_ROWS rows are taken together; float types are converted on the way into
 * the fma, block-quantised ones a piece at a time into a buffer in L1, which then serves all tokens of a batch.
 * The 16 lanes of every (token, row) pair rest in memory between pieces, so the order of kernels.h holds.
 */

enum {
    HEAD_ROWS = 4,
    HEAD_TOKENS = V16_TILE / HEAD_ROWS, /* in one register tile */
    HEAD_BATCH = 16,                    /* tokens that share an expanded piece */
    HEAD_PIECE = 256                    /* values; a multiple of every block */
};

/* lanes[t][r] += row r times token t, element by element; n values. n_rows, n_tokens constant. */
INLINE void head_tile(enum element type, const uint8_t *const *rows, size_t n_rows, const float *x, size_t ld_x,
                      size_t n_tokens, size_t n, float (*lanes)[HEAD_ROWS][16]) {
    v16 sum[HEAD_TOKENS][HEAD_ROWS];
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t r = 0; r < n_rows; r++) sum[t][r] =
        v16_load(lanes[t][r]);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        v16 w[HEAD_ROWS];
        UNROLL for (size_t r = 0; r < n_rows; r++) w[r] = load_as(type, rows[r], i);
        UNROLL for (size_t t = 0; t < n_tokens; t++) {
            v16 token = v16_load(x + t * ld_x + i);
            UNROLL for (size_t r = 0; r < n_rows; r++) sum[t][r] = v16_fma(w[r], token, sum[t][r]);
        }
    }
    size_t left = n - i;
    if (left)
        UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t r = 0; r < n_rows; r++) {
            v16 w = load_as_n(type, rows[r], i, left), token = v16_load_n(x + t * ld_x + i, left);
            sum[t][r] = v16_keep_n(v16_fma(w, token, sum[t][r]), sum[t][r], left);
        }
    UNROLL for (size_t t = 0; t < n_tokens; t++) UNROLL for (size_t r = 0; r < n_rows; r++)
        v16_store(lanes[t][r], sum[t][r]);
}

INLINE void head_tiles(enum element type, const uint8_t *const *rows, size_t n_rows, const float *x, size_t ld_x,
                       size_t n_tokens, size_t n, float (*lanes)[HEAD_ROWS][16]) {
    size_t t = 0;
    for (; t + HEAD_TOKENS <= n_tokens; t += HEAD_TOKENS)
        head_tile(type, rows, n_rows, x + t * ld_x, ld_x, HEAD_TOKENS, n, lanes + t);
    for (; t < n_tokens; t++)
        head_tile(type, rows, n_rows, x + t * ld_x, ld_x, 1, n, lanes + t);
}

/* Values [first, first + n) of a row, whole blocks -> out [n]. */
typedef void head_expand_fn(const uint8_t *row, size_t first, size_t n, float *out);

INLINE void expand_q8_0(const uint8_t *row, size_t first, size_t n, float *out) {
    for (const uint8_t *block = row + first / 32 * 34; n; n -= 32, block += 34, out += 32) {
        v16 d = v16_set1(v16_f16(block));
        v16_store(out, v16_mul(v16_load_i8(block + 2), d));
        v16_store(out + 16, v16_mul(v16_load_i8(block + 18), d));
    }
}

INLINE void expand_q4_0(const uint8_t *row, size_t first, size_t n, float *out) {
    for (const uint8_t *block = row + first / 32 * 18; n; n -= 32, block += 18, out += 32) {
        v16 d = v16_set1(v16_f16(block));
        b16 codes = b16_load(block + 2);
        v16_store(out, v16_mul(v16_from_b16(b16_sub(b16_and(codes, 15), 8)), d));
        v16_store(out + 16, v16_mul(v16_from_b16(b16_sub(b16_shr(codes, 4), 8)), d));
    }
}

/* ref/head.c describes the block. Of 128 values, i and i + 64 share a byte of ql; i, i + 32, i + 64 and i + 96 one of
 * qh. */
INLINE void expand_q6_k(const uint8_t *row, size_t first, size_t n, float *out) {
    for (const uint8_t *block = row + first / 256 * 210; n; n -= 256, block += 210) {
        const int8_t *scale = (const int8_t *)block + 192;
        float d = v16_f16(block + 208);
        for (size_t half = 0; half < 2; half++, out += 128, scale += 8)
            UNROLL for (size_t i = 0; i < 2; i++) {
                const uint8_t *ql = block + 64 * half + 16 * i;
                b16 high = b16_load(block + 128 + 32 * half + 16 * i), a = b16_load(ql), b = b16_load(ql + 32);
                b16 codes[4] = {
                    b16_or(b16_and(a, 15), b16_and(b16_shl(high, 4), 0x30)),
                    b16_or(b16_and(b, 15), b16_and(b16_shl(high, 2), 0x30)),
                    b16_or(b16_shr(a, 4), b16_and(high, 0x30)),
                    b16_or(b16_shr(b, 4), b16_and(b16_shr(high, 2), 0x30)),
                };
                UNROLL for (size_t j = 0; j < 4; j++)
                    v16_store(out + 32 * j + 16 * i,
                              v16_mul(v16_set1(d * (float)scale[2 * j + i]), v16_from_b16(b16_sub(codes[j], 32))));
            }
    }
}

/* One group of n_rows (constant) rows and a batch of tokens. Block-quantised rows come with their
 * expand function and are F32 to the tiles. */
INLINE void head_rows(enum element type, head_expand_fn *expand, const uint8_t *row, size_t row_bytes, size_t n_rows,
                      const float *x, size_t k, size_t n_tokens, float *y, size_t ld_y) {
    _Alignas(64) float lanes[HEAD_BATCH][HEAD_ROWS][16];
    _Alignas(64) float pieces[HEAD_ROWS][HEAD_PIECE];
    memset(lanes, 0, n_tokens * sizeof lanes[0]);
    for (size_t first = 0; first < k; first += HEAD_PIECE) {
        size_t n = k - first < HEAD_PIECE ? k - first : HEAD_PIECE;
        const uint8_t *rows[HEAD_ROWS];
        for (size_t r = 0; r < n_rows; r++) {
            const uint8_t *from = row + r * row_bytes;
            /* the same place in the next group of rows */
            prefetch(from + first * row_bytes / k, n_rows * row_bytes, n * row_bytes / k);
            if (expand) {
                expand(from, first, n, pieces[r]);
                rows[r] = (const uint8_t *)pieces[r];
            } else
                rows[r] = from + first * element_size(type);
        }
        head_tiles(type, rows, n_rows, x + first, k, n_tokens, n, lanes);
    }
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t r = 0; r < n_rows; r++)
            y[t * ld_y + r] = v16_fold(v16_load(lanes[t][r]));
}

INLINE void head(enum element type, head_expand_fn *expand, const uint8_t *rows, size_t row_bytes, size_t n_rows,
                 const float *x, size_t k, size_t n_tokens, float *y, size_t ld_y) {
    for (size_t r = 0; r < n_rows;) {
        size_t n = n_rows - r < HEAD_ROWS ? 1 : HEAD_ROWS;
        for (size_t t = 0; t < n_tokens; t += HEAD_BATCH) {
            size_t batch = n_tokens - t < HEAD_BATCH ? n_tokens - t : HEAD_BATCH;
            const uint8_t *row = rows + r * row_bytes;
            if (n == HEAD_ROWS)
                head_rows(type, expand, row, row_bytes, HEAD_ROWS, x + t * k, k, batch, y + t * ld_y + r, ld_y);
            else
                head_rows(type, expand, row, row_bytes, 1, x + t * k, k, batch, y + t * ld_y + r, ld_y);
        }
        r += n;
    }
}

#define HEAD(name, type, expand)                                                                                       \
    void KERNEL(head_##name)(const uint8_t *rows, size_t row_bytes, size_t n_rows, const float *x, size_t k,           \
                             size_t n_tokens, float *y, size_t ld_y) {                                                 \
        head(type, expand, rows, row_bytes, n_rows, x, k, n_tokens, y, ld_y);                                          \
    }

HEAD(f32, F32, NULL)
HEAD(f16, F16, NULL)
HEAD(bf16, BF16, NULL)
HEAD(q8_0, F32, expand_q8_0)
HEAD(q4_0, F32, expand_q4_0)
HEAD(q6_k, F32, expand_q6_k)
