/*
 * The sampler: logits -> one token.
 *
 * Stages, in order: logit bias; penalties (repetition, then frequency and
 * presence); at temperature 0 the argmax; else top-k, temperature, top-p (Holtzman
 * et al. 2019), min-p (Nguyen et al. 2024), draw. Where logits are equal the lower id ranks higher,
 * so every stage has one right answer.
 *
 * Nothing sorts the vocabulary: each filter finds its threshold by selection
 * (Hoare 1961), in linear time, and then keeps what ranks at or above it in order of ids.
 * The draw therefore walks over the survivors in order of ids, and a stage that removes
 * nothing does not change what a seed draws.
 *
 * Only +, -, *, / and comparisons of IEEE floats are used (exp() too is made
 * of them, see exp_negative), without contraction, so that a seed gives the same
 * tokens on every platform whose logits are the same.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/status.h"

enum { LANES = 8, BLOCK = 32 };

/* How often each id stands in the last `window` accepted tokens; a token enters
 * and leaves in constant time. */
typedef struct history {
    int32_t *ring; /* [ring_size], grows up to the window; not used if the window is unlimited */
    size_t ring_size, ring_capacity, oldest;
    uint32_t *counts; /* [vocab_size]; NULL: no penalties */
    int32_t *seen;    /* [n_seen] the ids whose count is not 0, in any order */
    uint32_t *where;  /* [vocab_size] their places in seen */
    size_t n_seen;
} history;

struct tern_sampler {
    tern_sampler_params params; /* logit_bias is our copy */
    size_t vocab_size;
    tern_rng rng;
    history history;

    /* candidates, in order of ids; after the first stages `logits` is indexed like ids */
    float *logits;   /* [vocab_size] */
    int32_t *ids;    /* [vocab_size] */
    double *weights; /* [vocab_size] exp((logit - max) / temperature) */
    uint64_t *keys;  /* [vocab_size] scratch of the selections */
};

tern_sampler_params tern_sampler_defaults(void) {
    return (tern_sampler_params){
        .temperature = 0.8f,
        .top_k = 40,
        .top_p = 0.95f,
        .min_p = 0.05f,
        .repeat_penalty = 1,
        .penalty_window = 64,
    };
}

/* ---------------------------------------------------------------- creation */

typedef struct param_range {
    const char *name, *rule;
    size_t offset;
    double low, high;
    bool low_open;
} param_range;

static const param_range ranges[] = {
    {"temperature", "0 (greedy) or more", offsetof(tern_sampler_params, temperature), 0, FLT_MAX, false},
    {"top-p", "above 0 and at most 1 (off)", offsetof(tern_sampler_params, top_p), 0, 1, true},
    {"min-p", "0 (off) to 1", offsetof(tern_sampler_params, min_p), 0, 1, false},
    {"repeat penalty", "above 0 (1 is off)", offsetof(tern_sampler_params, repeat_penalty), 0, FLT_MAX, true},
    {"frequency penalty", "a finite number (0 is off)", offsetof(tern_sampler_params, frequency_penalty), -FLT_MAX,
     FLT_MAX, false},
    {"presence penalty", "a finite number (0 is off)", offsetof(tern_sampler_params, presence_penalty), -FLT_MAX,
     FLT_MAX, false},
};

static tern_status check_params(const tern_sampler_params *params, size_t vocab_size, tern_error *err) {
    if (vocab_size == 0 || vocab_size > INT32_MAX)
        return tern_fail(err, TERN_ERR_ARGUMENT, "sampler: a vocabulary of %zu tokens is impossible", vocab_size);
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        float value;
        memcpy(&value, (const char *)params + ranges[i].offset, sizeof value);
        if (!(value >= ranges[i].low && value <= ranges[i].high) || (ranges[i].low_open && value == ranges[i].low))
            return tern_fail(err, TERN_ERR_ARGUMENT, "%s %g: must be %s", ranges[i].name, (double)value,
                             ranges[i].rule);
    }
    if (params->top_k < 0)
        return tern_fail(err, TERN_ERR_ARGUMENT, "top-k %d: must be 0 (off) or more", (int)params->top_k);
    if (params->penalty_window < -1)
        return tern_fail(err, TERN_ERR_ARGUMENT, "penalty window %d: must be -1 (all tokens), 0 (off) or more",
                         (int)params->penalty_window);
    if (params->n_logit_bias && !params->logit_bias)
        return tern_fail(err, TERN_ERR_ARGUMENT, "logit bias: %zu announced, but the list is NULL",
                         params->n_logit_bias);
    for (size_t i = 0; i < params->n_logit_bias; i++) {
        const tern_logit_bias *bias = &params->logit_bias[i];
        if (bias->id < 0 || (size_t)bias->id >= vocab_size)
            return tern_fail(err, TERN_ERR_ARGUMENT, "logit bias for token %d: the ids are 0 to %zu", (int)bias->id,
                             vocab_size - 1);
        if (isnan(bias->bias) || bias->bias == INFINITY)
            return tern_fail(err, TERN_ERR_ARGUMENT, "logit bias %g for token %d: must be finite, or -inf for a ban",
                             (double)bias->bias, (int)bias->id);
    }
    return TERN_OK;
}

