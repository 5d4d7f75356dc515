#include "tokenizer/vocab.h"

#include <stdlib.h>

#include "base/mem.h"

/* A hash table two thirds full with a good hash probes a few slots; a file that needs this many was made to collide.
 */
#define MAX_PROBES 4096

static const uint64_t hash_a = 0x9e3779b97f4a7c15u, hash_b = 0xd6e8feb86659fd93u;

static inline uint64_t load_bytes(const char *bytes, size_t size) { /* 1 to 8 bytes, little-endian, zero-filled */
    uint64_t value = 0;
    if (size >= 8) {
        memcpy(&value, bytes, 8);
    } else if (size >= 4) {
        uint32_t low, high;
        memcpy(&low, bytes, 4);
        memcpy(&high, bytes + size - 4, 4);
        value = (uint64_t)high << 8 * (size - 4) | low;
    } else {
        value = (uint8_t)bytes[0] | (uint64_t)(uint8_t)bytes[size >> 1] << 8 * (size >> 1) |
                (uint64_t)(uint8_t)bytes[size - 1] << 8 * (size - 1);
    }
    return value;
}

static inline uint64_t mix(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t hash_bytes(const char *bytes, size_t size, uint64_t first8) {
    uint64_t hash = mix(first8 ^ hash_a, size ^ hash_b);
    for (size_t i = 8; i < size; i += 8) {
        size_t left = size - i;
        hash = mix(hash ^ load_bytes(left >= 8 ? bytes + i : bytes + size - 8, 8), hash_a);
    }
    return hash;
}

static inline bool slot_is(const tern_vocab *vocab, const tern_vocab_slot *slot, const char *bytes, size_t size,
                           uint64_t first8) {
    return slot->first8 == first8 && slot->size == size &&
           (size <= 8 || memcmp(vocab->pool + vocab->spans[slot->id].offset + 8, bytes + 8, size - 8) == 0);
}

int32_t tern_vocab_find(const tern_vocab *vocab, const char *bytes, size_t size) {
    if (size > vocab->max_size)
        return -1;
    uint64_t first8 = load_bytes(bytes, size);
    size_t mask = (size_t)(UINT64_MAX >> vocab->slot_shift);
    for (size_t i = (size_t)(hash_bytes(bytes, size, first8) >> vocab->slot_shift);; i = (i + 1) & mask) {
        const tern_vocab_slot *slot = &vocab->slots[i];
        if (slot_is(vocab, slot, bytes, size, first8))
            return slot->id;
        if (slot->size == 0)
            return -1;
    }
}

/* GPT-2's alphabet: printable Latin-1 characters stand for themselves, the other bytes for U+0100 and up, in order. */
static int alphabet_byte(uint32_t c) {
    static const uint8_t keep[][2] = {{33, 126}, {161, 172}, {174, 255}};
    if (c < 256) {
        for (size_t i = 0; i < 3; i++)
            if (c >= keep[i][0] && c <= keep[i][1])
                return (int)c;
        return -1;
    }
    c -= 256;
    return c < 33 ? (int)c : c < 67 ? (int)c - 33 + 127 : c == 67 ? 173 : -1;
}

/* Decode `text` in that alphabet into out [at least text.size]; false if a character is not in it. */
static bool decode_alphabet(tern_view text, char *out, size_t *size) {
    size_t n = 0;
    for (size_t i = 0; i < text.size;) {
        uint8_t first = (uint8_t)text.bytes[i];
        if (first > 32 && first < 127) {
            out[n++] = (char)first;
            i++;
            continue;
        }
        if (first < 0xc2 || first > 0xc5 || i + 1 == text.size || ((uint8_t)text.bytes[i + 1] & 0xc0) != 0x80)
            return false;
        int byte = alphabet_byte((first & 0x1fu) << 6 | ((uint8_t)text.bytes[i + 1] & 0x3fu));
        if (byte < 0)
            return false;
        out[n++] = (char)byte;
        i += 2;
    }
    *size = n;
    return true;
}

tern_status tern_vocab_init(tern_vocab *vocab, const char *name, size_t n, tern_error *err) {
    *vocab = (tern_vocab){0};
    if (n == 0)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: the vocabulary has no tokens", name);
    if (n > TERN_MAX_IDS)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: token ids up to %zu; more than %u ids is no sane vocabulary", name,
                         n - 1, TERN_MAX_IDS);
    vocab->n = n;
    vocab->spans = tern_calloc_array(n, sizeof *vocab->spans);
    vocab->kinds = tern_calloc_array(n, 1);
    return vocab->spans && vocab->kinds ? TERN_OK : tern_fail_memory(err, "the vocabulary");
}

