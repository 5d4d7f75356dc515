/*
 * Streams, events and graphs of the emulated libcuda. What is given to a stream is queued, and done when somebody
 * waits: so it shows when nobody does. Streams do their work in the order in which all of it was given, which is one of
 * the orders that CUDA allows; a graph's work is recorded, and done as often as the graph is launched.
 */
#include <deque>
#include <set>

#include "driver.h"

using namespace emulator;

struct CUstream_st {
    CUgraph recording; /* NULL: it is not */
};
struct CUgraph_st {
    std::vector<Work> work;
};
struct CUgraphExec_st {
    std::vector<Work> work;
};
struct CUevent_st {
    bool recorded;
    size_t behind; /* how much had been given until then */
};

static std::deque<Work> queue;
static size_t n_done; /* of all that was given */
static std::set<CUstream> streams;
static int n_recording;
static size_t n_events, n_graphs;

namespace emulator {

CUresult give_work(CUstream stream, Work work) {
    if (stream && !streams.count(stream))
        return CUDA_ERROR_INVALID_HANDLE;
    if (stream && stream->recording)
        stream->recording->work.push_back(work);
    else if (n_recording && !stream) /* the default stream waits for all others, which one that records cannot do */
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    else
        queue.push_back(work);
    return CUDA_SUCCESS;
}

/* Until n are done of all that was given. */
static CUresult work_until(size_t n) {
    if (n_recording)
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    for (; n_done < n; n_done++) {
        Work work = queue.front();
        queue.pop_front();
        work();
    }
    return CUDA_SUCCESS;
}

size_t n_streams() { return streams.size() + n_events + n_graphs; }

CUresult finish_work() { return work_until(n_done + queue.size()); }

} // namespace emulator

/* ---- streams ---- */

API cuStreamCreate(CUstream *stream, unsigned) {
    ENTRY(CONTEXT)
    *stream = new CUstream_st();
    streams.insert(*stream);
    return CUDA_SUCCESS;
}

API cuStreamDestroy_v2(CUstream stream) {
    ENTRY(CONTEXT)
    if (!streams.erase(stream))
        return CUDA_ERROR_INVALID_HANDLE;
    if (stream->recording) {
        delete stream->recording;
        n_graphs--;
        n_recording--;
    }
    CUresult status = finish_work();
    delete stream;
    return status;
}

API cuStreamSynchronize(CUstream stream) {
    ENTRY(CONTEXT)
    if (stream && !streams.count(stream))
        return CUDA_ERROR_INVALID_HANDLE;
    return finish_work();
}

API cuStreamQuery(CUstream stream) {
    ENTRY(CONTEXT)
    if (stream && !streams.count(stream))
        return CUDA_ERROR_INVALID_HANDLE;
    return queue.empty() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

API cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
    ENTRY(CONTEXT)
    return !event || (stream && !streams.count(stream)) ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

/* ---- events: no time passes ---- */

API cuEventCreate(CUevent *event, unsigned) {
    ENTRY(CONTEXT)
    *event = new CUevent_st();
    n_events++;
    return CUDA_SUCCESS;
}

API cuEventRecord(CUevent event, CUstream stream) {
    ENTRY(CONTEXT)
    if (!event || (stream && !streams.count(stream)))
        return CUDA_ERROR_INVALID_HANDLE;
    event->recorded = true;
    event->behind = n_done + queue.size();
    return CUDA_SUCCESS;
}

API cuEventSynchronize(CUevent event) {
    ENTRY(CONTEXT)
    if (!event)
        return CUDA_ERROR_INVALID_HANDLE;
    return event->recorded ? work_until(event->behind) : CUDA_SUCCESS;
}

API cuEventQuery(CUevent event) {
    ENTRY(CONTEXT)
    if (!event)
        return CUDA_ERROR_INVALID_HANDLE;
    return n_done >= event->behind ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

API cuEventElapsedTime(float *ms, CUevent start, CUevent end) {
    ENTRY(CONTEXT)
    if (!start || !end || !start->recorded || !end->recorded)
        return CUDA_ERROR_INVALID_HANDLE;
    *ms = 1;
    return CUDA_SUCCESS;
}

API cuEventDestroy_v2(CUevent event) {
    ENTRY(CONTEXT)
    if (!event)
        return CUDA_ERROR_INVALID_HANDLE;
    delete event;
    n_events--;
    return CUDA_SUCCESS;
}

/* ---- graphs ---- */

API cuStreamBeginCapture_v2(CUstream stream, int) {
    ENTRY(CONTEXT)
    if (!streams.count(stream) || stream->recording)
        return CUDA_ERROR_INVALID_VALUE;
    stream->recording = new CUgraph_st();
    n_graphs++;
    n_recording++;
    return CUDA_SUCCESS;
}

/* Also where it fails nothing is recorded any more. */
API cuStreamEndCapture(CUstream stream, CUgraph *graph) {
    emulator::Call call(__func__, CONTEXT);
    if (!streams.count(stream) || !stream->recording)
        return CUDA_ERROR_INVALID_VALUE;
    *graph = stream->recording;
    stream->recording = nullptr;
    n_recording--;
    if (call.status) {
        delete *graph;
        *graph = nullptr;
        n_graphs--;
    }
    return call.status;
}

API cuGraphInstantiateWithFlags(CUgraphExec *executable, CUgraph graph, unsigned long long) {
    ENTRY(CONTEXT)
    if (!graph)
        return CUDA_ERROR_INVALID_VALUE;
    *executable = new CUgraphExec_st{graph->work};
    n_graphs++;
    return CUDA_SUCCESS;
}

API cuGraphLaunch(CUgraphExec executable, CUstream stream) {
    ENTRY(CONTEXT)
    if (!executable)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult status = CUDA_SUCCESS;
    for (const Work &work : executable->work)
        if (!status)
            status = give_work(stream, work);
    return status;
}

API cuGraphGetNodes(CUgraph graph, void **nodes, size_t *n_nodes) {
    ENTRY(CONTEXT)
    if (!graph || nodes)
        return CUDA_ERROR_INVALID_VALUE;
    *n_nodes = graph->work.size();
    return CUDA_SUCCESS;
}

API cuGraphDestroy(CUgraph graph) {
    ENTRY(CONTEXT)
    if (!graph)
        return CUDA_ERROR_INVALID_VALUE;
    delete graph;
    n_graphs--;
    return CUDA_SUCCESS;
}

API cuGraphExecDestroy(CUgraphExec executable) {
    ENTRY(CONTEXT)
    if (!executable)
        return CUDA_ERROR_INVALID_VALUE;
    delete executable;
    n_graphs--;
    return CUDA_SUCCESS;
}
