/* What must be known of a network before it is walked: that it cannot go round in circles without reading a byte, how
 * deep the shortest way to an end is, and which bytes are alike. */
#include <stdlib.h>

#include "grammar/network.h"

/* ----------------------------------------------------------- left recursion */

typedef struct left {
    const tern_network *net;
    bool *nullable;   /* [n_rules] the rule can be empty */
    uint8_t *state;   /* [n_rules] of the search: 0 new, 1 open, 2 done */
    uint32_t *queue;  /* [n_states] */
    uint32_t *queued; /* [n_states] the last search that has seen the state */
    uint32_t search;
    uint32_t *frames; /* [n_rules] open rules */
    uint32_t *places; /* [n_rules] and the next of their left calls */
    tern_call *calls; /* left calls: rules that may begin where the open rule begins; those of frame i end where frame
                         i + 1's begin */
    size_t n_calls, calls_capacity;
    uint32_t *from; /* [n_rules + 1] where a frame's calls begin */
} left;

/* States that can be reached from the rule's start by calls of nullable rules alone -> queue; how many. */
static size_t reach(left *l, uint32_t rule) {
    size_t n = 0;
    l->search++;
    l->queue[n++] = l->net->starts[rule];
    l->queued[l->queue[0]] = l->search;
    for (size_t i = 0; i < n; i++) {
        const struct tern_network_state *state = &l->net->states[l->queue[i]];
        for (uint32_t c = state[0].calls; c < state[1].calls; c++) {
            const tern_call *call = &l->net->calls[c];
            if (l->nullable[call->rule] && l->queued[call->to] != l->search) {
                l->queued[call->to] = l->search;
                l->queue[n++] = call->to;
            }
        }
    }
    return n;
}

static bool reaches_end(left *l, uint32_t rule) {
    size_t n = reach(l, rule);
    for (size_t i = 0; i < n; i++)
        if (l->net->states[l->queue[i]].final)
            return true;
    return false;
}

/* To the fixed point, forth and back in turn: chains of rules mostly run one way. Each pass but the last finds a rule,
 * and the work is bounded besides. */
static bool find_nullable(left *l) {
    uint64_t work = 0;
    bool changed = true;
    for (int pass = 0; changed; pass++) {
        changed = false;
        for (size_t i = 0; i < l->net->n_rules; i++) {
            uint32_t rule = (uint32_t)(pass % 2 ? l->net->n_rules - 1 - i : i);
            if (l->nullable[rule] || !reaches_end(l, rule))
                continue;
            l->nullable[rule] = changed = true;
        }
        work += l->net->n_rules + l->net->n_states;
        if (work > (uint64_t)64 << 20)
            return false;
    }
    return true;
}

static bool open_rule(left *l, size_t frame, uint32_t rule) {
    size_t n = reach(l, rule);
    l->state[rule] = 1;
    l->frames[frame] = rule;
    l->n_calls = l->from[frame];
    for (size_t i = 0; i < n; i++) {
        const struct tern_network_state *state = &l->net->states[l->queue[i]];
        size_t more = state[1].calls - state[0].calls;
        if (!more)
            continue;
        if (!tern_grow_array((void **)&l->calls, &l->calls_capacity, l->n_calls + more, sizeof *l->calls))
            return false;
        memcpy(l->calls + l->n_calls, l->net->calls + state->calls, more * sizeof *l->calls);
        l->n_calls += more;
    }
    l->places[frame] = l->from[frame];
    l->from[frame + 1] = (uint32_t)l->n_calls;
    return true;
}

/* Depth first, without recursion: chains of rules may be long. Returns false without memory; *found: a rule that begins
 * with itself, or UINT32_MAX. */
static bool find_circle(left *l, uint32_t first, uint32_t *found) {
    size_t n = 1;
    l->from[0] = 0;
    if (!open_rule(l, 0, first))
        return false;
    while (n > 0) {
        if (l->places[n - 1] == l->from[n]) {
            l->state[l->frames[--n]] = 2;
            continue;
        }
        uint32_t rule = l->calls[l->places[n - 1]++].rule;
        if (l->state[rule] == 1) {
            *found = rule;
            return true;
        }
        if (l->state[rule] == 0 && !open_rule(l, n++, rule))
            return false;
    }
    return true;
}

