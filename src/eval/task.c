#include "eval/task.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/status.h"

enum { MAX_FILE_BYTES = 1 << 20, MAX_TOKENS = 1 << 20, MAX_FILTER_NAME = 30 };

static const char *const kinds[] = {"choice", "partial", "continuation", "generate", "instructions", "samples", NULL};
static const char *const metrics[] = {"acc",
                                      "acc_norm",
                                      "mc2",
                                      "perplexity",
                                      "exact_match",
                                      "prompt_level_strict_acc",
                                      "inst_level_strict_acc",
                                      "prompt_level_loose_acc",
                                      "inst_level_loose_acc",
                                      "pass@1",
                                      "score",
                                      NULL};

const char *tern_metric_name(tern_metric metric) { return metrics[metric]; }

const char *tern_published_unit(const char *metric) {
    return strcmp(metric, metrics[TERN_METRIC_SCORE]) == 0 ? "points" : "percent";
}

bool tern_task_generates(const tern_task *task) {
    return task->kind == TERN_TASK_GENERATE || task->kind == TERN_TASK_INSTRUCTIONS || task->kind == TERN_TASK_SAMPLES;
}

/* Which metrics a kind has, as bits. */
static const unsigned metrics_of[] = {
    [TERN_TASK_CHOICE] = 1 << TERN_METRIC_ACC | 1 << TERN_METRIC_ACC_NORM | 1 << TERN_METRIC_MC2,
    [TERN_TASK_PARTIAL] = 1 << TERN_METRIC_ACC,
    [TERN_TASK_CONTINUATION] = 1 << TERN_METRIC_ACC | 1 << TERN_METRIC_PERPLEXITY,
    [TERN_TASK_GENERATE] = 1 << TERN_METRIC_EXACT_MATCH,
    [TERN_TASK_INSTRUCTIONS] = 1 << TERN_METRIC_PROMPT_STRICT | 1 << TERN_METRIC_INSTRUCTION_STRICT |
                               1 << TERN_METRIC_PROMPT_LOOSE | 1 << TERN_METRIC_INSTRUCTION_LOOSE,
    [TERN_TASK_SAMPLES] = 1 << TERN_METRIC_PASS | 1 << TERN_METRIC_SCORE,
};

/* What is read, for messages: "FILE: forms 2". */
typedef struct reader {
    const char *where, *part;
    size_t number; /* of the part, from 1; 0: the whole task */
    tern_error *err;
    tern_status status; /* of the first failure, after which nothing is read any more */
} reader;

static void complain(reader *r, const char *key, const char *problem) {
    if (r->status)
        return;
    if (r->number)
        r->status =
            tern_fail(r->err, TERN_ERR_FORMAT, "%s: %s %zu: '%s' %s", r->where, r->part, r->number, key, problem);
    else
        r->status = tern_fail(r->err, TERN_ERR_FORMAT, "%s: '%s' %s", r->where, key, problem);
}

/* A misspelt key would silently be no key. `keys` is ended by NULL. */
static bool check_keys(reader *r, const json_t *object, const char *what, const char *const *keys) {
    const char *key;
    const json_t *value;
    if (!json_is_object(object))
        complain(r, what, "must be an object");
    json_object_foreach((json_t *)object, key, value) {
        size_t i = 0;
        while (keys[i] && strcmp(keys[i], key) != 0)
            i++;
        if (!keys[i])
            complain(r, key, "is no key of task files");
    }
    return !r->status;
}

static const char *get_text(reader *r, const json_t *object, const char *key, bool needed) {
    const json_t *value = json_object_get(object, key);
    if (!value && needed)
        complain(r, key, "is missing");
    if (value && !json_is_string(value))
        complain(r, key, "must be a text");
    return json_string_value(value);
}

static int64_t get_number(reader *r, const json_t *object, const char *key, int64_t most, int64_t otherwise) {
    const json_t *value = json_object_get(object, key);
    if (!value)
        return otherwise;
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > most)
        complain(r, key, "is no whole number, or too large");
    return json_integer_value(value);
}

static bool get_flag(reader *r, const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (value && !json_is_boolean(value))
        complain(r, key, "must be true or false");
    return json_is_true(value);
}

