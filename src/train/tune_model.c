/* The model that a run begins with, and the one that it leaves. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "model/demo.h"
#include "model/scales.h"
#include "train/export.h"
#include "train/tune_parts.h"

enum { WIDTHS = 128 }; /* as a run's configuration has them (train/config.c) */

/* "folder/name" into path, which is returned. */
static const char *in_folder(char path[static 1100], const char *folder, const char *name) {
    snprintf(path, 1100, "%s/%s", folder, name);
    return path;
}

/* -------------------------------------------------------------------- opening */

/* The file that the run had; where its path leads nowhere (it may be relative to another folder), the copy that is in
 * what the run exported. */
static tern_status find_state_tokenizer(tune *t, const char *path, tern_error *err) {
    char copy[1100];
    if (!path || !tern_file_exists(path))
        path = in_folder(copy, t->p->model, "master/tokenizer.json");
    if (!tern_file_exists(path))
        return TERN_OK;
    t->tokenizer = strdup(path);
    return t->tokenizer ? TERN_OK : tern_fail_memory(err, path);
}

/* A state has no chat template; what the run exported has the one that it was given. */
static tern_status find_state_template(tune *t, tern_error *err) {
    char path[1100];
    tern_checkpoint *exported;
    if (tern_checkpoint_open(in_folder(path, t->p->model, "master"), &exported, NULL))
        return TERN_OK; /* the run is not over: none */
    if (exported->chat_template)
        t->chat_template = strdup(exported->chat_template);
    bool failed = exported->chat_template && !t->chat_template;
    tern_checkpoint_close(exported);
    return failed ? tern_fail_memory(err, "the chat template") : TERN_OK;
}

/* A run's own configuration says what its values are. */
static tern_status open_state(tune *t, tern_error *err) {
    tern_error warning = {0};
    tern_train_config config;
    bool found = false;
    if (t->p->kind == TERN_TUNE_LORA)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "%s: holds the state of a run, whose weights are not ternary; give the model that it "
                         "exported, or train adapters of the masters with --merge",
                         t->p->model);
    tern_status status = tern_state_look(t->p->model, &t->state, &found, &warning, err);
    if (!status && !found)
        status = tern_fail(err, TERN_ERR_IO, "%s: holds no state of a run", t->p->model);
    if (status)
        return status;
    t->from_state = true;
    if (warning.message[0])
        tern_tune_warn(t, warning.message);
    status = tern_train_config_parse(t->state.state.config, t->state.path, &config, err);
    if (status)
        return status;
    if (t->state.state.step < config.schedule.n_steps) {
        char message[1200];
        snprintf(message, sizeof message,
                 "%s: that run is not over: its state of step %" PRIu64 " of %" PRIu64 " is what this one begins with",
                 t->p->model, t->state.state.step, config.schedule.n_steps);
        tern_tune_warn(t, message);
    }
    t->dims = config.dims;
    t->mode = config.weights;
    status = find_state_tokenizer(t, config.tokenizer, err);
    if (!status)
        status = find_state_template(t, err);
    tern_train_config_free(&config);
    return status;
}

static tern_status open_checkpoint(tune *t, tern_error *err) {
    tern_status status = tern_open_model(t->p->model, &t->checkpoint, err);
    tern_weights bound;
    if (!status)
        status = tern_weights_bind(t->checkpoint, &bound, err);
    if (status)
        return status;
    status = tern_params_check_layout(&bound, err);
    if (!status && t->p->kind == TERN_TUNE_LORA) /* now, before anything is planned */
        status = tern_scales_find(t->checkpoint, t->pool, &bound, err);
    if (!status)
        status = tern_scales_refuse(&bound, "training", err);
    if (status) {
        tern_weights_free(&bound);
        return status;
    }
    t->dims = bound.dims;
    t->mode = TERN_WEIGHTS_TERNARY;
    t->base_bytes = bound.n_ternary / 4 + bound.embedding->bytes; /* packed as t2r16; the embedding stays as stored */
    tern_weights_free(&bound);
    return TERN_OK;
}

/* Two names of one file or folder. */
static bool same_file(const char *a, const char *b) {
    char *whole_a = realpath(a, NULL), *whole_b = realpath(b, NULL);
    bool same = whole_a && whole_b ? strcmp(whole_a, whole_b) == 0 : strcmp(a, b) == 0;
    free(whole_a);
    free(whole_b);
    return same;
}