static tern_status fail_rule(const tern_ast *ast, uint32_t rule, const char *what, tern_error *err) {
    const tern_rule *r = &ast->rules[rule];
    if (r->line)
        return tern_fail(err, TERN_ERR_FORMAT, "grammar: line %u: rule \"%s\" %s", (unsigned)r->line, r->name, what);
    return tern_fail(err, TERN_ERR_FORMAT, "grammar: \"%s\" %s", r->name, what);
}

static tern_status check_left(const tern_ast *ast, const tern_network *net, tern_error *err) {
    left l = {.net = net};
    l.nullable = tern_calloc_array(net->n_rules, sizeof *l.nullable);
    l.state = tern_calloc_array(net->n_rules, 1);
    l.queue = tern_alloc_array(net->n_states, sizeof *l.queue);
    l.queued = tern_calloc_array(net->n_states, sizeof *l.queued);
    l.frames = tern_alloc_array(net->n_rules, sizeof *l.frames);
    l.places = tern_alloc_array(net->n_rules, sizeof *l.places);
    l.from = tern_alloc_array(net->n_rules + 1, sizeof *l.from);
    bool ok = l.nullable && l.state && l.queue && l.queued && l.frames && l.places && l.from;
    tern_status status = TERN_OK;
    if (ok && !find_nullable(&l))
        status = tern_fail(err, TERN_ERR_FORMAT, "grammar: too many rules that can be empty");
    for (uint32_t rule = 0; ok && !status && rule < net->n_rules; rule++) {
        uint32_t found = UINT32_MAX;
        if (l.state[rule] == 0)
            ok = find_circle(&l, rule, &found);
        if (found != UINT32_MAX)
            status =
                fail_rule(ast, found, "begins with itself (left recursion); put what repeats behind it, or use *", err);
    }
    free(l.nullable);
    free(l.state);
    free(l.queue);
    free(l.queued);
    free(l.frames);
    free(l.places);
    free(l.from);
    free(l.calls);
    return ok ? status : tern_fail_memory(err, "a grammar");
}

/* ----------------------------------------------------------------- heights */

/* Edges backwards: who leads to a state, and who calls a rule. */
typedef struct back {
    uint32_t from;
    uint32_t rule; /* UINT32_MAX: a byte */
    uint32_t to;
} back;

typedef struct heights {
    tern_network *net;
    back *by_target, *by_rule; /* by_rule: calls only */
    uint32_t *target_from, *rule_from;
    uint32_t *queue; /* [n_queue] states of the height that is being settled, and of the next one */
    uint32_t *next;
    size_t n_queue, n_next;
} heights;

static uint16_t rule_height(const tern_network *net, uint32_t rule) { return net->states[net->starts[rule]].height; }

/* The state can end with this height; heights are found in ascending order, so the first one found stays. */
static void settle(heights *h, uint32_t state, uint32_t height, uint32_t now) {
    if (h->net->states[state].height != TERN_NEVER)
        return;
    if (height == now) {
        h->net->states[state].height = (uint16_t)now;
        h->queue[h->n_queue++] = state;
    } else {
        h->next[h->n_next++] = state; /* height is now + 1; at most once for each call */
    }
}

static void settle_call(heights *h, const back *edge, uint32_t now) {
    uint16_t to = h->net->states[edge->to].height, rule = rule_height(h->net, edge->rule);
    if (to == TERN_NEVER || rule == TERN_NEVER)
        return;
    uint32_t below = h->net->states[edge->to].tail ? rule : rule + 1u;
    settle(h, edge->from, below > to ? below : to, now);
}

static void run_heights(heights *h) {
    tern_network *net = h->net;
    for (uint32_t s = 0; s < net->n_states; s++)
        if (net->states[s].final)
            h->next[h->n_next++] = s;
    for (uint32_t now = 0; h->n_next && now < TERN_GRAMMAR_MAX_DEPTH; now++) {
        size_t n_now = h->n_next;
        h->n_queue = 0;
        for (size_t i = 0; i < n_now; i++) /* settle() does not touch next here */
            settle(h, h->next[i], now, now);
        h->n_next = 0;
        for (size_t i = 0; i < h->n_queue; i++) {
            uint32_t state = h->queue[i];
            for (uint32_t e = h->target_from[state]; e < h->target_from[state + 1]; e++)
                if (h->by_target[e].rule == UINT32_MAX)
                    settle(h, h->by_target[e].from, now, now);
                else
                    settle_call(h, &h->by_target[e], now);
            for (uint32_t e = h->rule_from[state]; e < h->rule_from[state + 1]; e++)
                settle_call(h, &h->by_rule[e], now);
        }
    }
}

