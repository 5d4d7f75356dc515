/* NVIDIA's cards as their driver's library sees them, libnvidia-ml.so.1. It is loaded when asked for: tern is built and
 * runs without it. The few functions that are called are declared here as NVIDIA's NVML API Reference has them, which
 * keeps them binary compatible. */
#ifndef TERN_BASE_NVML_H
#define TERN_BASE_NVML_H

#include <stdbool.h>

#include "base/status.h"

#define TERN_NVML_LIBRARY "libnvidia-ml.so.1"

typedef int tern_nvml_result; /* 0: it worked */
typedef struct nvmlDevice_st *tern_nvml_device;

typedef struct tern_nvml {
    void *library; /* NULL: not open; the functions are not there then */
    tern_nvml_result (*init)(void), (*shutdown)(void), (*count)(unsigned *);
    const char *(*error)(tern_nvml_result);
    tern_nvml_result (*device)(unsigned index, tern_nvml_device *);
    tern_nvml_result (*name)(tern_nvml_device, char *, unsigned size);
    tern_nvml_result (*energy)(tern_nvml_device, unsigned long long *millijoules); /* since the driver was loaded */
    tern_nvml_result (*power)(tern_nvml_device, unsigned *milliwatts);
} tern_nvml;

/* Load `path` and start it. That there is no such library is no error, if `path` is a name without a folder: *nvml
 * stays closed. Other failures are: one that cannot be loaded, is none of NVML, or finds no driver. */
tern_status tern_nvml_open(const char *path, tern_nvml *nvml, tern_error *err);
/* Also of one that is not open. */
void tern_nvml_close(tern_nvml *nvml);

#endif
