/* Random models in a folder that goes away, for the tests of tern synth. */
#ifndef TERN_TESTS_SYNTH_FIXTURE_H
#define TERN_TESTS_SYNTH_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "format/checkpoint.h"
#include "model/synth_parts.h"

static char folder[] = "/tmp/tern-synth-XXXXXX";
static char path[64], other_path[64];

static inline int make_folder(void **state) {
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/a.gguf", folder);
    snprintf(other_path, sizeof other_path, "%s/b.gguf", folder);
    return 0;
}

static inline int remove_folder(void **state) {
    (void)state;
    unlink(path);
    unlink(other_path);
    return rmdir(folder); /* fails if anything else was left there */
}

static inline tern_synth_params small(void) {
    tern_synth_params params;
    tern_error err;
    assert_int_equal(tern_synth_shape("tiny", &params, &err), TERN_OK);
    params.n_layers = 2;
    params.seed = 7;
    return params;
}

static inline tern_checkpoint *write_and_open(const tern_synth_params *params) {
    tern_error err = {0};
    tern_checkpoint *checkpoint = NULL;
    if (tern_synth(path, params, &err) || tern_checkpoint_open(path, &checkpoint, &err))
        fail_msg("%s", err.message);
    return checkpoint;
}

static inline const tern_tensor *find(const tern_checkpoint *checkpoint, int layer, const char *name) {
    char full[64];
    if (layer < 0)
        snprintf(full, sizeof full, "%s.weight", name);
    else
        snprintf(full, sizeof full, "blk.%d.%s.weight", layer, name);
    const tern_tensor *tensor = tern_checkpoint_find(checkpoint, full);
    if (!tensor)
        fail_msg("%s is missing", full);
    return tensor;
}

#endif
