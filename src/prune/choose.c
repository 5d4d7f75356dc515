/* Which heads and channels stay. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"
#include "model/keys.h"
#include "prune/parts.h"

/* FFN channels in multiples of this fill the kernels' blocks and the packed formats' (docs/FORMAT.md). Tokens of the
 * calibration text that the gains' factors are made of. */
enum { CHANNELS = 128, FACTOR_TOKENS = 2048 };

/* ------------------------------------------------------------------ counts */

/* What a number of channels has to be a multiple of, for matrices of this type. */
static uint32_t least_multiple(const tern_pruner *pruner) {
    const tern_codec *codec = tern_codec_of(pruner->weights.layers[0].down.source->type);
    uint32_t rows = codec->type == TERN_TYPE_HF_PACKED ? 4 : 1,
             cols = codec->ternary ? tern_keys_row_multiple(codec) : 1;
    return rows > cols ? rows : cols;
}

static tern_status count_channels(const tern_pruner *pruner, const tern_prune_choice *choice, uint32_t *n,
                                  tern_error *err) {
    uint32_t all = pruner->weights.dims.ffn_size, least = least_multiple(pruner), multiple = choice->multiple;
    if (multiple == 0)
        multiple = least > CHANNELS ? least : CHANNELS;
    if (multiple % least || multiple > all)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "FFN channels cannot be left in multiples of %u: of %u channels of type %s, multiples of %u "
                         "and no more than all of them",
                         multiple, all, pruner->weights.layers[0].down.source->type_name, least);
    double wanted = (1 - choice->ffn) * all;
    uint32_t best = all;
    for (uint32_t candidate = multiple; candidate < all; candidate += multiple)
        if (fabs(candidate - wanted) < fabs(best - wanted))
            best = candidate;
    *n = best;
    return TERN_OK;
}

/* Heads that stay: of n_kv KV heads, each with n_each query heads. */
typedef struct head_count {
    uint32_t n_kv, n_each;
} head_count;

static head_count count_heads(const tern_pruner *pruner, const tern_prune_choice *choice) {
    const tern_dims *dims = &pruner->weights.dims;
    uint32_t group = dims->n_heads / dims->n_kv_heads, multiple = least_multiple(pruner);
    head_count best = {dims->n_kv_heads, group};
    double wanted = (1 - choice->heads) * dims->n_heads, distance = fabs(dims->n_heads - wanted);
    for (uint32_t i = 1; choice->unit != TERN_PRUNE_HEADS && i < dims->n_kv_heads; i++)
        if (i * group * dims->head_dim % multiple == 0 && i * dims->head_dim % 4 == 0 &&
            fabs(i * group - wanted) < distance) {
            best = (head_count){i, group};
            distance = fabs(i * group - wanted);
        }
    for (uint32_t i = 1; choice->unit != TERN_PRUNE_GROUPS && i < group; i++)
        if (i * dims->n_kv_heads * dims->head_dim % multiple == 0 && fabs(i * dims->n_kv_heads - wanted) < distance) {
            best = (head_count){dims->n_kv_heads, i};
            distance = fabs(i * dims->n_kv_heads - wanted);
        }
    return best;
}

/* ---------------------------------------------------------------- choosing */

typedef struct ranked {
    double score;
    uint32_t index;
} ranked;

