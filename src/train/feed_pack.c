#include "train/feed_pack.h"

#include <stdlib.h>

#include "base/mem.h"

#define NONE UINT32_MAX

/* Open rows by the room that they have left: one list for each room, and a bit for each list that is not empty, so that
 * the fullest row that still fits is found in n_ctx / 64 steps. */
typedef struct open_rows {
    uint32_t *head; /* [n_ctx + 1] */
    uint32_t *next; /* [n_pieces] */
    uint64_t *used; /* [n_ctx / 64 + 1] bits */
    uint32_t n_ctx;
} open_rows;

static void push_row(open_rows *rows, uint32_t row, uint32_t room) {
    rows->next[row] = rows->head[room];
    rows->head[room] = row;
    rows->used[room / 64] |= (uint64_t)1 << room % 64;
}

/* The row with the least room of at least n; NONE if there is none. */
static uint32_t pop_row(open_rows *rows, uint32_t n, uint32_t *room) {
    uint64_t bits = rows->used[n / 64] & UINT64_MAX << n % 64;
    for (uint32_t word = n / 64;;) {
        if (bits) {
            *room = word * 64 + (uint32_t)__builtin_ctzll(bits);
            break;
        }
        if (++word > rows->n_ctx / 64)
            return NONE;
        bits = rows->used[word];
    }
    uint32_t row = rows->head[*room];
    rows->head[*room] = rows->next[row];
    if (rows->head[*room] == NONE)
        rows->used[*room / 64] &= ~((uint64_t)1 << *room % 64);
    return row;
}

/* row_of [n_pieces] for pieces in the order `sorted`; returns the number of rows. */
static uint32_t assign(open_rows *rows, const tern_piece *pieces, const uint32_t *sorted, uint32_t n_pieces,
                       uint32_t *row_of) {
    uint32_t n_rows = 0;
    memset(rows->head, 0xff, (rows->n_ctx + (size_t)1) * sizeof *rows->head);
    for (uint32_t i = 0; i < n_pieces; i++) {
        uint32_t n = pieces[sorted[i]].n, room = rows->n_ctx, row = pop_row(rows, n, &room);
        if (row == NONE) {
            row = n_rows++;
            room = rows->n_ctx;
        }
        row_of[sorted[i]] = row;
        if (room > n)
            push_row(rows, row, room - n);
    }
    return n_rows;
}

/* Counting sort of [0, n) by key, stable: order [n]; count [n_keys + 1] becomes where each key's entries begin. */
static void sort_by(const uint32_t *keys, uint32_t n, uint32_t n_keys, uint32_t *count, uint32_t *order) {
    memset(count, 0, (n_keys + (size_t)1) * sizeof *count);
    for (uint32_t i = 0; i < n; i++)
        count[keys[i] + 1]++;
    for (uint32_t k = 0; k < n_keys; k++)
        count[k + 1] += count[k];
    for (uint32_t i = 0; i < n; i++)
        order[count[keys[i]]++] = i;
    memmove(count + 1, count, n_keys * sizeof *count);
    count[0] = 0;
}

/* Memory of the packing, all of it by number of pieces or n_ctx. */
typedef struct scratch {
    uint32_t *sorted, *row_of, *count;
    open_rows rows;
} scratch;

static void pack(scratch *s, const tern_piece *pieces, uint32_t n, uint32_t n_ctx, tern_row_packing *packing) {
    for (uint32_t i = 0; i < n; i++)
        s->row_of[i] = n_ctx - pieces[i].n; /* longest first */
    sort_by(s->row_of, n, n_ctx, s->count, s->sorted);
    packing->n_rows = assign(&s->rows, pieces, s->sorted, n, s->row_of);
    sort_by(s->row_of, n, packing->n_rows, packing->row_first, s->sorted);
    for (uint32_t i = 0; i < n; i++)
        packing->pieces[i] = pieces[s->sorted[i]];
    packing->n_pieces = n;
}

tern_status tern_pack_best_fit(tern_piece *pieces, uint32_t n, uint32_t n_ctx, tern_row_packing *packing,
                               tern_error *err) {
    scratch s = {.sorted = tern_alloc_array(n + (size_t)1, sizeof(uint32_t)),
                 .row_of = tern_alloc_array(n + (size_t)1, sizeof(uint32_t)),
                 .count = tern_alloc_array(n_ctx + (size_t)2, sizeof(uint32_t)),
                 .rows = {.head = tern_alloc_array(n_ctx + (size_t)1, sizeof(uint32_t)),
                          .next = tern_alloc_array(n + (size_t)1, sizeof(uint32_t)),
                          .used = tern_calloc_array(n_ctx / 64 + (size_t)1, sizeof(uint64_t)),
                          .n_ctx = n_ctx}};
    *packing = (tern_row_packing){.pieces = tern_alloc_array(n + (size_t)1, sizeof *pieces),
                                  .row_first = tern_alloc_array(n + (size_t)2, sizeof(uint32_t))};
    bool have = s.sorted && s.row_of && s.count && s.rows.head && s.rows.next && s.rows.used && packing->pieces &&
                packing->row_first;
    if (have)
        pack(&s, pieces, n, n_ctx, packing);
    else
        tern_row_packing_free(packing);
    free(s.sorted);
    free(s.row_of);
    free(s.count);
    free(s.rows.head);
    free(s.rows.next);
    free(s.rows.used);
    free(pieces);
    return have ? TERN_OK : tern_fail_memory(err, "the rows of the training data");
}

void tern_row_packing_free(tern_row_packing *packing) {
    free(packing->pieces);
    free(packing->row_first);
    *packing = (tern_row_packing){0};
}
