/* Rules -> automata over bytes: Thompson's construction (1968), then the subset construction (Rabin and Scott 1959),
 * for which calling a rule is one more letter of the alphabet. */
#include <stdlib.h>

#include "base/hash.h"
#include "grammar/network.h"

/* A repeated expression larger than this (in states, times its count) becomes a rule of its own, so that a copy of it
 * is one state. The work of the subset construction, in looks at an edge or a state. */
enum { MAX_COPIES = 64 };
#define MAX_WORK ((uint64_t)100 << 20)

typedef enum edge_kind { EDGE_FREE, EDGE_BYTES, EDGE_CALL } edge_kind;

typedef struct nfa_edge {
    uint32_t from, to;
    edge_kind kind;
    uint32_t low, high; /* bytes; low: the rule that is called */
} nfa_edge;

typedef struct compiler {
    tern_ast *ast;
    tern_network *net;
    tern_error *err;
    tern_status status;
    uint64_t work;

    /* of one rule */
    nfa_edge *edges; /* [n_edges], sorted by from before they are used */
    size_t n_edges, edges_capacity, n_nfa;
    uint32_t nfa_end;
    uint32_t *first; /* [n_nfa + 1] a state's edges */
    size_t first_capacity;
    uint8_t *marked; /* [n_nfa] all 0 between calls */
    size_t marked_capacity;

    /* sets of states of it, each a state of the network */
    uint32_t *members; /* [n_members] */
    size_t n_members, members_capacity;
    size_t *sets; /* [n_sets + 1] where a set begins in members */
    size_t n_sets, sets_capacity;
    uint32_t *slots; /* [n_slots] hash table of sets */
    size_t n_slots;
    uint32_t base; /* of the network's states, the first of this rule */
} compiler;

static bool no_memory(compiler *c) {
    if (!c->status)
        c->status = tern_fail_memory(c->err, "a grammar");
    return false;
}

static bool too_large(compiler *c) {
    if (!c->status)
        c->status = tern_fail(c->err, TERN_ERR_FORMAT,
                              "grammar: too large for the automaton, more than %d states; repeat less often, or have "
                              "fewer alternatives that begin alike",
                              TERN_GRAMMAR_MAX_STATES);
    return false;
}

/* --------------------------------------------------- nondeterministic: build */

static uint32_t new_state(compiler *c) {
    if (c->n_nfa >= 4 * (size_t)TERN_GRAMMAR_MAX_STATES)
        too_large(c);
    return (uint32_t)c->n_nfa++;
}

static void add_edge(compiler *c, uint32_t from, uint32_t to, edge_kind kind, uint32_t low, uint32_t high) {
    if (c->status)
        return;
    if (c->n_edges >= 8 * (size_t)TERN_GRAMMAR_MAX_STATES)
        too_large(c);
    else if (!tern_grow_array((void **)&c->edges, &c->edges_capacity, c->n_edges + 1, sizeof *c->edges))
        no_memory(c);
    else
        c->edges[c->n_edges++] = (nfa_edge){from, to, kind, low, high};
}

/* Bytes low[i] to high[i] for i in [0, n), one after the other. */
static void add_bytes(compiler *c, uint32_t from, uint32_t to, const uint8_t *low, const uint8_t *high, int n) {
    for (int i = 0; i < n; i++) {
        uint32_t next = i + 1 == n ? to : new_state(c);
        add_edge(c, from, next, EDGE_BYTES, low[i], high[i]);
        from = next;
    }
}

static int encode(uint32_t code, uint8_t *bytes) {
    int n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (int i = n - 1; i > 0; i--, code >>= 6)
        bytes[i] = (uint8_t)(0x80 | (code & 0x3f));
    bytes[0] = (uint8_t)(lead[n] | code);
    return n;
}

/* A range of code points as ranges of bytes: it is cut where the length of the encoding changes, and where the last i
 * bytes would not run through all their values (the idea is Ken Thompson's grep's; see also RE2's). */
