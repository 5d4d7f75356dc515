/* Pieces of documents packed into rows. Private to the feed. */
#ifndef TERN_TRAIN_FEED_PACK_H
#define TERN_TRAIN_FEED_PACK_H

#include "train/data.h"

typedef struct tern_piece {
    uint64_t from; /* the first of its inputs: tokens [from, from + n) of the document; targets are one further */
    uint32_t document, n;
} tern_piece;

typedef struct tern_row_packing {
    tern_piece *pieces; /* row after row */
    uint32_t n_pieces, n_rows;
    uint32_t *row_first; /* [n_rows + 1] */
} tern_row_packing;

/* Pack pieces [n_pieces] of 1 .. n_ctx inputs by best fit, longest first, equal ones in their order. Takes `pieces`
 * (an allocation), also when it fails. Free with tern_row_packing_free(). */
tern_status tern_pack_best_fit(tern_piece *pieces, uint32_t n_pieces, uint32_t n_ctx, tern_row_packing *packing,
                               tern_error *err);
void tern_row_packing_free(tern_row_packing *packing);

#endif
