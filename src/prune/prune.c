/* A model that is to be pruned: opened, loaded and, in the end, written. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cpu.h"
#include "base/file.h"
#include "base/mem.h"
#include "model/demo.h"
#include "model/scales.h"
#include "prune/parts.h"

/* Activations of a whole network above this are made again in the backward pass. */
#define RECOMPUTE_ABOVE ((uint64_t)1 << 30)
enum { WINDOW = 256, WIDTHS = 16 };

/* Matrices in tern's own layout: unpacking does not tell codes that are no ternary values. */
static tern_status check_stored(const tern_pruner *pruner, tern_error *err) {
    const tern_weights *weights = &pruner->weights;
    tern_status status = TERN_OK;
    for (uint32_t i = 0; !status && i < weights->dims.n_layers; i++)
        for (int j = 0; !status && j < TERN_LINEARS_PER_LAYER; j++) {
            const tern_linear *linear = &weights->layers[i].linears[j];
            if (!linear->stored)
                return TERN_OK;
            status = tern_check_linear(linear, err);
            tern_checkpoint_release(pruner->checkpoint, linear->source);
        }
    if (status)
        tern_error_prefix(err, "%s", pruner->checkpoint->path);
    return status;
}

static tern_status load(tern_pruner *pruner, tern_error *err) {
    const tern_checkpoint *checkpoint = pruner->checkpoint;
    const tern_ternary *ternary;
    if (checkpoint->config.no_sub_norms)
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "%s: is a model of the LLaMA layout; tern prunes models of BitNet's layout, with its norms in "
                         "front of the output projections. Prune it where it was trained, then tern quantize it",
                         checkpoint->path);
    tern_status status = tern_net_ternary(NULL, &ternary, err);
    if (!status)
        status = tern_weights_load(checkpoint, ternary, pruner->pool, NULL, &pruner->weights, err);
    if (!status)
        status = tern_scales_refuse(&pruner->weights, "pruning", err);
    if (!status)
        status = check_stored(pruner, err);
    const tern_dims *dims = &pruner->weights.dims;
    if (!status && (dims->hidden_size % WIDTHS || dims->ffn_size % WIDTHS || tern_q_size(dims) % WIDTHS))
        status = tern_fail(err, TERN_ERR_UNSUPPORTED,
                           "%s: hidden size %u, FFN size %u and the heads' %u must be multiples of %d",
                           checkpoint->path, dims->hidden_size, dims->ffn_size, tern_q_size(dims), WIDTHS);
    return status;
}

static bool make_side(prune_side *side, uint32_t n_layers, int which, uint32_t n_units, uint32_t width) {
    size_t units = (size_t)n_layers * n_units;
    *side = (prune_side){.which = which, .n_units = n_units, .width = width, .n_kept = n_units};
    side->moments = tern_calloc_array(units, (size_t)width * width * sizeof *side->moments);
    side->taylor = tern_calloc_array(units, sizeof *side->taylor);
    side->activation = tern_calloc_array(units, sizeof *side->activation);
    side->kept = tern_calloc_array(units, width * sizeof *side->kept);
    side->factor = tern_calloc_array(n_layers, sizeof *side->factor);
    return side->moments && side->taylor && side->activation && side->kept && side->factor;
}

static tern_status make_sides(tern_pruner *pruner, tern_error *err) {
    const tern_dims *dims = &pruner->weights.dims;
    pruner->n_window = dims->n_ctx < WINDOW ? dims->n_ctx : WINDOW;
    pruner->kept_kv = tern_calloc_array((size_t)dims->n_layers * tern_kv_size(dims), sizeof *pruner->kept_kv);
    bool ok = make_side(&pruner->sides[PRUNE_ATTENTION], dims->n_layers, TERN_PARAM_O, dims->n_heads, dims->head_dim);
    ok = make_side(&pruner->sides[PRUNE_FFN], dims->n_layers, TERN_PARAM_DOWN, dims->ffn_size, 1) && ok;
    return ok && pruner->kept_kv ? TERN_OK : tern_fail_memory(err, "the scores");
}

