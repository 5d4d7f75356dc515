#include "runtime/rotations.h"

#include <math.h>

void tern_rotations_fill(const tern_dims *dims, uint32_t first, uint32_t end, float *cosines, float *sines) {
    uint32_t half = dims->head_dim / 2;
    for (uint32_t i = 0; i < half && first < end; i++) {
        float exponent = (float)(2 * i) / (float)dims->head_dim;
        float inv_freq = 1.0f / (float)pow((double)dims->rope_theta, (double)exponent);
        if (dims->rope_divisors)
            inv_freq /= dims->rope_divisors[i];
        for (uint32_t p = first; p < end; p++) {
            double angle = (double)((float)p * inv_freq);
            cosines[(size_t)p * half + i] = (float)cos(angle);
            sines[(size_t)p * half + i] = (float)sin(angle);
        }
    }
}
