#include "eval/results.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/status.h"

enum { MAX_RECORDS = 1 << 26, MAX_FILE_BYTES = 1 << 30, MAX_WEIGHT = 1 << 16 };

/* What each line begins with: write_line() puts the objects' first key first. */
static const char beginning[] = "{\"task\":";

static void free_tally(tern_tally *tally) {
    free(tally->values);
    free(tally->done);
    free(tally->cut);
    free(tally->instructions);
    free(tally->decided[0]);
    free(tally->decided[1]);
    free(tally->gave_up);
}

void tern_results_free(tern_results *results) {
    for (size_t i = 0; i < results->n; i++)
        free_tally(&results->tallies[i]);
    free(results->tallies);
    if (results->file)
        fclose(results->file);
    *results = (tern_results){0};
}

tern_tally *tern_results_find(const tern_results *results, const char *name) {
    for (size_t i = 0; i < results->n; i++)
        if (strcmp(results->tallies[i].name, name) == 0)
            return &results->tallies[i];
    return NULL;
}

/* A copy of `wanted` with room for its values. */
static tern_tally *add_tally(tern_results *results, const tern_tally *wanted, tern_error *err) {
    tern_tally made = *wanted;
    made.values = tern_calloc_array(made.n_records * made.n_columns, sizeof *made.values);
    made.done = tern_calloc_array(made.n_records, sizeof *made.done);
    made.cut = tern_calloc_array(made.n_records, sizeof *made.cut);
    made.instructions = tern_calloc_array(made.n_records, sizeof *made.instructions);
    made.decided[0] = tern_calloc_array(made.n_records, sizeof *made.decided[0]);
    made.decided[1] = tern_calloc_array(made.n_records, sizeof *made.decided[1]);
    made.gave_up = tern_calloc_array(made.n_records, sizeof *made.gave_up);
    if (!made.values || !made.done || !made.cut || !made.instructions || !made.decided[0] || !made.decided[1] ||
        !made.gave_up ||
        !tern_grow_array((void **)&results->tallies, &results->capacity, results->n + 1, sizeof made)) {
        free_tally(&made);
        tern_fail_memory(err, "the results");
        return NULL;
    }
    results->tallies[results->n] = made;
    return &results->tallies[results->n++];
}

/* ---------------------------------------------------------------------- reading */

static bool copy_text(const json_t *object, const char *key, char *out, size_t size) {
    const char *text = json_string_value(json_object_get(object, key));
    snprintf(out, size, "%s", text ? text : "");
    return text != NULL;
}

static bool read_head(const json_t *line, tern_tally *head) {
    const json_t *metrics = json_object_get(line, "metrics"), *published = json_object_get(line, "published");
    json_int_t n_records = json_integer_value(json_object_get(line, "n_records"));
    bool good = copy_text(line, "task", head->name, sizeof head->name) &&
                copy_text(line, "config", head->config, sizeof head->config);
    copy_text(line, "title", head->title, sizeof head->title);
    copy_text(line, "model", head->model, sizeof head->model);
    head->n_shots = (size_t)json_integer_value(json_object_get(line, "shots"));
    head->n_records = n_records > 0 && n_records <= MAX_RECORDS ? (size_t)n_records : 0;
    head->n_columns = json_array_size(metrics);
    if (!good || !tern_task_is_name(head->name) || !head->n_records || !head->n_columns ||
        head->n_columns > TERN_TALLY_COLUMNS)
        return false;
    for (size_t i = 0; i < head->n_columns; i++) {
        const char *name = json_string_value(json_array_get(metrics, i));
        snprintf(head->columns[i], sizeof head->columns[i], "%s", name ? name : "");
        good &= name != NULL;
    }
    if (copy_text(published, "metric", head->published_metric, sizeof head->published_metric)) {
        copy_text(published, "source", head->published_source, sizeof head->published_source);
        head->published = json_number_value(json_object_get(published, tern_published_unit(head->published_metric)));
        head->published_shots = (size_t)json_integer_value(json_object_get(published, "shots"));
    }
    return good;
}

