/* Which packing of the ternary weights to use, by measurement on this machine. */
#ifndef TERN_RUNTIME_CHOOSE_H
#define TERN_RUNTIME_CHOOSE_H

#include "base/pool.h"
#include "kernels/kernels.h"

/* Whether nobody, neither `name` nor TERN_PACKING, asks for a packing. */
bool tern_packing_is_automatic(const char *name);

/* The packing called `name` among the rung's; NULL, "" or "auto": the environment's TERN_PACKING, else the one whose
 * single-token product is fastest here on the pool's threads, streaming as many weights as the model has (up to what
 * no cache holds). One packing is not measured. `binary`: the model has no zeros, for which the rung has a packing of
 * its own (kernels/binary.h); by its name it can be had for others, too, which will then not be packed. An unknown name
 * is an error that lists the rung's. */
tern_status tern_choose_packing(const tern_kernels *kernels, const char *name, bool binary, tern_pool *pool,
                                uint64_t n_weights, const tern_ternary **ternary, tern_error *err);

#endif