tern_status tern_pruner_create(const char *path, int n_threads, tern_pruner **out, tern_error *err) {
    tern_pruner *pruner = calloc(1, sizeof *pruner);
    if (!pruner)
        return tern_fail_memory(err, "pruning");
    tern_status status = tern_open_model(path, &pruner->checkpoint, err);
    if (!status)
        status = tern_pool_create(n_threads > 0 ? n_threads : tern_cpu_count(), &pruner->pool, err);
    if (!status)
        status = load(pruner, err);
    if (!status)
        status = make_sides(pruner, err);
    if (status) {
        tern_pruner_free(pruner);
        return status;
    }
    *out = pruner;
    return TERN_OK;
}

void tern_pruner_free(tern_pruner *pruner) {
    if (!pruner)
        return;
    for (int i = 0; i < PRUNE_SIDES; i++) {
        prune_side *side = &pruner->sides[i];
        free(side->moments);
        free(side->taylor);
        free(side->activation);
        free(side->kept);
        free(side->factor);
    }
    free(pruner->kept_kv);
    free(pruner->ids);
    tern_aligned_free(pruner->inverse);
    tern_net_free(pruner->net);
    tern_weights_free(&pruner->weights);
    tern_checkpoint_close(pruner->checkpoint);
    tern_pool_free(pruner->pool);
    free(pruner);
}

tern_status tern_prune_make_net(tern_pruner *pruner, bool gradients, tern_error *err) {
    tern_net_params how = {.max_tokens = TERN_PRUNE_BATCH > pruner->n_window ? TERN_PRUNE_BATCH : pruner->n_window,
                           .forward_only = !gradients,
                           .probe = tern_prune_probe,
                           .probe_user = pruner,
                           .n_threads = tern_pool_threads(pruner->pool)};
    how.recompute = gradients && tern_net_frozen_bytes(&pruner->weights.dims, &how) > RECOMPUTE_ABOVE;
    pruner->inverse = tern_aligned_alloc(how.max_tokens * sizeof *pruner->inverse);
    if (!pruner->inverse)
        return tern_fail_memory(err, "the scores");
    return tern_net_create_frozen(&pruner->weights, &how, pruner->pool, &pruner->net, err);
}

/* ------------------------------------------------------------------ output */

bool tern_pruner_is_folder(const tern_pruner *pruner) { return pruner->checkpoint->kind == TERN_CHECKPOINT_HF; }

tern_status tern_pruner_check_output(const tern_pruner *pruner, const char *path, tern_error *err) {
    struct stat in, out;
    const char *source = pruner->checkpoint->path;
    if (stat(path, &out))
        return errno == ENOENT ? TERN_OK : tern_fail(err, TERN_ERR_IO, "%s: %s", path, strerror(errno));
    if (stat(source, &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: is the model that is to be pruned; write to another place", path);
    if (tern_pruner_is_folder(pruner) != S_ISDIR(out.st_mode))
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: is %s, but of %s a %s is made; name another", path,
                         S_ISDIR(out.st_mode) ? "a folder" : "no folder", source,
                         tern_pruner_is_folder(pruner) ? "folder" : "GGUF file");
    return TERN_OK;
}

tern_status tern_pruner_try_output(const tern_pruner *pruner, const char *path, tern_error *err) {
    tern_writer writer;
    if (tern_pruner_is_folder(pruner))
        return tern_prune_try_hf(path, err);
    tern_status status = tern_writer_open(path, &writer, err);
    if (!status)
        tern_writer_abort(&writer);
    return status;
}

tern_status tern_pruner_write(tern_pruner *pruner, const char *path, tern_error *err) {
    if (!pruner->chosen)
        return tern_fail(err, TERN_ERR_ARGUMENT, "nothing was chosen to be pruned");
    tern_status status = tern_pruner_check_output(pruner, path, err);
    if (status)
        return status;
    return tern_pruner_is_folder(pruner) ? tern_prune_write_hf(pruner, path, err)
                                         : tern_prune_write_gguf(pruner, path, err);
}
