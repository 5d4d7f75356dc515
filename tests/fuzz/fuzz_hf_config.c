/* Any text as each of the JSON files that describe a Hugging Face model. */
#include <stdlib.h>

#include "format/hf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(tern_status status, const tern_error *err) {
    if (status && (!err->message[0] || strchr(err->message, '\n')))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tern_store *store;
    tern_error err = {0};
    tern_linear_class linear_class;
    const char *text = (const char *)data;
    if (tern_store_create("fuzz", &store, &err))
        return 0;
    check(tern_hf_read_config(store, text, size, &linear_class, &err), &err);
    check(tern_hf_read_generation_config(store, text, size, &err), &err);
    check(tern_hf_read_chat_template(store, text, size, &err), &err);
    tern_store_free(store);
    return 0;
}
