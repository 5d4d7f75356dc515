/* JSON schema (draft 2020-12, a part of it) -> rules. What restricts values and is not known is refused: a grammar
 * never allows what the schema does not, though it may allow less. */
#include "grammar/schema.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"

enum { MAX_DEPTH = 64, MAX_REFS = 64 };

void tern_schema_fail(tern_schema *s, const char *format, ...) {
    char message[TERN_ERROR_SIZE / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    tern_ast_fail(s->ast, TERN_ERR_FORMAT, "schema: %s: %s", s->path, message);
}

bool tern_schema_new_rule(tern_schema *s, const char *name, uint32_t *rule) {
    size_t n = s->ast->n_rules;
    *rule = tern_ast_rule(s->ast, tern_view_of(name), 0);
    return s->ast->n_rules > n;
}

uint32_t tern_schema_count(tern_schema *s, const json_t *schema, const char *key, uint32_t absent) {
    const json_t *value = json_object_get(schema, key);
    if (!value)
        return absent;
    double number = json_number_value(value);
    if (!json_is_number(value) || number < 0 || number > TERN_GRAMMAR_MAX_REPEAT || number != (double)(uint32_t)number)
        tern_schema_fail(s, "\"%s\" must be a whole number from 0 to %d", key, TERN_GRAMMAR_MAX_REPEAT);
    return (uint32_t)(number >= 0 && number <= TERN_GRAMMAR_MAX_REPEAT ? number : 0);
}

/* ---------------------------------------------------------------- keywords */

enum {
    T_NULL = 1,
    T_BOOLEAN = 2,
    T_OBJECT = 4,
    T_ARRAY = 8,
    T_NUMBER = 16, /* that are not integers */
    T_INTEGER = 32,
    T_STRING = 64,
    T_ANY = 127,
};

static const struct {
    const char *name;
    unsigned types;
} type_names[] = {
    {"null", T_NULL},     {"boolean", T_BOOLEAN},           {"object", T_OBJECT},   {"array", T_ARRAY},
    {"string", T_STRING}, {"number", T_NUMBER | T_INTEGER}, {"integer", T_INTEGER},
};

typedef enum keyword_kind {
    KEY_IGNORED, /* says nothing about which values are allowed */
    KEY_TYPED,   /* about values of some types */
    KEY_WHOLE,   /* about the whole value */
    KEY_SHAPE,   /* decides alone: only annotations may stand beside it */
} keyword_kind;

static const struct keyword {
    const char *name;
    keyword_kind kind;
    unsigned types; /* TYPED: which, where the schema does not say */
} keywords[] = {
    {"$schema", KEY_IGNORED, 0},
    {"$id", KEY_IGNORED, 0},
    {"$comment", KEY_IGNORED, 0},
    {"$defs", KEY_IGNORED, 0},
    {"definitions", KEY_IGNORED, 0},
    {"title", KEY_IGNORED, 0},
    {"description", KEY_IGNORED, 0},
    {"default", KEY_IGNORED, 0},
    {"examples", KEY_IGNORED, 0},
    {"example", KEY_IGNORED, 0},
    {"deprecated", KEY_IGNORED, 0},
    {"readOnly", KEY_IGNORED, 0},
    {"writeOnly", KEY_IGNORED, 0},
    {"type", KEY_WHOLE, 0},
    {"nullable", KEY_WHOLE, 0},
    {"enum", KEY_SHAPE, 0},
    {"const", KEY_SHAPE, 0},
    {"anyOf", KEY_SHAPE, 0},
    {"oneOf", KEY_SHAPE, 0},
    {"allOf", KEY_SHAPE, 0},
    {"$ref", KEY_SHAPE, 0},
    {"properties", KEY_TYPED, T_OBJECT},
    {"required", KEY_TYPED, T_OBJECT},
    {"additionalProperties", KEY_TYPED, T_OBJECT},
    {"items", KEY_TYPED, T_ARRAY},
    {"prefixItems", KEY_TYPED, T_ARRAY},
    {"minItems", KEY_TYPED, T_ARRAY},
    {"maxItems", KEY_TYPED, T_ARRAY},
    {"minLength", KEY_TYPED, T_STRING},
    {"maxLength", KEY_TYPED, T_STRING},
    {"pattern", KEY_TYPED, T_STRING},
    {"format", KEY_TYPED, T_STRING},
    {"minimum", KEY_TYPED, T_NUMBER | T_INTEGER},
    {"maximum", KEY_TYPED, T_NUMBER | T_INTEGER},
    {"exclusiveMinimum", KEY_TYPED, T_NUMBER | T_INTEGER},
    {"exclusiveMaximum", KEY_TYPED, T_NUMBER | T_INTEGER},
};

static const struct keyword *find_keyword(const char *name) {
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (strcmp(name, keywords[i].name) == 0)
            return &keywords[i];
    return NULL;
}

static unsigned type_of_name(const json_t *name) {
    for (size_t i = 0; json_is_string(name) && i < sizeof type_names / sizeof *type_names; i++)
        if (strcmp(json_string_value(name), type_names[i].name) == 0)
            return type_names[i].types;
    return 0;
}

/* What "type" says; T_ANY if it is not there, 0 if it makes no sense. */
static unsigned stated_types(const json_t *schema) {
    const json_t *type = json_object_get(schema, "type"), *item;
    unsigned types = 0;
    size_t i;
    if (!type)
        return T_ANY;
    if (!json_is_array(type))
        return type_of_name(type);
    json_array_foreach(type, i, item) {
        if (!type_of_name(item))
            return 0;
        types |= type_of_name(item);
    }
    return types;
}

static unsigned type_of_value(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return T_OBJECT;
    case JSON_ARRAY:
        return T_ARRAY;
    case JSON_STRING:
        return T_STRING;
    case JSON_INTEGER:
        return T_INTEGER;
    case JSON_REAL:
        return json_real_value(value) == (double)(long long)json_real_value(value) ? T_INTEGER : T_NUMBER;
    case JSON_NULL:
        return T_NULL;
    default:
        return T_BOOLEAN;
    }
}

