#include "runtime/draw.h"

tern_status tern_engine_draw(tern_engine *engine, const float *hidden, tern_sampler *sampler,
                             tern_candidates *candidates, int32_t *id, tern_error *err) {
    tern_head_query query;
    int32_t drawn;
    tern_status status = tern_sampler_sample_candidates(sampler, candidates, &drawn, err);
    if (!status && drawn == TERN_SAMPLE_AGAIN) {
        status = tern_sampler_queries(sampler, NULL, 1, &query, err);
        if (!status)
            status = tern_engine_candidates(engine, hidden, 1, &query, candidates, err);
        if (!status)
            status = tern_sampler_sample_candidates(sampler, candidates, &drawn, err);
    }
    if (!status)
        *id = drawn;
    return status;
}
