/* tern prune --sweep: perplexity and speed by share and score. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "cli/measure.h"
#include "cli/progress.h"
#include "cli/prune.h"
#include "eval/perplexity.h"

enum { WINDOW = 512, LEAST_ROUNDS = 3, MOST_ROUNDS = 200, PROMPT = 128, ANSWER = 32, N_SCORES = 3 };
#define MEASURE_SECONDS 1 /* small models' rounds are short: many of them find a quiet moment on a busy machine */

/* ----------------------------------------------------------------- measuring */

static int perplexity_of(tern_model *model, tern_prune_text text, double *perplexity) {
    tern_error err;
    tern_session *session;
    tern_model_info info;
    tern_progress progress;
    tern_perplexity_result result;
    tern_model_get_info(model, &info);
    tern_session_params params = tern_session_defaults();
    params.kv_type = TERN_KV_F32;
    params.n_ctx = info.n_ctx < WINDOW ? info.n_ctx : WINDOW;
    if (tern_session_create(model, &params, &session, &err))
        return tern_cli_error(&err);
    tern_interrupt_watch(session);
    tern_progress_start(&progress, "perplexity", TERN_PROGRESS_TOKENS);
    tern_status status = tern_perplexity(model, session, text.bytes, text.n, params.n_ctx, tern_progress_update,
                                         &progress, &result, &err);
    tern_progress_end(&progress);
    tern_interrupt_watch(NULL);
    tern_session_free(session);
    if (status)
        return tern_cli_error(&err);
    *perplexity = result.perplexity;
    return 0;
}

static int load(const tern_prune_settings *s, const char *path, tern_model **model) {
    const tern_model_options options = {.threads = s->threads};
    return tern_cli_load_model(path, &options, model);
}

int tern_prune_perplexity(const tern_prune_settings *s, const char *path, tern_prune_text text, double *perplexity) {
    tern_model *model;
    int status = load(s, path, &model);
    if (status)
        return status;
    status = perplexity_of(model, text, perplexity);
    tern_model_free(model);
    return status;
}

/* Seconds of one prompt and of decoding behind it. */
typedef struct times {
    double prefill, decode;
} times;

static tern_status time_once(tern_session *session, const int32_t *ids, times *best, tern_error *err) {
    double start = tern_seconds();
    tern_status status = tern_session_truncate(session, 0, err);
    if (!status)
        status = tern_session_eval(session, ids, PROMPT, err);
    double middle = tern_seconds();
    for (int i = 0; !status && i < ANSWER; i++) {
        status = tern_session_eval(session, &ids[i], 1, err);
        if (!status && !tern_session_logits(session))
            status = tern_fail_memory(err, "logits");
    }
    double end = tern_seconds();
    best->prefill = best->prefill == 0 || middle - start < best->prefill ? middle - start : best->prefill;
    best->decode = best->decode == 0 || end - middle < best->decode ? end - middle : best->decode;
    return status;
}

int tern_prune_compare_speed(tern_model *base, tern_model *model, tern_prune_speed *speed) {
    tern_model *const models[2] = {base, model};
    tern_session *sessions[2] = {NULL, NULL};
    times best[2] = {0};
    int32_t ids[PROMPT];
    tern_model_info info;
    tern_error err;
    tern_session_params params = tern_session_defaults();
    tern_status status = TERN_OK;
    tern_model_get_info(base, &info);
    params.n_ctx = PROMPT + ANSWER;
    for (uint32_t i = 0; i < PROMPT; i++)
        ids[i] = (int32_t)((uint64_t)i * 7919 % info.vocab_size);
    for (int i = 0; !status && i < 2; i++)
        status = tern_session_create(models[i], &params, &sessions[i], &err);
    double start = tern_seconds();
    for (int round = 0;
         !status && round <= MOST_ROUNDS && (round <= LEAST_ROUNDS || tern_seconds() - start < MEASURE_SECONDS);
         round++)
        for (int i = 0; !status && i < 2; i++) {
            status = time_once(sessions[i], ids, &best[i], &err);
            if (round == 0)
                best[i] = (times){0}; /* it warmed up */
        }
    tern_session_free(sessions[0]);
    tern_session_free(sessions[1]);
    if (status)
        return tern_cli_error(&err);
    *speed = (tern_prune_speed){best[0].decode / best[1].decode, best[0].prefill / best[1].prefill,
                                ANSWER / best[1].decode, PROMPT / best[1].prefill};
    return 0;
}

/* ------------------------------------------------------------- a place for models */

/* A folder of our own that goes away again, and the model in it. */
typedef struct scratch {
    char *folder, *model;
} scratch;

static int make_scratch(scratch *place) {
    const char *parent = getenv("TMPDIR");
    tern_buffer folder = {0}, model = {0};
    tern_buffer_printf(&folder, "%s/tern-prune-XXXXXX", parent && *parent ? parent : "/tmp");
    *place = (scratch){.folder = tern_buffer_take(&folder, NULL)};
    bool made = place->folder && mkdtemp(place->folder);
    if (made && tern_buffer_printf(&model, "%s/model", place->folder) &&
        (place->model = tern_buffer_take(&model, NULL)))
        return 0;
    if (place->folder && !made)
        tern_cli_fail("%s: cannot make a folder for the models: %s", place->folder, strerror(errno));
    else
        tern_cli_fail("out of memory");
    if (made)
        rmdir(place->folder);
    tern_buffer_free(&model);
    free(place->folder);
    return TERN_EXIT_FAILURE;
}

