/* A session: one timeline of tokens over a shared engine. Most of its functions are public (tern/tern.h). */
#ifndef TERN_RUNTIME_SESSION_H
#define TERN_RUNTIME_SESSION_H

#include "runtime/engine.h"

/* The engine and the tokenizer (for tern_generate) must outlive the session. Checks and completes `params`. */
tern_status tern_session_open(tern_engine *engine, const tern_tokenizer *tokenizer, const tern_session_params *params,
                              tern_session **session, tern_error *err);
/* Checks the parameters and puts values in the place of zeros that mean a default. */
tern_status tern_session_complete(const tern_dims *dims, tern_session_params *params, tern_error *err);
tern_engine *tern_session_engine(const tern_session *session);
const tern_tokenizer *tern_session_tokenizer(const tern_session *session);
size_t tern_session_vocab_size(const tern_session *session);
/* Tokens of one forward pass; the engine has room for as many. */
uint32_t tern_session_chunk(const tern_session *session);

/* Keep the first n_past tokens (1 <= n_past <= all) and go on from the last of them, whose hidden state [hidden_size]
 * is given: what rejects the end of a speculated text. */
void tern_session_rewind(tern_session *session, uint32_t n_past, const float *hidden);
/* Was the session cancelled since its last evaluation? The wish then counts as met. */
bool tern_session_take_cancel(tern_session *session);

/* An evaluation in parts, for what evaluates several sessions at once (batch.c):
 * prepare() checks that ids [n_ids] can be appended and makes room for them in the cache, slots() says where ids
 * [first, first + n) of them stand, and then either commit() appends them, with the hidden state [hidden_size] of the
 * last one, or abandon() leaves the timeline as it was. */
tern_status tern_session_prepare(tern_session *session, const int32_t *ids, size_t n_ids, tern_error *err);
void tern_session_slots(tern_session *session, const int32_t *ids, size_t first, uint32_t n, tern_slot *slots);
void tern_session_commit(tern_session *session, const int32_t *ids, size_t n_ids, const float *hidden);
void tern_session_abandon(tern_session *session);

#endif
