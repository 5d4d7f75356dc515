/* Links the whole runtime room with base, tokenizer, kernels, model and grammar alone. */
#include <stdio.h>

#include "runtime/session.h"

int main(void) {
    tern_session_params params = tern_session_defaults();
    printf("runtime: context %u\n", params.n_ctx);
    tern_session_free(NULL);
    return 0;
}
