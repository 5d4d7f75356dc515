/*
 * Merging a long pre-token: a megabyte of one letter is one.
 *
 * The symbols are a linked list. The pairs that can merge wait in queues, one for each rank, and a small heap knows the
 * lowest rank that has any: a single heap of all pairs does the same but spends its time on cache misses (measured 3
 * times slower on a megabyte). Pairs of one rank are mostly found from left to right, so a queue is a plain array until
 * something comes out of order; an ascending array is a heap already, and from then on it is treated as one.
 * O(size log size) at worst.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "tokenizer/bpe.h"

#define NONE UINT32_MAX
#define FIRST_CAPACITY 8 /* of a queue */

typedef struct symbol {
    int32_t id;          /* -1: merged into its left neighbour */
    int32_t merged;      /* what it and its right neighbour make */
    uint32_t rank;       /* of that merge; TERN_NO_MERGE: none */
    uint32_t prev, next; /* indices; NONE: the end */
} symbol;

typedef struct queue {
    uint32_t rank;
    bool waiting;      /* its rank is in scratch->ranks */
    bool heap;         /* else ascending */
    size_t start;      /* in scratch->pool */
    size_t head, size; /* of the entries from start: [head, size) are there */
    size_t capacity;
} queue;

struct tern_bpe_long {
    symbol *symbols;
    size_t n_symbols;
    uint32_t *queue_of; /* [n_ranks] index in queues + 1; 0: none yet */
    queue *queues;
    size_t n_queues, queue_capacity;
    uint32_t *pool; /* indices of left symbols; a queue that grows moves to the end */
    size_t pool_size, pool_capacity;
    uint32_t *ranks; /* a heap */
    size_t n_ranks, rank_capacity;
};

void tern_bpe_long_free(struct tern_bpe_long *scratch) {
    if (!scratch)
        return;
    free(scratch->symbols);
    free(scratch->queue_of);
    free(scratch->queues);
    free(scratch->pool);
    free(scratch->ranks);
    free(scratch);
}

