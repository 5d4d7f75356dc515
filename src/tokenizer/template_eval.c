/* Rendering a chat template: a walk over its tree. */
#include <stdlib.h>

#include "tokenizer/template_value.h"

/* Budgets: far above what any honest template needs for these messages, small enough to fail within a second. */
#define BASE_WORK 4000000u
#define WORK_PER_MESSAGE 1000u
#define BASE_MEMORY (32u << 20)
#define MEMORY_PER_BYTE 64u

static tern_value eval(tern_render *r, const tern_expr *expr);

static const tern_value undefined = {.kind = VALUE_UNDEFINED};

static tern_value bool_value(bool value) { return tern_value_of(VALUE_BOOL, value); }
static bool is_number(const tern_value *value) { return value->kind == VALUE_BOOL || value->kind == VALUE_INT; }

/* --------------------------------------------------------------- variables */

static bool set_variable(tern_render *r, tern_view name, tern_value value) {
    if (!tern_render_work(r, (r->n_variables - r->scope) / 8))
        return false;
    for (size_t i = r->n_variables; i > r->scope; i--)
        if (tern_view_equal(r->variables[i - 1].name, name)) {
            r->variables[i - 1].value = value;
            return true;
        }
    if (!tern_grow_array((void **)&r->variables, &r->capacity, r->n_variables + 1, sizeof *r->variables)) {
        r->status = tern_fail_memory(r->err, "the chat template");
        return false;
    }
    r->variables[r->n_variables++] = (tern_variable){name, value};
    return true;
}

static tern_value get_variable(tern_render *r, tern_view name) {
    tern_render_work(r, r->n_variables / 8);
    for (size_t i = r->n_variables; i > 0; i--)
        if (tern_view_equal(r->variables[i - 1].name, name))
            return r->variables[i - 1].value;
    return undefined;
}

static tern_value text_value(const char *text) { return tern_value_string(text, strlen(text), true); }

static tern_value get_attribute(tern_render *r, const tern_value *of, tern_view name) {
    if (of->kind == VALUE_MESSAGE) {
        if (tern_view_equal(name, tern_view_of("role")))
            return text_value(of->message->role);
        if (tern_view_equal(name, tern_view_of("content")))
            return text_value(of->message->content);
        return undefined;
    }
    if (of->kind == VALUE_LOOP) {
        const struct {
            const char *name;
            tern_value value;
        } fields[] = {{"index", tern_value_of(VALUE_INT, (int64_t)of->loop.index + 1)},
                      {"index0", tern_value_of(VALUE_INT, (int64_t)of->loop.index)},
                      {"first", bool_value(of->loop.index == 0)},
                      {"last", bool_value(of->loop.index + 1 == of->loop.n)},
                      {"length", tern_value_of(VALUE_INT, (int64_t)of->loop.n)}};
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
            if (tern_view_equal(name, tern_view_of(fields[i].name)))
                return fields[i].value;
        return tern_render_fail_value(r, "loop.%.*s is not supported", (int)(name.size < 40 ? name.size : 40),
                                      name.bytes);
    }
    if (of->kind == VALUE_UNDEFINED)
        return tern_render_fail_value(r, "\"%.*s\" is asked of something undefined",
                                      (int)(name.size < 40 ? name.size : 40), name.bytes);
    return undefined;
}

static tern_value get_item(tern_render *r, const tern_value *of, const tern_value *key) {
    if (key->kind == VALUE_STRING && of->kind != VALUE_LIST && of->kind != VALUE_STRING)
        return get_attribute(r, of, (tern_view){key->string.bytes, key->string.size});
    if (!is_number(key))
        return tern_render_fail_value(r, "%s cannot be an index of %s", tern_value_name(key), tern_value_name(of));
    int64_t index = key->number;
    if (of->kind == VALUE_LIST) {
        index += index < 0 ? (int64_t)of->list.n : 0;
        return index >= 0 && index < (int64_t)of->list.n ? of->list.items[index] : undefined;
    }
    if (of->kind == VALUE_STRING) {
        size_t n = tern_string_length(&of->string);
        index += index < 0 ? (int64_t)n : 0;
        int64_t end = index + (index < INT64_MAX);
        return index >= 0 && index < (int64_t)n ? tern_string_slice(r, &of->string, &index, &end) : undefined;
    }
    return tern_render_fail_value(r, "%s has no items", tern_value_name(of));
}

