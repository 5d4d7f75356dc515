/* Merging: words are arrays of ids, each pair of neighbours knows how often it comes and in which words, and a heap
 * holds the pairs. A merge touches only the words that have the pair. */
#include "train/bpe_train.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tokenizer/alphabet.h"
#include "tokenizer/unicode.h"
#include "tokenizer/vocab.h"
#include "train/bpe_count.h"
#include "train/bpe_json.h"

typedef struct pair {
    uint64_t key; /* left << 32 | right */
    int64_t count;
    uint32_t *words; /* [n_words] that have had it; some twice, some no longer */
    size_t n_words, capacity;
    bool gained; /* in the merge under way */
} pair;

/* What a pair was worth when it was put in; the truth is in the pair. */
typedef struct candidate {
    int64_t count;
    uint64_t key;
    uint32_t pair;
} candidate;

typedef struct trainer {
    /* words */
    uint32_t *symbols;  /* of all words */
    size_t *first;      /* [n_words] */
    uint32_t *length;   /* [n_words], in symbols */
    int64_t *frequency; /* [n_words] */
    size_t n_words;
    /* pairs, found by key through open addressing */
    pair *pairs;
    size_t n_pairs, pair_capacity;
    uint32_t *slots; /* [n_slots], index + 1 */
    size_t n_slots;
    uint32_t *gained; /* [n_gained] pairs of the merge under way */
    size_t n_gained, gained_capacity;
    candidate *heap;
    size_t n_heap, heap_capacity;
    /* result */
    tern_word_map known; /* bytes of a token -> id + 1, in `count` */
    tern_arena arena;
    tern_view *tokens; /* [n_tokens] */
    size_t n_tokens;
    tern_bpe_merge *merges;
    size_t n_merges, merge_capacity;
} trainer;

/* -------------------------------------------------------------------- pairs */

static size_t slot_of(const trainer *t, uint64_t key) {
    size_t at = (size_t)(key * 0x9e3779b97f4a7c15u >> 20) & (t->n_slots - 1);
    while (t->slots[at] && t->pairs[t->slots[at] - 1].key != key)
        at = (at + 1) & (t->n_slots - 1);
    return at;
}

static bool grow_slots(trainer *t) {
    uint32_t *old = t->slots;
    size_t n_slots = t->n_slots ? t->n_slots * 2 : 1 << 14;
    t->slots = tern_calloc_array(n_slots, sizeof *t->slots);
    if (!t->slots) {
        t->slots = old;
        return false;
    }
    t->n_slots = n_slots;
    for (size_t i = 0; i < t->n_pairs; i++)
        t->slots[slot_of(t, t->pairs[i].key)] = (uint32_t)i + 1;
    free(old);
    return true;
}

/* The pair's index; UINT32_MAX: no memory. */
static uint32_t find_pair(trainer *t, uint32_t left, uint32_t right) {
    uint64_t key = (uint64_t)left << 32 | right;
    if (2 * t->n_pairs >= t->n_slots && !grow_slots(t))
        return UINT32_MAX;
    size_t at = slot_of(t, key);
    if (!t->slots[at]) {
        if (!tern_grow_array((void **)&t->pairs, &t->pair_capacity, t->n_pairs + 1, sizeof *t->pairs))
            return UINT32_MAX;
        t->pairs[t->n_pairs] = (pair){.key = key};
        t->slots[at] = (uint32_t)++t->n_pairs;
    }
    return t->slots[at] - 1;
}

/* Word w has the pair once more. */
static bool gain(trainer *t, uint32_t left, uint32_t right, uint32_t w) {
    uint32_t index = find_pair(t, left, right);
    if (index == UINT32_MAX)
        return false;
    pair *p = &t->pairs[index];
    p->count += t->frequency[w];
    if (!p->n_words || p->words[p->n_words - 1] != w) {
        if (!tern_grow_array((void **)&p->words, &p->capacity, p->n_words + 1, sizeof *p->words))
            return false;
        p->words[p->n_words++] = w;
    }
    if (!p->gained) {
        if (!tern_grow_array((void **)&t->gained, &t->gained_capacity, t->n_gained + 1, sizeof *t->gained))
            return false;
        t->gained[t->n_gained++] = index;
        p->gained = true;
    }
    return true;
}

