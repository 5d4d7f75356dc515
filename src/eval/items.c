#include "eval/items.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"
#include "eval/instructions.h"
#include "eval/shots.h"
#include "eval/template.h"

enum { MAX_DATA_BYTES = 1 << 30, MAX_CHOICES = 256 };

/* --------------------------------------------------------------------- one item */

/* The rendered template -> *text in the arena. */
static tern_status render(tern_arena *arena, const char *template, const json_t *record, const char **text,
                          tern_error *err) {
    tern_buffer out = {0};
    tern_status status = tern_record_render(template, record, &out, err);
    if (!status && !(*text = tern_arena_copy(arena, out.bytes ? out.bytes : "", out.size)))
        status = tern_fail_memory(err, "a text");
    tern_buffer_free(&out);
    return status;
}

typedef struct list {
    const char *texts[MAX_CHOICES];
    size_t n;
} list;

/* The rendered template at the list's end. */
static tern_status add_rendered(tern_arena *arena, const char *template, const json_t *record, list *to,
                                tern_error *err) {
    if (to->n == MAX_CHOICES)
        return tern_fail(err, TERN_ERR_FORMAT, "there are more than %d texts", MAX_CHOICES);
    return render(arena, template, record, &to->texts[to->n++], err);
}

static tern_status add_text(tern_arena *arena, const json_t *value, const char *field, list *to, tern_error *err) {
    if (!json_is_string(value))
        return tern_fail(err, TERN_ERR_FORMAT, "field '%s' holds something that is no text", field);
    if (to->n == MAX_CHOICES)
        return tern_fail(err, TERN_ERR_FORMAT, "field '%s' holds more than %d texts", field, MAX_CHOICES);
    to->texts[to->n] = tern_arena_copy(arena, json_string_value(value), json_string_length(value));
    return to->texts[to->n++] ? TERN_OK : tern_fail_memory(err, "a text");
}

/* The texts of a field, or those of them for which the field `where` has the number `is`. */
static tern_status add_field(tern_arena *arena, const json_t *record, const char *field, const char *where,
                             json_int_t is, list *to, tern_error *err) {
    const json_t *array = tern_record_field(record, field), *labels = where ? tern_record_field(record, where) : NULL;
    if (!array)
        return tern_fail(err, TERN_ERR_FORMAT, "field '%s' is missing", field);
    if (!json_is_array(array))
        return tern_fail(err, TERN_ERR_FORMAT, "field '%s' is no array", field);
    if (where && json_array_size(labels) != json_array_size(array))
        return tern_fail(err, TERN_ERR_FORMAT, "field '%s' is no array as long as '%s'", where, field);
    tern_status status = TERN_OK;
    for (size_t i = 0; !status && i < json_array_size(array); i++)
        if (!where || json_integer_value(json_array_get(labels, i)) == is)
            status = add_text(arena, json_array_get(array, i), field, to, err);
    return status;
}

/* A field's name, or an array of templates and {"each": field, "where": field, "is": number}. */
static tern_status make_list(tern_arena *arena, const json_t *what, const json_t *record, list *to, tern_error *err) {
    tern_status status = TERN_OK;
    if (json_is_string(what))
        return add_field(arena, record, json_string_value(what), NULL, 0, to, err);
    for (size_t i = 0; !status && i < json_array_size(what); i++) {
        const json_t *part = json_array_get(what, i);
        const char *each = json_string_value(json_object_get(part, "each"));
        if (each)
            status = add_field(arena, record, each, json_string_value(json_object_get(part, "where")),
                               json_integer_value(json_object_get(part, "is")), to, err);
        else if (!json_is_string(part))
            status = tern_fail(err, TERN_ERR_FORMAT, "the task file's list of choices holds what is no template");
        else
            status = add_rendered(arena, json_string_value(part), record, to, err);
    }
    return status;
}

static bool same_value(const json_t *a, const json_t *b) {
    char text[32];
    if (json_is_integer(a) && json_is_string(b)) {
        snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(a));
        return strcmp(text, json_string_value(b)) == 0;
    }
    return json_equal(a, b);
}

