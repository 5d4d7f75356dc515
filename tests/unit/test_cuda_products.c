/* The launches of the CUDA backend's products: which kernel, and that its blocks cover all rows and tokens and no more
 * than that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cuda/layout.h"
#include "cuda/products.h"

/* Matrices of these rows, one behind the other. */
static tern_cuda_linear_args make_args(const uint32_t *rows, uint32_t n_matrices, uint32_t n_tokens,
                                       tern_cuda_mode mode) {
    tern_cuda_linear_args args = {.n_matrices = n_matrices, .n_tokens = n_tokens, .mode = mode};
    uint32_t groups = 0;
    for (uint32_t i = 0; i < n_matrices; i++) {
        args.matrices[i].rows = rows[i];
        args.matrices[i].first_group = mode == TERN_CUDA_RELU2 || mode == TERN_CUDA_SILU ? 0 : groups;
        groups += (uint32_t)tern_cuda_n_groups(rows[i]);
    }
    return args;
}

static void check_grid(const tern_cuda_linear_args *args, uint32_t n_groups, uint32_t groups, uint32_t tokens) {
    tern_cuda_products plan = tern_cuda_plan_products(args);
    assert_true(plan.grid.x * groups >= n_groups && (plan.grid.x - 1) * groups < n_groups);
    assert_true(plan.grid.y * tokens >= args->n_tokens && (plan.grid.y - 1) * tokens < args->n_tokens);
    assert_int_equal(plan.grid.z, 1);
    assert_true(plan.threads % 32 == 0 && plan.threads > 0 && plan.threads <= 1024);
}

static void test_which(void **state) {
    (void)state;
    static const struct {
        uint32_t n_tokens;
        tern_cuda_kernel kernel;
    } rows[] = {{1, TERN_CUDA_KERNEL_gemv},     {TERN_CUDA_GEMV_MOST, TERN_CUDA_KERNEL_gemv},
                {4, TERN_CUDA_KERNEL_gemm_few}, {TERN_CUDA_FEW_MOST, TERN_CUDA_KERNEL_gemm_few},
                {65, TERN_CUDA_KERNEL_gemm},    {2048, TERN_CUDA_KERNEL_gemm},
                {65535, TERN_CUDA_KERNEL_gemm}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        tern_cuda_linear_args args = make_args((uint32_t[]){2560}, 1, rows[i].n_tokens, TERN_CUDA_ADD);
        assert_int_equal(tern_cuda_plan_products(&args).kernel, rows[i].kernel);
    }
}

static void test_grids(void **state) {
    (void)state;
    static const uint32_t n_tokens[] = {1, 3, 4, 31, 32, 33, 64, 65, 128, 129, 2048};
    static const uint32_t shapes[][3] = {{2560, 640, 640}, {16, 1, 17}, {200, 33, 130}, {1, 1, 1}};
    for (size_t t = 0; t < sizeof n_tokens / sizeof *n_tokens; t++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            uint32_t n = n_tokens[t], kind = n > TERN_CUDA_FEW_MOST ? 2 : n > TERN_CUDA_GEMV_MOST;
            uint32_t groups = (uint32_t[]){1, TERN_CUDA_FEW_GROUPS, TERN_CUDA_GEMM_GROUPS}[kind];
            uint32_t tokens = (uint32_t[]){1, TERN_CUDA_FEW_TOKENS, TERN_CUDA_GEMM_TOKENS}[kind];
            uint32_t all = 0;
            for (int m = 0; m < 3; m++)
                all += (uint32_t)tern_cuda_n_groups(shapes[i][m]);
            tern_cuda_linear_args args = make_args(shapes[i], 3, n, TERN_CUDA_STORE);
            check_grid(&args, all, groups, tokens);
            args = make_args(shapes[i], 1, n, TERN_CUDA_ADD);
            check_grid(&args, (uint32_t)tern_cuda_n_groups(shapes[i][0]), groups, tokens);
            args = make_args((uint32_t[]){shapes[i][0], shapes[i][0]}, 2, n, TERN_CUDA_RELU2);
            check_grid(&args, (uint32_t)tern_cuda_n_groups(shapes[i][0]), kind ? groups / 2 : 1, tokens);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_which),
        cmocka_unit_test(test_grids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
