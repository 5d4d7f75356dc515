#include "model/demo.h"

#include <string.h>

#include "base/embed.h"

/* TERN_DEMO_PATH comes from cmake/rooms.cmake, which also rebuilds this file when the model changes. TERN_EMBED aligns
 * it so that its tensors are as aligned as in a mapped file. */
TERN_EMBED(tern_demo_model, TERN_DEMO_PATH);

bool tern_is_demo(const char *path) { return !path || strcmp(path, "demo") == 0; }

tern_status tern_open_model(const char *path, tern_checkpoint **checkpoint, tern_error *err) {
    if (tern_is_demo(path))
        return tern_checkpoint_open_memory("demo", tern_demo_model, (size_t)(tern_demo_model_end - tern_demo_model),
                                           checkpoint, err);
    return tern_checkpoint_open(path, checkpoint, err);
}
