/* The model that is built into the library (models/README.md), a whole GGUF file. */
#ifndef TERN_MODEL_DEMO_H
#define TERN_MODEL_DEMO_H

#include <stdbool.h>

#include "format/checkpoint.h"

/* What a user calls a model: a path, or NULL or "demo" for the one that is built in. */
bool tern_is_demo(const char *path);
/* Close with tern_checkpoint_close(). */
tern_status tern_open_model(const char *path, tern_checkpoint **checkpoint, tern_error *err);

#endif