/* All keywords are known and stand well together. *shape: the one that decides alone, or NULL; *types: what the others
 * are about, T_ANY if there are none. */
static bool check_keywords(tern_schema *s, const json_t *schema, const char **shape, unsigned *types) {
    void *at = json_object_iter((json_t *)schema);
    const char *typed = NULL;
    *shape = NULL;
    *types = 0;
    for (; at; at = json_object_iter_next((json_t *)schema, at)) {
        const char *name = json_object_iter_key(at);
        const struct keyword *keyword = find_keyword(name);
        if (!keyword && strncmp(name, "x-", 2) == 0)
            continue;
        if (!keyword) {
            tern_schema_fail(s, "the keyword \"%.60s\" is not known; leave it out", name);
            return false;
        }
        if (keyword->kind == KEY_SHAPE && *shape) {
            tern_schema_fail(s, "\"%s\" and \"%s\" cannot stand beside each other; leave one out", *shape, name);
            return false;
        }
        if (keyword->kind == KEY_SHAPE)
            *shape = name;
        if (keyword->kind == KEY_TYPED) {
            typed = name;
            *types |= keyword->types;
        }
    }
    if (*shape && typed)
        tern_schema_fail(s, "\"%s\" and \"%s\" cannot stand beside each other; leave one out", *shape, typed);
    *types = *types ? *types : T_ANY;
    return !*shape || !typed;
}

/* -------------------------------------------------------------- references */

/* What a JSON pointer (RFC 6901) behind # names; NULL: nothing. */
static const json_t *resolve(const tern_schema *s, const char *ref) {
    const json_t *at = s->root;
    char part[256];
    if (*ref++ != '#')
        return NULL;
    while (at && *ref == '/') {
        size_t n = 0;
        for (ref++; *ref && *ref != '/'; ref++) {
            char c = *ref;
            if (c == '~') {
                if (ref[1] != '0' && ref[1] != '1')
                    return NULL;
                c = *++ref == '0' ? '~' : '/';
            }
            if (n + 1 >= sizeof part)
                return NULL;
            part[n++] = c;
        }
        part[n] = 0;
        if (json_is_array(at)) {
            char *end;
            unsigned long index = strtoul(part, &end, 10);
            at = n && !*end ? json_array_get(at, index) : NULL;
        } else {
            at = json_object_get(at, part);
        }
    }
    return *ref ? NULL : at;
}