/* Word w has it once less; it has been there. */
static void lose(trainer *t, uint32_t left, uint32_t right, uint32_t w) {
    t->pairs[t->slots[slot_of(t, (uint64_t)left << 32 | right)] - 1].count -= t->frequency[w];
}

/* --------------------------------------------------------------------- heap */

static bool better(candidate a, candidate b) { return a.count != b.count ? a.count > b.count : a.key < b.key; }

static void sift_down(trainer *t, size_t at) {
    candidate moving = t->heap[at];
    for (size_t child; (child = 2 * at + 1) < t->n_heap; at = child) {
        if (child + 1 < t->n_heap && better(t->heap[child + 1], t->heap[child]))
            child++;
        if (!better(t->heap[child], moving))
            break;
        t->heap[at] = t->heap[child];
    }
    t->heap[at] = moving;
}

static bool push(trainer *t, uint32_t index) {
    candidate c = {t->pairs[index].count, t->pairs[index].key, index};
    if (!tern_grow_array((void **)&t->heap, &t->heap_capacity, t->n_heap + 1, sizeof *t->heap))
        return false;
    size_t at = t->n_heap++;
    for (; at && better(c, t->heap[(at - 1) / 2]); at = (at - 1) / 2)
        t->heap[at] = t->heap[(at - 1) / 2];
    t->heap[at] = c;
    return true;
}

/* The pairs that have gained are candidates again. */
static bool push_gained(trainer *t) {
    bool ok = true;
    for (size_t i = 0; ok && i < t->n_gained; i++) {
        t->pairs[t->gained[i]].gained = false;
        ok = t->pairs[t->gained[i]].count <= 0 || push(t, t->gained[i]);
    }
    t->n_gained = 0;
    return ok;
}

/* The best pair, taken off the heap; UINT32_MAX: none comes at least min_count times. */
static uint32_t pop_best(trainer *t, int64_t min_count) {
    while (t->n_heap) {
        candidate top = t->heap[0];
        int64_t count = t->pairs[top.pair].count;
        if (top.count != count && count > 0) { /* it has lost since: back to its place */
            t->heap[0].count = count;
            sift_down(t, 0);
            continue;
        }
        if (top.count == count && count < min_count)
            return UINT32_MAX;
        t->heap[0] = t->heap[--t->n_heap];
        if (t->n_heap)
            sift_down(t, 0);
        if (top.count == count && count > 0)
            return top.pair;
    }
    return UINT32_MAX;
}

/* ------------------------------------------------------------------ merging */

static bool merge_in_word(trainer *t, uint32_t w, uint32_t left, uint32_t right, uint32_t joined) {
    uint32_t *s = t->symbols + t->first[w], n = t->length[w], out = 0;
    bool ok = true;
    for (uint32_t i = 0; ok && i < n;) {
        if (i + 1 == n || s[i] != left || s[i + 1] != right) {
            s[out++] = s[i++];
            continue;
        }
        if (out) {
            lose(t, s[out - 1], left, w);
            ok = gain(t, s[out - 1], joined, w);
        }
        if (i + 2 < n) {
            lose(t, right, s[i + 2], w);
            ok = ok && gain(t, joined, s[i + 2], w);
        }
        s[out++] = joined;
        i += 2;
    }
    t->length[w] = out;
    return ok;
}

/* The id of the joined token: a new one, unless other merges have made the same bytes before. UINT32_MAX: no memory. */
static uint32_t join(trainer *t, uint32_t left, uint32_t right) {
    tern_view a = t->tokens[left], b = t->tokens[right];
    char *bytes = tern_arena_alloc(&t->arena, a.size + b.size);
    if (!bytes)
        return UINT32_MAX;
    memcpy(bytes, a.bytes, a.size);
    memcpy(bytes + a.size, b.bytes, b.size);
    tern_word *known = tern_word_find(&t->known, bytes, a.size + b.size);
    if (!known || !tern_grow_array((void **)&t->merges, &t->merge_capacity, t->n_merges + 1, sizeof *t->merges))
        return UINT32_MAX;
    t->merges[t->n_merges++] = (tern_bpe_merge){left, right};
    if (!known->count) {
        t->tokens[t->n_tokens] = (tern_view){bytes, a.size + b.size};
        known->count = ++t->n_tokens;
    }
    return (uint32_t)known->count - 1;
}

