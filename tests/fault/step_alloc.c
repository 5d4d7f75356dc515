/*
 * A training step allocates nothing: all memory is there when it begins (train/net.h). The linker's --wrap counts the
 * allocations of libtern and of the training room, in all threads.
 */
#include <stdatomic.h>

#include "train/optim.h"
#include "train/train_fixture.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
int __real_posix_memalign(void **memory, size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);

static atomic_long n_allocations;

void *__wrap_malloc(size_t size) {
    atomic_fetch_add(&n_allocations, 1);
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    atomic_fetch_add(&n_allocations, 1);
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size) {
    atomic_fetch_add(&n_allocations, 1);
    return __real_realloc(memory, size);
}

int __wrap_posix_memalign(void **memory, size_t alignment, size_t size) {
    atomic_fetch_add(&n_allocations, 1);
    return __real_posix_memalign(memory, alignment, size);
}

/* What tern_train_loop() does with a network in a step: matrices, both passes, norm, optimiser; and a validation. */
static void step(tern_net *net, tern_params *params, tern_pool *pool, const test_batch *b, tern_weight_mode mode) {
    float nll[N_TOKENS];
    assert_null(tern_net_quantize(net, mode));
    tern_net_forward(net, &b->batch);
    tern_net_backward(net, &b->batch, b->weights, 1e-4f, params->grads, nll, NULL, NULL);
    double norm = tern_grad_norm(pool, params->grads, params->n_values, 1);
    assert_true(norm > 0);
    const tern_adam_step adam = {.values = params->values,
                                 .m = params->m,
                                 .v = params->v,
                                 .grads = params->grads,
                                 .grad_scale = 1,
                                 .lr = 1e-3f,
                                 .t = 1,
                                 .adam = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f}};
    tern_params_update(pool, params, &adam);
    tern_net_forward(net, &b->batch);
    tern_net_losses(net, &b->batch, true, nll);
}

static void test_step(void **state) {
    (void)state;
    static const tern_weight_mode modes[] = {TERN_WEIGHTS_TERNARY, TERN_WEIGHTS_BINARY, TERN_WEIGHTS_FLOAT};
    const tern_dims dims = golden_dims();
    for (size_t i = 0; i < 2 * sizeof modes / sizeof *modes; i++) {
        const tern_net_params how = {
            .max_tokens = N_TOKENS, .weights = modes[i / 2], .recompute = i % 2, .sparsity = true};
        tern_params params;
        tern_pool *pool;
        tern_net *net;
        test_batch b;
        MUST(tern_pool_create(3, &pool, err));
        long before = n_allocations;
        MUST(tern_params_create(&dims, true, &params, err));
        assert_true(n_allocations > before); /* they are counted */
        MUST(tern_net_create(&params, &how, pool, &net, err));
        fill_params(&params, 7);
        make_batch(&b, dims.vocab_size, 7);
        before = n_allocations;
        step(net, &params, pool, &b, modes[i / 2]);
        assert_int_equal(n_allocations - before, 0);
        tern_net_free(net);
        tern_params_free(&params);
        tern_pool_free(pool);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_step)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