static void set_done(tern_tally *tally, size_t index, const json_t *details) {
    json_int_t n = json_integer_value(json_object_get(details, "instructions"));
    tally->done[index] = true;
    /* a judge's line does not tell again */
    tally->gave_up[index] |= json_is_true(json_object_get(details, TERN_RESULTS_GAVE_UP));
    tally->cut[index] |= json_is_true(json_object_get(details, TERN_RESULTS_CUT));
    if (n <= 0 && tally->instructions[index])
        return;
    tally->instructions[index] = n > 0 && n < MAX_WEIGHT ? (uint32_t)n : 1;
    static const char *const lists[] = {"strict", "loose"};
    for (int i = 0; i < 2; i++) {
        const json_t *list = json_object_get(details, lists[i]);
        tally->decided[i][index] = 0;
        for (uint32_t k = 0; k < tally->instructions[index]; k++)
            tally->decided[i][index] += json_is_boolean(json_array_get(list, k));
    }
}

static bool read_item(const tern_results *results, const json_t *line) {
    const char *name = json_string_value(json_object_get(line, "task"));
    tern_tally *tally = name ? tern_results_find(results, name) : NULL;
    json_int_t index = json_integer_value(json_object_get(line, "item"));
    if (!tally || index < 0 || (uint64_t)index >= tally->n_records)
        return false;
    double *values = tally->values + (size_t)index * tally->n_columns;
    for (size_t i = 0; i < tally->n_columns; i++) {
        const json_t *value = json_object_get(line, tally->columns[i]);
        if (!json_is_number(value) && !json_is_null(value))
            return false;
        values[i] = json_is_null(value) ? NAN : json_number_value(value); /* nobody has judged it yet */
    }
    set_done(tally, (size_t)index, line);
    return true;
}

static tern_status read_line(tern_results *results, const json_t *line, const char *path, size_t number,
                             tern_error *err) {
    tern_tally head = {.n_records = 0};
    if (json_object_get(line, "item"))
        return read_item(results, line) ? TERN_OK
                                        : tern_fail(err, TERN_ERR_FORMAT,
                                                    "%s: line %zu is no result of a task that "
                                                    "is named before",
                                                    path, number);
    if (!read_head(line, &head))
        return tern_fail(err, TERN_ERR_FORMAT, "%s: line %zu is no line of results of tern eval", path, number);
    const tern_tally *there = tern_results_find(results, head.name);
    uint64_t n_records = there ? 0 : head.n_records;
    for (size_t i = 0; i < results->n; i++)
        n_records += results->tallies[i].n_records;
    if (n_records > MAX_RECORDS)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: line %zu: more than %d records in all", path, number, MAX_RECORDS);
    if (there && (strcmp(there->config, head.config) != 0 || there->n_records != head.n_records ||
                  there->n_columns != head.n_columns))
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "%s: line %zu: task %s was evaluated with another model, data or settings than before", path,
                         number, head.name);
    return there || add_tally(results, &head, err) ? TERN_OK : TERN_ERR_MEMORY;
}

tern_status tern_results_read(tern_results *results, const char *path, tern_error *err) {
    char *text;
    size_t n_bytes, number = 1;
    tern_status status = tern_read_file(path, MAX_FILE_BYTES, &text, &n_bytes, err);
    if (status)
        return status;
    for (char *line = text, *stop = text + n_bytes, *end; !status && line < stop; line = end + 1, number++) {
        json_error_t where;
        end = memchr(line, '\n', (size_t)(stop - line));
        if (!end) { /* an unfinished line, which will be cut off: if it is one */
            size_t n = (size_t)(stop - line);
            if (memcmp(line, beginning, n < sizeof beginning - 1 ? n : sizeof beginning - 1) != 0)
                status =
                    tern_fail(err, TERN_ERR_FORMAT, "%s: line %zu is no line of results of tern eval", path, number);
            break;
        }
        json_t *object = tern_json_load(line, (size_t)(end - line), 0, &where);
        if (!json_is_object(object))
            status = tern_fail(err, TERN_ERR_FORMAT, "%s: line %zu is no line of results of tern eval", path, number);
        else
            status = read_line(results, object, path, number, err);
        json_decref(object);
    }
    free(text);
    return status;
}