static size_t get_texts(reader *r, const json_t *object, const char *key, const char **texts, size_t most) {
    const json_t *array = json_object_get(object, key);
    size_t n = json_array_size(array);
    if (array && (!json_is_array(array) || n > most)) {
        complain(r, key, "must be an array of a few texts");
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        texts[i] = json_string_value(json_array_get(array, i));
        if (!texts[i])
            complain(r, key, "must be an array of a few texts");
    }
    return r->status ? 0 : n;
}

static size_t get_word(reader *r, const json_t *object, const char *key, const char *const *words) {
    const char *text = get_text(r, object, key, true);
    for (size_t i = 0; text && words[i]; i++)
        if (strcmp(words[i], text) == 0)
            return i;
    complain(r, key, "is none of the words that it can be (docs/EVAL.md)");
    return 0;
}

/* ----------------------------------------------------------------------- parts */

static bool is_text_or_array(const json_t *value) { return !value || json_is_string(value) || json_is_array(value); }

static void read_form(reader *r, const json_t *object, const tern_task *task, bool of_shots, tern_task_form *form) {
    static const char *const keys[] = {"needs",       "prompt",  "continuation", "target",  "gold",
                                       "gold_labels", "choices", "contexts",     "targets", "true_labels",
                                       "filter",      "id",      "turns",        "sample",  NULL};
    if (!check_keys(r, object, "forms", keys))
        return;
    form->n_needs = get_texts(r, object, "needs", form->needs, TERN_TASK_MAX_LIST);
    form->prompt = get_text(r, object, "prompt", false);
    form->continuation = get_text(r, object, "continuation", false);
    form->target = get_text(r, object, "target", false);
    form->targets = get_text(r, object, "targets", false);
    form->filter = get_text(r, object, "filter", false);
    form->gold_at = json_is_integer(json_object_get(object, "gold")) ? get_number(r, object, "gold", 255, -1) : -1;
    form->gold = form->gold_at < 0 ? get_text(r, object, "gold", false) : NULL;
    form->true_labels = get_text(r, object, "true_labels", false);
    form->id = get_text(r, object, "id", false);
    form->turns = get_text(r, object, "turns", false);
    form->sample = json_object_get(object, "sample");
    form->gold_labels = json_object_get(object, "gold_labels");
    form->choices = json_object_get(object, "choices");
    form->contexts = json_object_get(object, "contexts");
    if (!is_text_or_array(form->gold_labels) || !is_text_or_array(form->choices) || !is_text_or_array(form->contexts))
        complain(r, "choices, contexts or gold_labels", "must be a field or an array");
    if (of_shots && form->prompt && form->target)
        return; /* which is all that an example needs */
    bool mc2 = task->n_metrics == 1 && task->metrics[0] == TERN_METRIC_MC2;
    if (task->kind == TERN_TASK_SAMPLES && (!form->id || !json_is_object(form->sample)))
        complain(r, form->id ? "sample" : "id", "is missing, or no object");
    if (task->kind == TERN_TASK_PARTIAL ? !form->contexts : !form->prompt && !form->turns)
        complain(r, task->kind == TERN_TASK_PARTIAL ? "contexts" : "prompt", "is missing");
    if (task->kind == TERN_TASK_CHOICE && !form->choices)
        complain(r, "choices", "is missing");
    if ((task->kind == TERN_TASK_CHOICE || task->kind == TERN_TASK_PARTIAL) && !form->gold && form->gold_at < 0 && !mc2)
        complain(r, "gold", "is missing");
    if (mc2 && !form->true_labels)
        complain(r, "true_labels", "is missing");
    if ((task->kind == TERN_TASK_PARTIAL || task->kind == TERN_TASK_CONTINUATION) && !form->continuation)
        complain(r, "continuation", "is missing");
    if (task->kind == TERN_TASK_GENERATE && !form->target && !form->targets)
        complain(r, "target", "is missing");
}

