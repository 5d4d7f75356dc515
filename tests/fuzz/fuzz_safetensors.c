/* Any bytes as a safetensors file, put together as a packed model. */
#include "format/hf.h"
#include "fuzz_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tern_store *store;
    tern_error err = {0};
    if (tern_store_create("fuzz", &store, &err))
        return 0;
    if (tern_safetensors_read(store, data, size, &err) ||
        tern_hf_assemble(store, size % 2 ? TERN_LINEAR_BITLINEAR : TERN_LINEAR_AUTOBITLINEAR, &err)) {
        if (!err.message[0] || strchr(err.message, '\n'))
            abort();
    } else {
        walk_checkpoint(&store->checkpoint);
    }
    tern_store_free(store);
    return 0;
}
