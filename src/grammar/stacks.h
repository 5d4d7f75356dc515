/*
 * The states of a text under a grammar: in which states of the network it can be, each with all the stacks of calls
 * that it can have there.
 *
 * A set of stacks is a set of frames (where to come back to, and the set of stacks below). Sets are interned: the same
 * stacks are one set, each with one frame for a place to come back to, and a state of the network stands once in a
 * state of the text. So however many ways there are to read a text, a state has no more entries than the network has
 * states, and what it can have read shares its memory (a graph-structured stack: Tomita 1987).
 */
#ifndef TERN_GRAMMAR_STACKS_H
#define TERN_GRAMMAR_STACKS_H

#include "grammar/grammar.h"

enum {
    TERN_STATE_DEAD = 0, /* no text begins so */
    TERN_BOTTOM = 0,     /* the set with the empty stack alone */
};

typedef struct tern_frame {
    uint32_t back;  /* a state of the network; UINT32_MAX: the bottom, where the text may end */
    uint32_t below; /* a set of stacks */
} tern_frame;

typedef struct tern_stack_set {
    uint32_t frames, n; /* in stacks.frames, by ascending `back` */
    uint32_t depth;     /* of the deepest stack */
} tern_stack_set;

typedef struct tern_place {
    uint32_t at;  /* a state of the network that reads bytes */
    uint32_t set; /* its stacks */
} tern_place;

typedef struct tern_text_state {
    uint32_t places, n; /* in stacks.places, by ascending `at` */
    bool may_end;
    int mask; /* for the matcher: where its mask is kept; -1: nowhere */
} tern_text_state;

/* Open addressing; UINT32_MAX is empty. */
typedef struct tern_intern {
    uint32_t *slots; /* [n_slots] */
    size_t n_slots;
} tern_intern;

typedef struct tern_union_slot {
    uint32_t a, b, both; /* a = UINT32_MAX: empty */
} tern_union_slot;

typedef struct tern_stacks {
    const tern_network *net;

    tern_frame *frames;
    tern_stack_set *sets;
    tern_place *places;
    tern_text_state *states;
    uint32_t *next; /* [states, n_classes] the state behind a byte of the class; UINT32_MAX: not known yet */
    size_t n_frames, n_sets, n_places, n_states;
    size_t frames_capacity, sets_capacity, places_capacity, states_capacity, next_capacity;
    tern_intern set_index, state_index;
    tern_union_slot *unions; /* [n_union_slots] of sets that were united before; new ones take the place of old ones */

    /* of the state that is being made, by state of the network */
    uint32_t *set_of; /* [n_net_states] stacks, where seen */
    uint8_t *seen;    /* [n_net_states] all 0 between calls: 1 has stacks, 2 and they are to be followed */
    uint32_t *order;  /* [n_order] that have stacks */
    uint32_t *queue;  /* whose stacks are to be followed */
    size_t n_order, n_queue, order_capacity, queue_capacity;
    tern_frame *scratch; /* frames of sets that are being made, one behind the other */
    size_t n_scratch, scratch_capacity;
    bool may_end;
    uint64_t work;

    tern_status status; /* of the call that is under way */
    tern_error *err;
    uint64_t n_steps, n_made; /* bytes stepped over, and of them those that were not known yet: for tests */
} tern_stacks;

tern_status tern_stacks_init(tern_stacks *stacks, const tern_network *net, tern_error *err);
void tern_stacks_free(tern_stacks *stacks);

/* The state of the empty text. Failures of this and of tern_stacks_step() are in stacks->status. */
uint32_t tern_stacks_start(tern_stacks *stacks);
/* The state behind one more byte. Bounded: fails if a byte takes more than some million operations, which only
 * grammars do that read a text in very many ways. */
uint32_t tern_stacks_step(tern_stacks *stacks, uint32_t state, uint8_t byte);

/* There is so much memory in use that tern_stacks_flush() should be called. */
bool tern_stacks_full(const tern_stacks *stacks);
/* Forget all but the states [n], which get new numbers. */
tern_status tern_stacks_flush(tern_stacks *stacks, uint32_t *states, size_t n, tern_error *err);

#endif
