/* What the MPI module (train/mpi/comm_mpi.c) gives to comm.c. The module is a shared object of its own that exports
 * tern_comm_module and uses nothing of tern. */
#ifndef TERN_TRAIN_COMM_MODULE_H
#define TERN_TRAIN_COMM_MODULE_H

#include <stdbool.h>
#include <stddef.h>

enum { TERN_COMM_MODULE_VERSION = 1 };

/* Functions return false after having written a message, of at most 255 bytes, into `what`. */
typedef struct tern_comm_functions {
    int version;
    bool (*start)(int *rank, int *size, char what[256]);
    void (*finish)(void);
    void (*abort)(void); /* ends all processes */
    bool (*start_sum)(float *values, size_t n, char what[256]);
    void (*progress)(void); /* let sums that were started go on; cheap */
    bool (*wait)(char what[256]);
    bool (*sum_double)(double *values, size_t n, char what[256]);
    bool (*max_int)(int *value, char what[256]);
    bool (*broadcast)(void *bytes, size_t n_bytes, char what[256]);
} tern_comm_functions;

#endif
