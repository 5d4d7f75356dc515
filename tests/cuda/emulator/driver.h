/* What the entry points of the emulated libcuda share. */
#ifndef TERN_EMULATOR_DRIVER_H
#define TERN_EMULATOR_DRIVER_H

#include <functional>
#include <vector>

#include "cu.h"

namespace emulator {

enum Needs { NOTHING, INITIALIZED, CONTEXT };

/* Begins an entry point: takes the lock (one call at a time, from whatever thread), counts the call, and says whether
 * it may go on. */
class Call {
  public:
    CUresult status; /* not CUDA_SUCCESS: return it */
    Call(const char *name, Needs needs);
    ~Call();
};

/* Something a stream does later. */
typedef std::function<void()> Work;

/* Queue for a stream, or for the graph that it records. */
CUresult give_work(CUstream stream, Work work);
/* Do all that is queued. CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED while a graph is recorded. */
CUresult finish_work();
/* Streams, events and graphs that are there. */
size_t n_streams();

#define ENTRY(needs)                                                                                                   \
    emulator::Call call(__func__, needs);                                                                              \
    if (call.status)                                                                                                   \
        return call.status;

} // namespace emulator

/* Exported, as libcuda.so.1 does. */
#define API extern "C" __attribute__((visibility("default"))) CUresult

#endif