void tern_vocab_free(tern_vocab *vocab) {
    free(vocab->pool);
    free(vocab->spans);
    free(vocab->kinds);
    tern_aligned_free(vocab->slots);
    tern_aligned_free(vocab->merges);
    *vocab = (tern_vocab){0};
}

/* Check the id and make room for `size` bytes at the end of the pool. (A token in the byte-level alphabet is up to
 * twice as long as its bytes.) */
static tern_status open_token(tern_vocab *vocab, const char *name, size_t id, size_t size, tern_error *err) {
    if (id >= vocab->n)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: token id %zu is outside the vocabulary of %zu", name, id, vocab->n);
    if (vocab->kinds[id] != TERN_KIND_HOLE)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: token id %zu is given twice", name, id);
    if (size == 0)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: token %zu is empty", name, id);
    if (size > 2 * TERN_MAX_TOKEN_BYTES)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: token %zu has %zu bytes; at most %d are accepted", name, id, size,
                         TERN_MAX_TOKEN_BYTES);
    if (size > TERN_MAX_VOCAB_BYTES - vocab->pool_size)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: the tokens have more than %u bytes together", name,
                         TERN_MAX_VOCAB_BYTES);
    if (!tern_grow_array((void **)&vocab->pool, &vocab->pool_capacity, vocab->pool_size + size, 1))
        return tern_fail_memory(err, "the vocabulary");
    return TERN_OK;
}

static void close_token(tern_vocab *vocab, size_t id, int kind, size_t size) {
    vocab->spans[id] = (tern_token_span){(uint32_t)vocab->pool_size, (uint32_t)size};
    vocab->kinds[id] = (uint8_t)kind;
    vocab->pool_size += size;
}

tern_status tern_vocab_put(tern_vocab *vocab, const char *name, size_t id, int kind, tern_view bytes, tern_error *err) {
    tern_status status = open_token(vocab, name, id, bytes.size, err);
    if (status)
        return status;
    memcpy(vocab->pool + vocab->pool_size, bytes.bytes, bytes.size);
    close_token(vocab, id, kind, bytes.size);
    return TERN_OK;
}

tern_status tern_vocab_put_encoded(tern_vocab *vocab, const char *name, size_t id, tern_view text, tern_error *err) {
    tern_status status = open_token(vocab, name, id, text.size, err);
    if (status)
        return status;
    size_t size;
    if (!decode_alphabet(text, vocab->pool + vocab->pool_size, &size))
        return tern_fail(err, TERN_ERR_FORMAT,
                         "%s: token %zu \"%.*s\" is not in the byte-level alphabet; only byte-level BPE is supported",
                         name, id, (int)(text.size < 60 ? text.size : 60), text.bytes);
    close_token(vocab, id, TERN_KIND_NORMAL, size);
    return TERN_OK;
}

/* log2 of a table at most two thirds full; at least 16 slots. */
static unsigned table_bits(size_t n) {
    unsigned bits = 4;
    while ((size_t)1 << bits < n + n / 2)
        bits++;
    return bits;
}

