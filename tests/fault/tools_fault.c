/* Out of memory in what makes new models of models (fault/failing.h): tern prune, tern quantize, and tern convert to a
 * folder. What is not whole must leave nothing behind. */
#include <dirent.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/guard.h"
#include "base/status.h"
#include "fault/failing.h"
#include "prune/prune.h"
#include "quant/quantize.h"

static const char text[] =
    "Some birds fly over the sea, and 25 fish swim under it. What do they eat, and when do they sleep? "
    "Nobody knows, said the oldest of them, and flew on. The sea was calm that day.";
static char folder[] = "/tmp/tern-tools-fault-XXXXXX";
static char ternary[64], floats[64], packed[64], out[64];

static void remove_tree(const char *path) {
    char name[512];
    DIR *directory = opendir(path);
    for (const struct dirent *entry; directory && (entry = readdir(directory));) {
        snprintf(name, sizeof name, "%.200s/%.255s", path, entry->d_name);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && unlink(name))
            remove_tree(name);
    }
    if (directory)
        closedir(directory);
    rmdir(path);
}

/* Adds the bytes of a file to a sum that does not depend on the order of files. */
static void add_file(const char *path, const char *name, uint64_t *sum) {
    uint64_t hash = 14695981039346656037u;
    FILE *file = fopen(path, "re");
    for (const char *c = name; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    for (int c; file && (c = getc_unlocked(file)) != EOF;)
        hash = (hash ^ (unsigned)c) * 1099511628211u;
    if (file)
        fclose(file);
    *sum += hash;
}

static void add_all(const char *path, uint64_t *sum) {
    char name[512];
    DIR *directory = opendir(path);
    if (!directory)
        add_file(path, "out", sum);
    for (const struct dirent *entry; directory && (entry = readdir(directory));) {
        snprintf(name, sizeof name, "%.200s/%.255s", path, entry->d_name);
        if (entry->d_name[0] != '.')
            add_file(name, entry->d_name, sum);
    }
    if (directory)
        closedir(directory);
}

/* Whatever begins with "out": the new model, if all went well, the same as ever (*good, 0 at first); else there must be
 * nothing. */
static tern_status clean_up(tern_status status, uint64_t *good, tern_error *err) {
    char name[512], left[256] = "";
    uint64_t sum = 0;
    add_all(out, &sum);
    if (!status && *good && sum != *good)
        status = tern_fail(err, TERN_ERR_FORMAT, "another model than with memory");
    if (!status)
        *good = sum;
    DIR *directory = opendir(folder);
    for (const struct dirent *entry; directory && (entry = readdir(directory));) {
        if (strncmp(entry->d_name, "out", 3) != 0)
            continue;
        snprintf(left, sizeof left, "%.200s", entry->d_name);
        snprintf(name, sizeof name, "%s/%.255s", folder, entry->d_name);
        if (unlink(name))
            remove_tree(name);
    }
    if (directory)
        closedir(directory);
    if (status == TERN_ERR_MEMORY && left[0])
        return tern_fail(err, TERN_ERR_FORMAT, "%s was left behind", left);
    return status;
}

static uint64_t good; /* of the scenario that runs */

static tern_status prune(const char *path, tern_error *err) {
    const tern_prune_calibration how = {.text = text, .n_bytes = sizeof text - 1, .gradients = true};
    const tern_prune_choice choice = {.heads = 0.5, .ffn = 0.5, .score = TERN_PRUNE_TAYLOR};
    tern_prune_plan plan;
    tern_pruner *pruner = NULL;
    tern_status status = tern_pruner_create(path, 1, &pruner, err);
    if (!status)
        status = tern_pruner_try_output(pruner, out, err);
    if (!status)
        status = tern_pruner_calibrate(pruner, &how, err);
    if (!status)
        status = tern_pruner_choose(pruner, &choice, &plan, err);
    if (!status)
        status = tern_pruner_write(pruner, out, err);
    tern_pruner_free(pruner);
    return clean_up(status, &good, err);
}

static tern_status quantize(const char *path, tern_error *err) {
    const tern_quantize_params params = {.type = "I2_S",
                                         .calibration = text,
                                         .calibration_bytes = sizeof text - 1,
                                         .calibration_tokens = 64,
                                         .n_threads = 1};
    double loss;
    size_t n;
    tern_status status = tern_float_loss(path, text, sizeof text - 1, 64, 1, NULL, NULL, &loss, NULL, err);
    if (!status)
        status = tern_quantize(path, out, &params, &n, err);
    return clean_up(status, &good, err);
}

static tern_status to_folder(const char *path, tern_error *err) {
    const tern_convert_params params = {.type = "hf-packed", .n_threads = 1};
    return clean_up(tern_convert(path, out, &params, err), &good, err);
}

/* Small models to begin with: ternary, of floats, and a folder. */
static tern_status make_models(tern_error *err) {
    const tern_convert_params params = {.type = "hf-packed", .n_threads = 1};
    tern_synth_params shape;
    snprintf(ternary, sizeof ternary, "%s/ternary.gguf", folder);
    snprintf(floats, sizeof floats, "%s/floats.gguf", folder);
    snprintf(packed, sizeof packed, "%s/packed", folder);
    snprintf(out, sizeof out, "%s/out", folder);
    tern_status status = tern_synth_shape("tiny", &shape, err);
    if (status)
        return status;
    shape.vocab_size = 300;
    shape.hidden_size = 128;
    shape.ffn_size = 256;
    shape.n_layers = 1;
    shape.n_heads = 2, shape.n_kv_heads = 2;
    status = tern_synth(ternary, &shape, err);
    shape.weight_type = "F32";
    if (!status)
        status = tern_synth(floats, &shape, err);
    return status ? status : tern_convert(ternary, packed, &params, err);
}

static int run(tern_fault_scenario *scenario, const char *path) {
    enum { MOST = 150 };
    good = 0;
    return tern_fault_run(scenario, path, MOST);
}

int main(void) {
    tern_error err;
    if (!mkdtemp(folder))
        return 1;
    json_set_alloc_funcs(tern_guard_malloc, tern_guard_free);
    int failures = make_models(&err) != TERN_OK;
    if (failures)
        fprintf(stderr, "tools_fault: %s\n", err.message);
    failures = failures || run(prune, ternary) || run(prune, packed) || run(quantize, floats) ||
               run(to_folder, ternary) || run(to_folder, packed);
    remove_tree(folder);
    return failures;
}
