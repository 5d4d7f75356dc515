/* The sampler's other side (its public functions are in tern/tern.h): what it needs of the LM head, and sampling from
 * that alone. */
#ifndef TERN_RUNTIME_SAMPLER_H
#define TERN_RUNTIME_SAMPLER_H

#include "runtime/head.h"
#include "tern/tern.h"

/* TERN_ERR_ARGUMENT and which parameter is wrong, if one is. */
tern_status tern_sampler_check(const tern_sampler_params *params, size_t vocab_size, tern_error *err);
size_t tern_sampler_vocab_size(const tern_sampler *sampler);

/* What the next n draws need: queries [n], of which number i is for the draw that follows when ahead [0, i) were drawn
 * and accepted; ahead [n - 1] is valid ids, NULL for n = 1. (More draws than one: to check a speculated text in one
 * pass.) The forced ids belong to the sampler and are valid until its next call. */
tern_status tern_sampler_queries(tern_sampler *sampler, const int32_t *ahead, size_t n, tern_head_query *queries,
                                 tern_error *err);

/* As tern_sampler_sample, from an answer to the query for this draw: the same token for the same state.
 *
 * Under a grammar the first query asks as if there were none, which mostly finds a token that is allowed, and leaves
 * the mask of all tokens unmade. Where the answer cannot tell which of the allowed tokens is drawn, *id is
 * TERN_SAMPLE_AGAIN and nothing has changed: tern_sampler_queries() for one draw then asks for what does tell it.
 * tern_engine_draw() (runtime/draw.h) does both. */
enum { TERN_SAMPLE_AGAIN = -1 };
tern_status tern_sampler_sample_candidates(tern_sampler *sampler, const tern_candidates *candidates, int32_t *id,
                                           tern_error *err);

#endif