/* The right one of n choices: a place, also as text or truth, or a label whose place it is. */
static tern_status find_gold(const tern_task_form *form, const json_t *record, size_t n, size_t *gold,
                             tern_error *err) {
    const json_t *value = form->gold ? tern_record_field(record, form->gold) : NULL, *labels = form->gold_labels;
    if (form->gold_at >= 0 && (size_t)form->gold_at < n) {
        *gold = (size_t)form->gold_at;
        return TERN_OK;
    }
    if (!form->gold)
        return tern_fail(err, TERN_ERR_FORMAT, "there are only %zu choices", n);
    if (!value)
        return tern_fail(err, TERN_ERR_FORMAT, "field '%s' is missing", form->gold);
    *gold = n;
    if (labels) {
        labels = json_is_string(labels) ? tern_record_field(record, json_string_value(labels)) : labels;
        for (size_t i = 0; i < json_array_size(labels) && *gold == n; i++)
            if (same_value(value, json_array_get(labels, i)))
                *gold = i;
    } else if (json_is_boolean(value)) {
        *gold = json_is_true(value);
    } else if (json_is_integer(value) && json_integer_value(value) >= 0) {
        *gold = (size_t)json_integer_value(value);
    } else if (json_is_string(value)) {
        char *end;
        unsigned long place = strtoul(json_string_value(value), &end, 10);
        *gold = end != json_string_value(value) && !*end ? place : n;
    }
    if (*gold >= n)
        return tern_fail(err, TERN_ERR_FORMAT, "field '%s' names none of the %zu choices", form->gold, n);
    return TERN_OK;
}

/* What a form makes of a record. */
typedef struct made {
    list contexts, choices, targets, turns; /* one context; of PARTIAL several, and one choice: the continuation */
    size_t gold;
} made;

static tern_status filter_all(tern_arena *arena, const char *filter, list *texts, tern_error *err) {
    tern_status status = TERN_OK;
    for (size_t i = 0; !status && i < texts->n; i++) {
        tern_buffer text = {0};
        status = tern_buffer_text(&text, texts->texts[i]) ? tern_text_filter(filter, &text, err)
                                                          : tern_fail_memory(err, "a text");
        if (!status && !(texts->texts[i] = tern_arena_copy(arena, text.bytes ? text.bytes : "", text.size)))
            status = tern_fail_memory(err, "a text");
        tern_buffer_free(&text);
    }
    return status;
}

static tern_status make_parts(tern_arena *arena, const tern_task *task, const tern_task_form *form,
                              const json_t *record, made *m, tern_error *err) {
    tern_status status = TERN_OK;
    *m = (made){.contexts.n = 0};
    if (form->prompt)
        status = add_rendered(arena, form->prompt, record, &m->contexts, err);
    if (!status && form->target)
        status = add_rendered(arena, form->target, record, &m->targets, err);
    if (!status && form->targets)
        status = add_field(arena, record, form->targets, NULL, 0, &m->targets, err);
    if (!status && task->kind == TERN_TASK_GENERATE && m->targets.n == 0)
        return tern_fail(err, TERN_ERR_FORMAT, "field '%s' is an empty array", form->targets);
    if (!status && form->turns)
        status = add_field(arena, record, form->turns, NULL, 0, &m->turns, err);
    if (!status && form->turns && m->turns.n == 0)
        return tern_fail(err, TERN_ERR_FORMAT, "field '%s' is an empty array", form->turns);
    if (!status && form->contexts)
        status = make_list(arena, form->contexts, record, &m->contexts, err);
    if (!status && form->choices)
        status = make_list(arena, form->choices, record, &m->choices, err);
    if (!status && form->continuation)
        status = add_rendered(arena, form->continuation, record, &m->choices, err);
    if (!status && form->filter)
        status = filter_all(arena, form->filter, &m->contexts, err);
    if (!status && form->filter)
        status = filter_all(arena, form->filter, &m->choices, err);
    if (status || (!form->gold && form->gold_at < 0))
        return status;
    size_t n = task->kind == TERN_TASK_PARTIAL ? m->contexts.n : m->choices.n;
    if (n < 2)
        return tern_fail(err, TERN_ERR_FORMAT, "there are fewer than two choices");
    return find_gold(form, record, n, &m->gold, err);
}