/* ---------------------------------------------------------------------- writing */

tern_status tern_results_open(tern_results *results, const char *path, tern_error *err) {
    snprintf(results->path, sizeof results->path, "%s", path);
    results->file = fopen(path, "a+e");
    if (!results->file)
        return tern_fail(err, TERN_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
    if (flock(fileno(results->file), LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
        return tern_fail(err, TERN_ERR_IO, "%s: another tern eval is writing to it; name another file, or wait", path);
    off_t whole = 0, at = 0;
    rewind(results->file);
    for (int c; (c = getc(results->file)) != EOF;) {
        at++;
        whole = c == '\n' ? at : whole;
    }
    if (whole != at && ftruncate(fileno(results->file), whole))
        return tern_fail(err, TERN_ERR_IO, "%s: cannot cut off its unfinished last line: %s", path, strerror(errno));
    fseeko(results->file, 0, SEEK_END);
    return TERN_OK;
}

/* Each line at once and whole: what is done stays done. Frees the object. */
static tern_status write_line(tern_results *results, json_t *object, tern_error *err) {
    char *text = object ? tern_json_dump(object, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(object);
    if (!text)
        return tern_fail_memory(err, "the results");
    bool good = fprintf(results->file, "%s\n", text) > 0 && fflush(results->file) == 0;
    free(text);
    return good ? TERN_OK : tern_fail(err, TERN_ERR_IO, "%s: cannot write: %s", results->path, strerror(errno));
}

static json_t *make_head(const tern_tally *tally) {
    json_t *metrics = json_array(), *published = NULL;
    for (size_t i = 0; i < tally->n_columns; i++)
        json_array_append_new(metrics, json_string(tally->columns[i]));
    if (tally->published_metric[0])
        published = json_pack("{s:s, s:f, s:I, s:s}", "metric", tally->published_metric,
                              tern_published_unit(tally->published_metric), tally->published, "shots",
                              (json_int_t)tally->published_shots, "source", tally->published_source);
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:o, s:o*}", "task", tally->name, "title", tally->title, "model",
                     tally->model, "config", tally->config, "shots", (json_int_t)tally->n_shots, "n_records",
                     (json_int_t)tally->n_records, "metrics", metrics, "published", published);
}

tern_status tern_results_begin(tern_results *results, const tern_tally *wanted, tern_tally **tally, tern_error *err) {
    *tally = tern_results_find(results, wanted->name);
    if (*tally && (strcmp((*tally)->config, wanted->config) != 0 || (*tally)->n_records != wanted->n_records ||
                   (*tally)->n_columns != wanted->n_columns))
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "%s: holds results of task %s with another model, data or settings; name another file",
                         results->path, wanted->name);
    if (*tally)
        return TERN_OK;
    *tally = add_tally(results, wanted, err);
    if (!*tally)
        return TERN_ERR_MEMORY;
    return results->file ? write_line(results, make_head(wanted), err) : TERN_OK;
}

tern_status tern_results_add(tern_results *results, tern_tally *tally, size_t index, const double *values,
                             json_t *details, tern_error *err) {
    memcpy(tally->values + index * tally->n_columns, values, tally->n_columns * sizeof *values);
    set_done(tally, index, details);
    if (!results->file) {
        json_decref(details);
        return TERN_OK;
    }
    json_t *line = json_pack("{s:s, s:I}", "task", tally->name, "item", (json_int_t)index);
    for (size_t i = 0; i < tally->n_columns; i++)
        json_object_set_new(line, tally->columns[i], isnan(values[i]) ? json_null() : json_real(values[i]));
    if (details)
        json_object_update(line, details);
    json_decref(details);
    return write_line(results, line, err);
}

/* ---------------------------------------------------------------------- summary */

bool tern_tally_is_share(const tern_tally *tally, size_t column) {
    return strcmp(tally->columns[column], "perplexity") != 0 && strcmp(tally->columns[column], "score") != 0;
}

/* Whether record i has a value: it was done, and somebody has judged it. */
static bool counts(const tern_tally *tally, size_t i, size_t column) {
    return tally->done[i] && !isnan(tally->values[i * tally->n_columns + column]);
}

size_t tern_tally_n_left_out(const tern_tally *tally, size_t limit) {
    size_t n = 0;
    for (size_t i = 0; i < limit && i < tally->n_records; i++) {
        bool any = false;
        for (size_t c = 0; c < tally->n_columns; c++)
            any |= counts(tally, i, c);
        n += tally->done[i] && !any;
    }
    return n;
}

size_t tern_tally_n_gave_up(const tern_tally *tally, size_t limit) {
    size_t n = 0;
    for (size_t i = 0; i < limit && i < tally->n_records; i++)
        n += tally->done[i] && tally->gave_up[i];
    return n;
}

size_t tern_tally_n_cut(const tern_tally *tally, size_t limit) {
    size_t n = 0;
    for (size_t i = 0; i < limit && i < tally->n_records; i++)
        n += tally->cut[i];
    return n;
}

/* Of all records' instructions together. lm-evaluation-harness states no standard error of that. */
static tern_tally_mean mean_of_instructions(const tern_tally *tally, size_t column, size_t limit) {
    tern_tally_mean mean = {.standard_error = NAN};
    const uint32_t *decided = tally->decided[strstr(tally->columns[column], "_loose_") != NULL];
    double followed = 0, n_decided = 0, n_all = 0;
    for (size_t i = 0; i < limit && i < tally->n_records; i++) {
        n_all += tally->done[i] ? tally->instructions[i] : 0;
        if (!counts(tally, i, column))
            continue;
        followed += round(tally->values[i * tally->n_columns + column] * decided[i]);
        n_decided += decided[i];
        mean.n++;
    }
    mean.value = n_decided > 0 ? followed / n_decided : NAN;
    mean.n_undecided = (size_t)(n_all - n_decided);
    mean.least = followed / n_all;
    mean.most = (followed + n_all - n_decided) / n_all;
    return mean;
}

/* A judge's metrics have items that are not judged yet; those of instructions, some that cannot be. */
static void bound_prompts(const tern_tally *tally, size_t limit, double sum, tern_tally_mean *mean) {
    size_t n_done = 0;
    for (size_t i = 0; i < limit && i < tally->n_records; i++)
        n_done += tally->done[i];
    mean->n_undecided = n_done - mean->n;
    mean->least = sum / (double)n_done;
    mean->most = (sum + (double)mean->n_undecided) / (double)n_done;
}

tern_tally_mean tern_tally_mean_of(const tern_tally *tally, size_t column, size_t limit) {
    if (strncmp(tally->columns[column], "inst_level_", 11) == 0)
        return mean_of_instructions(tally, column, limit);
    tern_tally_mean mean = {.n = 0};
    double sum = 0, squares = 0;
    size_t n_records = limit < tally->n_records ? limit : tally->n_records;
    for (size_t i = 0; i < n_records; i++)
        if (counts(tally, i, column)) {
            sum += tally->values[i * tally->n_columns + column];
            mean.n++;
        }
    mean.value = mean.n ? sum / (double)mean.n : NAN;
    if (strncmp(tally->columns[column], "prompt_level_", 13) == 0)
        bound_prompts(tally, n_records, sum, &mean);
    for (size_t i = 0; i < n_records; i++)
        if (counts(tally, i, column))
            squares += pow(tally->values[i * tally->n_columns + column] - mean.value, 2);
    mean.standard_error = mean.n > 1 ? sqrt(squares / (double)(mean.n - 1) / (double)mean.n) : NAN;
    if (strcmp(tally->columns[column], "perplexity") == 0) {
        mean.value = exp(-mean.value);     /* the values are log-likelihoods */
        mean.standard_error *= mean.value; /* to first order (the delta method) */
    }
    return mean;
}