static bool merge(trainer *t, uint32_t best) {
    uint64_t key = t->pairs[best].key;
    uint32_t left = (uint32_t)(key >> 32), right = (uint32_t)key, joined = join(t, left, right);
    uint32_t *words = t->pairs[best].words;
    size_t n_words = t->pairs[best].n_words;
    bool ok = joined != UINT32_MAX;
    t->pairs[best].words = NULL;
    t->pairs[best].n_words = t->pairs[best].capacity = 0;
    for (size_t i = 0; ok && i < n_words; i++)
        ok = merge_in_word(t, words[i], left, right, joined);
    free(words);
    t->pairs[best].count = 0; /* no word has it any more; of "aaa" the two halves of a merge count it down twice */
    return ok && push_gained(t);
}

static tern_status merge_all(trainer *t, const tern_bpe_params *params, size_t n_wanted, tern_error *err) {
    int64_t min_count = params->min_count > INT64_MAX ? INT64_MAX : params->min_count ? (int64_t)params->min_count : 1;
    while (t->n_tokens < n_wanted) {
        uint32_t best = pop_best(t, min_count);
        if (best == UINT32_MAX)
            return tern_fail(err, TERN_ERR_ARGUMENT,
                             "the texts hold only %zu pairs that come %" PRId64
                             " times or more: a vocabulary of at most %zu; ask for that, or give more text",
                             t->n_merges, min_count, t->n_tokens + params->n_specials);
        if (!merge(t, best))
            return tern_fail_memory(err, "the pairs");
        if (params->merging && t->n_merges % 16 == 0 &&
            !params->merging(params->progress_user, t->n_tokens - 256, n_wanted - 256))
            return tern_fail(err, TERN_ERR_CANCELLED, "cancelled");
    }
    return TERN_OK;
}

/* -------------------------------------------------------------------- start */

/* Ids of the bytes: the order of their characters in GPT-2's alphabet. */
static bool make_bytes(trainer *t, uint32_t id_of[256]) {
    for (int printable = 1; printable >= 0; printable--)
        for (unsigned byte = 0; byte < 256; byte++) {
            if (tern_alphabet_printable(byte) != printable)
                continue;
            char *bytes = tern_arena_alloc(&t->arena, 1);
            tern_word *known = bytes ? tern_word_find(&t->known, (bytes[0] = (char)byte, bytes), 1) : NULL;
            if (!known)
                return false;
            id_of[byte] = (uint32_t)t->n_tokens;
            t->tokens[t->n_tokens] = (tern_view){bytes, 1};
            known->count = ++t->n_tokens;
        }
    return true;
}

static bool take_words(trainer *t, const tern_word_map *words) {
    uint32_t id_of[256];
    size_t n_symbols = 0, at = 0;
    for (size_t i = 0; i < words->n_slots; i++)
        n_symbols += words->slots[i].bytes ? words->slots[i].size : 0;
    t->symbols = tern_alloc_array(n_symbols + 1, sizeof *t->symbols);
    t->first = tern_alloc_array(words->n_words + 1, sizeof *t->first);
    t->length = tern_alloc_array(words->n_words + 1, sizeof *t->length);
    t->frequency = tern_alloc_array(words->n_words + 1, sizeof *t->frequency);
    if (!t->symbols || !t->first || !t->length || !t->frequency || !make_bytes(t, id_of))
        return false;
    for (size_t i = 0; i < words->n_slots; i++) {
        const tern_word *word = &words->slots[i];
        if (!word->bytes)
            continue;
        uint32_t w = (uint32_t)t->n_words++;
        t->first[w] = at;
        t->length[w] = word->size;
        t->frequency[w] = (int64_t)word->count;
        for (uint32_t k = 0; k < word->size; k++)
            t->symbols[at + k] = id_of[(uint8_t)word->bytes[k]];
        for (uint32_t k = 0; k + 1 < word->size; k++)
            if (!gain(t, t->symbols[at + k], t->symbols[at + k + 1], w))
                return false;
        at += word->size;
    }
    return push_gained(t);
}

