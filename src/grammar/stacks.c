#include "grammar/stacks.h"

#include <stdlib.h>

#include "base/hash.h"

enum {
    UNION_SLOTS = 1 << 12,
    MAX_ITEMS = 1 << 18, /* frames, places, or transitions: about 4 MB of memory */
};
#define MAX_WORK ((uint64_t)4 << 20)

static void no_memory(tern_stacks *s) {
    if (!s->status)
        s->status = tern_fail_memory(s->err, "the state of a grammar");
}

/* False once the byte has taken too much. */
static bool count_work(tern_stacks *s, size_t n) {
    s->work += n;
    if (s->work > MAX_WORK && !s->status)
        s->status = tern_fail(s->err, TERN_ERR_UNSUPPORTED,
                              "grammar: the text so far can be read in too many ways; make the grammar less ambiguous");
    return !s->status;
}

/* ------------------------------------------------------------ hash tables */

static uint64_t hash_set(const tern_stacks *s, uint32_t set) {
    const tern_stack_set *x = &s->sets[set];
    return tern_hash_bytes(s->frames + x->frames, x->n * sizeof *s->frames);
}

static uint64_t hash_state(const tern_stacks *s, uint32_t state) {
    const tern_text_state *x = &s->states[state];
    return tern_hash_bytes(s->places + x->places, x->n * sizeof *s->places) + x->may_end;
}

typedef uint64_t hash_fn(const tern_stacks *s, uint32_t item);

static bool grow_index(tern_stacks *s, tern_intern *index, size_t n_items, hash_fn *hash) {
    size_t n = index->n_slots ? index->n_slots : 64;
    while (n < n_items * 2 + 4) /* there is room for one more */
        n *= 2;
    if (n == index->n_slots)
        return true;
    uint32_t *slots = tern_alloc_array(n, sizeof *slots);
    if (!slots) {
        no_memory(s);
        return false;
    }
    memset(slots, 0xff, n * sizeof *slots);
    for (uint32_t item = 0; item < n_items; item++) {
        size_t i = hash(s, item) & (n - 1);
        while (slots[i] != UINT32_MAX)
            i = (i + 1) & (n - 1);
        slots[i] = item;
    }
    free(index->slots);
    index->slots = slots;
    index->n_slots = n;
    return true;
}

/* ---------------------------------------------------------- sets of stacks */

/* The last n frames of scratch, in order, as a set; takes them off scratch. */
static uint32_t intern_set(tern_stacks *s, size_t n) {
    const tern_frame *frames = s->scratch + (s->n_scratch - n);
    s->n_scratch -= n;
    if (!count_work(s, n + 1) || !grow_index(s, &s->set_index, s->n_sets, hash_set))
        return TERN_BOTTOM;
    size_t mask = s->set_index.n_slots - 1, i = tern_hash_bytes(frames, n * sizeof *frames) & mask;
    for (; s->set_index.slots[i] != UINT32_MAX; i = (i + 1) & mask) {
        const tern_stack_set *set = &s->sets[s->set_index.slots[i]];
        if (set->n == n && memcmp(s->frames + set->frames, frames, n * sizeof *frames) == 0)
            return s->set_index.slots[i];
    }
    if (!tern_grow_array((void **)&s->sets, &s->sets_capacity, s->n_sets + 1, sizeof *s->sets) ||
        !tern_grow_array((void **)&s->frames, &s->frames_capacity, s->n_frames + n, sizeof *s->frames)) {
        no_memory(s);
        return TERN_BOTTOM;
    }
    tern_stack_set set = {.frames = (uint32_t)s->n_frames, .n = (uint32_t)n};
    for (size_t k = 0; k < n; k++) {
        uint32_t depth = frames[k].back == UINT32_MAX ? 0 : s->sets[frames[k].below].depth + 1;
        set.depth = depth > set.depth ? depth : set.depth;
        s->frames[s->n_frames++] = frames[k];
    }
    s->sets[s->n_sets] = set;
    s->set_index.slots[i] = (uint32_t)s->n_sets;
    return (uint32_t)s->n_sets++;
}

static void push_frame(tern_stacks *s, tern_frame frame) {
    if (!tern_grow_array((void **)&s->scratch, &s->scratch_capacity, s->n_scratch + 1, sizeof *s->scratch))
        no_memory(s);
    else
        s->scratch[s->n_scratch++] = frame;
}

