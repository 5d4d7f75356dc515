/* Links the whole base room with the C library alone (cmake/tests.cmake). */
#include <stdio.h>

#include "base/mem.h"

int main(void) {
    size_t product;
    if (tern_mul_size((size_t)-1, 2, &product) || !tern_mul_size(6, 7, &product))
        return 1;
    printf("base: %zu\n", product);
    return product != 42;
}