static void add_range(compiler *c, uint32_t from, uint32_t to, uint32_t low, uint32_t high) {
    static const uint32_t last_of_length[] = {0x7f, 0x7ff, 0xffff};
    while (!c->status && low <= high) {
        uint32_t end = high;
        for (int i = 0; i < 3; i++)
            if (low <= last_of_length[i] && end > last_of_length[i])
                end = last_of_length[i];
        for (int i = 1; i < 4 && end > 0x7f; i++) {
            uint32_t mask = ((uint32_t)1 << (6 * i)) - 1;
            if ((low & ~mask) == (end & ~mask))
                continue;
            if ((low & mask) != 0)
                end = low | mask;
            else if ((end & mask) != mask)
                end = (end & ~mask) - 1;
        }
        uint8_t a[4], b[4];
        int n = encode(low, a);
        encode(end, b);
        add_bytes(c, from, to, a, b, n);
        low = end + 1;
    }
}

/* States that a node needs, about; counts no further than the limit. */
static uint64_t size_of(const tern_node *node) {
    uint64_t size = node->kind == TERN_NODE_BYTES ? node->n_bytes : node->kind == TERN_NODE_CLASS ? node->n_ranges : 1;
    for (const tern_node *child = node->first; child && size <= MAX_COPIES; child = child->next)
        size += size_of(child);
    if (node->kind == TERN_NODE_REPEAT) {
        uint64_t copies = node->max == TERN_UNLIMITED ? node->min + 1u : node->max;
        size *= copies < MAX_COPIES ? copies : MAX_COPIES;
    }
    return size < MAX_COPIES ? size : MAX_COPIES;
}

static uint32_t build(compiler *c, tern_node *node, uint32_t from);

static uint32_t build_repeat(compiler *c, tern_node *node, uint32_t from) {
    tern_node *child = node->first;
    bool unlimited = node->max == TERN_UNLIMITED;
    uint64_t copies = unlimited ? node->min + 1u : node->max;
    if (!child)
        return from;
    if (child->kind != TERN_NODE_RULE && copies >= 2 && copies * size_of(child) > MAX_COPIES) {
        node->first = tern_ast_use(c->ast, tern_ast_new_rule(c->ast, "(repeated)", child));
        child = node->first;
        c->status = c->ast->status;
    }
    for (uint32_t i = 0; !c->status && i < node->min; i++)
        from = build(c, child, from);
    uint32_t end = new_state(c);
    if (unlimited) { /* nothing but the loop leads back to `end` */
        add_edge(c, from, end, EDGE_FREE, 0, 0);
        add_edge(c, build(c, child, end), end, EDGE_FREE, 0, 0);
        return end;
    }
    for (uint32_t i = node->min; !c->status && i < node->max; i++) {
        add_edge(c, from, end, EDGE_FREE, 0, 0);
        from = build(c, child, from);
    }
    add_edge(c, from, end, EDGE_FREE, 0, 0);
    return end;
}

/* The node from a state on; returns the state behind it. Recursion is as deep as the notation nests. */
static uint32_t build(compiler *c, tern_node *node, uint32_t from) {
    uint32_t to = from;
    if (c->status)
        return from;
    switch (node->kind) {
    case TERN_NODE_EMPTY:
        break;
    case TERN_NODE_BYTES:
        for (size_t i = 0; !c->status && i < node->n_bytes; i++, from = to) {
            to = new_state(c);
            add_edge(c, from, to, EDGE_BYTES, (uint8_t)node->bytes[i], (uint8_t)node->bytes[i]);
        }
        break;
    case TERN_NODE_CLASS:
        to = new_state(c);
        for (size_t i = 0; i < node->n_ranges; i++)
            add_range(c, from, to, node->ranges[i].low, node->ranges[i].high);
        break;
    case TERN_NODE_RULE:
        to = new_state(c);
        add_edge(c, from, to, EDGE_CALL, node->rule, 0);
        break;
    case TERN_NODE_SEQUENCE:
        for (tern_node *child = node->first; child; child = child->next)
            to = build(c, child, to);
        break;
    case TERN_NODE_CHOICE:
        to = new_state(c);
        for (tern_node *child = node->first; child; child = child->next)
            add_edge(c, build(c, child, from), to, EDGE_FREE, 0, 0);
        break;
    case TERN_NODE_REPEAT:
        to = build_repeat(c, node, from);
        break;
    }
    return to;
}