static bool create_history(tern_sampler *sampler) {
    const tern_sampler_params *p = &sampler->params;
    bool off = p->repeat_penalty == 1 && p->frequency_penalty == 0 && p->presence_penalty == 0;
    if (off || p->penalty_window == 0)
        return true;
    history *h = &sampler->history;
    h->counts = tern_calloc_array(sampler->vocab_size, sizeof *h->counts);
    h->seen = tern_alloc_array(sampler->vocab_size, sizeof *h->seen);
    h->where = tern_alloc_array(sampler->vocab_size, sizeof *h->where);
    return h->counts && h->seen && h->where;
}

tern_status tern_sampler_create(const tern_sampler_params *params, size_t vocab_size, tern_sampler **out,
                                tern_error *err) {
    tern_sampler_params defaults = tern_sampler_defaults();
    if (!params)
        params = &defaults;
    tern_status status = check_params(params, vocab_size, err);
    if (status)
        return status;
    tern_sampler *sampler = calloc(1, sizeof *sampler);
    if (!sampler)
        return tern_fail_memory(err, "the sampler");
    sampler->params = *params;
    sampler->vocab_size = vocab_size;
    tern_rng_seed(&sampler->rng, params->seed);
    tern_logit_bias *bias = tern_alloc_array(params->n_logit_bias, sizeof *bias);
    sampler->params.logit_bias = bias;
    sampler->logits = tern_alloc_array(vocab_size, sizeof *sampler->logits);
    sampler->ids = tern_alloc_array(vocab_size, sizeof *sampler->ids);
    sampler->weights = tern_calloc_array(vocab_size, sizeof *sampler->weights);
    sampler->keys = tern_alloc_array(vocab_size, sizeof *sampler->keys);
    if (!bias || !sampler->logits || !sampler->ids || !sampler->weights || !sampler->keys || !create_history(sampler)) {
        tern_sampler_free(sampler);
        return tern_fail_memory(err, "the sampler");
    }
    if (params->n_logit_bias)
        memcpy(bias, params->logit_bias, params->n_logit_bias * sizeof *bias);
    *out = sampler;
    return TERN_OK;
}

void tern_sampler_free(tern_sampler *sampler) {
    if (!sampler)
        return;
    free((void *)sampler->params.logit_bias);
    free(sampler->logits);
    free(sampler->ids);
    free(sampler->weights);
    free(sampler->keys);
    free(sampler->history.ring);
    free(sampler->history.counts);
    free(sampler->history.seen);
    free(sampler->history.where);
    free(sampler);
}

/* ----------------------------------------------------------------- history */

static void count_token(history *h, int32_t id) {
    if (h->counts[id]++ == 0) {
        h->where[id] = (uint32_t)h->n_seen;
        h->seen[h->n_seen++] = id;
    }
}

static void discount_token(history *h, int32_t id) {
    if (--h->counts[id] == 0) {
        int32_t last = h->seen[--h->n_seen];
        h->seen[h->where[id]] = last;
        h->where[last] = h->where[id];
    }
}