static size_t read_forms(reader *r, const tern_task *task, const char *key, bool of_shots, tern_task_form *forms) {
    const json_t *array = json_object_get(task->root, key);
    size_t n = json_array_size(array);
    if (array && (!json_is_array(array) || n > TERN_TASK_MAX_FORMS))
        complain(r, key, "must be an array of a few forms");
    for (size_t i = 0; i < n && !r->status; i++) {
        r->part = key;
        r->number = i + 1;
        read_form(r, json_array_get(array, i), task, of_shots, &forms[i]);
        r->number = 0;
    }
    return r->status ? 0 : n;
}

static void read_generation(reader *r, tern_task *task) {
    static const char *const keys[] = {"name", "regex", "last", "strip", "boxed", NULL};
    const json_t *array = json_object_get(task->root, "filters");
    size_t n = json_array_size(array);
    task->n_until = get_texts(r, task->root, "until", task->until, TERN_TASK_MAX_LIST);
    task->n_ignored = get_texts(r, task->root, "ignore", task->ignored, TERN_TASK_MAX_LIST);
    task->ignore_case = get_flag(r, task->root, "ignore_case");
    task->ignore_punctuation = get_flag(r, task->root, "ignore_punctuation");
    task->math = get_flag(r, task->root, "math");
    task->no_chat = json_object_get(task->root, "chat") && !get_flag(r, task->root, "chat");
    task->max_tokens = get_number(r, task->root, "max_tokens", MAX_TOKENS, 256);
    if (array && (!json_is_array(array) || n > TERN_TASK_MAX_METRICS))
        complain(r, "filters", "must be an array of a few filters");
    for (size_t i = 0; i < n && !r->status; i++) {
        const json_t *object = json_array_get(array, i);
        tern_task_filter *filter = &task->filters[task->n_filters++];
        r->part = "filters";
        r->number = i + 1;
        if (!check_keys(r, object, "filters", keys))
            return;
        filter->name = get_text(r, object, "name", n > 1);
        filter->regex = get_text(r, object, "regex", false);
        filter->last = get_flag(r, object, "last");
        filter->strip = get_flag(r, object, "strip") || (filter->regex && !json_object_get(object, "strip"));
        filter->boxed = get_flag(r, object, "boxed");
        r->number = 0;
    }
    if (n == 0)
        task->n_filters = 1; /* the text as it is */
    for (size_t i = 0; i < task->n_filters; i++) {
        if (!task->filters[i].name)
            task->filters[i].name = "";
        bool good = strlen(task->filters[i].name) <= MAX_FILTER_NAME;
        for (size_t k = 0; k < i; k++)
            good &= strcmp(task->filters[k].name, task->filters[i].name) != 0;
        if (!good)
            complain(r, "filters", "need different names of at most 30 bytes");
    }
}

static void read_published(reader *r, tern_task *task) {
    static const char *const keys[] = {"metric", "percent", "points", "shots", "chat", "source", NULL};
    const json_t *object = json_object_get(task->root, "published");
    if (!object || !check_keys(r, object, "published", keys))
        return;
    task->published_metric = get_text(r, object, "metric", true);
    const char *unit = task->published_metric ? tern_published_unit(task->published_metric) : "percent";
    const json_t *value = json_object_get(object, unit);
    if (!json_is_number(value) || json_object_get(object, "percent") != (unit[1] == 'e' ? value : NULL))
        complain(r, unit, "of 'published' must be there, a number: 'points' of a score, 'percent' of anything else");
    task->published = json_number_value(value);
    task->published_source = get_text(r, object, "source", true);
    task->published_shots = get_number(r, object, "shots", TERN_TASK_MAX_SHOTS, 0);
    task->published_chat = get_flag(r, object, "chat");
}

static void read_metrics(reader *r, tern_task *task) {
    const char *names[TERN_TASK_MAX_METRICS];
    size_t n = get_texts(r, task->root, "metrics", names, TERN_TASK_MAX_METRICS);
    for (size_t i = 0; i < n; i++) {
        size_t m = 0;
        while (metrics[m] && strcmp(metrics[m], names[i]) != 0)
            m++;
        if (!metrics[m] || !(metrics_of[task->kind] >> m & 1))
            complain(r, names[i], "is no metric of this kind of task");
        else
            task->metrics[task->n_metrics++] = (tern_metric)m;
    }
    if (n == 0)
        complain(r, "metrics", "is missing");
    if (task->kind == TERN_TASK_SAMPLES && n > 1)
        complain(r, "metrics", "must be one: an answer that others judge gets one value");
}

