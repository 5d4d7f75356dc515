/* Drawing a token behind a hidden state: the sampler's questions and the LM head's answers. */
#ifndef TERN_RUNTIME_DRAW_H
#define TERN_RUNTIME_DRAW_H

#include "runtime/engine.h"
#include "runtime/sampler.h"

/* As tern_sampler_sample_candidates() for the candidates of hidden [hidden_size], the state behind the text so far; and
 * if a grammar makes them too few, again with those that are enough, which take their place. */
tern_status tern_engine_draw(tern_engine *engine, const float *hidden, tern_sampler *sampler,
                             tern_candidates *candidates, int32_t *id, tern_error *err);

#endif
