/* Any bytes as a GGUF: an error of one line, or a checkpoint that can be read everywhere. */
#include <string.h>

#include "fuzz_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tern_checkpoint *checkpoint = NULL;
    tern_error err = {0};
    if (tern_checkpoint_open_memory("fuzz", data, size, &checkpoint, &err)) {
        if (!err.message[0] || strchr(err.message, '\n'))
            abort();
        return 0;
    }
    walk_checkpoint(checkpoint);
    tern_checkpoint_close(checkpoint);
    return 0;
}
