#include "tokenizer/bpe.h"

#include <stdlib.h>

#include "base/mem.h"

#define SMALL 64 /* bytes up to which scanning for the best pair beats queues */

/* The memo: most pre-tokens of several tokens in a text (names, inflected words) come again soon. Direct-mapped. */
#define MEMO_BITS 12
#define MEMO_BYTES 24
#define MEMO_IDS 7

struct tern_bpe_memo {
    uint8_t size, n_ids; /* size 0: empty */
    char bytes[MEMO_BYTES];
    int32_t ids[MEMO_IDS];
};

static bool reserve_ids(tern_bpe *bpe, size_t more) {
    if (bpe->capacity - bpe->n_ids >= more)
        return true;
    return tern_grow_array((void **)&bpe->ids, &bpe->capacity, bpe->n_ids + more, sizeof *bpe->ids);
}

bool tern_bpe_push(tern_bpe *bpe, int32_t id) {
    if (!reserve_ids(bpe, 1))
        return false;
    bpe->ids[bpe->n_ids++] = id;
    return true;
}

void tern_bpe_remember(tern_bpe *bpe) {
    if (!bpe->memo)
        bpe->memo = tern_calloc_array((size_t)1 << MEMO_BITS, sizeof *bpe->memo);
}

void tern_bpe_free(tern_bpe *bpe) {
    free(bpe->ids);
    tern_bpe_long_free(bpe->scratch);
    free(bpe->memo);
    *bpe = (tern_bpe){0};
}

/* ------------------------------------------------------- short: scan arrays */

/* Writes at most `size` ids to `ids`; returns how many. size <= SMALL. */
static size_t merge_short(const tern_vocab *vocab, const char *bytes, size_t size, int32_t *ids) {
    uint32_t ranks[SMALL];
    int32_t merged[SMALL];
    size_t n = size;
    for (size_t i = 0; i < n; i++)
        ids[i] = vocab->byte_ids[(uint8_t)bytes[i]];
    for (size_t i = 0; i + 1 < n; i++) {
        tern_merge_slot merge = tern_vocab_merge(vocab, ids[i], ids[i + 1]);
        ranks[i] = merge.rank;
        merged[i] = merge.id;
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (ranks[best] == TERN_NO_MERGE)
            break;
        ids[best] = merged[best];
        n--;
        memmove(ids + best + 1, ids + best + 2, (n - best - 1) * sizeof *ids);
        memmove(ranks + best, ranks + best + 1, (n - best - 1) * sizeof *ranks);
        memmove(merged + best, merged + best + 1, (n - best - 1) * sizeof *merged);
        if (best + 1 < n) {
            tern_merge_slot merge = tern_vocab_merge(vocab, ids[best], ids[best + 1]);
            ranks[best] = merge.rank;
            merged[best] = merge.id;
        }
        if (best > 0) {
            tern_merge_slot merge = tern_vocab_merge(vocab, ids[best - 1], ids[best]);
            ranks[best - 1] = merge.rank;
            merged[best - 1] = merge.id;
        }
    }
    return n;
}

static size_t memo_place(const char *bytes, size_t size) {
    uint64_t head = 0, tail = 0; /* pre-tokens that differ only between these collide, no more */
    size_t n = size < 8 ? size : 8;
    memcpy(&head, bytes, n);
    memcpy(&tail, bytes + size - n, n);
    return (size_t)((head ^ tail * 0xd6e8feb86659fd93u ^ size) * 0x9e3779b97f4a7c15u >> (64 - MEMO_BITS));
}

bool tern_bpe_append(tern_bpe *bpe, const tern_vocab *vocab, bool whole, const char *bytes, size_t size) {
    if (whole || size == 1) {
        int32_t id = tern_vocab_find(vocab, bytes, size);
        if (id >= 0)
            return tern_bpe_push(bpe, id);
    }
    if (size > SMALL)
        return tern_bpe_append_long(bpe, vocab, bytes, size);
    if (!reserve_ids(bpe, SMALL))
        return false;
    int32_t *ids = bpe->ids + bpe->n_ids;
    struct tern_bpe_memo *memo = bpe->memo && size <= MEMO_BYTES ? &bpe->memo[memo_place(bytes, size)] : NULL;
    if (memo && memo->size == size && memcmp(memo->bytes, bytes, size) == 0) {
        memcpy(ids, memo->ids, sizeof memo->ids);
        bpe->n_ids += memo->n_ids;
        return true;
    }
    size_t n = merge_short(vocab, bytes, size, ids);
    if (memo && n <= MEMO_IDS) {
        memo->size = (uint8_t)size;
        memo->n_ids = (uint8_t)n;
        memcpy(memo->bytes, bytes, size);
        memcpy(memo->ids, ids, n * sizeof *ids);
    }
    bpe->n_ids += n;
    return true;
}