static tern_node *reference(tern_schema *s, const json_t *value) {
    const char *ref = json_string_value(value);
    const json_t *target = ref ? resolve(s, ref) : NULL;
    uint32_t rule;
    if (!target) {
        tern_schema_fail(s, "\"$ref\": there is no \"%.100s\" in this schema; other files are not read",
                         ref ? ref : "(no string)");
        return NULL;
    }
    if (tern_schema_new_rule(s, ref, &rule)) {
        char path[sizeof s->path];
        memcpy(path, s->path, sizeof path);
        snprintf(s->path, sizeof s->path, "%s", ref);
        tern_node *body = tern_schema_node(s, target);
        if (body)
            s->ast->rules[rule].body = body;
        memcpy(s->path, path, sizeof path);
    }
    return tern_ast_use(s->ast, rule);
}

static const json_t *follow(const tern_schema *s, const json_t *schema) {
    for (int i = 0; schema && json_object_get(schema, "$ref") && i < MAX_REFS; i++) {
        const char *ref = json_string_value(json_object_get(schema, "$ref"));
        schema = ref ? resolve(s, ref) : NULL;
    }
    return schema;
}

/* ------------------------------------------------------------------ choices */

static bool in_types(const json_t *schema, const json_t *value) { return stated_types(schema) & type_of_value(value); }

static tern_node *literals(tern_schema *s, const json_t *schema, const json_t *values) {
    tern_node *list = tern_ast_list(s->ast, TERN_NODE_CHOICE, NULL, 0), **end = list ? &list->first : NULL;
    const json_t *value;
    size_t i;
    if (!json_is_array(values)) {
        tern_schema_fail(s, "\"enum\" must be a list of values");
        return NULL;
    }
    json_array_foreach(values, i, value) {
        tern_node *node = in_types(schema, value) ? tern_schema_literal(s, value) : NULL;
        if (s->ast->status)
            return NULL;
        if (node) {
            *end = node;
            end = &node->next;
        }
    }
    if (list && !list->first)
        tern_schema_fail(s, "\"enum\" has no value that \"type\" allows");
    return list;
}

/* The values of an enum or a const as a list; the caller's to release. NULL: there is neither. */
static json_t *values_of(const json_t *schema) {
    json_t *value = json_object_get(schema, "const"), *values = json_object_get(schema, "enum");
    if (json_is_array(values))
        return json_incref(values);
    return value ? json_pack("[O]", value) : NULL;
}

/* Proven that no value is allowed by both. */
static bool disjoint(const tern_schema *s, const json_t *a, const json_t *b, int depth);

static bool values_disjoint(const json_t *values, const json_t *schema, const json_t *others) {
    const json_t *value, *other;
    size_t i, k;
    json_array_foreach(values, i, value) {
        if (!others && in_types(schema, value))
            return false;
        json_array_foreach(others, k, other) {
            bool numbers = json_is_number(value) && json_is_number(other);
            if (numbers ? json_number_value(value) == json_number_value(other)
                        : json_equal((json_t *)value, (json_t *)other))
                return false;
        }
    }
    return true;
}

static bool requires(const json_t *schema, const char *name) {
    const json_t *required = json_object_get(schema, "required"), *item;
    size_t i;
    json_array_foreach(required, i, item) {
        if (json_is_string(item) && strcmp(json_string_value(item), name) == 0)
            return true;
    }
    return false;
}

/* A property that both must have, and that cannot be the same. */
static bool told_apart(const tern_schema *s, const json_t *a, const json_t *b, int depth) {
    json_t *properties = json_object_get(a, "properties"), *others = json_object_get(b, "properties");
    for (void *at = json_object_iter(properties); at; at = json_object_iter_next(properties, at)) {
        const char *name = json_object_iter_key(at);
        const json_t *other = json_object_get(others, name);
        if (other && requires(a, name) && requires(b, name) &&
            disjoint(s, json_object_iter_value(at), other, depth + 1))
            return true;
    }
    return false;
}

static bool disjoint(const tern_schema *s, const json_t *a, const json_t *b, int depth) {
    a = follow(s, a);
    b = follow(s, b);
    if (!json_is_object(a) || !json_is_object(b) || depth > 8 || json_object_get(a, "nullable") ||
        json_object_get(b, "nullable"))
        return false;
    json_t *x = values_of(a), *y = values_of(b);
    unsigned types = stated_types(a), others = stated_types(b);
    bool apart;
    if (x || y)
        apart = values_disjoint(x ? x : y, x ? b : a, x ? y : NULL);
    else
        apart = !(types & others) || (types == T_OBJECT && others == T_OBJECT && told_apart(s, a, b, depth));
    json_decref(x);
    json_decref(y);
    return apart;
}