static void heap_push(uint32_t *heap, size_t n, uint32_t item) { /* n: without the item */
    size_t i = n;
    for (; i > 0 && heap[(i - 1) / 2] > item; i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = item;
}

static uint32_t heap_pop(uint32_t *heap, size_t n) { /* n >= 1: with the item */
    uint32_t top = heap[0], item = heap[n - 1];
    size_t i = 0;
    for (size_t child = 1; child < n - 1; child = 2 * i + 1) {
        if (child + 1 < n - 1 && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= item)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = item;
    return top;
}

static queue *queue_of_rank(struct tern_bpe_long *scratch, uint32_t rank) {
    if (scratch->queue_of[rank])
        return &scratch->queues[scratch->queue_of[rank] - 1];
    if (!tern_grow_array((void **)&scratch->queues, &scratch->queue_capacity, scratch->n_queues + 1,
                         sizeof *scratch->queues) ||
        !tern_grow_array((void **)&scratch->ranks, &scratch->rank_capacity, scratch->n_queues + 1,
                         sizeof *scratch->ranks))
        return NULL;
    scratch->queues[scratch->n_queues++] = (queue){.rank = rank};
    scratch->queue_of[rank] = (uint32_t)scratch->n_queues;
    return &scratch->queues[scratch->n_queues - 1];
}

static bool make_room(struct tern_bpe_long *scratch, queue *q) {
    if (q->size < q->capacity)
        return true;
    size_t capacity = q->capacity ? 2 * q->capacity : FIRST_CAPACITY, live = q->size - q->head;
    if (!tern_grow_array((void **)&scratch->pool, &scratch->pool_capacity, scratch->pool_size + capacity,
                         sizeof *scratch->pool))
        return false;
    if (live)
        memcpy(scratch->pool + scratch->pool_size, scratch->pool + q->start + q->head, live * sizeof *scratch->pool);
    q->start = scratch->pool_size;
    q->head = 0;
    q->size = live;
    q->capacity = capacity;
    scratch->pool_size += capacity;
    return true;
}

/* Look up the merge of symbol i with its right neighbour and queue it. */
static bool queue_pair(struct tern_bpe_long *scratch, const tern_vocab *vocab, uint32_t i) {
    symbol *left = &scratch->symbols[i];
    left->rank = TERN_NO_MERGE;
    if (left->next == NONE)
        return true;
    tern_merge_slot merge = tern_vocab_merge(vocab, left->id, scratch->symbols[left->next].id);
    if (merge.rank == TERN_NO_MERGE)
        return true;
    left->rank = merge.rank;
    left->merged = merge.id;
    queue *q = queue_of_rank(scratch, merge.rank);
    if (!q || !make_room(scratch, q))
        return false;
    uint32_t *entries = scratch->pool + q->start + q->head;
    size_t n = q->size - q->head;
    q->heap = n && (q->heap || entries[n - 1] > i);
    if (q->heap)
        heap_push(entries, n, i);
    else
        entries[n] = i;
    q->size++;
    if (!q->waiting)
        heap_push(scratch->ranks, scratch->n_ranks++, q->rank);
    q->waiting = true;
    return true;
}

static uint32_t queue_pop(struct tern_bpe_long *scratch, queue *q) {
    uint32_t *entries = scratch->pool + q->start + q->head;
    if (q->heap)
        return heap_pop(entries, q->size-- - q->head);
    q->head++;
    return entries[0];
}

static bool merge_at(struct tern_bpe_long *scratch, const tern_vocab *vocab, uint32_t at) {
    symbol *left = &scratch->symbols[at], *right = &scratch->symbols[left->next];
    left->id = left->merged;
    left->next = right->next;
    if (right->next != NONE)
        scratch->symbols[right->next].prev = at;
    right->id = -1;
    return (left->prev == NONE || queue_pair(scratch, vocab, left->prev)) && queue_pair(scratch, vocab, at);
}

/* Every pair that can merge has an entry; entries of pairs that are gone are dropped when they come up. */
static bool merge_all(struct tern_bpe_long *scratch, const tern_vocab *vocab, uint32_t size) {
    for (uint32_t i = 0; i < size; i++)
        if (!queue_pair(scratch, vocab, i))
            return false;
    while (scratch->n_ranks) {
        queue *q = &scratch->queues[scratch->queue_of[scratch->ranks[0]] - 1];
        if (q->head == q->size) {
            heap_pop(scratch->ranks, scratch->n_ranks--);
            q->head = q->size = 0;
            q->waiting = false;
            continue;
        }
        uint32_t at = queue_pop(scratch, q);
        const symbol *left = &scratch->symbols[at];
        if (left->id >= 0 && left->rank == q->rank && !merge_at(scratch, vocab, at))
            return false;
    }
    return true;
}

static struct tern_bpe_long *get_scratch(tern_bpe *bpe, const tern_vocab *vocab) {
    if (!bpe->scratch)
        bpe->scratch = calloc(1, sizeof *bpe->scratch);
    if (bpe->scratch && !bpe->scratch->queue_of)
        bpe->scratch->queue_of = tern_calloc_array((size_t)vocab->n_ranks + 1, sizeof *bpe->scratch->queue_of);
    return bpe->scratch && bpe->scratch->queue_of ? bpe->scratch : NULL;
}

bool tern_bpe_append_long(tern_bpe *bpe, const tern_vocab *vocab, const char *bytes, size_t size) {
    struct tern_bpe_long *scratch = get_scratch(bpe, vocab);
    if (!scratch || size >= NONE / 2 ||
        !tern_grow_array((void **)&scratch->symbols, &scratch->n_symbols, size, sizeof *scratch->symbols))
        return false;
    for (uint32_t i = 0; i < size; i++)
        scratch->symbols[i] = (symbol){
            .id = vocab->byte_ids[(uint8_t)bytes[i]], .prev = i ? i - 1 : NONE, .next = i + 1 < size ? i + 1 : NONE};
    bool ok = merge_all(scratch, vocab, (uint32_t)size);
    for (size_t i = 0; i < scratch->n_queues; i++) /* ready for the next one */
        scratch->queue_of[scratch->queues[i].rank] = 0;
    scratch->n_queues = scratch->pool_size = scratch->n_ranks = 0;
    for (uint32_t i = 0; ok && i != NONE; i = scratch->symbols[i].next)
        ok = tern_bpe_push(bpe, scratch->symbols[i].id);
    return ok;
}