/* The best first; of equals the one that comes first in the model. */
static int compare_ranked(const void *left, const void *right) {
    const ranked *a = left, *b = right;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static int compare_indices(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

/* The n_kept best of list [n] -> kept, ascending. Sorts the list. */
static void pick(ranked *list, size_t n, uint32_t *kept, uint32_t n_kept) {
    qsort(list, n, sizeof *list, compare_ranked);
    for (uint32_t i = 0; i < n_kept; i++)
        kept[i] = list[i].index;
    qsort(kept, n_kept, sizeof *kept, compare_indices);
}

/* Scores of a layer's units -> scores [n_units]. */
static void score_units(const prune_side *side, uint32_t layer, const tern_prune_choice *choice, double *scores) {
    tern_rng rng;
    tern_rng_seed(&rng, choice->seed + 0x9e3779b97f4a7c15u * (2 * layer + (side->width > 1) + 1));
    const double *from =
        (choice->score == TERN_PRUNE_TAYLOR ? side->taylor : side->activation) + (size_t)layer * side->n_units;
    for (uint32_t i = 0; i < side->n_units; i++)
        scores[i] = choice->score == TERN_PRUNE_RANDOM ? tern_rng_uniform(&rng) : from[i];
}

/* Units -> their channels, in place's order. */
static void spread(const uint32_t *units, uint32_t n, uint32_t width, uint32_t *channels) {
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < width; j++)
            channels[(size_t)i * width + j] = units[i] * width + j;
}

/* A layer's heads: the best KV heads by what their query heads add up to, of each the best query heads. */
static void choose_heads(tern_pruner *pruner, uint32_t layer, head_count count, const double *scores, ranked *list,
                         uint32_t *units) {
    const tern_dims *dims = &pruner->weights.dims;
    prune_side *side = &pruner->sides[PRUNE_ATTENTION];
    uint32_t group = dims->n_heads / dims->n_kv_heads, *kv = units + dims->n_heads;
    for (uint32_t i = 0; i < dims->n_kv_heads; i++) {
        list[i] = (ranked){0, i};
        for (uint32_t j = 0; j < group; j++)
            list[i].score += scores[i * group + j];
    }
    pick(list, dims->n_kv_heads, kv, count.n_kv);
    for (uint32_t i = 0; i < count.n_kv; i++) {
        for (uint32_t j = 0; j < group; j++)
            list[j] = (ranked){scores[kv[i] * group + j], kv[i] * group + j};
        pick(list, group, units + (size_t)i * count.n_each, count.n_each);
    }
    spread(kv, count.n_kv, dims->head_dim, pruner->kept_kv + (size_t)layer * count.n_kv * dims->head_dim);
    spread(units, side->n_kept, side->width, side->kept + (size_t)layer * side->n_kept * side->width);
}

static tern_status choose_layers(tern_pruner *pruner, const tern_prune_choice *choice, head_count count,
                                 tern_error *err) {
    const tern_dims *dims = &pruner->weights.dims;
    prune_side *heads = &pruner->sides[PRUNE_ATTENTION], *ffn = &pruner->sides[PRUNE_FFN];
    size_t most = dims->ffn_size > 2 * dims->n_heads ? dims->ffn_size : 2 * dims->n_heads;
    double *scores = tern_alloc_array(most, sizeof *scores);
    ranked *list = tern_alloc_array(most, sizeof *list);
    uint32_t *units = tern_alloc_array(most, sizeof *units); /* heads, then KV heads */
    tern_status status = scores && list && units ? TERN_OK : tern_fail_memory(err, "the choice");
    for (uint32_t layer = 0; !status && layer < dims->n_layers; layer++) {
        score_units(heads, layer, choice, scores);
        choose_heads(pruner, layer, count, scores, list, units);
        score_units(ffn, layer, choice, scores);
        for (uint32_t i = 0; i < ffn->n_units; i++)
            list[i] = (ranked){scores[i], i};
        pick(list, ffn->n_units, ffn->kept + (size_t)layer * ffn->n_kept, ffn->n_kept);
    }
    free(scores);
    free(list);
    free(units);
    return status;
}

/* ----------------------------------------------------------------- factors */

/* RMSNorm over fewer channels divides by another mean square. Each SubLN's gains are multiplied by the mean of what the
 * divisor is now, over what it was: then what stays goes into the projection as it did. */
static tern_status find_factors(tern_pruner *pruner, tern_error *err) {
    uint32_t n_layers = pruner->weights.dims.n_layers;
    bool cut = false;
    for (int i = 0; i < PRUNE_SIDES; i++) {
        const prune_side *side = &pruner->sides[i];
        for (uint32_t layer = 0; layer < n_layers; layer++)
            side->factor[layer] = 0;
        cut |= side->n_kept < side->n_units;
    }
    pruner->pass = PRUNE_FACTORS;
    tern_status status = cut ? tern_prune_run(pruner, FACTOR_TOKENS, false, NULL, NULL, err) : TERN_OK;
    for (int i = 0; i < PRUNE_SIDES; i++) {
        const prune_side *side = &pruner->sides[i];
        for (uint32_t layer = 0; layer < n_layers; layer++)
            side->factor[layer] = side->n_kept < side->n_units ? side->factor[layer] / (double)pruner->n_run : 1;
    }
    return status;
}

static tern_prune_size size_of(const tern_pruner *pruner, const tern_dims *dims) {
    uint64_t hidden = dims->hidden_size, q = tern_q_size(dims), kv = tern_kv_size(dims), ffn = dims->ffn_size;
    const tern_weights *weights = &pruner->weights;
    uint64_t outside = hidden * ((weights->tied ? 1 : 2) * (uint64_t)dims->vocab_size + 1);
    return (tern_prune_size){dims->n_heads, dims->n_kv_heads, dims->ffn_size,
                             outside +
                                 dims->n_layers * (2 * hidden * (q + kv) + 3 * hidden * ffn + 2 * hidden + q + ffn)};
}

/* The dims that a choice leaves. */
static tern_status count_units(const tern_pruner *pruner, const tern_prune_choice *choice, head_count *count,
                               tern_dims *after, tern_error *err) {
    if (!(choice->heads >= 0 && choice->heads < 1) || !(choice->ffn >= 0 && choice->ffn < 1))
        return tern_fail(err, TERN_ERR_ARGUMENT, "the share to cut must be 0%% or more and less than 100%%");
    *after = pruner->weights.dims;
    tern_status status = count_channels(pruner, choice, &after->ffn_size, err);
    if (status)
        return status;
    *count = count_heads(pruner, choice);
    after->n_kv_heads = count->n_kv;
    after->n_heads = count->n_kv * count->n_each;
    return TERN_OK;
}

static tern_prune_plan plan_of(const tern_pruner *pruner, const tern_dims *after) {
    return (tern_prune_plan){size_of(pruner, &pruner->weights.dims), size_of(pruner, after),
                             tern_q_size(after) != after->hidden_size};
}

/* The smallest share of the heads and of the channels that can be cut, in percent; 0: none can. */
static void find_least(const tern_pruner *pruner, const tern_prune_choice *choice, double *heads, double *ffn) {
    const tern_dims *dims = &pruner->weights.dims;
    *heads = *ffn = 0;
    for (uint32_t percent = 1; percent < 100 && (*heads == 0 || *ffn == 0); percent++) {
        tern_prune_choice finer = *choice;
        finer.heads = finer.ffn = percent / 100.0;
        head_count count = {0};
        tern_dims after = *dims;
        if (count_units(pruner, &finer, &count, &after, NULL))
            return;
        if (*heads == 0 && after.n_heads < dims->n_heads)
            *heads = 100 * (1 - (double)after.n_heads / dims->n_heads);
        if (*ffn == 0 && after.ffn_size < dims->ffn_size)
            *ffn = 100 * (1 - (double)after.ffn_size / dims->ffn_size);
    }
}

static const char *share(double percent, char text[16]) {
    if (percent == 0)
        return "none";
    snprintf(text, 16, "%.4g%%", percent);
    return text;
}

tern_status tern_pruner_plan(const tern_pruner *pruner, const tern_prune_choice *choice, tern_prune_plan *plan,
                             tern_error *err) {
    head_count count = {0};
    tern_dims after = pruner->weights.dims;
    tern_status status = count_units(pruner, choice, &count, &after, err);
    if (status)
        return status;
    *plan = plan_of(pruner, &after);
    const tern_dims *dims = &pruner->weights.dims;
    if ((choice->heads == 0 && choice->ffn == 0) || after.n_heads < dims->n_heads || after.ffn_size < dims->ffn_size)
        return TERN_OK;
    double heads, ffn;
    find_least(pruner, choice, &heads, &ffn);
    return tern_fail(
        err, TERN_ERR_ARGUMENT,
        "nothing would be cut: the smallest share that can be is %s of the heads (%u in %u KV groups), %s of "
        "the %u FFN channels",
        share(heads, (char[16]){0}), dims->n_heads, dims->n_kv_heads, share(ffn, (char[16]){0}), dims->ffn_size);
}

static tern_status check_calibration(const tern_pruner *pruner, const tern_prune_choice *choice, tern_error *err) {
    if (!pruner->n_seen)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: was not calibrated", pruner->checkpoint->path);
    if (choice->score == TERN_PRUNE_TAYLOR && !pruner->gradients)
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: was calibrated without gradients", pruner->checkpoint->path);
    return TERN_OK;
}

tern_status tern_pruner_choose(tern_pruner *pruner, const tern_prune_choice *choice, tern_prune_plan *plan,
                               tern_error *err) {
    head_count count = {0};
    tern_status status = count_units(pruner, choice, &count, &pruner->after, err);
    if (!status)
        status = check_calibration(pruner, choice, err);
    if (status)
        return status;
    pruner->sides[PRUNE_ATTENTION].n_kept = pruner->after.n_heads;
    pruner->sides[PRUNE_FFN].n_kept = pruner->after.ffn_size;
    status = choose_layers(pruner, choice, count, err);
    if (!status)
        status = find_factors(pruner, err);
    pruner->chosen = !status;
    *plan = plan_of(pruner, &pruner->after);
    return status;
}
