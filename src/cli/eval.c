/* tern eval: benchmarks. */
#include "cli/eval.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "cli/measure.h"
#include "cli/progress.h"

#define GROUP "report"

enum { MAX_TASKS = 64, MAX_CONTEXT = 1 << 24, MAX_NEW_TOKENS = 1 << 20, MAX_SHARDS = 100000, DEFAULT_SEED = 1234 };

typedef struct settings {
    tern_model_options model;
    tern_session_options session;
    const char *tasks, *data, *shard, *out, *chart, *samples, *hook;
    tern_string_list task_files;
    int64_t shots, limit, seed, max_tokens;
    bool chat, one_message, as_report, json, list, report, no_reuse;
} settings;

static const tern_option options[] = {
    {"tasks", 0, TERN_OPTION_STRING, offsetof(settings, tasks), "LIST",
     "what to evaluate: arc_easy,piqa; --list shows all; report: the\ntechnical report's, with --as-report", 0, 0, NULL,
     ""},
    {"data", 0, TERN_OPTION_FILE, offsetof(settings, data), "FOLDER",
     "where the records are, a file of JSON lines a task", 0, 0, NULL, NULL},
    {"task-file", 0, TERN_OPTION_LIST, offsetof(settings, task_files), "FILE",
     "a task of your own (docs/EVAL.md); may be repeated", 0, 0, NULL, NULL},
    {"shots", 0, TERN_OPTION_INT, offsetof(settings, shots), "N", "examples in front of each record", 0,
     TERN_TASK_MAX_SHOTS, NULL, "the task's"},
    {"limit", 0, TERN_OPTION_INT, offsetof(settings, limit), "N", "only the first N records of each task", 1, 1e15,
     NULL, "all"},
    {"seed", 0, TERN_OPTION_INT, offsetof(settings, seed), "N", "for drawing the examples", 0, UINT32_MAX, NULL, NULL},
    {"max-tokens", 0, TERN_OPTION_INT, offsetof(settings, max_tokens), "N", "length of generated answers in tokens", 1,
     MAX_NEW_TOKENS, NULL, "the task's"},
    {"chat", 0, TERN_OPTION_FLAG, offsetof(settings, chat), NULL,
     "put the prompts of generated answers into the model's chat\ntemplate, examples as turns in front of the question",
     0, 0, NULL, NULL},
    {"one-message", 0, TERN_OPTION_FLAG, offsetof(settings, one_message), NULL,
     "in the chat template, examples and question are one message", 0, 0, NULL, NULL},
    {"as-report", 0, TERN_OPTION_FLAG, offsetof(settings, as_report), NULL,
     "with the shots and the chat template of the published scores", 0, 0, NULL, NULL},
    {"ctx", 'c', TERN_OPTION_INT, offsetof(settings, session.n_ctx), "N",
     "context in tokens; of what is longer, the last part is taken", 8, MAX_CONTEXT, NULL, "the model's"},
    {"no-reuse", 0, TERN_OPTION_FLAG, offsetof(settings, no_reuse), NULL,
     "evaluate every context anew, for measuring; scores stay the same", 0, 0, NULL, NULL},
    {0},
};

static const tern_option result_options[] = {
    {"out", 'o', TERN_OPTION_FILE, offsetof(settings, out), "FILE",
     "results line by line; when FILE is there already, what it has is\nnot done again", 0, 0, NULL, NULL},
    {"shard", 0, TERN_OPTION_STRING, offsetof(settings, shard), "I/N",
     "do only every Nth record, from the Ith on; auto: as a launcher says\n(mpirun, srun), with .I-of-N behind --out's "
     "name",
     0, 0, NULL, NULL},
    {"report", 0, TERN_OPTION_FLAG, offsetof(settings, report), NULL,
     "show what is in files of results, taken together: no model runs", 0, 0, NULL, NULL},
    {"samples", 0, TERN_OPTION_FILE, offsetof(settings, samples), "FILE",
     "answers of a task that others judge (humaneval, mtbench); needs --out", 0, 0, NULL, NULL},
    {"hook", 0, TERN_OPTION_STRING, offsetof(settings, hook), "COMMAND",
     "judge them: run with the samples' and the records' file, prints\n{\"id\": ..., \"value\": ...} lines", 0, 0, NULL,
     ""},
    {"chart", 0, TERN_OPTION_FILE, offsetof(settings, chart), "FILE",
     "an SVG of the scores beside the published ones (needs gnuplot)", 0, 0, NULL, NULL},
    {"list", 0, TERN_OPTION_FLAG, offsetof(settings, list), NULL, "show the tasks that there are", 0, 0, NULL, NULL},
    {"json", 0, TERN_OPTION_FLAG, offsetof(settings, json), NULL, "one JSON object; shares of 1 instead of percent", 0,
     0, NULL, NULL},
    {0},
};

