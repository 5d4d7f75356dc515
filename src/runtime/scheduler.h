/* The scheduler of requests; its other functions are public (tern/tern.h). */
#ifndef TERN_RUNTIME_SCHEDULER_H
#define TERN_RUNTIME_SCHEDULER_H

#include "runtime/engine.h"

/* The engine and the tokenizer must outlive it. `params` may be NULL. */
tern_status tern_scheduler_open(tern_engine *engine, const tern_tokenizer *tokenizer,
                                const tern_scheduler_params *params, tern_scheduler **scheduler, tern_error *err);

#endif