/* A turn of the item's conversation, for which make_messages() has made room; the text is copied. */
static tern_status add_message(tern_item *item, const char *role, const char *text, tern_error *err) {
    const char *copy = tern_arena_copy(&item->arena, text, strlen(text));
    if (!copy)
        return tern_fail_memory(err, "an item");
    item->messages[item->n_messages++] = (tern_message){role, copy};
    return TERN_OK;
}

/* An example: its question and its answer, as text and, if `item` is not NULL, as two turns of its conversation. */
static tern_status put_shot(const tern_task *task, const made *m, tern_item *item, tern_buffer *out, tern_error *err) {
    bool partial = task->kind == TERN_TASK_PARTIAL;
    const char *question = m->contexts.texts[partial ? m->gold : 0];
    const char *answer = m->targets.n ? m->targets.texts[0] : m->choices.texts[partial ? 0 : m->gold];
    if (!question || !answer)
        return tern_fail(err, TERN_ERR_FORMAT, "nothing says what %s an example has: --shots 0, or 'shot_forms'",
                         question ? "answer" : "question");
    tern_buffer_text(out, question);
    /* a continuation that is scored as it stands has its blank of its own */
    tern_buffer_text(out, task->kind == TERN_TASK_CONTINUATION ? "" : task->delimiter);
    tern_buffer_text(out, answer);
    tern_buffer_text(out, task->shots_delimiter);
    tern_status status = out->failed ? tern_fail_memory(err, "an example") : TERN_OK;
    if (!status && item)
        status = add_message(item, "user", question, err);
    return !status && item ? add_message(item, "assistant", answer, err) : status;
}

static tern_status add_shot(const tern_dataset *d, size_t place, tern_item *item, tern_buffer *out, tern_error *err) {
    tern_arena arena = {0};
    made *m = malloc(sizeof *m);
    tern_status status = m ? make_parts(&arena, d->task, d->shot_form, json_array_get(d->shots, place), m, err)
                           : tern_fail_memory(err, "an example");
    if (!status)
        status = put_shot(d->task, m, item, out, err);
    free(m);
    tern_arena_free(&arena);
    return status;
}

static tern_status make_true(tern_arena *arena, const tern_dataset *d, const json_t *record, size_t n, tern_item *item,
                             tern_error *err) {
    const json_t *labels = tern_record_field(record, d->form->true_labels);
    if (json_array_size(labels) != n)
        return tern_fail(err, TERN_ERR_FORMAT, "field '%s' is no array of %zu numbers, one for each choice",
                         d->form->true_labels, n);
    bool *is_true = tern_arena_alloc(arena, n * sizeof *is_true);
    if (!is_true)
        return tern_fail_memory(err, "an item");
    for (size_t i = 0; i < n; i++)
        is_true[i] = json_integer_value(json_array_get(labels, i)) == 1;
    item->is_true = is_true;
    return TERN_OK;
}

/* prefix + a + b in the arena */
static const char *join(tern_arena *arena, const tern_buffer *prefix, const char *a, const char *b) {
    tern_buffer text = {0};
    tern_buffer_append(&text, prefix->bytes ? prefix->bytes : "", prefix->size);
    tern_buffer_text(&text, a);
    tern_buffer_text(&text, b);
    const char *copy = text.failed ? NULL : tern_arena_copy(arena, text.bytes ? text.bytes : "", text.size);
    tern_buffer_free(&text);
    return copy;
}

static tern_status make_requests(const tern_dataset *d, const made *m, const tern_buffer *shots, tern_item *item,
                                 tern_error *err) {
    const tern_buffer none = {0};
    bool partial = d->task->kind == TERN_TASK_PARTIAL;
    size_t n = partial ? m->contexts.n : m->choices.n;
    if (n == 0)
        return tern_fail(err, TERN_ERR_FORMAT, "there are no choices");
    item->requests = tern_arena_alloc(&item->arena, n * sizeof *item->requests);
    item->n_requests = n;
    if (!item->requests)
        return tern_fail_memory(err, "an item");
    for (size_t i = 0; i < n; i++) {
        const char *choice = m->choices.texts[partial ? 0 : i], *context = m->contexts.texts[partial ? i : 0];
        const char *delimiter = d->task->kind == TERN_TASK_CONTINUATION ? "" : d->task->delimiter;
        tern_eval_request *request = &item->requests[i];
        request->context = i && !partial ? item->requests[0].context : join(&item->arena, shots, context, "");
        request->continuation = join(&item->arena, &none, delimiter, choice);
        request->n_characters = tern_count_characters(choice);
        if (!request->context || !request->continuation)
            return tern_fail_memory(err, "an item");
        if (!*request->context || !*request->continuation)
            return tern_fail(err, TERN_ERR_FORMAT, "%s is empty", *request->context ? "a continuation" : "the context");
        if (request->n_characters == 0)
            return tern_fail(err, TERN_ERR_FORMAT, "choice %zu is empty", i + 1);
    }
    return TERN_OK;
}

