/* Data parallelism: the ranks of a run. Not started by mpirun (or srun) there is one rank and every function is
 * trivial. With MPI gradients are summed over the ranks while the backward pass still runs.
 *
 * MPI is in a module of its own (train/mpi), which is loaded only when it is needed: the command itself is not linked
 * with libmpi, whose start takes longer than a short text. All functions are for one thread, the main one. */
#ifndef TERN_TRAIN_COMM_H
#define TERN_TRAIN_COMM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct tern_comm tern_comm;

bool tern_comm_launched(void); /* several processes were started together by mpirun or srun */
/* Fails if launched without the module, or by a launcher of which MPI knows nothing: each process would be a run. */
tern_status tern_comm_create(tern_comm **comm, tern_error *err);
/* `mine`: how this rank ends. A failure that the others have not been told by tern_comm_agree() ends them, too: they
 * would wait for ever. NULL is fine. */
void tern_comm_free(tern_comm *comm, tern_status mine);
int tern_comm_rank(const tern_comm *comm);
int tern_comm_size(const tern_comm *comm);
/* Ranks that share this one's machine and its memory, as the launcher says; if it does not, 1. */
int tern_comm_local_size(const tern_comm *comm);

/* Begin to sum values [n] over all ranks, in place; the same calls in the same order on all of them. The values are
 * not to be touched before tern_comm_wait(). */
void tern_comm_start_sum(tern_comm *comm, float *values, size_t n);
tern_status tern_comm_wait(tern_comm *comm, tern_error *err);
tern_status tern_comm_sum_double(tern_comm *comm, double *values, size_t n, tern_error *err);
/* Rank 0's bytes to all. */
tern_status tern_comm_broadcast(tern_comm *comm, void *bytes, size_t n_bytes, tern_error *err);
/* One rank failed: all stop with an error instead of waiting for ever. A rank that has no error of its own gets one. */
tern_status tern_comm_agree(tern_comm *comm, tern_status mine, tern_error *err);

#endif
