#include "eval/evaluate.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/status.h"
#include "eval/answers.h"
#include "eval/instructions.h"
#include "eval/template.h"

enum { MAX_TURNS = 16 };

/* ------------------------------------------------------------------------ texts */

/* A model may make bytes that are no UTF-8, and may be called by such: each then becomes a question mark. */
static json_t *clean_text(const char *text) {
    json_t *string = json_string(text);
    char *copy = string ? NULL : strdup(text);
    for (char *at = copy; at && *at; at++)
        *at = (unsigned char)*at >= 0x80 ? '?' : *at;
    if (copy)
        string = json_string(copy);
    free(copy);
    return string;
}

/* As much of the text as fits: whole characters, or the JSON that it goes into would be none. */
static void copy_text(char *out, size_t size, const char *text) {
    json_t *clean = clean_text(text);
    const char *from = clean ? json_string_value(clean) : "";
    size_t n = strlen(from) < size ? strlen(from) : size - 1;
    while (n > 0 && ((unsigned char)from[n] & 0xc0) == 0x80)
        n--;
    memcpy(out, from, n);
    out[n] = 0;
    json_decref(clean);
}

/* ------------------------------------------------------------------ configuration */

/* 0: no chat template; 1: the question in one message; 2: examples as turns in front of it. */
static uint64_t chat_of(const tern_dataset *d, const tern_eval_params *params) {
    if (!params->chat || !tern_task_generates(d->task))
        return 0;
    return d->n_shots && !params->one_message ? 2 : 1;
}

/* What the results depend on: the task but for what is only told about it, the data, the model, the settings. */
static tern_status make_config(const tern_dataset *d, const tern_eval_params *params, char config[24],
                               tern_error *err) {
    static const char *const told[] = {"title", "notes", "published"};
    json_t *copy = json_copy(d->task->root);
    for (size_t i = 0; copy && i < sizeof told / sizeof *told; i++)
        json_object_del(copy, told[i]);
    char *text = copy ? json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(copy);
    if (!text)
        return tern_fail_memory(err, "the configuration");
    const uint64_t numbers[] = {d->hash,
                                d->n_shots,
                                d->n_shots ? params->seed : 0,
                                params->fingerprint,
                                chat_of(d, params),
                                (uint64_t)params->max_tokens};
    tern_hash hash;
    tern_hash_start(&hash);
    tern_hash_add(&hash, text, strlen(text) + 1);
    tern_hash_add(&hash, params->settings, strlen(params->settings) + 1);
    tern_hash_add(&hash, numbers, sizeof numbers);
    snprintf(config, 24, "%016" PRIx64, tern_hash_value(&hash));
    free(text);
    return TERN_OK;
}

tern_status tern_evaluate_begin(const tern_dataset *d, const tern_eval_params *params, tern_results *results,
                                tern_tally **tally, tern_error *err) {
    const tern_task *task = d->task;
    tern_tally wanted = {.n_records = d->n, .n_shots = d->n_shots};
    snprintf(wanted.name, sizeof wanted.name, "%s", task->name);
    copy_text(wanted.title, sizeof wanted.title, task->title);
    copy_text(wanted.model, sizeof wanted.model, params->model_name);
    if (task->kind == TERN_TASK_GENERATE) {
        wanted.n_columns = task->n_filters;
        for (size_t i = 0; i < task->n_filters; i++)
            snprintf(wanted.columns[i], sizeof wanted.columns[i], "exact_match%s%.30s",
                     *task->filters[i].name ? "," : "", task->filters[i].name);
    } else {
        wanted.n_columns = task->n_metrics;
        for (size_t i = 0; i < task->n_metrics; i++)
            snprintf(wanted.columns[i], sizeof wanted.columns[i], "%s", tern_metric_name(task->metrics[i]));
    }
    if (task->published_metric) {
        copy_text(wanted.published_metric, sizeof wanted.published_metric, task->published_metric);
        copy_text(wanted.published_source, sizeof wanted.published_source, task->published_source);
        wanted.published = task->published;
        wanted.published_shots = (size_t)task->published_shots;
    }
    tern_status status = make_config(d, params, wanted.config, err);
    return status ? status : tern_results_begin(results, &wanted, tally, err);
}

/* ------------------------------------------------------------------------ metrics */