/* -------------------------------------------------------------------- what to do */

typedef struct work {
    const settings *s;
    tern_task *tasks; /* [n_tasks] of the program */
    size_t n_tasks;
    tern_task own[TERN_STRING_LIST_MAX];
    size_t n_own;
    const tern_task *chosen[MAX_TASKS];
    bool as_report[MAX_TASKS]; /* [n_chosen] */
    tern_dataset datasets[MAX_TASKS];
    size_t n_chosen, n_datasets;
    tern_results results;
    tern_eval_params params;
    char out[1024], settings[80];
} work;

static void free_work(work *w) {
    if (!w)
        return;
    for (size_t i = 0; i < w->n_datasets; i++)
        tern_dataset_free(&w->datasets[i]);
    for (size_t i = 0; i < w->n_own; i++)
        tern_task_free(&w->own[i]);
    tern_tasks_free(w->tasks, w->n_tasks);
    tern_results_free(&w->results);
    free(w);
}

static int read_tasks(work *w) {
    tern_error err;
    tern_status status = tern_tasks_builtin(&w->tasks, &w->n_tasks, &err);
    for (size_t i = 0; !status && i < w->s->task_files.count; i++) {
        status = tern_task_read(w->s->task_files.items[i], &w->own[i], &err);
        w->n_own += !status;
    }
    return status ? tern_cli_error(&err) : 0;
}

static const tern_task *find_task(const work *w, const char *name, size_t n) {
    for (size_t i = 0; i < w->n_own; i++) /* one's own may replace one of the program's */
        if (strlen(w->own[i].name) == n && memcmp(w->own[i].name, name, n) == 0)
            return &w->own[i];
    for (size_t i = 0; i < w->n_tasks; i++)
        if (strlen(w->tasks[i].name) == n && memcmp(w->tasks[i].name, name, n) == 0)
            return &w->tasks[i];
    return NULL;
}

static int choose_task(work *w, const tern_task *task, bool as_report) {
    for (size_t i = 0; i < w->n_chosen; i++)
        if (w->chosen[i] == task)
            return tern_cli_usage("eval", "--tasks: '%s' stands there twice", task->name);
    if (w->n_chosen == MAX_TASKS)
        return tern_cli_usage("eval", "--tasks: more than %d of them", MAX_TASKS);
    w->as_report[w->n_chosen] = as_report && task->published_metric;
    w->chosen[w->n_chosen++] = task;
    return 0;
}

/* The tasks of which the report has a score; those without records here are left out. */
static int choose_report(work *w) {
    int status = 0;
    for (size_t i = 0; i < w->n_tasks && !status; i++) {
        const tern_task *task = find_task(w, w->tasks[i].name, strlen(w->tasks[i].name));
        char path[1024];
        if (!task->published_metric)
            continue;
        if (w->s->data && snprintf(path, sizeof path, "%s/%s", w->s->data, task->data) < (int)sizeof path &&
            !tern_file_exists(path))
            tern_cli_warn("%s is left out: there is no %s", task->name, path);
        else
            status = choose_task(w, task, true);
    }
    return !status && w->n_chosen == 0 ? tern_cli_fail("%s: there are no records of any task", w->s->data) : status;
}

static int choose_tasks(work *w) {
    const char *at = w->s->tasks ? w->s->tasks : "";
    for (size_t i = 0; i < w->n_own; i++)
        if (find_task(w, w->own[i].name, strlen(w->own[i].name)) != &w->own[i])
            return tern_cli_usage("eval", "--task-file: two of them call their task '%s'", w->own[i].name);
    for (size_t i = 0; i < w->n_own && !w->s->tasks; i++) /* without --tasks: those that were named as files */
        choose_task(w, &w->own[i], w->s->as_report);
    for (size_t n; *at; at += n + (at[n] == ',')) {
        n = strcspn(at, ",");
        const tern_task *task = find_task(w, at, n);
        const bool is_report = !task && n == strlen(GROUP) && memcmp(at, GROUP, n) == 0;
        if (!task && !is_report)
            return tern_cli_usage("eval", "--tasks: there is no task '%.*s' (tern eval --list)", (int)n, at);
        int status = is_report ? choose_report(w) : choose_task(w, task, w->s->as_report);
        if (status)
            return status;
    }
    if (w->s->one_message && !w->s->chat && !w->s->as_report && !strstr(w->s->tasks ? w->s->tasks : "", GROUP))
        return tern_cli_usage("eval", "--one-message is about the chat template: --chat, too");
    for (size_t i = 0; i < w->n_chosen && w->s->chat; i++)
        if (w->chosen[i]->no_chat)
            return tern_cli_usage("eval", "--chat: the answers of %s go on with the prompt itself; evaluate it without",
                                  w->chosen[i]->name);
    if (w->n_chosen == 0)
        return tern_cli_usage("eval", "--tasks LIST says what to evaluate (tern eval --list)");
    if (w->s->samples && (w->n_chosen != 1 || w->chosen[0]->kind != TERN_TASK_SAMPLES || !w->s->out))
        return tern_cli_usage("eval", "--samples needs --out, and a single task of those that others judge");
    if (w->s->hook && !w->s->samples)
        return tern_cli_usage("eval", "--hook needs --samples FILE, which it reads");
    return w->s->data ? 0 : tern_cli_usage("eval", "--data FOLDER says where the records are");
}