static tern_status index_token(tern_vocab *vocab, const char *name, size_t id, tern_error *err) {
    tern_view token = tern_vocab_bytes(vocab, id);
    uint64_t first8 = load_bytes(token.bytes, token.size);
    size_t mask = (size_t)(UINT64_MAX >> vocab->slot_shift);
    size_t i = (size_t)(hash_bytes(token.bytes, token.size, first8) >> vocab->slot_shift);
    for (size_t probes = 0; vocab->slots[i].size; i = (i + 1) & mask, probes++) {
        if (slot_is(vocab, &vocab->slots[i], token.bytes, token.size, first8))
            return tern_fail(err, TERN_ERR_FORMAT, "%s: tokens %d and %zu are the same text", name, vocab->slots[i].id,
                             id);
        if (probes == MAX_PROBES)
            return tern_fail(err, TERN_ERR_FORMAT, "%s: the tokens were chosen to collide in a hash table", name);
    }
    vocab->slots[i] = (tern_vocab_slot){first8, (int32_t)id, (uint32_t)token.size};
    if (token.size > vocab->max_size)
        vocab->max_size = token.size;
    return TERN_OK;
}

tern_status tern_vocab_index(tern_vocab *vocab, const char *name, tern_error *err) {
    unsigned bits = table_bits(vocab->n);
    vocab->slot_shift = 64 - bits;
    vocab->slots = tern_aligned_alloc(sizeof *vocab->slots << bits); /* huge pages: a fault for 2 MB, not for 4 KB */
    if (!vocab->slots)
        return tern_fail_memory(err, "the vocabulary");
    memset(vocab->slots, 0, sizeof *vocab->slots << bits);
    for (size_t id = 0; id < vocab->n; id++) {
        if (vocab->kinds[id] != TERN_KIND_NORMAL)
            continue;
        tern_status status = index_token(vocab, name, id, err);
        if (status)
            return status;
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        char c = (char)byte;
        vocab->byte_ids[byte] = tern_vocab_find(vocab, &c, 1);
        if (vocab->byte_ids[byte] < 0)
            return tern_fail(err, TERN_ERR_FORMAT,
                             "%s: no token for byte 0x%02x; a byte-level vocabulary needs one for each of the 256",
                             name, byte);
    }
    return TERN_OK;
}

tern_status tern_vocab_reserve_merges(tern_vocab *vocab, const char *name, size_t n, tern_error *err) {
    if (n > 8 * (size_t)TERN_MAX_IDS)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: %zu merges is no sane vocabulary", name, n);
    unsigned bits = table_bits(n);
    vocab->merge_shift = 64 - bits;
    vocab->merges = tern_aligned_alloc(sizeof *vocab->merges << bits);
    if (!vocab->merges)
        return tern_fail_memory(err, "the merges");
    memset(vocab->merges, 0xff, sizeof *vocab->merges << bits); /* every pair UINT64_MAX */
    return TERN_OK;
}

static tern_status put_merge(tern_vocab *vocab, const char *name, uint32_t rank, int32_t left, int32_t right,
                             int32_t joined, tern_error *err) {
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t mask = (size_t)(UINT64_MAX >> vocab->merge_shift);
    size_t i = (size_t)(pair * 0x9e3779b97f4a7c15u >> vocab->merge_shift);
    for (size_t probes = 0; vocab->merges[i].pair != UINT64_MAX; i = (i + 1) & mask, probes++) {
        if (vocab->merges[i].pair == pair)
            return tern_fail(err, TERN_ERR_FORMAT, "%s: merge %u repeats merge %u", name, rank, vocab->merges[i].rank);
        if (probes == MAX_PROBES)
            return tern_fail(err, TERN_ERR_FORMAT, "%s: the merges were chosen to collide in a hash table", name);
    }
    vocab->merges[i] = (tern_merge_slot){pair, rank, joined};
    if (rank >= vocab->n_ranks)
        vocab->n_ranks = rank + 1;
    return TERN_OK;
}