/* What the run leaves must not take the place of what it begins with. */
static tern_status check_out(const tune *t, tern_error *err) {
    static const char *const left[] = {"model.gguf", "master", "packed"};
    const tern_tune_params *p = t->p;
    char path[1100];
    if (same_file(p->model, p->out))
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: is the model and the run's folder at once; give another folder",
                         p->out);
    if (p->adapter && same_file(p->adapter, p->out))
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "%s: is the adapter to begin with and the run's folder at once; give another folder", p->out);
    for (size_t i = 0; p->kind != TERN_TUNE_LORA && i < sizeof left / sizeof *left; i++)
        if (same_file(p->model, in_folder(path, p->out, left[i])))
            return tern_fail(err, TERN_ERR_ARGUMENT,
                             "%s: this run would write its own model over the one it begins with; give another folder",
                             path);
    return TERN_OK;
}

tern_status tern_tune_open(tune *t, tern_error *err) {
    char newest[1100], previous[1100];
    tern_status status = check_out(t, err);
    if (status)
        return status;
    in_folder(newest, t->p->model, TERN_STATE_NAME);
    in_folder(previous, t->p->model, TERN_STATE_PREVIOUS);
    bool is_run = tern_file_exists(newest) || tern_file_exists(previous);
    status = is_run ? open_state(t, err) : open_checkpoint(t, err);
    if (!status && (t->dims.hidden_size % WIDTHS || t->dims.ffn_size % WIDTHS))
        status = tern_fail(err, TERN_ERR_UNSUPPORTED,
                           "%s: hidden size %" PRIu32 " and FFN size %" PRIu32
                           " must be multiples of %d to be trained and exported",
                           t->p->model, t->dims.hidden_size, t->dims.ffn_size, WIDTHS);
    if (!status &&
        tern_q_size(&t->dims) != t->dims.hidden_size) /* the configuration that a run is stored with divides */
        status = tern_fail(err, TERN_ERR_UNSUPPORTED,
                           "%s: its heads were pruned (%" PRIu32 " of %" PRIu32 " do not make the hidden size %" PRIu32
                           "); only models that were pruned in the FFN alone are trained",
                           t->p->model, t->dims.n_heads, t->dims.head_dim, t->dims.hidden_size);
    return status;
}

static tern_status hash_file(const char *path, uint64_t *hash, tern_error *err) {
    tern_map map;
    tern_status status = tern_map_open(path, &map, err);
    if (status)
        return status;
    *hash = tern_hash_bytes(map.data, map.size);
    tern_map_close(&map);
    return TERN_OK;
}

static const char *template_of(const tune *t) {
    return t->checkpoint ? t->checkpoint->chat_template : t->chat_template;
}

tern_status tern_tune_find_tokenizer(tune *t, tern_error *err) {
    char path[1100];
    if (t->p->plan_only)
        return TERN_OK;
    if (t->p->tokenizer) {
        free(t->tokenizer);
        t->tokenizer = strdup(t->p->tokenizer);
    } else if (!t->tokenizer && tern_file_exists(in_folder(path, t->p->model, "tokenizer.json"))) {
        t->tokenizer = strdup(path);
    }
    if (!t->tokenizer && t->p->kind == TERN_TUNE_LORA)
        return TERN_OK; /* an adapter has none, and so there is none to compare with */
    if (!t->tokenizer)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "%s: has no tokenizer.json, which the trained model will need; name one with --tokenizer",
                         t->p->model);
    uint64_t wanted = tern_shard_describe(t->shard)->tokenizer_hash, hash, of_model = 0;
    tern_status status = hash_file(t->tokenizer, &hash, err);
    /* a shard may also have been made with the model's own file */
    if (!status && wanted && wanted != hash && (hash_file(t->p->model, &of_model, NULL) || wanted != of_model))
        status = tern_fail(err, TERN_ERR_ARGUMENT, "%s: was not made with the tokenizer %s; make it anew with this one",
                           tern_shard_name(t->shard), t->tokenizer);
    if (status || t->p->kind == TERN_TUNE_LORA)
        return status;
    return tern_export_check_tokenizer(t->tokenizer, t->dims.vocab_size, template_of(t), err);
}

/* -------------------------------------------------------------------- loading */

static tern_status load_state(tune *t, tern_error *err) {
    if (t->state.n_arrays < 1 || t->state.n_values != t->params.n_values)
        return tern_fail(err, TERN_ERR_FORMAT,
                         "%s: holds %" PRIu64 " values where the model has %zu; it is the state of adapters or damaged",
                         t->state.path, t->state.n_values, t->params.n_values);
    memcpy(t->params.values, t->state.arrays, t->params.n_values * sizeof(float));
    tern_state_close(&t->state);
    t->from_state = false;
    const tern_param *bad = tern_params_find_bad(&t->params, t->params.values);
    return bad ? tern_fail(err, TERN_ERR_FORMAT, "%s: %s holds a value that is not finite", t->p->model, bad->name)
               : TERN_OK;
}

