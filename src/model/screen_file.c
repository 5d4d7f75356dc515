/* The arrays of a screen as tensors of tern's own layout (docs/FORMAT.md). */
#include <inttypes.h>

#include "format/codec.h"
#include "model/screen.h"

void tern_screen_arrays(tern_screen *screen, tern_screen_array arrays[static TERN_SCREEN_ARRAYS]) {
    uint64_t groups = screen->n_groups, k_pad = screen->k_pad;
    const tern_screen_array all[TERN_SCREEN_ARRAYS] = {
        {"screen.coarse", groups, tern_screen_coarse_bytes(k_pad), {.bytes = &screen->coarse}, false},
        {"screen.steps", groups, tern_screen_step_bytes(k_pad), {.bytes = &screen->steps}, false},
        {"screen.fine", groups, TERN_SCREEN_ROWS * k_pad / 8, {.bytes = &screen->fine}, false},
        {"screen.row_steps", groups, TERN_SCREEN_ROWS, {.floats = &screen->row_steps}, true},
        {"screen.coarse_errors", groups, TERN_SCREEN_ROWS, {.floats = &screen->coarse_errors}, true},
        {"screen.fine_errors", groups, TERN_SCREEN_ROWS, {.floats = &screen->fine_errors}, true},
        {"screen.norms", groups, TERN_SCREEN_ROWS, {.floats = &screen->norms}, true},
        {"screen.centre", 1, k_pad, {.floats = &screen->centre}, true},
    };
    for (size_t i = 0; i < TERN_SCREEN_ARRAYS; i++)
        arrays[i] = all[i];
}

static tern_status take(const tern_checkpoint *checkpoint, const tern_screen_array *array, bool *aligned,
                        tern_error *err) {
    tern_dtype type = array->is_float ? TERN_TYPE_F32 : TERN_TYPE_I8;
    const tern_tensor *tensor = tern_checkpoint_find(checkpoint, array->name);
    if (!tensor)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: tensor %s is missing beside the others of the head's screen",
                         checkpoint->path, array->name);
    if (tensor->type != type || tensor->rows != array->rows || tensor->cols != array->cols)
        return tern_fail(err, TERN_ERR_FORMAT,
                         "%s: tensor %s is %s [%" PRIu64 ", %" PRIu64 "], but must be %s [%" PRIu64 ", %" PRIu64 "]",
                         checkpoint->path, array->name, tensor->type_name, tensor->rows, tensor->cols,
                         tern_codec_of(type)->name, array->rows, array->cols);
    *aligned = *aligned && (uintptr_t)tensor->data % 64 == 0;
    if (array->is_float)
        *array->at.floats = (const float *)(const void *)tensor->data;
    else
        *array->at.bytes = tensor->data;
    return TERN_OK;
}

tern_status tern_screen_from_file(const tern_checkpoint *checkpoint, const tern_tensor *head, tern_screen *screen,
                                  bool *found, tern_error *err) {
    tern_screen_array arrays[TERN_SCREEN_ARRAYS];
    tern_screen made = tern_screen_of(checkpoint, head);
    bool aligned = true;
    *found = false;
    tern_screen_arrays(&made, arrays);
    if (!checkpoint->layout_version || !tern_checkpoint_find(checkpoint, arrays[0].name))
        return TERN_OK;
    for (size_t i = 0; i < TERN_SCREEN_ARRAYS; i++) {
        tern_status status = take(checkpoint, &arrays[i], &aligned, err);
        if (status)
            return status;
        made.bytes += arrays[i].rows * arrays[i].cols * (arrays[i].is_float ? sizeof(float) : 1);
    }
    if (!aligned) /* by a writer that saves space: then one is built */
        return TERN_OK;
    made.centre_norm = tern_screen_norm(made.centre, made.k);
    *screen = made;
    *found = true;
    return TERN_OK;
}