/* As tern_vocab_find(), but looks at `id` and the next one first: lists of merges are in the order of the ids that
 * they make, one or several merges an id, and a look-up in the table would miss the caches. */
static int32_t find_near(const tern_vocab *vocab, int32_t id, const char *bytes, size_t size) {
    const tern_view wanted = {bytes, size};
    for (size_t i = (size_t)id; i < vocab->n && i <= (size_t)id + 1; i++)
        if (vocab->kinds[i] == TERN_KIND_NORMAL && tern_view_equal(tern_vocab_bytes(vocab, i), wanted))
            return (int32_t)i;
    return tern_vocab_find(vocab, bytes, size);
}

static tern_status fail_merge(const char *name, uint32_t rank, const char *what, tern_error *err) {
    return tern_fail(err, TERN_ERR_FORMAT, "%s: merge %u: %s", name, rank, what);
}

tern_status tern_vocab_add_merge(tern_vocab *vocab, const char *name, uint32_t rank, tern_view left, tern_view right,
                                 tern_error *err) {
    char bytes[4 * TERN_MAX_TOKEN_BYTES];
    size_t n_left, n_right;
    if (!left.size || !right.size || left.size > sizeof bytes / 2 || right.size > sizeof bytes / 2 ||
        !decode_alphabet(left, bytes, &n_left) || !decode_alphabet(right, bytes + n_left, &n_right))
        return fail_merge(name, rank, "is not two tokens of the byte-level alphabet", err);
    int32_t a = tern_vocab_find(vocab, bytes, n_left), b = tern_vocab_find(vocab, bytes + n_left, n_right);
    if (a < 0 || b < 0)
        return fail_merge(name, rank, a < 0 ? "its left part is no token" : "its right part is no token", err);
    int32_t joined = find_near(vocab, vocab->last_joined, bytes, n_left + n_right);
    if (joined < 0)
        return fail_merge(name, rank, "its result is no token of the vocabulary", err);
    vocab->last_joined = joined;
    return put_merge(vocab, name, rank, a, b, joined, err);
}

tern_status tern_vocab_add_merge_line(tern_vocab *vocab, const char *name, uint32_t rank, tern_view line,
                                      tern_error *err) {
    const char *space = line.size ? memchr(line.bytes, ' ', line.size) : NULL;
    if (!space)
        return fail_merge(name, rank, "is not \"left right\"", err);
    size_t n_left = (size_t)(space - line.bytes);
    return tern_vocab_add_merge(vocab, name, rank, (tern_view){line.bytes, n_left},
                                (tern_view){space + 1, line.size - n_left - 1}, err);
}

/* Call put_merge for each way to split a token in two; with `count` only count them. */
static tern_status derive_splits(tern_vocab *vocab, const char *name, size_t *count, tern_error *err) {
    for (size_t id = 0; id < vocab->n; id++) {
        tern_view token = tern_vocab_bytes(vocab, id);
        if (vocab->kinds[id] != TERN_KIND_NORMAL)
            continue;
        for (size_t cut = 1; cut < token.size; cut++) {
            int32_t left = tern_vocab_find(vocab, token.bytes, cut);
            int32_t right = left < 0 ? -1 : tern_vocab_find(vocab, token.bytes + cut, token.size - cut);
            if (right < 0)
                continue;
            if (count) {
                ++*count;
                continue;
            }
            tern_status status = put_merge(vocab, name, (uint32_t)id, left, right, (int32_t)id, err);
            if (status)
                return status;
        }
    }
    return TERN_OK;
}

tern_status tern_vocab_derive_merges(tern_vocab *vocab, const char *name, tern_error *err) {
    size_t count = 0;
    derive_splits(vocab, name, &count, err);
    tern_status status = tern_vocab_reserve_merges(vocab, name, count, err);
    return status ? status : derive_splits(vocab, name, NULL, err);
}