tern_status tern_sampler_accept(tern_sampler *sampler, int32_t id, tern_error *err) {
    if (id < 0 || (size_t)id >= sampler->vocab_size)
        return tern_fail(err, TERN_ERR_ARGUMENT, "token %d: the ids are 0 to %zu", (int)id, sampler->vocab_size - 1);
    history *h = &sampler->history;
    if (!h->counts)
        return TERN_OK;
    int32_t window = sampler->params.penalty_window;
    if (window >= 0 && h->ring_size < (size_t)window) {
        if (!tern_grow_array((void **)&h->ring, &h->ring_capacity, h->ring_size + 1, sizeof *h->ring))
            return tern_fail_memory(err, "the sampler's history");
        h->ring[h->ring_size++] = id;
    } else if (window >= 0) {
        discount_token(h, h->ring[h->oldest]);
        h->ring[h->oldest] = id;
        h->oldest = (h->oldest + 1) % h->ring_size;
    }
    count_token(h, id);
    return TERN_OK;
}

/* ------------------------------------------------- bias, penalties, argmax */

/* Back to float; too large becomes the largest, too small a ban. */
static float to_logit(double value) { return value > FLT_MAX ? FLT_MAX : value < -FLT_MAX ? -INFINITY : (float)value; }

/* Repetition: CTRL (Keskar et al. 2019, section 4.1); frequency and presence: the OpenAI API. */
static void apply_penalties(tern_sampler *sampler) {
    const tern_sampler_params *p = &sampler->params;
    const history *h = &sampler->history;
    for (size_t i = 0; i < h->n_seen; i++) {
        int32_t id = h->seen[i];
        double x = sampler->logits[id];
        x = x > 0 ? x / p->repeat_penalty : x * p->repeat_penalty;
        x -= (double)h->counts[id] * p->frequency_penalty + p->presence_penalty;
        sampler->logits[id] = to_logit(x);
    }
}

/* max of x [n], in lanes so that it vectorises; n >= 1, no NaN. */
static float maximum(const float *x, size_t n) {
    float lanes[LANES], max = x[0];
    for (size_t j = 0; j < LANES; j++)
        lanes[j] = max;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (size_t j = 0; j < LANES; j++)
        max = lanes[j] > max ? lanes[j] : max;
    return max;
}

/* Copy the model's logits, checked, and give them bias and penalties; *max is the largest. */
static tern_status prepare(tern_sampler *sampler, const float *logits, float *max, tern_error *err) {
    unsigned n_bad = 0, n_alive = 0;
    for (size_t i = 0; i < sampler->vocab_size; i++) {
        float x = logits[i];
        n_bad += !(x < INFINITY);
        n_alive += x > -INFINITY;
        sampler->logits[i] = x;
        sampler->ids[i] = (int32_t)i;
    }
    if (n_bad)
        return tern_fail(err, TERN_ERR_FORMAT,
                         "the model gave %u NaN or infinite logits: its weights are damaged, or the file is", n_bad);
    if (!n_alive)
        return tern_fail(err, TERN_ERR_FORMAT, "the model gave -inf for every token: its weights are damaged");
    for (size_t i = 0; i < sampler->params.n_logit_bias; i++) {
        const tern_logit_bias *bias = &sampler->params.logit_bias[i];
        sampler->logits[bias->id] = to_logit((double)sampler->logits[bias->id] + bias->bias);
    }
    apply_penalties(sampler);
    *max = maximum(sampler->logits, sampler->vocab_size);
    if (*max == -INFINITY)
        return tern_fail(err, TERN_ERR_ARGUMENT, "logit bias and penalties ban every token: there is none to choose");
    return TERN_OK;
}

/* --------------------------------------------------------------- selection */

/* A candidate as an integer that ranks as it does: logits ascending, for equal
 * ones the later place lower. -0 ranks with +0. */
static uint64_t rank_key(float logit, uint32_t place) {
    float zero_merged = logit + 0.0f;
    uint32_t bits;
    memcpy(&bits, &zero_merged, sizeof bits);
    bits ^= bits >> 31 ? 0xffffffffu : 0x80000000u;
    return (uint64_t)bits << 32 | (uint32_t)~place;
}

static uint64_t median_of_3(uint64_t a, uint64_t b, uint64_t c) {
    uint64_t low = a < b ? a : b, high = a < b ? b : a;
    return c < low ? low : c > high ? high : c;
}

/* Move the keys >= pivot to the front; how many. Without a branch that depends on
 * the keys: mispredictions would cost more than the moves. */
static size_t partition(uint64_t *keys, size_t n, uint64_t pivot) {
    size_t n_front = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t key = keys[i], other = keys[n_front];
        keys[i] = other;
        keys[n_front] = key;
        n_front += key >= pivot;
    }
    return n_front;
}

