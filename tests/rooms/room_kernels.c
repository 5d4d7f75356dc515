/* Links the whole kernels room with base alone. */
#include <stdio.h>

#include "kernels/kernels.h"

int main(void) {
    const tern_kernels *kernels = NULL;
    tern_error err;
    if (tern_kernels_choose("ref", &kernels, &err))
        return 1;
    printf("kernels: %s\n", kernels->name);
    return 0;
}
