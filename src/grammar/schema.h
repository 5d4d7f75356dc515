/* What the files that turn a JSON schema into rules share (docs/GRAMMAR.md says what is known). All give NULL after a
 * failure, which stays in the ast. */
#ifndef TERN_GRAMMAR_SCHEMA_H
#define TERN_GRAMMAR_SCHEMA_H

#include <jansson.h>

#include "grammar/ast.h"

typedef struct tern_schema {
    tern_ast *ast;
    const json_t *root;
    char path[200]; /* of the schema that is being read, "#/properties/name", for messages */
    int depth;
} tern_schema;

/* "schema: #/properties/name: ..." */
void tern_schema_fail(tern_schema *s, const char *format, ...) TERN_PRINTF(2, 3);

/* A schema's values. */
tern_node *tern_schema_node(tern_schema *s, const json_t *schema);
/* The schema `member` of what is being read, whose path grows by `key` (and `index` if it is not -1) meanwhile. */
tern_node *tern_schema_member(tern_schema *s, const json_t *member, const char *key, int index);

/* Of one type each, by the keywords of `schema` that concern it. */
tern_node *tern_schema_object(tern_schema *s, const json_t *schema);
tern_node *tern_schema_array(tern_schema *s, const json_t *schema);
tern_node *tern_schema_string(tern_schema *s, const json_t *schema);
tern_node *tern_schema_integer(tern_schema *s, const json_t *schema);
tern_node *tern_schema_number(tern_schema *s, const json_t *schema);

/* Values of any kind; the same rule each time. */
tern_node *tern_schema_value(tern_schema *s);
/* Any string, quotes included. */
tern_node *tern_schema_any_string(tern_schema *s);
/* What may stand between two parts of an object or array: nothing, a blank, or a newline and an indent. */
tern_node *tern_schema_space(tern_schema *s);

/* A value as it is written, "key" or 1.5 or {"a":1}. */
tern_node *tern_schema_literal(tern_schema *s, const json_t *value);
/* Any one character inside a string's quotes, escapes included. */
tern_node *tern_schema_any_char(tern_schema *s);
/* A character of a class as it stands inside a string's quotes: by an escape where it must be. NULL, without a failure:
 * the class is empty. */
tern_node *tern_schema_chars(tern_schema *s, const tern_range *ranges, size_t n, bool negated);
/* Strings, without their quotes, that a regular expression matches. */
tern_node *tern_schema_regex(tern_schema *s, const char *pattern);

/* A keyword's count, `absent` if it is not there. */
uint32_t tern_schema_count(tern_schema *s, const json_t *schema, const char *key, uint32_t absent);

/* A rule that is made when it is first used: true, and *rule is new and has no body yet. */
bool tern_schema_new_rule(tern_schema *s, const char *name, uint32_t *rule);

#endif