static double total_weight(const uint64_t *keys, size_t n, const double *weights) {
    double total = weights ? 0 : (double)n;
    for (size_t i = 0; weights && i < n; i++)
        total += weights[(uint32_t)~keys[i]];
    return total;
}

/* The highest key such that the keys [n] from it upwards weigh at least `target`,
 * or the lowest of all if there is none; a key weighs weights[its place], or 1 if weights is NULL. Permutes
 * the keys, which are distinct, n >= 1. Expected linear time; pivots come from
 * fixed pseudo-random places, so that no usual order of logits is a bad one. */
static uint64_t select_threshold(uint64_t *keys, size_t n, const double *weights, double target) {
    uint64_t mixer = n;
    while (n > 1) {
        size_t places[3];
        for (int i = 0; i < 3; i++) {
            mixer = mixer * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX generator */
            places[i] = (size_t)((mixer >> 32) % n);
        }
        uint64_t pivot = median_of_3(keys[places[0]], keys[places[1]], keys[places[2]]);
        size_t n_front = partition(keys, n, pivot);
        double front = total_weight(keys, n_front, weights);
        if (front < target && n_front < n) { /* the threshold lies among the lower ones */
            target -= front;
            keys += n_front;
            n -= n_front;
        } else if (n_front < n) {
            n = n_front;
        } else { /* the pivot is the lowest: split it off, or nothing would shrink */
            size_t at = 0;
            while (keys[at] != pivot)
                at++;
            keys[at] = keys[n - 1];
            keys[n - 1] = pivot;
            if (total_weight(keys, n - 1, weights) < target)
                return pivot;
            n--;
        }
    }
    return keys[0];
}

/* Keep the candidates that rank at or above the one at `place`; how many. */
static size_t keep_ranked(tern_sampler *sampler, size_t n, size_t place) {
    float least = sampler->logits[place];
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i++) {
        float logit = sampler->logits[i];
        sampler->logits[n_kept] = logit;
        sampler->ids[n_kept] = sampler->ids[i];
        sampler->weights[n_kept] = sampler->weights[i];
        n_kept += (logit > least) | ((logit == least) & (i <= place));
    }
    return n_kept;
}

/* The k-th largest of the maxima of all blocks is no larger than the k-th
 * largest logit: keep what reaches it, little more than k, and look into no other block. */
static size_t keep_block_leaders(tern_sampler *sampler, size_t n, size_t k) {
    size_t n_blocks = (n + BLOCK - 1) / BLOCK, n_kept = 0;
    if (k > n_blocks)
        return n;
    double *maxima = sampler->weights; /* not in use yet */
    for (size_t b = 0; b < n_blocks; b++) {
        size_t begin = b * BLOCK;
        float max = maximum(sampler->logits + begin, n - begin < BLOCK ? n - begin : BLOCK);
        maxima[b] = max;
        sampler->keys[b] = rank_key(max, (uint32_t)b);
    }
    double least = maxima[(uint32_t)~select_threshold(sampler->keys, n_blocks, NULL, (double)k)];
    for (size_t b = 0; b < n_blocks; b++) {
        if (maxima[b] < least)
            continue;
        for (size_t i = b * BLOCK; i < n && i < (b + 1) * BLOCK; i++)
            if (sampler->logits[i] >= least) {
                sampler->logits[n_kept] = sampler->logits[i];
                sampler->ids[n_kept++] = sampler->ids[i];
            }
    }
    return n_kept;
}

static size_t top_k(tern_sampler *sampler, size_t n) {
    size_t k = (size_t)sampler->params.top_k;
    if (k == 0 || k >= n)
        return n;
    n = keep_block_leaders(sampler, n, k);
    if (n == k)
        return n;
    for (size_t i = 0; i < n; i++)
        sampler->keys[i] = rank_key(sampler->logits[i], (uint32_t)i);
    return keep_ranked(sampler, n, (uint32_t)~select_threshold(sampler->keys, n, NULL, (double)k));
}

/* ------------------------------------------------------------ distribution */

/* Stands for everything below: exp_negative of it is 0. */
static const double exp_least = -709;

/* exp(x) for exp_least <= x <= 0, within 1e-11 of it (a logit's own rounding is 1e-7).
 * x = k ln 2 + r, |r| <= ln 2 / 2, Taylor to r^9 by Estrin's scheme, whose short chains suit wide processors. Own code
 * because libm's differs between platforms and does not vectorise. */
