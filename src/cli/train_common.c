#include "cli/train_common.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"

void tern_train_display_clear(tern_train_display *display) {
    if (display->started)
        tern_progress_end(&display->bar);
}

enum { SAMPLE_TOKENS = 64 };

static bool print_text(void *user, const char *text, size_t n_bytes, int32_t id) {
    (void)user, (void)id;
    fwrite(text, 1, n_bytes, stderr);
    return !tern_interrupted();
}

static tern_status generate(tern_session *session, const tern_tokenizer *tokenizer, const tern_train_sample *sample,
                            tern_error *err) {
    tern_generate_params params = tern_generate_defaults();
    params.max_tokens = SAMPLE_TOKENS;
    params.sampler.seed = sample->step;
    if (!sample->chat)
        return tern_generate(session, sample->prompt, strlen(sample->prompt), &params, print_text, NULL, NULL, err);
    const tern_message message = {"user", sample->prompt};
    int32_t *ids;
    size_t n_ids;
    tern_status status = tern_chat_tokenize(tokenizer, &message, 1, true, TERN_TOKENIZE_BOS, &ids, &n_ids, err);
    if (status)
        return status;
    status = tern_generate_ids(session, ids, n_ids, &params, print_text, NULL, NULL, err);
    tern_free(ids);
    return status;
}

tern_status tern_train_display_sample(tern_train_display *display, const tern_train_sample *sample, tern_error *err) {
    tern_model *model;
    tern_session *session = NULL;
    tern_model_params load = tern_model_defaults();
    load.n_threads = sample->n_threads;
    load.lora = sample->adapter;
    tern_status status = tern_model_load(sample->model, &load, &model, err);
    if (status)
        return status;
    status = tern_session_create(model, NULL, &session, err);
    tern_train_display_clear(display);
    if (!status) {
        fprintf(stderr, "sample of step %" PRIu64 "%s: %s%s", sample->step, sample->note, sample->prompt,
                sample->chat ? " > " : "");
        status = generate(session, tern_model_tokenizer(model), sample, err);
        fputc('\n', stderr);
    }
    tern_session_free(session);
    tern_model_free(model);
    return status;
}

void tern_train_display_warn(void *user, const char *message) {
    tern_train_display_clear(user);
    tern_cli_warn("%s", message);
}

bool tern_train_display_go_on(void *user) {
    (void)user;
    return !tern_interrupted();
}

static void print_line(const tern_loop_report *report) {
    char left[32], validation[48] = "";
    if (isfinite(report->validation))
        snprintf(validation, sizeof validation, ", validation %.4f nats", report->validation);
    fprintf(stderr, "step %" PRIu64 "/%" PRIu64 ": loss %.4f nats%s, %.0f tok/s, %.1f GFLOP/s, %s left\n", report->step,
            report->n_steps, report->smoothed, validation, report->tokens_per_second, report->flops * 1e-9,
            tern_format_seconds(left, report->seconds_left));
}

void tern_train_display_progress(void *user, const tern_loop_report *report) {
    tern_train_display *display = user;
    if (!display->started) {
        display->started = true;
        display->first_step = report->step - 1;
        tern_progress_start(&display->bar, display->label, TERN_PROGRESS_TOKENS);
    }
    uint64_t tenth = report->n_steps / 10 ? report->n_steps / 10 : 1;
    bool terminal = display->bar.enabled;
    if (isfinite(report->validation) || (!terminal && report->step % tenth == 0)) {
        tern_train_display_clear(display);
        print_line(report);
    }
    /* tokens of this process's steps, so that rate and time left are of now */
    uint64_t done = report->step - display->first_step, all = report->n_steps - display->first_step;
    double step_tokens = (double)report->tokens / (double)report->step;
    snprintf(display->label, sizeof display->label, "step %" PRIu64 "/%" PRIu64 "  loss %.3f", report->step,
             report->n_steps, report->smoothed);
    tern_progress_update(&display->bar, (uint64_t)((double)done * step_tokens), (uint64_t)((double)all * step_tokens));
}
