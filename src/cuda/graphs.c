#include "cuda/graphs.h"

static bool same_key(const tern_cuda_graph_key *a, const tern_cuda_graph_key *b) {
    return a->n_tokens == b->n_tokens && a->n_splits == b->n_splits && a->activations == b->activations &&
           a->step == b->step;
}

static void forget(tern_cuda_graph *graph, tern_cuda_device *device) {
    if (graph->exec)
        device->driver->graph_exec_destroy(graph->exec); /* one that runs ends first */
    *graph = (tern_cuda_graph){0};
}

/* The graph with this key, or a new one in the place of the one that was not used for longest. */
static tern_cuda_graph *find(tern_cuda_graphs *graphs, tern_cuda_device *device, const tern_cuda_graph_key *key) {
    tern_cuda_graph *oldest = &graphs->graphs[0];
    for (int i = 0; i < TERN_CUDA_GRAPHS; i++) {
        tern_cuda_graph *graph = &graphs->graphs[i];
        if (same_key(&graph->key, key))
            return graph;
        if (graph->used < oldest->used)
            oldest = graph;
    }
    forget(oldest, device);
    return oldest;
}

bool tern_cuda_graphs_begin(tern_cuda_graphs *graphs, tern_cuda_device *device, const tern_cuda_graph_key *key) {
    if (key->n_tokens > TERN_CUDA_GRAPH_TOKENS || device->status)
        return false;
    tern_cuda_graph *graph = find(graphs, device, key);
    bool seen = graph->key.n_tokens != 0;
    graph->key = *key;
    graph->used = ++graphs->n_passes;
    if (graph->exec) {
        tern_cuda_check(device, device->driver->graph_launch(graph->exec, device->stream), "a step's graph");
        return true;
    }
    if (seen && tern_cuda_check(device, device->driver->stream_begin_capture(device->stream, TERN_CU_CAPTURE_RELAXED),
                                "recording a step"))
        graphs->recording = graph;
    return false;
}

/* What was recorded; NULL: nothing came of it. */
static tern_cu_graph *stop(tern_cuda_graphs *graphs, tern_cuda_device *device) {
    tern_cu_graph *recorded = NULL;
    tern_cu_result result = device->driver->stream_end_capture(device->stream, &recorded);
    graphs->recording = NULL;
    tern_cuda_check(device, result, "recording a step");
    return result ? NULL : recorded;
}

void tern_cuda_graphs_end(tern_cuda_graphs *graphs, tern_cuda_device *device) {
    tern_cuda_graph *graph = graphs->recording;
    if (!graph)
        return;
    tern_cu_graph *recorded = stop(graphs, device);
    if (!recorded)
        return;
    if (!device->status) {
        tern_cu_graph_exec *exec = NULL;
        if (tern_cuda_check(device, device->driver->graph_instantiate(&exec, recorded, 0), "a step's graph")) {
            graph->exec = exec;
            tern_cuda_check(device, device->driver->graph_launch(exec, device->stream), "a step's graph");
        }
    }
    device->driver->graph_destroy(recorded);
}

void tern_cuda_graphs_abandon(tern_cuda_graphs *graphs, tern_cuda_device *device) {
    tern_cu_graph *recorded = graphs->recording ? stop(graphs, device) : NULL;
    if (recorded)
        device->driver->graph_destroy(recorded);
}

void tern_cuda_graphs_free(tern_cuda_graphs *graphs, tern_cuda_device *device) {
    tern_cuda_graphs_abandon(graphs, device);
    for (int i = 0; i < TERN_CUDA_GRAPHS; i++)
        forget(&graphs->graphs[i], device);
}