/* The first of the largest values, each divided by the choice's length in characters if `norm`. */
static size_t best_of(const tern_item *item, const tern_score *scores, bool norm) {
    size_t best = 0;
    double largest = -HUGE_VAL;
    for (size_t i = 0; i < item->n_requests; i++) {
        double value = scores[i].log_likelihood / (norm ? (double)item->requests[i].n_characters : 1);
        if (value > largest) {
            largest = value;
            best = i;
        }
    }
    return best;
}

/* The share of the probability of all answers that the true ones have (Lin et al. 2022, section 3). */
static double mass_on_true(const tern_item *item, const tern_score *scores) {
    double all = 0, good = 0, largest = -HUGE_VAL;
    for (size_t i = 0; i < item->n_requests; i++)
        largest = fmax(largest, scores[i].log_likelihood);
    for (size_t i = 0; i < item->n_requests; i++) {
        double p = exp(scores[i].log_likelihood - largest);
        all += p;
        good += item->is_true[i] ? p : 0;
    }
    return good / all;
}

static double measure(tern_metric metric, const tern_task *task, const tern_item *item, const tern_score *scores) {
    switch (metric) {
    case TERN_METRIC_ACC:
        if (task->kind == TERN_TASK_CONTINUATION)
            return scores[0].greedy;
        return best_of(item, scores, false) == item->gold;
    case TERN_METRIC_ACC_NORM:
        return best_of(item, scores, true) == item->gold;
    case TERN_METRIC_MC2:
        return mass_on_true(item, scores);
    default:
        return scores[0].log_likelihood;
    }
}

/* -------------------------------------------------------------------------- items */

static json_t *describe_scores(const tern_item *item, const tern_score *scores) {
    json_t *details = json_object(), *values = json_array(), *tokens = json_array();
    for (size_t i = 0; i < item->n_requests; i++) {
        json_array_append_new(values, json_real(scores[i].log_likelihood));
        json_array_append_new(tokens, json_integer(scores[i].n_tokens));
    }
    json_object_set_new(details, "log_likelihoods", values);
    json_object_set_new(details, "tokens", tokens);
    return details;
}

static tern_status ask(const tern_dataset *d, const tern_item *item, tern_scorer *scorer, double *values,
                       json_t **details, tern_error *err) {
    tern_score *scores = tern_alloc_array(item->n_requests, sizeof *scores);
    if (!scores)
        return tern_fail_memory(err, "the scores");
    tern_status status = tern_scorer_score(scorer, item->requests, item->n_requests, scores, err);
    for (size_t i = 0; !status && i < d->task->n_metrics; i++)
        values[i] = measure(d->task->metrics[i], d->task, item, scores);
    if (!status)
        *details = describe_scores(item, scores);
    free(scores);
    return status;
}

/* After the item's prompt or, if there are messages [n], as the answer to them. */
static tern_status generate(const tern_task *task, const tern_eval_params *params, tern_scorer *scorer,
                            const tern_item *item, const tern_message *messages, size_t n, char **text, bool *cut,
                            tern_error *err) {
    /* the description and, in one message, all that stands behind it */
    const tern_message one[] = {item->messages[0], {"user", item->context + item->n_description}};
    const bool described = item->n_description > 0;
    if (n == 0 && params->chat) {
        messages = !params->one_message ? item->messages : described ? one : one + 1;
        n = !params->one_message ? item->n_messages : described ? 2 : 1;
    }
    const tern_generation what = {.context = item->context,
                                  .messages = messages,
                                  .n_messages = n,
                                  .max_tokens = params->max_tokens ? params->max_tokens : task->max_tokens,
                                  .until = task->until,
                                  .n_until = task->n_until};
    return tern_scorer_generate(scorer, &what, text, cut, err);
}

/* For results.c, which counts these. */
static void tell(json_t *details, const char *what, bool so) {
    if (so)
        json_object_set_new(details, what, json_true());
}

