/* Learning rate and weight decay over a run. */
#include <math.h>

#include "train/config.h"

/* 1 at the beginning of the run, final_fraction at its end. */
static double curve(const tern_schedule *s, uint64_t step) {
    double t = s->n_steps ? (double)step / (double)s->n_steps : 0;
    double f = s->shape == TERN_DECAY_LINEAR ? 1 - t : 0.5 * (1 + cos(3.14159265358979323846 * t));
    return s->final_fraction + (1 - s->final_fraction) * f;
}

uint64_t tern_schedule_switch(const tern_schedule *s) { return (uint64_t)ceil(s->switch_at * (double)s->n_steps); }

static int stage(const tern_schedule *s, uint64_t step) { return step >= tern_schedule_switch(s); }

float tern_schedule_lr(const tern_schedule *s, uint64_t step) {
    double warm = step < s->warmup_steps ? (double)(step + 1) / (double)s->warmup_steps : 1;
    return (float)(s->lr[stage(s, step)] * curve(s, step) * warm);
}

float tern_schedule_weight_decay(const tern_schedule *s, uint64_t step) {
    int k = stage(s, step);
    double follow = 1;
    if (k == 0 && s->decay_follows) /* to 0 at the switch */
        follow = 0.5 * (1 + cos(3.14159265358979323846 * (double)step / (s->switch_at * (double)s->n_steps)));
    return (float)(s->weight_decay[k] * follow);
}
