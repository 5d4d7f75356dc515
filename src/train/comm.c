#include "train/comm.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/module.h"
#include "train/comm_module.h"

#define MODULE_NAME "tern_mpi.so"

struct tern_comm {
    int rank, size;
    const tern_comm_functions *functions; /* NULL: one rank */
    void *library;
    bool failed; /* a function of the module did, which only tern_comm_wait() can say */
    bool told;   /* all ranks know that one failed */
    char what[256];
};

/* Which variable says so depends on who started us: OpenMPI's mpirun, MPICH's or srun --mpi=pmi2. 0: none. */
static long launched_size(void) {
    static const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", NULL};
    for (int i = 0; sizes[i]; i++)
        if (getenv(sizes[i]))
            return strtol(getenv(sizes[i]), NULL, 10);
    return 0;
}

bool tern_comm_launched(void) {
    long size = launched_size();
    return size ? size > 1 : getenv("PMIX_RANK") != NULL; /* a PMIx process does not see how many there are */
}

static tern_status load(tern_comm *comm, tern_error *err) {
    char path[TERN_MODULE_PATH];
    if (access("/proc/self/exe", F_OK))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "several processes work on Linux only");
    if (!tern_module_find(MODULE_NAME, path))
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "started by mpirun, but this tern has no %s: install OpenMPI's development files "
                         "(libopenmpi-dev) and build it again",
                         MODULE_NAME);
    /* global: OpenMPI loads plugins that look for its symbols */
    comm->library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!comm->library)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: cannot load: %s", path, dlerror());
    const tern_comm_functions *functions = dlsym(comm->library, "tern_comm_module");
    if (!functions || functions->version != TERN_COMM_MODULE_VERSION)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: belongs to another version of tern; install both anew", path);
    if (!functions->start(&comm->rank, &comm->size, comm->what))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s", comm->what);
    if (comm->size == 1 && launched_size() > 1) {
        functions->finish();
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "%ld processes were started together, but MPI sees only this one: start them by the mpirun of "
                         "the MPI that tern was built with, or by srun --mpi=pmix",
                         launched_size());
    }
    comm->functions = functions;
    return TERN_OK;
}

tern_status tern_comm_create(tern_comm **out, tern_error *err) {
    tern_comm *comm = calloc(1, sizeof *comm);
    *out = NULL;
    if (!comm)
        return tern_fail_memory(err, "the processes' list");
    comm->size = 1;
    tern_status status = tern_comm_launched() ? load(comm, err) : TERN_OK;
    if (status) {
        tern_comm_free(comm, status);
        return status;
    }
    *out = comm;
    return TERN_OK;
}

void tern_comm_free(tern_comm *comm, tern_status mine) {
    if (!comm)
        return;
    if (comm->functions && (comm->failed || (mine && !comm->told)))
        comm->functions->abort();
    else if (comm->functions)
        comm->functions->finish();
    free(comm); /* the library stays: MPI has registered what runs at exit */
}

int tern_comm_rank(const tern_comm *comm) { return comm->rank; }
int tern_comm_size(const tern_comm *comm) { return comm->size; }

int tern_comm_local_size(const tern_comm *comm) {
    /* OpenMPI, MPICH, Slurm: "2", or "2(x4)" for four machines */
    static const char *const sizes[] = {"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_TASKS_PER_NODE",
                                        NULL};
    long n = 0;
    for (int i = 0; n < 1 && sizes[i]; i++)
        n = getenv(sizes[i]) ? strtol(getenv(sizes[i]), NULL, 10) : 0;
    return n < 1 ? 1 : n < comm->size ? (int)n : comm->size;
}

void tern_comm_start_sum(tern_comm *comm, float *values, size_t n) {
    if (!comm->functions || comm->failed)
        return;
    comm->failed = !comm->functions->start_sum(values, n, comm->what);
    comm->functions->progress();
}

static tern_status finish(tern_comm *comm, bool good, tern_error *err) {
    comm->failed |= !good;
    return comm->failed ? tern_fail(err, TERN_ERR_IO, "%s", comm->what) : TERN_OK;
}

tern_status tern_comm_wait(tern_comm *comm, tern_error *err) {
    if (!comm->functions)
        return TERN_OK;
    return finish(comm, !comm->failed && comm->functions->wait(comm->what), err);
}

tern_status tern_comm_sum_double(tern_comm *comm, double *values, size_t n, tern_error *err) {
    if (!comm->functions)
        return TERN_OK;
    return finish(comm, comm->functions->sum_double(values, n, comm->what), err);
}

tern_status tern_comm_broadcast(tern_comm *comm, void *bytes, size_t n_bytes, tern_error *err) {
    if (!comm->functions)
        return TERN_OK;
    return finish(comm, comm->functions->broadcast(bytes, n_bytes, comm->what), err);
}

tern_status tern_comm_agree(tern_comm *comm, tern_status mine, tern_error *err) {
    if (!comm->functions)
        return mine;
    int worst = mine != TERN_OK;
    tern_error lost;
    if (finish(comm, comm->functions->max_int(&worst, comm->what), &lost)) {
        if (!mine && err)
            *err = lost;
        return mine ? mine : TERN_ERR_IO;
    }
    comm->told |= worst != 0;
    if (worst && !mine)
        return tern_fail(err, TERN_ERR_CANCELLED, "stopped because another process of this run failed");
    return mine;
}