tern_status tern_tune_load(tune *t, tern_error *err) {
    if (t->p->kind == TERN_TUNE_LORA) {
        const tern_ternary *ternary;
        tern_status status = tern_net_ternary(t->p->cpu, &ternary, err);
        return status ? status : tern_weights_load(t->checkpoint, ternary, t->pool, NULL, &t->weights, err);
    }
    tern_status status = tern_params_create(&t->dims, t->p->kind != TERN_TUNE_MERGE, &t->params, err);
    if (status)
        return status;
    return t->from_state ? load_state(t, err) : tern_params_load(t->checkpoint, &t->params, err);
}

void tern_tune_close(tune *t) {
    if (t->from_state)
        tern_state_close(&t->state);
    tern_weights_free(&t->weights);
    tern_checkpoint_close(t->checkpoint);
    free(t->tokenizer);
    free(t->chat_template);
}

/* -------------------------------------------------------------------- exporting */

static tern_status export_one(const tune *t, tern_export_kind kind, const char *path, tern_error *err) {
    const char *slash = strrchr(t->p->out, '/');
    const tern_export_params how = {
        .kind = kind,
        .mode = t->mode,
        .weight_type = t->mode == TERN_WEIGHTS_FLOAT ? "F32" : NULL,
        .embedding_type = "F32", /* as it is in training: the logits are the same bits */
        .tokenizer_json = t->tokenizer,
        .name = slash && slash[1] ? slash + 1 : t->p->out,
        .chat_template = template_of(t),
    };
    return tern_export(t->p->kind == TERN_TUNE_MERGE ? &t->merge.merged : &t->params, &how, path, err);
}

tern_status tern_tune_check_places(const tune *t, tern_error *err) {
    static const char *const adapter[] = {"adapter_config.json", "adapter_model.safetensors"};
    char path[1100];
    if (t->p->plan_only || tern_comm_rank(t->comm) != 0)
        return TERN_OK;
    if (t->p->kind != TERN_TUNE_LORA)
        return tern_export_check_folder(t->p->out, t->mode, err);
    for (size_t i = 0; i < sizeof adapter / sizeof *adapter; i++)
        if (tern_is_directory(in_folder(path, t->p->out, adapter[i])))
            return tern_fail(err, TERN_ERR_IO, "%s: is a folder, where the adapter is to be written", path);
    return TERN_OK;
}

tern_status tern_tune_export(tune *t, tern_error *err) {
    char path[1100];
    if (t->p->kind == TERN_TUNE_LORA) {
        tern_status status = tern_lora_save(&t->lora, t->p->out, err);
        if (!status && t->p->on_export)
            t->p->on_export(t->p->user, t->p->out);
        return status;
    }
    for (size_t i = 0; i < TERN_N_RUN_EXPORTS; i++) {
        const tern_run_export *export = &tern_run_exports[i];
        if (t->mode == TERN_WEIGHTS_FLOAT && !export->of_floats)
            continue;
        tern_status status = export_one(t, export->kind, in_folder(path, t->p->out, export->name), err);
        if (status)
            return status;
        if (t->p->on_export)
            t->p->on_export(t->p->user, path);
    }
    return TERN_OK;
}

tern_status tern_tune_sample_now(tune *t, uint64_t step, tern_error *err) {
    static const char *const of_adapter[] = {"adapter_config.json", "adapter_model.safetensors"};
    char path[1100], file[1200];
    bool beside = t->p->kind == TERN_TUNE_LORA;
    in_folder(path, t->p->out, beside ? "sample" : "sample.gguf");
    tern_status status = beside ? tern_lora_save(&t->lora, path, err) : export_one(t, TERN_EXPORT_GGUF, path, err);
    if (!status) {
        const tern_tune_sample sample = {.step = step,
                                         .model = beside ? t->p->model : path,
                                         .adapter = beside ? path : NULL,
                                         .prompt = t->config.sample_prompt,
                                         .chat = tern_shard_describe(t->shard)->kind != TERN_SHARD_TEXT};
        status = t->p->on_sample(t->p->user, &sample, err);
    }
    for (size_t i = 0; beside && i < sizeof of_adapter / sizeof *of_adapter; i++) {
        snprintf(file, sizeof file, "%s/%s", path, of_adapter[i]);
        unlink(file);
    }
    if (beside)
        rmdir(path);
    else
        unlink(path);
    return status;
}
