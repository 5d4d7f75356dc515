#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "format/hf.h"
#include "format/peft.h"
#include "format/safetensors_write.h"

/* As the machine's bytes lie: tern runs on little-endian ones. All of it is written, but not under its name yet. */
static tern_status write_weights(const char *path, const tern_peft_tensor *tensors, size_t n,
                                 tern_safetensors_writer **out, tern_error *err) {
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
    if (status)
        tern_safetensors_writer_abort(writer);
    else
        *out = writer;
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

/* The same. Takes over `config`; NULL: it could not be made. */
static tern_status write_config(const char *path, json_t *config, tern_writer *writer, tern_error *err) {
    char *text = config ? tern_json_dump(config, JSON_INDENT(2)) : NULL;
    tern_status status = text ? tern_writer_open(path, writer, err) : tern_fail_memory(err, "the adapter");
    errno = 0;
    if (!status && (fprintf(writer->file, "%s\n", text) < 0 || fflush(writer->file))) {
        status = tern_fail(err, TERN_ERR_IO, "%s: cannot write: %s", path, errno ? strerror(errno) : "write failed");
        tern_writer_abort(writer);
    }
    free(text);
    json_decref(config);
    return status;
}

/* Both files are on the disk before one of an adapter that was there is touched. An old configuration must never stand
 * beside new matrices. */
static tern_status write_both(const char *weights_path, const char *config_path, json_t *config,
                              const tern_peft_tensor *tensors, size_t n, tern_error *err) {
    tern_safetensors_writer *weights = NULL;
    tern_writer writer;
    tern_status status = write_config(config_path, config, &writer, err);
    if (status)
        return status;
    status = write_weights(weights_path, tensors, n, &weights, err);
    if (!status) {
        unlink(config_path);
        status = tern_safetensors_writer_finish(weights, err);
    }
    if (!status)
        return tern_writer_commit(&writer, err);
    tern_writer_abort(&writer);
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
        status = write_both(weights.bytes, config.bytes, config_of(r, alpha, targets, n_targets), tensors, n, err);
    tern_buffer_free(&weights);
    tern_buffer_free(&config);
    return status;
}
