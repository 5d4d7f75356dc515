/* The arrays of a screen as tensors of tern's own layout (docs/FORMAT.md). */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "format/codec.h"
#include "model/screen.h"

void tern_screen_arrays(tern_screen *screen, tern_screen_array arrays[static TERN_SCREEN_ARRAYS]) {
    const uint64_t groups = screen->n_groups, k_pad = screen->k_pad, rows = screen->n_rows;
    const uint64_t coarse = tern_screen_coarse_bytes(k_pad), steps = tern_screen_step_bytes(k_pad),
                   fine = TERN_SCREEN_ROWS * k_pad / 8;
    const float most_step = TERN_SCREEN_MAX_ROW_STEP, most_centre = TERN_SCREEN_MAX_CENTRE, any = INFINITY;
    const tern_screen_array all[TERN_SCREEN_ARRAYS] = {
        {"screen.coarse", groups, coarse, {.bytes = &screen->coarse}, false, 0, 255, groups * coarse},
        {"screen.steps", groups, steps, {.bytes = &screen->steps}, false, 0, 127, groups * steps},
        {"screen.fine", groups, fine, {.bytes = &screen->fine}, false, 0, 255, groups * fine},
        {"screen.row_steps", groups, TERN_SCREEN_ROWS, {.floats = &screen->row_steps}, true, 0, most_step, rows},
        {"screen.coarse_errors", groups, TERN_SCREEN_ROWS, {.floats = &screen->coarse_errors}, true, 0, any, rows},
        {"screen.fine_errors", groups, TERN_SCREEN_ROWS, {.floats = &screen->fine_errors}, true, 0, any, rows},
        {"screen.norms", groups, TERN_SCREEN_ROWS, {.floats = &screen->norms}, true, 0, any, rows},
        {"screen.centre", 1, k_pad, {.floats = &screen->centre}, true, -most_centre, most_centre, screen->k},
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

/* Bytes [n] that are all below 128, eight at a time: the steps are megabytes. */
static bool all_below_128(const uint8_t *bytes, uint64_t n) {
    uint64_t high = 0, i = 0;
    for (uint64_t word; i + sizeof word <= n; i += sizeof word) {
        memcpy(&word, bytes + i, sizeof word);
        high |= word;
    }
    for (; i < n; i++)
        high |= bytes[i];
    return !(high & 0x8080808080808080);
}

/* The kernels take what they are given: a value that no builder makes could leave their integers' range, or rule out a
 * row by a NaN. */
static tern_status check(const tern_checkpoint *checkpoint, const tern_screen_array *array, tern_error *err) {
    const uint64_t n = array->rows * array->cols;
    if (!array->is_float && (array->most >= 255 || (array->most >= 127 && all_below_128(*array->at.bytes, n))))
        return TERN_OK;
    for (uint64_t i = 0; i < n; i++) {
        bool used = i < array->n_used;
        float value = array->is_float ? (*array->at.floats)[i] : (float)(*array->at.bytes)[i];
        float least = used ? array->least : 0, most = used ? array->most : 0;
        if (!(value >= least && value <= most)) /* as well as a NaN */
            return tern_fail(err, TERN_ERR_FORMAT,
                             "%s: tensor %s: value %" PRIu64
                             " is %g, but must be from %g to %g: convert the model again",
                             checkpoint->path, array->name, i, (double)value, (double)least, (double)most);
    }
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
    for (size_t i = 0; i < TERN_SCREEN_ARRAYS; i++) {
        tern_status status = check(checkpoint, &arrays[i], err);
        if (status)
            return status;
    }
    made.centre_norm = tern_screen_norm(made.centre, made.k);
    *screen = made;
    *found = true;
    return TERN_OK;
}
