/* Links the whole quant room with base, format, tokenizer, kernels and model alone. */
#include <stdio.h>

#include "quant/matrix.h"
#include "quant/quantize.h"

int main(void) {
    static const float w[] = {0.5f, -1, 0.1f};
    int8_t trits[3];
    float scale;
    const tern_quant_matrix m = {"w", 1, 3, w, trits, &scale, false, 0};
    tern_pool *pool;
    tern_error err;
    tern_quantize_params params = {.type = "i2_s"};
    if (tern_pool_create(1, &pool, &err) || tern_quant_round(pool, &m, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    printf("quant: %d %d %d\n", trits[0], trits[1], trits[2]);
    tern_pool_free(pool);
    return tern_quantize("", "", &params, NULL, &err) == TERN_OK; /* there is no such model */
}