/* Frames with the same place to come back to become one, over the union of what is below: as deep a recursion as stacks
 * are, TERN_GRAMMAR_MAX_DEPTH at most. */
static uint32_t unite(tern_stacks *s, uint32_t a, uint32_t b) {
    if (a == b || s->status)
        return a;
    if (a > b) {
        uint32_t swap = a;
        a = b;
        b = swap;
    }
    tern_union_slot *slot = &s->unions[(a * 0x9e3779b1u ^ b * 0x85ebca77u) % UNION_SLOTS];
    if (slot->a == a && slot->b == b)
        return slot->both;
    size_t i = 0, k = 0, start = s->n_scratch, n_a = s->sets[a].n, n_b = s->sets[b].n;
    while (!s->status && (i < n_a || k < n_b)) { /* the arrays may move while we are below */
        const tern_frame *x = s->frames + s->sets[a].frames + i, *y = s->frames + s->sets[b].frames + k;
        if (k == n_b || (i < n_a && x->back < y->back)) {
            push_frame(s, *x);
            i++;
        } else if (i == n_a || y->back < x->back) {
            push_frame(s, *y);
            k++;
        } else {
            tern_frame both = {x->back, x->back == UINT32_MAX ? TERN_BOTTOM : x->below};
            if (x->below != y->below)
                both.below = unite(s, x->below, y->below);
            push_frame(s, both);
            i++;
            k++;
        }
        if (!count_work(s, 1))
            break;
    }
    if (s->status)
        return TERN_BOTTOM;
    uint32_t both = intern_set(s, s->n_scratch - start);
    if (!s->status) /* the slot may be another pair's by now, which does not matter */
        *slot = (tern_union_slot){a, b, both};
    return both;
}

/* --------------------------------------------------- states of the network */

/* Deeper than this is not allowed; there is always another way, or the caller would not be here (network.h, height). */
static bool fits(const tern_stacks *s, uint32_t at, uint32_t set) {
    return s->net->states[at].height + s->sets[set].depth <= TERN_GRAMMAR_MAX_DEPTH;
}

/* The text can be at `at` with the stacks `set`, too. */
static void reach(tern_stacks *s, uint32_t at, uint32_t set) {
    if (s->status || !count_work(s, 1) || !fits(s, at, set))
        return;
    if (s->seen[at]) {
        uint32_t both = unite(s, s->set_of[at], set);
        if (s->status || both == s->set_of[at])
            return;
        s->set_of[at] = both;
    } else {
        if (!tern_grow_array((void **)&s->order, &s->order_capacity, s->n_order + 1, sizeof *s->order)) {
            no_memory(s);
            return;
        }
        s->order[s->n_order++] = at;
        s->set_of[at] = set;
        s->seen[at] = 1;
    }
    if (s->seen[at] == 2)
        return;
    if (!tern_grow_array((void **)&s->queue, &s->queue_capacity, s->n_queue + 1, sizeof *s->queue)) {
        no_memory(s);
        return;
    }
    s->queue[s->n_queue++] = at;
    s->seen[at] = 2;
}

/* What can follow without a byte: the end of the rule, and the beginnings of those that it calls. */
static void follow(tern_stacks *s, uint32_t at) {
    const struct tern_network_state *state = &s->net->states[at];
    uint32_t set = s->set_of[at];
    for (uint32_t i = 0; !s->status && state->final && i < s->sets[set].n; i++) {
        tern_frame frame = s->frames[s->sets[set].frames + i];
        if (frame.back == UINT32_MAX)
            s->may_end = true;
        else
            reach(s, frame.back, frame.below);
    }
    for (uint32_t c = state[0].calls; !s->status && c < state[1].calls; c++) {
        tern_call call = s->net->calls[c];
        uint32_t inner = set;
        if (!s->net->states[call.to].tail) {
            if (!fits(s, call.to, set))
                continue;
            push_frame(s, (tern_frame){call.to, set});
            inner = s->status ? set : intern_set(s, 1);
        }
        reach(s, s->net->starts[call.rule], inner);
    }
}

