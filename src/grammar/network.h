/*
 * The automaton of a grammar: for each rule a deterministic one over bytes, whose edges read a byte or call another
 * rule. What has been called stands on a stack, and which stacks a text so far can have is the matcher's to know
 * (matcher.h).
 */
#ifndef TERN_GRAMMAR_NETWORK_H
#define TERN_GRAMMAR_NETWORK_H

#include "grammar/ast.h"

typedef struct tern_edge {
    uint8_t low, high; /* bytes, both included; those of a state are disjoint and ascend */
    uint32_t to;
} tern_edge;

typedef struct tern_call {
    uint32_t rule, to; /* rules of a state's calls are different ones */
} tern_call;

enum { TERN_NEVER = UINT16_MAX }; /* as a height: there is no way to an end */

typedef struct tern_network {
    size_t n_states, n_rules;
    size_t states_capacity, edges_capacity, calls_capacity, rules_capacity;
    struct tern_network_state {
        uint32_t edges, calls; /* where they begin; they end where the next state's begin */
        uint16_t height;       /* calls inside calls that the way to the rule's end needs at least; TERN_NEVER */
        bool final;            /* the rule may end here ... */
        bool tail;             /* ... and nothing else: nobody needs to come back here */
    } * states;                /* [n_states + 1] */
    tern_edge *edges;
    tern_call *calls;
    uint32_t *starts;        /* [n_rules] */
    uint8_t class_of[256];   /* bytes that no edge tells apart are of one class */
    uint8_t class_byte[256]; /* a byte of each class */
    size_t n_classes;
} tern_network;

void tern_network_free(tern_network *net);

/* The rules of ast (which gains some) as a network, at first without heights and classes. */
tern_status tern_network_compile(tern_ast *ast, tern_network *net, tern_error *err);
/* Heights and byte classes. Refuses left recursion and rules that can never end. */
tern_status tern_network_finish(const tern_ast *ast, tern_network *net, tern_error *err);

#endif
