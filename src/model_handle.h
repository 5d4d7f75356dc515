/* What the public tern_model handle holds. Only src/tern*.c see it. */
#ifndef TERN_MODEL_HANDLE_H
#define TERN_MODEL_HANDLE_H

#include "model/adapter.h"
#include "model/vocab.h"
#include "runtime/session.h"

struct tern_model {
    tern_checkpoint *checkpoint; /* embedding and head are read in its mapping */
    tern_tokenizer *tokenizer;
    const tern_kernels *kernels;
    tern_pool *pool;
    tern_weights weights;
    tern_adapter adapter; /* empty: none */
    tern_engine *engine;
    bool locked;
    bool low_memory;
};

/* src/tern_backend.c: the backend that the environment asks for (TERN_BACKEND, docs/CUDA.md), once the weights are
 * there and an adapter is attached; the head's screen is made only if the backend reads it. */
tern_status tern_model_make_backend(tern_model *model, const tern_model_params *params, tern_backend **backend,
                                    tern_error *err);
/* "cuda", or the CPU's rung. */
const char *tern_model_kernels_name(const tern_model *model);

/* src/tern_memory.c: what tern_model_params.mlock and .warm_up ask for, once all else is in place. */
tern_status tern_model_lock(tern_model *model, tern_error *err);
void tern_model_unlock(tern_model *model);
tern_status tern_model_warm_up(tern_model *model, tern_error *err);

#endif
