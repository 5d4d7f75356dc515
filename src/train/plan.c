#include "train/plan.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

/* Of what is available, for the page cache of the data and whatever else the machine does. */
#define SPARE_FRACTION 0.03
enum { MAX_TEXT_BYTES = 1 << 20, MAX_PATH_BYTES = 4096 };

/* -------------------------------------------------------------- the machine */

/* A small file of the system, NULL if it cannot be read; free() it. Such files state no size: read in one go. */
static char *read_text(const char *root, const char *path) {
    char full[MAX_PATH_BYTES], *text = malloc(MAX_TEXT_BYTES);
    int n = snprintf(full, sizeof full, "%s%s", root, path);
    FILE *file = text && n > 0 && (size_t)n < sizeof full ? fopen(full, "re") : NULL;
    if (!file) {
        free(text);
        return NULL;
    }
    text[fread(text, 1, MAX_TEXT_BYTES - 1, file)] = 0;
    fclose(file);
    return text;
}

static uint64_t system_available(const char *root) {
    char *text = read_text(root, "/proc/meminfo"), *line = text ? strstr(text, "MemAvailable:") : NULL;
    uint64_t bytes = line ? strtoull(line + strlen("MemAvailable:"), NULL, 10) * 1024 : UINT64_MAX;
    free(text);
    return bytes;
}

/* A number in a file of its own; UINT64_MAX for "max" and where there is none. */
static uint64_t read_number(const char *root, const char *folder, const char *name) {
    char path[MAX_PATH_BYTES], *end;
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    char *text = n > 0 && (size_t)n < sizeof path ? read_text(root, path) : NULL;
    uint64_t value = text ? strtoull(text, &end, 10) : UINT64_MAX;
    if (text && end == text)
        value = UINT64_MAX;
    free(text);
    return value;
}

/* What the group and those above it leave. Pages of files that the group could drop count as free. */
static uint64_t group_available(const char *root, const char *mount, const char *group, const char *limit_name,
                                const char *used_name) {
    uint64_t least = UINT64_MAX;
    char folder[MAX_PATH_BYTES];
    int n = snprintf(folder, sizeof folder, "%s%s", mount, group);
    if (n <= 0 || (size_t)n >= sizeof folder)
        return least;
    for (;;) {
        size_t length = strlen(folder);
        while (length > strlen(mount) && folder[length - 1] == '/')
            folder[--length] = 0;
        uint64_t limit = read_number(root, folder, limit_name), used = read_number(root, folder, used_name);
        char stat[MAX_PATH_BYTES + 16];
        snprintf(stat, sizeof stat, "%s/memory.stat", folder);
        char *text = read_text(root, stat), *cached = text ? strstr(text, "\ninactive_file ") : NULL;
        uint64_t droppable = cached ? strtoull(cached + strlen("\ninactive_file "), NULL, 10) : 0;
        free(text);
        if (limit != UINT64_MAX && used != UINT64_MAX) {
            used = used > droppable ? used - droppable : 0;
            uint64_t left = limit > used ? limit - used : 0;
            least = left < least ? left : least;
        }
        if (length <= strlen(mount))
            return least;
        *strrchr(folder, '/') = 0;
    }
}

/* Lines of /proc/self/cgroup: "0::/path" (v2), "4:memory:/path" (v1). Inside a container the path may not exist there;
 * its limits are then found at the mount's root, where the walk ends. */
static uint64_t limited(const char *root) {
    uint64_t least = UINT64_MAX;
    char *text = read_text(root, "/proc/self/cgroup"), *rest = text, *line;
    while (rest && (line = strsep(&rest, "\n"))) {
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = 0;
        uint64_t left = UINT64_MAX;
        if (names[1] == 0)
            left = group_available(root, "/sys/fs/cgroup", path, "memory.max", "memory.current");
        else if (strcmp(names + 1, "memory") == 0)
            left =
                group_available(root, "/sys/fs/cgroup/memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes");
        least = left < least ? left : least;
    }
    free(text);
    return least;
}

uint64_t tern_memory_available_in(const char *root) {
    uint64_t system = system_available(root), groups = limited(root);
    return system < groups ? system : groups;
}

