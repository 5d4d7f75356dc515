#include "grammar/ast.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"

enum { FIRST_SURROGATE = 0xd800, LAST_SURROGATE = 0xdfff };

void tern_ast_free(tern_ast *ast) {
    tern_arena_free(&ast->arena);
    free(ast->rules);
    free(ast->slots);
    *ast = (tern_ast){0};
}

tern_status tern_ast_fail(tern_ast *ast, tern_status status, const char *format, ...) {
    if (ast->status)
        return ast->status;
    char message[TERN_ERROR_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    ast->status = status;
    return tern_fail(ast->err, status, "%s", message);
}

static void *no_memory(tern_ast *ast) {
    if (!ast->status)
        ast->status = tern_fail_memory(ast->err, "a grammar");
    return NULL;
}

/* ------------------------------------------------------------------- rules */

static bool grow_slots(tern_ast *ast) {
    size_t n = ast->n_slots ? ast->n_slots * 2 : 64;
    uint32_t *slots = tern_alloc_array(n, sizeof *slots);
    if (!slots)
        return false;
    memset(slots, 0xff, n * sizeof *slots);
    for (size_t rule = 0; rule < ast->n_rules; rule++) {
        size_t i = tern_hash_bytes(ast->rules[rule].name, strlen(ast->rules[rule].name)) & (n - 1);
        while (slots[i] != UINT32_MAX)
            i = (i + 1) & (n - 1);
        slots[i] = (uint32_t)rule;
    }
    free(ast->slots);
    ast->slots = slots;
    ast->n_slots = n;
    return true;
}

static uint32_t add_rule(tern_ast *ast, tern_rule rule) {
    if (ast->status)
        return UINT32_MAX;
    if (ast->n_rules == TERN_GRAMMAR_MAX_RULES) {
        tern_ast_fail(ast, TERN_ERR_FORMAT, "grammar: more than %d rules; use fewer", TERN_GRAMMAR_MAX_RULES);
        return UINT32_MAX;
    }
    if (!tern_grow_array((void **)&ast->rules, &ast->rules_capacity, ast->n_rules + 1, sizeof *ast->rules)) {
        no_memory(ast);
        return UINT32_MAX;
    }
    ast->rules[ast->n_rules] = rule;
    return (uint32_t)ast->n_rules++;
}

/* Rules without a name of their own are in the table, too, which costs nothing: no name in a text looks like theirs. */
uint32_t tern_ast_rule(tern_ast *ast, tern_view name, uint32_t line) {
    if (ast->status)
        return UINT32_MAX;
    if (ast->n_rules * 2 >= ast->n_slots && !grow_slots(ast)) {
        no_memory(ast);
        return UINT32_MAX;
    }
    size_t i = tern_hash_bytes(name.bytes, name.size) & (ast->n_slots - 1);
    for (; ast->slots[i] != UINT32_MAX; i = (i + 1) & (ast->n_slots - 1))
        if (tern_view_equal(tern_view_of(ast->rules[ast->slots[i]].name), name))
            return ast->slots[i];
    const char *copy = tern_arena_copy(&ast->arena, name.bytes, name.size);
    if (!copy) {
        no_memory(ast);
        return UINT32_MAX;
    }
    uint32_t rule = add_rule(ast, (tern_rule){.name = copy, .line = line});
    if (rule != UINT32_MAX)
        ast->slots[i] = rule;
    return rule;
}

uint32_t tern_ast_new_rule(tern_ast *ast, const char *what, tern_node *body) {
    return add_rule(ast, (tern_rule){.name = what, .body = body});
}

/* ------------------------------------------------------------------- nodes */

static tern_node *new_node(tern_ast *ast, tern_node_kind kind) {
    if (ast->status)
        return NULL;
    if (ast->n_nodes++ == TERN_GRAMMAR_MAX_NODES) {
        tern_ast_fail(ast, TERN_ERR_FORMAT, "grammar: too large, more than %d expressions", TERN_GRAMMAR_MAX_NODES);
        return NULL;
    }
    tern_node *node = tern_arena_alloc(&ast->arena, sizeof *node);
    if (!node)
        return no_memory(ast);
    *node = (tern_node){.kind = kind};
    return node;
}

tern_node *tern_ast_empty(tern_ast *ast) { return new_node(ast, TERN_NODE_EMPTY); }

tern_node *tern_ast_bytes(tern_ast *ast, const char *bytes, size_t n_bytes) {
    tern_node *node = new_node(ast, TERN_NODE_BYTES);
    if (!node)
        return NULL;
    node->bytes = tern_arena_copy(&ast->arena, bytes, n_bytes);
    node->n_bytes = n_bytes;
    return node->bytes ? node : no_memory(ast);
}

tern_node *tern_ast_text(tern_ast *ast, const char *text) { return tern_ast_bytes(ast, text, strlen(text)); }

static int compare_ranges(const void *a, const void *b) {
    const tern_range *x = a, *y = b;
    return x->low < y->low ? -1 : x->low > y->low;
}

/* Sorted ranges, merged in place; how many are left. */
static size_t merge_ranges(tern_range *ranges, size_t n) {
    size_t n_merged = 0;
    if (n)
        qsort(ranges, n, sizeof *ranges, compare_ranges);
    for (size_t i = 0; i < n; i++) {
        if (n_merged && ranges[i].low <= ranges[n_merged - 1].high + 1) {
            if (ranges[i].high > ranges[n_merged - 1].high)
                ranges[n_merged - 1].high = ranges[i].high;
        } else {
            ranges[n_merged++] = ranges[i];
        }
    }
    return n_merged;
}

/* Of sorted, merged ranges [n] -> out [n + 1]; how many. */
static size_t complement(const tern_range *ranges, size_t n, tern_range *out) {
    uint32_t low = 0;
    size_t n_out = 0;
    for (size_t i = 0; i < n; i++) {
        if (ranges[i].low > low)
            out[n_out++] = (tern_range){low, ranges[i].low - 1};
        low = ranges[i].high + 1;
    }
    if (low <= TERN_MAX_CODE_POINT)
        out[n_out++] = (tern_range){low, TERN_MAX_CODE_POINT};
    return n_out;
}

/* The complement of (the others and the surrogates) is what is wanted. */
tern_node *tern_ast_class(tern_ast *ast, const tern_range *ranges, size_t n, bool negated) {
    tern_node *node = new_node(ast, TERN_NODE_CLASS);
    if (!node)
        return NULL;
    tern_range *a = tern_arena_alloc(&ast->arena, (n + 4) * sizeof *a);
    tern_range *b = tern_arena_alloc(&ast->arena, (n + 4) * sizeof *b);
    if (!a || !b)
        return no_memory(ast);
    if (n)
        memcpy(a, ranges, n * sizeof *a);
    n = merge_ranges(a, n);
    if (!negated) {
        n = complement(a, n, b);
        memcpy(a, b, n * sizeof *a);
    }
    a[n++] = (tern_range){FIRST_SURROGATE, LAST_SURROGATE};
    n = merge_ranges(a, n);
    node->n_ranges = complement(a, n, b);
    node->ranges = b;
    return node->n_ranges ? node : NULL;
}

tern_node *tern_ast_use(tern_ast *ast, uint32_t rule) {
    tern_node *node = new_node(ast, TERN_NODE_RULE);
    if (node)
        node->rule = rule;
    return node;
}

tern_node *tern_ast_list(tern_ast *ast, tern_node_kind kind, tern_node *const *children, size_t n) {
    tern_node *node = new_node(ast, kind);
    if (!node)
        return NULL;
    tern_node **end = &node->first;
    for (size_t i = 0; i < n; i++) {
        if (!children[i])
            continue;
        *end = children[i];
        end = &children[i]->next;
    }
    *end = NULL;
    return node;
}

tern_node *tern_ast_repeat(tern_ast *ast, tern_node *child, uint32_t min, uint32_t max) {
    tern_node *node = new_node(ast, TERN_NODE_REPEAT);
    if (!node)
        return NULL;
    node->first = child;
    node->min = min;
    node->max = max;
    return node;
}