static inline double exp_negative(double x) {
    const double to_integer = 0x1.8p52; /* adding it rounds to an integer, which then stands in the low bits */
    const double ln2_high = 0x1.62e42feep-1, ln2_low = 0x1.a39ef35793c76p-33;
    double shifted = x * 0x1.71547652b82fep+0 + to_integer;
    double k = shifted - to_integer;
    double r = (x - k * ln2_high) - k * ln2_low, r2 = r * r, r4 = r2 * r2;
    double low = (1 + r) + r2 * (1.0 / 2 + r * (1.0 / 6));
    double middle = (1.0 / 24 + r * (1.0 / 120)) + r2 * (1.0 / 720 + r * (1.0 / 5040));
    double sum = low + r4 * (middle + r4 * (1.0 / 40320 + r * (1.0 / 362880)));
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 1023) << 52; /* 2^k; for k = -1023, reached at exp_least, 0 */
    double power;
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}

static double sum_lanes(const double *x, size_t n) {
    double lanes[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lanes[j] += x[i + j];
    for (; i < n; i++)
        sum += x[i];
    for (size_t j = 0; j < LANES; j++)
        sum += lanes[j];
    return sum;
}

/* Softmax without the division: relative to the most likely token, whose weight is 1. */
static void weigh(tern_sampler *sampler, size_t n, float max) {
    const double inverse = 1 / (double)sampler->params.temperature;
    const float *logits = sampler->logits;
    double *weights = sampler->weights;
    for (size_t i = 0; i < n; i++) {
        double x = ((double)logits[i] - max) * inverse;
        weights[i] = x > exp_least ? x : exp_least;
    }
    for (size_t i = 0; i < n; i++) /* a loop of its own, or GCC makes the choice a branch and vectorises nothing */
        weights[i] = exp_negative(weights[i]);
}

/* The smallest set of most likely candidates that has probability top_p. */
static size_t top_p(tern_sampler *sampler, size_t n) {
    double p = sampler->params.top_p, total;
    if (p >= 1)
        return n;
    total = sum_lanes(sampler->weights, n);
    /* All candidates under (1 - p) total / n together weigh less than (1 - p)
     * total, so none of them is in the set; half of it leaves room for rounding. */
    double least = 0.5 * (1 - p) * total / (double)n;
    size_t n_keys = 0;
    for (size_t i = 0; i < n; i++) {
        sampler->keys[n_keys] = rank_key(sampler->logits[i], (uint32_t)i);
        n_keys += sampler->weights[i] >= least;
    }
    return keep_ranked(sampler, n, (uint32_t)~select_threshold(sampler->keys, n_keys, sampler->weights, p * total));
}

static size_t min_p(tern_sampler *sampler, size_t n) {
    double least = sampler->params.min_p;
    if (least <= 0)
        return n;
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i++) {
        double weight = sampler->weights[i];
        sampler->ids[n_kept] = sampler->ids[i];
        sampler->weights[n_kept] = weight;
        n_kept += weight >= least;
    }
    return n_kept;
}

static int32_t draw(tern_sampler *sampler, size_t n) {
    double left = tern_rng_uniform(&sampler->rng) * sum_lanes(sampler->weights, n);
    size_t last = 0; /* rounding may leave a little over behind the last one */
    for (size_t i = 0; i < n; i++) {
        double weight = sampler->weights[i];
        if (left < weight) /* never for a weight of 0 */
            return sampler->ids[i];
        left -= weight;
        if (weight > 0)
            last = i;
    }
    return sampler->ids[last];
}

static int32_t argmax(const float *logits, float max) {
    int32_t id = 0;
    while (logits[id] != max)
        id++;
    return id;
}

tern_status tern_sampler_sample(tern_sampler *sampler, const float *logits, int32_t *id, tern_error *err) {
    float max;
    tern_status status = prepare(sampler, logits, &max, err);
    if (status)
        return status;
    if (sampler->params.temperature == 0) {
        *id = argmax(sampler->logits, max);
        return TERN_OK;
    }
    size_t n = top_k(sampler, sampler->vocab_size);
    weigh(sampler, n, max);
    n = top_p(sampler, n);
    n = min_p(sampler, n);
    *id = draw(sampler, n);
    return TERN_OK;
}
