/* Objects and arrays. */
#include <stdio.h>
#include <stdlib.h>

#include "grammar/schema.h"

enum { MAX_INDENT = 20, MAX_NAME = 200 };

tern_node *tern_schema_space(tern_schema *s) {
    uint32_t rule;
    if (tern_schema_new_rule(s, "space", &rule)) {
        static const tern_range blank[] = {{' ', ' '}, {'\t', '\t'}};
        tern_node *indent = tern_ast_repeat(s->ast, tern_ast_class(s->ast, blank, 2, false), 0, MAX_INDENT);
        tern_node *body = TERN_CHOICE(s->ast, tern_ast_empty(s->ast), tern_ast_text(s->ast, " "),
                                      TERN_SEQUENCE(s->ast, tern_ast_text(s->ast, "\n"), indent));
        if (body)
            s->ast->rules[rule].body = body;
    }
    return tern_ast_use(s->ast, rule);
}

static tern_node *comma(tern_schema *s) {
    return TERN_SEQUENCE(s->ast, tern_ast_text(s->ast, ","), tern_schema_space(s));
}

/* ----------------------------------------------------------------- objects */

typedef struct property {
    json_t *name;         /* ours: a reference */
    const json_t *schema; /* NULL: any value */
    bool required;
    uint32_t pair; /* rule: "name": value */
} property;

typedef struct properties {
    property *list; /* [n] */
    size_t n, capacity;
    const json_t *others; /* schema of further ones; NULL: there are none */
} properties;

static void add_property(tern_schema *s, properties *p, const char *name, const json_t *schema) {
    if (s->ast->status)
        return;
    json_t *text = json_string(name);
    if (!text || !tern_grow_array((void **)&p->list, &p->capacity, p->n + 1, sizeof *p->list)) {
        json_decref(text);
        tern_ast_fail(s->ast, TERN_ERR_MEMORY, "out of memory for a schema");
        return;
    }
    p->list[p->n++] = (property){.name = text, .schema = schema};
}

static property *find_property(const properties *p, const char *name) {
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(json_string_value(p->list[i].name), name) == 0)
            return &p->list[i];
    return NULL;
}

static void gather(tern_schema *s, const json_t *schema, properties *p) {
    json_t *named = json_object_get(schema, "properties"), *required = json_object_get(schema, "required"), *item;
    const json_t *others = json_object_get(schema, "additionalProperties");
    size_t i;
    if ((named && !json_is_object(named)) || (required && !json_is_array(required)) ||
        (others && !json_is_object(others) && !json_is_boolean(others))) {
        tern_schema_fail(s, "\"properties\" must be an object, \"required\" a list, \"additionalProperties\" a schema");
        return;
    }
    for (void *at = json_object_iter(named); at; at = json_object_iter_next(named, at))
        add_property(s, p, json_object_iter_key(at), json_object_iter_value(at));
    /* JSON Schema allows others where nothing is said. Models are to keep to what was named, if anything was. */
    p->others = json_is_false(others) ? NULL : others ? others : named ? NULL : json_true();
    json_array_foreach(required, i, item) {
        const char *name = json_string_value(item);
        if (!name) {
            tern_schema_fail(s, "\"required\" must be a list of names");
            return;
        }
        if (!find_property(p, name) && json_is_false(others))
            tern_schema_fail(s, "\"required\" names \"%.60s\", which \"additionalProperties\" forbids", name);
        else if (!find_property(p, name))
            add_property(s, p, name, others);
        if (s->ast->status)
            return;
        find_property(p, name)->required = true;
    }
}

static tern_node *colon(tern_schema *s) {
    return TERN_SEQUENCE(s->ast, tern_ast_text(s->ast, ":"), tern_ast_repeat(s->ast, tern_ast_text(s->ast, " "), 0, 1));
}

/* Rules of their own, because each stands in two places. */
static void make_pairs(tern_schema *s, properties *p) {
    for (size_t i = 0; !s->ast->status && i < p->n; i++) {
        property *x = &p->list[i];
        tern_node *value =
            x->schema ? tern_schema_member(s, x->schema, json_string_value(x->name), -1) : tern_schema_value(s);
        tern_node *pair = TERN_SEQUENCE(s->ast, tern_schema_literal(s, x->name), colon(s), value);
        x->pair = tern_ast_new_rule(s->ast, "(property)", pair);
    }
}

/* One character of UTF-8 that jansson has checked. */
static uint32_t next_code(const char **text) {
    const uint8_t *b = (const uint8_t *)*text;
    int n = b[0] < 0x80 ? 1 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : 4;
    uint32_t code = n == 1 ? b[0] : b[0] & (0x7fu >> n);
    for (int i = 1; i < n; i++)
        code = code << 6 | (b[i] & 0x3f);
    *text += n;
    return code;
}

typedef struct rest {
    const char *text; /* of a name, behind what has been read */
} rest;

static int compare_rests(const void *a, const void *b) {
    return strcmp(((const rest *)a)->text, ((const rest *)b)->text);
}