static tern_node *alternatives(tern_schema *s, const char *key, const json_t *list) {
    size_t n = json_array_size(list);
    if (n == 0) {
        tern_schema_fail(s, "\"%s\" must be a list of schemas, not an empty one", key);
        return NULL;
    }
    if (strcmp(key, "allOf") == 0 && n > 1) {
        tern_schema_fail(s, "\"allOf\" is known with a single schema only; write them as one");
        return NULL;
    }
    bool one_of = strcmp(key, "oneOf") == 0;
    for (size_t i = 0; one_of && i < n; i++)
        for (size_t k = 0; k < i; k++)
            if (!disjoint(s, json_array_get(list, k), json_array_get(list, i), 0)) {
                tern_schema_fail(s,
                                 "\"oneOf\": alternatives %zu and %zu may allow the same value, which would be "
                                 "wrong; use \"anyOf\", or a property that tells them apart",
                                 k + 1, i + 1);
                return NULL;
            }
    tern_node *choice = tern_ast_list(s->ast, TERN_NODE_CHOICE, NULL, 0), **end = choice ? &choice->first : NULL;
    for (size_t i = 0; i < n; i++) {
        tern_node *node = tern_schema_member(s, json_array_get(list, i), key, (int)i);
        if (!node)
            return NULL;
        *end = node;
        end = &node->next;
    }
    return choice;
}

static tern_node *shape_node(tern_schema *s, const json_t *schema, const char *shape) {
    const json_t *value = json_object_get(schema, shape);
    if (strcmp(shape, "$ref") == 0 || strstr(shape, "Of")) {
        if (json_object_get(schema, "type")) {
            tern_schema_fail(s, "\"%s\" and \"type\" cannot stand beside each other; leave one out", shape);
            return NULL;
        }
        return strcmp(shape, "$ref") == 0 ? reference(s, value) : alternatives(s, shape, value);
    }
    if (strcmp(shape, "enum") == 0)
        return literals(s, schema, value);
    if (!in_types(schema, value))
        tern_schema_fail(s, "\"const\" is no value that \"type\" allows");
    return tern_schema_literal(s, value);
}

/* ------------------------------------------------------------------- types */

static tern_node *boolean_node(tern_schema *s, const json_t *schema) {
    (void)schema;
    return TERN_CHOICE(s->ast, tern_ast_text(s->ast, "true"), tern_ast_text(s->ast, "false"));
}

static tern_node *null_node(tern_schema *s, const json_t *schema) {
    (void)schema;
    return tern_ast_text(s->ast, "null");
}

static const struct {
    unsigned types; /* any of them, and none of `unless` */
    unsigned unless;
    tern_node *(*make)(tern_schema *s, const json_t *schema);
} makers[] = {
    {T_OBJECT, 0, tern_schema_object},
    {T_ARRAY, 0, tern_schema_array},
    {T_STRING, 0, tern_schema_string},
    {T_NUMBER, 0, tern_schema_number},
    {T_INTEGER, T_NUMBER, tern_schema_integer},
    {T_BOOLEAN, 0, boolean_node},
    {T_NULL, 0, null_node},
};

static tern_node *typed_node(tern_schema *s, const json_t *schema, unsigned types) {
    tern_node *choice = tern_ast_list(s->ast, TERN_NODE_CHOICE, NULL, 0), **end = choice ? &choice->first : NULL;
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
        if (!(types & makers[i].types) || (types & makers[i].unless))
            continue;
        tern_node *node = makers[i].make(s, schema);
        if (!node)
            return NULL;
        *end = node;
        end = &node->next;
    }
    return choice;
}

tern_node *tern_schema_value(tern_schema *s) {
    uint32_t rule;
    if (tern_schema_new_rule(s, "value", &rule)) {
        json_t *any = json_object();
        tern_node *body = any ? typed_node(s, any, T_ANY) : NULL;
        if (!any)
            tern_ast_fail(s->ast, TERN_ERR_MEMORY, "out of memory for a schema");
        if (body)
            s->ast->rules[rule].body = body;
        json_decref(any);
    }
    return tern_ast_use(s->ast, rule);
}