static int compare_back(const void *a, const void *b) {
    const back *x = a, *y = b;
    return x->to < y->to ? -1 : x->to > y->to;
}

static int compare_rule(const void *a, const void *b) {
    const back *x = a, *y = b;
    return x->rule < y->rule ? -1 : x->rule > y->rule;
}

/* by_target sorted by target, by_rule by the callee's start, with where each state's begin. */
static bool reverse(heights *h) {
    const tern_network *net = h->net;
    size_t n_edges = net->states[net->n_states].edges, n_calls = net->states[net->n_states].calls, n = 0, k = 0;
    h->by_target = tern_alloc_array(n_edges + n_calls, sizeof *h->by_target);
    h->by_rule = tern_alloc_array(n_calls, sizeof *h->by_rule);
    h->target_from = tern_alloc_array(net->n_states + 1, sizeof *h->target_from);
    h->rule_from = tern_calloc_array(net->n_states + 1, sizeof *h->rule_from);
    h->queue = tern_alloc_array(net->n_states, sizeof *h->queue);
    h->next = tern_alloc_array(net->n_states + 2 * n_calls, sizeof *h->next);
    if (!h->by_target || !h->by_rule || !h->target_from || !h->rule_from || !h->queue || !h->next)
        return false;
    for (uint32_t s = 0; s < net->n_states; s++) {
        for (uint32_t e = net->states[s].edges; e < net->states[s + 1].edges; e++)
            h->by_target[n++] = (back){s, UINT32_MAX, net->edges[e].to};
        for (uint32_t c = net->states[s].calls; c < net->states[s + 1].calls; c++)
            h->by_target[n++] = h->by_rule[k++] = (back){s, net->calls[c].rule, net->calls[c].to};
    }
    if (n)
        qsort(h->by_target, n, sizeof *h->by_target, compare_back);
    if (k)
        qsort(h->by_rule, k, sizeof *h->by_rule, compare_rule);
    size_t e = 0;
    for (uint32_t s = 0; s <= net->n_states; s++) {
        while (e < n && h->by_target[e].to < s)
            e++;
        h->target_from[s] = (uint32_t)e;
    }
    e = 0; /* starts ascend with the rules */
    for (uint32_t s = 0; s <= net->n_states; s++) {
        while (e < k && net->starts[h->by_rule[e].rule] < s)
            e++;
        h->rule_from[s] = (uint32_t)e;
    }
    return true;
}

static tern_status find_heights(const tern_ast *ast, tern_network *net, tern_error *err) {
    heights h = {.net = net};
    bool ok = reverse(&h);
    if (ok)
        run_heights(&h);
    free(h.by_target);
    free(h.by_rule);
    free(h.target_from);
    free(h.rule_from);
    free(h.queue);
    free(h.next);
    if (!ok)
        return tern_fail_memory(err, "a grammar");
    for (uint32_t rule = (uint32_t)net->n_rules; rule-- > 0;)
        if (rule_height(net, rule) == TERN_NEVER)
            return fail_rule(ast, rule, "can never end, or only deeper inside other rules than is allowed", err);
    return TERN_OK;
}

/* ------------------------------------------------------------ byte classes */

static void find_classes(tern_network *net) {
    bool cut[257] = {false};
    for (size_t e = 0; e < net->states[net->n_states].edges; e++)
        cut[net->edges[e].low] = cut[net->edges[e].high + 1] = true;
    net->n_classes = 0;
    for (int byte = 0; byte < 256; byte++) {
        if (byte == 0 || cut[byte])
            net->class_byte[net->n_classes++] = (uint8_t)byte;
        net->class_of[byte] = (uint8_t)(net->n_classes - 1);
    }
}

tern_status tern_network_finish(const tern_ast *ast, tern_network *net, tern_error *err) {
    tern_status status = check_left(ast, net, err);
    if (!status)
        status = find_heights(ast, net, err);
    if (!status)
        find_classes(net);
    return status;
}
