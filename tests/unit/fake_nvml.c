/* A libnvidia-ml.so of the tests, loaded in its place. Its cards stand in the file that $FAKE_NVML names, a line each:
 * name, millijoules, milliwatts; "-" for what the card does not show. Without that file there is no driver. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15 };

typedef struct nvmlDevice_st {
    unsigned index;
} nvmlDevice_st;

static int starts;
static nvmlDevice_st devices[64];

/* Which: 0 the name, 1 its energy, 2 its power. */
static int find(unsigned index, int which, char word[static 96]) {
    char words[3][96];
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "re") : NULL;
    if (!file)
        return DRIVER_NOT_LOADED;
    int n = 0;
    for (unsigned i = 0; i <= index; i++)
        n = fscanf(file, "%95s %95s %95s", words[0], words[1], words[2]);
    fclose(file);
    if (n != 3 || !starts)
        return GPU_IS_LOST;
    memcpy(word, words[which], 96);
    return strcmp(word, "-") == 0 ? NOT_SUPPORTED : SUCCESS;
}

int nvmlInit_v2(void) {
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "re") : NULL;
    if (!file)
        return DRIVER_NOT_LOADED;
    fclose(file);
    starts++;
    return SUCCESS;
}

int nvmlShutdown(void) {
    starts--;
    return SUCCESS;
}

const char *nvmlErrorString(int code) {
    return code == DRIVER_NOT_LOADED ? "Driver Not Loaded" : code == GPU_IS_LOST ? "GPU is lost" : "Unknown Error";
}

int nvmlDeviceGetCount_v2(unsigned *n) {
    char word[96];
    for (*n = 0; *n < 64 && find(*n, 0, word) == SUCCESS; ++*n)
        continue;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_st **device) {
    if (index >= 64)
        return INVALID_ARGUMENT;
    devices[index].index = index;
    *device = &devices[index];
    return SUCCESS;
}

int nvmlDeviceGetName(const nvmlDevice_st *device, char *name, unsigned size) {
    char word[96];
    int code = find(device->index, 0, word);
    for (char *c = word; code == SUCCESS && *c; c++)
        *c = *c == '_' ? ' ' : *c; /* as real ones have them: "NVIDIA H200" */
    if (code == SUCCESS)
        snprintf(name, size, "%s", word);
    return code;
}

int nvmlDeviceGetTotalEnergyConsumption(const nvmlDevice_st *device, unsigned long long *millijoules) {
    char word[96];
    int code = find(device->index, 1, word);
    if (code == SUCCESS)
        *millijoules = strtoull(word, NULL, 10);
    return code;
}

int nvmlDeviceGetPowerUsage(const nvmlDevice_st *device, unsigned *milliwatts) {
    char word[96];
    int code = find(device->index, 2, word);
    if (code == SUCCESS)
        *milliwatts = (unsigned)strtoul(word, NULL, 10);
    return code;
}
