/* Which backend a model runs on. */
#include <stdlib.h>
#include <string.h>

#include "cuda/backend.h"
#include "model_handle.h"

typedef enum choice { CHOICE_CPU, CHOICE_CUDA, CHOICE_AUTO, N_CHOICES } choice;

static const char *const choice_names[N_CHOICES] = {"cpu", "cuda", "auto"};

/* TERN_BACKEND, or BitNet's name of it. */
static tern_status find_choice(choice *found, tern_error *err) {
    static const char *const variables[] = {"TERN_BACKEND", "BITNET_BACKEND"};
    *found = CHOICE_CPU;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        const char *value = getenv(variables[i]);
        if (!value || !*value)
            continue;
        for (int c = 0; c < N_CHOICES; c++)
            if (strcmp(value, choice_names[c]) == 0) {
                *found = (choice)c;
                return TERN_OK;
            }
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s=%s is no backend; cpu, cuda and auto are", variables[i], value);
    }
    return TERN_OK;
}

static tern_status make_cuda(tern_model *model, const tern_model_params *params, tern_backend **backend,
                             tern_error *err) {
    if (params->act != TERN_ACT_INT8)
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "the CUDA backend has no int4 activations; use the CPU (TERN_BACKEND=cpu)");
    return tern_cuda_backend_create(&model->weights, model->pool, backend, err);
}

tern_status tern_model_make_backend(tern_model *model, const tern_model_params *params, tern_backend **backend,
                                    tern_error *err) {
    choice wanted;
    tern_status status = find_choice(&wanted, err);
    if (!status && wanted != CHOICE_CPU) {
        status = make_cuda(model, params, backend, err);
        if (!status || wanted == CHOICE_CUDA)
            return status;
        status = TERN_OK; /* whatever is in its way, the CPU can do it */
    }
    if (!status && !params->exact_head)
        status = tern_weights_screen(model->checkpoint, model->kernels->screen, model->pool, !params->low_memory,
                                     &model->weights, err);
    return status
               ? status
               : tern_cpu_backend_create(&model->weights, model->kernels, model->pool, params->dense_ffn, backend, err);
}

const char *tern_model_kernels_name(const tern_model *model) {
    const char *backend = model->engine->backend->ops->name;
    return strcmp(backend, "cpu") == 0 ? model->kernels->name : backend;
}