static tern_node *object_node(tern_schema *s, const json_t *schema) {
    const char *shape;
    unsigned implied, types = stated_types(schema);
    if (!check_keywords(s, schema, &shape, &implied))
        return NULL;
    if (!types) {
        tern_schema_fail(s, "\"type\" must be null, boolean, object, array, number, integer or string, or a list of "
                            "these");
        return NULL;
    }
    bool stated = json_object_get(schema, "type") != NULL;
    tern_node *node;
    if (shape)
        node = shape_node(s, schema, shape);
    else if (!stated && implied == T_ANY)
        node = tern_schema_value(s);
    else
        node = typed_node(s, schema, stated ? types : implied);
    if (node && json_is_true(json_object_get(schema, "nullable")))
        node = TERN_CHOICE(s->ast, node, tern_ast_text(s->ast, "null"));
    return node;
}

tern_node *tern_schema_node(tern_schema *s, const json_t *schema) {
    tern_node *node = NULL;
    if (++s->depth > MAX_DEPTH)
        tern_schema_fail(s, "more than %d schemas inside each other", MAX_DEPTH);
    else if (json_is_true(schema))
        node = tern_schema_value(s);
    else if (json_is_false(schema))
        tern_schema_fail(s, "\"false\" allows no value at all");
    else if (!json_is_object(schema))
        tern_schema_fail(s, "a schema is an object, true or false");
    else
        node = object_node(s, schema);
    s->depth--;
    return s->ast->status ? NULL : node;
}

tern_node *tern_schema_member(tern_schema *s, const json_t *member, const char *key, int index) {
    size_t n = strlen(s->path);
    if (index >= 0)
        snprintf(s->path + n, sizeof s->path - n, "/%s/%d", key, index);
    else
        snprintf(s->path + n, sizeof s->path - n, "/%s", key);
    tern_node *node = tern_schema_node(s, member);
    s->path[n] = 0;
    return node;
}

static uint32_t read_schema(tern_schema *s) {
    uint32_t rule = tern_ast_rule(s->ast, tern_view_of("#"), 0); /* what {"$ref": "#"} means, too */
    tern_node *body = tern_schema_node(s, s->root);
    if (body)
        s->ast->rules[rule].body = body;
    return rule;
}

/* The rule of the whole schema; UINT32_MAX after a failure. */
static uint32_t from_schema(tern_ast *ast, const char *schema) {
    tern_schema s = {.ast = ast, .path = "#"};
    schema = schema ? schema : "{\"type\": \"object\"}";
    if (strlen(schema) > TERN_GRAMMAR_MAX_TEXT) {
        tern_ast_fail(ast, TERN_ERR_FORMAT, "schema: larger than %d bytes", TERN_GRAMMAR_MAX_TEXT);
        return UINT32_MAX;
    }
    json_error_t error;
    json_t *root = tern_json_load(schema, strlen(schema), JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!root && tern_json_no_memory(&error)) {
        tern_ast_fail(ast, TERN_ERR_MEMORY, "out of memory for a schema");
        return UINT32_MAX;
    }
    if (!root) {
        tern_ast_fail(ast, TERN_ERR_FORMAT, "schema: no JSON: line %d: %s", error.line, error.text);
        return UINT32_MAX;
    }
    s.root = root;
    uint32_t rule = read_schema(&s);
    json_decref(root);
    return rule;
}

void tern_ast_from_schema(tern_ast *ast, const char *schema) { from_schema(ast, schema); }

void tern_ast_from_schema_or_text(tern_ast *ast, const char *schema) {
    static const tern_range blank[] = {{'\t', '\n'}, {'\r', '\r'}, {' ', ' '}},
                            start[] = {{'\t', '\n'}, {'\r', '\r'}, {' ', ' '}, {'{', '{'}};
    uint32_t whole = tern_ast_rule(ast, tern_view_of("(value or text)"), 0); /* first: what a text begins with */
    uint32_t value = from_schema(ast, schema);
    tern_node *blanks = tern_ast_repeat(ast, tern_ast_class(ast, blank, 3, false), 0, TERN_UNLIMITED);
    tern_node *others = tern_ast_repeat(ast, tern_ast_class(ast, NULL, 0, true), 0, TERN_UNLIMITED);
    tern_node *text = TERN_SEQUENCE(ast, tern_ast_class(ast, start, 4, true), others);
    tern_node *body = TERN_SEQUENCE(
        ast, blanks, TERN_CHOICE(ast, tern_ast_empty(ast), text, ast->status ? NULL : tern_ast_use(ast, value)));
    if (body)
        ast->rules[whole].body = body;
}