static tern_node *plain_char(tern_schema *s, const tern_range *without, size_t n) {
    tern_range ranges[3] = {{0, 0x1f}, {'"', '"'}, {'\\', '\\'}};
    tern_range *all = tern_arena_alloc(&s->ast->arena, (n + 3) * sizeof *all);
    if (!all) {
        tern_ast_fail(s->ast, TERN_ERR_MEMORY, "out of memory for a schema");
        return NULL;
    }
    memcpy(all, ranges, sizeof ranges);
    if (n)
        memcpy(all + 3, without, n * sizeof *all);
    return tern_ast_class(s->ast, all, n + 3, true);
}

/* Texts that are none of the rests [n], sorted, and need no escape (so that no name comes in disguise): a character
 * that none of them goes on with and then anything; or one that some do, and then none of what is left of these; or the
 * end, if none ends here. As deep as names are long. */
static tern_node *other_texts(tern_schema *s, rest *rests, size_t n) {
    size_t i = 0, n_codes = 0;
    tern_range *codes = tern_alloc_array(n, sizeof *codes);
    tern_node *choice = tern_ast_list(s->ast, TERN_NODE_CHOICE, NULL, 0), **end = choice ? &choice->first : NULL;
    if (!codes)
        tern_ast_fail(s->ast, TERN_ERR_MEMORY, "out of memory for a schema");
    bool ends = i < n && !*rests[i].text;
    while (i < n && !*rests[i].text)
        i++;
    while (!s->ast->status && i < n) {
        const char *text = rests[i].text;
        size_t size = (next_code(&text), (size_t)(text - rests[i].text)), first = i;
        tern_node *same = tern_ast_bytes(s->ast, rests[i].text, size);
        text = rests[i].text;
        codes[n_codes].low = codes[n_codes].high = next_code(&text);
        n_codes++;
        for (text = rests[first].text; i < n && strncmp(rests[i].text, text, size) == 0; i++)
            ;
        for (size_t k = first; k < i; k++)
            rests[k].text += size;
        *end = TERN_SEQUENCE(s->ast, same, other_texts(s, rests + first, i - first));
        if (*end)
            end = &(*end)->next;
    }
    if (!s->ast->status) {
        tern_node *more = tern_ast_repeat(s->ast, plain_char(s, NULL, 0), 0, TERN_UNLIMITED);
        tern_node *other = TERN_SEQUENCE(s->ast, plain_char(s, codes, n_codes), more);
        if (other) {
            other->next = ends ? NULL : tern_ast_empty(s->ast);
            *end = other;
        }
    }
    free(codes);
    return s->ast->status ? NULL : choice;
}

static tern_node *other_name(tern_schema *s, const properties *p) {
    if (p->n == 0)
        return tern_schema_any_string(s);
    rest *rests = tern_alloc_array(p->n, sizeof *rests);
    tern_node *node = NULL;
    if (!rests)
        tern_ast_fail(s->ast, TERN_ERR_MEMORY, "out of memory for a schema");
    for (size_t i = 0; rests && i < p->n; i++) {
        rests[i].text = json_string_value(p->list[i].name);
        if (strlen(rests[i].text) > MAX_NAME)
            tern_schema_fail(s, "the name of a property is longer than %d bytes beside \"additionalProperties\"",
                             MAX_NAME);
    }
    if (!s->ast->status) {
        qsort(rests, p->n, sizeof *rests, compare_rests);
        node = other_texts(s, rests, p->n);
    }
    free(rests);
    return TERN_SEQUENCE(s->ast, tern_ast_text(s->ast, "\""), node, tern_ast_text(s->ast, "\""));
}

/* A rule for each place: what may follow behind a property from this one on, each with its comma. */
static tern_node *make_members(tern_schema *s, const properties *p) {
    tern_ast *ast = s->ast;
    tern_node *choice = tern_ast_list(ast, TERN_NODE_CHOICE, NULL, 0), **end = choice ? &choice->first : NULL;
    uint32_t other = UINT32_MAX, tail;
    if (p->others) {
        tern_node *value = tern_schema_member(s, p->others, "additionalProperties", -1);
        other = tern_ast_new_rule(ast, "(property)", TERN_SEQUENCE(ast, other_name(s, p), colon(s), value));
        tail = tern_ast_new_rule(
            ast, "(properties)",
            tern_ast_repeat(ast, TERN_SEQUENCE(ast, comma(s), tern_ast_use(ast, other)), 0, TERN_UNLIMITED));
    } else {
        tail = tern_ast_new_rule(ast, "(properties)", tern_ast_empty(ast));
    }
    size_t first_required = 0;
    while (first_required < p->n && !p->list[first_required].required)
        first_required++;
    if (first_required == p->n) { /* it may be empty, or begin with any */
        tern_node *none = tern_ast_empty(ast);
        if (none && p->others)
            none->next = TERN_SEQUENCE(ast, tern_ast_use(ast, other), tern_ast_use(ast, tail));
        if (end)
            *end = none;
        if (none)
            end = none->next ? &none->next->next : &none->next;
    }
    for (size_t i = p->n; !ast->status && i-- > 0;) {
        if (i <= first_required) {
            *end = TERN_SEQUENCE(ast, tern_ast_use(ast, p->list[i].pair), tern_ast_use(ast, tail));
            if (!*end)
                break;
            end = &(*end)->next;
        }
        tern_node *member = TERN_SEQUENCE(ast, comma(s), tern_ast_use(ast, p->list[i].pair));
        if (!p->list[i].required)
            member = tern_ast_repeat(ast, member, 0, 1);
        tail = tern_ast_new_rule(ast, "(properties)", TERN_SEQUENCE(ast, member, tern_ast_use(ast, tail)));
    }
    return choice;
}

