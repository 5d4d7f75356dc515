/* Links the whole model room with base, format, tokenizer and kernels alone. */
#include <stdio.h>

#include "model/demo.h"
#include "model/weights.h"

int main(void) {
    tern_checkpoint *checkpoint = NULL;
    tern_weights weights;
    tern_error err;
    if (tern_open_model(NULL, &checkpoint, &err) || tern_weights_bind(checkpoint, &weights, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    printf("model: %u layers\n", weights.dims.n_layers);
    tern_weights_free(&weights);
    tern_checkpoint_close(checkpoint);
    return 0;
}