static tern_value get_slice(tern_render *r, const tern_value *of, const tern_value *from, const tern_value *to) {
    const tern_value *ends[2] = {from, to};
    const int64_t *numbers[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        if (!ends[i] || ends[i]->kind == VALUE_NONE)
            continue;
        if (!is_number(ends[i]))
            return tern_render_fail_value(r, "%s cannot be the end of a slice", tern_value_name(ends[i]));
        numbers[i] = &ends[i]->number;
    }
    if (of->kind == VALUE_STRING)
        return tern_string_slice(r, &of->string, numbers[0], numbers[1]);
    if (of->kind != VALUE_LIST)
        return tern_render_fail_value(r, "%s cannot be sliced", tern_value_name(of));
    size_t start, end;
    tern_slice_ends(of->list.n, numbers[0], numbers[1], &start, &end);
    tern_value slice = *of;
    slice.list.items = of->list.items ? of->list.items + start : NULL;
    slice.list.n = end - start;
    return slice;
}

/* --------------------------------------------------------------- operators */

static bool equal(tern_render *r, const tern_value *a, const tern_value *b) {
    if (is_number(a) && is_number(b))
        return a->number == b->number;
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case VALUE_STRING:
        tern_render_work(r, a->string.size / 16);
        return tern_view_equal((tern_view){a->string.bytes, a->string.size},
                               (tern_view){b->string.bytes, b->string.size});
    case VALUE_MESSAGE:
        return a->message == b->message || (strcmp(a->message->role, b->message->role) == 0 &&
                                            strcmp(a->message->content, b->message->content) == 0);
    case VALUE_LIST:
        if (a->list.n != b->list.n || !tern_render_work(r, a->list.n))
            return false;
        for (size_t i = 0; i < a->list.n; i++) {
            if (a->list.items[i].kind == VALUE_LIST) /* sets can nest them without bound */
                return tern_render_fail(r, TERN_ERR_UNSUPPORTED, "lists of lists cannot be compared");
            if (!equal(r, &a->list.items[i], &b->list.items[i]))
                return false;
        }
        return true;
    default:
        return true;
    }
}