static const char **copy_list(tern_arena *arena, const list *texts) {
    const char **copy = tern_arena_alloc(arena, (texts->n + 1) * sizeof *copy);
    if (copy)
        memcpy(copy, texts->texts, texts->n * sizeof *copy);
    return copy;
}

static tern_status make_prompt(const tern_dataset *d, const made *m, const tern_buffer *shots, tern_item *item,
                               tern_error *err) {
    item->context = join(&item->arena, shots, d->form->turns ? "" : m->contexts.texts[0], "");
    item->targets = copy_list(&item->arena, &m->targets);
    item->n_targets = m->targets.n;
    item->turns = copy_list(&item->arena, &m->turns);
    item->n_turns = m->turns.n;
    if (!item->context || !item->targets || !item->turns)
        return tern_fail_memory(err, "an item");
    return d->form->turns ? TERN_OK : add_message(item, "user", m->contexts.texts[0], err);
}

tern_status tern_item_make(const tern_dataset *d, size_t index, tern_item *item, tern_error *err) {
    const json_t *record = json_array_get(d->records, index);
    const bool generates = tern_task_generates(d->task);
    tern_buffer shots = {0};
    tern_status status = TERN_OK;
    made *m = malloc(sizeof *m);
    *item = (tern_item){.n_requests = 0};
    item->messages = tern_arena_alloc(&item->arena, (2 * d->n_shots + 2) * sizeof *item->messages);
    if (!m || !item->messages)
        status = tern_fail_memory(err, "an item");
    if (!status && d->task->description)
        status = tern_record_render(d->task->description, record, &shots, err);
    item->n_description = shots.size;
    if (!status && generates && shots.size)
        status = add_message(item, "system", shots.bytes, err);
    for (size_t i = 0; !status && i < d->n_shots; i++)
        status = add_shot(d, d->picks[index * d->n_shots + i], generates ? item : NULL, &shots, err);
    if (!status)
        status = make_parts(&item->arena, d->task, d->form, record, m, err);
    if (!status && d->task->kind == TERN_TASK_INSTRUCTIONS)
        status = tern_instructions_read(record, &item->n_instructions, &item->unchecked_why, &item->unchecked, err);
    if (!status && generates) {
        status = make_prompt(d, m, &shots, item, err);
        if (!status && d->form->id)
            status = render(&item->arena, d->form->id, record, &item->id, err);
    } else if (!status) {
        item->gold = m->gold;
        status = make_requests(d, m, &shots, item, err);
        if (!status && d->form->true_labels)
            status = make_true(&item->arena, d, record, item->n_requests, item, err);
    }
    if (status) {
        tern_error_prefix(err, "%s: line %zu", d->path, d->lines[index]);
        tern_item_free(item);
    }
    free(m);
    tern_buffer_free(&shots);
    return status;
}

void tern_item_free(tern_item *item) {
    tern_arena_free(&item->arena);
    *item = (tern_item){.n_requests = 0};
}

/* ---------------------------------------------------------------------- reading */

