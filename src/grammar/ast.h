/*
 * A grammar as it is written: rules, each an expression over characters and rules. GBNF (gbnf.c) and JSON schemas
 * (schema.c) are turned into this, and this into the automaton (compile.c).
 */
#ifndef TERN_GRAMMAR_AST_H
#define TERN_GRAMMAR_AST_H

#include "base/mem.h"
#include "base/str.h"

/* A hostile grammar ends at one of these, with an error that says so. */
enum {
    TERN_GRAMMAR_MAX_TEXT = 1 << 20,   /* bytes of GBNF or of a schema */
    TERN_GRAMMAR_MAX_NODES = 1 << 18,  /* expressions */
    TERN_GRAMMAR_MAX_RULES = 1 << 14,  /* rules */
    TERN_GRAMMAR_MAX_REPEAT = 1 << 15, /* m and n of {m,n} */
    TERN_GRAMMAR_MAX_NESTING = 100,    /* groups in groups */
    TERN_GRAMMAR_MAX_STATES = 1 << 17, /* states of the automaton */
    TERN_GRAMMAR_MAX_DEPTH = 256,      /* rules inside rules while a text is made; deeper texts are not allowed */
};

#define TERN_UNLIMITED UINT32_MAX
#define TERN_MAX_CODE_POINT 0x10ffffu

/* Code points low to high, both included. */
typedef struct tern_range {
    uint32_t low, high;
} tern_range;

typedef enum tern_node_kind {
    TERN_NODE_EMPTY = 0,
    TERN_NODE_BYTES,    /* these bytes */
    TERN_NODE_CLASS,    /* one character of the ranges, as UTF-8; surrogates are none */
    TERN_NODE_RULE,     /* what the rule says */
    TERN_NODE_SEQUENCE, /* the children one after the other */
    TERN_NODE_CHOICE,   /* one of the children */
    TERN_NODE_REPEAT,   /* the child, min to max times */
} tern_node_kind;

typedef struct tern_node {
    tern_node_kind kind;
    struct tern_node *first, *next; /* children; a node has one parent at most */
    const char *bytes;
    size_t n_bytes;
    const tern_range *ranges;
    size_t n_ranges;
    uint32_t rule;
    uint32_t min, max; /* max TERN_UNLIMITED: any number */
} tern_node;

typedef struct tern_rule {
    const char *name; /* zero-terminated */
    uint32_t line;    /* where it is first spoken of, from 1; 0: a schema's */
    tern_node *body;  /* NULL: not defined (yet) */
} tern_rule;

/* Everything lives in the arena. The first failure stays in `status` (and err); from then on all functions give NULL,
 * and take NULL for nodes, so that a run of calls needs one check at its end. */
typedef struct tern_ast {
    tern_arena arena;
    tern_rule *rules; /* [n_rules], rule 0 is what a text begins with */
    size_t n_rules, rules_capacity, n_nodes;
    uint32_t *slots; /* [n_slots] names to rules: a hash table, TERN_UNLIMITED is empty */
    size_t n_slots;
    tern_status status;
    tern_error *err;
} tern_ast;

void tern_ast_free(tern_ast *ast);
tern_status tern_ast_fail(tern_ast *ast, tern_status status, const char *format, ...) TERN_PRINTF(3, 4);

/* The rule of this name, made if there is none. UINT32_MAX after a failure. */
uint32_t tern_ast_rule(tern_ast *ast, tern_view name, uint32_t line);
/* One without a name of its own: `what` is for messages and must stay. */
uint32_t tern_ast_new_rule(tern_ast *ast, const char *what, tern_node *body);

tern_node *tern_ast_empty(tern_ast *ast);
tern_node *tern_ast_bytes(tern_ast *ast, const char *bytes, size_t n_bytes); /* copied */
tern_node *tern_ast_text(tern_ast *ast, const char *text);
/* Sorted and merged, surrogates taken out; `negated`: all other characters. Nothing left is NULL, without a failure. */
tern_node *tern_ast_class(tern_ast *ast, const tern_range *ranges, size_t n, bool negated);
tern_node *tern_ast_use(tern_ast *ast, uint32_t rule);
tern_node *tern_ast_list(tern_ast *ast, tern_node_kind kind, tern_node *const *children, size_t n);
tern_node *tern_ast_repeat(tern_ast *ast, tern_node *child, uint32_t min, uint32_t max);

#define TERN_SEQUENCE(ast, ...)                                                                                        \
    tern_ast_list(ast, TERN_NODE_SEQUENCE, (tern_node *const[]){__VA_ARGS__},                                          \
                  sizeof((tern_node *const[]){__VA_ARGS__}) / sizeof(tern_node *))
#define TERN_CHOICE(ast, ...)                                                                                          \
    tern_ast_list(ast, TERN_NODE_CHOICE, (tern_node *const[]){__VA_ARGS__},                                            \
                  sizeof((tern_node *const[]){__VA_ARGS__}) / sizeof(tern_node *))

/* GBNF (docs/GRAMMAR.md) and JSON schemas into an ast, which is empty before; its status says how it went. schema NULL:
 * any object. */
void tern_ast_from_gbnf(tern_ast *ast, const char *gbnf);
void tern_ast_from_schema(tern_ast *ast, const char *schema);
/* Any text that does not begin as an object does, or a value of the schema. */
void tern_ast_from_schema_or_text(tern_ast *ast, const char *schema);

#endif
