/*
 * What a training run takes of memory, before it takes it: weights, gradients, Adam's moments and activations, without
 * and with activation checkpointing (Chen et al. 2016), against what the machine has to spare.
 */
#ifndef TERN_TRAIN_PLAN_H
#define TERN_TRAIN_PLAN_H

#include "train/lora.h"
#include "train/net.h"

typedef struct tern_plan {
    /* bytes */
    uint64_t weights;   /* float32 masters; of a frozen base: packed weights as they are loaded */
    uint64_t gradients; /* float32 */
    uint64_t moments;   /* two of float32 */
    uint64_t other;     /* merged weights, reference values, ... */
    uint64_t net[2];    /* activations, packed matrices, scratch; [1]: with recomputation */
    uint64_t total[2];  /* of all */
    uint64_t available; /* tern_memory_available() */
    uint32_t micro;     /* sequences at a time that this is for */
    bool recompute;     /* chosen: the first of the two that fits, [1] if neither does */
    bool fits;
} tern_plan;

/* Bytes that this process can still take: the system's available memory, or what the limits of its control groups
 * (v1 and v2, up to the root) and RLIMIT_AS leave, whichever is least. Of systems other than Linux: all memory that
 * they have, in use or not. UINT64_MAX: the system does not say. */
uint64_t tern_memory_available(void);
/* The same with another root than "/" and without RLIMIT_AS; for tests. */
uint64_t tern_memory_available_in(const char *root);

/* Fill in net, total, available, recompute and fits for a net of these dimensions; the other sizes are set.
 * `how->recompute`: do it in any case. `frozen`: of tern_net_create_frozen(). A fraction of what is available is left
 * to the system. */
void tern_plan_complete(const tern_dims *dims, const tern_net_params *how, bool frozen, tern_plan *plan);

/* Choose anew as if so much were available; the totals are set. For tests and for asking about other machines. */
void tern_plan_choose(tern_plan *plan, uint64_t available, bool recompute);

/* Parameters of a model of these dimensions as tern_params lays them out. UINT64_MAX: too many. */
uint64_t tern_plan_params(const tern_dims *dims);

/* The plan for people, lines of text ended by \n; freed with free(). NULL: no memory. */
char *tern_plan_text(const tern_plan *plan);
/* TERN_ERR_MEMORY with one line that says what is missing and what to do, unless it fits. */
tern_status tern_plan_check(const tern_plan *plan, tern_error *err);

#endif