/* JSON lines -> an array and, if wanted, the line of each. Blank lines do not count. */
static tern_status read_lines(const char *path, json_t **records, size_t **lines, tern_hash *hash, tern_error *err) {
    char *text;
    size_t n_bytes, capacity = 0, number = 1;
    tern_status status = tern_read_file(path, MAX_DATA_BYTES, &text, &n_bytes, err);
    if (status)
        return status;
    tern_hash_add(hash, text, n_bytes);
    json_t *array = json_array();
    for (char *line = text, *stop = text + n_bytes, *end; !status && line < stop; line = end + 1, number++) {
        end = memchr(line, '\n', (size_t)(stop - line));
        end = end ? end : stop;
        size_t n = (size_t)(end - line);
        if (tern_text_begin(line, n) == n)
            continue;
        json_error_t where;
        json_t *record = tern_json_load(line, n, 0, &where);
        size_t count = json_array_size(array);
        if (!record)
            status = tern_fail(err, TERN_ERR_FORMAT, "%s: line %zu: %s", path, number, where.text);
        else if (!json_is_object(record))
            status = tern_fail(err, TERN_ERR_FORMAT, "%s: line %zu is no JSON object", path, number);
        else if (!tern_grow_array((void **)lines, &capacity, count + 1, sizeof **lines) ||
                 json_array_append(array, record))
            status = tern_fail_memory(err, path);
        else
            (*lines)[count] = number;
        json_decref(record);
    }
    free(text);
    if (!status && json_array_size(array) == 0)
        status = tern_fail(err, TERN_ERR_FORMAT, "%s: there are no records in it", path);
    *records = array;
    return status;
}

/* The first form whose fields are all in the record. */
static const tern_task_form *find_form(const tern_task_form *forms, size_t n_forms, const json_t *record) {
    for (size_t i = 0; i < n_forms; i++) {
        size_t k = 0;
        while (k < forms[i].n_needs && tern_record_field(record, forms[i].needs[k]))
            k++;
        if (k == forms[i].n_needs)
            return &forms[i];
    }
    return NULL;
}

static tern_status complain_of_form(const tern_dataset *d, const char *path, size_t line, tern_error *err) {
    char needs[300];
    size_t used = 0;
    needs[0] = 0;
    for (size_t i = 0; i < d->task->n_forms && used < sizeof needs; i++) {
        used += (size_t)snprintf(needs + used, sizeof needs - used, "%s", i ? "; or " : "");
        for (size_t k = 0; k < d->task->forms[i].n_needs && used < sizeof needs; k++)
            used +=
                (size_t)snprintf(needs + used, sizeof needs - used, "%s%s", k ? ", " : "", d->task->forms[i].needs[k]);
    }
    return tern_fail(err, TERN_ERR_FORMAT, "%s: line %zu has none of the sets of fields that task %s reads: %s", path,
                     line, d->task->name, needs);
}

/* As the harness draws for benchmarks whose records are no split named "test": one more than wanted, without the record
 * itself, which may be among them. If there are others like it, once more from all that are unlike it. */
static tern_status draw_others(const tern_dataset *d, tern_twister *twister, const json_t *record, size_t *picks,
                               tern_error *err) {
    const size_t n_pool = json_array_size(d->shots), wanted = d->n_shots;
    size_t drawn[TERN_TASK_MAX_SHOTS + 1], n = 0;
    if (!tern_twister_sample(twister, n_pool, wanted + 1, drawn))
        return tern_fail_memory(err, "the examples");
    for (size_t i = 0; i <= wanted && n < wanted; i++)
        if (!json_equal(record, json_array_get(d->shots, drawn[i])))
            picks[n++] = drawn[i];
    if (n == wanted)
        return TERN_OK;
    size_t *others = tern_alloc_array(n_pool, sizeof *others), n_others = 0;
    if (!others)
        return tern_fail_memory(err, "the examples");
    for (size_t i = 0; i < n_pool; i++)
        if (!json_equal(record, json_array_get(d->shots, i)))
            others[n_others++] = i;
    tern_status status = TERN_OK;
    if (n_others < wanted)
        status =
            tern_fail(err, TERN_ERR_FORMAT, "%s: %zu records are not the one that is asked, but %zu shots are wanted",
                      d->shots_path, n_others, wanted);
    else if (!tern_twister_sample(twister, n_others, wanted, picks))
        status = tern_fail_memory(err, "the examples");
    for (size_t i = 0; !status && i < wanted; i++)
        picks[i] = others[picks[i]];
    free(others);
    return status;
}