static int compare_strings(const tern_string *a, const tern_string *b) { /* UTF-8 sorts as its code points do */
    int order = memcmp(a->bytes, b->bytes, a->size < b->size ? a->size : b->size);
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

static tern_value less(tern_render *r, tern_op op, const tern_value *a, const tern_value *b) {
    int order;
    if (is_number(a) && is_number(b))
        order = (a->number > b->number) - (a->number < b->number);
    else if (a->kind == VALUE_STRING && b->kind == VALUE_STRING)
        order = compare_strings(&a->string, &b->string);
    else
        return tern_render_fail_value(r, "%s and %s have no order", tern_value_name(a), tern_value_name(b));
    return bool_value(op == OP_LT ? order < 0 : op == OP_LE ? order <= 0 : op == OP_GT ? order > 0 : order >= 0);
}

static tern_value contains(tern_render *r, const tern_value *needle, const tern_value *in) {
    if (in->kind == VALUE_STRING && needle->kind == VALUE_STRING) {
        tern_render_work(r, in->string.size / 8);
        return bool_value(needle->string.size == 0 ||
                          memmem(in->string.bytes, in->string.size, needle->string.bytes, needle->string.size) != NULL);
    }
    if (in->kind == VALUE_MESSAGE)
        return bool_value(needle->kind == VALUE_STRING &&
                          get_attribute(r, in, (tern_view){needle->string.bytes, needle->string.size}).kind !=
                              VALUE_UNDEFINED);
    if (in->kind == VALUE_UNDEFINED) /* Jinja iterates over nothing */
        return bool_value(false);
    if (in->kind != VALUE_LIST)
        return tern_render_fail_value(r, "%s cannot be in %s", tern_value_name(needle), tern_value_name(in));
    for (size_t i = 0; i < in->list.n && tern_render_work(r, 1); i++)
        if (equal(r, needle, &in->list.items[i]))
            return bool_value(true);
    return bool_value(false);
}

static tern_value arithmetic(tern_render *r, tern_op op, const tern_value *a, const tern_value *b) {
    int64_t x = a->number, y = b->number, result = 0;
    bool overflow = false;
    if (!is_number(a) || !is_number(b))
        return tern_render_fail_value(r, "%s and %s cannot be combined by arithmetic", tern_value_name(a),
                                      tern_value_name(b));
    switch (op) {
    case OP_ADD:
        overflow = __builtin_add_overflow(x, y, &result);
        break;
    case OP_SUB:
        overflow = __builtin_sub_overflow(x, y, &result);
        break;
    case OP_MUL:
        overflow = __builtin_mul_overflow(x, y, &result);
        break;
    default: /* // and %, rounding down as Python does */
        if (y == 0)
            return tern_render_fail_value(r, "division by zero");
        if (y == -1) {
            overflow = op == OP_FLOORDIV && __builtin_sub_overflow((int64_t)0, x, &result);
        } else {
            int64_t down = (x % y != 0) && ((x < 0) != (y < 0));
            result = op == OP_FLOORDIV ? x / y - down : x % y + down * y;
        }
    }
    return overflow ? tern_render_fail_value(r, "a number is too large") : tern_value_of(VALUE_INT, result);
}

static tern_value apply_binary(tern_render *r, tern_op op, const tern_value *a, const tern_value *b) {
    tern_string left, right;
    switch (op) {
    case OP_EQ:
        return bool_value(equal(r, a, b));
    case OP_NE:
        return bool_value(!equal(r, a, b));
    case OP_IN:
        return contains(r, a, b);
    case OP_NOT_IN:
        return bool_value(!contains(r, a, b).number);
    case OP_LT:
    case OP_LE:
    case OP_GT:
    case OP_GE:
        return less(r, op, a, b);
    case OP_CONCAT:
        if (!tern_value_to_string(r, a, &left) || !tern_value_to_string(r, b, &right))
            return undefined;
        return tern_string_concat(r, &left, &right);
    case OP_ADD:
        if (a->kind == VALUE_STRING && b->kind == VALUE_STRING)
            return tern_string_concat(r, &a->string, &b->string);
        return arithmetic(r, op, a, b);
    default:
        return arithmetic(r, op, a, b);
    }
}

/* --------------------------------------------------------------------- walk */

static tern_value eval_binary(tern_render *r, const tern_expr *expr) {
    tern_op op = (tern_op)expr->number;
    tern_value a = eval(r, expr->a);
    if (op == OP_AND || op == OP_OR) /* as in Python, the value of one side */
        return tern_value_true(&a) == (op == OP_OR) ? a : eval(r, expr->b);
    tern_value b = eval(r, expr->b);
    r->line = expr->line;
    return r->status ? undefined : apply_binary(r, op, &a, &b);
}

static tern_value eval_list(tern_render *r, const tern_expr *expr) {
    size_t n = (size_t)expr->number, i = 0;
    tern_value *items = tern_render_alloc(r, (n + 1) * sizeof *items);
    for (const tern_expr *item = expr->args; items && item && i < n; item = item->next_arg)
        items[i++] = eval(r, item);
    return r->status ? undefined : (tern_value){.kind = VALUE_LIST, {.list = {items, n}}};
}

static tern_value eval_filter(tern_render *r, const tern_expr *expr) {
    tern_value value = eval(r, expr->a), args[2] = {undefined, undefined};
    size_t n_args = 0;
    for (const tern_expr *arg = expr->args; arg && n_args < 2; arg = arg->next_arg)
        args[n_args++] = eval(r, arg);
    r->line = expr->line;
    return r->status ? undefined : tern_apply_filter(r, (tern_filter)expr->number, &value, args, n_args);
}

static tern_value eval_test(tern_render *r, const tern_expr *expr) {
    tern_value value = eval(r, expr->a);
    static const struct {
        tern_value_kind kind;
        bool negated;
    } tests[] = {[TEST_DEFINED] = {VALUE_UNDEFINED, true},
                 [TEST_UNDEFINED] = {VALUE_UNDEFINED, false},
                 [TEST_NONE] = {VALUE_NONE, false},
                 [TEST_STRING] = {VALUE_STRING, false}};
    return bool_value((value.kind == tests[expr->number].kind) != tests[expr->number].negated);
}

static tern_value eval_access(tern_render *r, const tern_expr *expr) {
    tern_value of = eval(r, expr->a), b = undefined, c = undefined;
    if (expr->b)
        b = eval(r, expr->b);
    if (expr->c)
        c = eval(r, expr->c);
    r->line = expr->line;
    if (r->status)
        return undefined;
    if (expr->kind == EXPR_ATTR)
        return get_attribute(r, &of, expr->text);
    if (expr->kind == EXPR_ITEM)
        return get_item(r, &of, &b);
    return get_slice(r, &of, expr->b ? &b : NULL, expr->c ? &c : NULL);
}

static tern_value raise(tern_render *r, const tern_expr *expr) {
    tern_value message = eval(r, expr->a);
    tern_string text;
    if (r->status || !tern_value_to_string(r, &message, &text))
        return undefined;
    r->status = tern_fail(r->err, TERN_ERR_ARGUMENT, "chat template: %.*s", (int)(text.size < 300 ? text.size : 300),
                          text.bytes);
    return undefined;
}

static tern_value eval(tern_render *r, const tern_expr *expr) {
    if (!tern_render_work(r, 1))
        return undefined;
    r->line = expr->line;
    tern_value value;
    switch (expr->kind) {
    case EXPR_STRING:
        return tern_value_string(expr->text.bytes, expr->text.size, false);
    case EXPR_INT:
        return tern_value_of(VALUE_INT, expr->number);
    case EXPR_BOOL:
        return bool_value(expr->number);
    case EXPR_NONE:
        return tern_value_of(VALUE_NONE, 0);
    case EXPR_NAME:
        return get_variable(r, expr->text);
    case EXPR_LIST:
        return eval_list(r, expr);
    case EXPR_FILTER:
        return eval_filter(r, expr);
    case EXPR_TEST:
        return eval_test(r, expr);
    case EXPR_RAISE:
        return raise(r, expr);
    case EXPR_NOT:
        value = eval(r, expr->a);
        return bool_value(!tern_value_true(&value));
    case EXPR_NEGATE:
        value = eval(r, expr->a);
        return r->status ? undefined : arithmetic(r, OP_SUB, &(tern_value){.kind = VALUE_INT}, &value);
    case EXPR_BINARY:
        return eval_binary(r, expr);
    case EXPR_IF:
        value = eval(r, expr->b);
        return tern_value_true(&value) ? eval(r, expr->a) : expr->c ? eval(r, expr->c) : undefined;
    default:
        return eval_access(r, expr);
    }
}

static void put(tern_render *r, const tern_string *string) {
    if (r->status || string->size == 0)
        return;
    if (string->size > r->memory_left / 2) {
        tern_render_fail(r, TERN_ERR_UNSUPPORTED, "the template makes too much text");
        return;
    }
    r->memory_left -= 2 * string->size;
    if (!tern_buffer_append(r->text, string->bytes, string->size) ||
        !tern_buffer_append(r->taint, string->bytes, string->size)) {
        r->status = tern_fail_memory(r->err, "the chat template");
        return;
    }
    tern_string_write_taint(string, (uint8_t *)r->taint->bytes + r->taint->size - string->size);
}

static void run(tern_render *r, const tern_stmt *stmt);

/* A variable that is set in a loop's body lives until the end of that turn; if and set make no scope. */
static void run_for(tern_render *r, const tern_stmt *stmt) {
    tern_value list = eval(r, stmt->expr);
    if (r->status || list.kind == VALUE_UNDEFINED)
        return;
    if (list.kind != VALUE_LIST) {
        tern_render_fail(r, TERN_ERR_UNSUPPORTED, "for cannot go over %s", tern_value_name(&list));
        return;
    }
    size_t outer = r->scope, mark = r->n_variables;
    for (size_t i = 0; i < list.list.n && tern_render_work(r, 1); i++) {
        r->scope = r->n_variables = mark;
        tern_value loop = {.kind = VALUE_LOOP, {.loop = {i, list.list.n}}};
        if (set_variable(r, tern_view_of("loop"), loop) && set_variable(r, stmt->text, list.list.items[i]))
            run(r, stmt->body);
    }
    r->n_variables = mark;
    r->scope = outer;
}

static void run_if(tern_render *r, const tern_stmt *stmt) {
    for (; stmt && r->status == TERN_OK; stmt = stmt->otherwise) {
        tern_value condition = bool_value(true);
        if (stmt->expr)
            condition = eval(r, stmt->expr);
        if (r->status == TERN_OK && tern_value_true(&condition)) {
            run(r, stmt->body);
            return;
        }
    }
}

static void run(tern_render *r, const tern_stmt *stmt) {
    for (; stmt && tern_render_work(r, 1); stmt = stmt->next) {
        r->line = stmt->line;
        tern_value value;
        tern_string string;
        switch (stmt->kind) {
        case STMT_TEXT:
            put(r, &(tern_string){.bytes = stmt->text.bytes, .size = stmt->text.size});
            break;
        case STMT_OUTPUT:
            value = eval(r, stmt->expr);
            if (r->status == TERN_OK && tern_value_to_string(r, &value, &string))
                put(r, &string);
            break;
        case STMT_SET:
            value = eval(r, stmt->expr);
            if (r->status == TERN_OK)
                set_variable(r, stmt->text, value);
            break;
        case STMT_FOR:
            run_for(r, stmt);
            break;
        case STMT_IF:
            run_if(r, stmt);
            break;
        }
    }
}

static bool set_globals(tern_render *r) {
    const tern_template_input *input = r->input;
    tern_value *items = tern_render_alloc(r, (input->n_messages + 1) * sizeof *items);
    if (!items)
        return false;
    for (size_t i = 0; i < input->n_messages; i++)
        items[i] = (tern_value){.kind = VALUE_MESSAGE, {.message = &input->messages[i]}};
    tern_value messages = {.kind = VALUE_LIST, {.list = {items, input->n_messages}}};
    bool ok = set_variable(r, tern_view_of("messages"), messages) &&
              set_variable(r, tern_view_of("add_generation_prompt"), bool_value(input->generation_prompt));
    if (ok && input->bos_token.bytes)
        ok = set_variable(r, tern_view_of("bos_token"),
                          tern_value_string(input->bos_token.bytes, input->bos_token.size, false));
    if (ok && input->eos_token.bytes)
        ok = set_variable(r, tern_view_of("eos_token"),
                          tern_value_string(input->eos_token.bytes, input->eos_token.size, false));
    return ok;
}

tern_status tern_template_render(const tern_template *parsed, const tern_template_input *input, tern_buffer *text,
                                 tern_buffer *taint, tern_error *err) {
    *text = *taint = (tern_buffer){0};
    uint64_t bytes = 0;
    for (size_t i = 0; i < input->n_messages; i++) {
        if (!input->messages[i].role || !input->messages[i].content)
            return tern_fail(err, TERN_ERR_ARGUMENT, "message %zu has no role or no content", i + 1);
        bytes += strlen(input->messages[i].role) + strlen(input->messages[i].content) + sizeof(tern_value);
    }
    tern_render r = {.input = input,
                     .memory_left = BASE_MEMORY + MEMORY_PER_BYTE * bytes,
                     .work_left = BASE_WORK + (uint64_t)WORK_PER_MESSAGE * input->n_messages + 8 * bytes,
                     .text = text,
                     .taint = taint,
                     .line = 1,
                     .err = err};
    if (set_globals(&r))
        run(&r, parsed->body);
    free(r.variables);
    tern_arena_free(&r.arena);
    if (r.status) {
        tern_buffer_free(text);
        tern_buffer_free(taint);
    }
    return r.status;
}