/* -------------------------------------------------------------------- the whole */

bool tern_task_is_name(const char *text) {
    size_t n = strlen(text);
    return n > 0 && n <= 40 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-") == n;
}

static bool is_file_name(const char *text) { return *text && *text != '.' && !strchr(text, '/') && strlen(text) < 200; }

static void read_names(reader *r, tern_task *task) {
    const json_t *root = task->root;
    task->name = get_text(r, root, "name", true);
    task->title = get_text(r, root, "title", false);
    task->data = get_text(r, root, "data", true);
    task->shots_data = get_text(r, root, "shots_data", false);
    task->shots_by = get_text(r, root, "shots_by", false);
    task->description = get_text(r, root, "description", false);
    task->delimiter = get_text(r, root, "delimiter", false);
    task->shots_delimiter = get_text(r, root, "shots_delimiter", false);
    task->notes = get_text(r, root, "notes", false);
    task->n_shots = (size_t)get_number(r, root, "shots", TERN_TASK_MAX_SHOTS, 0);
    task->first_shots = get_flag(r, root, "first_shots");
    task->other_shots = get_flag(r, root, "other_shots");
    if (!task->delimiter)
        task->delimiter = " ";
    if (!task->shots_delimiter)
        task->shots_delimiter = "\n\n";
    if (!task->title)
        task->title = task->name;
    if (!r->status && !tern_task_is_name(task->name))
        complain(r, "name", "must be of a-z, 0-9, _ and -");
    if (!r->status && (!is_file_name(task->data) || (task->shots_data && !is_file_name(task->shots_data))))
        complain(r, "data", "must be the name of a file, without a folder");
}

tern_status tern_task_parse(json_t *root, const char *where, tern_task *task, tern_error *err) {
    static const char *const keys[] = {"name",       "title",           "kind",   "metrics",     "data",
                                       "shots_data", "shots_by",        "shots",  "first_shots", "description",
                                       "delimiter",  "shots_delimiter", "forms",  "shot_forms",  "until",
                                       "max_tokens", "filters",         "ignore", "ignore_case", "ignore_punctuation",
                                       "math",       "published",       "notes",  "chat",        "other_shots",
                                       NULL};
    *task = (tern_task){.root = root};
    snprintf(task->where, sizeof task->where, "%s", where);
    reader r = {.where = task->where, .err = err};
    if (check_keys(&r, root, "the task", keys)) {
        read_names(&r, task);
        if (!r.status)
            snprintf(task->where, sizeof task->where, "%s (task %s)", where, task->name);
        task->kind = (tern_task_kind)get_word(&r, root, "kind", kinds);
        read_metrics(&r, task);
        read_generation(&r, task);
        task->n_forms = read_forms(&r, task, "forms", false, task->forms);
        task->n_shot_forms = read_forms(&r, task, "shot_forms", true, task->shot_forms);
        read_published(&r, task);
        if (task->n_forms == 0)
            complain(&r, "forms", "is missing");
        if (task->kind == TERN_TASK_INSTRUCTIONS && task->shots_data)
            complain(&r, "shots_data", "means nothing to tasks of instructions");
    }
    if (r.status)
        tern_task_free(task);
    return r.status;
}

tern_status tern_task_read(const char *path, tern_task *task, tern_error *err) {
    char *text;
    size_t n_bytes;
    json_error_t where;
    tern_status status = tern_read_file(path, MAX_FILE_BYTES, &text, &n_bytes, err);
    if (status)
        return status;
    json_t *root = tern_json_load(text, n_bytes, JSON_REJECT_DUPLICATES, &where);
    free(text);
    if (!root)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: line %d: %s", path, where.line, where.text);
    return tern_task_parse(root, path, task, err);
}

void tern_task_free(tern_task *task) {
    json_decref(task->root);
    *task = (tern_task){0};
}

void tern_tasks_free(tern_task *tasks, size_t n_tasks) {
    for (size_t i = 0; i < n_tasks; i++)
        tern_task_free(&tasks[i]);
    free(tasks);
}