static tern_status ask_for_text(const tern_dataset *d, const tern_item *item, const tern_eval_params *params,
                                const tern_answers *answers, tern_scorer *scorer, double *values, json_t **details,
                                tern_error *err) {
    const tern_task *task = d->task;
    char *text = NULL;
    bool gave_up = false, cut;
    tern_status status = generate(task, params, scorer, item, NULL, 0, &text, &cut, err);
    json_t *extracted = status ? NULL : json_array();
    for (size_t i = 0; !status && i < task->n_filters; i++) {
        char *answer = NULL;
        bool match = false;
        status = tern_answers_extract(answers, i, text, &answer, &gave_up, err);
        if (!status)
            status = tern_answers_match(answers, answer, item->targets, item->n_targets, &match, &gave_up, err);
        values[i] = match;
        if (!status)
            json_array_append_new(extracted, clean_text(answer));
        free(answer);
    }
    if (!status)
        *details = json_pack("{s:o, s:O}", "text", clean_text(text), "answers", extracted);
    if (!status) {
        tell(*details, TERN_RESULTS_GAVE_UP, gave_up);
        tell(*details, TERN_RESULTS_CUT, cut);
    }
    json_decref(extracted);
    free(text);
    return status;
}

/* True, false, or null where nothing is certain. */
static json_t *list_verdicts(const tern_verdict *verdicts, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list,
                              verdicts[i] == TERN_UNDECIDED ? json_null() : json_boolean(verdicts[i] == TERN_FOLLOWED));
    return list;
}

/* Of a record: the share of its instructions with a verdict that are followed, or, `whole`, whether all are; NaN: that
 * depends on what has none. */
static double value_of(const tern_verdict *verdicts, size_t n, bool whole) {
    size_t by_verdict[3] = {0};
    for (size_t i = 0; i < n; i++)
        by_verdict[verdicts[i]]++;
    size_t decided = n - by_verdict[TERN_UNDECIDED];
    if (whole)
        return by_verdict[TERN_NOT_FOLLOWED] ? 0 : decided == n ? 1 : NAN;
    return decided ? (double)by_verdict[TERN_FOLLOWED] / (double)decided : NAN;
}

/* What of its instructions the text follows. Nothing is generated for a record with none that can be checked. */
static tern_status ask_to_follow(const tern_dataset *d, size_t index, const tern_item *item,
                                 const tern_eval_params *params, tern_scorer *scorer, double *values, json_t **details,
                                 tern_error *err) {
    const size_t n = item->n_instructions;
    tern_verdict strict[TERN_MAX_INSTRUCTIONS] = {0}, loose[TERN_MAX_INSTRUCTIONS] = {0};
    char *text = NULL;
    bool gave_up = false;
    if (item->unchecked_why) {
        for (size_t i = 0; i < d->task->n_metrics; i++)
            values[i] = NAN;
        *details = json_pack("{s:I, s:s, s:s}", "instructions", (json_int_t)n, "not_checked", item->unchecked, "why",
                             item->unchecked_why);
        return TERN_OK;
    }
    bool cut;
    tern_status status = generate(d->task, params, scorer, item, NULL, 0, &text, &cut, err);
    json_t *answer = status ? NULL : clean_text(text);
    free(text);
    if (!status && !answer)
        status = tern_fail_memory(err, "an answer");
    if (!status)
        status = tern_instructions_check(json_array_get(d->records, index), json_string_value(answer), strict, loose,
                                         &gave_up, err);
    for (size_t i = 0; !status && i < d->task->n_metrics; i++) {
        const tern_metric metric = d->task->metrics[i];
        const bool is_loose = metric == TERN_METRIC_PROMPT_LOOSE || metric == TERN_METRIC_INSTRUCTION_LOOSE;
        const bool is_whole = metric == TERN_METRIC_PROMPT_STRICT || metric == TERN_METRIC_PROMPT_LOOSE;
        values[i] = value_of(is_loose ? loose : strict, n, is_whole);
    }
    if (!status)
        *details = json_pack("{s:I, s:O, s:o, s:o}", "instructions", (json_int_t)n, "text", answer, "strict",
                             list_verdicts(strict, n), "loose", list_verdicts(loose, n));
    if (!status) {
        tell(*details, TERN_RESULTS_GAVE_UP, gave_up);
        tell(*details, TERN_RESULTS_CUT, cut);
    }
    json_decref(answer);
    return status;
}