static int compare_edges(const void *a, const void *b) {
    const nfa_edge *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

static bool index_edges(compiler *c) {
    if (!tern_grow_array((void **)&c->first, &c->first_capacity, c->n_nfa + 1, sizeof *c->first) ||
        !tern_grow_array((void **)&c->marked, &c->marked_capacity, c->n_nfa, 1))
        return no_memory(c);
    memset(c->marked, 0, c->n_nfa);
    if (c->n_edges)
        qsort(c->edges, c->n_edges, sizeof *c->edges, compare_edges);
    size_t edge = 0;
    for (size_t state = 0; state <= c->n_nfa; state++) {
        while (edge < c->n_edges && c->edges[edge].from < state)
            edge++;
        c->first[state] = (uint32_t)edge;
    }
    return true;
}

/* --------------------------------------------------- deterministic: subsets */

static bool count_work(compiler *c, size_t n) {
    c->work += n;
    return c->work <= MAX_WORK || too_large(c);
}

static bool push_member(compiler *c, uint32_t state) {
    if (c->marked[state])
        return true;
    if (!tern_grow_array((void **)&c->members, &c->members_capacity, c->n_members + 1, sizeof *c->members))
        return no_memory(c);
    c->marked[state] = 1;
    c->members[c->n_members++] = state;
    return true;
}

static int compare_states(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static bool grow_slots(compiler *c) {
    size_t n = c->n_slots ? c->n_slots * 2 : 16;
    uint32_t *slots = tern_alloc_array(n, sizeof *slots);
    if (!slots)
        return no_memory(c);
    memset(slots, 0xff, n * sizeof *slots);
    for (size_t set = 0; set < c->n_sets; set++) {
        size_t size = c->sets[set + 1] - c->sets[set];
        size_t i = tern_hash_bytes(c->members + c->sets[set], size * sizeof *c->members) & (n - 1);
        while (slots[i] != UINT32_MAX)
            i = (i + 1) & (n - 1);
        slots[i] = (uint32_t)set;
    }
    free(c->slots);
    c->slots = slots;
    c->n_slots = n;
    return true;
}

/* Of members [n], which are no longer marked: those that read something, or where the rule ends. The others only lead
 * to these, and without them sets are the same that do the same. Sorted; how many. */
static size_t keep_important(compiler *c, uint32_t *members, size_t n) {
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t state = members[i], edge = c->first[state];
        c->marked[state] = 0;
        while (edge < c->first[state + 1] && c->edges[edge].kind == EDGE_FREE)
            edge++;
        if (edge < c->first[state + 1] || state == c->nfa_end)
            members[n_kept++] = state;
    }
    if (n_kept)
        qsort(members, n_kept, sizeof *members, compare_states);
    return n_kept;
}

/* The members behind the last set (marked, not closed) are a set: the same as an earlier one, or the next. */
static uint32_t take_set(compiler *c) {
    size_t start = c->sets[c->n_sets];
    for (size_t i = start; i < c->n_members; i++) { /* it grows while we look */
        uint32_t state = c->members[i];
        if (!count_work(c, c->first[state + 1] - c->first[state] + 1))
            return 0;
        for (uint32_t e = c->first[state]; e < c->first[state + 1]; e++)
            if (c->edges[e].kind == EDGE_FREE && !push_member(c, c->edges[e].to))
                return 0;
    }
    uint32_t *members = c->members + start;
    size_t n = keep_important(c, members, c->n_members - start);
    c->n_members = start + n;
    if (c->n_sets * 2 >= c->n_slots && !grow_slots(c))
        return 0;
    size_t slot = tern_hash_bytes(members, n * sizeof *members) & (c->n_slots - 1);
    for (; c->slots[slot] != UINT32_MAX; slot = (slot + 1) & (c->n_slots - 1)) {
        uint32_t set = c->slots[slot];
        if (c->sets[set + 1] - c->sets[set] == n &&
            memcmp(c->members + c->sets[set], members, n * sizeof *members) == 0) {
            c->n_members = start;
            return set;
        }
    }
    if (c->base + c->n_sets >= TERN_GRAMMAR_MAX_STATES)
        return too_large(c);
    if (!tern_grow_array((void **)&c->sets, &c->sets_capacity, c->n_sets + 2, sizeof *c->sets))
        return no_memory(c);
    c->slots[slot] = (uint32_t)c->n_sets++;
    c->sets[c->n_sets] = c->n_members;
    return (uint32_t)c->n_sets - 1;
}

/* For every edge of the members of a set. */
#define FOR_EDGES(c, set, edge)                                                                                        \
    for (size_t m_ = (c)->sets[set]; m_ < (c)->sets[(set) + 1]; m_++)                                                  \
        for (const nfa_edge *edge = (c)->edges + (c)->first[(c)->members[m_]],                                         \
                            *end_ = (c)->edges + (c)->first[(c)->members[m_] + 1];                                     \
             edge < end_; edge++)

static bool out_edge(compiler *c, tern_edge edge, size_t *n) {
    tern_network *net = c->net;
    if (*n > net->states[net->n_states].edges) {
        tern_edge *last = &net->edges[*n - 1];
        if (last->to == edge.to && last->high + 1 == edge.low) {
            last->high = edge.high;
            return true;
        }
    }
    if (!tern_grow_array((void **)&net->edges, &net->edges_capacity, *n + 1, sizeof *net->edges))
        return no_memory(c);
    net->edges[(*n)++] = edge;
    return true;
}

/* Between two neighbouring cuts all bytes lead to the same set. */
static size_t byte_edges(compiler *c, uint32_t set, size_t n) {
    bool cut[257] = {false};
    size_t n_edges = 0;
    FOR_EDGES(c, set, edge) {
        if (edge->kind != EDGE_BYTES)
            continue;
        cut[edge->low] = cut[edge->high + 1] = true;
        n_edges++;
    }
    for (uint32_t low = 0, high; n_edges && !c->status && low < 256; low = high) {
        for (high = low + 1; high < 256 && !cut[high]; high++)
            ;
        if (!count_work(c, c->sets[set + 1] - c->sets[set] + n_edges))
            break;
        FOR_EDGES(c, set, edge) {
            if (edge->kind == EDGE_BYTES && edge->low <= low && edge->high >= low)
                push_member(c, edge->to);
        }
        if (!c->status && c->n_members > c->sets[c->n_sets])
            out_edge(c, (tern_edge){(uint8_t)low, (uint8_t)(high - 1), c->base + take_set(c)}, &n);
    }
    return n;
}

static int compare_targets(const void *a, const void *b) {
    const tern_call *x = a, *y = b;
    return x->rule < y->rule ? -1 : x->rule > y->rule;
}

static size_t call_edges(compiler *c, uint32_t set, size_t n) {
    size_t n_targets = 0, capacity = 0;
    tern_call *targets = NULL;
    FOR_EDGES(c, set, edge) {
        if (edge->kind != EDGE_CALL)
            continue;
        if (!tern_grow_array((void **)&targets, &capacity, n_targets + 1, sizeof *targets)) {
            no_memory(c);
            break;
        }
        targets[n_targets++] = (tern_call){edge->low, edge->to};
    }
    if (n_targets)
        qsort(targets, n_targets, sizeof *targets, compare_targets);
    for (size_t i = 0, end; !c->status && i < n_targets; i = end) {
        for (end = i; end < n_targets && targets[end].rule == targets[i].rule; end++)
            push_member(c, targets[end].to);
        uint32_t to = c->status ? 0 : c->base + take_set(c);
        if (!tern_grow_array((void **)&c->net->calls, &c->net->calls_capacity, n + 1, sizeof *c->net->calls))
            no_memory(c);
        else
            c->net->calls[n++] = (tern_call){targets[i].rule, to};
    }
    free(targets);
    return n;
}

/* The next state of the network from its set; n_edges and n_calls are the network's so far. */
static void put_state(compiler *c, uint32_t set, size_t *n_edges, size_t *n_calls) {
    tern_network *net = c->net;
    if (!tern_grow_array((void **)&net->states, &net->states_capacity, net->n_states + 2, sizeof *net->states)) {
        no_memory(c);
        return;
    }
    net->states[net->n_states] =
        (struct tern_network_state){.edges = (uint32_t)*n_edges, .calls = (uint32_t)*n_calls, .height = TERN_NEVER};
    bool final = false;
    for (size_t m = c->sets[set]; m < c->sets[set + 1]; m++)
        final |= c->members[m] == c->nfa_end;
    *n_edges = byte_edges(c, set, *n_edges);
    *n_calls = c->status ? *n_calls : call_edges(c, set, *n_calls);
    if (c->status)
        return;
    struct tern_network_state *state = &net->states[net->n_states++];
    state->final = final;
    state->tail = final && *n_edges == state->edges && *n_calls == state->calls;
    net->states[net->n_states] = (struct tern_network_state){.edges = (uint32_t)*n_edges, .calls = (uint32_t)*n_calls};
}

static void compile_rule(compiler *c, uint32_t rule, size_t *n_edges, size_t *n_calls) {
    c->n_edges = c->n_nfa = c->n_members = c->n_sets = 0;
    c->base = (uint32_t)c->net->n_states;
    free(c->slots); /* a large rule's table would take long to clear for thousands of small ones */
    c->slots = NULL;
    c->n_slots = 0;
    uint32_t start = new_state(c);
    c->nfa_end = build(c, c->ast->rules[rule].body, start);
    if (c->status || !index_edges(c))
        return;
    if (!tern_grow_array((void **)&c->sets, &c->sets_capacity, 2, sizeof *c->sets)) {
        no_memory(c);
        return;
    }
    c->sets[0] = 0;
    push_member(c, start);
    if (!c->status)
        take_set(c);
    for (uint32_t set = 0; !c->status && set < c->n_sets; set++)
        put_state(c, set, n_edges, n_calls);
}

tern_status tern_network_compile(tern_ast *ast, tern_network *net, tern_error *err) {
    compiler c = {.ast = ast, .net = net, .err = err};
    size_t n_edges = 0, n_calls = 0;
    for (uint32_t rule = 0; !c.status && rule < ast->n_rules; rule++) { /* repetitions add rules */
        if (!tern_grow_array((void **)&net->starts, &net->rules_capacity, (size_t)rule + 1, sizeof *net->starts)) {
            no_memory(&c);
            break;
        }
        net->starts[rule] = (uint32_t)net->n_states;
        compile_rule(&c, rule, &n_edges, &n_calls);
    }
    net->n_rules = ast->n_rules;
    free(c.edges);
    free(c.first);
    free(c.marked);
    free(c.members);
    free(c.sets);
    free(c.slots);
    return c.status;
}

void tern_network_free(tern_network *net) {
    free(net->states);
    free(net->edges);
    free(net->calls);
    free(net->starts);
    *net = (tern_network){0};
}