/* Which examples stand before each record. */
static tern_status pick_shots(tern_dataset *d, uint32_t seed, tern_error *err) {
    size_t n_pool = json_array_size(d->shots), cells;
    tern_twister twister;
    tern_twister_seed(&twister, seed);
    d->picks = tern_mul_size(d->n, d->n_shots, &cells) ? tern_alloc_array(cells, sizeof *d->picks) : NULL;
    if (!d->picks)
        return tern_fail_memory(err, "the examples");
    for (size_t i = 0; i < d->n; i++) {
        size_t *picks = d->picks + i * d->n_shots, n = 0;
        const char *by = d->task->shots_by;
        const json_t *group = by ? tern_record_field(json_array_get(d->records, i), by) : NULL;
        if (by && !group)
            return tern_fail(err, TERN_ERR_FORMAT, "%s: line %zu: field '%s' is missing", d->path, d->lines[i], by);
        if (d->task->other_shots && n_pool > d->n_shots) {
            tern_status status = draw_others(d, &twister, json_array_get(d->records, i), picks, err);
            if (status)
                return status;
            continue;
        }
        if (!d->task->first_shots && !d->task->other_shots && n_pool >= d->n_shots) {
            if (!tern_twister_sample(&twister, n_pool, d->n_shots, picks))
                return tern_fail_memory(err, "the examples");
            continue;
        }
        for (size_t k = 0; k < n_pool && n < d->n_shots && !d->task->other_shots; k++)
            if (!group || json_equal(group, tern_record_field(json_array_get(d->shots, k), by)))
                picks[n++] = k;
        if (n < d->n_shots)
            return tern_fail(err, TERN_ERR_FORMAT, "%s: %zu examples%s%s, but %zu shots are wanted%s", d->shots_path,
                             d->task->other_shots ? n_pool : n, group ? " for " : "",
                             json_is_string(group) ? json_string_value(group) : "", d->n_shots,
                             d->task->other_shots ? ", and one more is drawn" : "");
    }
    return TERN_OK;
}

static tern_status read_shots(tern_dataset *d, const char *folder, uint32_t seed, tern_hash *hash, tern_error *err) {
    const tern_task *task = d->task;
    size_t *lines = NULL;
    if (!task->shots_data)
        return tern_fail(err, TERN_ERR_ARGUMENT, "task %s has no examples to show: --shots 0", task->name);
    snprintf(d->shots_path, sizeof d->shots_path, "%s/%s", folder, task->shots_data);
    tern_status status = read_lines(d->shots_path, &d->shots, &lines, hash, err);
    if (!status) {
        const json_t *first = json_array_get(d->shots, 0);
        d->shot_form = find_form(task->shot_forms, task->n_shot_forms, first);
        if (!d->shot_form)
            d->shot_form = find_form(task->forms, task->n_forms, first);
        if (!d->shot_form)
            status = complain_of_form(d, d->shots_path, lines[0], err);
    }
    if (!status)
        status = pick_shots(d, seed, err);
    for (size_t i = 0; !status && i < json_array_size(d->shots); i++) {
        tern_buffer text = {0};
        status = add_shot(d, i, NULL, &text, err);
        if (status)
            tern_error_prefix(err, "%s: line %zu", d->shots_path, lines[i]);
        tern_buffer_free(&text);
    }
    free(lines);
    return status;
}

tern_status tern_dataset_read(const tern_task *task, const char *folder, size_t n_shots, uint32_t seed, tern_dataset *d,
                              tern_error *err) {
    tern_hash hash;
    *d = (tern_dataset){.task = task, .n_shots = n_shots};
    tern_hash_start(&hash);
    int length = snprintf(d->path, sizeof d->path, "%s/%s", folder, task->data);
    if (length >= (int)sizeof d->path - 220)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: the name of the folder is too long", folder);
    tern_status status = read_lines(d->path, &d->records, &d->lines, &hash, err);
    if (!status) {
        d->n = json_array_size(d->records);
        d->form = find_form(task->forms, task->n_forms, json_array_get(d->records, 0));
        if (!d->form)
            status = complain_of_form(d, d->path, d->lines[0], err);
    }
    if (!status && n_shots)
        status = read_shots(d, folder, seed, &hash, err);
    for (size_t i = 0; !status && i < d->n; i++) {
        tern_item item;
        status = tern_item_make(d, i, &item, err);
        if (!status)
            tern_item_free(&item);
    }
    d->hash = tern_hash_value(&hash);
    if (status)
        tern_dataset_free(d);
    return status;
}

void tern_dataset_free(tern_dataset *d) {
    json_decref(d->records);
    json_decref(d->shots);
    free(d->lines);
    free(d->picks);
    *d = (tern_dataset){.task = NULL};
}
