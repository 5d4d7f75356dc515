/*
 * The layers of a forward pass as one CUDA graph: some 200 kernels of the 2B4T shape are then one call of the driver.
 * What differs between passes (tokens, positions, KV blocks) is in memory that the kernels read (step.h), so a graph
 * serves all passes of as many tokens, over as many splits of the context.
 *
 * The first pass of a kind runs as it is, the second is recorded: most prompts are evaluated in passes that never come
 * again.
 */
#ifndef TERN_CUDA_GRAPHS_H
#define TERN_CUDA_GRAPHS_H

#include "cuda/device.h"

/* Passes with equal keys are the same kernels with the same arguments. */
typedef struct tern_cuda_graph_key {
    uint32_t n_tokens, n_splits;
    uint64_t activations; /* tern_activations.generation */
    uint64_t step;        /* tern_cuda_step.generation */
} tern_cuda_graph_key;

typedef struct tern_cuda_graph {
    tern_cuda_graph_key key;  /* n_tokens 0: none */
    tern_cu_graph_exec *exec; /* NULL: seen once */
    uint64_t used;            /* when it last was, in passes */
} tern_cuda_graph;

enum { TERN_CUDA_GRAPHS = 32, TERN_CUDA_GRAPH_TOKENS = 64 };

typedef struct tern_cuda_graphs {
    tern_cuda_graph graphs[TERN_CUDA_GRAPHS];
    tern_cuda_graph *recording; /* what is put in line does not run, but becomes this one's; NULL: it runs */
    uint64_t n_passes;
} tern_cuda_graphs;

/* Put the graph for these passes in line: true. False: the pass is to be put in line as it is, and perhaps recorded;
 * then _end() follows, or _abandon(). */
bool tern_cuda_graphs_begin(tern_cuda_graphs *graphs, tern_cuda_device *device, const tern_cuda_graph_key *key);
/* All of the pass has been put in line; if it was recorded, it is now. */
void tern_cuda_graphs_end(tern_cuda_graphs *graphs, tern_cuda_device *device);
/* Nothing of it is wanted. Does nothing if nothing is recorded. */
void tern_cuda_graphs_abandon(tern_cuda_graphs *graphs, tern_cuda_device *device);
void tern_cuda_graphs_free(tern_cuda_graphs *graphs, tern_cuda_device *device);

#endif
