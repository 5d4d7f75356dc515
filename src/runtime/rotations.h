/* The angles of rotary embedding, as every backend has them. */
#ifndef TERN_RUNTIME_ROTATIONS_H
#define TERN_RUNTIME_ROTATIONS_H

#include "model/weights.h"

/* Cosine and sine [head_dim / 2] of each position first .. end - 1, at + position * (head_dim / 2). inv_freq[i] =
 * theta^(-2i / head_dim), over its divisor if there are any, and the angle are float32, as the reference has them;
 * cosine and sine are then taken in double and rounded once, so that every C library gives the same table. */
void tern_rotations_fill(const tern_dims *dims, uint32_t first, uint32_t end, float *cosines, float *sines);

#endif
