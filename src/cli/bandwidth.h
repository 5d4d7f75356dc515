/* How fast this machine reads memory: the limit that decoding is held against. */
#ifndef TERN_CLI_BANDWIDTH_H
#define TERN_CLI_BANDWIDTH_H

#include "base/status.h"

/* Read a block of memory far larger than any cache over and over for 0.3 seconds or more with n_threads threads;
 * *bytes_per_second is the best pass over the whole block. TERN_ERR_MEMORY if there is no room for the block. */
tern_status tern_measure_bandwidth(int n_threads, double *bytes_per_second, tern_error *err);

#endif
