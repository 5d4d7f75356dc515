#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/hf.h"
#include "format/peft.h"
#include "format/safetensors_write.h"

/* As the machine's bytes lie: tern runs on little-endian ones. */
static tern_status write_weights(const char *path, const tern_peft_tensor *tensors, size_t n, tern_error *err) {
    tern_safetensors_writer *writer;
    tern_status status = tern_safetensors_writer_create(path, &writer, err);
    if (status)
        return status;
    for (size_t i = 0; i < n; i++)
        tern_safetensors_put_tensor(writer, tensors[i].name, "F32", (uint64_t[]){tensors[i].rows, tensors[i].cols}, 2);
    status = tern_safetensors_begin_data(writer, err);
    for (size_t i = 0; !status && i < n; i++)
        status = tern_safetensors_write_data(writer, tensors[i].values,
                                             (size_t)tensors[i].rows * tensors[i].cols * sizeof(float), err);
    if (!status)
        return tern_safetensors_writer_finish(writer, err);
    tern_safetensors_writer_abort(writer);
    return status;
}

/* NULL: no memory. */
static json_t *config_of(uint32_t r, float alpha, const char *const *targets, size_t n_targets) {
    json_t *list = json_array();
    for (size_t i = 0; i < n_targets; i++)
        if (json_array_append_new(list, json_string(targets[i]))) {
            json_decref(list);
            return NULL;
        }
    return json_pack("{s:s, s:s, s:n, s:s, s:b, s:f, s:I, s:f, s:b, s:b, s:b, s:o}", "peft_type", "LORA", "task_type",
                     "CAUSAL_LM", "base_model_name_or_path", "bias", "none", "fan_in_fan_out", 0, "lora_alpha",
                     (double)alpha, "r", (json_int_t)r, "lora_dropout", 0.0, "use_dora", 0, "use_rslora", 0,
                     "inference_mode", 1, "target_modules", list);
}

static tern_status write_config(const char *path, json_t *config, tern_error *err) {
    char *text = config ? json_dumps(config, JSON_INDENT(2)) : NULL;
    tern_writer writer;
    tern_status status = text ? tern_writer_open(path, &writer, err) : tern_fail_memory(err, "the adapter");
    if (!status) {
        fputs(text, writer.file);
        fputs("\n", writer.file);
        status = tern_writer_commit(&writer, err);
    }
    free(text);
    return status;
}

tern_status tern_peft_write(const char *folder, uint32_t r, float alpha, const char *const *targets, size_t n_targets,
                            const tern_peft_tensor *tensors, size_t n, tern_error *err) {
    tern_buffer weights = {0}, config = {0};
    tern_buffer_printf(&weights, "%s/adapter_model.safetensors", folder);
    tern_buffer_printf(&config, "%s/adapter_config.json", folder);
    tern_status status = weights.failed || config.failed ? tern_fail_memory(err, "the adapter") : TERN_OK;
    if (!status && mkdir(folder, 0777) && errno != EEXIST)
        status = tern_fail(err, TERN_ERR_IO, "%s: cannot make the folder: %s", folder, strerror(errno));
    if (!status)
        unlink(config.bytes); /* an old one must never stand beside new matrices */
    if (!status)
        status = write_weights(weights.bytes, tensors, n, err);
    json_t *root = status ? NULL : config_of(r, alpha, targets, n_targets);
    if (!status)
        status = write_config(config.bytes, root, err);
    json_decref(root);
    tern_buffer_free(&weights);
    tern_buffer_free(&config);
    return status;
}
