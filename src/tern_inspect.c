/* tern_inspect(): what a file holds, from its checkpoint, without loading it. */
#include <stdlib.h>
#include <string.h>

#include "model/demo.h"
#include "model/layout.h"
#include "model/scales.h"
#include "model_handle.h"

struct tern_inspection {
    tern_checkpoint *checkpoint;
};

tern_status tern_inspect(const char *path, tern_inspection **out, tern_error *err) {
    tern_inspection *inspection = calloc(1, sizeof *inspection);
    if (!inspection)
        return tern_fail_memory(err, "the inspection");
    tern_status status = tern_open_model(path, &inspection->checkpoint, err);
    if (status)
        free(inspection);
    else
        *out = inspection;
    return status;
}

void tern_inspection_free(tern_inspection *inspection) {
    if (!inspection)
        return;
    tern_checkpoint_close(inspection->checkpoint);
    free(inspection);
}

const char *tern_inspection_format(const tern_inspection *inspection) { return inspection->checkpoint->format; }

const char *tern_inspection_chat_template(const tern_inspection *inspection) {
    return inspection->checkpoint->chat_template;
}

uint64_t tern_inspection_file_bytes(const tern_inspection *inspection) { return inspection->checkpoint->file_bytes; }

size_t tern_inspection_n_tensors(const tern_inspection *inspection) { return inspection->checkpoint->n_tensors; }

/* What a tensor of tern's own layout stands for; false: it is like any other tensor. */
static bool describe_layout(const tern_checkpoint *checkpoint, const tern_tensor *tensor, tern_tensor_info *info) {
    uint32_t layer;
    int which;
    const tern_form *form;
    static const char *const helpers[] = {TERN_SCALES_NAME, "screen."};
    static const char own_scales[] = ".scales";
    size_t length = strlen(tensor->name);
    if (checkpoint->layout_version && length >= sizeof own_scales &&
        strcmp(tensor->name + length - (sizeof own_scales - 1), own_scales) == 0) {
        info->n_parameters = 0;
        return true;
    }
    for (size_t i = 0; checkpoint->layout_version && i < sizeof helpers / sizeof *helpers; i++)
        if (strncmp(tensor->name, helpers[i], strlen(helpers[i])) == 0) {
            info->n_parameters = 0;
            return true;
        }
    if (!tern_layout_identify(checkpoint, tensor, &layer, &which, &form))
        return false;
    char name[128];
    const tern_tensor *scales = tern_checkpoint_find(checkpoint, TERN_SCALES_NAME),
                      *own = tern_checkpoint_find(checkpoint, tern_own_scales_name(name, layer, which));
    info->packing = form->name;
    info->n_parameters = tern_layout_parameters(checkpoint, which);
    if (own && own->rows && own->cols)
        info->scale_columns = (uint32_t)(info->n_parameters / own->cols / own->rows);
    else if (scales && scales->type == TERN_TYPE_F32 && layer < scales->rows &&
             scales->cols == TERN_LINEARS_PER_LAYER) {
        float row[TERN_LINEARS_PER_LAYER];
        tern_codec_of(TERN_TYPE_F32)->decode_row(scales, layer, row);
        info->has_scale = true;
        info->scale = row[which];
    }
    return true;
}

void tern_inspection_tensor(const tern_inspection *inspection, size_t index, tern_tensor_info *info) {
    *info = (tern_tensor_info){0};
    if (index >= inspection->checkpoint->n_tensors)
        return;
    const tern_tensor *tensor = &inspection->checkpoint->tensors[index];
    *info = (tern_tensor_info){
        .name = tensor->name, .type = tensor->type_name, .n_dims = tensor->n_dims, .bytes = tensor->bytes};
    for (uint32_t i = 0; i < tensor->n_dims; i++)
        info->shape[i] = tensor->shape[i];
    info->n_parameters = tensor->rows * tensor->cols;
    if (describe_layout(inspection->checkpoint, tensor, info))
        return;
    const tern_codec *codec = tern_codec_of(tensor->type);
    info->has_scale = codec && codec->scale && codec->scale(tensor, &info->scale, NULL) == TERN_OK;
    if (!info->has_scale)
        info->scale_columns = tern_scales_columns(tensor);
}

size_t tern_inspection_n_metadata(const tern_inspection *inspection) { return inspection->checkpoint->n_metadata; }

void tern_inspection_metadata(const tern_inspection *inspection, size_t index, tern_metadata_info *info) {
    *info = (tern_metadata_info){0};
    if (index >= inspection->checkpoint->n_metadata)
        return;
    const tern_metadata *metadata = &inspection->checkpoint->metadata[index];
    *info = (tern_metadata_info){metadata->key, metadata->type, metadata->value};
}
