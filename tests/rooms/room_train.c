/* Links the whole train room with base, format, tokenizer, kernels and model alone. */
#include <stdio.h>
#include <stdlib.h>

#include "train/config.h"
#include "train/net.h"

int main(void) {
    tern_train_config config;
    tern_error err;
    if (tern_train_config_defaults(&config, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    const tern_net_params how = {.max_tokens = config.dims.n_ctx};
    printf("train: %llu bytes for one sequence\n", (unsigned long long)tern_net_bytes(&config.dims, &how));
    tern_train_config_free(&config);
    return 0;
}
