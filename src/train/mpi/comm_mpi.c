/* The MPI module: loaded by comm.c in processes that mpirun started. */
#include <limits.h>
#include <mpi.h>
#include <stdio.h>

#include "train/comm_module.h"

/* Sums under way at a time; more wait for the oldest. A layer's gradients are one. MPI counts in int. */
enum { MAX_REQUESTS = 256, MAX_COUNT = 1 << 28 };

static MPI_Request requests[MAX_REQUESTS];
static int n_requests;

static bool good(int code, char what[256]) {
    char text[MPI_MAX_ERROR_STRING];
    int length;
    if (code == MPI_SUCCESS)
        return true;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS)
        snprintf(text, sizeof text, "error %d", code);
    snprintf(what, 256, "MPI: %.200s", text);
    return false;
}

static bool start(int *rank, int *size, char what[256]) {
    int provided;
    /* the pool's threads make no calls */
    if (!good(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided), what))
        return false;
    return good(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), what) &&
           good(MPI_Comm_rank(MPI_COMM_WORLD, rank), what) && good(MPI_Comm_size(MPI_COMM_WORLD, size), what);
}

static void finish(void) { MPI_Finalize(); }

static void abort_all(void) { MPI_Abort(MPI_COMM_WORLD, 1); }

static bool wait_all(char what[256]) {
    int n = n_requests;
    n_requests = 0;
    return good(MPI_Waitall(n, requests, MPI_STATUSES_IGNORE), what);
}

static bool start_sum(float *values, size_t n, char what[256]) {
    while (n) {
        int count = n < MAX_COUNT ? (int)n : MAX_COUNT;
        if (n_requests == MAX_REQUESTS && !wait_all(what))
            return false;
        if (!good(MPI_Iallreduce(MPI_IN_PLACE, values, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD,
                                 &requests[n_requests++]),
                  what))
            return false;
        values += count;
        n -= (size_t)count;
    }
    return true;
}

/* Without a thread of its own MPI moves bytes only while it is called. */
static void progress(void) {
    int done;
    if (n_requests)
        MPI_Testall(n_requests, requests, &done, MPI_STATUSES_IGNORE);
}

static bool sum_double(double *values, size_t n, char what[256]) {
    return n <= MAX_COUNT &&
           good(MPI_Allreduce(MPI_IN_PLACE, values, (int)n, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD), what);
}

static bool max_int(int *value, char what[256]) {
    return good(MPI_Allreduce(MPI_IN_PLACE, value, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD), what);
}

static bool broadcast(void *bytes, size_t n_bytes, char what[256]) {
    for (char *at = bytes; n_bytes;) {
        int count = n_bytes < MAX_COUNT ? (int)n_bytes : MAX_COUNT;
        if (!good(MPI_Bcast(at, count, MPI_BYTE, 0, MPI_COMM_WORLD), what))
            return false;
        at += count;
        n_bytes -= (size_t)count;
    }
    return true;
}

__attribute__((visibility("default"))) extern const tern_comm_functions tern_comm_module;
const tern_comm_functions tern_comm_module = {
    .version = TERN_COMM_MODULE_VERSION,
    .start = start,
    .finish = finish,
    .abort = abort_all,
    .start_sum = start_sum,
    .progress = progress,
    .wait = wait_all,
    .sum_double = sum_double,
    .max_int = max_int,
    .broadcast = broadcast,
};