static int read_data(work *w) {
    tern_error err;
    for (size_t i = 0; i < w->n_chosen; i++) {
        size_t otherwise = w->as_report[i] ? (size_t)w->chosen[i]->published_shots : w->chosen[i]->n_shots;
        size_t n_shots = w->s->shots >= 0 ? (size_t)w->s->shots : otherwise;
        if (tern_dataset_read(w->chosen[i], w->s->data, n_shots, (uint32_t)w->s->seed, &w->datasets[i], &err))
            return tern_cli_error(&err);
        w->n_datasets++;
    }
    return 0;
}

/* ----------------------------------------------------------------------- shards */

/* What launchers tell their processes. */
static bool ask_launcher(int64_t *rank, int64_t *size) {
    static const char *const names[][2] = {
        {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"}, {"PMI_RANK", "PMI_SIZE"}, {"SLURM_PROCID", "SLURM_NTASKS"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *a = getenv(names[i][0]), *b = getenv(names[i][1]);
        if (a && b && tern_parse_int(a, rank) && tern_parse_int(b, size))
            return true;
    }
    return false;
}

static int get_shard(work *w) {
    const char *text = w->s->shard, *slash = text ? strchr(text, '/') : NULL;
    int64_t rank = 0, size = 1;
    bool is_auto = text && strcmp(text, "auto") == 0, good = true;
    if (is_auto) {
        if (!ask_launcher(&rank, &size))
            return tern_cli_usage("eval", "--shard auto: no launcher (mpirun, srun) has said which process this is");
        good = rank >= 0 && size >= 1 && size <= MAX_SHARDS && rank < size;
    } else if (text) {
        char first[24];
        snprintf(first, sizeof first, "%.*s", slash ? (int)(slash - text) : 0, text);
        good = slash && slash - text < 20 && tern_parse_int(first, &rank) && tern_parse_int(slash + 1, &size) &&
               rank >= 1 && size <= MAX_SHARDS && rank <= size;
        rank--;
    }
    if (!good)
        return tern_cli_usage("eval", "--shard: '%s' is nothing like 1/4, the first of four parts", text);
    w->params.shard = (size_t)rank;
    w->params.n_shards = (size_t)size;
    if (!w->s->out)
        return size > 1 ? tern_cli_usage("eval", "--shard needs --out FILE, which tern eval --report puts together")
                        : 0;
    int n = is_auto
                ? snprintf(w->out, sizeof w->out, "%s.%lld-of-%lld", w->s->out, (long long)rank + 1, (long long)size)
                : snprintf(w->out, sizeof w->out, "%s", w->s->out);
    return n < (int)sizeof w->out ? 0 : tern_cli_fail("%s: the name is too long", w->s->out);
}

/* ---------------------------------------------------------------------- running */

/* An error if the file, to be written, is one that is read here. */
static int check_output(const work *w, const char *path, bool is_out) {
    tern_error err;
    tern_status status = TERN_OK;
    const char *const results[] = {is_out ? NULL : w->out};
    status = tern_check_output(path, results, 1, &err);
    for (size_t i = 0; i < w->n_datasets && !status; i++) {
        const char *const inputs[] = {w->datasets[i].path, w->datasets[i].n_shots ? w->datasets[i].shots_path : NULL};
        status = tern_check_output(path, inputs, 2, &err);
    }
    if (!status)
        status = tern_check_output(path, w->s->task_files.items, w->s->task_files.count, &err);
    return status ? tern_cli_error(&err) : 0;
}

/* What comes out of an evaluation of hours: told now what cannot be written then. */
static int check_outputs(const work *w) {
    int status = w->out[0] ? check_output(w, w->out, true) : 0;
    if (!status && w->s->samples)
        status = check_output(w, w->s->samples, false);
    return !status && w->s->chart ? check_output(w, w->s->chart, false) : status;
}

static int open_results(work *w) {
    tern_error err;
    tern_status status = TERN_OK;
    if (!w->out[0])
        return 0;
    struct stat info;
    if (stat(w->out, &info) == 0 && !S_ISREG(info.st_mode))
        return tern_cli_fail("%s: is no regular file; results must be where they can be read again", w->out);
    if (tern_file_exists(w->out))
        status = tern_results_read(&w->results, w->out, &err);
    if (!status)
        status = tern_results_open(&w->results, w->out, &err);
    return status ? tern_cli_error(&err) : 0;
}

static tern_status evaluate_all(work *w, tern_scorer *scorer, tern_error *err) {
    tern_status status = tern_scorer_fingerprint(scorer, &w->params.fingerprint, err);
    for (size_t i = 0; !status && i < w->n_datasets; i++) {
        tern_progress progress;
        tern_tally *tally;
        w->params.chat = w->s->chat || (w->as_report[i] && w->chosen[i]->published_chat);
        status = tern_evaluate_begin(&w->datasets[i], &w->params, &w->results, &tally, err);
        if (status)
            break;
        size_t left = tern_evaluate_left(&w->datasets[i], &w->params, tally);
        tern_progress_start(&progress, w->chosen[i]->name, TERN_PROGRESS_RUNS);
        w->params.progress = tern_progress_update;
        w->params.progress_user = &progress;
        status = tern_evaluate(&w->datasets[i], &w->params, scorer, &w->results, tally, err);
        tern_progress_end(&progress);
        if (status == TERN_ERR_CANCELLED)
            fprintf(stderr, "%s: stopped with %zu of %zu records left%s\n", w->chosen[i]->name,
                    tern_evaluate_left(&w->datasets[i], &w->params, tally), left,
                    w->out[0] ? "; the same command goes on from there" : "; with --out FILE they would be kept");
    }
    return status;
}

static void print_reuse(const tern_scorer_stats *stats, double seconds) {
    char text[32];
    if (!stats->n_tokens)
        return;
    fprintf(stderr, "evaluated:      %llu tokens in %s; of %llu in all requests, %.1f%% were there already\n",
            (unsigned long long)stats->n_evaluated, tern_format_seconds(text, seconds),
            (unsigned long long)stats->n_tokens, 100 * (1 - (double)stats->n_evaluated / (double)stats->n_tokens));
    if (stats->n_truncated)
        tern_cli_warn("%llu requests were longer than the context and lost their beginning",
                      (unsigned long long)stats->n_truncated);
}

static int print_and_draw(const work *w, const tern_results *results, const tern_eval_report *report) {
    int status = tern_eval_print(results, report);
    return !status && w->s->chart ? tern_eval_chart(results, report, w->s->chart) : status;
}

/* The results of the tasks that were asked for, and no others that the file has. */
static int show(const work *w, const tern_scorer_stats *stats, double seconds) {
    tern_results shown = {0};
    tern_tally tallies[MAX_TASKS];
    for (size_t i = 0; i < w->n_chosen; i++)
        tallies[shown.n++] = *tern_results_find(&w->results, w->chosen[i]->name);
    shown.tallies = tallies;
    const tern_eval_report report = {.limit = w->params.limit, .stats = stats, .seconds = seconds, .json = w->s->json};
    return print_and_draw(w, &shown, &report);
}

static int judge(work *w) {
    int status = 0;
    if (w->s->samples)
        status = tern_eval_write_samples(w->out, w->chosen[0]->name, w->s->samples);
    if (!status && w->s->hook)
        status = tern_eval_hook(w->s->hook, w->s->samples, w->datasets[0].path, &w->results, w->chosen[0]->name);
    return status;
}

static int with_session(work *w, const tern_model *model, tern_session *session) {
    tern_error err;
    tern_scorer *scorer;
    tern_scorer_stats stats;
    if (tern_scorer_create(model, session, !w->s->no_reuse, &scorer, &err))
        return tern_cli_error(&err);
    double started = tern_seconds();
    tern_status status = evaluate_all(w, scorer, &err);
    double seconds = tern_seconds() - started;
    tern_scorer_get_stats(scorer, &stats);
    tern_scorer_free(scorer);
    if (status)
        return tern_cli_error(&err);
    print_reuse(&stats, seconds);
    int bad = judge(w);
    return bad ? bad : show(w, &stats, seconds);
}

static int with_model(work *w, tern_model *model) {
    tern_error err;
    tern_model_info info;
    tern_session_params params;
    tern_session *session;
    tern_model_get_info(model, &info);
    int status = tern_cli_exact_session_params(&w->s->session, &params);
    if (status)
        return status;
    if (w->s->session.n_ctx > info.n_ctx)
        return tern_cli_usage("eval", "--ctx %lld is more than the model's context of %u tokens",
                              (long long)w->s->session.n_ctx, info.n_ctx);
    if (params.n_ctx == 0)
        params.n_ctx = info.n_ctx;
    snprintf(w->settings, sizeof w->settings, "ctx %u kv %s", params.n_ctx, tern_kv_type_name(params.kv_type));
    w->params.settings = w->settings;
    w->params.model_name = info.name;
    if (tern_session_create(model, &params, &session, &err))
        return tern_cli_error(&err);
    tern_interrupt_watch(session);
    status = with_session(w, model, session);
    tern_interrupt_watch(NULL);
    tern_session_free(session);
    return status;
}

static int evaluate(work *w, const char *model_path) {
    tern_model *model;
    int status = choose_tasks(w);
    if (!status)
        status = get_shard(w);
    if (!status)
        status = read_data(w); /* before the model: it fails faster */
    if (!status)
        status = check_outputs(w);
    if (!status)
        status = open_results(w);
    if (!status)
        status = tern_cli_load_model(model_path, &w->s->model, &model);
    if (status)
        return status;
    status = with_model(w, model);
    tern_model_free(model);
    return status;
}

static int report(work *w, const char *const *paths, size_t n_paths) {
    tern_error err;
    if (n_paths == 0)
        return tern_cli_usage("eval", "--report needs files of results (--out)");
    if (w->s->chart && tern_check_output(w->s->chart, paths, n_paths, &err))
        return tern_cli_error(&err);
    for (size_t i = 0; i < n_paths; i++)
        if (tern_results_read(&w->results, paths[i], &err))
            return tern_cli_error(&err);
    const tern_eval_report shown = {.limit = w->params.limit, .json = w->s->json};
    return print_and_draw(w, &w->results, &shown);
}

static int run(void *parsed, const char *const *operands, size_t n_operands) {
    const settings *s = parsed;
    work *w = calloc(1, sizeof *w);
    if (!w)
        return tern_cli_fail("out of memory");
    w->s = s;
    w->params = (tern_eval_params){.limit = s->limit ? (size_t)s->limit : SIZE_MAX,
                                   .n_shards = 1,
                                   .one_message = s->one_message,
                                   .max_tokens = s->max_tokens,
                                   .seed = (uint64_t)s->seed};
    int status = read_tasks(w);
    if (!status && s->list)
        status = tern_eval_print_tasks(w->tasks, w->n_tasks, s->json);
    else if (!status && s->report)
        status = report(w, operands, n_operands);
    else if (!status && n_operands > 1)
        status = tern_cli_usage("eval", "'%s' is one argument too many", operands[1]);
    else if (!status)
        status = evaluate(w, n_operands ? operands[0] : NULL);
    free_work(w);
    return status;
}

static const settings defaults = {.session = TERN_SESSION_OPTIONS_DEFAULT, .shots = -1, .seed = DEFAULT_SEED};

const tern_command tern_command_eval = {
    .name = "eval",
    .operands = "[MODEL]",
    .summary = "scores of a model in benchmarks",
    .example = "tern eval model.gguf --tasks arc_easy,piqa --data records/\n"
               "tern eval model.gguf --tasks mmlu --data records/ --limit 100 --out mmlu.jsonl\n"
               "tern eval model.gguf --tasks report --data records/ --out scores.jsonl --chart scores.svg\n"
               "mpirun -n 4 tern eval model.gguf --tasks mmlu --data records/ --shard auto --out mmlu.jsonl\n"
               "tern eval --report mmlu.jsonl.*\n",
    .notes = "Prompts, examples, tokens and metrics are those of lm-evaluation-harness 0.4.13. The records are yours:\n"
             "FOLDER has a file of JSON lines for each task, as the Hugging Face hub has them (docs/EVAL.md). The KV\n"
             "cache is float32 unless said otherwise, so that figures compare.\n",
    .min_operands = 0,
    .max_operands = 1000,
    .groups = {{"Options", options, 0},
               {"Results", result_options, 0},
               {"Evaluation", tern_exact_session_option_table, offsetof(settings, session)},
               {"Model", tern_model_option_table, offsetof(settings, model)}},
    .options_size = sizeof(settings),
    .defaults = &defaults,
    .run = run,
};