/* The task's line with what stands for something replaced: "@text", "@turns", "@model", and "@field" of the record. */
static json_t *fill_in(const json_t *template, const json_t *record, const char *model, const json_t *answers) {
    const char *text = json_string_value(template), *key;
    const json_t *value;
    json_t *made;
    if (text && strcmp(text, "@text") == 0)
        return json_incref(json_array_get(answers, 0));
    if (text && strcmp(text, "@turns") == 0)
        return json_deep_copy(answers);
    if (text && strcmp(text, "@model") == 0)
        return clean_text(model);
    if (text && text[0] == '@')
        return json_deep_copy(tern_record_field(record, text + 1));
    if (json_is_array(template)) {
        made = json_array();
        for (size_t i = 0; i < json_array_size(template); i++)
            json_array_append_new(made, fill_in(json_array_get(template, i), record, model, answers));
        return made;
    }
    if (!json_is_object(template))
        return json_deep_copy(template);
    made = json_object();
    json_object_foreach((json_t *)template, key, value)
        json_object_set_new(made, key, fill_in(value, record, model, answers));
    return made;
}

/* The answers, one to the context or to each turn of a conversation, which somebody else judges. */
static tern_status ask_for_sample(const tern_dataset *d, size_t index, const tern_item *item,
                                  const tern_eval_params *params, tern_scorer *scorer, double *values, json_t **details,
                                  tern_error *err) {
    tern_message messages[2 * MAX_TURNS];
    char *texts[MAX_TURNS] = {0};
    size_t n = item->n_turns ? item->n_turns : 1;
    bool cut = false;
    json_t *answers = json_array();
    tern_status status = TERN_OK;
    if (n > MAX_TURNS)
        status = tern_fail(err, TERN_ERR_FORMAT, "%s: line %zu: a conversation of %zu questions; %d can be asked",
                           d->path, d->lines[index], n, MAX_TURNS);
    for (size_t i = 0; !status && i < n; i++) {
        if (item->n_turns)
            messages[2 * i] = (tern_message){"user", item->turns[i]};
        bool cut_here;
        status =
            generate(d->task, params, scorer, item, messages, item->n_turns ? 2 * i + 1 : 0, &texts[i], &cut_here, err);
        if (status)
            break;
        cut |= cut_here;
        messages[2 * i + 1] = (tern_message){"assistant", texts[i]};
        json_array_append_new(answers, clean_text(texts[i]));
    }
    values[0] = NAN;
    if (!status)
        *details = json_pack("{s:o, s:o}", "id", clean_text(item->id), "sample",
                             fill_in(d->form->sample, json_array_get(d->records, index), params->model_name, answers));
    if (!status)
        tell(*details, TERN_RESULTS_CUT, cut);
    for (size_t i = 0; i < MAX_TURNS; i++)
        free(texts[i]);
    json_decref(answers);
    return status;
}

static bool is_ours(const tern_eval_params *params, const tern_tally *tally, size_t index) {
    return index % params->n_shards == params->shard && !tally->done[index];
}

size_t tern_evaluate_left(const tern_dataset *d, const tern_eval_params *params, const tern_tally *tally) {
    size_t n = 0;
    for (size_t i = 0; i < d->n && i < params->limit; i++)
        n += is_ours(params, tally, i);
    return n;
}

tern_status tern_evaluate(const tern_dataset *d, const tern_eval_params *params, tern_scorer *scorer,
                          tern_results *results, tern_tally *tally, tern_error *err) {
    size_t total = tern_evaluate_left(d, params, tally), n_done = 0;
    tern_answers *answers = NULL;
    tern_status status = TERN_OK;
    if (d->task->kind == TERN_TASK_GENERATE)
        status = tern_answers_create(d->task, &answers, err);
    for (size_t i = 0; !status && i < d->n && i < params->limit; i++) {
        double values[TERN_TALLY_COLUMNS];
        json_t *details = NULL;
        tern_item item;
        if (!is_ours(params, tally, i))
            continue;
        status = tern_item_make(d, i, &item, err);
        if (status)
            break;
        if (d->task->kind == TERN_TASK_GENERATE)
            status = ask_for_text(d, &item, params, answers, scorer, values, &details, err);
        else if (d->task->kind == TERN_TASK_INSTRUCTIONS)
            status = ask_to_follow(d, i, &item, params, scorer, values, &details, err);
        else if (d->task->kind == TERN_TASK_SAMPLES)
            status = ask_for_sample(d, i, &item, params, scorer, values, &details, err);
        else
            status = ask(d, &item, scorer, values, &details, err);
        tern_item_free(&item);
        if (!status)
            status = tern_results_add(results, tally, i, values, details, err);
        if (!status && params->progress && !params->progress(params->progress_user, ++n_done, total))
            status = tern_fail(err, TERN_ERR_CANCELLED, "cancelled");
    }
    tern_answers_free(answers);
    return status;
}