uint64_t tern_memory_available(void) {
    uint64_t least = tern_memory_available_in("");
    long n_pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    struct rlimit limit;
    if (least == UINT64_MAX && n_pages > 0 && page > 0) /* no Linux: at least no more than there is */
        least = (uint64_t)n_pages * (uint64_t)page;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < least)
        least = limit.rlim_cur;
    return least;
}

/* ----------------------------------------------------------------- the plan */

static uint64_t sum(uint64_t a, uint64_t b) {
    uint64_t total;
    return tern_add_u64(a, b, &total) ? total : UINT64_MAX;
}

uint64_t tern_plan_params(const tern_dims *dims) {
    uint64_t hidden = dims->hidden_size, ffn = dims->ffn_size, kv = tern_kv_size(dims), q = tern_q_size(dims);
    uint64_t layer = 2 * (q + kv) * hidden + 3 * hidden * ffn + 2 * hidden + q + ffn, n, embedding; /* below 2^45 */
    if (!tern_mul_u64(layer, dims->n_layers, &n) || !tern_mul_u64(dims->vocab_size, hidden, &embedding))
        return UINT64_MAX;
    return sum(n, sum(embedding, hidden));
}

void tern_plan_complete(const tern_dims *dims, const tern_net_params *how, bool frozen, tern_plan *plan) {
    tern_net_params net = *how;
    for (int i = 0; i < 2; i++) {
        net.recompute = i;
        plan->net[i] = frozen ? tern_net_frozen_bytes(dims, &net) : tern_net_bytes(dims, &net);
        plan->total[i] = sum(sum(plan->weights, plan->gradients), sum(plan->moments, sum(plan->other, plan->net[i])));
    }
    tern_plan_choose(plan, tern_memory_available(), how->recompute);
}

void tern_plan_choose(tern_plan *plan, uint64_t available, bool recompute) {
    double usable = available == UINT64_MAX ? INFINITY : (double)available * (1 - SPARE_FRACTION);
    plan->available = available;
    plan->recompute = recompute || (double)plan->total[0] > usable;
    plan->fits = plan->total[plan->recompute] < UINT64_MAX && (double)plan->total[plan->recompute] <= usable;
}

static void add_bytes(tern_buffer *text, const char *name, uint64_t bytes, bool in_gb) {
    tern_buffer_printf(text, "  %-32s %8.2f %s\n", name, (double)bytes / (in_gb ? 1e9 : 1e6), in_gb ? "GB" : "MB");
}

char *tern_plan_text(const tern_plan *plan) {
    tern_buffer text = {0};
    char name[64];
    bool in_gb = plan->total[0] >= 1000000000;
    tern_buffer_text(&text, "memory plan:\n");
    add_bytes(&text, "weights", plan->weights, in_gb);
    add_bytes(&text, "gradients", plan->gradients, in_gb);
    add_bytes(&text, "Adam's moments", plan->moments, in_gb);
    if (plan->other)
        add_bytes(&text, "other copies", plan->other, in_gb);
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "activations, %s", i ? "recomputed" : "all kept");
        add_bytes(&text, name, plan->net[i], in_gb);
    }
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "in all, activations %s%s", i ? "recomputed" : "kept",
                 plan->recompute == (bool)i ? " *" : "");
        add_bytes(&text, name, plan->total[i], in_gb);
    }
    if (plan->available != UINT64_MAX)
        add_bytes(&text, "available", plan->available, in_gb);
    tern_buffer_printf(&text, "  * chosen, for micro-batches of %" PRIu32 " sequence%s\n", plan->micro,
                       plan->micro == 1 ? "" : "s");
    return tern_buffer_take(&text, NULL);
}

tern_status tern_plan_check(const tern_plan *plan, tern_error *err) {
    if (plan->fits)
        return TERN_OK;
    return tern_fail(err, TERN_ERR_MEMORY,
                     "this run needs %.1f GB of memory, of which %.1f GB are activations, and %.1f GB are available; "
                     "take a smaller --micro-batch or --ctx, train adapters (tern train lora), or use a larger machine",
                     (double)plan->total[plan->recompute] / 1e9, (double)plan->net[plan->recompute] / 1e9,
                     (double)plan->available / 1e9);
}