static void free_trainer(trainer *t) {
    for (size_t i = 0; i < t->n_pairs; i++)
        free(t->pairs[i].words);
    void *const blocks[] = {t->symbols, t->first,  t->length, t->frequency, t->pairs,
                            t->slots,   t->gained, t->heap,   t->tokens,    t->merges};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        free(blocks[i]);
    tern_word_map_free(&t->known);
    tern_arena_free(&t->arena);
}

static bool is_utf8(const char *text, size_t size) {
    uint32_t c;
    for (size_t at = 0, n; at < size; at += n)
        if (n = tern_utf8_decode((const uint8_t *)text + at, size - at, &c), c == TERN_BAD_CHAR)
            return false;
    return true;
}

static tern_status check(const tern_bpe_params *params, tern_error *err) {
    size_t least = 256 + params->n_specials;
    if (params->n_specials == 0)
        return tern_fail(err, TERN_ERR_ARGUMENT, "a tokenizer needs a special token that begins a text");
    if (params->vocab_size < least)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "a vocabulary of %" PRIu32 " is too small: 256 bytes and %zu special tokens are %zu already",
                         params->vocab_size, params->n_specials, least);
    if (params->vocab_size > TERN_MAX_IDS)
        return tern_fail(err, TERN_ERR_ARGUMENT, "a vocabulary of %" PRIu32 " is too large: at most %u",
                         params->vocab_size, TERN_MAX_IDS);
    for (size_t i = 0; i < params->n_specials; i++) {
        size_t size = strlen(params->specials[i]);
        if (size == 0 || size > TERN_MAX_TOKEN_BYTES)
            return tern_fail(err, TERN_ERR_ARGUMENT, "special token %zu: must have 1 to %d bytes", i + 1,
                             TERN_MAX_TOKEN_BYTES);
        if (!is_utf8(params->specials[i], size))
            return tern_fail(err, TERN_ERR_ARGUMENT, "special token %s: is no UTF-8", params->specials[i]);
        for (size_t k = 0; k < i; k++)
            if (strcmp(params->specials[i], params->specials[k]) == 0)
                return tern_fail(err, TERN_ERR_ARGUMENT, "special token %s: is there twice", params->specials[i]);
    }
    return TERN_OK;
}

static tern_status train(trainer *t, const tern_word_map *words, const tern_bpe_params *params, tern_bpe_result *result,
                         tern_error *err) {
    size_t n_wanted = params->vocab_size - params->n_specials;
    t->tokens = tern_alloc_array(n_wanted, sizeof *t->tokens);
    if (words->n_words >= UINT32_MAX || !t->tokens || !take_words(t, words))
        return tern_fail_memory(err, "the pairs");
    tern_status status = merge_all(t, params, n_wanted, err);
    if (status)
        return status;
    const tern_bpe_vocab vocab = {t->tokens, t->n_tokens, t->merges, t->n_merges, params->specials, params->n_specials};
    result->n_merges = t->n_merges;
    return tern_bpe_json(&vocab, &result->json, &result->n_json, err);
}

tern_status tern_bpe_train(const tern_bpe_params *params, tern_bpe_result *result, tern_error *err) {
    tern_word_map words = {0};
    trainer t = {0};
    tern_bpe_result made = {0};
    double start = tern_seconds();
    tern_status status = check(params, err);
    if (!status)
        status = tern_bpe_count(params, &words, &made, err);
    made.count_seconds = tern_seconds() - start;
    if (!status)
        status = train(&t, &words, params, &made, err);
    made.merge_seconds = tern_seconds() - start - made.count_seconds;
    free_trainer(&t);
    tern_word_map_free(&words);
    if (!status)
        *result = made;
    return status;
}
