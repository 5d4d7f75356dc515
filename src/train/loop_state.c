/* How a run begins, goes on and is saved. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "train/loop_parts.h"

/* The folder, and those that it lies in. */
static tern_status make_folder(const char *path, tern_error *err) {
    char *part = strdup(path);
    if (!part)
        return tern_fail_memory(err, path);
    bool bad = false;
    for (char *at = part + 1; *at && !bad; at++)
        if (*at == '/') {
            *at = 0;
            bad = mkdir(part, 0777) && errno != EEXIST;
            *at = '/';
        }
    bad = bad || (mkdir(part, 0777) && errno != EEXIST);
    int code = errno;
    free(part);
    if (bad)
        return tern_fail(err, TERN_ERR_IO, "%s: cannot make the folder of the run: %s", path, strerror(code));
    if (!tern_is_directory(path))
        return tern_fail(err, TERN_ERR_IO, "%s: is a file, but the folder of the run is wanted (\"out\")", path);
    return TERN_OK;
}

static void warn(const tern_run *run, const char *message) {
    if (run->hooks->warn)
        run->hooks->warn(run->hooks->user, message);
}

static tern_status check_state(const tern_run *run, const tern_state_file *file, tern_error *err) {
    if (run->hooks->accept_changes) {
        tern_status status = tern_train_config_check_shape(run->config, file->state.config, file->path, err);
        if (status)
            return status;
    }
    if (!run->hooks->accept_changes) {
        tern_status status = tern_train_config_check_same(run->config, file->state.config, file->path, err);
        if (status)
            return status;
        if (file->state.data_hash != run->objective->data_hash)
            return tern_fail(err, TERN_ERR_ARGUMENT,
                             "%s: this run has had other data than %s holds now, another model to begin with, or other "
                             "adapter settings or beta; set it back, name another folder (\"out\") for a new run, or "
                             "begin this one anew with --restart",
                             file->path, run->config->data.n == 1 ? run->config->data.list[0] : "\"data\"");
    }
    if (file->state.step > run->config->schedule.n_steps)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: %" PRIu64 " steps are done, more than the %" PRIu64 " \"steps\"",
                         file->path, file->state.step, run->config->schedule.n_steps);
    return TERN_OK;
}

/* *log_bytes: how much of the log belongs to the state. */
static tern_status read_state(tern_run *run, uint64_t *log_bytes, tern_error *err) {
    const tern_trainable *t = run->trainable;
    float *arrays[] = {t->values, t->m, t->v};
    tern_state_file file;
    tern_error warning;
    bool found;
    *log_bytes = 0;
    tern_status status = tern_state_open(run->config->out, &file, &found, &warning, err);
    if (status || !found)
        return status;
    if (*warning.message)
        warn(run, warning.message);
    status = check_state(run, &file, err);
    if (!status)
        status = tern_state_copy(&file, arrays, 3, t->n, err);
    if (!status) {
        run->step = run->saved_step = file.state.step;
        run->tokens = file.state.tokens;
        run->seconds = file.state.seconds;
        *log_bytes = file.state.log_bytes;
    }
    tern_state_close(&file);
    return status;
}

static tern_status begin_first(tern_run *run, tern_error *err) {
    uint64_t log_bytes, short_by;
    char message[256];
    tern_status status = make_folder(run->config->out, err);
    if (!status) /* locked before anything is read or removed; cut off when it is known where */
        status = tern_train_log_open(run->config->out, &run->log, err);
    if (!status && run->hooks->restart)
        status = tern_state_remove(run->config->out, err);
    if (!status)
        status = read_state(run, &log_bytes, err);
    if (!status)
        status = tern_train_log_cut(&run->log, log_bytes, &short_by, err);
    if (!status && short_by) {
        snprintf(message, sizeof message, "%s: %" PRIu64 " bytes of what was logged up to step %" PRIu64 " are missing",
                 run->log.path, short_by, run->step);
        warn(run, message);
    }
    return status;
}

/* Rank 0's counters and arrays to all; a run that begins has the same ones everywhere already. */
static tern_status share_state(tern_run *run, tern_error *err) {
    const tern_trainable *t = run->trainable;
    struct {
        uint64_t step, tokens;
        double seconds;
    } counters = {run->step, run->tokens, run->seconds};
    tern_status status = tern_comm_broadcast(run->comm, &counters, sizeof counters, err);
    if (status)
        return status;
    run->step = run->saved_step = counters.step;
    run->tokens = counters.tokens;
    run->seconds = counters.seconds;
    float *const arrays[] = {t->values, t->m, t->v};
    for (size_t i = 0; !status && run->step && i < sizeof arrays / sizeof *arrays; i++)
        status = tern_comm_broadcast(run->comm, arrays[i], t->n * sizeof(float), err);
    return status;
}

tern_status tern_run_begin(tern_run *run, tern_error *err) {
    run->first = tern_comm_rank(run->comm) == 0;
    run->config_text = tern_train_config_text(run->config);
    tern_status status = run->config_text ? TERN_OK : tern_fail_memory(err, "the configuration's text");
    if (!status && run->first)
        status = begin_first(run, err);
    status = tern_comm_agree(run->comm, status, err);
    return status ? status : share_state(run, err);
}

/* All ranks must have the same weights: each has made every step for itself. */
static tern_status check_ranks(const tern_run *run, tern_error *err) {
    if (tern_comm_size(run->comm) == 1)
        return TERN_OK;
    uint64_t mine = tern_hash_bytes(run->trainable->values, run->trainable->n * sizeof(float)), theirs = mine;
    tern_status status = tern_comm_broadcast(run->comm, &theirs, sizeof theirs, err);
    if (!status && theirs != mine)
        status = tern_fail(err, TERN_ERR_IO,
                           "step %" PRIu64 ": process %d has other weights than process 0; are these machines of "
                           "different kinds? The state of step %" PRIu64 " is kept",
                           run->step, tern_comm_rank(run->comm), run->saved_step);
    return tern_comm_agree(run->comm, status, err);
}

tern_status tern_run_save(tern_run *run, tern_error *err) {
    const tern_trainable *t = run->trainable;
    tern_status status = check_ranks(run, err);
    if (!status && run->first) {
        tern_train_state state = {.step = run->step,
                                  .tokens = run->tokens,
                                  .seconds = run->seconds,
                                  .log_bytes = run->log.bytes,
                                  .config = run->config_text,
                                  .data_hash = run->objective->data_hash};
        float *const arrays[] = {t->values, t->m, t->v};
        status = tern_train_log_sync(&run->log, err);
        if (!status)
            status = tern_state_save(run->config->out, &state, arrays, 3, t->n, err);
    }
    status = tern_comm_agree(run->comm, status, err);
    if (!status)
        run->saved_step = run->step;
    return status;
}

void tern_run_end(tern_run *run) {
    free(run->config_text);
    tern_train_log_close(&run->log);
}
