#include "grammar/matcher.h"

#include <stdlib.h>

#include "grammar/stacks.h"

enum { N_MASKS = 16 }; /* kept at once: 16 KB each with 128k tokens. JSON comes back to fewer states. */

typedef struct kept_mask {
    uint64_t *bits;
    size_t n_allowed;
    uint32_t state;
    bool used;
} kept_mask;

struct tern_matcher {
    const tern_grammar *grammar;
    tern_stacks stacks;
    size_t vocab_size, n_words;
    uint32_t state;
    bool ended; /* behind an end token */
    kept_mask masks[N_MASKS];
    size_t next_mask;
    kept_mask end_mask; /* end tokens alone; made when needed */
    uint32_t *walk;     /* [trie->depth + 2] states by depth, and the text's at 0 */
};

tern_status tern_matcher_create(const tern_grammar *grammar, size_t vocab_size, tern_matcher **out, tern_error *err) {
    tern_matcher *matcher = calloc(1, sizeof *matcher);
    if (!matcher)
        return tern_fail_memory(err, "a grammar's sampler");
    matcher->grammar = grammar;
    matcher->vocab_size = vocab_size;
    matcher->n_words = (vocab_size + 63) / 64;
    tern_status status = tern_stacks_init(&matcher->stacks, &grammar->net, err);
    if (!status) {
        matcher->state = tern_stacks_start(&matcher->stacks);
        status = matcher->stacks.status;
    }
    matcher->walk = tern_alloc_array(grammar->trie->depth + 2, sizeof *matcher->walk);
    if (!status && !matcher->walk)
        status = tern_fail_memory(err, "a grammar's sampler");
    if (status)
        tern_matcher_free(matcher);
    else
        *out = matcher;
    return status;
}

void tern_matcher_free(tern_matcher *matcher) {
    if (!matcher)
        return;
    tern_stacks_free(&matcher->stacks);
    for (size_t i = 0; i < N_MASKS; i++)
        free(matcher->masks[i].bits);
    free(matcher->end_mask.bits);
    free(matcher->walk);
    free(matcher);
}

void tern_matcher_counts(const tern_matcher *matcher, uint64_t *n_steps, uint64_t *n_made) {
    *n_steps = matcher->stacks.n_steps;
    *n_made = matcher->stacks.n_made;
}

static void drop_masks(tern_matcher *matcher) {
    for (size_t i = 0; i < N_MASKS; i++)
        matcher->masks[i].used = false;
}

/* A call begins: make room if there is much to forget. states [n] stay. */
static tern_status begin(tern_matcher *matcher, uint32_t *states, size_t n, tern_error *err) {
    matcher->stacks.err = err;
    matcher->stacks.status = TERN_OK;
    if (!tern_stacks_full(&matcher->stacks))
        return TERN_OK;
    drop_masks(matcher);
    return tern_stacks_flush(&matcher->stacks, states, n, err);
}

static bool is_end(const tern_matcher *matcher, int32_t id) {
    return tern_tokenizer_is_end(matcher->grammar->tokenizer, id);
}

/* The state behind the token, if it is text. */
static tern_status step_over(tern_matcher *matcher, int32_t id, uint32_t *state, tern_error *err) {
    const tern_grammar *grammar = matcher->grammar;
    tern_status status = begin(matcher, &matcher->state, 1, err);
    *state = TERN_STATE_DEAD;
    if (status || id < 0 || (size_t)id >= matcher->vocab_size || matcher->ended ||
        !tern_tokenizer_is_text(grammar->tokenizer, id))
        return status;
    size_t n_bytes;
    const char *bytes = tern_tokenizer_token(grammar->tokenizer, id, &n_bytes);
    *state = n_bytes ? matcher->state : TERN_STATE_DEAD;
    for (size_t i = 0; *state != TERN_STATE_DEAD && i < n_bytes; i++)
        *state = tern_stacks_step(&matcher->stacks, *state, (uint8_t)bytes[i]);
    return matcher->stacks.status;
}

static bool may_end(const tern_matcher *matcher) {
    return matcher->ended || matcher->stacks.states[matcher->state].may_end;
}

tern_status tern_matcher_allows(tern_matcher *matcher, int32_t id, bool *allowed, tern_error *err) {
    uint32_t state;
    if (is_end(matcher, id)) {
        *allowed = (size_t)id < matcher->vocab_size && may_end(matcher);
        return TERN_OK;
    }
    tern_status status = step_over(matcher, id, &state, err);
    *allowed = state != TERN_STATE_DEAD;
    return status;
}

