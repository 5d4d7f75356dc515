/* The memory plan: what the system and the control groups leave, and what is chosen for it. */
#include "train_fixture.h"

#include <sys/stat.h>
#include <unistd.h>

#include "train/plan.h"

static char root[] = "/tmp/tern-plan-XXXXXX";

/* Write a file below root; its folders are made. */
static void put(const char *name, const char *text) {
    char full[512];
    snprintf(full, sizeof full, "%s%s", root, name);
    for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        mkdir(full, 0777);
        *at = '/';
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void reads_the_machine(void **state) {
    (void)state;
    assert_true(tern_memory_available_in(root) == UINT64_MAX); /* nothing is said */
    put("/proc/meminfo", "MemTotal:  16000000 kB\nMemFree:  100 kB\nMemAvailable:   8000000 kB\n");
    assert_int_equal(tern_memory_available_in(root), 8000000ull * 1024);
    put("/proc/self/cgroup", "0::/user/run\n");
    assert_int_equal(tern_memory_available_in(root), 8000000ull * 1024); /* no such folders: no limit */
    put("/sys/fs/cgroup/user/run/memory.max", "max\n");
    put("/sys/fs/cgroup/user/run/memory.current", "3000\n");
    put("/sys/fs/cgroup/user/memory.max", "5000000000\n"); /* the group above is the narrow one */
    put("/sys/fs/cgroup/user/memory.current", "4000000000\n");
    assert_int_equal(tern_memory_available_in(root), 1000000000);
    put("/sys/fs/cgroup/user/memory.stat", "anon 1\ninactive_file 500000000\nactive_file 7\n"); /* can be dropped */
    assert_int_equal(tern_memory_available_in(root), 1500000000);
    put("/sys/fs/cgroup/user/run/memory.max", "3500\n");
    assert_int_equal(tern_memory_available_in(root), 500);
    put("/sys/fs/cgroup/user/run/memory.current", "4000\n"); /* over its limit */
    assert_int_equal(tern_memory_available_in(root), 0);
    put("/proc/self/cgroup", "5:cpu:/a\n4:memory:/b\n"); /* version 1, in a container: its own limit at the mount */
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "7000\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1000\n");
    assert_int_equal(tern_memory_available_in(root), 6000);
}

static void counts_parameters(void **state) {
    (void)state;
    const tern_dims real = {.vocab_size = 128256,
                            .n_ctx = 4096,
                            .hidden_size = 2560,
                            .ffn_size = 6912,
                            .n_layers = 30,
                            .n_heads = 20,
                            .n_kv_heads = 5,
                            .head_dim = 128,
                            .rms_eps = 1e-5f,
                            .rope_theta = 5e5f};
    assert_int_equal(tern_plan_params(&real), 2412820480); /* as published */
    const tern_dims dims = golden_dims();
    tern_params params;
    uint64_t n = 0;
    MUST(tern_params_create(&dims, false, &params, err));
    for (size_t i = 0; i < params.n; i++)
        n += (uint64_t)params.list[i].rows * params.list[i].cols;
    assert_int_equal(tern_plan_params(&dims), n);
    tern_params_free(&params);
}

/* The real model's masters: 4 + 4 + 8 bytes a weight. */
static tern_plan plan_2b4t(uint32_t n_tokens, bool recompute) {
    const tern_dims dims = {.vocab_size = 128256,
                            .n_ctx = 4096,
                            .hidden_size = 2560,
                            .ffn_size = 6912,
                            .n_layers = 30,
                            .n_heads = 20,
                            .n_kv_heads = 5,
                            .head_dim = 128,
                            .rms_eps = 1e-5f,
                            .rope_theta = 5e5f};
    uint64_t n = tern_plan_params(&dims) * 4;
    tern_plan plan = {.weights = n, .gradients = n, .moments = 2 * n, .micro = 1};
    const tern_net_params how = {.max_tokens = n_tokens, .recompute = recompute, .n_threads = 2};
    tern_plan_complete(&dims, &how, false, &plan);
    return plan;
}

static void chooses(void **state) {
    (void)state;
    tern_plan plan = plan_2b4t(512, false);
    assert_true(plan.net[1] < plan.net[0] && plan.total[1] < plan.total[0]);
    assert_true(plan.total[1] > 38000000000 && plan.total[1] < 45000000000);
    assert_int_equal(plan.total[0], plan.weights + plan.gradients + plan.moments + plan.net[0]);
    tern_error problem = {0};
    /* the same plan in machines of several sizes */
    uint64_t between = (plan.total[0] + plan.total[1]) / 2;
    tern_plan_choose(&plan, plan.total[0] * 11 / 10, false);
    assert_true(plan.fits && !plan.recompute);
    assert_int_equal(tern_plan_check(&plan, &problem), TERN_OK);
    tern_plan_choose(&plan, plan.total[0] * 11 / 10, true);
    assert_true(plan.fits && plan.recompute);
    tern_plan_choose(&plan, between * 104 / 100, false);
    assert_true(plan.fits && plan.recompute);
    tern_plan_choose(&plan, plan.total[1], false); /* nothing would be left */
    assert_true(!plan.fits && plan.recompute);
    tern_plan_choose(&plan, UINT64_MAX, false);
    assert_true(plan.fits && !plan.recompute);
    tern_plan_choose(&plan, 16000000000, false);
    assert_true(!plan.fits);
    assert_int_equal(tern_plan_check(&plan, &problem), TERN_ERR_MEMORY);
    assert_non_null(strstr(problem.message, "16.0 GB are available"));
    assert_null(strchr(problem.message, '\n'));
    char *text = tern_plan_text(&plan);
    assert_non_null(text);
    assert_non_null(strstr(text, "gradients                            9.65 GB"));
    assert_non_null(strstr(text, "Adam's moments                      19.30 GB"));
    free(text);
}

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_machine),
        cmocka_unit_test(counts_parameters),
        cmocka_unit_test(chooses),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
