/* A session: one timeline of tokens over a shared engine. Most of its functions are public (tern/tern.h). */
#ifndef TERN_RUNTIME_SESSION_H
#define TERN_RUNTIME_SESSION_H

#include "runtime/engine.h"

/* The engine and the tokenizer (for tern_generate) must outlive the session. Checks and completes `params`. */
tern_status tern_session_open(tern_engine *engine, const tern_tokenizer *tokenizer, const tern_session_params *params,
                              tern_session **session, tern_error *err);
const tern_tokenizer *tern_session_tokenizer(const tern_session *session);
size_t tern_session_vocab_size(const tern_session *session);

#endif