tern_node *tern_schema_object(tern_schema *s, const json_t *schema) {
    properties p = {0};
    gather(s, schema, &p);
    size_t n = strlen(s->path);
    if (p.n)
        snprintf(s->path + n, sizeof s->path - n, "/properties");
    make_pairs(s, &p);
    s->path[n] = 0;
    tern_node *members = s->ast->status ? NULL : make_members(s, &p);
    for (size_t i = 0; i < p.n; i++)
        json_decref(p.list[i].name);
    free(p.list);
    return TERN_SEQUENCE(s->ast, tern_ast_text(s->ast, "{"), tern_schema_space(s), members, tern_schema_space(s),
                         tern_ast_text(s->ast, "}"));
}

/* ------------------------------------------------------------------ arrays */

/* A schema as a rule that can stand in several places. */
static uint32_t item_rule(tern_schema *s, const json_t *schema, const char *key, int index) {
    return tern_ast_new_rule(s->ast, "(item)", tern_schema_member(s, schema, key, index));
}

static tern_node *member_of(tern_schema *s, uint32_t item) {
    return TERN_SEQUENCE(s->ast, comma(s), tern_ast_use(s->ast, item));
}

typedef struct array {
    const json_t *prefix; /* the first items' schemas, n_prefix of them */
    size_t n_prefix;
    const json_t *items; /* of the others; NULL: there are none */
    uint32_t min, max;   /* items */
} array;

static bool read_array(tern_schema *s, const json_t *schema, array *a) {
    const json_t *items = json_object_get(schema, "items");
    a->prefix = json_object_get(schema, "prefixItems");
    a->min = tern_schema_count(s, schema, "minItems", 0);
    a->max = tern_schema_count(s, schema, "maxItems", TERN_UNLIMITED);
    if (a->prefix && !json_is_array(a->prefix))
        tern_schema_fail(s, "\"prefixItems\" must be a list of schemas");
    if (items && !json_is_object(items) && !json_is_boolean(items))
        tern_schema_fail(s, "\"items\" must be a schema; a list of them is called \"prefixItems\"");
    a->n_prefix = json_array_size(a->prefix);
    if (a->n_prefix > a->max)
        a->n_prefix = a->max;
    a->items = json_is_false(items) ? NULL : items ? items : a->n_prefix ? NULL : json_true();
    if (!a->items && a->max > a->n_prefix)
        a->max = (uint32_t)a->n_prefix;
    if (a->min > a->max)
        tern_schema_fail(s, "\"minItems\" asks for more items than there may be");
    return !s->ast->status;
}

/* Items behind the prefix: `n` of them have been there. Each with a comma in front. */
static tern_node *further_items(tern_schema *s, const array *a, uint32_t item, uint32_t n) {
    if (a->max <= n)
        return tern_ast_empty(s->ast);
    uint32_t min = a->min > n ? a->min - n : 0, max = a->max == TERN_UNLIMITED ? TERN_UNLIMITED : a->max - n;
    return tern_ast_repeat(s->ast, member_of(s, item), min, max);
}

static tern_node *optional(tern_schema *s, tern_node *node, bool required) {
    return required ? node : tern_ast_repeat(s->ast, node, 0, 1);
}

tern_node *tern_schema_array(tern_schema *s, const json_t *schema) {
    array a;
    if (!read_array(s, schema, &a))
        return NULL;
    uint32_t item = a.items && a.max > a.n_prefix ? item_rule(s, a.items, "items", -1) : 0;
    tern_node *content = NULL;
    if (a.n_prefix == 0 && a.max > 0)
        content =
            optional(s, TERN_SEQUENCE(s->ast, tern_ast_use(s->ast, item), further_items(s, &a, item, 1)), a.min > 0);
    else if (a.n_prefix)
        content = further_items(s, &a, item, (uint32_t)a.n_prefix);
    for (size_t i = a.n_prefix; !s->ast->status && i-- > 0;) { /* from the end: each brings what may follow it */
        uint32_t rule = item_rule(s, json_array_get(a.prefix, i), "prefixItems", (int)i);
        tern_node *first = i ? member_of(s, rule) : tern_ast_use(s->ast, rule);
        uint32_t rest_rule = tern_ast_new_rule(s->ast, "(items)", TERN_SEQUENCE(s->ast, first, content));
        content = optional(s, tern_ast_use(s->ast, rest_rule), i < a.min);
    }
    return TERN_SEQUENCE(s->ast, tern_ast_text(s->ast, "["), tern_schema_space(s), content, tern_schema_space(s),
                         tern_ast_text(s->ast, "]"));
}
