/* When a server's /health says that it computes nothing any more. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "server/progress.h"

static void test_progress(void **state) {
    (void)state;
    tern_progress progress = {0};
    const struct {
        double now;
        uint32_t n_running, n_waiting;
        uint64_t n_steps;
        bool stuck;
    } looks[] = {
        {1000, 0, 0, 0, false}, {2000, 0, 0, 0, false}, /* idle for long is fine */
        {2001, 1, 0, 0, false}, {2030, 1, 0, 1, false}, {2089, 1, 0, 1, false},
        {2090, 1, 0, 1, true},  {2091, 1, 0, 2, false}, /* it was slow, no more */
        {2150, 0, 3, 2, false}, {2151, 0, 3, 2, true},  /* nobody takes what waits */
        {2152, 0, 0, 2, false}, {9000, 0, 1, 2, true},  /* not looked at for long: as if busy all the time */
        {9001, 1, 0, 3, false},
    };
    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++) {
        tern_scheduler_stats stats = {
            .n_running = looks[i].n_running, .n_waiting = looks[i].n_waiting, .n_steps = looks[i].n_steps};
        assert_int_equal(tern_progress_is_stuck(&progress, &stats, looks[i].now), looks[i].stuck);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_progress)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