/* The model is a file, or a folder of files. */
static void remove_model(const scratch *place) {
    int fd = open(place->model, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        unlinkat(fd, entry->d_name, 0);
    if (folder)
        closedir(folder);
    else if (fd >= 0)
        close(fd);
    if (rmdir(place->model))
        unlink(place->model);
}

static void free_scratch(scratch *place) {
    remove_model(place);
    rmdir(place->folder);
    free(place->model);
    free(place->folder);
}

/* -------------------------------------------------------------------- table */

typedef struct row {
    double share;
    tern_prune_plan plan;
    double bytes;
    tern_prune_speed speed;
    double perplexity[N_SCORES]; /* in the order of tern_prune_scores */
} row;

static double file_bytes(const char *path) {
    tern_inspection *inspection;
    if (tern_inspect(path, &inspection, NULL))
        return 0;
    double bytes = (double)tern_inspection_file_bytes(inspection);
    tern_inspection_free(inspection);
    return bytes;
}

static int measure(const tern_prune_settings *s, const scratch *place, tern_model *base, int score,
                   tern_prune_text text, row *r) {
    tern_model *model;
    int status = load(s, place->model, &model);
    if (status)
        return status;
    status = perplexity_of(model, text, &r->perplexity[score]);
    if (!status && score == 0) {
        r->bytes = file_bytes(place->model);
        status = tern_prune_compare_speed(base, model, &r->speed);
    }
    tern_model_free(model);
    return status;
}

static int make_row(const tern_prune_settings *s, const scratch *place, tern_pruner *pruner, tern_model *base,
                    tern_prune_text text, row *r) {
    tern_error err;
    tern_prune_choice choice = s->choice;
    choice.heads = s->only == TERN_PRUNE_ONLY_FFN ? 0 : r->share;
    choice.ffn = s->only == TERN_PRUNE_ONLY_HEADS ? 0 : r->share;
    for (int i = 0; i < N_SCORES; i++) {
        choice.score = (tern_prune_score)tern_prune_scores[i].value;
        if (tern_interrupted())
            return tern_interrupt_status();
        if (tern_pruner_choose(pruner, &choice, &r->plan, &err) || tern_pruner_write(pruner, place->model, &err))
            return tern_cli_error(&err);
        int status = measure(s, place, base, i, text, r);
        remove_model(place);
        if (status)
            return status;
        if (r->plan.after.n_params == r->plan.before.n_params) { /* all the same */
            r->perplexity[1] = r->perplexity[2] = r->perplexity[0];
            break;
        }
    }
    return 0;
}

static void print_head(void) {
    printf("%6s  %8s  %6s  %10s  %8s  %15s  %15s  %s\n", "share", "heads/KV", "FFN", "parameters", "size", "decode",
           "prefill", "perplexity");
    printf("%6s  %8s  %6s  %10s  %8s  %15s  %15s ", "", "", "", "", "", "tok/s", "tok/s");
    for (int i = 0; i < N_SCORES; i++)
        printf(" %10s", tern_prune_scores[i].name);
    printf("\n");
}

static void print_row(const row *r) {
    char heads[32], params[32], size[32];
    snprintf(heads, sizeof heads, "%u/%u", r->plan.after.n_heads, r->plan.after.n_kv_heads);
    printf("%5.4g%%  %8s  %6u  %10s  %8s  %7.0f (%4.2fx)  %7.0f (%4.2fx) ", 100 * r->share, heads,
           r->plan.after.ffn_size, tern_format_count(params, (double)r->plan.after.n_params),
           tern_format_bytes(size, r->bytes), r->speed.decode_rate, r->speed.decode, r->speed.prefill_rate,
           r->speed.prefill);
    for (int i = 0; i < N_SCORES; i++)
        printf(" %10.4g", r->perplexity[i]);
    printf("\n");
    fflush(stdout);
}

static json_t *json_row(const row *r) {
    const tern_prune_size *size = &r->plan.after;
    json_t *perplexity = json_object();
    for (int i = 0; i < N_SCORES; i++)
        json_object_set_new(perplexity, tern_prune_scores[i].name, json_real(r->perplexity[i]));
    return json_pack("{s:f, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:o}", "share", r->share, "heads",
                     (json_int_t)size->n_heads, "kv_heads", (json_int_t)size->n_kv_heads, "ffn_size",
                     (json_int_t)size->ffn_size, "parameters", (json_int_t)size->n_params, "file_bytes",
                     (json_int_t)r->bytes, "decode_tokens_per_second", r->speed.decode_rate, "decode_speedup",
                     r->speed.decode, "prefill_tokens_per_second", r->speed.prefill_rate, "prefill_speedup",
                     r->speed.prefill, "perplexity", perplexity);
}

int tern_prune_sweep(const tern_prune_settings *s, const char *path, tern_pruner *pruner, tern_prune_text held_out) {
    tern_model *base;
    scratch place;
    int status = load(s, path, &base);
    if (!status && (status = make_scratch(&place)))
        tern_model_free(base);
    if (status)
        return status;
    json_t *rows = json_array();
    if (!s->json)
        print_head();
    for (size_t i = 0; !status && i < s->n_shares; i++) {
        row r = {.share = s->shares[i]};
        status = make_row(s, &place, pruner, base, held_out, &r);
        if (!status && s->json)
            json_array_append_new(rows, json_row(&r));
        else if (!status)
            print_row(&r);
    }
    free_scratch(&place);
    tern_model_free(base);
    if (status || !s->json) {
        json_decref(rows);
        return status;
    }
    return tern_cli_print_json(json_pack("{s:o}", "rows", rows));
}