static int compare_states(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* One more of each than is needed, so that the arrays are there even for a state without places or bytes. */
static bool room_for_state(tern_stacks *s, size_t n_places) {
    size_t n_classes = s->net->n_classes;
    if (tern_grow_array((void **)&s->states, &s->states_capacity, s->n_states + 1, sizeof *s->states) &&
        tern_grow_array((void **)&s->places, &s->places_capacity, s->n_places + n_places + 1, sizeof *s->places) &&
        tern_grow_array((void **)&s->next, &s->next_capacity, (s->n_states + 1) * n_classes + 1, sizeof *s->next))
        return true;
    no_memory(s);
    return false;
}

/* Places [n] (already in the array, behind the others) as a state. */
static uint32_t intern_state(tern_stacks *s, size_t n, bool may_end) {
    if (!grow_index(s, &s->state_index, s->n_states, hash_state))
        return TERN_STATE_DEAD;
    const tern_place *places = s->places + s->n_places;
    size_t mask = s->state_index.n_slots - 1, i = (tern_hash_bytes(places, n * sizeof *places) + may_end) & mask;
    for (; s->state_index.slots[i] != UINT32_MAX; i = (i + 1) & mask) {
        const tern_text_state *state = &s->states[s->state_index.slots[i]];
        if (state->n == n && state->may_end == may_end &&
            memcmp(s->places + state->places, places, n * sizeof *places) == 0)
            return s->state_index.slots[i];
    }
    s->states[s->n_states] =
        (tern_text_state){.places = (uint32_t)s->n_places, .n = (uint32_t)n, .may_end = may_end, .mask = -1};
    s->n_places += n;
    memset(s->next + s->n_states * s->net->n_classes, 0xff, s->net->n_classes * sizeof *s->next);
    s->state_index.slots[i] = (uint32_t)s->n_states;
    return (uint32_t)s->n_states++;
}

/* What has been reached, and all that follows without a byte, as a state. */
static uint32_t take_state(tern_stacks *s) {
    while (!s->status && s->n_queue > 0) {
        uint32_t at = s->queue[--s->n_queue];
        s->seen[at] = 1;
        follow(s, at);
    }
    if (s->n_order)
        qsort(s->order, s->n_order, sizeof *s->order, compare_states);
    uint32_t state = TERN_STATE_DEAD;
    if (!s->status && room_for_state(s, s->n_order)) {
        size_t n = 0;
        for (size_t i = 0; i < s->n_order; i++) {
            const struct tern_network_state *at = &s->net->states[s->order[i]];
            if (at[1].edges > at[0].edges)
                s->places[s->n_places + n++] = (tern_place){s->order[i], s->set_of[s->order[i]]};
        }
        state = intern_state(s, n, s->may_end);
    }
    for (size_t i = 0; i < s->n_order; i++)
        s->seen[s->order[i]] = 0;
    s->n_order = s->n_queue = s->n_scratch = 0;
    s->may_end = false;
    return s->status ? TERN_STATE_DEAD : state;
}

/* ---------------------------------------------------------------- stepping */

uint32_t tern_stacks_start(tern_stacks *s) {
    s->work = 0;
    reach(s, s->net->starts[0], TERN_BOTTOM);
    return take_state(s);
}

uint32_t tern_stacks_step(tern_stacks *s, uint32_t state, uint8_t byte) {
    size_t n_classes = s->net->n_classes, cell = state * n_classes + s->net->class_of[byte];
    s->n_steps++;
    if (s->next[cell] != UINT32_MAX)
        return s->next[cell];
    s->n_made++;
    s->work = 0;
    for (uint32_t i = 0; !s->status && i < s->states[state].n; i++) {
        tern_place place = s->places[s->states[state].places + i];
        uint32_t low = s->net->states[place.at].edges, high = s->net->states[place.at + 1].edges;
        while (low < high) { /* the first edge that does not end in front of the byte */
            uint32_t middle = low + (high - low) / 2;
            if (s->net->edges[middle].high < byte)
                low = middle + 1;
            else
                high = middle;
        }
        if (low < s->net->states[place.at + 1].edges && s->net->edges[low].low <= byte)
            reach(s, s->net->edges[low].to, place.set);
    }
    uint32_t next = take_state(s);
    if (!s->status)
        s->next[cell] = next;
    return next;
}

/* ------------------------------------------------------------------ memory */

/* The dead state and the bottom are there from the beginning, as number 0. */
static void put_fixed(tern_stacks *s) {
    push_frame(s, (tern_frame){UINT32_MAX, TERN_BOTTOM});
    if (!s->status)
        intern_set(s, 1);
    if (!s->status && room_for_state(s, 0)) {
        intern_state(s, 0, false);
        for (size_t i = 0; !s->status && i < s->net->n_classes; i++)
            s->next[i] = TERN_STATE_DEAD;
    }
}

tern_status tern_stacks_init(tern_stacks *s, const tern_network *net, tern_error *err) {
    *s = (tern_stacks){.net = net, .err = err};
    s->unions = tern_alloc_array(UNION_SLOTS, sizeof *s->unions);
    s->set_of = tern_alloc_array(net->n_states, sizeof *s->set_of);
    s->seen = tern_calloc_array(net->n_states, 1);
    if (!s->unions || !s->set_of || !s->seen) {
        no_memory(s);
        return s->status;
    }
    memset(s->unions, 0xff, UNION_SLOTS * sizeof *s->unions);
    put_fixed(s);
    return s->status;
}

void tern_stacks_free(tern_stacks *s) {
    free(s->frames);
    free(s->sets);
    free(s->places);
    free(s->states);
    free(s->next);
    free(s->set_index.slots);
    free(s->state_index.slots);
    free(s->unions);
    free(s->set_of);
    free(s->seen);
    free(s->order);
    free(s->queue);
    free(s->scratch);
}

bool tern_stacks_full(const tern_stacks *s) {
    return s->n_frames > MAX_ITEMS || s->n_places > MAX_ITEMS || s->n_states * s->net->n_classes > MAX_ITEMS * 2;
}

/* Sets are made after those below them, so one pass down marks what is in use and one pass up moves it. */
static void keep_sets(tern_stacks *s, uint32_t *new_set) {
    for (size_t set = s->n_sets; set-- > 1;)
        for (uint32_t i = 0; new_set[set] && i < s->sets[set].n; i++)
            new_set[s->frames[s->sets[set].frames + i].below] = 1;
    size_t n_sets = 0, n_frames = 0;
    new_set[TERN_BOTTOM] = TERN_BOTTOM; /* its frame points to itself */
    for (size_t set = 0; set < s->n_sets; set++) {
        if (!new_set[set] && set != TERN_BOTTOM)
            continue;
        tern_stack_set kept = s->sets[set];
        for (uint32_t i = 0; i < kept.n; i++) {
            tern_frame frame = s->frames[kept.frames + i];
            s->frames[n_frames + i] = (tern_frame){frame.back, new_set[frame.below]};
        }
        kept.frames = (uint32_t)n_frames;
        n_frames += kept.n;
        new_set[set] = (uint32_t)n_sets;
        s->sets[n_sets++] = kept;
    }
    s->n_sets = n_sets;
    s->n_frames = n_frames;
}

tern_status tern_stacks_flush(tern_stacks *s, uint32_t *states, size_t n, tern_error *err) {
    uint32_t *new_set = tern_calloc_array(s->n_sets, sizeof *new_set);
    size_t n_places = 0;
    for (size_t i = 0; i < n; i++)
        n_places += s->states[states[i]].n;
    tern_place *places = tern_alloc_array(n_places, sizeof *places);
    tern_text_state *kept = tern_alloc_array(n, sizeof *kept);
    s->err = err;
    s->status = TERN_OK;
    s->work = 0;
    if (!new_set || !places || !kept)
        no_memory(s);
    n_places = 0;
    for (size_t i = 0; !s->status && i < n; i++) {
        kept[i] = s->states[states[i]];
        for (uint32_t k = 0; k < kept[i].n; k++) {
            places[n_places + k] = s->places[kept[i].places + k];
            new_set[places[n_places + k].set] = 1;
        }
        kept[i].places = (uint32_t)n_places;
        n_places += kept[i].n;
    }
    if (!s->status) {
        keep_sets(s, new_set);
        s->n_places = s->n_states = 0;
        memset(s->unions, 0xff, UNION_SLOTS * sizeof *s->unions);
        free(s->set_index.slots);
        free(s->state_index.slots);
        s->set_index = s->state_index = (tern_intern){0};
        grow_index(s, &s->set_index, s->n_sets, hash_set);
        put_fixed(s);
    }
    for (size_t i = 0; !s->status && i < n; i++) {
        if (!room_for_state(s, kept[i].n))
            break;
        for (uint32_t k = 0; k < kept[i].n; k++) {
            tern_place place = places[kept[i].places + k];
            s->places[s->n_places + k] = (tern_place){place.at, new_set[place.set]};
        }
        states[i] = intern_state(s, kept[i].n, kept[i].may_end);
    }
    free(new_set);
    free(places);
    free(kept);
    return s->status;
}
