/* Links the whole CUDA room with runtime and what that stands on. */
#include <stdio.h>

#include "cuda/layout.h"

int main(void) {
    printf("cuda: %zu bytes a matrix of 2560 x 2560\n", tern_cuda_matrix_bytes(2560, 2560));
    return 0;
}
