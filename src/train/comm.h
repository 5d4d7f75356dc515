/* Data parallelism: the ranks of a run. Without MPI (or not started by mpirun) there is one rank and every function is
 * trivial. With it gradients are summed over the ranks while the backward pass still runs. */
#ifndef TERN_TRAIN_COMM_H
#define TERN_TRAIN_COMM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct tern_comm tern_comm;

bool tern_comm_available(void); /* compiled with MPI */
tern_status tern_comm_create(tern_comm **comm, tern_error *err);
void tern_comm_free(tern_comm *comm);
int tern_comm_rank(const tern_comm *comm);
int tern_comm_size(const tern_comm *comm);

/* Begin to sum values [n] over all ranks, in place; the same calls in the same order on all of them. The values are
 * not to be touched before tern_comm_wait(). */
void tern_comm_start_sum(tern_comm *comm, float *values, size_t n);
tern_status tern_comm_wait(tern_comm *comm, tern_error *err);
tern_status tern_comm_sum_double(tern_comm *comm, double *values, size_t n, tern_error *err);
/* Rank 0's bytes to all. */
tern_status tern_comm_broadcast(tern_comm *comm, void *bytes, size_t n_bytes, tern_error *err);
/* One rank failed: all stop with an error instead of waiting for ever. */
tern_status tern_comm_agree(tern_comm *comm, tern_status mine, tern_error *err);

#endif