tern_status tern_matcher_accept(tern_matcher *matcher, int32_t id, tern_error *err) {
    uint32_t state = TERN_STATE_DEAD;
    bool end = is_end(matcher, id), allowed = end && may_end(matcher);
    tern_status status = end ? TERN_OK : step_over(matcher, id, &state, err);
    if (status)
        return status;
    if (!allowed && state == TERN_STATE_DEAD)
        return tern_fail(err, TERN_ERR_ARGUMENT, "token %d cannot follow here: the grammar does not allow it", (int)id);
    if (end)
        matcher->ended = true;
    else
        matcher->state = state;
    return TERN_OK;
}

/* ------------------------------------------------------------------- masks */

static void allow(kept_mask *mask, int32_t id) {
    mask->bits[id / 64] |= (uint64_t)1 << (id % 64);
    mask->n_allowed++;
}

static void allow_ends(const tern_matcher *matcher, kept_mask *mask) {
    for (size_t i = 0; i < matcher->grammar->n_ends; i++)
        if ((size_t)matcher->grammar->ends[i] < matcher->vocab_size)
            allow(mask, matcher->grammar->ends[i]);
}

/* The trie in preorder: a dead end skips all that begins so. */
static tern_status walk(tern_matcher *matcher, kept_mask *mask, tern_error *err) {
    const tern_trie *trie = matcher->grammar->trie;
    uint32_t *states = matcher->walk;
    states[0] = matcher->state;
    for (uint32_t i = 0; i < trie->n_nodes;) {
        const tern_trie_node *node = &trie->nodes[i];
        tern_status status = begin(matcher, states, node->depth, err);
        uint32_t state =
            status ? TERN_STATE_DEAD : tern_stacks_step(&matcher->stacks, states[node->depth - 1], node->byte);
        matcher->state = states[0]; /* which a flush may have moved */
        if (status || matcher->stacks.status)
            return matcher->stacks.status;
        states[node->depth] = state;
        if (state == TERN_STATE_DEAD) {
            i = node->next;
            continue;
        }
        for (uint32_t k = node[0].ids; k < node[1].ids; k++)
            if ((size_t)trie->ids[k] < matcher->vocab_size && !is_end(matcher, trie->ids[k]))
                allow(mask, trie->ids[k]);
        i++;
    }
    return TERN_OK;
}

static kept_mask *find_mask(const tern_matcher *matcher) {
    int place = matcher->stacks.states[matcher->state].mask;
    if (matcher->ended)
        return matcher->end_mask.used ? (kept_mask *)&matcher->end_mask : NULL;
    if (place < 0 || !matcher->masks[place].used || matcher->masks[place].state != matcher->state)
        return NULL;
    return (kept_mask *)&matcher->masks[place];
}

bool tern_matcher_has_mask(const tern_matcher *matcher) { return find_mask(matcher) != NULL; }

static tern_status make_mask(tern_matcher *matcher, kept_mask *mask, tern_error *err) {
    mask->used = false;
    if (!mask->bits)
        mask->bits = tern_alloc_array(matcher->n_words, sizeof *mask->bits);
    if (!mask->bits)
        return tern_fail_memory(err, "a grammar's mask");
    memset(mask->bits, 0, matcher->n_words * sizeof *mask->bits);
    mask->n_allowed = 0;
    tern_status status = matcher->ended ? TERN_OK : walk(matcher, mask, err);
    if (!status && may_end(matcher))
        allow_ends(matcher, mask);
    if (status)
        return status;
    mask->used = true;
    mask->state = matcher->state;
    return TERN_OK;
}

tern_status tern_matcher_mask(tern_matcher *matcher, const uint64_t **bits, size_t *n_allowed, tern_error *err) {
    kept_mask *mask = find_mask(matcher);
    if (!mask) {
        size_t place = matcher->next_mask;
        mask = matcher->ended ? &matcher->end_mask : &matcher->masks[place];
        tern_status status = make_mask(matcher, mask, err);
        if (status)
            return status;
        if (!matcher->ended) {
            matcher->stacks.states[matcher->state].mask = (int)place;
            matcher->next_mask = (place + 1) % N_MASKS;
        }
    }
    if (mask->n_allowed == 0)
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "grammar: no token of the vocabulary can follow here: it has none for a byte that must come");
    *bits = mask->bits;
    *n_allowed = mask->n_allowed;
    return TERN_OK;
}
